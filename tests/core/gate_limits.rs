//! Limits in a decision: which of them apply, what is charged, and what the answer says about it.

use std::time::Duration;

use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::gate::Verdict;
use jwt_gate_core::limit::Standing;

use super::gate_fixture::*;

/// Names and remaining requests of the limits that were tested.
fn remaining<'v>(verdict: &'v Verdict<'_>) -> Vec<(&'v str, u32)> {
    verdict.standings.iter().map(|tested| (tested.limit.def.name.as_str(), tested.standing.remaining)).collect()
}

/// The limit that refuses, and its Retry-After.
fn refusal<'p>(verdict: &Verdict<'p>) -> Option<(&'p str, u64)> {
    let refusal = verdict.outcome.as_ref().err()?;
    Some((refusal.limit.unwrap().def.name.as_str(), refusal.retry_after.unwrap()))
}

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

#[test]
fn all_limits_of_a_step_are_charged_or_none() {
    let (narrow, wide) = ("key=address rate=1/h burst=1", "key=global rate=1/h burst=3");
    let (user, issuer) = ("key=subject rate=1/h burst=1", "key=issuer rate=1/h burst=3");
    for (narrow, wide) in [(narrow, wide), (user, issuer)] {
        for (first, second) in [("narrow", "wide"), ("wide", "narrow")] {
            let gate = Gate::new();
            let line = |name| format!("Limit {name} {}", if name == "narrow" { narrow } else { wide });
            let policy = gate.policy(&[&line(first), &line(second)]);
            let ask = |number: u8| {
                let request = from(&format!("192.0.2.{number}")).bearer(token_for(&number.to_string()));
                let verdict = gate.decide(&policy, &request);
                let left =
                    |name| verdict.standings.iter().find(|t| t.limit.def.name == name).unwrap().standing.remaining;
                (refusal(&verdict).map(|(name, _)| name), left("narrow"), left("wide"), verdict.charged.len())
            };
            assert_eq!(ask(1), (None, 0, 2, 2));
            for _ in 0..5 {
                assert_eq!(ask(1), (Some("narrow"), 0, 2, 0));
            }
            assert_eq!(ask(2), (None, 0, 1, 2));
            assert_eq!(ask(3), (None, 0, 0, 2));
            for _ in 0..5 {
                assert_eq!(ask(4), (Some("wide"), 1, 0, 0));
            }
        }
    }
}

#[test]
fn limits_with_identity_do_not_apply_to_the_anonymous() {
    let gate = Gate::new();
    let user = "Limit user key=address+subject rate=1/h burst=1";
    let (optional, none) = (gate.policy(&["Token optional", user]), gate.policy(&["Token none", user]));
    let token = token_for("alice");
    for _ in 0..3 {
        for (policy, request) in [(&optional, &from("192.0.2.1")), (&none, &with(&token))] {
            let verdict = gate.decide(policy, request);
            assert_eq!((word(&verdict), verdict.standings.len(), verdict.charged.len()), ("ok", 0, 0));
        }
    }
    assert_eq!(gate.word(&optional, &with(&token)), "ok");
    assert_eq!(gate.word(&optional, &with(&token)), "rate-limited");
    assert_eq!(gate.word(&optional, &from("192.0.2.1")), "ok");
}

#[test]
fn exempt_networks() {
    let gate = Gate::new();
    let policy = gate.policy(&[
        "Limit outside key=global rate=1/h burst=1 exempt=@office",
        "Limit all key=global rate=1/h burst=7",
        "Limit user key=subject rate=1/h burst=1 exempt=@office",
    ]);
    let token = token_for("alice");
    for client in ["198.51.100.0", "198.51.100.255", "::ffff:198.51.100.7"] {
        for _ in 0..2 {
            let verdict = gate.decide(&policy, &from(client).bearer(&token));
            assert_eq!((word(&verdict), verdict.standings.len()), ("ok", 1), "{client}: `all` alone counts");
        }
    }
    assert_eq!(gate.word(&policy, &from("198.51.101.0").bearer(&token)), "ok");
    for client in ["198.51.101.0", "198.51.99.255"] {
        let over_the_office = from(client).peer("198.51.100.1").bearer(&token);
        let verdict = gate.decide(&policy, &over_the_office);
        assert_eq!(refusal(&verdict).unwrap().0, "outside", "{client}: its peer does not count");
    }
    let verdict = gate.decide(&policy, &from("198.51.100.1").bearer(&token));
    assert_eq!(refusal(&verdict), Some(("all", 3600)));
}

