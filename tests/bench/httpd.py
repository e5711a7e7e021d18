"""`make bench-httpd`: the processor time that the gate adds to a request inside httpd.

Every case is an httpd of its own with one worker process, which forwards to one more httpd that serves a small file.
wrk drives one case after the other, round after round, so that a disturbance of the machine meets all of them. What is
measured is the worker's time by the kernel's accounting, divided by the answered requests; the difference to the bare
server is taken within a round, and the medians over the rounds are printed.

    tests/bench/httpd.py [--rounds N] [--seconds S] [--case WORD]
"""

import argparse
import base64
import http.client
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from jwt.algorithms import RSAAlgorithm
from processes import MODULE, Server, StartFailed, free_port, httpd_account, httpd_modules, start_httpd
from tokens import AUDIENCE, RSA_ISSUER, IdentityProvider

NETWORKS = 10_000
TOKENS = 2_000
REVOCATIONS = 100_000

SERVER = """\
ServerName bench.example
DefaultRuntimeDir .
PidFile httpd.pid
ErrorLog error.log
LogLevel warn
User {user}
Group {group}
Listen 127.0.0.1:{port}
<IfModule !mpm_event_module>
    LoadModule mpm_event_module {modules}/mod_mpm_event.so
</IfModule>
<IfModule !unixd_module>
    LoadModule unixd_module {modules}/mod_unixd.so
</IfModule>
LoadModule authz_core_module {modules}/mod_authz_core.so
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32
KeepAlive On
MaxKeepAliveRequests 0
"""

FORWARD = """\
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
ProxyPass "/" "http://127.0.0.1:{upstream}/" keepalive=On
"""

GATE = f"""\
LoadModule jwt_gate_module {MODULE}
JwtGateStateDir state
{{server}}
JwtGateIssuer bench {RSA_ISSUER} audience={AUDIENCE} pem={{keys}}/rsa.pub.pem algorithms=RS256
JwtGateNetwork many file={{keys}}/networks.txt
JwtGateTokenCache {{cache}}
<Location "/">
    JwtGate on
    JwtGateAllow @many 127.0.0.0/8
    JwtGateLimit per-address key=address rate=1000000/s burst=1000000
    JwtGateLimit per-subject key=subject rate=1000000/s burst=1000000
    JwtGateForward X-User subject
    {{more}}
</Location>
"""

REQUIRE = f"""\
JwtGateForward X-Audience claim:aud
    <RequireAll>
        Require jwt-issuer bench
        Require jwt-claim sub alice bob
        Require jwt-claim aud {AUDIENCE}
    </RequireAll>
"""


@dataclass
class Case:
    name: str
    configuration: str
    # The tokens that wrk sends in turn; none: no Authorization.
    tokens: list[str]
    status: int = 200
    # The case that this one is compared with.
    baseline: str = "bare httpd + mod_proxy"
    server: Server | None = None
    micros: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)


def cases(provider: IdentityProvider, keys: Path) -> list[Case]:
    one = [provider.token("RS256", "alice", lifetime=86400)]
    many = [provider.token("RS256", f"user-{n}", lifetime=86400) for n in range(TOKENS)]
    # As long as it may be, and with a signature that would have to be verified.
    large = [provider.token("RS256", "alice", lifetime=86400, padding="x" * 5400)]

    fetched = f"JwtGateIssuer fetched {FETCHED} jwks=http://127.0.0.1:{serve(keys)}/jwks.json audience=x cooldown=1h"
    unknown = [unknown_kid(number) for number in range(TOKENS)]

    def gate(more: str = "", cache: int = 4096, server: str = "") -> str:
        return GATE.format(keys=keys, more=more, cache=cache, server=server)

    refused = "bare httpd, Require all denied"
    denied = '<Location "/">\n    Require all denied\n</Location>\n'
    found = [
        Case("bare httpd + mod_proxy", "", one),
        Case("gate, one token seen before", gate(), one),
        Case(f"gate, {TOKENS} tokens seen before", gate(), many),
        Case("gate, every token verified (cache off)", gate(cache=0), one),
        Case(
            f"gate, {REVOCATIONS} revocations, keys fetched",
            gate(server=f"JwtGateRevocations {keys}/revoked.json\n{fetched}"),
            one,
        ),
        Case("gate, three Require lines, two claims forwarded", gate(REQUIRE), one),
        Case(
            "gate, plan and quota beside two limits",
            gate(
                "JwtGateLimit per-plan key=subject rate=1/s quota=1/day plan-claim=iss default-plan=large",
                server="JwtGatePlan large rate=1000000/s burst=1000000 quota=2000000000/month",
            ),
            one,
        ),
        Case("gate, decision log", gate(server="JwtGateLog decisions.json"), one),
        Case("gate, traces", gate("JwtGateTrace on"), one),
        Case("gate loaded, but off", f"LoadModule jwt_gate_module {MODULE}\n", one),
        Case(refused, denied, one, 403, refused),
    ]
    found += [
        Case("gate, address denied", gate("JwtGateDeny 127.0.0.0/8"), one, 403, refused),
        Case("gate, address denied, 7 KB token", gate("JwtGateDeny 127.0.0.0/8"), large, 403, refused),
        Case("gate, address limit used up", gate("JwtGateLimit tight key=address rate=1/d burst=1"), one, 429, refused),
        Case("gate, address locked out", gate("JwtGateLockout failures=1/1h"), ["x.y.z"], 429, refused),
        Case("gate, another unknown kid each time", gate(server=fetched), unknown, 401, refused),
        Case("gate, malformed token", gate(), ["e30" + one[0][one[0].index(".") :]], 401, refused),
    ]
    return found + peers(one, keys)


