//! Trying out: what would be refused is told, and neither refuses nor counts for anything that is real.

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::gate::{Prior, Verdict};

use super::gate_fixture::*;
use super::token_mint::ISS;

fn names<'v>(verdict: &'v Verdict<'_>) -> Vec<&'v str> {
    verdict.standings.iter().map(|tested| tested.limit.def.name.as_str()).collect()
}

fn subject<'v>(verdict: &'v Verdict<'_>) -> Option<&'v str> {
    verdict.outcome.as_ref().unwrap().as_ref().and_then(|identity| identity.subject())
}

/// Everything at once, in a place that is tried out: the first thing that would refuse is told, and a good token counts
/// whatever comes before or behind it.
#[test]
fn a_place_that_is_tried_out_refuses_nothing() {
    let lines = [
        "Deny 203.0.113.0/24",
        "Lockout failures=1/5m",
        "Limit all key=address rate=1/h burst=1 exempt=@office",
        "Credentials bearer cookie:session",
        "Limit user key=subject rate=1/h burst=1 quota=1/day",
    ];
    let good = token_for("alice");
    let (denied, locked, limited, office) =
        (from("203.0.113.1"), from("198.51.100.66"), from("192.0.2.1"), from("198.51.100.1"));
    let early = token_of(Some(ISS), r#""nbf":9000000000"#);
    for (request, reason, who) in [
        (denied.clone().bearer(&good), "address-denied", Some("alice")),
        (denied.clone().bearer(forged()), "address-denied", None),
        (locked.clone().bearer(&good), "locked-out", Some("alice")),
        (locked.clone().bearer(forged()), "locked-out", None),
        (limited.clone().bearer(&good), "rate-limited", Some("alice")),
        (limited.clone().bearer(forged()), "rate-limited", None),
        (limited.clone().cookie(&good).post(), "rate-limited", Some("alice")),
        (office.clone(), "token-missing", None),
        (office.clone().bearer("?"), "credentials-malformed", None),
        (office.clone().bearer(&good).cookie(&good), "credentials-ambiguous", None),
        (office.clone().bearer("a.b"), "token-malformed", None),
        (office.clone().bearer(&early), "token-not-yet-valid", None),
        (office.clone().bearer(token_of(Some(LOST), "")), "keys-unavailable", None),
        (office.clone().cookie(&good).post(), "csrf", Some("alice")),
        (office.clone().bearer(&good), "quota-exceeded", Some("alice")),
        (office.clone().bearer(token_for("bob")), "-", Some("bob")),
    ] {
        let gate = Gate::new();
        let trial = gate.policy(&[&lines[..], &["dry-run"]].concat());
        // One request takes what there is of both limits, and one is a failed try.
        for first in [limited.clone().bearer(&good), locked.clone().bearer(forged())] {
            assert_eq!(gate.word(&trial, &first), "ok");
        }
        let verdict = gate.decide(&trial, &request);
        assert_eq!((word(&verdict), would_deny(&verdict), subject(&verdict)), ("ok", reason, who), "{request:?}");
        assert!(verdict.standings.is_empty(), "no answer tells of it");
        assert_eq!(verdict.refusal().map_or("-", |refusal| refusal.reason.word()), reason);
        let by_limit = ["rate-limited", "quota-exceeded"].contains(&reason);
        assert_eq!(verdict.would_deny.is_some_and(|refusal| refusal.limit.is_some()), by_limit);

        // In the same place, were it real, nothing has been counted yet.
        let real = gate.policy(&lines);
        for (client, reason) in [("192.0.2.1", "rate-limited"), ("198.51.100.66", "quota-exceeded")] {
            let words = [(); 2].map(|()| gate.word(&real, &from(client).bearer(token_for(client))));
            assert_eq!(words, ["ok", reason], "{client}");
        }
        assert_eq!(gate.word(&real, &from("198.51.100.2").bearer(&good)), "ok");
    }
}

#[test]
fn what_is_real_is_not_counted_where_it_is_tried_out() {
    let gate = Gate::new();
    let lines = ["Limit l key=subject rate=1/h burst=1 quota=1/day", "Lockout failures=1/5m"];
    let real = gate.policy(&lines);
    let trial = gate.policy(&[lines[0], lines[1], "dry-run"]);
    let good = with(token_for("alice"));
    assert_eq!([(); 2].map(|()| gate.word(&real, &good)), ["ok", "quota-exceeded"]);
    assert_eq!([(); 2].map(|()| would_deny(&gate.decide(&trial, &good))), ["-", "quota-exceeded"]);
    // A part of one client request is charged in both, and once in each.
    let bob = with(token_for("bob"));
    let first = gate.decide(&trial, &bob);
    assert_eq!(first.charged.len(), 1);
    let second = gate.decide_after(&real, &bob, Prior { charged: &first.charged, ..Prior::default() });
    assert_eq!((word(&second), second.charged.len()), ("ok", 1));
    let charged = [&first.charged[..], &second.charged].concat();
    for policy in [&trial, &real] {
        let again = gate.decide_after(policy, &bob, Prior { charged: &charged, ..Prior::default() });
        assert_eq!((word(&again), would_deny(&again), again.charged.len()), ("ok", "-", 0));
    }
    assert_eq!(gate.word(&real, &bob), "quota-exceeded");
}

#[test]
fn a_limit_that_is_tried_out_beside_real_ones() {
    for key in ["address", "subject"] {
        let gate = Gate::new();
        let [tight, wide] = ["tight", "wide"].map(|name| format!("Limit {name} key={key} rate=1/h"));
        let policy = gate.policy(&[&format!("{tight} burst=1 dry-run"), &format!("{wide} burst=3")]);
        let ask = || {
            let verdict = gate.decide(&policy, &with(token_for("alice")));
            let limit = verdict.refusal().map_or("-", |refusal| refusal.limit.unwrap().def.name.as_str());
            assert_eq!(names(&verdict), ["wide"], "{key}");
            let left = verdict.standings[0].standing.remaining;
            (word(&verdict), would_deny(&verdict), limit, left, verdict.charged.len())
        };
        assert_eq!(ask(), ("ok", "-", "-", 2, 2));
        assert_eq!(ask(), ("ok", "rate-limited", "tight", 1, 1));
        assert_eq!(ask(), ("ok", "rate-limited", "tight", 0, 1));
        assert_eq!(ask(), ("rate-limited", "-", "wide", 0, 0), "what is refused is not tried out");
    }
}

#[test]
fn a_real_limit_that_refuses_charges_nothing_that_is_tried_out() {
    let gate = Gate::new();
    let real = "Limit real key=address rate=1/h burst=1";
    let policy = gate.policy(&[real, "Limit trial key=global rate=1/h burst=2 dry-run"]);
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.1"] {
        let _ = gate.decide(&policy, &from(client).bearer(token_for("alice")));
    }
    let next = ["192.0.2.2", "192.0.2.3"].map(|client| {
        let verdict = gate.decide(&policy, &from(client).bearer(token_for("alice")));
        (word(&verdict), would_deny(&verdict))
    });
    assert_eq!(next, [("ok", "-"), ("ok", "rate-limited")]);
}

