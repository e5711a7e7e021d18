//! `SetHandler jwt-gate-status`: the page as Chromium shows it, and the document behind it.

use serde_json::{Value, json};

use crate::harness::chromium::{Chromium, Page};
use crate::harness::{MAIN, Provider, Server, Signer, Site, await_true};

pub(crate) const STATUS: &str =
    "<Location \"/gate/status\">\nJwtGate off\nSetHandler jwt-gate-status\nRequire local\n</Location>\n";

const GATED: &str = r#"
    JwtGatePlan free rate=60/m
    JwtGatePlan gold rate=50/s
    JwtGateApiKeys conf/keys.json
    JwtGateNetwork office file=conf/office.txt
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateLimit per-user key=subject rate=1/d burst=5
        JwtGateLimit trial key=address rate=1/d burst=3 dry-run
    </Location>
    <Location "/closed">
        JwtGateDeny @office 127.0.0.0/8
    </Location>
"#;

fn start(more: &str) -> Server {
    let site = Site::new();
    let key = json!({"id": "a", "sha256": "0".repeat(64)});
    site.write("conf/keys.json", json!({ "keys": [key] }).to_string());
    site.write("conf/office.txt", "192.0.2.0/24\n198.51.100.0/24\n");
    site.start(&format!("{MAIN}{GATED}{STATUS}{more}"))
}

pub(crate) fn document(server: &Server) -> Value {
    let answer = server.get("/gate/status?format=json").send();
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    answer.json()
}

pub(crate) fn url(server: &Server) -> String {
    format!("http://gate.test:{}/gate/status", server.port.number)
}

pub(crate) fn await_text(page: &Page<'_>, text: &str) {
    await_true(&format!("{text:?} on the page"), || page.text().contains(text));
}

/// Numbers of every kind, and requests that make them.
fn busy() -> (Server, Provider) {
    let provider = Provider::http();
    provider.publish(&[&Signer::ec("ES256", "k1")]);
    let mut server = start(&format!("JwtGateIssuer login {} audience=api refresh=10m\n", provider.issuer()));
    // That it is http.
    server.expect_log("JG2201");
    let token = server.token().sign();
    for _ in 0..8 {
        server.get("/x").bearer(&token).send();
    }
    for _ in 0..3 {
        server.get("/x").send();
        server.get("/closed").bearer(&token).send();
    }
    server.get("/x").bearer(server.token().forge()).send();
    (server, provider)
}

#[test]
fn the_document_tells_what_happened() {
    let (server, _provider) = busy();
    // Each is counted when its answer has been sent.
    let denied = json!({"address-denied": 3, "rate-limited": 3, "signature-invalid": 1, "token-missing": 3});
    await_true("the counts", || document(&server)["decisions"]["deny"] == denied);
    let said = document(&server);
    let limits = said["limits"].as_array().unwrap();
    let limit = |name: &str| limits.iter().find(|limit| limit["name"] == name).unwrap();
    assert_eq!((&limit("per-user")["allow"], &limit("per-user")["deny"]), (&json!(5), &json!(3)));
    assert!(limit("trial")["would_deny"].as_u64() > Some(0), "{said:#}");
    assert_eq!(
        (&said["api_keys"], &said["revocations"], &said["plans"]),
        (&json!(1), &Value::Null, &json!(["free", "gold"]))
    );
    assert_eq!((&said["networks"][0]["name"], &said["networks"][0]["networks"]), (&json!("office"), &json!(2)));
    assert_eq!((&said["keys"][0]["issuer"], &said["keys"][0]["failed"]), (&json!("login"), &json!(0)));
    await_true("the keys", || document(&server)["keys"][0]["age_seconds"].is_u64());
    assert!((1..=700).contains(&document(&server)["keys"][0]["next_fetch_seconds"].as_u64().unwrap()));
    let rates = &said["tables"][0];
    assert_eq!(rates["name"], "rates");
    assert!(rates["used"].as_u64() >= Some(2) && rates["free"].as_u64() > Some(1000), "{rates}");
    assert!(said["decision_time"]["count"].as_u64() > Some(10) && said["decision_time"]["p95"].is_f64(), "{said:#}");
    // Nobody's name or credential.
    let text = said.to_string();
    assert!(!text.contains("alice") && !text.contains(&server.token().sign()[..40]), "{text}");
}

#[test]
fn the_page_is_complete_and_may_do_nothing_else() {
    let server = start("");
    let answer = server.get("/gate/status").send();
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let policy = answer.header("Content-Security-Policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    for (header, value) in [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
        assert_eq!(answer.header(header), Some(value), "{header}");
    }
    let head = server.request("HEAD", "/gate/status").send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(server.request("POST", "/gate/status").body("{}").status(), 405);
    assert_eq!(server.app.count(), 0);
}

#[test]
fn a_browser_shows_it_follows_it_and_has_nothing_to_complain_of() {
    let (server, _provider) = busy();
    await_true("the counts", || document(&server)["decisions"]["deny"]["address-denied"] == 3);
    await_true("the keys", || document(&server)["keys"][0]["age_seconds"].is_u64());
    let browser = Chromium::start(&server);
    let page = browser.page(&url(&server));
    page.looks("light", 1280, 900);
    for text in ["token-missing", "per-user", "login", "@office", "gold", "rates", "mod_jwt_gate"] {
        await_text(&page, text);
    }
    let ground = || page.run("return getComputedStyle(document.body).backgroundColor");
    let light = ground();
    show(&page, "light");
    page.looks("dark", 1280, 900);
    assert_ne!(ground(), light);
    show(&page, "dark");
    page.looks("dark", 390, 800);
    show(&page, "narrow");
    assert_eq!(page.run("return document.documentElement.scrollWidth <= 390"), true, "it is wider than a telephone");

    // It follows by itself.
    let decisions = || page.run("return document.querySelector('dd').textContent");
    let before = decisions();
    server.get("/x").send();
    await_true("a newer number", || decisions() != before);
    assert_eq!(page.console(), Vec::<Value>::new());

    let mut server = server;
    server.stop();
    await_text(&page, "not up to date");
    server.start_again();
}

