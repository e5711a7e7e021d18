//! The same client request once more: after an internal redirect, or in a sub-request.

use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::gate::{Prior, Verdict};
use jwt_gate_core::identity::Identity;

use super::gate_fixture::*;
use super::token_mint::ISS;

/// Who `token` is for.
fn identity(gate: &Gate, token: &str) -> Identity {
    gate.decide(&gate.policy(&[]), &with(token)).outcome.unwrap().unwrap()
}

fn names<'v>(verdict: &'v Verdict<'_>) -> Vec<&'v str> {
    verdict.standings.iter().map(|tested| tested.limit.def.name.as_str()).collect()
}

#[test]
fn what_was_charged_is_not_charged_again() {
    let gate = Gate::new();
    let (early, late) = ("Limit early key=address rate=1/h burst=1", "Limit late key=subject rate=1/h burst=1");
    let outer = gate.policy(&[early, late]);
    let inner = gate.policy(&[early, "Limit more key=address rate=1/h burst=1", late]);
    let request = with(token_for("alice"));
    let first = gate.decide(&outer, &request);
    assert_eq!((word(&first), first.charged.len()), ("ok", 2));

    let prior = Prior { charged: &first.charged, ..Prior::default() };
    let second = gate.decide_after(&inner, &request, prior);
    assert_eq!((word(&second), names(&second), second.charged.len()), ("ok", vec!["more"], 1));
    let third = gate.decide_after(&inner, &request, prior);
    assert_eq!((word(&third), names(&third)), ("rate-limited", vec!["more"]));
    let all = [&first.charged[..], &second.charged].concat();
    let fourth = gate.decide_after(&inner, &request, Prior { charged: &all, ..Prior::default() });
    assert_eq!((word(&fourth), fourth.standings.len(), fourth.charged.len()), ("ok", 0, 0));
    assert_eq!(gate.word(&outer, &request), "rate-limited", "another request is");
}

#[test]
fn a_refused_request_has_charged_what_came_before() {
    let gate = Gate::new();
    let early = "Limit early key=address rate=1/h burst=1";
    let refused = gate.decide(&gate.policy(&[early]), &with(forged())).charged;
    let policy = gate.policy(&[early, "Token none"]);
    let page = gate.decide_after(&policy, &with(forged()), Prior { charged: &refused, ..Prior::default() });
    assert_eq!(word(&page), "ok");
}

#[test]
fn a_known_identity_is_not_looked_for_again() {
    let gate = Gate::new();
    let policy = gate.policy(&["Credentials bearer cookie:session"]);
    let alice = identity(&gate, &token_for("alice"));
    let prior = Prior { identity: Some((&alice, &Source::Bearer)), ..Prior::default() };
    for request in [from("192.0.2.1"), with(forged()), with("a").bearer("a"), with(token_for("bob"))] {
        let verdict = gate.decide_after(&policy, &request, prior);
        assert!(is_same_token(&verdict.outcome.unwrap().unwrap(), &alice));
        assert_eq!(verdict.source, Some(Source::Bearer), "where it was found before");
    }
}

#[test]
fn a_known_identity_is_judged_again() {
    let gate = Gate::new();
    let alice = identity(&gate, &token_for("alice"));
    let early = identity(&gate, &token_of(Some(ISS), r#""nbf":1700000010"#));
    let word_at = |directives: &[&str], identity: &Identity, time| {
        let policy = gate.policy(directives);
        let prior = Prior { identity: Some((identity, &Source::Bearer)), ..Prior::default() };
        word(&gate.decide_after(&policy, &from("192.0.2.1").after(time), prior))
    };
    let soon = Duration::ZERO;
    for (directives, expected) in [
        (&["Issuers login"][..], "ok"),
        (&["Issuers other"], "issuer-unknown"),
        (&["Issuers other", "Token optional"], "issuer-unknown"),
        (&["Issuers other", "Token none"], "ok"),
        (&["Deny 192.0.2.1"], "address-denied"),
        (&["Limit l key=claim:tenant rate=1/h burst=1"], "ok"),
        (&["Limit l key=claim:tenant rate=1/h burst=1"], "rate-limited"),
    ] {
        assert_eq!(word_at(directives, &alice, soon), expected, "{directives:?}");
    }
    assert_eq!(word_at(&[], &alice, Duration::from_micros(329_999_999)), "ok");
    assert_eq!(word_at(&[], &alice, Duration::from_secs(330)), "token-expired");
    assert_eq!(word_at(&["Token optional"], &alice, Duration::from_secs(330)), "token-expired");
    assert_eq!(word_at(&["Token none"], &alice, Duration::from_secs(330)), "ok");
    assert_eq!(word_at(&[], &early, soon), "ok");
}

/// New keys are a new issuer: what the old ones let in has to be shown again.
#[test]
fn keys_that_changed_meanwhile() {
    let mut gate = Gate::new();
    let alice = identity(&gate, &token_for("alice"));
    let mut issuer = (*gate.tables.issuers[0]).clone();
    issuer.keys = None;
    gate.tables.issuers[0] = Arc::new(issuer);
    let policy = gate.policy(&[]);
    let prior = Prior { identity: Some((&alice, &Source::Bearer)), ..Prior::default() };
    assert_eq!(word(&gate.decide_after(&policy, &from("192.0.2.1"), prior)), "issuer-unknown");
}

#[test]
fn without_tokens_a_known_identity_does_not_count() {
    let gate = Gate::new();
    let alice = identity(&gate, &token_for("alice"));
    let policy = gate.policy(&["Token none", "Limit late key=subject rate=1/h burst=1"]);
    for _ in 0..3 {
        let prior = Prior { identity: Some((&alice, &Source::Bearer)), ..Prior::default() };
        let verdict = gate.decide_after(&policy, &with(token_for("alice")), prior);
        assert_eq!((verdict.standings.len(), verdict.source), (0, None));
        assert!(verdict.outcome.unwrap().is_none());
    }
}

#[test]
fn who_was_anonymous_before_may_still_show_a_token() {
    let gate = Gate::new();
    let prior = Prior::default();
    let required = gate.policy(&[]);
    assert_eq!(word(&gate.decide_after(&required, &from("192.0.2.1"), prior)), "token-missing");
    assert_eq!(word(&gate.decide_after(&required, &with(token_for("alice")), prior)), "ok");
}

#[test]
fn a_limit_that_refused_is_not_asked_again() {
    let gate = Gate::new();
    let policy = gate.policy(&["Limit tight key=address rate=1/h burst=1", "Limit wide key=address rate=1/h burst=9"]);
    let request = with(token_for("alice"));
    assert_eq!(gate.word(&policy, &request), "ok");
    let refused = gate.decide(&policy, &request).outcome.unwrap_err();
    let known = [(refused.limit.unwrap().id, refused.reason, refused.retry_after.unwrap())];
    let again = gate.decide_after(&policy, &request, Prior { refused: &known, ..Prior::default() });
    assert_eq!((word(&again), again.standings.len()), ("rate-limited", 0));
    assert_eq!(again.outcome.unwrap_err().retry_after, refused.retry_after);
}