#[test]
fn a_limit_that_is_tried_out_shows_first_whatever_refuses_behind_it() {
    let gate = Gate::new();
    let policy = gate.policy(&["Limit trial key=address rate=1/h burst=1 dry-run"]);
    let words = [(); 2].map(|()| {
        let verdict = gate.decide(&policy, &with(forged()));
        assert_eq!(verdict.refusal().unwrap().reason.word(), "signature-invalid", "what counts");
        (word(&verdict), would_deny(&verdict))
    });
    assert_eq!(words, [("signature-invalid", "-"), ("signature-invalid", "rate-limited")]);
}

#[test]
fn networks_that_are_tried_out() {
    let gate = Gate::new();
    let good = |client: &str| from(client).bearer(token_for("alice"));
    let check = |lines: &[&str], cases: &[(&str, &str, &str)]| {
        let policy = gate.policy(lines);
        for (client, expected, would) in cases {
            let verdict = gate.decide(&policy, &good(client));
            assert_eq!((word(&verdict), would_deny(&verdict)), (*expected, *would), "{lines:?}: {client}");
            assert_eq!(verdict.outcome.is_ok(), *expected == "ok");
        }
    };
    let denied = ("203.0.113.1", "ok", "address-denied");
    check(&["Deny dry-run 203.0.113.0/24"], &[denied, ("192.0.2.1", "ok", "-")]);
    check(&["Allow dry-run @office"], &[denied, ("198.51.100.1", "ok", "-")]);
    check(&["Allow dry-run @office", "Deny dry-run 198.51.100.1"], &[("198.51.100.1", "ok", "address-denied")]);
    check(&["Deny dry-run @unread"], &[("192.0.2.1", "ok", "address-denied")]);
    check(&["Deny dry-run none"], &[("203.0.113.1", "ok", "-")]);
    // It lets nobody in whom a real rule refuses, and refuses nobody whom one lets in.
    let refused = ("203.0.113.1", "address-denied", "-");
    check(&["Deny 203.0.113.1", "Allow dry-run 203.0.113.1"], &[refused, ("192.0.2.1", "ok", "address-denied")]);
    check(&["Allow 192.0.2.0/24", "Allow dry-run 0.0.0.0/0"], &[refused, ("192.0.2.1", "ok", "-")]);
    check(&["Allow 192.0.2.0/24", "Deny dry-run none"], &[refused]);
    check(&["Allow 203.0.113.1", "Deny dry-run 203.0.113.1"], &[denied, ("192.0.2.1", "address-denied", "-")]);
}

