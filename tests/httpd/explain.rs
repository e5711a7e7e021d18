//! `SetHandler jwt-gate-explain`: what it says of a request is what becomes of that request, and asking costs nothing.

use std::path::PathBuf;
use std::process::{Command, Output};

use ring::digest;
use serde_json::{Value, json};

use crate::harness::config::Gate;
use crate::harness::tokens::base64url;
use crate::harness::{Answer, MAIN, Mpm, Request, Server, Signer, Site, now};

/// The handler, in all virtual hosts, and what the log knows of each request in a header of its answer.
const EXPLAIN: &str = "<Location \"/gate/explain\">\nJwtGate off\n\
    SetHandler jwt-gate-explain\nRequire local\n</Location>\n\
    Header always set X-Gate \"%{JWT_GATE_VERDICT}e %{JWT_GATE_REASON}e\"\n";

/// A request that can be asked about, and sent.
#[derive(Clone, Debug)]
struct Case {
    method: &'static str,
    path: String,
    host: Option<&'static str>,
    /// The connection's address, and the client's if a proxy names it.
    from: &'static str,
    client: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
}

impl Case {
    fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), host: None, from: "127.0.0.1", client: None, headers: Vec::new() }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.as_ref()))
    }

    fn from(mut self, from: &'static str) -> Self {
        self.from = from;
        self
    }

    fn described(&self) -> Value {
        let mut described = json!({
            "method": self.method, "path": self.path, "headers": self.headers,
            "address": self.client.unwrap_or(self.from), "peer": self.from,
        });
        if let Some(host) = self.host {
            described["host"] = host.into();
        }
        described
    }

    fn real(&self, server: &Server) -> Request {
        let host = self.host.unwrap_or("gate.test");
        let request = Request::with_host(server.address(), host, self.method, &self.path).from(self.from);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        match self.client {
            Some(client) => request.header("X-Client", client),
            None => request,
        }
    }
}

fn ask(server: &Server, described: &Value) -> Request {
    server.request("POST", "/gate/explain").header("Content-Type", "application/json").body(described.to_string())
}

fn explained(server: &Server, described: &Value) -> Value {
    let answer = ask(server, described).send();
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    answer.json()
}

/// What is left by the header RateLimit.
fn left(answer: &Answer) -> Vec<(String, u64)> {
    let members = answer.header("RateLimit").unwrap_or_default().split(", ").filter(|member| !member.is_empty());
    let member = |member: &str| {
        let mut parts = member.split(';');
        let name = parts.next()?.trim_matches('"').to_owned();
        Some((name, parts.next()?.strip_prefix("r=")?.parse().ok()?))
    };
    members.map(|text| member(text).unwrap()).collect()
}

/// Asks about a request, twice, and sends it; gives what was said.
fn agrees(server: &Server, case: &Case) -> Value {
    let said = explained(server, &case.described());
    let lasting = |said: &Value| {
        let limits = said["limits"].as_array().unwrap().iter();
        let limits: Vec<Value> =
            limits.map(|limit| json!([limit["name"], limit["kind"], limit["remaining"]])).collect();
        json!([said["verdict"], said["status"], said["reason"], limits])
    };
    assert_eq!(
        lasting(&explained(server, &case.described())),
        lasting(&said),
        "asking has changed something: {case:?}"
    );
    let answer = case.real(server).send();
    let context = || format!("{case:?}\nsaid {said:#}\nand then {answer:?}\n{}", answer.text());

    let gate = answer.header("X-Gate").unwrap_or("(null) (null)");
    let (verdict, reason) = gate.split_once(' ').unwrap();
    assert_eq!(said["reason"].as_str().unwrap_or("(null)"), reason, "{}", context());
    let expected = match (answer.status, verdict) {
        (400.., _) => "deny",
        (_, "would-deny") => "would-deny",
        _ => "allow",
    };
    assert_eq!(said["verdict"], expected, "{}", context());
    match said["status"].as_u64() {
        Some(status) if expected != "would-deny" => assert_eq!(status, u64::from(answer.status), "{}", context()),
        _ => assert_eq!(answer.status, 200, "{}", context()),
    }
    let refused: Vec<&Value> =
        said["steps"].as_array().unwrap().iter().filter(|step| step["result"] == "refused").collect();
    assert_eq!(refused.len(), usize::from(expected == "deny"), "{}", context());
    for (name, after) in left(&answer) {
        let (name, kind) = name.strip_suffix("-quota").map_or((name.as_str(), "rate"), |name| (name, "quota"));
        let mut limits = said["limits"].as_array().unwrap().iter();
        let before = limits.find(|limit| limit["name"] == name && limit["kind"] == kind).unwrap();
        let before = before["remaining"].as_u64().unwrap();
        let is_charged = !matches!(reason, "rate-limited" | "quota-exceeded");
        assert_eq!(before, after + u64::from(is_charged), "{name} {kind}: {}", context());
    }
    said
}