/// One request each 6 s and each 60 s.
fn two_speeds(gate: &Gate, first: &str, second: &str) -> Policy {
    let line = |name: &str| format!("Limit {name} key=global rate={}/m burst=1", if name == "fast" { 10 } else { 1 });
    gate.policy(&["Token none", &line(first), &line(second)])
}

#[test]
fn retry_after_is_the_longest_wait_and_true_to_the_second() {
    for (first, second) in [("fast", "slow"), ("slow", "fast")] {
        let gate = Gate::new();
        let policy = two_speeds(&gate, first, second);
        let ask = |time| refusal(&gate.decide(&policy, &from("192.0.2.1").after(time)));
        assert_eq!(ask(Duration::ZERO), None);
        for (time, expected) in [
            (Duration::ZERO, (first, 60)),
            (NANO, (first, 60)),
            (SECOND, (first, 59)),
            (SECOND * 6 - NANO, (first, 55)),
            (SECOND * 6, ("slow", 54)),
            (SECOND * 59, ("slow", 1)),
            (SECOND * 60 - NANO, ("slow", 1)),
        ] {
            assert_eq!(ask(time), Some(expected), "{time:?}");
        }
        assert_eq!(ask(SECOND * 60), None, "denied until exactly then");
        assert_eq!(ask(SECOND * 60), Some((first, 60)), "asking did not put it off");
    }
}

#[test]
fn a_single_limit_refuses_until_exactly_then() {
    let gate = Gate::new();
    let policy = gate.policy(&["Limit user key=subject rate=10/m burst=2"]);
    let ask = |time| refusal(&gate.decide(&policy, &with(token_for("alice")).after(time)));
    assert_eq!([ask(SECOND), ask(SECOND)], [None, None]);
    for (time, expected) in [(SECOND, 6), (SECOND + NANO, 6), (SECOND * 2, 5), (SECOND * 7 - NANO, 1)] {
        assert_eq!(ask(time), Some(("user", expected)), "{time:?}");
    }
    assert_eq!((ask(SECOND * 7), ask(SECOND * 7)), (None, Some(("user", 6))));
    assert_eq!((ask(SECOND * 13), ask(SECOND * 13)), (None, Some(("user", 6))));
}

/// Requests that came a second later were charged first.
#[test]
fn a_request_that_takes_long_is_refused_by_the_time_at_its_end() {
    for (key, token) in [("global", "none"), ("subject", "required")] {
        let gate = Gate::new();
        let policy = gate.policy(&[&format!("Limit limit key={key} rate=5/m burst=5"), &format!("Token {token}")]);
        let ask = |time, taking| {
            let request = with(token_for("alice")).after(time).taking(taking);
            refusal(&gate.decide(&policy, &request))
        };
        assert_eq!([(); 4].map(|()| ask(SECOND, Duration::ZERO)), [None; 4]);
        assert_eq!(ask(Duration::ZERO, SECOND), None, "there is room for one more");
        assert_eq!(ask(Duration::ZERO, SECOND), Some(("limit", 12)));
        assert_eq!(ask(Duration::ZERO, SECOND * 2), Some(("limit", 11)));
        assert_eq!(ask(SECOND, SECOND * 12), None, "room has come meanwhile");
    }
}

#[test]
fn standings_tell_what_is_left_after_this_request() {
    let gate = Gate::new();
    let policy = gate.policy(&["Limit all key=global rate=1/m burst=3", "Limit user key=subject rate=1/s burst=1"]);
    let ask = |subject, time| {
        let request = with(token_for(subject)).after(time);
        gate.decide(&policy, &request)
    };
    let standings = |verdict: &Verdict<'_>| verdict.standings.iter().map(|t| t.standing).collect::<Vec<_>>();
    let at = |remaining, secs_until_one_more| Standing { remaining, secs_until_one_more };

    let admitted = ask("alice", Duration::ZERO);
    assert_eq!(remaining(&admitted), [("all", 2), ("user", 0)]);
    assert_eq!(standings(&admitted), [at(2, 60), at(0, 1)]);
    let refused = ask("alice", Duration::ZERO);
    assert_eq!((refusal(&refused), standings(&refused)), (Some(("user", 1)), vec![at(1, 60), at(0, 1)]));
    assert_eq!(standings(&ask("bob", SECOND * 30)), [at(0, 30), at(0, 1)]);
    // Refused in the first step: the second is not tested.
    let refused = ask("carol", SECOND * 30 + NANO);
    assert_eq!((refusal(&refused), standings(&refused)), (Some(("all", 30)), vec![at(0, 30)]));
    // At rest again but for this one request.
    assert_eq!(standings(&ask("alice", SECOND * 300)), [at(2, 60), at(0, 1)]);
}
