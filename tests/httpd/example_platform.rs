//! Setup 3: a platform with API keys, usage plans, and everything that callers may be asked for.
//!
//! mod_maxminddb is not among the modules of the machines that test. The variable that it sets comes from another one.

use serde_json::{Value, json};

use crate::harness::config::modules_dir;
use crate::harness::example::{Example, Running, repository};
use crate::harness::{Answer, Request, Server, Token};

const NAME: &str = "3-api-platform";
const HEADING: &str = "3. An API platform";
const HOST: &str = "api.example.com";

/// An address in one of the countries, one in another country, and one of which nobody knows.
const HOME: &str = "127.1.0.10";
const ABROAD: &str = "127.2.0.10";
const NOWHERE: &str = "127.0.0.1";

/// What httpd says of whom `Require` refuses.
const REFUSED: &str = "AH01630";

struct Keys {
    basic: String,
    premium: String,
    enterprise: String,
}

fn start() -> (Running, Keys) {
    start_with("")
}

/// The setup with these lines before it.
fn start_with(directives: &str) -> (Running, Keys) {
    let countries = "SetEnvIfExpr \"-R '127.1.0.0/16'\" MM_COUNTRY_CODE=DE\n\
                     SetEnvIfExpr \"-R '127.2.0.0/16'\" MM_COUNTRY_CODE=US\n<IfModule maxminddb_module>";
    let example = Example::install(NAME, &[])
        .replace("audience=platform-api", "audience=platform-api jwks=file:keys/all.jwks")
        .replace("<IfModule maxminddb_module>", countries)
        .replace("JwtGateIssuer", &format!("{directives}JwtGateIssuer"));
    let key = |name| example.shell_variable(name);
    let keys = Keys { basic: key("BASIC_KEY"), premium: key("PREMIUM_KEY"), enterprise: key("ENTERPRISE_KEY") };
    (example.start("api.service"), keys)
}

/// Lines that load mod_security2, as Debian has it, with a log of all requests, and a rule of phase 1.
fn firewall() -> String {
    let modules = modules_dir();
    let unpacked = repository().join("target/unpacked/libapache2-mod-security2/usr/lib/apache2/modules");
    let files = [&modules, &unpacked].map(|folder| folder.join("mod_security2.so"));
    let file = files.iter().find(|file| file.exists());
    let file = file.expect("mod_security2: run `make target/unpacked/libapache2-mod-security2`");
    format!(
        "LoadModule security2_module {}\nLoadModule unique_id_module {}/mod_unique_id.so\n\
         SecDataDir run\nSecAuditEngine On\nSecAuditLogParts ABCFHZ\nSecAuditLog logs/audit.log\n\
         SecRule REQUEST_HEADERS:X-Phase \"@streq 1\" \"id:1,phase:1,deny,status:406\"\n",
        file.display(),
        modules.display()
    )
}

fn request(running: &Running, method: &str, target: &str) -> Request {
    running.request(method, HOST, target).from(HOME)
}

fn with_key(running: &Running, method: &str, target: &str, key: &str) -> Request {
    request(running, method, target).header("X-Api-Key", key)
}

fn order(running: &Running, key: &str, body: &str) -> Request {
    with_key(running, "POST", "/orders", key).header("Content-Type", "application/json").body(body)
}

fn token(server: &Server) -> Token<'_> {
    server.token().claim("iss", "https://sso.example.com/realms/main").claim("aud", "platform-api")
}

/// The limits of which an answer tells, with their sizes.
fn policy(answer: &Answer) -> Vec<(String, u64)> {
    let members = answer.header("RateLimit-Policy").unwrap_or_else(|| panic!("{answer:?}")).split(", ");
    let size = |member: &str| {
        let mut parts = member.split(';');
        let name = parts.next()?.trim_matches('"').to_owned();
        Some((name, parts.next()?.strip_prefix("q=")?.parse().ok()?))
    };
    members.map(|member| size(member).unwrap()).collect()
}

