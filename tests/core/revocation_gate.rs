//! Revocation in the decision.

use std::time::Duration;

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::gate::Prior;
use jwt_gate_core::identity::Identity;

use super::gate_fixture::*;
use super::list;
use super::token_mint::ISS;

const ALICE: &str = r#"{"issuer":"login","sub":"alice"}"#;
const BOB: &str = r#"{"issuer":"login","sub":"bob"}"#;

fn identity(gate: &Gate, policy: &Policy, request: &Request) -> Identity {
    gate.decide(policy, request).outcome.unwrap().unwrap()
}

#[test]
fn a_token_that_was_never_seen_is_looked_up() {
    let mut gate = Gate::new();
    gate.revocations = Some(list(ALICE));
    let policy = gate.policy(&[]);
    assert_eq!(gate.word(&policy, &with(token_for("alice"))), "token-revoked");
    assert_eq!(gate.word(&policy, &with(token_for("bob"))), "ok");
    let of_another = token_of(Some(OTHER), r#""sub":"alice""#);
    assert_eq!(gate.word(&policy, &with(of_another)), "ok", "alice of another issuer is somebody else");
    assert_eq!(gate.word(&policy, &with(token_of(None, r#""sub":"alice""#))), "ok");
}

/// The whole point: what the cache knows as good is refused with the next request.
#[test]
fn a_list_that_changes_counts_for_tokens_that_are_known() {
    let mut gate = Gate::new();
    let policy = gate.policy(&[]);
    let request = with(token_for("alice"));
    let first = identity(&gate, &policy, &request);
    for (entries, expected) in [
        (Some(ALICE), "token-revoked"),
        (None, "ok"),
        (Some(BOB), "ok"),
        (Some(ALICE), "token-revoked"),
        (Some(""), "ok"),
        (Some(r#"{"issuer":"login","issued_before":"2000-01-01T00:00:00Z"}"#), "token-revoked"),
        (Some(r#"{"issuer":"other","issued_before":"2000-01-01T00:00:00Z"}"#), "ok"),
    ] {
        gate.revocations = entries.map(list);
        for _ in 0..3 {
            assert_eq!(gate.word(&policy, &request), expected, "{entries:?}");
        }
        if expected == "ok" {
            assert!(is_same_token(&first, &identity(&gate, &policy, &request)), "out of the cache all the time");
        }
    }
}

#[test]
fn a_known_identity_is_asked_about_again() {
    let mut gate = Gate::new();
    let (policy, none) = (gate.policy(&["Token optional"]), gate.policy(&["Token none"]));
    let elsewhere = gate.policy(&["Issuers other"]);
    let request = with(token_for("alice"));
    let alice = identity(&gate, &policy, &request);
    let prior = Prior { identity: Some((&alice, &Source::Bearer)), ..Prior::default() };
    for (entries, expected) in [(BOB, "ok"), (ALICE, "token-revoked"), (BOB, "ok")] {
        gate.revocations = Some(list(entries));
        assert_eq!(word(&gate.decide_after(&policy, &from("192.0.2.1"), prior)), expected);
        assert_eq!(word(&gate.decide_after(&none, &from("192.0.2.1"), prior)), "ok", "nobody looks at tokens there");
        assert_eq!(word(&gate.decide_after(&elsewhere, &request, prior)), "issuer-unknown");
    }
}

#[test]
fn revocation_is_the_last_that_is_asked_about_a_token() {
    let mut gate = Gate::new();
    gate.revocations = Some(list(r#"{"issuer":"login","issued_before":"2000-01-01T00:00:00Z"}"#));
    let policy = gate.policy(&["Credentials bearer cookie:session", "Limit user key=subject rate=1/h burst=1"]);
    let good = token_for("alice");
    for (request, expected) in [
        (with(forged()), "signature-invalid"),
        (with(&good).after(Duration::from_secs(330)), "token-expired"),
        (with(token_of(Some(ISS), r#""aud":"x""#)), "token-malformed"),
        (from("192.0.2.1").cookie(&good).post(), "token-revoked"),
        (with(&good), "token-revoked"),
        (with(&good).after(Duration::from_secs(330)), "token-expired"),
    ] {
        assert_eq!(gate.word(&policy, &request), expected, "{request:?}");
    }
    let verdict = gate.decide(&policy, &with(&good));
    assert_eq!((verdict.charged.len(), verdict.standings.len()), (0, 0), "limits with identity come after");
    assert_eq!(verdict.source, Some(Source::Bearer));
    gate.revocations = None;
    assert_eq!(gate.word(&policy, &with(&good)), "ok");
}
