"""The page about the command: what its examples show is what the command prints."""

import contextlib
import json
import os
import re
import subprocess
import time
import unittest
from pathlib import Path

import pages
from processes import REPOSITORY, free_port
from provider import Provider
from sandbox import Sandbox

PAGE = pages.guide("command")
COMMAND = Path(os.environ.get("JWT_GATE_COMMAND", REPOSITORY / "target/release/jwt-gate"))
ISSUER = "https://login.example.com/"
# What the example of `explain` asks about.
EXPLAINED = """\
JwtGateNetwork office 192.0.2.0/24
<Location "/api">
    JwtGate on
    JwtGateLimit each key=address rate=200/s
    Require jwt-scope write
</Location>
"""


def plain(line: str) -> str:
    """Without what is another each time: times, how long they are ago, names of files."""
    for what, word in {
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "TIME",
        r"\b\d{10}\b": "SECONDS",
        r"(\d+[dhms] ?)+ago|just now": "AGO",
        r"^[0-9a-f]{32}\.keys": "FILE.keys",
        r" +": " ",
    }.items():
        line = re.sub(what, word, line)
    return line.rstrip()


class Command(unittest.TestCase):
    def setUp(self):
        self.tools = contextlib.ExitStack()
        self.addCleanup(self.tools.close)
        self.sandbox = self.tools.enter_context(Sandbox())
        self.sandbox.root.chmod(0o755)
        self.provider = self.tools.enter_context(Provider(self.sandbox.root))

    def serve(self, more: str = "") -> int:
        """A server with the handler of the page that has fetched the keys of the provider."""
        port = free_port()
        [handler] = PAGE.blocks("apache")
        issuer = f"JwtGateIssuer login {self.provider.issuer} audience=my-api ca={self.sandbox.root}/ca.pem timeout=15s\n"
        configuration = f"Listen 127.0.0.1:{port}\nJwtGateStateDir state\n{issuer}{handler}{more}"
        self.tools.enter_context(self.sandbox.start(configuration, port))
        deadline = time.monotonic() + 60
        while "JG4001" not in (log := (self.sandbox.root / "error.log").read_text()):
            self.assertLess(time.monotonic(), deadline, log)
            time.sleep(0.05)
        return port

    def shown(self, word: str, token: str, port: int = 0) -> None:
        """Runs the example with this word in its command, with this token in the file that it reads."""
        [(command, shown)] = next(s for block in PAGE.blocks("console") if word in (s := pages.session(block))[0][0])
        result = self.run_in_shell(command.replace("127.0.0.1:8080", f"127.0.0.1:{port}"), token)
        self.assertEqual(result.stderr, "")
        printed = [plain(line.replace(self.provider.issuer, ISSUER)) for line in result.stdout.splitlines()]
        if shown[-1] == "...":
            shown.pop()
            del printed[len(shown) :]
        self.assertEqual(printed, [plain(line) for line in shown])

    def run_in_shell(self, command: str, token: str = "") -> subprocess.CompletedProcess:
        """Runs a command as it is written, with paths of the sandbox."""
        tools = self.sandbox.root / "tools"
        tools.mkdir()
        for name, script in {
            "sudo": 'exec "$@"',
            "chgrp": "true",
            "curl": f"cat {self.sandbox.root}/jwks.json",
            "jwt-gate": f"""
                [ "$1 $2" != "keys show" ] || set -- "$@" --state-dir {self.sandbox.root}/state
                exec {COMMAND} "$@"
            """,
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
        (tools / "token").write_text(f"{token}\n")
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
        run = ["bash", "-c", self.sandbox.placed(command)]
        return subprocess.run(run, cwd=tools, check=False, capture_output=True, text=True, timeout=30, env=environment)

    def test_every_example_is_run_here(self):
        commands = [command for block in PAGE.blocks("console") for command, _ in pages.session(block)]
        named = [re.search(r"jwt-gate ([a-z]+( [a-z]+)?)", command)[1] for command in commands]
        self.assertEqual(named, ["token inspect", "keys show", "explain"])

    def test_a_token_is_inspected(self):
        usable = [key for key in self.provider.jwks()["keys"] if key["use"] == "sig"]
        (self.sandbox.root / "jwks.json").write_text(json.dumps({"keys": usable}))
        token = self.provider.token(lifetime=-200, typ=None, iss=ISSUER, aud="my-api", iat=None)
        self.shown("token inspect", token)

    def test_keys_are_shown(self):
        self.serve()
        self.shown("keys show", "")

    def test_a_decision_is_explained(self):
        port = self.serve(EXPLAINED)
        self.shown("explain", self.provider.token(aud="my-api", scope="read"), port)

    def test_keys_are_made_listed_and_revoked(self):
        page = pages.guide("api-keys")
        (self.sandbox.keys / "keys.json").unlink()
        result = self.run_in_shell(page.blocks("sh")[0])
        self.assertEqual(result.returncode, 0, result.stderr)
        made, *listed = result.stdout.splitlines()
        self.assertTrue(any(line.startswith("partner-a") and "premium" in line for line in listed), listed)
        self.assertNotIn(made, "".join(listed))
        self.assertEqual(json.loads((self.sandbox.keys / "keys.json").read_text()), {"keys": []})

    def test_a_key_of_another_system_is_taken_over_by_its_hash(self):
        page = pages.guide("api-keys")
        hashed = self.run_in_shell(f"KEY=test\n{page.blocks('sh')[1]}").stdout.split()[0]
        [entry] = json.loads(page.blocks("json")[0])["keys"]
        self.assertEqual(hashed, entry["sha256"])
        (self.sandbox.keys / "keys.json").write_text(page.blocks("json")[0])
        plan = "JwtGatePlan premium rate=1/s\n"
        self.assertEqual(self.sandbox.complaint(plan + page.blocks("apache")[0]), "")


if __name__ == "__main__":
    unittest.main()