fn step<'s>(said: &'s Value, name: &str) -> &'s Value {
    let steps = said["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no step {name} in {said:#}"))
}

fn key_file() -> String {
    let key = |id: &str, text: &str, more: Value| {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut key = json!({"id": id, "sha256": hash});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let keys = [
        key("partner", "partner-key", json!({"plan": "gold", "scopes": ["read"]})),
        key("far", "far-key", json!({"networks": ["192.0.2.0/24"]})),
        key("old", "old-key", json!({"expires": "2001-01-01T00:00:00Z"})),
    ];
    json!({ "keys": keys }).to_string()
}

/// Places of every kind. Rates are one a day, so that nothing is refilled while a test runs.
const PLACES: &str = r#"
    JwtGatePlan gold rate=1/d burst=6 quota=7/day
    JwtGateApiKeys conf/keys.json
    JwtGateRevocations conf/revoked.json
    JwtGateNetwork office 127.0.0.3 198.51.100.0/24
    RemoteIPHeader X-Client
    RemoteIPInternalProxy 127.0.0.9
    ProxyPass /static !
    ProxyPass / ${APP}/
    <Location "/on">
        JwtGate on
        JwtGateForward X-User subject
        JwtGateForwardCredentials off
    </Location>
    <Location "/static">
        JwtGate on
    </Location>
    <Location "/optional">
        JwtGate on
        JwtGateToken optional
    </Location>
    <Location "/none">
        JwtGate on
        JwtGateToken none
        JwtGateAllow @office peer:127.0.0.9
    </Location>
    <Location "/denied">
        JwtGate on
        JwtGateDeny 127.0.0.2 192.0.2.0/24
    </Location>
    <Location "/scope">
        JwtGate on
        Require jwt-scope write admin
    </Location>
    <Location "/tree">
        JwtGate on
        JwtGateToken optional
        <RequireAny>
            Require ip 127.0.0.3
            <RequireAll>
                Require jwt-claim role admin
                Require not user mallory
            </RequireAll>
        </RequireAny>
    </Location>
    <Location "/user">
        JwtGate on
        JwtGateToken optional
        Require valid-user
    </Location>
    <Location "/nobody">
        JwtGate on
        JwtGateToken optional
        Require all denied
    </Location>
    <Location "/session">
        JwtGate on
        JwtGateCredentials cookie:session
        JwtGateCors https://app.test credentials=on
    </Location>
    <Location "/key">
        JwtGate on
        JwtGateCredentials api-key:X-Key
        JwtGateLimit by-key key=api-key rate=1/d burst=3
    </Location>
    <Location "/both">
        JwtGate on
        JwtGateCredentials bearer+api-key:X-Key
    </Location>
    <Location "/many">
        JwtGate on
        JwtGateCredentials bearer header:X-Token query:token
        JwtGateForward X-Path "expr=%{REQUEST_URI} of %{HTTP_HOST}"
    </Location>
    <Location "/early">
        JwtGate on
        JwtGateLimit early key=address rate=1/d burst=5 quota=4/week
    </Location>
    <Location "/late">
        JwtGate on
        JwtGateLimit late key=subject rate=1/d burst=2 quota=3/week plan-claim=tier exempt=@office
        JwtGateLimit wide key=issuer rate=1/d burst=12
    </Location>
    <Location "/locked">
        JwtGate on
        JwtGateLockout failures=3/1h
    </Location>
    <Location "/dry">
        JwtGate dry-run
        JwtGateDeny 127.0.0.2
        JwtGateLimit dry key=address rate=1/d burst=9
        JwtGateForward X-User subject
    </Location>
    <Location "/trial">
        JwtGate on
        JwtGateDeny dry-run 127.0.0.2
        JwtGateLimit trial key=address rate=1/d burst=9 dry-run
    </Location>
    <Location "/off">
        <RequireAll>
            Require all granted
            Require not ip 127.0.0.3
        </RequireAll>
    </Location>
    <If "%{HTTP:X-Choose} == 'off' && %{REMOTE_ADDR} == '127.0.0.3'">
        JwtGate off
    </If>
"#;

const TARGETS: [&str; 18] = [
    "/on",
    "/static",
    "/optional",
    "/none",
    "/denied",
    "/scope",
    "/tree",
    "/user",
    "/nobody",
    "/session",
    "/key",
    "/both",
    "/many",
    "/early",
    "/late",
    "/locked",
    "/dry",
    "/trial",
];

fn start() -> Server {
    let site = Site::new().load(&["authz_user", "remoteip"]);
    site.write("conf/keys.json", key_file());
    site.write("html/static/index.html", "a page");
    site.write("conf/revoked.json", r#"{"revoked": [{"issuer": "main", "sub": "revoked"}]}"#);
    let mut server = site.start(&format!("LimitRequestFieldSize 10000\n{MAIN}{EXPLAIN}{PLACES}"));
    server.expect_log("JG2211 JwtGateLimit early (");
    server
}

/// Tokens good and bad, by what is wrong with them.
fn tokens(server: &Server) -> Vec<String> {
    let token = || server.token();
    let unsigned = |header: &str| {
        let claims = json!({"iss": "https://issuer.test"}).to_string();
        format!("{}.{}.", base64url(header), base64url(claims))
    };
    let hmac = Signer::hmac("HS256", b"a secret that the issuer does not have");
    vec![
        token().sign(),
        token().claim("scope", "read write").claim("role", "admin").claim("tier", "gold").sign(),
        token().claim("sub", "mallory").claim("role", "admin").sign(),
        token().claim("sub", Value::Null).claim("scope", "admin").sign(),
        token().claim("sub", "revoked").sign(),
        token().claim("exp", now() - 3600).sign(),
        token().claim("nbf", now() + 3600).sign(),
        token().claim("exp", Value::Null).sign(),
        token().claim("aud", "another").sign(),
        token().claim("iss", "https://other.test").sign(),
        token().header("typ", "at+xyz").sign(),
        token().header("crit", json!(["x"])).sign(),
        token().forge(),
        token().header("kid", "nobody").sign(),
        crate::harness::Token::new(&hmac).sign(),
        unsigned(r#"{"alg":"none"}"#),
        "a.b.c".to_owned(),
        "a b".to_owned(),
        String::new(),
        "a".repeat(9000),
    ]
}

#[test]
fn every_answer_is_what_becomes_of_the_request() {
    let mut server = start();
    // What is said of the real requests.
    for line in ["AH01630", "AH10244", "JG3002"] {
        server.expect_log(line);
    }
    let mut count = 0;
    let mut reasons = std::collections::BTreeSet::new();
    let mut check = |case: Case| {
        let said = agrees(&server, &case);
        count += 1;
        reasons.insert(said["reason"].as_str().unwrap_or_default().to_owned());
    };
    for target in TARGETS {
        for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
            check(Case::get(target).from(from));
        }
        for (number, token) in tokens(&server).into_iter().enumerate() {
            let from = ["127.0.0.1", "127.0.0.2", "127.0.0.3"][number % 3];
            check(Case::get(target).from(from).bearer(&token));
            if number < 8 {
                check(Case { method: "POST", ..Case::get(target) }.header("Cookie", format!("a=b; session={token}")));
                check(Case { client: Some("192.0.2.7"), ..Case::get(target) }.from("127.0.0.9").bearer(&token));
            }
        }
    }
    let good = server.token().sign();
    for key in ["partner-key", "far-key", "old-key", "nobody's", "", "a,b"] {
        for target in ["/key", "/both", "/on"] {
            check(Case::get(target).header("X-Key", key));
            check(Case::get(target).header("X-Key", key).bearer(&good));
            check(Case { client: Some("192.0.2.7"), ..Case::get(target) }.from("127.0.0.9").header("X-Key", key));
        }
    }
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "BREW"] {
        let session = || Case { method, ..Case::get("/session/x?y=1") }.header("Cookie", format!("session={good}"));
        check(session());
        check(session().header("Sec-Fetch-Site", "same-origin"));
        check(session().header("Sec-Fetch-Site", "cross-site"));
        check(session().header("Origin", "https://app.test"));
        check(session().header("Origin", "https://evil.test"));
        check(session().header("Origin", "http://gate.test"));
        check(session().header("Origin", "https://app.test").header("Access-Control-Request-Method", "PUT"));
        check(session().header("Upgrade", "websocket").header("Connection", "Upgrade"));
    }
    for path in ["/many?token=", "/many?x=1&token="] {
        check(Case::get(&format!("{path}{good}")));
        check(Case::get(&format!("{path}{good}")).bearer(&good));
    }
    check(Case::get("/many").bearer(&good).header("X-Token", good.as_str()));
    check(Case::get("/many").bearer(&good).header("Authorization", format!("Bearer {good}")));
    check(Case::get("/many").header("X-Token", good.as_str()).header("X-Token", good.as_str()));
    for path in
        ["/on/../off", "/off/..%252fon", "/off/..;/on", "/off/%2e%2e/on", "/off/a%2fb", "//on", "/off/%", "/on/%00"]
    {
        check(Case::get(path));
        check(Case::get(path).bearer(&good));
    }
    for from in ["127.0.0.1", "127.0.0.3"] {
        check(Case::get("/off").from(from));
        check(Case::get("/on").from(from).header("X-Choose", "off"));
        check(Case::get("/static/index.html").from(from).bearer(&good));
    }
    // Its configuration is that of the asking request, which httpd would not ask about again.
    check(Case { client: Some("192.0.2.7"), ..Case::get("/gate/explain") }.from("127.0.0.9"));
    assert!(count > 700, "{count}");
    for reason in [
        "",
        "address-denied",
        "algorithm-refused",
        "api-key-invalid",
        "audience-mismatch",
        "claim-denied",
        "claim-mismatch",
        "credentials-ambiguous",
        "credentials-malformed",
        "csrf",
        "issuer-unknown",
        "key-unknown",
        "locked-out",
        "path-ambiguous",
        "quota-exceeded",
        "rate-limited",
        "scope-insufficient",
        "signature-invalid",
        "token-expired",
        "token-malformed",
        "token-missing",
        "token-not-yet-valid",
        "token-revoked",
        "token-too-large",
        "type-mismatch",
    ] {
        assert!(reasons.contains(reason), "no case was refused with {reason}: {reasons:?}");
    }
}

#[test]
fn asking_counts_nothing_and_is_no_refusal_to_those_who_watch_the_log() {
    for mpm in [Mpm::Prefork, Mpm::Worker] {
        let mut server = Site::new().mpm(mpm).start(&format!(
            "{MAIN}{EXPLAIN}ProxyPass / ${{APP}}/\n\
             <Location \"/locked\">\nJwtGate on\nJwtGateLockout failures=1/1h\n</Location>\n\
             <Location \"/limited\">\nJwtGate on\nJwtGateLimit all key=global rate=1/d burst=1 quota=1/month\n\
             </Location>\n\
             <Location \"/never\">\nLogLevel info\nRequire all denied\n</Location>\n\
             <Location \"/metrics\">\nSetHandler jwt-gate-metrics\nRequire local\n</Location>\n"
        ));
        let counts = || {
            let text = server.get("/metrics").send().text();
            let counts = text.lines().filter(|line| line.contains("_total{") || line.contains("_count"));
            counts
                .filter(|line| !line.contains("responses") && !line.contains("fetches"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let before = counts();
        assert!(before.len() > 5, "{before:?}");
        let locked = |token: String| Case::get("/locked").from("127.0.0.5").bearer(token);
        let bad = locked(server.token().forge());
        for case in [&bad, &Case::get("/limited").bearer(server.token().sign()), &Case::get("/never")] {
            let first = explained(&server, &case.described());
            for _ in 0..20 {
                assert_eq!(explained(&server, &case.described())["verdict"], first["verdict"], "{case:?}");
            }
        }
        assert_eq!(counts(), before);
        let text = server.log.text();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("[client ")).collect();
        assert_eq!(lines.len(), 63, "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("[client 127.0.0.1:") && line.contains("JG1029")), "{lines:?}");
        assert!(!text.contains("AH01630") && server.app.count() == 0, "{text}");

        let good = locked(server.token().sign());
        assert_eq!(agrees(&server, &good)["verdict"], "allow");
        server.expect_log("JG3002");
        assert_eq!(agrees(&server, &bad)["reason"], "signature-invalid");
        let said = agrees(&server, &good);
        assert_eq!((&said["reason"], &said["status"]), (&json!("locked-out"), &json!(429)), "{mpm:?}");
        assert!(step(&said, "lock-out")["detail"].as_str().unwrap().starts_with("for 3"), "{said}");

        let limited = Case::get("/limited").bearer(server.token().sign());
        let said = agrees(&server, &limited);
        assert_eq!(step(&said, "limit all")["detail"], "rate: 1 of 1 left; quota: 1 of 1 left");
        let said = agrees(&server, &limited);
        assert_eq!(said["reason"], "quota-exceeded", "{mpm:?}");
        assert!(step(&said, "limit all")["detail"].as_str().unwrap().contains("0 of 1 left; again in "), "{said}");
        assert_eq!(step(&said, "credential")["result"], "skipped");
    }
}

#[test]
fn the_answer_tells_how_it_came_about_and_not_the_credential() {
    let mut server = start();
    for line in ["AH01630", "AH10244"] {
        server.expect_log(line);
    }
    let token = server.token().claim("scope", "read write").claim("tier", "gold").sign();
    let case = Case { client: Some("198.51.100.7"), ..Case::get("/late?x=1") }.from("127.0.0.9").bearer(&token);
    let said = agrees(&server, &case);
    assert_eq!(
        step(&said, "addresses")["detail"],
        "198.51.100.7 is in @office, connected from 127.0.0.9; everybody may connect"
    );
    assert_eq!(step(&said, "limit late")["detail"], "does not count this address (exempt=)");
    assert_eq!(step(&said, "limit wide")["detail"], "rate: 12 of 12 left");
    assert_eq!(step(&said, "credential")["detail"], "found in Authorization");
    assert_eq!(step(&said, "token")["detail"], "of alice, issuer main, plan gold");
    assert_eq!(said["identity"], json!({"subject": "alice", "issuer": "main", "scope": "read write", "plan": "gold"}));
    assert_eq!(said["policy"]["limits"], json!(["late key=subject", "wide key=issuer"]));
    let sections: Vec<&str> = said["sections"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let file = server.root.join("conf/httpd.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    let line = text.lines().position(|line| line.contains("\"/late\"")).unwrap() + 2;
    assert!(sections.contains(&format!("\"/late\": line {line} of {}", file.display()).as_str()), "{sections:?}");
    assert!(!said.to_string().contains(token.rsplit('.').next().unwrap()));

    // What the application gets, the client's own spelling of it left out, as from any request.
    let said = agrees(&server, &Case::get("/on").bearer(&token).header("X-User", "admin").header("x_user", "admin"));
    assert_eq!(said["headers_for_application"], json!([["X-User", "alice"]]));
    let said = agrees(&server, &Case::get("/on").bearer(server.token().forge()).header("X-User", "admin"));
    assert_eq!((&said["headers_for_application"], &said["identity"]), (&json!([]), &Value::Null));
    let said = agrees(&server, &Case::get("/scope").bearer(server.token().sign()));
    assert_eq!(said["identity"]["subject"], "alice");
    assert_eq!(step(&said, "require")["detail"], "scope-insufficient by a `Require` line");
    let said = agrees(&server, &Case::get("/off/..;/on"));
    assert_eq!(step(&said, "path")["result"], "refused");
    let said = agrees(&server, &Case::get("/none").from("127.0.0.9"));
    assert_eq!(
        (&said["policy"]["allow"], &said["policy"]["deny"]),
        (&json!(["@office", "peer:127.0.0.9/32"]), &json!([]))
    );
    let said = agrees(&server, &Case::get("/denied"));
    assert_eq!(said["policy"]["deny"], json!(["127.0.0.2/32", "192.0.2.0/24"]));
    let said = agrees(&server, &Case::get("/trial").bearer(&token));
    assert_eq!((&said["policy"]["allow"], &said["policy"]["deny"]), (&json!([]), &json!(["dry-run 127.0.0.2/32"])));
    let said = agrees(&server, &Case::get("/many").bearer(&token));
    assert_eq!(said["policy"]["forward"], json!(["X-Path expr=%{REQUEST_URI} of %{HTTP_HOST}"]));
    let session = Case { method: "POST", ..Case::get("/session") }.header("Cookie", format!("session={token}"));
    assert_eq!(step(&agrees(&server, &session), "csrf")["result"], "refused");

    // Before httpd knows which sections apply, nothing can be said of them.
    let said = agrees(&server, &Case::get("/on/%"));
    assert_eq!(
        said["steps"],
        json!([{"step": "httpd", "result": "refused", "detail": "400 from httpd, before the gate was asked"}])
    );
    assert_eq!((&said["policy"], &said["sections"]), (&Value::Null, &json!([])));
    let said = agrees(&server, &Case::get("/off").from("127.0.0.3"));
    assert_eq!(step(&said, "gate")["detail"], "JwtGate is off here");
    assert_eq!(step(&said, "require")["detail"], "403 from httpd: a `Require` line, or another module");
    assert_eq!(said["policy"], json!({"gate": "off"}));

    let preflight = Case { method: "OPTIONS", ..Case::get("/session") }
        .header("Origin", "https://app.test")
        .header("Access-Control-Request-Method", "PUT");
    let said = agrees(&server, &preflight);
    assert_eq!(
        (&said["verdict"], &said["status"], &said["cors"]["allowed"]),
        (&json!("allow"), &json!(204), &json!(true))
    );
    assert_eq!(said["cors"]["fields"][0], json!(["Access-Control-Allow-Origin", "https://app.test"]));
    let said =
        agrees(&server, &Case { method: "OPTIONS", ..Case::get("/session") }.header("Origin", "https://app.test"));
    assert_eq!((&said["verdict"], &said["cors"]["allowed"]), (&json!("deny"), &json!(true)));
}

#[test]
fn a_document_about_a_resource_and_a_rewrite_are_told_as_what_they_are() {
    let site = Site::new();
    let server = site.start(&format!(
        "{MAIN}{EXPLAIN}<Location \"/api\">\nJwtGate on\nJwtGateResource https://gate.test/api\n\
         Require jwt-scope write\n\
         </Location>\n<Directory ${{ROOT}}/html>\nRewriteEngine on\nRewriteRule \"^old\" \"/api\"\n</Directory>\n"
    ));
    let said = agrees(&server, &Case::get("/.well-known/oauth-protected-resource/api"));
    assert_eq!((&said["verdict"], &said["status"]), (&json!("allow"), &json!(200)));
    let said = explained(&server, &Case::get("/old").described());
    assert!(step(&said, "rewrite")["detail"].as_str().unwrap().contains("ask about that"), "{said}");
}

#[test]
fn the_host_finds_the_virtual_host() {
    let server = Site::new().start(&format!(
        "{EXPLAIN}<VirtualHost *:${{PORT}}>\nServerName first.test\nProxyPass / ${{APP}}/\n</VirtualHost>\n\
         <VirtualHost *:${{PORT}}>\nServerName second.test\n{MAIN}ProxyPass / ${{APP}}/\n<Location \"/\">\nJwtGate on\n\
         </Location>\n</VirtualHost>\n"
    ));
    for (host, verdict) in
        [("first.test", "allow"), ("second.test", "deny"), ("SECOND.test:80", "deny"), ("x.test", "allow")]
    {
        let said = agrees(&server, &Case { host: Some(host), ..Case::get("/") });
        assert_eq!(said["verdict"], verdict, "{host}");
        // Without `host`, it is the virtual host that was asked; the gate of the second one covers the handler as well.
        let asked = Request::with_host(server.address(), host, "POST", "/gate/explain")
            .header("Content-Type", "application/json; charset=utf-8")
            .body(r#"{"path":"/"}"#);
        let (status, verdict) = if verdict == "allow" { (200, json!("allow")) } else { (401, Value::Null) };
        let answer = asked.send();
        assert_eq!((answer.status, &answer.json()["verdict"]), (status, &verdict), "{host}");
    }
    let said = agrees(&server, &Case { host: Some("a/b"), ..Case::get("/") });
    assert_eq!((&said["verdict"], &said["status"]), (&json!("deny"), &json!(400)));
}

#[test]
fn who_asks_is_another_than_who_is_asked_about() {
    let server = Site::new().start(&format!(
        "{MAIN}{EXPLAIN}ProxyPass / ${{APP}}/\n<Location \"/\">\nJwtGate on\nJwtGateForward X-User subject\n\
         JwtGateLimit all key=global rate=1/d burst=100\nJwtGateCors https://app.test\n</Location>\n\
         <Location \"/gate/explain\">\nJwtGate on\nRequire jwt-claim role admin\n</Location>\n"
    ));
    let admin = server.token().claim("sub", "root").claim("role", "admin").sign();
    let asked = |described: Value| {
        let answer = ask(&server, &described).bearer(&admin).header("Origin", "https://app.test").send();
        assert_eq!(answer.status, 200, "{answer:?}");
        let left = left(&answer);
        (answer.json(), left[0].1)
    };
    let (said, left) = asked(json!({"path": "/"}));
    assert_eq!((&said["reason"], &said["identity"], left), (&json!("token-missing"), &Value::Null, 99));
    assert_eq!((&said["cors"]["allowed"], &said["limits"][0]["remaining"]), (&json!(false), &json!(99)));
    let alice = format!("Bearer {}", server.token().sign());
    let (said, left) = asked(json!({"path": "/", "headers": [["Authorization", alice]]}));
    assert_eq!((&said["identity"]["subject"], left), (&json!("alice"), 98), "{said}");
    assert_eq!(said["headers_for_application"], json!([["X-User", "alice"]]));
    let (said, _) = asked(json!({"path": "/gate/explain", "method": "POST", "headers": [["Authorization", alice]]}));
    assert_eq!((&said["reason"], &said["status"]), (&json!("claim-denied"), &json!(403)), "{said}");
    assert_eq!(ask(&server, &json!({"path": "/"})).send().status, 401);
    assert_eq!(server.app.count(), 0);
    let over_http2 = server.http2().get("/gate/explain", &[("authorization", &format!("Bearer {admin}"))]);
    assert_eq!((over_http2.status, over_http2.header("Allow")), (405, Some("POST")));
}

#[test]
fn what_is_no_question_is_told_so_in_json() {
    let server = start();
    let post = |kind: &str, body: &str| server.request("POST", "/gate/explain").header("Content-Type", kind).body(body);
    let large = format!("{{\"path\":\"/\",\"headers\":[[\"X\",\"{}\"]]}}", "x".repeat(64 << 10));
    let chunked = {
        let mut request = server.request("POST", "/gate/explain").header("Content-Type", "application/json");
        request = request.header("Transfer-Encoding", "chunked");
        [request.bytes(), format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).into_bytes()].concat()
    };
    let said = |answer: &Answer, status: u16, why: &str| {
        assert_eq!((answer.status, answer.header("Content-Type")), (status, Some("application/json")), "{answer:?}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        let json = answer.json();
        assert!(json["error"].as_str().unwrap().contains(why) && json.as_object().unwrap().len() == 1, "{json}");
    };
    said(&server.get("/gate/explain").send(), 405, "send it with POST");
    assert_eq!(server.get("/gate/explain").send().header("Allow"), Some("POST"));
    said(&post("text/plain", r#"{"path":"/"}"#).send(), 415, "Content-Type: application/json");
    said(&server.request("POST", "/gate/explain").body("{}").send(), 415, "Content-Type");
    for (body, why) in [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        (r#"{"path":"x"}"#, "not a path"),
        (r#"{"path":"/","address":"nowhere"}"#, "address: "),
        (r#"{"path":"/","headers":[["Host","a"]]}"#, "the member \"host\""),
    ] {
        said(&post("application/json", body).send(), 400, why);
    }
    said(&post("application/json", &large).send(), 413, "longer than 65536 bytes");
    let mut connection = server.connect();
    connection.send(chunked);
    said(&connection.answer(), 413, "longer than 65536 bytes");
    // The longest that is read.
    let fits = &large[..(64 << 10) - 3];
    assert_eq!(post("application/json", &format!("{fits}]]}}").replace("xx]]", "\"]]")).send().status, 200);
    let mut connection = server.connect();
    connection.send(
        "POST /gate/explain HTTP/1.1\r\nHost: gate.test\r\nContent-Type: application/json\r\n\
                     Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pat\r\n7\r\nh\":\"/\"}\r\n0\r\n\r\n",
    );
    assert_eq!(connection.answer().json()["verdict"], "allow");
}

/// The program that administrators ask with.
fn command(words: &[&str]) -> Output {
    let named = std::env::var_os("JWT_GATE_COMMAND").map(PathBuf::from);
    let built = Gate::UnderTest.file().unwrap().with_file_name("jwt-gate");
    let program = named.unwrap_or(built);
    let run = Command::new(&program).args(words).output();
    run.unwrap_or_else(|error| panic!("{}: {error}: run `cargo build -p jwt-gate` first", program.display()))
}

#[test]
fn the_command_shows_it() {
    let server = start();
    let url = format!("http://{}/gate/explain", server.address());
    let run =
        command(&["explain", "--url", &url, "--path", "/denied?x=1", "--address", "192.0.2.7", "--host", "gate.test"]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.status.code(), String::from_utf8(run.stderr).unwrap().as_str()), (Some(1), ""), "{text}");
    assert!(text.starts_with("deny: 403 address-denied\n"), "{text}");
    assert!(text.contains("refused  192.0.2.7, connected from 127.0.0.1; in a JwtGateDeny\n"), "{text}");
    let header = format!("Authorization: Bearer {}", server.token().sign());
    let run = command(&["explain", "--url", &url, "--path", "/on", "--header", &header, "--json"]);
    let said: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((run.status.code(), &said["verdict"]), (Some(0), &json!("allow")));
    let run = command(&["explain", "--url", &url, "--path", "/dry", "--address", "127.0.0.2"]);
    assert!(run.status.code() == Some(0) && run.stdout.starts_with(b"would-deny: 403 address-denied\n"), "{run:?}");
    let run = command(&["explain", "--url", &url, "--path", "/on", "--header", "Host: x"]);
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("answered with status 400: ") && said.contains("the member \"host\""), "{said}");
}
