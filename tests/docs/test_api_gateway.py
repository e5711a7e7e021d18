"""The move from an API gateway, made: its configuration, its keys, its answers, its two virtual hosts."""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import time
import unittest

import pages
from application import Answer, Application, ask
from processes import free_port
from provider import Provider
from sandbox import Sandbox
from tokens import write

PAGE = pages.guide("from-api-gateway")
CONFIGURATION = next(block for block in PAGE.blocks("apache") if block.startswith("# /etc/apache2/api.conf"))
ANSWERS = next(block for block in PAGE.blocks("apache") if "ErrorDocument" in block)
HOSTS = next(block for block in PAGE.blocks("apache") if "Include api.conf" in block)
ORIGIN, API = "origin.example.com", "api.example.com"
# As the service exports them.
KEYS = {
    "items": [
        {"id": "basic00001", "value": "b" * 40, "name": "Shop", "enabled": True, "stageKeys": []},
        {"id": "premium001", "value": "p" * 20, "name": "A store", "enabled": True, "stageKeys": []},
        {"id": "disabled01", "value": "d" * 40, "name": "Gone", "enabled": False, "stageKeys": []},
        {"id": "planless01", "value": "n" * 128, "name": "New", "enabled": True, "stageKeys": []},
    ]
}
PLANS = {
    "basic": {"items": [{"id": "basic00001", "type": "API_KEY"}, {"id": "disabled01", "type": "API_KEY"}]},
    "premium": {"items": [{"id": "premium001", "type": "API_KEY"}]},
}


def imported(sandbox: Sandbox) -> dict:
    """What the script of the page makes of the exports."""
    for name, content in {"api-keys": KEYS, **PLANS}.items():
        (sandbox.root / f"{name}.json").write_text(json.dumps(content))
    [script] = PAGE.blocks("python")
    run = [sys.executable, "-c", script]
    made = subprocess.run(run, cwd=sandbox.root, check=True, capture_output=True, text=True).stdout
    write(sandbox.keys / "keys.json", made.encode(), 0o644)
    return json.loads(made)


