//! `JwtGatePlan`: whose requests are counted by which numbers, and who is told of the plan.
//!
//! Rates are one a day and quotas those of a month, so that nothing is refilled while a test runs.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Answer, MAIN, Request, Server, Site, await_true};

/// Plans in an order that is not that of their numbers. `plain` leaves everything to the limit.
const PLANS: &str = "
    JwtGatePlan free rate=1/d burst=2
    JwtGatePlan gold rate=1/d burst=6 quota=7/month
    JwtGatePlan plain
    JwtGatePlan much quota=4/month
";

/// The members of a RateLimit field: name, and its first parameter (`q` or `r`).
fn members(answer: &Answer, field: &str) -> Vec<(String, u64)> {
    let members = answer.header(field).unwrap_or_default().split(", ").filter(|member| !member.is_empty());
    let parse = |member: &str| {
        let mut parts = member.split(';');
        let name = parts.next()?.trim_matches('"').to_owned();
        Some((name, parts.next()?.get(2..)?.parse().ok()?))
    };
    members.map(|member| parse(member).unwrap_or_else(|| panic!("{member:?} in {answer:?}"))).collect()
}

/// What is allowed, by the names of limits.
fn allowed(answer: &Answer) -> Vec<(String, u64)> {
    members(answer, "RateLimit-Policy")
}

