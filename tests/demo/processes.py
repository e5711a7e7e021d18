"""Starts and ends the two servers of a test: httpd with a private ServerRoot, and uvicorn behind it.

Both listen on loopback, on ports that were free a moment ago. Each runs in a session of its own, so that
Ctrl-C reaches the caller alone and everything ends in one order; no process outlives the caller's `with`.
"""

import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = Path(os.environ.get("JWT_GATE_MODULE", REPOSITORY / "target/release/libjwt_gate.so"))


class StartFailed(Exception):
    """A server did not come up; the text says what it wrote."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def apxs(name: str) -> str:
    program = os.environ.get("APXS") or shutil.which("apxs") or shutil.which("apxs2")
    if program is None:
        raise StartFailed("apxs was not found: run `make packages`, or set APXS")
    return subprocess.run([program, "-q", name], check=True, capture_output=True, text=True).stdout.strip()


def httpd_program() -> str:
    """The server that the module was built for: what apxs says, unless JWT_GATE_HTTPD names another."""
    return os.environ.get("JWT_GATE_HTTPD") or str(Path(apxs("SBINDIR")) / apxs("PROGNAME"))


def httpd_modules() -> str:
    """The folder of httpd's own modules: what apxs says, unless JWT_GATE_MODULES_DIR names another."""
    return os.environ.get("JWT_GATE_MODULES_DIR") or apxs("LIBEXECDIR")


def httpd_account() -> tuple[str, str]:
    """User and group of the children: without rights where we are root, else our own."""
    entry = pwd.getpwuid(os.geteuid())
    if entry.pw_uid == 0:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = next(known[name] for name in ("www-data", "apache", "daemon", "nobody") if name in known)
    return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name


class Server:
    """One child process; `port` is where it listens."""

    def __init__(self, name: str, command: list[str], port: int, log: Path, environment: dict | None = None):
        self.port = port
        self._name, self._log = name, log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        try:
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + 20
        while self.running and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise StartFailed(f"{self._name} did not start:\n{self._log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """Asks it to end, then makes it; what it forked ends with it."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def start_application(app: str, folder: Path, log: Path) -> Server:
    """uvicorn with `app` ("module:name", found in `folder`)."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        app,
        "--app-dir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "warning",
        "--no-server-header",
    ]
    return Server("the application (uvicorn)", command, port, log, {"PYTHONDONTWRITEBYTECODE": "1"})


def httpd_arguments(root: Path, configuration: Path) -> list[str]:
    return [httpd_program(), "-d", str(root), "-f", str(configuration)]


def start_httpd(root: Path, configuration: Path, port: int, environment: dict | None = None) -> Server:
    """httpd in the foreground with `root` as its ServerRoot."""
    command = [*httpd_arguments(root, configuration), "-DFOREGROUND"]
    return Server("httpd", command, port, root / "error.log", environment)
