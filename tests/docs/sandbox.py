"""A private ServerRoot with the module loaded, in which pieces of configuration are tried."""

import datetime
import json
import re
import secrets
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from processes import MODULE, Server, free_port, httpd_account, httpd_arguments, httpd_modules, start_httpd
from tokens import IdentityProvider, write

BASE = """\
ServerName docs.example
DefaultRuntimeDir .
PidFile httpd.pid
ErrorLog error.log
LogLevel warn jwt_gate:info
User {user}
Group {group}
<IfModule !mpm_event_module>
    LoadModule mpm_event_module {modules}/mod_mpm_event.so
</IfModule>
<IfModule !unixd_module>
    LoadModule unixd_module {modules}/mod_unixd.so
</IfModule>
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule authz_host_module {modules}/mod_authz_host.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule rewrite_module {modules}/mod_rewrite.so
LoadModule info_module {modules}/mod_info.so
LoadModule jwt_gate_module {module}
"""

# What a piece of configuration needs besides, and by what it is seen.
MORE_MODULES = {
    "OIDC": ["auth_openidc"],
    "OAuth2": ["oauth2"],
    "SSL": ["ssl"],
    "Balancer": ["slotmem_shm", "proxy_balancer", "lbmethod_byrequests"],
    "Cache": ["cache", "cache_disk"],
}

# Where the documents have files, and where they are below a ServerRoot.
PLACES = {"/etc/apache2/": "", "/var/log/apache2/": "logs/", "/var/cache/apache2/": "cache/"}


def certificate() -> bytes:
    """A certificate of an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "docs")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def ip_ranges() -> bytes:
    """As AWS publishes it, with what the documents choose from it."""
    chosen = [("S3", "eu-central-1"), ("S3", "eu-west-1"), ("EC2", "eu-central-1"), ("CLOUDFRONT_ORIGIN_FACING", "GLOBAL")]
    prefixes = [{"ip_prefix": "192.0.2.0/24", "service": service, "region": region} for service, region in chosen]
    return json.dumps({"prefixes": prefixes, "ipv6_prefixes": []}).encode()


def more_modules(configuration: str) -> str:
    """The lines that load what this configuration needs."""
    lines = []
    for word, names in MORE_MODULES.items():
        if re.search(rf"^\s*{word}", configuration, flags=re.MULTILINE):
            for name in names:
                # What is a package of its own is where Debian has it, whichever httpd is tested.
                folders = [Path(httpd_modules()), Path("/usr/lib/apache2/modules")]
                file = next(folder / f"mod_{name}.so" for folder in folders if (folder / f"mod_{name}.so").exists())
                lines.append(f"LoadModule {name}_module {file}\n")
    return "".join(lines)


class Sandbox:
    """Files that the documents name exist in it, under `jwt_gate/`."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="jwt-gate-docs-")
        self.root = Path(self._folder.name)
        self.keys = self.root / "jwt_gate"
        IdentityProvider(self.keys)
        # The names that the documents use for these keys.
        for original, names in {
            "rsa.pub.pem": ["login.pub.pem"],
            "hs256.secret": ["quickstart.secret", "own.secret"],
        }.items():
            for name in names:
                file = self.keys / original
                write(self.keys / name, file.read_bytes(), file.stat().st_mode & 0o777)
        write(self.keys / "corp-ca.pem", certificate(), 0o644)
        write(self.keys / "revoked.json", b'{"revoked": []}', 0o644)
        write(self.keys / "keys.json", b'{"keys": []}', 0o644)
        for folder in ("networks", "logs", "openidc", "cache/mod_cache_disk"):
            (self.root / folder).mkdir(parents=True)
        for name in ("client", "cookies"):
            write(self.root / "openidc" / name, f"{secrets.token_hex(32)}\n".encode(), 0o600)
        write(self.root / "networks/ip-ranges.json", ip_ranges(), 0o644)
        write(self.keys / "branches.txt", b"# one network a line\n198.51.100.0/24\n2001:db8:30::/48\n", 0o644)

    def file(self, configuration: str) -> Path:
        path = self.root / "httpd.conf"
        user, group = httpd_account()
        base = BASE.format(user=user, group=group, modules=httpd_modules(), module=MODULE)
        path.write_text(base + more_modules(configuration) + self.placed(configuration))
        return path

    def placed(self, text: str) -> str:
        """With paths of this ServerRoot."""
        for path, folder in PLACES.items():
            text = text.replace(path, f"{self.root}/{folder}")
        return text

    def keep(self, block: str) -> None:
        """A block that begins with the path of a file of httpd's is that file, which others include."""
        if named := re.match(r"# /etc/apache2/(\S+)\n", block):
            (self.root / named[1]).write_text(self.placed(block))

    def complaint(self, configuration: str) -> str:
        """What `httpd -t` says against it; empty if it is well, without a warning of the module."""
        if "Listen " not in configuration:
            configuration = f"Listen 127.0.0.1:{free_port()}\n{configuration}"
        result = subprocess.run(
            [*httpd_arguments(self.root, self.file(configuration)), "-t"], check=False, capture_output=True, text=True
        )
        said = (result.stdout + result.stderr).strip()
        return "" if result.returncode == 0 and said == "Syntax OK" else said

    def start(self, configuration: str, port: int) -> Server:
        return start_httpd(self.root, self.file(configuration), port)

    def log(self, name: str, lines: int) -> list[str]:
        """The lines of a log, as soon as there are so many: they are written when a request is over, behind its answer."""
        path, deadline = self.root / "logs" / name, time.monotonic() + 10
        while len(found := path.read_text().splitlines()) < lines and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()


def directives_of_all_modules(configuration: str) -> dict[str, str]:
    """What a server with this configuration says that its modules know (mod_info): name and one-line help."""
    port = free_port()
    info = f'Listen 127.0.0.1:{port}\n<Location "/info">\n    SetHandler server-info\n</Location>\n'
    with Sandbox() as sandbox, sandbox.start(info + configuration, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/info", timeout=10) as answer:
            page = answer.read().decode()
    return dict(re.findall(r"<dd><tt>(?:&lt;)?(\w+)(?:&gt;)? - <i>(.*?)</i>", page, flags=re.DOTALL))
