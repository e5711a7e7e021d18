//! The decision where `JwtGateCors` applies.

use super::gate_fixture::*;

const APP: &str = "https://app.example.com";

#[test]
fn a_preflight_passes_networks_and_early_limits_and_no_more() {
    let gate = Gate::new();
    let policy = gate.policy(&[
        "Deny 203.0.113.1",
        "Limit early key=address rate=1/h burst=2",
        "Limit user key=subject rate=1/h burst=1",
        "Cors https://app.example.com",
    ]);
    let asked = |client: &str| from(client).preflight(APP, "PUT");
    assert_eq!(gate.word(&policy, &asked("203.0.113.1")), "address-denied");
    // No credential is looked at, whatever is sent; also of an origin that will not be let in.
    for request in [asked("192.0.2.1").bearer("?").bearer(forged()), from("192.0.2.1").preflight("null", "?")] {
        let verdict = gate.decide(&policy, &request);
        assert!(verdict.preflight && verdict.source.is_none() && verdict.outcome.as_ref().unwrap().is_none());
        assert_eq!(verdict.standings.len(), 1, "the limit without identity alone");
    }
    let verdict = gate.decide(&policy, &asked("192.0.2.1"));
    assert_eq!((word(&verdict), verdict.preflight), ("rate-limited", false));

    // What is no true preflight, and what comes where CORS is not configured, is a request like others.
    let mut no_method = from("192.0.2.2").preflight(APP, "PUT");
    assert_eq!(gate.word(&gate.policy(&[]), &no_method), "token-missing");
    assert_eq!(gate.word(&gate.policy(&["Cors off"]), &no_method), "token-missing");
    no_method = no_method.header("Origin", APP);
    let verdict = gate.decide(&policy, &no_method);
    assert_eq!((word(&verdict), verdict.preflight), ("token-missing", false));
    let verdict = gate.decide(&policy, &from("192.0.2.2").header("Origin", APP).bearer(token_for("alice")));
    assert_eq!((word(&verdict), verdict.preflight), ("ok", false));
}

#[test]
fn a_cookie_is_meant_by_pages_that_are_trusted_with_it() {
    let gate = Gate::new();
    let word = |cors: &str, origin: &str| {
        let policy = gate.policy(&["Credentials cookie:session", cors]);
        let request = from("192.0.2.1").post().cookie(token_for("alice"));
        gate.word(&policy, &request.header("Sec-Fetch-Site", "cross-site").header("Origin", origin))
    };
    assert_eq!(word("Cors https://app.example.com credentials=on", APP), "ok");
    for (cors, origin) in [
        ("Cors https://app.example.com credentials=on", "https://evil.example"),
        ("Cors https://app.example.com credentials=on", "null"),
        ("Cors https://app.example.com", APP),
        ("Cors *", APP),
        ("Cors off", APP),
    ] {
        assert_eq!(word(cors, origin), "csrf", "{cors} {origin}");
    }
}
