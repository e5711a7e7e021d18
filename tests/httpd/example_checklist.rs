//! Setup 4: what a security review asks for.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::example::{Example, Running, is_private};
use crate::harness::{Answer, Request};

const NAME: &str = "4-security-checklist";
const HEADING: &str = "4. A security checklist";
const HOST: &str = "api.example.com";
const LOCAL: &str = "127.0.0.1";
/// An address of a network that the test denies besides.
const DENIED: &str = "127.9.0.10";

fn install() -> Example {
    let example = Example::install(NAME, &[]);
    let denied = std::fs::read_to_string(example.root().join("networks/denied.txt")).unwrap();
    assert!(denied.lines().any(|line| line == "192.0.2.0/24"));
    std::fs::write(example.root().join("networks/denied.txt"), denied + "127.9.0.0/24\n").unwrap();
    example
}

fn start() -> Running {
    install().start("api.service")
}

fn get(running: &Running, target: &str) -> Request {
    running.request("GET", HOST, target)
}

fn try_password(running: &Running, from: &str, password: &str) -> Request {
    let login = json!({"user": "alice", "password": password}).to_string();
    running.request("POST", HOST, "/auth/login").from(from).header("Content-Type", "application/json").body(login)
}

/// A token of alice, who logs in from this address.
fn log_in(running: &Running, from: &str) -> String {
    let answer = try_password(running, from, "correct horse").send();
    answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Nothing of it tells which software answers, in which version, where its files are, or what went wrong.
fn assert_leaks_nothing(answer: &Answer) {
    let server = answer.header("Server");
    assert!(matches!(server, None | Some("Apache")), "{server:?}");
    assert_eq!(answer.header("X-Powered-By"), None);
    let text = format!("{:?}{}", answer.headers, answer.text()).to_lowercase();
    for word in ["uvicorn", "python", "traceback", "zerodivision", "2.4.", "openssl", "127.0.0.1", "proxy", "/tmp/"] {
        assert!(!text.contains(word), "{word} in {answer:?}\n{}", answer.text());
    }
}

#[test]
fn readme_of_the_checklist_tells_what_happens() {
    start().follow_readme(HEADING, &[("", LOCAL), ("denied", DENIED)]);
}

#[test]
fn whoever_logs_in_gets_a_token_that_is_let_in() {
    let running = start();
    let token = log_in(&running, LOCAL);
    let answer = get(&running, "/api/me").bearer(&token).header("X-User", "eve").send();
    assert_eq!(answer.json(), json!({"user": "alice"}));
    for name in ["Strict-Transport-Security", "X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy"] {
        assert!(answer.header(name).is_some(), "{name}");
        assert!(get(&running, "/api/me").send().header(name).is_some(), "{name} of a refusal");
    }
}

#[test]
fn tls_is_1_2_or_later() {
    let running = start();
    let handshake = |version: &str| {
        let address = running.server.address().to_string();
        let arguments =
            ["s_client", "-connect", &address, "-servername", HOST, version, "-cipher", "DEFAULT@SECLEVEL=0"];
        let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().expect("openssl");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for version in ["-tls1", "-tls1_1"] {
        let said = handshake(version);
        assert!(said.contains("alert protocol version"), "{version}: {said}");
    }
    assert!(handshake("-tls1_2").contains("BEGIN CERTIFICATE"));
    assert!(handshake("-tls1_3").contains("BEGIN CERTIFICATE"));
}

#[test]
fn unknown_hosts_are_not_served() {
    let mut running = start();
    // Who asks for one name in the handshake and for another in the request.
    running.server.expect_log("AH02032");
    let fronted = get(&running, "/api/me").host("unknown.example");
    let answer = fronted.send();
    assert_eq!(answer.status, 421);
    assert_leaks_nothing(&answer);
    for (host, status) in [("unknown.example", 421), (HOST, 301)] {
        let plain = running.server.get("/").to(running.server.second_address()).host(host);
        assert_eq!(plain.status(), status, "{host}");
    }
}

#[test]
fn denied_networks_stay_out_and_a_new_list_is_used() {
    let running = start();
    running.server.refused(&get(&running, "/api/me").from(DENIED), 403, "address-denied");
    running.server.refused(&try_password(&running, DENIED, "correct horse"), 403, "address-denied");
    assert_eq!(get(&running, "/api/me").status(), 401);
    let list = "192.0.2.0/24\n127.9.0.0/24\n127.8.0.10\n";
    running.server.write("networks/denied.txt", list);
    let refused = || get(&running, "/api/me").from("127.8.0.10").status() == 403;
    crate::harness::await_true("the new list in all processes", || (0..8).all(|_| refused()));
}

#[test]
fn five_logins_a_minute_and_no_more() {
    let running = start();
    for _ in 0..5 {
        assert_eq!(try_password(&running, LOCAL, "correct horse").status(), 200);
    }
    let answer = running.server.refused(&try_password(&running, LOCAL, "correct horse"), 429, "rate-limited");
    let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    // What a browser asks first is no login, and others have counts of their own.
    let preflight = running.request("OPTIONS", HOST, "/auth/login").header("Origin", "https://app.example.com");
    assert_eq!(preflight.header("Access-Control-Request-Method", "POST").status(), 204);
    assert_eq!(try_password(&running, "127.0.0.2", "correct horse").status(), 200);
    assert_eq!(get(&running, "/api/me").status(), 401);
}

#[test]
fn ten_failures_lock_an_address_out() {
    let mut running = start();
    running.server.expect_log("JG3002");
    let guesser = "127.0.0.2";
    let token = log_in(&running, LOCAL);
    // Five wrong passwords are all that a minute allows; forged tokens count with them.
    for _ in 0..5 {
        assert_eq!(try_password(&running, guesser, "wrong").status(), 401);
    }
    for _ in 0..5 {
        running.server.refused(&get(&running, "/api/me").from(guesser).bearer("a.b.c"), 401, "token-malformed");
    }
    let locked = running.server.refused(&get(&running, "/api/me").from(guesser).bearer(&token), 429, "locked-out");
    let wait: u64 = locked.header("Retry-After").unwrap().parse().unwrap();
    assert!((200..=300).contains(&wait), "{wait}");
    running.server.refused(&try_password(&running, guesser, "correct horse"), 429, "locked-out");
    assert_eq!(get(&running, "/api/me").bearer(&token).status(), 200, "nobody else is locked out");
}

#[test]
fn ten_wrong_passwords_lock_an_address_out() {
    // Ten of them would take a minute otherwise.
    let mut running = install().replace("rate=5/m", "rate=500/m").start("api.service");
    running.server.expect_log("JG3002");
    let statuses: Vec<u16> = (0..11).map(|_| try_password(&running, LOCAL, "wrong").status()).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429]].concat());
    running.server.refused(&try_password(&running, LOCAL, "correct horse"), 429, "locked-out");
}

