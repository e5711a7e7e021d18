"""mod_auth_openidc and mod_oauth2, the real ones: replaced by the gate, and beside it."""

import contextlib
import json
import re
import ssl
import time
import unittest
import urllib.parse
from http.client import HTTPSConnection
from http.cookies import SimpleCookie

import pages
from application import Answer, Application, ask
from processes import free_port
from provider import Provider
from sandbox import Sandbox, directives_of_all_modules

PAGE = pages.guide("from-mod_auth_openidc")
OAUTH20, OAUTH2, GATE, TRIAL = re.findall(r"```apache\n(.*?)```", PAGE.section("In its place"), flags=re.DOTALL)
[BESIDE] = re.findall(r"```apache\n(.*?)```", PAGE.section("Beside it"), flags=re.DOTALL)
FORGED = {"X-User": "admin"}


class Site:
    """A configuration of the page in a running server, for a provider and an application of this machine."""

    def __init__(self, tools: contextlib.ExitStack, configuration: str, await_keys: bool = True):
        self.sandbox = tools.enter_context(Sandbox())
        self.sandbox.root.chmod(0o755)
        self.provider = tools.enter_context(Provider(self.sandbox.root))
        self.port = free_port()
        ca = f"{self.sandbox.root}/ca.pem"
        for what, there in {
            "https://app.example.com": f"http://127.0.0.1:{self.port}",
            "http://127.0.0.1:9000/": tools.enter_context(Application()).url,
            "audience=my-api": f"audience=my-api ca={ca} timeout=15s",
            # mod_oauth2 can be told of no other authorities than the system's.
            "jwks_uri https://login.example.com/jwks": "jwks_uri https://login.example.com/jwks jwks_uri.ssl_verify=false",
            "https://login.example.com": self.provider.issuer,
        }.items():
            configuration = configuration.replace(what, there)
        if "OIDC" in configuration:
            configuration = f"OIDCCABundlePath {ca}\n{configuration}"
        configuration = f"Listen 127.0.0.1:{self.port}\n{self.sandbox.placed(configuration)}"
        tools.enter_context(self.sandbox.start(configuration, self.port))
        deadline = time.monotonic() + 20
        while await_keys and self.ask("/", self.token()).status == 503 and time.monotonic() < deadline:
            time.sleep(0.05)

    def token(self, **claims) -> str:
        return self.provider.token(**{"aud": "my-api", "scope": "read", **claims})

    def ask(self, path: str, token: str | None = None, **headers) -> Answer:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(self.port, path, FORGED | authorization | headers)

    def tokens(self) -> dict[str, str | None]:
        """The tokens of the table of what is let in."""
        tomorrow = int(time.time()) + 86400
        good = self.token()
        return {
            "good": good,
            "none": None,
            "forged": good[:-8] + ("AAAAAAAA" if good[-8:] != "AAAAAAAA" else "BBBBBBBB"),
            "for another audience": self.token(aud="another"),
            "with another issuer in `iss`": self.token(iss="https://another.example.com"),
            "without `exp`": self.token(exp=None),
            "ended ten seconds ago": self.token(lifetime=-10),
            "ended two minutes ago": self.token(lifetime=-120),
            "not valid before tomorrow (`nbf`)": self.token(nbf=tomorrow),
            "RS512": self.token(algorithm="RS512"),
            "of another kind (`typ` is `logout+jwt`)": self.token(typ="logout+jwt"),
            "without the scope": self.token(scope="write"),
        }


class Browser:
    """Goes where it is sent, at the site and at the provider, and keeps the cookies of the site."""

    def __init__(self, site: Site):
        self._site, self._cookies = site, SimpleCookie()

    def go(self, path: str) -> Answer:
        for _ in range(8):
            cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in self._cookies.items())
            host = f"127.0.0.1:{self._site.port}"
            answer = self._site.ask(path, Host=host, Accept="text/html", OIDC_CLAIM_sub="admin", Cookie=cookies)
            for line in answer.headers.get_all("Set-Cookie") or []:
                self._cookies.load(line)
            if answer.status != 302:
                return answer
            location = answer.headers["Location"]
            if location.startswith(self._site.provider.issuer):
                location = self._log_in(location)
            path = location.removeprefix(f"http://{host}")
        raise AssertionError("sent around in a circle")

    def _log_in(self, location: str) -> str:
        parts = urllib.parse.urlsplit(location)
        trust = ssl.create_default_context(cafile=self._site.sandbox.root / "ca.pem")
        connection = HTTPSConnection(parts.netloc, context=trust, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"{parts.path}?{parts.query}")
            return connection.getresponse().headers["Location"]


