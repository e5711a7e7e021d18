//! Addresses that fail too often: which failures count, whom they hit, and for how long.

use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::algorithm::Algorithm::{EdDSA, HS256};
use jwt_gate_core::gate::Prior;
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::revocation::{RevocationList, compile};
use jwt_gate_core::verdict::Reason;

use super::gate_fixture::*;
use super::token_mint::{self, AUD, ISS, sign};

/// The first failure locks.
const ONE: &str = "Lockout failures=1/5m";
const THREE: &str = "Lockout failures=3/60s block=100s";
const NANO: Duration = Duration::from_nanos(1);
const MICRO: Duration = Duration::from_micros(1);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn good(client: &str) -> Request {
    from(client).bearer(token_for("alice"))
}

fn bad(client: &str) -> Request {
    from(client).bearer(forged())
}

#[test]
fn which_reasons_count() {
    let counting: Vec<_> = Reason::ALL.into_iter().filter(|reason| reason.is_failed_try()).map(Reason::word).collect();
    assert_eq!(
        counting,
        ["algorithm-refused", "api-key-invalid", "issuer-unknown", "signature-invalid", "token-malformed"]
    );
    let token = |claims: &str| with(token_of(Some(ISS), claims));
    let claims = format!(r#"{{"iss":"{ISS}","aud":"{AUD}","exp":{}}}"#, token_mint::NOW + 300);
    let signed = |header: &str| with(sign(EdDSA, header, &claims));
    for (request, expected) in [
        (with("a.b"), "token-malformed"),
        (with(token_mint::token(HS256, &claims)), "algorithm-refused"),
        (with(token_of(Some("https://unknown.test"), "")), "issuer-unknown"),
        (with(forged()), "signature-invalid"),
        (from("192.0.2.1").key("stranger"), "api-key-invalid"),
        (from("192.0.2.1").cookie(forged()).post(), "signature-invalid"),
        // All others do not.
        (from("192.0.2.1"), "token-missing"),
        (with("?"), "credentials-malformed"),
        (with(forged()).bearer(forged()), "credentials-ambiguous"),
        (with(forged()).key("stranger"), "credentials-ambiguous"),
        (with("a".repeat(8193)), "token-too-large"),
        (with(token_of(Some(LOST), "")), "keys-unavailable"),
        (signed(r#"{"alg":"EdDSA","typ":"x"}"#), "type-mismatch"),
        (token(r#""nbf":9000000000"#), "token-not-yet-valid"),
        (token(r#""sub":"mallory""#), "token-revoked"),
        (good("192.0.2.1").after(secs(330)), "token-expired"),
        (from("192.0.2.1").cookie(token_for("alice")).post(), "csrf"),
        (good("192.0.2.1").peer("198.51.100.66"), "address-denied"),
        (token(r#""sub":"often""#), "rate-limited"),
        (good("192.0.2.1"), "ok"),
    ] {
        let mut gate = Gate::new();
        gate.api_keys = api_keys(&[]);
        let revoked = compile(br#"{"revoked":[{"issuer":"login","sub":"mallory"}]}"#).unwrap();
        gate.revocations = Some(RevocationList::open(Arc::new(revoked.bytes)).unwrap());
        let policy = gate.policy(&[
            ONE,
            "Deny peer:198.51.100.66",
            "Credentials bearer cookie:session api-key:X-Api-Key",
            "Limit often key=subject rate=1/h burst=2",
        ]);
        let _ = [(); 2].map(|()| gate.decide(&policy, &with(token_of(Some(ISS), r#""sub":"often""#))));
        let verdict = gate.decide(&policy, &request);
        assert_eq!(word(&verdict), expected, "{request:?}");
        let counts = counting.contains(&expected);
        assert_eq!((verdict.has_failed, verdict.locked.len()), (counts, usize::from(counts)));
        let next = from("192.0.2.1").bearer(token_for("bob")).after(secs(1));
        assert_eq!(gate.word(&policy, &next), if counts { "locked-out" } else { "ok" }, "after {expected}");
    }
}

#[test]
fn the_failure_that_completes_the_number_locks_and_none_before() {
    let gate = Gate::new();
    let policy = gate.policy(&[THREE]);
    let ask = |request: Request, time| {
        let verdict = gate.decide(&policy, &request.after(time));
        (word(&verdict), verdict.locked.to_vec(), verdict.outcome.err().and_then(|refusal| refusal.retry_after))
    };
    let failed = || ("signature-invalid", Vec::new(), None);
    assert_eq!(ask(bad("192.0.2.1"), secs(1)), failed());
    assert_eq!(ask(bad("192.0.2.1"), secs(2)), failed());
    assert_eq!(ask(good("192.0.2.1"), secs(3)).0, "ok", "what is good counts for nothing");
    let rule = policy.lockout.unwrap().rule;
    assert_eq!(ask(bad("192.0.2.1"), secs(4)), ("signature-invalid", vec![rule], None));
    for (time, left) in [(secs(4), 100), (secs(4) + NANO, 100), (secs(5), 99), (secs(104) - NANO, 1)] {
        for request in [good("192.0.2.1"), bad("192.0.2.1"), from("192.0.2.1")] {
            assert_eq!(ask(request, time), ("locked-out", Vec::new(), Some(left)), "{time:?}");
        }
    }
    assert_eq!(ask(good("192.0.2.1"), secs(104)).0, "ok");
    // What was tried while locked out is not counted, and what was before is too old.
    assert_eq!(ask(bad("192.0.2.1"), secs(104)), failed());
    assert_eq!(ask(bad("192.0.2.1"), secs(104)), failed());
    assert_eq!(ask(bad("192.0.2.1"), secs(104)).1, [rule]);
}

#[test]
fn the_time_in_which_failures_count_slides() {
    for (times, locks) in [
        ([secs(0), secs(30), secs(60) - MICRO], true),
        ([secs(0), secs(30), secs(60)], false),
        ([secs(0), secs(0), secs(61)], false),
        ([secs(0), secs(59), secs(59)], true),
    ] {
        let gate = Gate::new();
        let policy = gate.policy(&[THREE]);
        let locked = times.map(|time| gate.decide(&policy, &bad("192.0.2.1").after(time)).locked.len());
        assert_eq!(locked, [0, 0, usize::from(locks)], "{times:?}");
    }
    // No window begins anew: the two last of these failures count with the next one.
    let gate = Gate::new();
    let policy = gate.policy(&[THREE]);
    let locked = [0, 40, 80, 99].map(|time| gate.decide(&policy, &bad("192.0.2.1").after(secs(time))).locked.len());
    assert_eq!(locked, [0, 0, 0, 1]);
}

#[test]
fn who_is_locked_out() {
    let check = |gate: &Gate, failing: Request, locked: &[&str], free: &[&str]| {
        let policy = gate.policy(&[ONE]);
        assert_eq!(gate.word(&policy, &failing), "signature-invalid");
        for client in locked {
            assert_eq!(gate.word(&policy, &good(client)), "locked-out", "{client}");
        }
        for client in free {
            assert_eq!(gate.word(&policy, &good(client).peer("192.0.2.1")), "ok", "{client}");
        }
    };
    let v4 = bad("192.0.2.1").peer("198.51.100.1");
    let others = ["192.0.2.0", "192.0.2.2", "198.51.100.1", "::192.0.2.1", "::"];
    check(&Gate::new(), v4.clone(), &["192.0.2.1", "::ffff:192.0.2.1"], &others);
    let v6 = bad("2001:db8:0:1::1");
    check(&Gate::new(), v6, &["2001:db8:0:1::", "2001:db8:0:1:ffff::"], &["2001:db8::1", "2001:db8:0:2::1"]);
    let mut gate = Gate::new();
    gate.tables.prefix = AddressPrefix::parse("24", "56").unwrap();
    check(&gate, v4, &["192.0.2.0", "192.0.2.255"], &["192.0.3.1"]);
}

/// Anybody can write a name into a token that nobody has verified.
#[test]
fn what_a_token_claims_does_not_decide_whom_a_failure_hits() {
    let gate = Gate::new();
    let policy = gate.policy(&[ONE, "Limit user key=subject rate=1/h burst=1"]);
    let mallory = "203.0.113.1";
    assert_eq!(gate.word(&policy, &bad(mallory)), "signature-invalid", "it claims to be alice's");
    assert_eq!(gate.word(&policy, &good(mallory)), "locked-out");
    assert_eq!(gate.word(&policy, &good("192.0.2.1")), "ok", "nor is her limit charged");
    // Whatever is claimed, it is one count.
    let gate = Gate::new();
    let policy = gate.policy(&[THREE]);
    let forged = |claims: &str| {
        let token = token_of(Some(ISS), claims);
        from(mallory).bearer(format!("{}.{}", token.rsplit_once('.').unwrap().0, forged().rsplit_once('.').unwrap().1))
    };
    let claims = [r#""sub":"a","client_ip":"192.0.2.1""#, r#""sub":"b""#, r#""sub":"alice""#];
    let locked = claims.map(|claims| gate.decide(&policy, &forged(claims)).locked.len());
    assert_eq!((locked, gate.word(&policy, &good(mallory))), ([0, 0, 1], "locked-out"));
}

#[test]
fn a_lock_comes_behind_networks_and_before_limits() {
    let gate = Gate::new();
    let early = "Limit early key=address rate=1/h burst=2";
    let policy = gate.policy(&[ONE, early]);
    let denying = gate.policy(&[ONE, early, "Deny 192.0.2.1"]);
    let cors = gate.policy(&[ONE, early, "Cors https://app.example.com"]);
    assert_eq!(gate.word(&policy, &bad("192.0.2.1")), "signature-invalid");
    for _ in 0..3 {
        let verdict = gate.decide(&policy, &good("192.0.2.1"));
        assert_eq!((word(&verdict), verdict.standings.len(), verdict.charged.len()), ("locked-out", 0, 0));
        assert!(verdict.source.is_none() && verdict.outcome.unwrap_err().limit.is_none());
    }
    assert_eq!(gate.word(&denying, &good("192.0.2.1")), "address-denied");
    let verdict = gate.decide(&cors, &from("192.0.2.1").preflight("https://app.example.com", "PUT"));
    assert_eq!((word(&verdict), verdict.preflight), ("locked-out", false));
    // It holds where it is configured, whatever credentials are for there; elsewhere it does not.
    assert_eq!(gate.word(&gate.policy(&[ONE, "Token none"]), &from("192.0.2.1")), "locked-out");
    assert_eq!(gate.word(&gate.policy(&["Lockout off"]), &good("192.0.2.1")), "ok");
    let limited = gate.policy(&["Lockout off", early]);
    let words = [(); 2].map(|()| gate.word(&limited, &good("192.0.2.1")));
    assert_eq!(words, ["ok", "rate-limited"], "one place is that of the failure, and what was locked out had none");
    // Refused by an earlier step, nobody has tried anything.
    assert_eq!(gate.word(&denying, &bad("192.0.2.1")), "address-denied");
}

#[test]
fn all_locations_have_one_count_and_each_its_rule() {
    let gate = Gate::new();
    let lines = ["Lockout failures=2/60s block=10s", "Lockout failures=3/60s block=20s", "Token required"];
    let [two, three, unwatched] = lines.map(|line| gate.policy(&[line]));
    let at = |time| bad("192.0.2.1").after(time);
    assert_eq!(gate.decide(&two, &at(secs(1))).locked.len(), 0);
    for _ in 0..5 {
        assert_eq!(gate.decide(&unwatched, &at(secs(1))).locked.len(), 0, "not counted there");
    }
    assert_eq!(gate.decide(&three, &at(secs(2))).locked.to_vec(), [two.lockout.unwrap().rule]);
    assert_eq!(gate.word(&two, &good("192.0.2.1").after(secs(3))), "locked-out");
    assert_eq!(gate.word(&three, &good("192.0.2.1").after(secs(3))), "ok");
    assert_eq!(gate.decide(&three, &at(secs(4))).locked.to_vec(), [three.lockout.unwrap().rule], "the other holds");
    assert_eq!(gate.word(&three, &good("192.0.2.1").after(secs(23))), "locked-out");
}

#[test]
fn a_client_request_is_counted_once_whatever_its_parts_are() {
    let gate = Gate::new();
    let policy = gate.policy(&[THREE]);
    let first = gate.decide(&policy, &bad("192.0.2.1"));
    let prior = Prior { has_failed: first.has_failed, ..Prior::default() };
    for _ in 0..9 {
        let part = gate.decide_after(&policy, &bad("192.0.2.1"), prior);
        assert_eq!((word(&part), part.has_failed, part.locked.len()), ("signature-invalid", false, 0));
    }
    let locked = [(); 2].map(|()| gate.decide(&policy, &bad("192.0.2.1")).locked.len());
    assert_eq!(locked, [0, 1], "other requests are");
    // Once it is locked out, so are the parts that are yet to come.
    assert_eq!(word(&gate.decide_after(&policy, &good("192.0.2.1"), prior)), "locked-out");
}

#[test]
fn a_dry_run_counts_apart() {
    let gate = Gate::new();
    let (real, trial) = (gate.policy(&[ONE]), gate.policy(&[ONE, "dry-run"]));
    let verdict = gate.decide(&trial, &bad("192.0.2.1"));
    assert_eq!((word(&verdict), would_deny(&verdict), verdict.locked.len()), ("ok", "signature-invalid", 1));
    assert_eq!(gate.word(&real, &good("192.0.2.1")), "ok", "nobody was locked out");
    let verdict = gate.decide(&trial, &good("192.0.2.1"));
    assert_eq!((word(&verdict), would_deny(&verdict)), ("ok", "locked-out"));
    let refusal = verdict.would_deny.unwrap();
    assert_eq!(refusal.retry_after, Some(300));
    assert_eq!(verdict.outcome.unwrap().unwrap().subject(), Some("alice"), "the token is looked at all the same");

    let other = "192.0.2.2";
    assert_eq!(gate.word(&real, &bad(other)), "signature-invalid");
    assert_eq!(would_deny(&gate.decide(&trial, &good(other))), "-");
    assert_eq!(gate.word(&real, &good(other)), "locked-out");
}

/// Whoever reaches a place by way of a dry run is counted there as if it had come straight.
#[test]
fn a_part_that_was_counted_in_a_dry_run_counts_once_more() {
    let gate = Gate::new();
    let (real, trial) = (gate.policy(&[THREE]), gate.policy(&[THREE, "dry-run"]));
    for (first, second) in [(&trial, &real), (&real, &trial)] {
        let client = if first.mode == trial.mode { "192.0.2.1" } else { "192.0.2.2" };
        for count in 1..=3 {
            // The host keeps it apart for dry runs.
            let mut failed = Vec::new();
            for (part, locks) in [(first, count == 3), (second, count == 3), (first, false), (second, false)] {
                let request = bad(client).after(secs(count));
                // The third request is locked out as soon as it was counted: what it was before is not asked again.
                let verdict = gate.decide_after(
                    part,
                    &request,
                    Prior { has_failed: failed.contains(&part.mode), ..Prior::default() },
                );
                assert_eq!(verdict.locked.len(), usize::from(locks), "{client}: {count}");
                failed.extend(verdict.has_failed.then_some(part.mode));
            }
        }
    }
}