fn named(members: &[(&str, u64)]) -> Vec<(String, u64)> {
    members.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

/// How many of `count` equal requests come in.
fn admitted(request: &Request, count: usize) -> usize {
    (0..count).filter(|_| request.status() == 200).count()
}

/// Everything is proxied and needs a token; `lines` apply to all of it.
fn gated(before: &str, lines: &str) -> String {
    format!("{MAIN}{before}\nProxyPass / ${{APP}}/\n<Location \"/\">\nJwtGate on\n{lines}\n</Location>\n")
}

/// A request of a subject of this name, with a claim if it is not null.
fn asking(server: &Server, target: &str, subject: &str, claim: &str, value: Value) -> Request {
    let token = server.token().claim("sub", subject);
    let token = if value.is_null() { token } else { token.claim(claim, value) };
    server.get(target).bearer(token.sign())
}

#[test]
fn the_claim_names_the_plan_and_what_that_leaves_out_the_limit_says() {
    let limit = "JwtGateLimit by-user key=subject rate=1/d burst=3 quota=100/month plan-claim=tier";
    let server = Site::new().start(&gated(PLANS, limit));
    let none = (3, 100, 3);
    let mut faults = Vec::new();
    for (number, (claim, (burst, quota, admits))) in [
        (json!("free"), (2, 100, 2)),
        (json!("gold"), (6, 7, 6)),
        (json!("plain"), none),
        (json!("much"), (3, 4, 3)),
        (json!(["free"]), (2, 100, 2)),
        // Of several the one that is defined last, in whatever order they come.
        (json!(["free", "gold"]), (6, 7, 6)),
        (json!(["gold", "free"]), (6, 7, 6)),
        (json!(["much", "gold", "free", "plain"]), (3, 4, 3)),
        (json!(["unknown", "free", 7, null, ["gold"], {"gold": "gold"}]), (2, 100, 2)),
        // What names none of them.
        (Value::Null, none),
        (json!("unknown"), none),
        (json!("Gold"), none),
        (json!("gold "), none),
        (json!("free,gold"), none),
        (json!(""), none),
        (json!([]), none),
        (json!(["unknown"]), none),
        (json!([["gold"]]), none),
        (json!({"gold": true}), none),
        (json!(1), none),
        (json!(true), none),
    ]
    .into_iter()
    .enumerate()
    {
        let request = asking(&server, "/", &format!("user-{number}"), "tier", claim.clone());
        let told = allowed(&request.send());
        let found = (told, 1 + admitted(&request, 9));
        let expected = (named(&[("by-user", burst), ("by-user-quota", quota)]), admits);
        if found != expected {
            faults.push(format!("{claim}: {found:?}, not {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn groups_of_several_makes_name_plans() {
    let server = Site::new().start(&format!(
        "{}{}",
        gated(PLANS, ""),
        r#"
        <Location "/cognito">
            JwtGateLimit by-cognito key=subject rate=1/d burst=9 plan-claim=cognito:groups
        </Location>
        <Location "/keycloak">
            JwtGateLimit by-keycloak key=subject rate=1/d burst=9 plan-claim=realm_access.roles
        </Location>
        <Location "/own">
            JwtGateLimit by-own key=subject rate=1/d burst=9 plan-claim=https://api.test/plan
        </Location>"#
    ));
    for (target, claim, value) in [
        ("cognito", "cognito:groups", json!(["staff", "free"])),
        ("keycloak", "realm_access", json!({"roles": ["free", "offline_access"]})),
        ("own", "https://api.test/plan", json!("free")),
    ] {
        let answer = asking(&server, &format!("/{target}"), "alice", claim, value).send();
        assert_eq!(allowed(&answer), named(&[(&format!("by-{target}"), 2)]));
    }
}

#[test]
fn who_has_no_plan_has_the_default_plan() {
    let limits = "
        JwtGateToken optional
        JwtGateLimit by-user key=subject rate=1/d burst=9 quota=9/month plan-claim=tier default-plan=free
        JwtGateLimit by-address key=address rate=1/d burst=8 plan-claim=tier default-plan=much";
    let mut server = Site::new().start(&gated(PLANS, limits));
    server.expect_log("JG2211 JwtGateLimit by-address (");
    let everybody = [("by-address", 8), ("by-address-quota", 4)];
    let of = |subject, value| allowed(&asking(&server, "/", subject, "tier", value).from("127.0.2.1").send());
    let of_free = [&[("by-user", 2), ("by-user-quota", 9)], &everybody[..]].concat();
    assert_eq!(of("alice", Value::Null), named(&of_free));
    assert_eq!(of("bob", json!("unknown")), named(&of_free));
    let of_gold = [("by-user", 6), ("by-user-quota", 7), ("by-address", 6), ("by-address-quota", 7)];
    assert_eq!(of("carol", json!("gold")), named(&of_gold));
    // Who is nobody has the default plan of limits that count everybody.
    let anonymous = server.get("/").from("127.0.3.1");
    assert_eq!(allowed(&anonymous.send()), named(&everybody));
    assert_eq!(admitted(&anonymous, 9), 3);
}

#[test]
fn another_plan_goes_on_with_what_was_used() {
    let limit = "JwtGateLimit by-user key=subject rate=1/d burst=50 quota=5/month plan-claim=tier";
    let plans = "JwtGatePlan small quota=3/month\nJwtGatePlan large quota=8/month\nJwtGatePlan daily quota=2/week\n";
    let server = Site::new().start(&gated(plans, limit));
    let of = |plan: Value| asking(&server, "/", "alice", "tier", plan);
    assert_eq!(admitted(&of(json!("small")), 5), 3);
    assert_eq!(admitted(&of(Value::Null), 5), 2);
    assert_eq!(admitted(&of(json!("large")), 5), 3);
    assert_eq!(admitted(&of(json!("small")), 2), 0);
    // A week is counted apart from a month.
    assert_eq!(admitted(&of(json!("daily")), 5), 2);
}

#[test]
fn the_application_rules_and_logs_know_the_plan() {
    let lines = "
        JwtGateToken optional
        JwtGateForward X-Plan plan
        JwtGateLimit by-user key=subject rate=100/s plan-claim=tier default-plan=plain";
    let more = r#"
        <Location "/paid">
            Require jwt-plan gold much
        </Location>
        <Location "/unpaid">
            <RequireAll>
                Require all granted
                <RequireNone>
                    Require jwt-plan gold much
                </RequireNone>
            </RequireAll>
        </Location>
        CustomLog logs/plans.log "%U %{JWT_GATE_PLAN}e %{JWT_GATE_REASON}e""#;
    let plans = ["free", "gold", "plain", "much"].map(|name| format!("JwtGatePlan {name}\n")).concat();
    let mut server = Site::new().start(&(gated(&plans, lines) + more));
    // What httpd says of a request that a `Require` line refuses.
    server.expect_log("AH01630");
    let of = |target: &str, plan: Value| asking(&server, target, "alice", "tier", plan).header("X-Plan", "gold");
    for (plan, header, paid) in [
        (json!("gold"), "gold", 200),
        (json!(["much", "free"]), "much", 200),
        (json!("free"), "free", 403),
        (json!("unknown"), "plain", 403),
        (Value::Null, "plain", 403),
    ] {
        assert_eq!(of("/app", plan.clone()).send().seen().header("X-Plan"), Some(header), "{plan}");
        let answer = of("/paid", plan.clone()).send();
        assert_eq!((answer.status, of("/unpaid", plan.clone()).status()), (paid, 603 - paid), "{plan}");
        if paid == 200 {
            assert_eq!(answer.seen().header("X-Plan"), Some(header));
        }
    }
    let anonymous = |target: &str| server.get(target).header("X-Plan", "gold").header("x_plan", "gold");
    let seen = anonymous("/app").send().seen();
    assert_eq!((seen.header("X-Plan"), seen.header("x_plan")), (None, None));
    assert_eq!((anonymous("/paid").status(), anonymous("/unpaid").status()), (401, 200));
    let paying = |plan| format!("/app {plan} -\n/paid {plan} -\n/unpaid {plan} claim-denied\n");
    let others = |plan| format!("/app {plan} -\n/paid {plan} claim-denied\n/unpaid {plan} -\n");
    let expected = [paying("gold"), paying("much"), others("free"), others("plain"), others("plain")].concat()
        + "/app - -\n/paid - token-missing\n/unpaid - -\n";
    let log = || fs::read_to_string(server.root.join("logs/plans.log")).unwrap();
    await_true("the log's lines", || log().len() >= expected.len());
    let sorted = |text: &str| {
        // Each child writes when it is done with a request.
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&log()), sorted(&expected));
}

#[test]
fn all_limits_and_quotas_are_told_each_with_its_own_plan() {
    let mut server = Site::new().start(&format!(
        "{}{}",
        gated(
            PLANS,
            "JwtGateLimit by-address key=address rate=1/m burst=9 quota=50/week
             JwtGateLimit by-user key=subject rate=1/h burst=5 quota=1000/day plan-claim=tier
             JwtGateLimit by-team key=claim:team rate=1/d burst=8 plan-claim=team_tier default-plan=gold"
        ),
        r#"<Location "/more">
            JwtGateLimit by-issuer key=issuer rate=1/d burst=30 quota=70/day
            JwtGateLimit tried key=subject rate=1/d burst=1 quota=1/day dry-run
        </Location>"#
    ));
    server.expect_log("JG2211 JwtGateLimit by-address (");
    let token = server.token().claim("tier", "free").claim("team", "red");
    let request = server.get("/more").bearer(token.sign());
    let answer = request.send();
    let policy = answer.header("RateLimit-Policy").unwrap();
    let expected = r#""by-address";q=9;w=540, "by-address-quota";q=50;w=604800, "#.to_owned()
        + r#""by-user";q=2;w=172800, "by-user-quota";q=1000;w=86400, "by-team";q=6;w=518400, "by-team-quota";q=7;w="#;
    assert!(policy.starts_with(&expected), "{policy}");
    assert!(policy.ends_with(r#", "by-issuer";q=30;w=2592000, "by-issuer-quota";q=70;w=86400"#), "{policy}");
    let left = |answer: &Answer| members(answer, "RateLimit").into_iter().map(|(_, left)| left).collect::<Vec<_>>();
    assert_eq!(left(&answer), [8, 49, 1, 999, 5, 6, 29, 69]);
    assert_eq!(left(&request.send()), [7, 48, 0, 998, 4, 5, 28, 68]);
    // The first step stays charged; in the second one nothing is.
    let refused = server.refused(&request, 429, "rate-limited");
    assert_eq!(left(&refused), [6, 47, 0, 998, 4, 5, 28, 68]);
    assert!(refused.text().contains(r#""violated-policies":["by-user"]"#), "{}", refused.text());
}

#[test]
fn a_virtual_host_has_plans_of_its_own() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{PLANS}
        JwtGatePlan base rate=1/d burst=5
        <Location "/">
            JwtGate on
            JwtGateLimit by-user key=subject rate=1/d burst=20 quota=20/month plan-claim=tier default-plan=base
        </Location>
        <VirtualHost 127.0.0.1:${{PORT}}>
            ServerName one.test
            ProxyPass / ${{APP}}/
        </VirtualHost>
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName two.test
            ProxyPass / ${{APP}}/
            JwtGatePlan free rate=1/d burst=4 quota=9/month
            JwtGatePlan own rate=1/d burst=10
            JwtGatePlan base rate=1/d burst=7
        </VirtualHost>"#
    ));
    let one = |subject: &str, plan: Value| asking(&server, "/", subject, "tier", plan);
    let two = |subject: &str, plan: Value| one(subject, plan).to(server.second_address());
    let of = |request: &Request| {
        let told = allowed(&request.send());
        [told[0].1, told[1].1]
    };
    for (plan, in_one, in_two) in [
        (json!("free"), [2, 20], [4, 9]),
        (json!("gold"), [6, 7], [6, 7]),
        (json!("own"), [5, 20], [10, 20]),
        (Value::Null, [5, 20], [7, 20]),
        // There, `free` is defined behind what comes from the main server.
        (json!(["free", "gold"]), [6, 7], [4, 9]),
    ] {
        assert_eq!((of(&one("alice", plan.clone())), of(&two("alice", plan.clone()))), (in_one, in_two), "{plan}");
    }
    // What differs in its numbers is another bucket, and a quota is one for both.
    assert_eq!(admitted(&one("bob", json!("free")), 5), 2);
    assert_eq!(admitted(&two("bob", json!("free")), 5), 4);
    assert_eq!(members(&two("bob", json!("free")).send(), "RateLimit"), named(&[("by-user", 0), ("by-user-quota", 3)]));
}

#[test]
fn limits_of_several_names_count_one_plan_each() {
    let server = Site::new().start(&format!(
        "{}{}",
        gated(PLANS, ""),
        r#"
        <Location "/read">
            JwtGateLimit read key=subject rate=1/d burst=30 quota=30/month plan-claim=tier
        </Location>
        <Location "/write">
            JwtGateLimit write key=subject rate=1/d burst=3 quota=5/month plan-claim=tier
        </Location>
        <Location "/free">
            JwtGateLimit for-all key=subject rate=1/d burst=8
        </Location>"#
    ));
    let of = |target: &str, plan: &str| asking(&server, target, plan, "tier", json!(plan));
    assert_eq!([admitted(&of("/read", "free"), 9), admitted(&of("/write", "free"), 9)], [2, 2]);
    assert_eq!([admitted(&of("/read", "much"), 9), admitted(&of("/write", "much"), 9)], [4, 3]);
    assert_eq!([admitted(&of("/read", "gold"), 9), admitted(&of("/write", "gold"), 9)], [6, 6]);
    // Without `plan-claim=` and `default-plan=` a plan is nothing to a limit.
    assert_eq!(admitted(&of("/free", "free"), 9), 8);
}

#[test]
fn a_plan_can_be_renumbered_added_and_taken_away_at_a_restart() {
    let directives = |plans: &str, default: &str| {
        let limit =
            format!("JwtGateLimit by-user key=subject rate=1/d burst=20 quota=20/month plan-claim=tier {default}");
        gated(plans, &limit)
    };
    let mut server = Site::new().start(&directives("JwtGatePlan gold rate=1/d burst=9 quota=5/month\n", ""));
    let request = asking(&server, "/", "alice", "tier", json!("gold"));
    assert_eq!(admitted(&request, 3), 3);
    server.graceful_with(&directives(
        "JwtGatePlan free rate=1/d burst=2\nJwtGatePlan gold rate=1/d burst=9 quota=6/month\n",
        "default-plan=free",
    ));
    let answer = request.send();
    assert_eq!(members(&answer, "RateLimit"), named(&[("by-user", 5), ("by-user-quota", 2)]), "both are counted on");
    server.graceful_with(&directives("JwtGatePlan other\n", ""));
    let answer = request.send();
    assert_eq!(members(&answer, "RateLimit"), named(&[("by-user", 19), ("by-user-quota", 15)]));
}

#[test]
fn mistakes_are_named_with_directive_value_and_remedy() {
    let site = Site::new();
    let limit =
        |rest: &str| format!("<Location \"/\">\nJwtGate on\nJwtGateToken none\nJwtGateLimit a {rest}\n</Location>");
    let host = |lines: &str| format!("<VirtualHost *:${{PORT2}}>\nServerName h.test\n{lines}\n</VirtualHost>");
    let cases: Vec<(String, &[&str])> = vec![
        ("JwtGatePlan".into(), &["JwtGatePlan", "needs a name", "JwtGatePlan premium rate=100/s"]),
        ("JwtGatePlan a/b".into(), &["JwtGatePlan", "a/b", "letters"]),
        ("JwtGatePlan \"a b\"".into(), &["JwtGatePlan", "a b", "letters"]),
        ("JwtGatePlan gold fast".into(), &["JwtGatePlan", "gold", "fast"]),
        ("JwtGatePlan gold key=subject".into(), &["JwtGatePlan", "`gold`", "`key=`", "use `rate=`"]),
        ("JwtGatePlan gold rate=0/s".into(), &["JwtGatePlan", "`gold`", "'0/s'", "write at least 1/d"]),
        ("JwtGatePlan gold rate=5".into(), &["JwtGatePlan", "`gold`", "'5'", "write for example 100/s"]),
        ("JwtGatePlan gold rate=-5/s".into(), &["JwtGatePlan", "`gold`", "'-5/s'", "write for example 100/s"]),
        ("JwtGatePlan gold rate=2147483648/s".into(), &["JwtGatePlan", "2147483648/s", "write a smaller number"]),
        ("JwtGatePlan gold rate=1/s rate=2/s".into(), &["JwtGatePlan", "`gold`", "`rate=`", "twice"]),
        ("JwtGatePlan gold rate=1/s burst=0".into(), &["JwtGatePlan", "`burst=0`", "from 1 to 2147483647"]),
        ("JwtGatePlan gold rate=1/s burst=2147483648".into(), &["JwtGatePlan", "2147483648", "from 1 to 2147483647"]),
        ("JwtGatePlan gold rate=1/s burst=99999999999".into(), &["JwtGatePlan", "99999999999", "from 1 to 2147483647"]),
        ("JwtGatePlan gold rate=1/d burst=4000".into(), &["JwtGatePlan", "burst=4000", "rate=1/d", "smaller burst"]),
        ("JwtGatePlan gold burst=5".into(), &["JwtGatePlan", "`gold`", "`burst=`", "add `rate=`"]),
        ("JwtGatePlan gold quota=0/day".into(), &["JwtGatePlan", "0/day", "write at least 1/day"]),
        ("JwtGatePlan gold quota=5".into(), &["JwtGatePlan", "'5'", "write for example 10000/month"]),
        ("JwtGatePlan gold quota=5/year".into(), &["JwtGatePlan", "'5/year'", "one of day, week, month"]),
        ("JwtGatePlan gold quota=2147483648/day".into(), &["JwtGatePlan", "2147483648/day", "write a smaller number"]),
        ("JwtGatePlan gold quota=99999999999999999999/day".into(), &["JwtGatePlan", "write a smaller number"]),
        (
            "JwtGatePlan gold\nJwtGatePlan silver\nJwtGatePlan gold rate=1/s".into(),
            &["JwtGatePlan", "`gold`", "defined already in", "httpd.conf", "give it another name"],
        ),
        (
            host("JwtGatePlan gold\nJwtGatePlan gold"),
            &["JwtGatePlan", "`gold`", "defined already in", "give it another name"],
        ),
        ("<Location \"/\">\nJwtGatePlan gold\n</Location>".into(), &["JwtGatePlan", "not allowed"]),
        (
            limit("key=address rate=1/s default-plan=gold"),
            &["JwtGateLimit a", "default-plan=gold", "not defined in this server", "add `JwtGatePlan gold"],
        ),
        (
            limit("key=address rate=1/s default-plan=gold") + "\n" + &host("JwtGatePlan gold"),
            &["JwtGateLimit a", "default-plan=gold", "not defined in this server", "add `JwtGatePlan gold"],
        ),
        (limit("key=address rate=1/s default-plan=a/b"), &["JwtGateLimit", "`a`", "a/b", "letters"]),
        (limit("key=address rate=1/s plan-claim="), &["JwtGateLimit", "`a`", "plan-claim"]),
        (limit("key=address rate=1/s quota=0/week"), &["JwtGateLimit", "`a`", "0/week", "write at least 1/week"]),
        (limit("key=address rate=1/s quota=5/hour"), &["JwtGateLimit", "'5/hour'", "one of day, week, month"]),
        (limit("key=address rate=1/s quota=4294967296/day"), &["JwtGateLimit", "4294967296", "smaller number"]),
        (limit("key=address rate=1/s quota=1/day quota=2/day"), &["JwtGateLimit", "`quota=`", "twice"]),
        (limit("key=address burst=5"), &["JwtGateLimit", "`a`", "no rate", "rate=100/s"]),
        (
            limit("key=address rate=1/s quota=5/day")
                + "\n"
                + &limit("key=address rate=1/s quota=6/day").replace("\"/\"", "\"/b\""),
            &["JwtGateLimit a", "different keys or numbers", "give one another name"],
        ),
        (
            "JwtGateSharedMemory 64K\n".to_owned()
                + &(0..40).map(|n| format!("JwtGatePlan p{n} rate={}/s\n", n + 1)).collect::<String>()
                + &limit("key=subject rate=1/d plan-claim=tier"),
            &["JwtGateSharedMemory", "65536", "write a larger size"],
        ),
    ];
    let mut faults = Vec::new();
    for (directives, named) in &cases {
        let check = site.configtest(directives);
        if check.passed {
            faults.push(format!("passed: {directives}"));
        } else if let Some(absent) = named.iter().find(|text| !check.output.contains(**text)) {
            faults.push(format!("no {absent:?} in the message on\n{directives}\n{}", check.output));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