class Moved:
    """The configuration of the page in a running server, for a provider and an application of this machine."""

    def __init__(self, tools: contextlib.ExitStack, more: str = "", replaced: dict | None = None):
        self.sandbox = tools.enter_context(Sandbox())
        self.sandbox.root.chmod(0o755)
        self.provider = tools.enter_context(Provider(self.sandbox.root))
        application = tools.enter_context(Application())
        imported(self.sandbox)
        self.port = free_port()
        text = CONFIGURATION
        for what, there in {
            "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E": self.provider.issuer,
            "profile=cognito": f"profile=cognito ca={self.sandbox.root}/ca.pem timeout=15s",
            "http://127.0.0.1:9000/": application.url,
            # So that nothing is refilled while the test asks.
            "rate=5/s burst=5": "rate=5/h burst=5",
            "198.51.100.0/24": "127.0.0.1/32",
            **(replaced or {}),
        }.items():
            assert what in text, what
            text = text.replace(what, there)
        self.sandbox.keep(text)
        hosts = HOSTS.replace("*:443", f"127.0.0.1:{self.port}")
        configuration = f"Listen 127.0.0.1:{self.port}\n{more}\n{hosts}"
        tools.enter_context(self.sandbox.start(configuration, self.port))
        deadline = time.monotonic() + 20
        while self.ask("/", token=self.token()).status == 503 and time.monotonic() < deadline:
            time.sleep(0.05)

    def token(self, **claims) -> str:
        """An access token as Cognito makes them, without `aud`."""
        return self.provider.token(client_id="APP-CLIENT-ID", token_use="access", **claims)

    def ask(self, path: str, token: str | None = None, key: str | None = None, host: str = API, **more) -> Answer:
        headers = {"Host": host, **more.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["X-API-Key"] = key
        return ask(self.port, path, headers, **more)


class FromApiGateway(unittest.TestCase):
    def setUp(self):
        self.tools = contextlib.ExitStack()
        self.addCleanup(self.tools.close)

    def test_keys_are_taken_over_with_their_plans(self):
        sandbox = self.tools.enter_context(Sandbox())
        digest = {key["id"]: hashlib.sha256(key["value"].encode()).hexdigest() for key in KEYS["items"]}
        self.assertEqual(
            imported(sandbox)["keys"],
            [
                {"id": "basic00001", "sha256": digest["basic00001"], "plan": "basic"},
                {"id": "premium001", "sha256": digest["premium001"], "plan": "premium"},
                {"id": "planless01", "sha256": digest["planless01"]},
            ],
        )

    def test_the_configuration_does_what_the_stage_did(self):
        moved = Moved(self.tools)
        read, write_ = moved.token(scope="orders/read"), moved.token(scope="orders/read orders/write")

        self.assertEqual(moved.ask("/health").status, 200)
        orders = moved.ask("/orders", token=read, headers={"X-User": "admin", "x_user": "admin"})
        self.assertEqual((orders.status, orders.seen("X-User")), (200, ["alice"]))
        self.assertRegex(orders.seen("traceparent")[0], "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
        self.assertEqual(moved.ask("/orders", token=read, method="POST").status, 403)
        posts = [moved.ask("/orders", token=write_, method="POST").status for _ in range(6)]
        self.assertEqual(posts, [200] * 4 + [429] * 2)
        self.assertEqual(moved.ask("/orders", token=write_).status, 200)

        plans = {"b" * 40: "20;w=2, \"plan-quota\";q=10000", "p" * 20: "100;w=2, \"plan-quota\";q=1000000"}
        for key, numbers in plans.items():
            answer = moved.ask("/partners", key=key)
            self.assertEqual(answer.status, 200, answer.text)
            self.assertIn(f'"plan";q={numbers};w=', answer.headers["RateLimit-Policy"])
        self.assertIn('"plan";q=20;', moved.ask("/partners", key="n" * 128).headers["RateLimit-Policy"])
        self.assertEqual(moved.ask("/partners", key="d" * 40).status, 401)
        self.assertEqual(moved.ask("/partners", key="p" * 20, source="127.0.0.2").status, 403)

        preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
        answer = moved.ask("/orders", method="OPTIONS", headers=preflight)
        self.assertEqual(
            (answer.status, answer.headers["Access-Control-Allow-Origin"]), (204, "https://app.example.com")
        )
        large = moved.ask("/orders", token=read, headers={"Content-Length": str(10485760)}, body=b"x" * 10485760)
        self.assertEqual(large.status, 200)

    def test_answers_are_those_of_the_table(self):
        small = {"quota=10000/month": "quota=3/month", "ProxyTimeout 30": "ProxyTimeout 3"}
        moved = Moved(self.tools, "JwtGateIssuer away https://127.0.0.1:9/ audience=x", small)
        away = moved.token(iss="https://127.0.0.1:9/")
        good = moved.token(scope="orders/read orders/write")
        reached = {
            "no token, or a bad one": [lambda: moved.ask("/"), lambda: moved.ask("/", token="a.b.c")],
            "the token lacks a scope": [lambda: moved.ask("/orders", token=moved.token())],
            "no API key, or an unknown one": [lambda: moved.ask("/partners"), lambda: moved.ask("/partners", key="x" * 20)],
            "not from this address": [lambda: moved.ask("/partners", key="b" * 40, source="127.0.0.2")],
            "a quota": [lambda: [moved.ask("/partners", key="b" * 40) for _ in range(4)][-1]],
            "a throttle": [lambda: [moved.ask("/orders", token=good, method="POST") for _ in range(7)][-1]],
            "the application is too slow": [lambda: moved.ask("/slow", token=good)],
            "the body is too large": [
                lambda: moved.ask("/", token=good, method="POST", headers={"Content-Length": "10485761"})
            ],
            "no such route or method": [lambda: moved.ask("/nothing", token=good)],
            "keys of the issuer cannot be had": [lambda: moved.ask("/", token=away)],
        }
        for happened, _, here in PAGE.table("Answers that differ"):
            for reach in reached.pop(happened):
                with self.subTest(happened):
                    answer = reach()
                    self.assertIn(str(answer.status), re.findall(r"\b\d{3}\b", here) or ["200"])
                    for header in re.findall(r"`(WWW-Authenticate|Retry-After|RateLimit)", here):
                        self.assertIsNotNone(answer.headers[header], header)
                    if scheme := re.search(r"`WWW-Authenticate: (\w+)", here):
                        self.assertTrue(answer.headers["WWW-Authenticate"].startswith(scheme[1]))
                    if answer.status in (401, 403, 429, 503):
                        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertEqual(reached, {}, "rows that the table does not have")

    def test_clients_can_have_the_bodies_of_before(self):
        moved = Moved(self.tools, ANSWERS)
        token = moved.token(scope="orders/read orders/write")
        refused = {
            "Unauthorized": moved.ask("/"),
            "Forbidden": moved.ask("/orders", token=moved.token()),
            "Too Many Requests": [moved.ask("/orders", token=token, method="POST") for _ in range(7)][-1],
        }
        for message, answer in refused.items():
            self.assertEqual(answer.text, f'{{"message":"{message}"}}')
            self.assertEqual(answer.headers["Content-Type"], "application/json", message)
        self.assertTrue(refused["Unauthorized"].headers["WWW-Authenticate"].startswith("Bearer "))

    def test_the_rules_are_tried_out_at_one_name_and_hold_at_the_other(self):
        moved = Moved(self.tools)
        self.assertEqual([moved.ask("/orders", host=host).status for host in (ORIGIN, API)], [200, 401])
        self.assertEqual([moved.ask("/partners", host=host).status for host in (ORIGIN, API)], [200, 401])
        moved.sandbox.log("decisions.json", 4)
        command = next(block for block in PAGE.blocks("sh") if "would-deny" in block)
        run = ["bash", "-c", moved.sandbox.placed(command)]
        counted = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
        self.assertEqual(counted, ["2", '"reason":"token-missing"'])

    def test_variables_of_the_access_log_are_in_the_decision_log(self):
        moved = Moved(self.tools)
        moved.ask("/orders", token=moved.token(scope="orders/read"))
        moved.ask("/partners", key="x" * 20)
        # Behind those that asked whether there are keys.
        lines = moved.sandbox.log("decisions.json", 3)
        members = {name for line in lines for name in json.loads(line)}
        named = {name for _, column, _ in PAGE.table("Access logs") for name in re.findall(r"`(\w+)`", column)}
        self.assertGreater(len(named), 8)
        self.assertEqual(named - members, set())


if __name__ == "__main__":
    unittest.main()