#[test]
fn what_would_be_refused_first_is_told_whatever_comes_behind() {
    let gate = Gate::new();
    let policy =
        gate.policy(&["Deny dry-run 192.0.2.1", "Limit l key=address rate=1/h burst=1 dry-run", "Token optional"]);
    let told = |request: &Request| {
        let verdict = gate.decide(&policy, request);
        (word(&verdict), would_deny(&verdict))
    };
    assert_eq!([(); 2].map(|()| told(&from("192.0.2.1"))), [("ok", "address-denied"); 2]);
    assert_eq!([(); 2].map(|()| told(&from("192.0.2.2"))), [("ok", "-"), ("ok", "rate-limited")]);
    assert_eq!(told(&with(forged())), ("signature-invalid", "address-denied"));
}

/// What was let in by a dry run is not thereby let in elsewhere.
#[test]
fn nothing_is_let_in_elsewhere_that_was_let_in_by_a_dry_run() {
    let gate = Gate::new();
    let credentials = "Credentials bearer cookie:session";
    let trial = gate.policy(&["dry-run", credentials]);
    let real = gate.policy(&[credentials]);
    let part = |request: &Request, policy: &Policy| {
        let first = gate.decide(&trial, request);
        let identity = first.outcome.as_ref().unwrap().as_ref().zip(first.source.as_ref());
        let prior = Prior { charged: &first.charged, identity, ..Prior::default() };
        word(&gate.decide_after(policy, request, prior))
    };
    let good = token_for("alice");
    for (request, expected) in [
        (with(&good), "ok"),
        (from("192.0.2.1").cookie(&good), "ok"),
        (from("192.0.2.1").cookie(&good).post(), "csrf"),
        (from("192.0.2.1").cookie(&good).post().header("Origin", "https://app.test"), "ok"),
        (from("192.0.2.1"), "token-missing"),
        (with(forged()), "signature-invalid"),
        (with(&good).cookie(&good), "credentials-ambiguous"),
    ] {
        assert_eq!(part(&request, &real), expected, "{request:?}");
    }
    let denying = gate.policy(&["Deny 192.0.2.1", credentials]);
    assert_eq!(part(&with(&good), &denying), "address-denied");
}

#[test]
fn a_known_identity_counts_in_a_dry_run_only_where_it_is_accepted() {
    let gate = Gate::new();
    let good = with(token_for("alice"));
    let known = gate.decide(&gate.policy(&[]), &good).outcome.unwrap().unwrap();
    let prior = Prior { identity: Some((&known, &Source::Bearer)), ..Prior::default() };
    let elsewhere = gate.policy(&["dry-run", "Issuers other"]);
    let verdict = gate.decide_after(&elsewhere, &good, prior);
    assert_eq!((word(&verdict), would_deny(&verdict), subject(&verdict)), ("ok", "issuer-unknown", None));
}

#[test]
fn a_preflight_is_answered_as_such() {
    let gate = Gate::new();
    let policy = gate.policy(&["dry-run", "Deny 192.0.2.1", "Cors https://app.example.com"]);
    let verdict = gate.decide(&policy, &from("192.0.2.1").preflight("https://app.example.com", "PUT"));
    assert_eq!((word(&verdict), would_deny(&verdict), verdict.preflight), ("ok", "address-denied", true));
}
