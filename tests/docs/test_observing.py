"""The page about observing: its logs hold what it shows, and its commands find it."""

import contextlib
import json
import subprocess
import unittest

import pages
from application import ask
from processes import free_port
from sandbox import Sandbox

PAGE = pages.guide("observing")
# The issuer of the page, and one whose keys are on this machine.
FETCHED = "https://sso.example.com/realms/main audience=my-api"
FILE = "https://sso.example.com audience=my-api pem=jwt_gate/rsa.pub.pem"


class Observing(unittest.TestCase):
    def setUp(self):
        self.tools = contextlib.ExitStack()
        self.addCleanup(self.tools.close)
        self.sandbox = self.tools.enter_context(Sandbox())

    def serve(self, word: str) -> int:
        """A server with the block of the page that has this word."""
        port = free_port()
        block = next(block for block in PAGE.blocks("apache") if word in block)
        configuration = self.sandbox.placed(f"Listen 127.0.0.1:{port}\n{block.replace(FETCHED, FILE)}")
        self.tools.enter_context(self.sandbox.start(configuration, port))
        return port

    def test_a_dry_run_is_counted_as_shown(self):
        port = self.serve("JwtGate dry-run")
        for headers in ({}, {}, {"Authorization": "Bearer x.y.z"}):
            self.assertNotEqual(ask(port, "/", headers).status, 401)
        self.sandbox.log("gate.log", 3)
        [commands] = [block for block in PAGE.blocks("sh") if "would-deny" in block]
        run = ["bash", "-c", self.sandbox.placed(commands)]
        printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
        counted = [line.split() for line in printed]
        self.assertEqual(counted, [["3"], ["2", "token-missing", "-"], ["1", "token-malformed", "-"]])

    def test_the_decision_log_has_the_members_that_are_shown(self):
        port = self.serve("JwtGateLog ")
        self.assertEqual(ask(port, "/me?x=1", {}).status, 401)
        shown = list(json.loads(PAGE.blocks("json")[0]))
        [line] = self.sandbox.log("decisions.json", 1)
        members = list(json.loads(line))
        self.assertEqual(members, [member for member in shown if member in members])
        self.assertIn('"reason":"token-missing","server":"docs.example","method":"GET","path":"/me","status":401', line)

    def test_the_access_log_is_written_for_what_was_decided(self):
        block = next(block for block in PAGE.blocks("apache") if "JWT_GATE_TRACEPARENT" in block)
        port = free_port()
        gate = f"JwtGateIssuer login {FILE}\n<Location /on>\n    JwtGate on\n</Location>\n"
        configuration = self.sandbox.placed(f"Listen 127.0.0.1:{port}\n{gate}{block}")
        self.tools.enter_context(self.sandbox.start(configuration, port))
        ask(port, "/off", {})
        ask(port, "/on", {})
        [line] = self.sandbox.log("decisions.log", 1)
        self.assertIn(' deny token-missing "GET /on HTTP/1.1" 401 ', line)


if __name__ == "__main__":
    unittest.main()