def peers(tokens: list[str], keys: Path) -> list[Case]:
    """Other modules that verify tokens, where they are installed. They look at the token alone."""
    modules = Path(httpd_modules())
    common = (
        f"LoadModule authn_core_module {modules}/mod_authn_core.so\n"
        f"LoadModule authz_user_module {modules}/mod_authz_user.so\n"
    )
    found = []
    if (modules / "mod_auth_openidc.so").exists():
        found.append(
            Case(
                "mod_auth_openidc, token alone",
                common
                + f"""\
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so
OIDCCryptoPassphrase bench
OIDCOAuthRemoteUserClaim sub
OIDCOAuthVerifyCertFiles {keys}/rsa.pub.pem
<Location "/">
    AuthType oauth20
    Require valid-user
</Location>
""",
                tokens,
            )
        )
    if (modules / "mod_oauth2.so").exists():
        public = serialization.load_pem_public_key((keys / "rsa.pub.pem").read_bytes())
        jwk = RSAAlgorithm.to_jwk(public)
        found.append(
            Case(
                "mod_oauth2, token alone",
                common
                + f"""\
LoadModule oauth2_module {modules}/mod_oauth2.so
<Location "/">
    AuthType oauth2
    OAuth2TokenVerify jwk '{jwk}'
    OAuth2TargetPass remote_user_claim=sub
    Require valid-user
</Location>
""",
                tokens,
            )
        )
    return found


FETCHED = "https://fetched.bench.example"


def serve(keys: Path) -> int:
    """A provider of the key sets in a folder, as long as this process lives; gives its port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(keys))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def unknown_kid(number: int) -> str:
    """A token of the issuer whose keys are fetched, with a name of a key that nobody has; its signature is no one's."""
    header = {"alg": "RS256", "typ": "JWT", "kid": f"invented-{number}"}
    payload = {"iss": FETCHED, "aud": "x", "sub": "mallory", "exp": 4_000_000_000}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, payload)]
    return ".".join([*parts, "A" * 342])


def revocations(path: Path) -> None:
    """Tokens, subjects and sessions, none of them one that is sent here."""
    kinds = ("jti", "sub", "sid")
    entries = [{"issuer": "bench", kinds[n % 3]: f"revoked-{n}"} for n in range(REVOCATIONS)]
    path.write_text(json.dumps({"revoked": entries}))


