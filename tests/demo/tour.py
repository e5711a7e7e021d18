"""`make demo`: a tour of the gate with real parts. FastAPI under uvicorn, httpd with the module in front of it.

Each step prints what is sent, what is expected and what came. Then the servers stay up until Ctrl-C, so that you
can send requests of your own. With --check (`make demo-check`) the tour ends at the first mismatch, with status 1,
and after the last step with status 0.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from processes import (
    MODULE,
    REPOSITORY,
    Server,
    StartFailed,
    free_port,
    httpd_account,
    httpd_modules,
    start_application,
    start_httpd,
)
from tokens import IdentityProvider

ROOT = REPOSITORY / ".demo"
HERE = Path(__file__).resolve().parent

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def bold(text: str) -> str:
    return paint("1", text)


def dim(text: str) -> str:
    return paint("2", text)


def good(text: str) -> str:
    return paint("32", text)


def bad(text: str) -> str:
    return paint("31", text)


class Mismatch(Exception):
    """A step came out otherwise than expected, and the tour is a check."""


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self) -> dict:
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass
class Tour:
    port: int
    check: bool
    requests: int = 0
    steps: int = 0
    failed: list = field(default_factory=list)

    def get(self, path: str, headers: dict) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def log(self) -> list[list[str]]:
        """The access log, a list of words for each request. httpd writes a line after it has answered: this waits."""
        deadline = time.monotonic() + 5
        while True:
            lines = (ROOT / "access.log").read_text().splitlines()
            if len(lines) >= self.requests or time.monotonic() > deadline:
                return [line.split() for line in lines]
            time.sleep(0.01)

    def step(self, title: str, sent: str, expected: dict, came: dict) -> None:
        """Prints one step. `expected` and `came` have the same members."""
        self.steps += 1
        right = expected == came
        mark = good("✓") if right else bad("✗")
        print(f"{mark} {bold(title)}")
        print(f"    {dim('sent')}      {sent}")
        print(f"    {dim('expected')}  {words(expected)}")
        print(f"    {dim('came')}      {good(words(came)) if right else bad(words(came))}", flush=True)
        if right:
            return
        self.failed.append(title)
        if self.check:
            raise Mismatch(title)

    def ask(self, title: str, path: str, expected: dict, token: str | None = None, shown: str = "", **headers) -> None:
        """One request. `expected` says what to look at: `status`, a header, a field of the body, the `reason`."""
        sent = dict(headers)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        answer = self.get(path, sent)
        self.requests += 1
        described = [f"{name}: {value}" for name, value in headers.items()]
        if token is not None:
            described.append(f"Authorization: Bearer {token[:12]}…{f' ({shown})' if shown else ''}")
        came = observe(answer, expected)
        # Waited for each time, so that the last line is that of this request.
        reason = self.log()[-1][3]
        if "reason" in expected:
            came["reason"] = reason
        self.step(title, "  ".join([f"GET {path}", *described]), expected, came)


def observe(answer: Answer, wanted: dict) -> dict:
    body = answer.json()
    found = {}
    for name in wanted:
        if name == "status":
            found[name] = answer.status
        elif name in body:
            found[name] = body[name]
        else:
            found[name] = answer.headers.get(name)
    return found


def words(facts: dict) -> str:
    return ", ".join(f"{name}: {value if value or value == 0 else 'none'}" for name, value in facts.items())


def walk(tour: Tour, provider: IdentityProvider) -> None:
    """The steps, in the order of a decision: first what is let in, then what is not."""
    heading("Who gets in, and what the application learns about them")
    tour.ask("A location that is open to all", "/health", {"status": 200, "user": None})
    tour.ask(
        "RS256, key from a PEM file",
        "/items",
        {"status": 200, "user": "alice", "issuer": "demo-rsa", "email": "alice@example.com", "scope": "items:read"},
        provider.token("RS256", "alice", email="alice@example.com", scope="items:read"),
        "RS256",
    )
    for algorithm, source, subject, issuer in (
        ("ES256", "a JWKS file", "bob", "demo-jwks"),
        ("EdDSA", "a JWKS file", "carol", "demo-jwks"),
        ("HS256", "a secret", "dave", "demo-secret"),
    ):
        tour.ask(
            f"{algorithm}, key from {source}",
            "/items",
            {"status": 200, "user": subject, "issuer": issuer},
            provider.token(algorithm, subject),
            algorithm,
        )

    heading("Who does not, and the reason in the server's log")
    tour.ask("No token", "/items", {"status": 401, "www-authenticate": 'Bearer realm="api"', "reason": "token-missing"})
    for title, reason, token, shown in (
        ("An expired token", "token-expired", provider.token("RS256", "alice", lifetime=-3600), "ended an hour ago"),
        ("A forged token", "signature-invalid", provider.forged("alice"), "right claims, signed with another key"),
        ("A token without signature", "algorithm-refused", provider.unsigned("alice"), "alg: none"),
        (
            "A token for another application",
            "audience-mismatch",
            provider.token("RS256", "alice", aud="other-api"),
            "aud: other-api",
        ),
    ):
        challenge = 'Bearer realm="api", error="invalid_token"'
        tour.ask(title, "/items", {"status": 401, "www-authenticate": challenge, "reason": reason}, token, shown)
    tour.ask(
        "An address outside the networks",
        "/office",
        {"status": 403, "reason": "address-denied"},
        provider.token("RS256", "alice"),
        "valid, but only 192.0.2.0/24 may come here",
    )

    heading("Identity headers belong to the gate")
    tour.ask(
        "A client calls itself admin, without token",
        "/health",
        {"status": 200, "user": None, "lookalikes": []},
        **{"X-User": "admin", "X_User": "admin"},
    )
    tour.ask(
        "… and with a token of its own",
        "/items",
        {"status": 200, "user": "alice", "lookalikes": []},
        provider.token("RS256", "alice"),
        "of alice",
        **{"X-User": "admin", "x.user": "admin"},
    )

    heading("A limit: five at once, then one in 12 seconds, counted across all processes")
    burst(tour, provider)


def burst(tour: Tour, provider: IdentityProvider) -> None:
    """Twenty requests at the same time, each over a connection of its own."""
    token = provider.token("RS256", "erin")
    start = threading.Barrier(20)

    def one(_: int) -> Answer:
        start.wait()
        return tour.get("/burst", {"Authorization": f"Bearer {token}"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    tour.requests += len(answers)
    statuses = Counter(answer.status for answer in answers)
    waits = [answer.headers.get("retry-after", "") for answer in answers if answer.status == 429]
    tour.step(
        "A burst of twenty, of one subject",
        "20 × GET /burst at once",
        {"admitted": 5, "refused with 429": 15, "told when to come again": 15},
        {
            "admitted": statuses[200],
            "refused with 429": statuses[429],
            "told when to come again": sum(wait.isdigit() and int(wait) > 0 for wait in waits),
        },
    )
    processes = {line[0] for line in tour.log() if "/burst" in line}
    said = ", ".join(sorted(set(waits))) or "nothing"
    print(dim(f"    {len(processes)} server processes shared the work; Retry-After was {said}"))
    tour.ask(
        "Somebody else is not affected",
        "/burst",
        {"status": 200, "user": "frank"},
        provider.token("RS256", "frank"),
        "of frank",
    )


def heading(text: str) -> None:
    print(f"\n{paint('1;34', text)}")


def stay(tour: Tour, provider: IdentityProvider, servers: list[Server]) -> None:
    token = provider.token("HS256", "you", lifetime=24 * 3600, scope="items:read")
    address = f"http://127.0.0.1:{tour.port}"
    heading("Your turn (Ctrl-C ends it)")
    print(f"  curl -i {address}/items -H 'Authorization: Bearer {token}'\n")
    print(f"  curl -i {address}/items          {dim('without a token')}")
    print(f"  curl -i {address}/health         {dim('open to all')}")
    print(f"  tail -f {ROOT}/error.log   {dim('why something was refused')}")
    print(f"  {HERE}/httpd.conf   {dim('the configuration')}", flush=True)
    while all(server.running for server in servers):
        time.sleep(0.5)
    print(bad(f"\na server ended by itself; see {ROOT}/error.log and {ROOT}/app.log"))
    tour.failed.append("the servers stay up")


def prepare() -> IdentityProvider:
    if not MODULE.exists():
        raise StartFailed(f"{MODULE} is not built: run `make build`")
    ROOT.mkdir(exist_ok=True)
    for log in ("error.log", "access.log", "app.log"):
        (ROOT / log).unlink(missing_ok=True)
    return IdentityProvider(ROOT / "keys")


def run(check: bool) -> int:
    provider = prepare()
    with start_application("app:app", HERE, ROOT / "app.log") as application:
        port = free_port()
        user, group = httpd_account()
        environment = {
            "DEMO_PORT": str(port),
            "DEMO_APP": str(application.port),
            "DEMO_MODULE": str(MODULE),
            "DEMO_MODULES": httpd_modules(),
            "DEMO_USER": user,
            "DEMO_GROUP": group,
        }
        with start_httpd(ROOT, HERE / "httpd.conf", port, environment) as httpd:
            print(f"{bold('application')}  FastAPI under uvicorn, 127.0.0.1:{application.port}")
            print(f"{bold('gate')}         httpd (event) with mod_jwt_gate, http://127.0.0.1:{port}")
            tour = Tour(port, check)
            try:
                walk(tour, provider)
                if not check:
                    stay(tour, provider, [application, httpd])
            except Mismatch:
                pass
            except KeyboardInterrupt:
                print("\nending …", flush=True)
            if tour.failed:
                print(bad(f"\n{len(tour.failed)} of {tour.steps} steps failed: {', '.join(tour.failed)}"))
                print(f"the server's view: {ROOT}/error.log and {ROOT}/access.log")
                return 1
            print(good(f"\n{tour.steps} steps, all as expected"))
            return 0


def interrupt(*_) -> None:
    raise KeyboardInterrupt


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print(__doc__, file=sys.stderr)
        return 2
    # Whoever ends the tour, the servers end with it.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, interrupt)
    try:
        return run(check)
    except StartFailed as reason:
        print(bad(str(reason)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