#[test]
fn a_lock_out_is_counted_by_what_the_alert_asks_for() {
    let mut running = start();
    running.server.expect_log("JG3002");
    let metrics = |running: &Running| get(running, "/gate/metrics").from("127.0.0.2").send().text();
    assert!(metrics(&running).contains("\njwt_gate_lockouts_total 0\n"));
    for _ in 0..10 {
        assert_eq!(get(&running, "/api/me").bearer("a.b.c").status(), 401);
    }
    let text = metrics(&running);
    assert!(text.contains("\njwt_gate_lockouts_total 1\n"), "{text}");
    // All that the rules ask for is there.
    let rules = std::fs::read_to_string(running.folder().join("alerts.yml")).unwrap();
    let words: Vec<&str> = rules.split(|c: char| !(c.is_ascii_lowercase() || "_-".contains(c))).collect();
    let families: Vec<&&str> = words.iter().filter(|word| word.starts_with("jwt_gate_")).collect();
    assert!(families.len() > 4, "{families:?}");
    for family in families {
        assert!(text.contains(&format!("\n{family}")), "{family}\n{text}");
    }
    let reasons = rules.lines().filter_map(|line| line.split_once("reason=~\"")?.1.split('"').next());
    for reason in reasons.flat_map(|reasons| reasons.split('|')) {
        assert!(include_str!("../../README.md").contains(&format!("\n| `{reason}` |")), "{reason}");
    }
}

#[test]
fn origins_that_are_named_may_read_and_others_may_not() {
    let running = start();
    for origin in ["https://app.example.com", "https://admin.example.com"] {
        let answer = get(&running, "/api/me").header("Origin", origin).send();
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin));
    }
    for origin in ["https://app.example.com.evil.example", "http://app.example.com", "null"] {
        let answer = get(&running, "/api/me").header("Origin", origin).send();
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{origin}");
    }
}

#[test]
fn answers_to_what_goes_wrong_leak_nothing() {
    let mut running = start();
    running.server.expect_log("AH01139: TRACE forbidden");
    let token = log_in(&running, LOCAL);
    let fault = json!({"type": "about:blank", "title": "This request could not be served"});
    let crash = get(&running, "/api/share?of=0").bearer(&token).send();
    assert_eq!((crash.status, crash.json()), (500, fault.clone()));
    let refusals = [
        (get(&running, "/api/me"), 401),
        (get(&running, "/api/me").bearer("a.b.c"), 401),
        (get(&running, "/docs").bearer(&token), 404),
        (get(&running, "/openapi.json").bearer(&token), 404),
        (get(&running, "/error/fault.json"), 401),
        (get(&running, "/error/none").bearer(&token), 404),
        (get(&running, "/%2e%2e%252fetc/passwd").bearer(&token), 400),
        (running.request("TRACE", HOST, "/").bearer(&token), 405),
    ];
    for (request, status) in refusals {
        let answer = request.send();
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&request.bytes()));
        assert_leaks_nothing(&answer);
    }
    // The application is away.
    running.application.stop();
    running.server.expect_log("AH00957");
    running.server.expect_log("AH01114");
    let away = get(&running, "/api/me").bearer(&token).send();
    assert_eq!((away.status, away.json()), (503, fault));
    for answer in [&crash, &away] {
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        assert_leaks_nothing(answer);
    }
}

#[test]
fn secrets_and_names_are_where_they_belong() {
    let running = start();
    let root = &running.server.root;
    for file in ["jwt_gate/tokens.secret", "api/users.json", "jwt_gate", "api"] {
        assert!(is_private(&root.join(file)), "{file}");
    }
    let token = log_in(&running, LOCAL);
    assert_eq!(get(&running, "/api/share?of=4&mail=alice%40example.com").bearer(&token).status(), 200);
    let log = running.access_log("checklist.log", "\"GET /api/share\" 200");
    let decisions = running.access_log("decisions.log", "\"path\":\"/api/share\"");
    let share = decisions.lines().find(|line| line.contains("/api/share")).unwrap();
    let share: serde_json::Value = serde_json::from_str(share).unwrap();
    assert_eq!(share["subject"].as_str().map(str::len), Some(32), "{share}");
    for log in [log, decisions, running.server.log.text()] {
        assert!(!log.contains("alice") && !log.contains(&token), "{log}");
    }
}

#[test]
fn the_lines_for_a_managed_certificate_are_good() {
    install().managed_certificate();
}
