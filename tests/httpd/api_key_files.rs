//! The file of JwtGateApiKeys: what is said of it, at a check, at a start and when it changes.

use serde_json::{Value, json};

use crate::harness::{Server, Site};

const DIRECTIVES: &str = "JwtGateNetwork office 10.0.0.0/8\nJwtGateApiKeys conf/keys.json\n";

fn keys(entries: &[Value]) -> String {
    json!({"keys": entries}).to_string()
}

/// An entry with a hash that no key has.
fn key(id: &str, networks: &[&str]) -> Value {
    let mut key = json!({"id": id, "sha256": format!("{:064x}", id.len())});
    if !networks.is_empty() {
        key["networks"] = networks.into();
    }
    key
}

#[test]
fn a_mistake_in_the_file_is_found_by_the_check() {
    let site = Site::new();
    site.write("conf/keys.json", "{\"keys\":[\n{\"id\":\"a\"}]}");
    let check = site.configtest(DIRECTIVES);
    assert!(!check.passed && check.output.contains("conf/keys.json: line 2: "), "{check:?}");
    site.write("conf/keys.json", keys(&[key("a", &["@office", "192.0.2.1"])]));
    let check = site.configtest(DIRECTIVES);
    assert!(check.passed && !check.output.contains("JG"), "{check:?}");
    for wrong in ["JwtGateApiKeys", "JwtGateApiKeys a b", "JwtGateApiKeys \"\"", "JwtGateApiKeys conf/absent.json"] {
        let check = site.configtest(wrong);
        assert!(!check.passed && check.output.contains("JwtGateApiKeys"), "{wrong}\n{check:?}");
    }
}

#[test]
fn a_file_that_changes_is_in_use_and_a_bad_one_is_not() {
    let site = Site::new();
    site.write("conf/keys.json", keys(&[key("a", &[])]));
    let mut server = site.start(DIRECTIVES);
    server.write("conf/keys.json", keys(&[key("a", &[]), key("other", &[])]));
    server.await_log("JG4006 JwtGateApiKeys: ");
    server.await_log("has changed: 2 API keys are in use");
    server.write("conf/keys.json", "{");
    server.expect_log("conf/keys.json: line 1: not JSON");
    server.await_log("its last good version stays in use");
    server.stop_and_start(|_| {});
    assert_eq!(server.log.count("JG2002"), 1);
    assert_eq!(server.log.count("its last good version stays in use"), 2);
    server.stop_and_start(|site| std::fs::remove_dir_all(site.root.join("state")).unwrap());
    assert_eq!(server.log.count("until it can be read, API keys are answered with 503"), 1);
}

/// Whoever took a key out waits for it to be refused.
#[test]
fn each_version_that_cannot_be_read_is_told_of() {
    let site = Site::new();
    site.write("conf/keys.json", keys(&[key("a", &[]), key("other", &[])]));
    let mut server = site.start(DIRECTIVES);
    server.expect_log("conf/keys.json: line 1: not JSON");
    for told in 1..=2 {
        server.write("conf/keys.json", "{");
        server.await_log_lines(told, "JG4007");
    }
}

/// The operator learns which key it was and what is wrong with it; the client does not.
#[test]
fn the_log_says_why_a_key_is_refused() {
    const KEY: &str = "partners-own-key-0123456789abcdef";
    let site = Site::new();
    let hash = "2a74fe023f1b9e6131b32f59ee1ddfbdb9f5aca70ef45dee85bab23de39843c0";
    let entry = json!({"id": "partner-a", "sha256": hash, "expires": "2020-01-01T00:00:00Z"});
    site.write("conf/keys.json", keys(&[entry]));
    let mut server = site.start(&format!(
        "{DIRECTIVES}<Location \"/\">\nJwtGate on\nJwtGateCredentials api-key:X-Api-Key\n</Location>\n"
    ));
    let with = |server: &Server, key: &str| server.get("/").header("X-Api-Key", key);
    let expired = server.refused(&with(&server, KEY), 401, "api-key-invalid");
    let unknown = server.refused(&with(&server, "guessed"), 401, "api-key-invalid");
    assert_eq!(expired.body, unknown.body);
    assert_eq!(expired.header("WWW-Authenticate"), unknown.header("WWW-Authenticate"));
    for line in [
        "JG1027 api-key-invalid: refused with 401, in the header X-Api-Key, key partner-a: the API key has expired",
        "JG1027 api-key-invalid: refused with 401, in the header X-Api-Key, no such API key is listed",
    ] {
        assert_eq!(server.log.count(line), 1, "{line}");
    }
    assert_eq!(server.log.count(KEY) + server.log.count("guessed"), 0);

    server.stop_and_start(|site| {
        std::fs::remove_dir_all(site.root.join("state")).unwrap();
        site.write("conf/keys.json", "{");
    });
    server.expect_log("conf/keys.json: line 1: not JSON");
    server.refused(&with(&server, KEY), 503, "keys-unavailable");
    assert_eq!(server.log.count("X-Api-Key, the file of JwtGateApiKeys could not be read yet"), 1);
}

#[test]
fn names_that_nobody_defined_are_warned_about() {
    let site = Site::new();
    let with_plan = |plan: &str| {
        let mut entry = key("a", &["@office", "@nowhere"]);
        entry["plan"] = plan.into();
        keys(&[entry])
    };
    site.write("conf/keys.json", with_plan("gold"));
    let mut server = site.start(DIRECTIVES);
    server.expect_log("conf/keys.json names the network `nowhere`, which no JwtGateNetwork defines");
    server.expect_log("conf/keys.json names the plan `gold`, which no JwtGatePlan defines where the keys are used: they count as keys without a plan");
    server.write("conf/keys.json", with_plan("silver"));
    server.expect_log("conf/keys.json names the plan `silver`, which no JwtGatePlan defines");
    server.await_log_lines(2, "JG2208");
    server.await_log_lines(2, "JG2209");
    assert_eq!(server.log.count("`office`"), 0);
}