#[test]
fn readme_of_the_platform_tells_what_happens() {
    let (mut running, _) = start();
    running.server.expect_log(REFUSED);
    running.follow_readme(HEADING, &[("home", HOME), ("abroad", ABROAD)]);
}

#[test]
fn plans_come_from_the_key_or_the_token() {
    let (running, keys) = start();
    let sizes = |answer: &Answer, name: &str| policy(answer).into_iter().find(|member| member.0 == name).unwrap().1;
    for (key, burst, quota, told) in [
        (&keys.basic, 10, 1000, json!({"user": "shop", "partner": "shop", "plan": "Basic", "groups": []})),
        (&keys.premium, 100, 100_000, json!({"user": "store", "partner": "store", "plan": "Premium", "groups": []})),
        (
            &keys.enterprise,
            1000,
            5_000_000,
            json!({"user": "mall", "partner": "mall", "plan": "Enterprise", "groups": []}),
        ),
    ] {
        let answer = with_key(&running, "GET", "/catalogue", key).header("X-Plan", "Enterprise").send();
        assert_eq!((sizes(&answer, "plan"), sizes(&answer, "plan-quota")), (burst, quota), "{told}");
        assert_eq!(answer.json(), told);
    }
    for (claim, plan) in [(json!("Premium"), "Premium"), (json!("Gold"), "Basic"), (Value::Null, "Basic")] {
        let token = token(&running.server).claim("plan", claim).sign();
        let answer = request(&running, "GET", "/catalogue").bearer(token).send();
        assert_eq!(answer.json()["plan"], plan);
    }
    let usage = with_key(&running, "GET", "/gate/usage", &keys.premium).send();
    assert_eq!((usage.status, &usage.json()["plan"]), (200, &json!("Premium")), "{usage:?}");
    running.server.refused(&request(&running, "GET", "/gate/usage"), 401, "token-missing");
}

#[test]
fn a_basic_caller_is_stopped_where_a_premium_one_is_not() {
    let (running, keys) = start();
    let statuses =
        |key: &str| -> Vec<u16> { (0..30).map(|_| with_key(&running, "GET", "/gate/usage", key).status()).collect() };
    // More than the bucket holds, faster than it is filled.
    let begin = std::time::Instant::now();
    let basic = statuses(&keys.basic);
    let most = 10.0 + 5.0 * begin.elapsed().as_secs_f64();
    let admitted = basic.iter().filter(|status| **status == 200).count();
    assert!(admitted >= 10 && admitted as f64 <= most, "{basic:?}");
    assert_eq!(statuses(&keys.premium), [200; 30]);
}

#[test]
fn endpoints_have_limits_of_their_own() {
    let (running, keys) = start();
    let names = |target: &str| -> Vec<String> {
        let answer = with_key(&running, "GET", target, &keys.premium).send();
        policy(&answer).into_iter().map(|member| member.0).collect()
    };
    let sorted = |target: &str| {
        let mut names = names(target);
        names.sort();
        names
    };
    assert_eq!(sorted("/catalogue"), ["address", "plan", "plan-quota"]);
    assert_eq!(sorted("/orders"), ["address", "orders", "plan", "plan-quota"]);
    assert_eq!(sorted("/export"), ["address", "export", "plan", "plan-quota"]);
    let export = || with_key(&running, "GET", "/export", &keys.premium);
    assert_eq!(export().status(), 200);
    let answer = running.server.refused(&export(), 429, "rate-limited");
    let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    // Another address has a count of its own.
    assert_eq!(with_key(&running, "GET", "/export", &keys.enterprise).from("127.1.0.11").status(), 200);
}