def networks(path: Path) -> None:
    """Networks of several lengths, none beside another, and none with this machine in it."""
    lines = [f"11.{n >> 8}.{n & 255}.{64 * (n % 4)}/{26 + n % 3}" for n in range(NETWORKS // 2)]
    lines += [f"2001:db8:{n:x}::/{48 + n % 16}" for n in range(NETWORKS // 2)]
    path.write_text("\n".join(lines) + "\n")


def server_lines(port: int) -> str:
    user, group = httpd_account()
    return SERVER.format(user=user, group=group, port=port, modules=httpd_modules())


def start(case: Case, root: Path, upstream: int, core: int | None) -> Server:
    root.mkdir()
    port = free_port()
    configuration = root / "httpd.conf"
    forward = FORWARD.format(modules=httpd_modules(), upstream=upstream)
    configuration.write_text(server_lines(port) + forward + case.configuration)
    return pinned(start_httpd(root, configuration, port), core)


def start_upstream(root: Path, core: int | None) -> Server:
    (root / "www").mkdir(parents=True)
    (root / "www/index").write_bytes(b'{"status":"ok"}\n' * 16)
    for folder in (root, root / "www"):
        folder.chmod(0o755)
    port = free_port()
    configuration = root / "httpd.conf"
    configuration.write_text(f'{server_lines(port)}DocumentRoot "{root}/www"\n')
    return pinned(start_httpd(root, configuration, port), core)


def pinned(server: Server, core: int | None) -> Server:
    if core is not None:
        for process in [server.pid, *children(server.pid)]:
            for thread in os.listdir(f"/proc/{process}/task"):
                os.sched_setaffinity(int(thread), {core})
    return server


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(server: Server) -> float:
    """Time of the worker processes, user and system, all threads."""
    nanoseconds = 0
    for process in children(server.pid):
        for thread in Path(f"/proc/{process}/task").iterdir():
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


SCRIPT = """\
local tokens, n = {}, 0
for line in io.lines("%(tokens)s") do tokens[#tokens + 1] = "Bearer " .. line end
request = function()
    n = n %% #tokens + 1
    wrk.headers["Authorization"] = tokens[n]
    return wrk.format("GET", "/index")
end
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('\\n{"requests":%%d,"duration":%%d,"status":%%d,"lost":%%d}\\n',
        summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def probe(case: Case, folder: Path) -> None:
    """Two requests, so that a limit of one is used up; the last one shows whether the case is what it says. Where keys are
    fetched, they may come a moment after the start."""
    for attempt in range(50):
        if attempt > 1 and answer.status != 503:
            break
        time.sleep(0.1 if attempt > 1 else 0)
        connection = http.client.HTTPConnection("127.0.0.1", case.server.port, timeout=10)
        connection.request("GET", "/index", headers={"Authorization": f"Bearer {case.tokens[0]}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
    if answer.status != case.status:
        raise StartFailed(f"{case.name}: {answer.status}, not {case.status}\n{(folder / 'error.log').read_text()}")


def drive(case: Case, folder: Path, seconds: float, core: int | None) -> None:
    """One run of wrk, added to the case's numbers."""
    before = cpu_seconds(case.server)
    address = f"http://127.0.0.1:{case.server.port}"
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", str(folder / "wrk.lua"), address]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(case.server) - before
    result = json.loads(re.findall(r"^\{.*\}$", output, flags=re.MULTILINE)[-1])
    refused = result["status"]
    if result["lost"] or refused != (0 if case.status == 200 else result["requests"]):
        raise StartFailed(f"{case.name}: expected {case.status} for all of {result}; see {folder}/error.log\n{output}")
    case.micros.append(1e6 * used / result["requests"])
    case.per_second.append(1e6 * result["requests"] / result["duration"])


def report(measured: list[Case]) -> None:
    by_name = {case.name: case for case in measured}
    print(f"\n{'':46}{'µs/request':>12}{'requests/s':>12}{'added µs':>10}{'± half IQR':>12}{'ratio':>8}")
    for case in measured:
        line = f"{case.name:46}{statistics.median(case.micros):12.1f}{statistics.median(case.per_second):12.0f}"
        baseline = by_name.get(case.baseline)
        if baseline is not None and baseline is not case:
            added = [mine - other for mine, other in zip(case.micros, baseline.micros, strict=True)]
            ratio = statistics.median(mine / other for mine, other in zip(case.micros, baseline.micros, strict=True))
            spread = statistics.quantiles(added, n=4) if len(added) > 1 else [0, 0, 0]
            line += f"{statistics.median(added):10.1f}{(spread[2] - spread[0]) / 2:12.1f}{ratio:8.2f}"
        print(line)
    print("\nadded, ratio: against bare httpd + mod_proxy; refusals against bare httpd that refuses")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--case", default="", help="only cases with this word, and the bare ones")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed", file=sys.stderr)
        return 1
    cores = sorted(os.sched_getaffinity(0))
    # The server that is measured has a core for itself, as far as we can say.
    measured_core, other_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)

    with tempfile.TemporaryDirectory(prefix="jwt-gate-bench-") as folder, ExitStack() as stack:
        root = Path(folder)
        root.chmod(0o755)
        provider = IdentityProvider(root / "keys")
        networks(root / "keys/networks.txt")
        revocations(root / "keys/revoked.json")
        print(f"making {TOKENS} tokens", flush=True)
        chosen = [c for c in cases(provider, root / "keys") if arguments.case in c.name or c.name.startswith("bare")]
        upstream = stack.enter_context(start_upstream(root / "upstream", other_core))
        for number, case in enumerate(chosen):
            place = root / f"case-{number}"
            case.server = stack.enter_context(start(case, place, upstream.port, measured_core))
            (place / "tokens").write_text("\n".join(case.tokens) + "\n")
            (place / "wrk.lua").write_text(SCRIPT % {"tokens": place / "tokens"})
            probe(case, place)
            drive(case, place, 1, other_core)  # warm: caches, connections to the upstream
        for case in chosen:
            case.micros.clear()
            case.per_second.clear()
        for round_number in range(arguments.rounds):
            print(f"round {round_number + 1} of {arguments.rounds}: {len(chosen)} × {arguments.seconds} s", flush=True)
            for number, case in enumerate(chosen):
                drive(case, root / f"case-{number}", arguments.seconds, other_core)
        report(chosen)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartFailed as reason:
        print(f"\n{reason}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
