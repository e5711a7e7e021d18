//! Usage plans: whose numbers a limit goes by.

use jwt_gate_core::config::credentials::Source;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::requirement::Kind;
use jwt_gate_core::gate::Prior;
use jwt_gate_core::requirement::Requirement;

use super::gate_fixture::*;
use super::token_mint::ISS;

const SOURCES: &str = "Credentials bearer api-key:X-Api-Key";
const BOTH: &str = "Credentials bearer+api-key:X-Api-Key";
/// Each has as many requests as its place, from 2.
const PLANS: [&str; 3] = ["free rate=1/h burst=2", "silver rate=1/h burst=3", "gold rate=1/h burst=4"];
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Keys that are called like their plans, one without, and one whose plan does not exist.
fn gate() -> Gate {
    let mut gate = Gate::with_plans(&PLANS);
    let keys =
        [("silver", r#""plan":"silver""#), ("gold", r#""plan":"gold""#), ("none", ""), ("lost", r#""plan":"x""#)];
    gate.api_keys = api_keys(&keys);
    gate
}

/// How many requests in a row are let in, of ten.
fn admitted(gate: &Gate, policy: &Policy, request: &Request) -> usize {
    (0..10).take_while(|_| gate.word(policy, request) == "ok").count()
}

/// A token for alice with these claims.
fn alice(more: &str) -> Request {
    with(token_of(Some(ISS), &format!(r#""sub":"alice"{more}"#)))
}

fn plan_of(gate: &Gate, policy: &Policy, request: &Request) -> Option<String> {
    let identity = gate.decide(policy, request).outcome.unwrap()?;
    for plan in ["free", "silver", "gold", "x"] {
        let required = Requirement::parse(Kind::Plan, &format!("platinum {plan}")).unwrap();
        assert_eq!(required.is_met_by(&identity), identity.plan() == Some(plan), "{plan}");
    }
    identity.plan().map(str::to_owned)
}

/// The key's plan, else the claim's, else the default, else the limit's own numbers.
#[test]
fn whose_plan_counts() {
    let line = "Limit l key=subject rate=1/h burst=1 plan-claim=tier";
    let with_default = format!("{line} default-plan=free");
    let key = |id| from("192.0.2.1").key(id);
    for (sources, request, plan) in [
        (SOURCES, alice(r#","tier":"gold""#), Some("gold")),
        (SOURCES, alice(r#","tier":"free""#), Some("free")),
        (SOURCES, alice(""), None),
        (SOURCES, alice(r#","tier":"x""#), None),
        (SOURCES, alice(r#","plan":"gold""#), None),
        (SOURCES, key("gold"), Some("gold")),
        (SOURCES, key("silver"), Some("silver")),
        (SOURCES, key("none"), None),
        (SOURCES, key("lost"), None),
        (BOTH, alice(r#","tier":"gold""#).key("silver"), Some("silver")),
        (BOTH, alice(r#","tier":"silver""#).key("gold"), Some("gold")),
        (BOTH, alice("").key("gold"), Some("gold")),
        // The key says nothing, or nothing that there is: then the token does.
        (BOTH, alice(r#","tier":"gold""#).key("none"), Some("gold")),
        (BOTH, alice(r#","tier":"gold""#).key("lost"), Some("gold")),
        (BOTH, alice("").key("lost"), None),
    ] {
        let count = |plan| PLANS.iter().position(|line| line.starts_with(plan)).unwrap() + 2;
        for (limit, other) in [(line, None), (&with_default, Some("free"))] {
            let gate = gate();
            let expected = plan.or(other);
            let policy = gate.policy(&[sources, limit]);
            assert_eq!(admitted(&gate, &policy, &request), expected.map_or(1, count), "{limit}: {request:?}");
            let gate = self::gate();
            assert_eq!(plan_of(&gate, &policy, &request).as_deref(), expected, "{limit}: {request:?}");
        }
    }
}

/// Exactly a name, as text: nothing that merely looks like one, and of several the one that is defined last.
#[test]
fn plans_in_a_claim() {
    for (claim, plan) in [
        (r#""gold""#, Some("gold")),
        (r#"["gold"]"#, Some("gold")),
        (r#"["silver","gold"]"#, Some("gold")),
        (r#"["gold","silver","free"]"#, Some("gold")),
        (r#"["silver","free"]"#, Some("silver")),
        (r#"["x",7,null,"free"]"#, Some("free")),
        (r#""Gold""#, None),
        (r#""gold ""#, None),
        (r#""gold\u0000""#, None),
        (r#""gold silver""#, None),
        (r#""gold,silver""#, None),
        (r#"[["gold"]]"#, None),
        (r#"{"gold":"gold"}"#, None),
        (r#"[{"gold":true}]"#, None),
        ("[]", None),
        ("null", None),
        ("true", None),
        (r#""""#, None),
    ] {
        let gate = gate();
        let policy = gate.policy(&["Limit l key=subject rate=1/h burst=1 plan-claim=groups"]);
        let request = alice(&format!(r#","groups":{claim}"#));
        assert_eq!(plan_of(&gate, &policy, &request).as_deref(), plan, "{claim}");
    }
    let gate = gate();
    let policy = gate.policy(&["Limit l key=subject rate=1/h burst=1 plan-claim=org.tier"]);
    assert_eq!(plan_of(&gate, &policy, &alice(r#","org":{"tier":"gold"}"#)).as_deref(), Some("gold"));
    let exact = alice(r#","org":{"tier":"gold"},"org.tier":"free""#);
    assert_eq!(plan_of(&gate, &policy, &exact).as_deref(), Some("free"));
}

#[test]
fn what_a_plan_leaves_out_the_limit_says() {
    let gate = Gate::with_plans(&["fast rate=1/h burst=2", "much quota=5/day", "bare"]);
    let policy = gate.policy(&["Limit l key=subject rate=1/h burst=4 quota=3/day plan-claim=tier"]);
    for (tier, count, reason) in [
        ("fast", 2, "rate-limited"),
        ("much", 4, "rate-limited"),
        ("bare", 3, "quota-exceeded"),
        ("none", 3, "quota-exceeded"),
    ] {
        let request = with(token_of(Some(ISS), &format!(r#""sub":"{tier}","tier":"{tier}""#)));
        assert_eq!(admitted(&gate, &policy, &request), count, "{tier}");
        assert_eq!(gate.word(&policy, &request), reason, "{tier}");
    }
}

#[test]
fn a_quota_goes_on_where_the_plan_changes() {
    let gate = Gate::with_plans(&["free quota=2/day", "gold quota=5/day", "monthly quota=1/month"]);
    let line = "Limit l key=subject rate=1/h burst=50 quota=3/day plan-claim=tier";
    let policy = gate.policy(&[line]);
    let of = |tier: &str| with(lasting(&format!(r#""sub":"alice","tier":"{tier}""#)));
    assert_eq!(admitted(&gate, &policy, &of("free")), 2);
    assert_eq!(admitted(&gate, &policy, &of("none")), 1, "three in all");
    assert_eq!(admitted(&gate, &policy, &of("gold")), 2, "five in all");
    for tier in ["free", "none", "gold"] {
        let verdict = gate.decide(&policy, &of(tier));
        assert_eq!((word(&verdict), verdict.standings[1].standing.remaining), ("quota-exceeded", 0), "{tier}");
    }
    assert_eq!(admitted(&gate, &policy, &of("monthly")), 1, "a month is no day");
    assert_eq!(admitted(&gate, &policy, &of("free").after(DAY)), 2);
    assert_eq!(admitted(&gate, &policy, &of("monthly").after(DAY)), 0);
}

/// A limit that needs nobody's identity, and yet takes its numbers from a plan.
#[test]
fn plans_of_addresses() {
    let gate = gate();
    let early = "Limit early key=address rate=1/h burst=100";
    for (default, count) in [("", 1), (" default-plan=silver", 3)] {
        let line = format!("Limit l{count} key=address rate=1/h burst=1 quota=7/day plan-claim=tier{default}");
        let policy = gate.policy(&["Token optional", early, &line]);
        assert_eq!((policy.early_limits.len(), policy.late_limits.len()), (1, 1));
        let verdict = gate.decide(&policy, &with(forged()));
        assert_eq!((word(&verdict), verdict.standings.len()), ("signature-invalid", 1), "only `early` is charged");
        assert_eq!(admitted(&gate, &policy, &from("192.0.2.1")), count);
        assert_eq!(admitted(&gate, &policy, &from("192.0.2.1").bearer(token_for("alice"))), 0, "no other bucket");
        // Gold has four, and the quota of the address counts on.
        assert_eq!(admitted(&gate, &policy, &alice(r#","tier":"gold""#)), 4.min(7 - count));
        assert_eq!(admitted(&gate, &policy, &from("192.0.2.2")), count);
        let none = gate.policy(&["Token none", &line]);
        assert_eq!(admitted(&gate, &none, &from("192.0.2.3").bearer(lasting(r#""tier":"gold""#))), count);
    }
}

#[test]
fn a_limit_that_knows_no_plans_keeps_its_numbers() {
    let gate = gate();
    let policy = gate.policy(&[SOURCES, "Limit l key=address rate=1/h burst=1"]);
    assert_eq!(admitted(&gate, &policy, &from("192.0.2.1").key("gold")), 1);
    // The plan is known all the same.
    let fresh = self::gate();
    assert_eq!(plan_of(&fresh, &policy, &from("192.0.2.1").key("gold")).as_deref(), Some("gold"));
}

#[test]
fn the_plan_of_a_request_is_what_its_first_limit_finds() {
    let (a, b) =
        ("Limit a key=subject rate=1/h burst=9 plan-claim=a", "Limit b key=subject rate=1/h burst=9 plan-claim=b");
    let b_default = format!("{b} default-plan=silver");
    let gate = gate();
    for (lines, claims, plan) in [
        ([a, b], r#","a":"free","b":"gold""#, Some("free")),
        ([b, a], r#","a":"free","b":"gold""#, Some("gold")),
        ([a, b], r#","a":"x","b":"gold""#, Some("gold")),
        ([a, b], "", None),
        ([b_default.as_str(), a], r#","a":"free""#, Some("free")),
        ([a, b_default.as_str()], "", Some("silver")),
    ] {
        let policy = gate.policy(&lines);
        let request = alice(claims);
        // The limits count on from case to case: a plan is found before they refuse.
        let identity = gate.decide_after(
            &policy,
            &request,
            Prior { charged: &policy.late_limits.iter().map(|limit| limit.id).collect::<Vec<_>>(), ..Prior::default() },
        );
        assert_eq!(identity.outcome.unwrap().unwrap().plan(), plan, "{lines:?} {claims}");
    }
    // Without a limit nobody asks for a claim, and nobody who is anonymous has a plan.
    assert_eq!(plan_of(&gate, &gate.policy(&[]), &alice(r#","tier":"gold""#)), None);
    let anonymous = gate.policy(&["Token optional", "Limit d key=address rate=1/h burst=9 default-plan=gold"]);
    assert_eq!(plan_of(&gate, &anonymous, &from("192.0.2.1")), None);
}

#[test]
fn a_limit_is_charged_once_whatever_the_plan_is_elsewhere() {
    let gate = gate();
    let policy = gate.policy(&["Limit l key=subject rate=1/h burst=1 quota=1/day plan-claim=tier"]);
    let first = gate.decide(&policy, &alice(r#","tier":"gold""#));
    assert_eq!((word(&first), first.charged.len(), first.standings.len()), ("ok", 1, 2), "its rate and its quota");
    let known = first.outcome.unwrap().unwrap();
    let prior = Prior { charged: &first.charged, identity: Some((&known, &Source::Bearer)), ..Prior::default() };
    let again = gate.decide_after(&policy, &alice(""), prior);
    assert_eq!((word(&again), again.charged.len(), again.standings.len()), ("ok", 0, 0));
    assert_eq!(gate.word(&policy, &alice("")), "quota-exceeded");

    // The same identity has the plan of each policy that it comes to.
    for (line, plan) in [
        ("Limit m key=subject rate=1/h burst=9 plan-claim=tier", Some("gold")),
        ("Limit m key=subject rate=1/h burst=9 plan-claim=other default-plan=free", Some("free")),
        ("Limit m key=subject rate=1/h burst=9", None),
    ] {
        let policy = gate.policy(&[line]);
        let verdict = gate.decide_after(&policy, &from("192.0.2.1"), Prior { charged: &[], ..prior });
        assert_eq!(verdict.outcome.unwrap().unwrap().plan(), plan, "{line}");
    }
}

#[test]
fn a_limit_that_refuses_names_its_reason_by_what_is_used_up() {
    let gate = Gate::new();
    let refusal = |policy: &Policy| {
        let refusal = gate.decide(policy, &with(token_for("alice"))).outcome.unwrap_err();
        (refusal.reason.word(), refusal.limit.unwrap().def.name.clone(), refusal.retry_after.unwrap())
    };
    // 2023-11-14T22:13:20Z: the day ends in 6400 seconds.
    let policy =
        gate.policy(&["Limit a key=subject rate=1/h burst=1", "Limit b key=subject rate=1/h burst=9 quota=1/day"]);
    assert_eq!(gate.word(&policy, &with(token_for("alice"))), "ok");
    assert_eq!(refusal(&policy), ("quota-exceeded", "b".to_owned(), 6_400));
    assert_eq!(
        refusal(&gate.policy(&["Limit a key=subject rate=1/h burst=1"])),
        ("rate-limited", "a".to_owned(), 3_600)
    );
}
