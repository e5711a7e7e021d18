//! `SetHandler jwt-gate-usage`: what callers are told of their own plan and limits.

use serde_json::{Value, json};

use crate::harness::{Answer, MAIN, Request, Server, Site};

/// Rates are one a day, so that nothing is refilled while a test runs.
const GATED: &str = r#"
    JwtGatePlan gold rate=1/d burst=6 quota=7/day
    <Location "/">
        JwtGate on
        JwtGateLimit by-user key=subject rate=1/d burst=3 quota=20/week plan-claim=tier
        JwtGateLimit by-address key=address rate=1/d burst=50
        JwtGateLimit tried key=subject rate=1/d burst=1 dry-run
    </Location>
    <Location "/usage">
        SetHandler jwt-gate-usage
    </Location>
"#;

fn start(more: &str) -> Server {
    Site::new().start(&format!("{MAIN}{more}{GATED}"))
}

fn usage(request: &Request) -> Value {
    document(&request.send())
}

/// What an answer of the handler says.
fn document(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    answer.json()
}

/// The limit of this name and kind.
fn limit<'d>(document: &'d Value, name: &str, kind: &str) -> &'d Value {
    let limits = document["limits"].as_array().unwrap();
    let found = limits.iter().find(|limit| limit["name"] == name && limit["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {name}, {kind} in {document}"))
}

fn left(document: &Value, name: &str, kind: &str) -> u64 {
    limit(document, name, kind)["remaining"].as_u64().unwrap()
}

#[test]
fn callers_are_told_their_own_plan_and_what_is_left() {
    let server = start("");
    let alice = server.get("/usage").bearer(server.token().claim("tier", "gold").sign());
    let first = usage(&alice);
    assert_eq!((&first["subject"], &first["plan"], &first["api_key"]), (&json!("alice"), &json!("gold"), &Value::Null));
    // One that is only tried out is not told.
    assert_eq!(first["limits"].as_array().unwrap().len(), 3, "{first}");
    let rate = limit(&first, "by-user", "rate");
    assert_eq!(
        (&rate["requests"], &rate["window_seconds"], &rate["remaining"]),
        (&json!(6), &json!(518_400), &json!(5))
    );
    assert_eq!(rate["more_in_seconds"], 86_400);
    let quota = limit(&first, "by-user", "quota");
    assert_eq!(
        (&quota["requests"], &quota["window_seconds"], &quota["remaining"]),
        (&json!(7), &json!(86_400), &json!(6))
    );
    assert!((1..=86_400).contains(&quota["more_in_seconds"].as_u64().unwrap()), "{quota}");
    // Asking counts like any other request.
    let second = usage(&alice);
    let all = |document: &Value| {
        [("by-user", "rate"), ("by-user", "quota"), ("by-address", "rate")].map(|(n, k)| left(document, n, k))
    };
    assert_eq!((all(&first), all(&second)), ([5, 6, 49], [4, 5, 48]));

    let bob = usage(&server.get("/usage").bearer(server.token().claim("sub", "bob").sign()));
    assert_eq!((&bob["subject"], &bob["plan"]), (&json!("bob"), &Value::Null));
    assert_eq!(all(&bob), [2, 19, 47], "only the address is the same");
    let text = bob.to_string();
    assert!(!text.contains("alice") && !text.contains("gold"), "{text}");
}

#[test]
fn the_answer_agrees_with_the_ratelimit_fields() {
    let server = start("");
    let answer = server.get("/usage").bearer(server.token().sign()).send();
    let said = document(&answer);
    let member = |limit: &Value| {
        let suffix = if limit["kind"] == "quota" { "-quota" } else { "" };
        let name = format!("\"{}{suffix}\"", limit["name"].as_str().unwrap());
        (
            format!("{name};q={};w={}", limit["requests"], limit["window_seconds"]),
            format!("{name};r={};t={}", limit["remaining"], limit["more_in_seconds"]),
        )
    };
    let (policies, limits): (Vec<_>, Vec<_>) = said["limits"].as_array().unwrap().iter().map(member).unzip();
    assert_eq!(answer.header("RateLimit-Policy"), Some(policies.join(", ").as_str()));
    assert_eq!(answer.header("RateLimit"), Some(limits.join(", ").as_str()));
}

#[test]
fn it_is_told_also_where_answers_do_not_name_limits() {
    let server = start("<Location \"/\">\nJwtGateLimitHeaders off\n</Location>\n");
    let answer = server.get("/usage").bearer(server.token().sign()).send();
    assert_eq!((answer.header("RateLimit"), answer.header("RateLimit-Policy")), (None, None));
    assert_eq!(left(&document(&answer), "by-user", "rate"), 2);
}