#[test]
fn scopes_plans_roles_groups_and_tenants_are_asked_for() {
    let (mut running, keys) = start();
    running.server.expect_log(REFUSED);
    let key = |method: &str, target: &str, key: &str| with_key(&running, method, target, key);
    let bearer = |method: &str, target: &str, claims: &[(&str, Value)]| {
        let token = claims.iter().fold(token(&running.server), |token, (name, value)| token.claim(name, value.clone()));
        request(&running, method, target).bearer(token.claim("plan", "Enterprise").sign())
    };
    // Scopes, by method.
    assert_eq!(key("GET", "/orders", &keys.basic).status(), 200);
    running.server.refused(&key("POST", "/orders", &keys.basic), 403, "scope-insufficient");
    assert_eq!(key("POST", "/orders", &keys.premium).status(), 201);
    assert_eq!(bearer("GET", "/orders", &[("scope", json!("orders:read"))]).status(), 200);
    running.server.refused(&bearer("GET", "/orders", &[("scope", json!("other"))]), 403, "scope-insufficient");
    // Plans.
    running.server.refused(&key("GET", "/export", &keys.basic), 403, "claim-denied");
    assert_eq!(key("GET", "/export", &keys.enterprise).status(), 200);
    // Roles.
    let roles = |roles: &[&str]| bearer("GET", "/audit", &[("realm_access", json!({"roles": roles}))]);
    assert_eq!(roles(&["reader", "auditor"]).status(), 200);
    running.server.refused(&roles(&["reader"]), 403, "claim-denied");
    // Tenants.
    let tenant = |tenant: &str| bearer("GET", "/tenants/blue", &[("tenant", json!(tenant))]);
    assert_eq!(tenant("blue").status(), 200);
    assert_eq!(tenant("green").status(), 403);
    assert_eq!(bearer("GET", "/tenants/blue", &[]).status(), 403);
    assert_eq!(key("GET", "/tenants/blue", &keys.enterprise).status(), 403);
    assert_eq!(bearer("GET", "/tenants/blue", &[("groups", json!(["admins"]))]).status(), 200);
    // Groups.
    let admins = [("groups", json!(["staff", "admins"]))];
    assert_eq!(bearer("GET", "/admin/users", &admins).status(), 200);
    running.server.refused(&bearer("GET", "/admin/users", &[("groups", json!(["staff"]))]), 403, "claim-denied");
    let suspended = [("groups", json!(["admins"])), ("status", json!("suspended"))];
    running.server.refused(&bearer("GET", "/admin/users", &suspended), 403, "claim-denied");
    running.server.refused(&key("GET", "/admin/users", &keys.enterprise), 401, "token-missing");
    // Another spelling of the path is not what httpd takes for it, and the application asks once more.
    assert_eq!(bearer("GET", "/Admin/users", &[]).status(), 404);
}

#[test]
fn other_countries_are_refused_whatever_an_endpoint_asks_for() {
    let (mut running, keys) = start();
    running.server.expect_log(REFUSED);
    for target in ["/catalogue", "/orders", "/gate/usage", "/tenants/blue"] {
        for from in [ABROAD, NOWHERE] {
            let request = running.request("GET", HOST, target).from(from).header("X-Api-Key", &keys.enterprise);
            assert_eq!(request.status(), 403, "{target} from {from}");
        }
    }
    running.access_log("platform.log", " 127.2.0.10 US mall \"GET /orders\" 403 Enterprise - -\n");
}

#[test]
fn scripts_of_the_console_may_call_and_others_may_not() {
    let (mut running, keys) = start();
    running.server.expect_log(REFUSED);
    let preflight = |origin: &str| {
        request(&running, "OPTIONS", "/orders")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "x-api-key")
            .send()
    };
    let answer = preflight("https://console.example.com");
    assert_eq!(
        (answer.status, answer.header("Access-Control-Allow-Origin")),
        (204, Some("https://console.example.com"))
    );
    assert_eq!(preflight("https://elsewhere.example").header("Access-Control-Allow-Origin"), None);
    let refused =
        with_key(&running, "POST", "/orders", &keys.basic).header("Origin", "https://console.example.com").send();
    assert_eq!(
        (refused.status, refused.header("Access-Control-Allow-Origin")),
        (403, Some("https://console.example.com"))
    );
}

