//! The decision as a whole: the order of its steps, and what each of them leaves behind.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

mod gate_api_keys;
mod gate_buckets;
mod gate_cors;
mod gate_dry_run;
mod gate_fixture;
mod gate_limits;
mod gate_lockout;
mod gate_model;
mod gate_plans;
mod gate_prior;
#[allow(dead_code, unused_imports)] // the tests of tokens use the rest
mod token_mint;

use std::time::Duration;

use gate_fixture::*;
use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::verdict::Reason;
use token_mint::ISS;

const LIMIT_ALL: &str = "Limit all key=global rate=1/h burst=1";
const LIMIT_USER: &str = "Limit user key=subject rate=1/h burst=1";

/// Everything at once. One request is let through first, so that both limits refuse; what the later steps
/// are to see is then exempt from `all`.
#[test]
fn the_first_refusal_wins() {
    let gate = Gate::new();
    let policy = gate.policy(&[
        "Deny 203.0.113.0/24 198.51.100.66",
        "Limit all key=global rate=1/h burst=1 exempt=@office",
        "Credentials bearer cookie:session",
        LIMIT_USER,
    ]);
    let (good, early) = (token_for("alice"), token_of(Some(ISS), r#""nbf":9000000000"#));
    assert_eq!(gate.word(&policy, &with(&good)), "ok");

    let (denied, limited, office) = (from("203.0.113.1"), from("192.0.2.1"), from("198.51.100.1"));
    for (request, expected) in [
        // networks, then limits without identity
        (&denied.clone().bearer(&good), "address-denied"),
        (&from("198.51.100.66").bearer(&good), "address-denied"),
        (&limited.clone().bearer(&good), "rate-limited"),
        // limits without identity, then the credential
        (&limited, "rate-limited"),
        (&limited.clone().bearer(&good).bearer(&good), "rate-limited"),
        (&limited.clone().bearer("?"), "rate-limited"),
        (&limited.clone().bearer(forged()), "rate-limited"),
        (&office, "token-missing"),
        (&office.clone().bearer("?"), "credentials-malformed"),
        // the credential, then the token
        (&office.clone().bearer(forged()).bearer(forged()), "credentials-ambiguous"),
        (&office.clone().bearer(forged()).cookie(forged()), "credentials-ambiguous"),
        (&office.clone().bearer(forged()), "signature-invalid"),
        // the token, then CSRF
        (&office.clone().cookie(forged()).post(), "signature-invalid"),
        (&office.clone().cookie(&early).post(), "token-not-yet-valid"),
        // CSRF, then limits with identity
        (&office.clone().cookie(&good).post(), "csrf"),
        (&office.clone().cookie(&good), "rate-limited"),
        (&office.clone().bearer(&good), "rate-limited"),
        (&office.clone().bearer(token_for("bob")), "ok"),
    ] {
        assert_eq!(gate.word(&policy, request), expected, "{request:?}");
    }
}

#[test]
fn what_an_earlier_step_refuses_no_later_limit_counts() {
    let gate = Gate::new();
    let policy = gate.policy(&["Deny 203.0.113.1", LIMIT_ALL, LIMIT_USER]);
    let good = token_for("alice");
    for _ in 0..3 {
        assert_eq!(gate.word(&policy, &from("203.0.113.1").bearer(&good)), "address-denied");
    }
    let verdict = gate.decide(&policy, &with(forged()));
    assert_eq!((word(&verdict), verdict.standings.len()), ("signature-invalid", 1), "`all` alone is charged");

    let policy = gate.policy(&["Credentials bearer cookie:session", LIMIT_USER]);
    for refused in [with(forged()), from("192.0.2.1"), from("192.0.2.1").cookie(&good).post()] {
        assert_ne!(gate.word(&policy, &refused), "ok");
    }
    assert_eq!(gate.word(&policy, &with(&good)), "ok");
    assert_eq!(gate.word(&policy, &with(&good)), "rate-limited");
}

#[test]
fn limits_without_identity_stay_charged_whatever_comes_after() {
    let good = token_for("alice");
    let early = "Limit early key=address rate=1/h burst=2";
    for (refused, expected) in [
        (from("192.0.2.1"), "token-missing"),
        (with("?"), "credentials-malformed"),
        (with("a").bearer("a"), "credentials-ambiguous"),
        (with(forged()), "signature-invalid"),
        (from("192.0.2.1").cookie(&good).post(), "csrf"),
    ] {
        let gate = Gate::new();
        let policy = gate.policy(&[early, "Credentials bearer cookie:session"]);
        let verdict = gate.decide(&policy, &refused);
        assert_eq!(word(&verdict), expected);
        assert_eq!((verdict.charged.len(), verdict.standings[0].standing.remaining), (1, 1), "{expected}");
        assert_eq!(gate.word(&policy, &refused), expected);
        assert_eq!(gate.word(&policy, &with(&good)), "rate-limited", "after {expected} twice");
    }
    // So after a refusal by a limit with identity.
    let gate = Gate::new();
    let policy = gate.policy(&["Limit early key=address rate=1/h burst=3", LIMIT_USER]);
    let verdicts = [(); 4].map(|()| gate.decide(&policy, &with(&good)));
    let limits = verdicts.each_ref().map(|v| v.outcome.as_ref().err().map(|r| r.limit.unwrap().def.name.as_str()));
    assert_eq!(limits, [None, Some("user"), Some("user"), Some("early")]);
}

#[test]
fn token_modes() {
    let gate = Gate::new();
    let (good, none) = (token_for("alice"), from("192.0.2.1"));
    let twice = with(&good).bearer(&good);
    for (mode, cases) in [
        ("Token required", [(&none, "token-missing"), (&with(&good), "ok"), (&with(forged()), "signature-invalid")]),
        ("Token optional", [(&none, "ok"), (&with(&good), "ok"), (&with(forged()), "signature-invalid")]),
        ("Token optional", [(&twice, "credentials-ambiguous"), (&with("?"), "credentials-malformed"), (&none, "ok")]),
        ("Token none", [(&none, "ok"), (&with(forged()), "ok"), (&twice, "ok")]),
    ] {
        let policy = gate.policy(&[mode]);
        for (request, expected) in cases {
            assert_eq!(gate.word(&policy, request), expected, "{mode}: {request:?}");
        }
    }
    let subject = |mode: &str, request: &Request| {
        let policy = gate.policy(&[mode]);
        gate.decide(&policy, request).outcome.unwrap().and_then(|v| v.subject().map(str::to_owned))
    };
    assert_eq!(subject("Token required", &with(&good)).as_deref(), Some("alice"));
    assert_eq!(subject("Token optional", &with(&good)).as_deref(), Some("alice"));
    assert_eq!(subject("Token optional", &none), None);
    assert_eq!(subject("Token none", &with(&good)), None);
}

#[test]
fn the_issuers_of_the_location_count_even_for_a_token_that_is_known() {
    let gate = Gate::new();
    let (login, both) = (gate.policy(&["Issuers login"]), gate.policy(&["Issuers login other"]));
    let (ours, others) = (token_for("alice"), token_of(Some(OTHER), ""));
    for (policy, token, expected) in [
        (&both, &others, "ok"),
        (&login, &others, "issuer-unknown"),
        (&login, &ours, "ok"),
        (&both, &ours, "ok"),
        (&gate.policy(&["Issuers other"]), &ours, "issuer-unknown"),
        (&gate.policy(&["Issuers session"]), &token_of(None, ""), "ok"),
        (&both, &token_of(None, ""), "issuer-unknown"),
    ] {
        assert_eq!(gate.word(policy, &with(token)), expected);
    }
    let last_moment = Duration::from_micros(329_999_999);
    assert_eq!(gate.word(&login, &with(&ours).after(last_moment)), "ok");
    assert_eq!(gate.word(&login, &with(&ours).after(Duration::from_secs(330))), "token-expired");
}

#[test]
fn one_credential_in_one_place() {
    let gate = Gate::new();
    let policy = gate.policy(&["Credentials bearer header:X-Token cookie:session query:t"]);
    let good = token_for("alice");
    let put: [fn(Request, &str) -> Request; 4] = [
        |request, token| request.bearer(token),
        |request, token| request.header("X-Token", token),
        |request, token| request.cookie(token),
        |request, token| request.query(format!("t={token}")),
    ];
    let sources =
        [Source::Bearer, Source::Header("X-Token".into()), Source::Cookie("session".into()), Source::Query("t".into())];
    for (first, source) in put.iter().zip(sources) {
        let request = first(from("192.0.2.1"), &good);
        let verdict = gate.decide(&policy, &request);
        assert_eq!((word(&verdict), verdict.source), ("ok", Some(source.clone())));
        let refused = first(from("192.0.2.1"), &forged());
        assert_eq!(
            gate.decide(&policy, &refused).source,
            Some(source.clone()),
            "it can be taken out of a refused request"
        );
        for second in &put {
            // In two places, or, but for the query, twice in one.
            let request = second(request.clone(), &good);
            let expected = if source == Source::Query("t".into()) && std::ptr::fn_addr_eq(*first, *second) {
                "ok"
            } else {
                "credentials-ambiguous"
            };
            assert_eq!(gate.word(&policy, &request), expected, "{request:?}");
        }
    }
    let twice = from("192.0.2.1").query(format!("t={good}&t={good}"));
    assert_eq!(gate.word(&policy, &twice), "credentials-ambiguous");

    // What is not listed is not looked at, not even as a second credential.
    let bearer = gate.policy(&[]);
    let request = with(&good).header("X-Token", "?").cookie("?").query("t=?".to_owned());
    assert_eq!(gate.word(&bearer, &request), "ok");
    assert_eq!(gate.word(&bearer, &from("192.0.2.1").cookie(&good)), "token-missing");
}

#[test]
fn only_a_cookie_needs_proof_against_forgery() {
    let gate = Gate::new();
    let policy = gate.policy(&["Credentials bearer header:X-Token cookie:session query:t"]);
    let (good, plain) = (token_for("alice"), from("192.0.2.1").post());
    for request in [
        plain.clone().bearer(&good),
        plain.clone().header("X-Token", &good),
        plain.clone().query(format!("t={good}")),
        from("192.0.2.1").cookie(&good),
        plain.clone().cookie(&good).header("Sec-Fetch-Site", "same-origin"),
        plain.clone().cookie(&good).header("Origin", "https://app.test"),
    ] {
        assert_eq!(gate.word(&policy, &request), "ok", "{request:?}");
    }
    for request in [
        plain.clone().cookie(&good),
        plain.clone().cookie(&good).header("Sec-Fetch-Site", "cross-site"),
        plain.clone().cookie(&good).header("Origin", "https://evil.test"),
        plain.clone().cookie(&good).header("Origin", "http://app.test"),
        from("192.0.2.1").cookie(&good).header("Upgrade", "websocket"),
    ] {
        assert_eq!(gate.word(&policy, &request), "csrf", "{request:?}");
    }
    // A cookie that is no credential here needs none.
    assert_eq!(gate.word(&gate.policy(&["Token optional"]), &plain.cookie(&good)), "ok");
}

#[test]
fn a_network_that_was_never_read_lets_nobody_in() {
    let gate = Gate::new();
    for rules in [&["Allow @unread"][..], &["Deny @unread"], &["Allow 192.0.2.0/24", "Deny @unread"]] {
        let policy = gate.policy(rules);
        for client in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(gate.word(&policy, &from(client).bearer(token_for("alice"))), "address-denied", "{rules:?}");
        }
    }
    let policy = gate.policy(&["Allow @unread 192.0.2.0/24"]);
    assert_eq!(gate.word(&policy, &with(token_for("alice"))), "ok");
    let policy = gate.policy(&["Token none", "Limit a key=address rate=1/h exempt=@unread"]);
    let words = [(); 2].map(|()| gate.word(&policy, &from("192.0.2.1")));
    assert_eq!(words, ["ok", "rate-limited"]);
}

#[test]
fn a_client_is_told_when_to_come_back_only_where_that_helps() {
    let gate = Gate::new();
    let policy = gate.policy(&["Deny 203.0.113.1", "Credentials bearer cookie:session"]);
    let refusal = |request: &Request| gate.decide(&policy, request).outcome.unwrap_err();
    let lost = refusal(&with(token_of(Some(LOST), "")));
    assert_eq!(lost.reason, Reason::KeysUnavailable);
    assert!(lost.retry_after.unwrap() >= 1 && lost.limit.is_none());
    for request in [
        from("203.0.113.1"),
        from("192.0.2.1"),
        with("?"),
        with(forged()),
        with(token_of(Some("https://unknown.test"), "")),
        from("192.0.2.1").cookie(token_for("alice")).post(),
    ] {
        let refusal = refusal(&request);
        assert!(refusal.retry_after.is_none() && refusal.limit.is_none(), "{refusal:?}");
    }
}
