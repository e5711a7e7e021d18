//! API keys in a decision: alone, as one of several credentials, and besides a token.

use std::time::Duration;

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::forward;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::requirement::Kind;
use jwt_gate_core::gate::{ApiKeys, Prior};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::requirement::Requirement;
use jwt_gate_core::verdict::Reason;

use super::gate_fixture::*;
use super::token_mint::ISS;

const ALONE: &str = "Credentials api-key:X-Api-Key";
const BESIDE: &str = "Credentials bearer api-key:X-Api-Key cookie:session";
const BOTH: &str = "Credentials bearer+api-key:X-Api-Key";

/// The tests begin at 22:13:20.
fn gate() -> Gate {
    let mut gate = Gate::new();
    gate.api_keys = api_keys(&[
        ("partner", r#""scopes":["read","write"]"#),
        ("alice", ""),
        ("timed", r#""not_before":"2023-11-14T22:13:30Z","expires":"2023-11-14T22:13:40Z""#),
        ("here", r#""networks":["192.0.2.0/24","2001:db8::/32","@office"]"#),
        ("unread", r#""networks":["@unread"]"#),
        ("nowhere", r#""networks":["@nowhere"]"#),
        ("either", r#""networks":["@nowhere","@unread","192.0.2.1"]"#),
    ]);
    gate
}

fn key(id: &str) -> Request {
    from("192.0.2.1").key(id)
}

fn raw(value: &str) -> Request {
    from("192.0.2.1").header("X-Api-Key", value)
}

fn identity(gate: &Gate, policy: &Policy, request: &Request) -> Identity {
    gate.decide(policy, request).outcome.unwrap().unwrap()
}

#[test]
fn alone() {
    let gate = gate();
    let policy = gate.policy(&[ALONE]);
    let good = key_text("partner");
    for (request, expected) in [
        (key("partner"), "ok"),
        (key("partner").post(), "ok"),
        (raw(&format!(" {good}\t")), "ok"),
        (from("192.0.2.1"), "token-missing"),
        (with(token_for("alice")), "token-missing"),
        (from("192.0.2.1").header("X-Other", &good), "token-missing"),
        (with(&good), "token-missing"),
        (key("stranger"), "api-key-invalid"),
        (raw(&good.to_uppercase()), "api-key-invalid"),
        (raw(&good[..good.len() - 1]), "api-key-invalid"),
        (raw(&format!("{good}x")), "api-key-invalid"),
        (raw(&format!("Bearer {good}")), "api-key-invalid"),
        (raw(&format!("\"{good}\"")), "api-key-invalid"),
        (raw("short"), "api-key-invalid"),
        (raw(&"x".repeat(100_000)), "api-key-invalid"),
        (raw("sécret-of-the-tests:partner"), "api-key-invalid"),
        (raw(&token_for("alice")), "api-key-invalid"),
        (raw(""), "credentials-malformed"),
        (raw(" "), "credentials-malformed"),
        (key("partner").key("partner"), "credentials-ambiguous"),
        (key("partner").key("stranger"), "credentials-ambiguous"),
        (raw(&format!("{good}, {good}")), "credentials-ambiguous"),
        (raw(","), "credentials-ambiguous"),
        // What is not asked for is not looked at.
        (key("partner").bearer(forged()), "ok"),
        (key("partner").cookie("?"), "ok"),
    ] {
        assert_eq!(gate.word(&policy, &request), expected, "{request:?}");
    }
    let verdict = gate.decide(&policy, &key("partner"));
    assert_eq!(verdict.source, Some(Source::ApiKey("X-Api-Key".into())));
    let refused = gate.decide(&policy, &key("stranger"));
    assert_eq!(refused.source, verdict.source, "it can be taken out of a refused request");
}

#[test]
fn one_of_several() {
    let gate = gate();
    let policy = gate.policy(&[BESIDE]);
    let token = token_for("alice");
    for (request, expected) in [
        (key("partner"), "ok"),
        (with(&token), "ok"),
        (from("192.0.2.1").cookie(&token), "ok"),
        (from("192.0.2.1"), "token-missing"),
        (key("stranger"), "api-key-invalid"),
        (key("partner").bearer(&token), "credentials-ambiguous"),
        (key("partner").bearer(forged()), "credentials-ambiguous"),
        (key("stranger").bearer(&token), "credentials-ambiguous"),
        (key("partner").cookie(&token), "credentials-ambiguous"),
        (raw("").bearer(&token), "credentials-ambiguous"),
    ] {
        assert_eq!(gate.word(&policy, &request), expected, "{request:?}");
    }
    let optional = gate.policy(&[BESIDE, "Token optional"]);
    assert!(gate.decide(&optional, &from("192.0.2.1")).outcome.unwrap().is_none());
    assert_eq!(gate.word(&optional, &key("stranger")), "api-key-invalid");
    let none = gate.policy(&[BESIDE, "Token none"]);
    assert!(gate.decide(&none, &key("stranger")).outcome.unwrap().is_none());
}

#[test]
fn both_needed() {
    let gate = gate();
    let (required, optional) = (gate.policy(&[BOTH]), gate.policy(&[BOTH, "Token optional"]));
    let token = token_for("alice");
    for policy in [&required, &optional] {
        for (request, expected) in [
            (key("partner").bearer(&token), "ok"),
            (with(&token), "token-missing"),
            (key("partner"), "token-missing"),
            (with(forged()), "token-missing"),
            (key("stranger"), "token-missing"),
            (key("stranger").bearer(&token), "api-key-invalid"),
            (key("partner").bearer(forged()), "signature-invalid"),
            // The key is asked about first.
            (key("stranger").bearer(forged()), "api-key-invalid"),
            (key("partner").key("partner").bearer(&token), "credentials-ambiguous"),
            (key("partner").bearer(&token).bearer(&token), "credentials-ambiguous"),
            (raw("").bearer(&token), "credentials-malformed"),
            (key("partner").bearer("?"), "credentials-malformed"),
            (raw(&token).bearer(key_text("partner").replace(':', "")), "api-key-invalid"),
        ] {
            assert_eq!(gate.word(policy, &request), expected, "{request:?}");
        }
    }
    assert_eq!(gate.word(&required, &from("192.0.2.1")), "token-missing");
    assert!(gate.decide(&optional, &from("192.0.2.1")).outcome.unwrap().is_none());

    let verdict = gate.decide(&required, &key("partner").bearer(&token));
    assert_eq!(verdict.source, Some(Source::Bearer));
    let both = verdict.outcome.unwrap().unwrap();
    assert_eq!((both.subject(), both.issuer(), both.key().unwrap().id()), (Some("alice"), Some("login"), "partner"));
    assert_eq!(both.scopes().count(), 0, "the scopes of the key are not those of the token");
}

#[test]
fn times_are_exact() {
    let gate = gate();
    for (credentials, request) in [(ALONE, key("timed")), (BOTH, key("timed").bearer(token_for("alice")))] {
        let policy = gate.policy(&[credentials]);
        for (micros, expected) in [
            (0, "api-key-invalid"),
            (9_999_999, "api-key-invalid"),
            (10_000_000, "ok"),
            (19_999_999, "ok"),
            (20_000_000, "api-key-invalid"),
        ] {
            let request = request.clone().after(Duration::from_micros(micros));
            assert_eq!(gate.word(&policy, &request), expected, "{credentials}: {micros}");
        }
    }
}

#[test]
fn networks_are_about_the_client_and_fail_closed() {
    let gate = gate();
    let policy = gate.policy(&[ALONE]);
    for (client, id, expected) in [
        ("192.0.2.255", "here", "ok"),
        ("::ffff:192.0.2.1", "here", "ok"),
        ("2001:db8:1::1", "here", "ok"),
        ("198.51.100.1", "here", "ok"),
        ("::ffff:198.51.100.1", "here", "ok"),
        ("203.0.113.1", "here", "api-key-invalid"),
        ("2001:db9::1", "here", "api-key-invalid"),
        ("192.0.2.1", "unread", "api-key-invalid"),
        ("::1", "unread", "api-key-invalid"),
        ("192.0.2.1", "nowhere", "api-key-invalid"),
        ("192.0.2.1", "either", "ok"),
        ("192.0.2.2", "either", "api-key-invalid"),
    ] {
        let request = from(client).peer("198.51.100.1").key(id);
        assert_eq!(gate.word(&policy, &request), expected, "{client} {id}");
    }
}

/// For the log, which never has the key itself.
#[test]
fn what_is_wrong_with_a_key_is_told_by_its_id() {
    let mut gate = gate();
    let told = |gate: &Gate, credentials: &str, request: &Request| {
        let policy = gate.policy(&[credentials]);
        let refusal = gate.decide(&policy, request).outcome.unwrap_err();
        refusal.api_key.map(|fault| fault.to_string())
    };
    let elsewhere = from("203.0.113.9").key("here");
    let beside_a_token = key("timed").bearer(token_for("alice"));
    for (credentials, request, expected) in [
        (ALONE, key("timed"), Some("key timed: the API key is not valid yet")),
        (BOTH, beside_a_token, Some("key timed: the API key is not valid yet")),
        (ALONE, elsewhere, Some("key here: the API key may not be used from this address")),
        (ALONE, key("nobody"), Some("no such API key is listed")),
        (ALONE, from("192.0.2.1"), None),
    ] {
        assert_eq!(told(&gate, credentials, &request).as_deref(), expected, "{request:?}");
    }
    gate.api_keys = ApiKeys::Unavailable;
    let unread = told(&gate, ALONE, &key("partner"));
    assert_eq!(unread.as_deref(), Some("the file of JwtGateApiKeys could not be read yet"));
}

#[test]
fn a_list_that_is_not_there() {
    let mut gate = gate();
    let token = token_for("alice");
    for (list, with_key) in [(ApiKeys::Unavailable, "keys-unavailable"), (ApiKeys::None, "api-key-invalid")] {
        gate.api_keys = list;
        for (credentials, request, expected) in [
            (ALONE, key("partner"), with_key),
            (ALONE, from("192.0.2.1"), "token-missing"),
            (ALONE, raw(""), "credentials-malformed"),
            (BESIDE, with(&token), "ok"),
            (BESIDE, key("partner"), with_key),
            (BOTH, key("partner").bearer(&token), with_key),
            (BOTH, with(&token), "token-missing"),
        ] {
            let policy = gate.policy(&[credentials]);
            assert_eq!(gate.word(&policy, &request), expected, "{credentials}: {request:?}");
            let refusal = gate.decide(&policy, &request).outcome.err();
            let waits = refusal.as_ref().is_some_and(|refusal| refusal.retry_after.is_some());
            assert_eq!(waits, expected == "keys-unavailable");
            assert!(refusal.is_none_or(|refusal| refusal.keys_of.is_none()), "no issuer lacks anything");
        }
    }
}

/// The requests in each group share a bucket, and no two groups do.
fn assert_buckets(credentials: &str, key: &str, groups: &[&[Request]]) {
    let gate = gate();
    let policy = gate.policy(&[credentials, &format!("Limit limit key={key} rate=1/h burst=1 quota=1/day")]);
    for group in groups {
        assert_eq!(gate.word(&policy, &group[0]), "ok", "{key}: no bucket of its own: {:?}", group[0]);
        for request in *group {
            assert_eq!(gate.word(&policy, request), "quota-exceeded", "{key}: apart from its like: {request:?}");
        }
    }
}

#[test]
fn buckets() {
    let token = |subject: &str| with(token_for(subject));
    let of_client = |client: &str| with(token_of(Some(ISS), &format!(r#""sub":"{client}","azp":"{client}""#)));
    // Who has no key shares a bucket with the like.
    let by_key = [&[key("partner")][..], &[key("alice")], &[token("alice"), token("partner"), token("bob")]];
    assert_buckets(BESIDE, "api-key", &by_key);
    // A key that is called alice is not alice.
    let by_subject = [&[key("alice")][..], &[key("partner")], &[token("alice")], &[token("partner")]];
    assert_buckets(BESIDE, "subject", &by_subject);
    assert_buckets(BESIDE, "subject+api-key", &by_subject);
    // No key was given to a client, nor has an issuer or claims.
    let by_client =
        [&[of_client("alice")][..], &[of_client("partner")], &[key("alice"), key("partner"), token("alice")]];
    assert_buckets(BESIDE, "client", &by_client);
    assert_buckets(BESIDE, "issuer", &[&[token("alice"), token("bob")][..], &[key("alice"), key("partner")]]);
    assert_buckets(BESIDE, "claim:sub", &[&[token("alice")][..], &[key("alice"), key("partner")]]);

    let both = |id: &str, subject: &str| token(subject).key(id);
    let by_key = [&[both("partner", "alice"), both("partner", "bob")][..], &[both("alice", "alice")]];
    assert_buckets(BOTH, "api-key", &by_key);
    let by_subject = [&[both("partner", "alice"), both("alice", "alice")][..], &[both("partner", "bob")]];
    assert_buckets(BOTH, "subject", &by_subject);
    let by_both = [&[both("partner", "alice")][..], &[both("alice", "alice")], &[both("partner", "bob")]];
    assert_buckets(BOTH, "api-key+subject", &by_both);
}

/// Under another policy, in another part of the same client request.
#[test]
fn what_is_known_is_judged_by_what_is_accepted_here() {
    let gate = gate();
    let [alone, beside, both, bearer, none] =
        [ALONE, BESIDE, BOTH, "Credentials bearer", "Token none"].map(|line| gate.policy(&[line]));
    let token = with(token_for("alice"));
    let of_key = identity(&gate, &alone, &key("partner"));
    let of_token = identity(&gate, &bearer, &token);
    let of_both = identity(&gate, &both, &token.clone().key("partner"));
    let bare = from("192.0.2.1");
    let source = Source::ApiKey("X-Api-Key".into());
    for (known, source, policy, request, expected) in [
        (&of_key, &source, &alone, &bare, "ok"),
        (&of_key, &source, &beside, &bare, "ok"),
        (&of_key, &source, &bearer, &bare, "token-missing"),
        (&of_key, &source, &bearer, &token, "ok"),
        (&of_key, &source, &both, &bare, "token-missing"),
        (&of_key, &source, &both, &key("partner"), "token-missing"),
        (&of_key, &source, &both, &token.clone().key("partner"), "ok"),
        (&of_key, &source, &none, &bare, "ok"),
        (&of_token, &Source::Bearer, &beside, &bare, "ok"),
        (&of_token, &Source::Bearer, &alone, &bare, "token-missing"),
        (&of_token, &Source::Bearer, &alone, &token, "token-missing"),
        (&of_token, &Source::Bearer, &alone, &key("stranger"), "api-key-invalid"),
        (&of_token, &Source::Bearer, &alone, &key("partner"), "ok"),
        (&of_token, &Source::Bearer, &both, &token, "token-missing"),
        (&of_token, &Source::Bearer, &both, &token.clone().key("partner"), "ok"),
        (&of_both, &Source::Bearer, &both, &bare, "ok"),
        (&of_both, &Source::Bearer, &bearer, &bare, "ok"),
        (&of_both, &Source::Bearer, &alone, &bare, "token-missing"),
        (&of_both, &Source::Bearer, &alone, &key("alice"), "ok"),
    ] {
        let prior = Prior { identity: Some((known, source)), ..Prior::default() };
        let verdict = gate.decide_after(policy, request, prior);
        assert_eq!(word(&verdict), expected, "{:?} {request:?}", policy.credentials);
    }
    let prior = Prior { identity: Some((&of_both, &Source::Bearer)), ..Prior::default() };
    let verdict = gate.decide_after(&alone, &key("alice"), prior);
    assert_eq!(verdict.outcome.unwrap().unwrap().subject(), Some("alice"));
    assert_eq!(verdict.source, Some(source), "where it was found now");
}

#[test]
fn a_known_key_is_asked_about_again() {
    let gate = gate();
    let policy = gate.policy(&[ALONE]);
    let again = |id: &str, client: &str, found: Duration, now: Duration| {
        let known = identity(&gate, &policy, &key(id).after(found));
        let source = Source::ApiKey("X-Api-Key".into());
        let prior = Prior { identity: Some((&known, &source)), ..Prior::default() };
        word(&gate.decide_after(&policy, &from(client).after(now), prior))
    };
    let secs = Duration::from_secs;
    assert_eq!(again("timed", "192.0.2.1", secs(10), Duration::from_micros(19_999_999)), "ok");
    assert_eq!(again("timed", "192.0.2.1", secs(10), secs(20)), "api-key-invalid");
    assert_eq!(again("here", "198.51.100.1", secs(0), secs(0)), "ok");
    assert_eq!(again("here", "203.0.113.1", secs(0), secs(0)), "api-key-invalid");
}

#[test]
fn what_a_key_stands_for() {
    let mut gate = Gate::with_plans(&["gold rate=1/h burst=4"]);
    gate.api_keys = api_keys(&[("partner", r#""plan":"gold","scopes":["read","write"]"#)]);
    let of_key = identity(&gate, &gate.policy(&[ALONE]), &key("partner"));
    let claims = r#""sub":"alice","azp":"app","scope":"admin""#;
    let of_both = identity(&gate, &gate.policy(&[BOTH]), &with(token_of(Some(ISS), claims)).key("partner"));
    let of_token = identity(&gate, &gate.policy(&[]), &with(token_of(Some(ISS), claims)));
    for (kind, line, met) in [
        (Kind::Scope, "read", [true, false, false]),
        (Kind::Scope, "admin", [false, true, true]),
        (Kind::Plan, "gold", [true, true, false]),
        (Kind::Issuer, "login", [false, true, true]),
        (Kind::Client, "app partner", [false, true, true]),
        (Kind::Claim, "sub partner alice", [false, true, true]),
        (Kind::Group, "partner read", [false; 3]),
    ] {
        let requirement = Requirement::parse(kind, line).unwrap();
        assert_eq!([&of_key, &of_both, &of_token].map(|known| requirement.is_met_by(known)), met, "{kind:?} {line}");
    }
    for (value, expected) in [
        ("subject", [Some("partner"), Some("alice"), Some("alice")]),
        ("api-key", [Some("partner"), Some("partner"), None]),
        ("plan", [Some("gold"), Some("gold"), None]),
        ("scope", [Some("read write"), Some("admin"), Some("admin")]),
        ("issuer", [None, Some("login"), Some("login")]),
        ("client", [None, Some("app"), Some("app")]),
        ("claim:sub", [None, Some("alice"), Some("alice")]),
    ] {
        let def = forward::parse(&["X-Test", value], |_| Err(String::new())).unwrap().unwrap();
        let told = [&of_key, &of_both, &of_token].map(|known| jwt_gate_core::forward::value(&def.value, known));
        assert_eq!(told.each_ref().map(Option::as_deref), expected, "{value}");
    }
    assert_eq!(Reason::ApiKeyInvalid.consequence().status, 401);
}