#[test]
fn who_is_refused_is_told_nothing() {
    let server = start("");
    server.refused(&server.get("/usage"), 401, "token-missing");
    server.refused(&server.get("/usage").bearer(server.token().forge()), 401, "signature-invalid");
    let request = server.get("/usage").bearer(server.token().sign());
    for remaining in [2, 1, 0] {
        assert_eq!(left(&usage(&request), "by-user", "rate"), remaining);
    }
    let answer = server.refused(&request, 429, "rate-limited");
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
}

#[test]
fn the_anonymous_are_told_the_limits_of_everybody() {
    let server = start("<Location \"/\">\nJwtGateToken optional\n</Location>\n");
    let said = usage(&server.get("/usage"));
    assert_eq!((&said["subject"], &said["plan"], &said["api_key"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(said["limits"].as_array().unwrap().len(), 1, "{said}");
    assert_eq!(left(&said, "by-address", "rate"), 49);
}

#[test]
fn outside_of_the_gate_there_is_nothing_to_tell() {
    let open = "<Location \"/open\">\nJwtGate off\nSetHandler jwt-gate-usage\n</Location>\n";
    let site = Site::new();
    let check = site.configtest(&format!("{MAIN}{GATED}{open}"));
    assert!(check.passed && check.output.contains("JG2112 SetHandler jwt-gate-usage answers with 404"), "{check:?}");
    let mut server = site.start(&format!("{MAIN}{GATED}{open}"));
    server.expect_log("JG2112");
    let answer = server.get("/open").bearer(server.token().claim("tier", "gold").sign()).send();
    assert_eq!(answer.status, 404);
    assert!(!answer.text().contains("limits"), "{}", answer.text());
    assert_eq!(server.log.count("JG1030 jwt-gate-usage has nothing to tell"), 1);
}

#[test]
fn only_reading_is_allowed() {
    let server = start("");
    let token = |subject: &str| server.token().claim("sub", subject).sign();
    let head = server.request("HEAD", "/usage").bearer(token("head")).send();
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("application/json")));
    assert_eq!((head.header("Cache-Control"), head.body.len()), (Some("no-store"), 0));
    assert!(head.header("RateLimit").is_some());
    for (number, method) in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"].into_iter().enumerate() {
        let request = server.request(method, "/usage").bearer(token(&format!("user-{number}"))).body("{}");
        let answer = request.send();
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
        // TRACE is httpd's own business, and their order is any.
        let mut allowed: Vec<&str> =
            answer.header("Allow").unwrap().split(',').filter(|name| *name != "TRACE").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD"], "{method}");
        assert!(!answer.text().contains("remaining"), "{method}: {}", answer.text());
    }
    // What is not read does not stay on the connection.
    let mut connection = server.connect();
    let large = server.request("POST", "/usage").bearer(token("large")).header("Content-Length", "100000000");
    connection.send(large.bytes());
    let answer = connection.answer();
    assert_eq!((answer.status, answer.header("Connection")), (405, Some("close")));
}

#[test]
fn it_answers_in_front_of_an_application_that_has_everything_else() {
    for exclusion in ["", "ProxyPass /usage !\n"] {
        let server = start(&format!("{exclusion}ProxyPass / ${{APP}}/\n"));
        let token = server.token().sign();
        assert_eq!(server.get("/other").bearer(&token).status(), 200);
        assert_eq!(server.app.count(), 1);
        let said = usage(&server.get("/usage").bearer(&token));
        assert_eq!(left(&said, "by-user", "rate"), 1, "{exclusion:?}");
        assert_eq!(server.get("/usage").bearer(server.token().forge()).status(), 401);
        assert_eq!(server.app.count(), 1, "{exclusion:?}");
    }
}

#[test]
fn it_answers_where_a_location_is_proxied_as_a_whole() {
    let server = start("<Location \"/\">\nProxyPass ${APP}/\n</Location>\n");
    let said = usage(&server.get("/usage").bearer(server.token().sign()));
    assert_eq!(left(&said, "by-user", "rate"), 2);
    assert_eq!(server.app.count(), 0);
}

#[test]
fn rules_of_require_apply_to_it() {
    let mut server = start("<Location \"/usage\">\nRequire jwt-plan gold\n</Location>\n");
    // What httpd says of a request that a `Require` line refuses.
    server.expect_log("AH01630");
    assert_eq!(server.get("/usage").bearer(server.token().sign()).status(), 403);
    assert_eq!(usage(&server.get("/usage").bearer(server.token().claim("tier", "gold").sign()))["plan"], "gold");
}

#[test]
fn an_included_part_of_a_page_is_not_the_callers_usage() {
    let site = Site::new().load(&["include"]);
    site.write("html/page.shtml", "[<!--#include virtual=\"/usage\" -->]");
    let directives = format!(
        "{MAIN}{GATED}<Directory ${{ROOT}}/html>\nOptions +Includes\nAddOutputFilter INCLUDES shtml\n</Directory>\n"
    );
    let mut server = site.start(&directives);
    server.expect_log("usage");
    let answer = server.get("/page.shtml").bearer(server.token().sign()).send();
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("remaining"), "{}", answer.text());
}