class Beside(unittest.TestCase):
    def setUp(self):
        self.tools = contextlib.ExitStack()
        self.addCleanup(self.tools.close)

    def test_directives_of_the_others_exist(self):
        known = directives_of_all_modules("OIDCCryptoPassphrase tests\nOAuth2Cache shm\n")
        named = set(re.findall(r"\b(?:OIDC|OAuth2)[A-Z]\w+", PAGE.text))
        self.assertGreater(len(named), 15)
        self.assertEqual(named - set(known), set())

    def test_what_is_let_in_is_what_the_table_says(self):
        sites = [Site(self.tools, text) for text in (OAUTH20, OAUTH2, GATE)]
        tokens = [site.tokens() for site in sites]
        for name, *statuses in PAGE.table("What is let in"):
            with self.subTest(name):
                answers = [site.ask("/", made.pop(name)) for site, made in zip(sites, tokens, strict=True)]
                self.assertEqual([str(answer.status) for answer in answers], statuses)
                for answer in answers:
                    if answer.status == 200:
                        self.assertEqual(answer.seen("X-User"), ["alice"])
        self.assertEqual(tokens[0], {}, "tokens that the table does not have")
        several = self.token_statuses(sites, scope="write read")
        self.assertEqual(several, [401, 401, 200])

    def token_statuses(self, sites: list[Site], **claims) -> list[int]:
        return [site.ask("/", site.token(**claims)).status for site in sites]

    def test_lines_that_ask_for_claims_ask_for_the_same(self):
        old, gate = ["Require claim scope:read", "Require jwt-scope read"]
        expression = "(^| )read( |$)"
        for asked_before, asked_now, met in [
            ("Require claim a.b:x", "Require jwt-claim a.b x", {"a": {"b": "x"}}),
            (f'Require claim "scope~{expression}"', "Require jwt-scope read", {"scope": "write read"}),
            (f'Require claim "scope~{expression}"', f"Require expr \"jwt('scope') =~ /{expression}/\"", {"scope": "read x"}),
            ("Require user alice", "Require user alice", {"scope": None}),
        ]:
            sites = [Site(self.tools, OAUTH20.replace(old, asked_before)), Site(self.tools, GATE.replace(gate, asked_now))]
            with self.subTest(asked_before, now=asked_now):
                self.assertEqual(self.token_statuses(sites, **met), [200, 200])
                self.assertEqual(self.token_statuses(sites, scope="reader", sub="bob"), [401, 403])
        never = Site(self.tools, OAUTH2.replace("scope:read", "scope~read"))
        self.assertEqual(self.token_statuses([never]), [401])

    def test_challenges_of_the_gate_are_as_the_page_says(self):
        site = Site(self.tools, GATE)
        self.assertEqual(site.ask("/").headers["WWW-Authenticate"], 'Bearer realm="api"')
        challenge = site.ask("/", site.token(scope="write")).headers["WWW-Authenticate"]
        self.assertEqual(challenge, 'Bearer realm="api", error="insufficient_scope", scope="read"')

    def test_a_trial_tells_and_the_old_module_decides(self):
        self.try_out(TRIAL, OAUTH20)

    def test_a_trial_beside_mod_oauth2_does_the_same(self):
        log, gate = re.findall(r"^JwtGate(?:Issuer|Log) .*\n", TRIAL, flags=re.MULTILINE)
        trial = OAUTH2.replace('<Location "/">\n', '<Location "/">\n    JwtGate dry-run\n')
        self.assertIn("dry-run", trial)
        self.try_out(f"{log}{gate}{trial}", OAUTH2)

    def try_out(self, trial: str, old: str) -> None:
        site, before = Site(self.tools, trial), Site(self.tools, old)
        made, made_before = site.tokens(), before.tokens()
        for name, token in made.items():
            with self.subTest(name):
                answer, usual = site.ask("/", token), before.ask("/", made_before[name])
                self.assertEqual(answer.status, usual.status)
                if answer.status == 200:
                    self.assertEqual(answer.seen("X-User"), ["alice"])
        lines = site.sandbox.log("decisions.json", len(made))
        reasons = [json.loads(line)["reason"] for line in lines if '"would-deny"' in line]
        self.assertIn("audience-mismatch", reasons)

    def test_people_log_in_and_programs_bring_tokens(self):
        site = Site(self.tools, f"OIDCInfoHook access_token\n{BESIDE}")
        browser = Browser(site)
        page = browser.go("/app/page")
        self.assertEqual((page.status, page.seen("X-User"), page.seen("OIDC_CLAIM_sub")), (200, ["alice"], []))
        self.assertEqual(site.ask("/app/page", site.token(), Accept="text/html").status, 302)

        self.assertEqual(site.ask("/orders").status, 401)
        self.assertEqual(browser.go("/orders").status, 401)
        orders = site.ask("/orders", site.token(), OIDC_CLAIM_sub="admin", x_user="admin")
        self.assertEqual((orders.status, orders.seen("X-User")), (200, ["alice"]))
        self.assertEqual(orders.seen("OIDC_CLAIM_sub"), ["admin"], "which is why the page says to turn them off")
        self.assertEqual(site.ask("/orders", site.token(scope="write")).status, 403)

        token = json.loads(browser.go("/oidc/callback?info=json").text)["access_token"]
        self.assertEqual(site.ask("/orders", token).status, 200)
        # Odd spellings end where a token is needed, or nowhere.
        odd = {"/APP/page": 401, "/app;x/page": 401, "/app/..;/orders": 400}
        self.assertEqual({path: site.ask(path).status for path in odd}, odd)

    def test_the_limit_holds_before_a_login_is_begun(self):
        site = Site(self.tools, BESIDE.replace("rate=20/s burst=100", "rate=1/d burst=3"), await_keys=False)
        statuses = [site.ask("/app/page", Accept="text/html").status for _ in range(4)]
        self.assertEqual((statuses[0], statuses[-1]), (302, 429))


if __name__ == "__main__":
    unittest.main()