#[test]
fn calls_are_traced_and_counted() {
    let (running, keys) = start();
    let trace = |given: &str| {
        let answer = with_key(&running, "GET", "/trace", &keys.premium).header("traceparent", given).send();
        answer.json()["traceparent"].as_str().unwrap().to_owned()
    };
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(trace(given), given);
    let made = trace("nonsense");
    assert!(made.len() == given.len() && made.starts_with("00-"), "{made}");
    running.server.refused(&request(&running, "GET", "/trace"), 401, "token-missing");
    let metrics = request(&running, "GET", "/gate/metrics").send();
    assert!(metrics.header("Content-Type").unwrap().starts_with("application/openmetrics-text"), "{metrics:?}");
    let text = metrics.text();
    for line in [
        "jwt_gate_decisions_total{verdict=\"allow\",reason=\"none\"} 2\n",
        "jwt_gate_decisions_total{verdict=\"deny\",reason=\"token-missing\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn a_firewall_reads_what_the_gate_has_let_in() {
    let (mut running, keys) = start_with(&firewall());
    for line in [REFUSED, "ModSecurity: Access denied", "ModSecurity: JSON parser error", "AH00957", "AH01114"] {
        running.server.expect_log(line);
    }
    let refused_by_the_firewall = |request: Request, status: u16| {
        let answer = request.send();
        assert_eq!((answer.status, answer.header("WWW-Authenticate")), (status, None), "{answer:?}");
        assert_ne!(answer.header("Content-Type"), Some("application/problem+json"), "{answer:?}");
    };
    const GOOD: &str = r#"{"name": "blue"}"#;
    const INJECTION: &str = r#"{"name": "1' OR '1'='1"}"#;
    assert_eq!(order(&running, &keys.premium, GOOD).send().json(), json!({"ordered by": "store"}));
    refused_by_the_firewall(order(&running, &keys.premium, INJECTION), 403);
    // What the gate refuses it does not come to see, neither for the token nor for what `Require` asks for.
    let query = "/catalogue?name=1%27%20OR%20%271%27=%271";
    refused_by_the_firewall(with_key(&running, "GET", query, &keys.basic), 403);
    running.server.refused(&request(&running, "GET", query), 401, "token-missing");
    running.server.refused(&order(&running, &keys.basic, INJECTION), 403, "scope-insufficient");
    // Rules of phase 1 are before the gate.
    refused_by_the_firewall(request(&running, "GET", "/catalogue").header("X-Phase", "1"), 406);
    // What it lets through has the gate's headers, not the client's.
    let answer = with_key(&running, "GET", "/catalogue", &keys.premium).header("X-User", "eve").send();
    assert_eq!(answer.json(), json!({"user": "store", "partner": "store", "plan": "Premium", "groups": []}));
    // Its log of whole requests has no key.
    let audit = std::fs::read_to_string(running.server.root.join("logs/audit.log")).unwrap();
    assert!(audit.contains("\nX-Api-Key: ***") && !audit.contains(&keys.premium), "{audit}");
    // With no application there, what is forwarded has another answer than what is refused.
    running.application.stop();
    assert_eq!(order(&running, &keys.premium, GOOD).status(), 503);
    refused_by_the_firewall(order(&running, &keys.premium, INJECTION), 403);
    // Version 2.9.7 says 500 by itself to what it cannot read; others leave that to the rule.
    let unreadable = order(&running, &keys.premium, r#"{"name"#).status();
    assert!(matches!(unreadable, 400 | 500), "{unreadable}");
}

#[test]
fn beside_a_firewall_readme_tells_what_happens_too() {
    let (mut running, _) = start_with(&firewall());
    running.server.expect_log(REFUSED);
    running.follow_readme(HEADING, &[("home", HOME), ("abroad", ABROAD)]);
}

#[test]
fn the_lines_for_a_managed_certificate_are_good() {
    Example::install(NAME, &[]).managed_certificate();
}