#[test]
fn with_nothing_and_with_a_thousand_of_everything_and_whatever_its_name_is_it_is_a_text() {
    let server = start("");
    let browser = Chromium::start(&server);
    let page = browser.page(&url(&server));
    page.looks("light", 1280, 900);
    await_text(&page, "Nothing has been refused.");
    await_text(&page, "No issuer has its keys fetched.");
    show(&page, "empty");

    let hostile = [
        "<img src=x onerror=\"window.harmed=1\">",
        "</script><script>window.harmed=1</script>",
        "\"><svg onload=harmed()>",
        "javascript:alert(1)",
        "{{7*7}}",
        "&lt;b&gt;",
        "__proto__",
        "\u{202e}evil\u{0}",
        "a b\nc",
    ];
    let name = |at: usize| format!("{} {at}", hostile[at % hostile.len()]);
    let some = |count: usize, make: &dyn Fn(usize) -> Value| (0..count).map(make).collect::<Vec<Value>>();
    let all = |make: &dyn Fn(usize) -> Value| some(1000, make);
    let reasons: serde_json::Map<String, Value> = (0..1000).map(|at| (name(at), at.into())).collect();
    let many = json!({
        "time": "2026-01-01T00:00:00Z", "version": "<b>1</b>",
        "decisions": {"allow": u64::MAX, "deny": reasons, "would_deny": reasons},
        "decision_time": {"count": 5, "mean": 0.00001, "p50": 0.000002, "p95": 0.00005, "p99": null},
        "request_time": {"count": 0, "mean": null, "p50": null, "p95": null, "p99": null},
        "responses": reasons, "token_cache": {"hit": 3, "miss": 1}, "lockouts": 12,
        "limits": all(&|at| json!({"name": name(at), "allow": at, "deny": at % 7, "would_deny": at % 3})),
        "keys": all(&|at| json!({"issuer": name(at), "age_seconds": if at % 9 == 0 { Value::Null } else { at.into() },
                                 "next_fetch_seconds": at, "fetched": at, "failed": at % 5})),
        "networks": all(&|at| json!({"name": name(at), "networks": at, "age_seconds": at * 100,
                                     "written_seconds": at * 9000})),
        "api_keys": 1000, "revocations": 1000, "plans": all(&|at| name(at).into()),
        "tables": all(&|at| json!({"name": name(at), "used": at, "free": 1000 - at})),
        "refusals": some(64, &|at| json!({"time": "2026-01-01T00:00:00.123456Z", "server": name(at), "verdict": name(at),
                                     "reason": name(at), "status": at, "limit": name(at), "address": name(at),
                                     "subject": name(at)})),
        "at_limit": some(512, &|at| json!({"verdict": "would-deny", "reason": name(at), "limit": name(at), "address": name(at),
                                     "subject": name(at), "until": name(at), "seconds": at * 100})),
    });
    // In the place of what the server says, from which nothing comes any more: many looks at nine reasons, as if five
    // seconds lay between one and the next, then one at all of it.
    page.run(&format!(
        "const many = {many};
         window.fetch = () => new Promise(() => {{}});
         [before, samples] = [null, []];
         const reasons = Object.keys(many.decisions.deny).slice(0, 9);
         const [deny, start] = [Object.fromEntries(reasons.map((reason) => [reason, 0])), Date.parse('2026-01-01')];
         for (let look = 0; look < 200; look++) {{
             many.time = new Date(start + 5000 * look).toISOString();
             reasons.forEach((reason, at) => deny[reason] += (look * (at + 3)) % 7);
             const allow = 1000 * look + Math.round(3000 * Math.sin(look / 9));
             const now = {{ time: many.time, decisions: {{ allow, deny: {{ ...deny }}, would_deny: {{}} }} }};
             remember(now);
             before = now;
         }}
         before = null;
         render(many);"
    ));
    assert_eq!(page.run("return [samples.length, colors.size]"), json!([120, 5]), "what is kept is bounded");
    let text = page.text();
    for name in &hostile[..3] {
        assert!(text.contains(name), "{name}");
    }
    let count =
        "return [window.harmed ?? null, document.querySelectorAll('main img, main script, main b, main svg svg').length,
                 document.querySelectorAll('tbody tr').length, document.documentElement.scrollWidth <= 1280]";
    assert_eq!(page.run(count), json!([null, 0, 2000 + 512 + 64 + 1000 + 2 + 1000 + 1000 + 1000 + 1000 + 4, true]));
    show(&page, "many");
    assert_eq!(page.console(), Vec::<Value>::new());
}

/// Keeps a picture where `JWT_GATE_PICTURES` says, for people to look at.
pub(crate) fn show(page: &Page<'_>, name: &str) {
    if let Some(folder) = std::env::var_os("JWT_GATE_PICTURES") {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), page.picture()).unwrap();
    }
}
