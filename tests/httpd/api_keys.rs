//! API keys as credentials, made by `jwt-gate apikey` as an administrator makes them: who is let in, with which plan
//! and scopes, and what those behind the gate are told.
//!
//! Rates are one a day and quotas those of a month, so that nothing is refilled while a test runs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::command;
use crate::harness::each_child::KEEP_ALIVE;
use crate::harness::{Answer, MAIN, Mpm, Request, Server, Site, await_some, await_true, now, under_load};

const FILE: &str = "conf/keys.json";

/// Everything is proxied; `lines` apply to all of it.
fn gated(lines: &str) -> String {
    format!(
        "{MAIN}JwtGateApiKeys {FILE}\nProxyPass / ${{APP}}/\n\
         <Location \"/\">\nJwtGate on\nJwtGateCredentials api-key:X-Api-Key\n{lines}\n</Location>\n"
    )
}

const BESIDE: &str = "JwtGateCredentials bearer api-key:X-Api-Key\n";
const BOTH: &str = "JwtGateCredentials bearer+api-key:X-Api-Key\n";

/// Runs `jwt-gate apikey` and gives what it prints.
fn apikey(site: &Site, what: &str, id: &str, options: &[&str]) -> String {
    let mut apikey = Command::new(command());
    apikey.args(["apikey", what, "--id", id]).args(options).arg("--file").arg(site.root.join(FILE));
    let output = apikey.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Makes a key. The server's user can read the file.
fn new_key(site: &Site, id: &str, options: &[&str]) -> String {
    if !site.root.join(FILE).exists() {
        site.write_secret(FILE, r#"{"keys": []}"#);
    }
    apikey(site, "new", id, options)
}

fn revoke(site: &Site, id: &str) {
    apikey(site, "revoke", id, &[]);
}

/// Changes the file by hand.
fn edit(site: &Site, from: &str, to: &str) {
    let text = fs::read_to_string(site.root.join(FILE)).unwrap();
    assert!(text.contains(from), "{text}");
    site.write_secret(FILE, text.replace(from, to));
}

fn with_key(server: &Server, target: &str, key: &str) -> Request {
    server.get(target).header("X-Api-Key", key)
}

/// Of this subject.
fn token(server: &Server, subject: &str) -> String {
    server.token().claim("sub", subject).sign()
}

fn challenge(answer: &Answer) -> &str {
    answer.header("WWW-Authenticate").unwrap_or_default()
}

/// How many of `count` equal requests come in; the others are refused by a limit.
fn admitted(request: &Request, count: usize) -> usize {
    let statuses: Vec<u16> = (0..count).map(|_| request.status()).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

/// The members of a RateLimit field, each up to its first parameter.
fn members<'a>(answer: &'a Answer, field: &str) -> Vec<&'a str> {
    let members = answer.header(field).unwrap_or_default().split(", ").filter(|member| !member.is_empty());
    members.map(|member| member.match_indices(';').nth(1).map_or(member, |(at, _)| &member[..at])).collect()
}

/// The lines of `logs/told.log`, when it has so many.
fn told_log(server: &Server, count: usize) -> BTreeSet<String> {
    await_some("the log", || {
        let log = fs::read_to_string(server.root.join("logs/told.log")).ok()?;
        (log.lines().count() == count).then(|| log.lines().map(str::to_owned).collect())
    })
}

type Fields<'f> = Vec<(&'f str, &'f str)>;

/// Sends each of these over HTTP/1.1, and over HTTP/2 where there is one; a status of 200 has no reason.
fn assert_answers(server: &Server, mpm: Mpm, scheme: &str, cases: &[(Fields<'_>, u16, &str)]) {
    for (fields, status, reason) in cases {
        let request = fields.iter().fold(server.get("/"), |request, (name, value)| request.header(name, value));
        let mut answers = vec![if *status == 200 { request.send() } else { server.refused(&request, *status, reason) }];
        if mpm.has_threads() {
            let before = server.log.count(reason);
            answers.push(server.http2().get("/", fields));
            assert!(*status == 200 || server.log.count(reason) == before + 1, "no {reason} over HTTP/2: {fields:?}");
        }
        let error = match (*status, *reason) {
            (400, _) => ", error=\"invalid_request\"",
            (_, "token-missing") => "",
            _ => ", error=\"invalid_token\"",
        };
        let asked = if *status == 200 { String::new() } else { format!("{scheme} realm=\"api\"{error}") };
        for answer in answers {
            assert_eq!((answer.status, challenge(&answer)), (*status, asked.as_str()), "{mpm:?} {fields:?}");
        }
    }
}

fn alone(mpm: Mpm) {
    let site = Site::new().mpm(mpm);
    let key = new_key(&site, "partner", &[]);
    let other = new_key(&site, "other", &[]);
    revoke(&site, "other");
    // No issuer is needed.
    let server = site.start(&gated("").replace(MAIN, ""));
    let (shorter, longer, loud) = (&key[..key.len() - 1], format!("{key}x"), key.to_uppercase());
    let (twice, quoted, scheme) = (format!("{key}, {key}"), format!("\"{key}\""), format!("Bearer {key}"));
    let api_key = "x-api-key";
    assert_answers(
        &server,
        mpm,
        "ApiKey",
        &[
            (vec![(api_key, &*key)], 200, "-"),
            // What is not asked for is not looked at.
            (vec![(api_key, &*key), ("authorization", "Bearer a.b.c"), ("cookie", "x-api-key=x")], 200, "-"),
            (vec![], 401, "token-missing"),
            (vec![("authorization", &*scheme)], 401, "token-missing"),
            (vec![("x-key", &*key)], 401, "token-missing"),
            (vec![("x_api_key", &*key)], 401, "token-missing"),
            (vec![(api_key, &*other)], 401, "api-key-invalid"),
            (vec![(api_key, shorter)], 401, "api-key-invalid"),
            (vec![(api_key, &*longer)], 401, "api-key-invalid"),
            (vec![(api_key, &*loud)], 401, "api-key-invalid"),
            (vec![(api_key, &*quoted)], 401, "api-key-invalid"),
            (vec![(api_key, &*scheme)], 401, "api-key-invalid"),
            (vec![(api_key, "partner")], 401, "api-key-invalid"),
            (vec![(api_key, "a b")], 401, "api-key-invalid"),
            (vec![(api_key, "sch\u{fc}ssel-des-partners")], 401, "api-key-invalid"),
            (vec![(api_key, "")], 400, "credentials-malformed"),
            (vec![(api_key, &*key), (api_key, &*key)], 400, "credentials-ambiguous"),
            (vec![(api_key, &*key), (api_key, &*other)], 400, "credentials-ambiguous"),
            (vec![(api_key, &*other), ("X-API-KEY", &*key)], 400, "credentials-ambiguous"),
            (vec![(api_key, &*twice)], 400, "credentials-ambiguous"),
            (vec![(api_key, ",")], 400, "credentials-ambiguous"),
        ],
    );
    // The hash in the file opens nothing.
    let file: Value = serde_json::from_slice(&fs::read(server.root.join(FILE)).unwrap()).unwrap();
    let hash = file["keys"][0]["sha256"].as_str().unwrap();
    server.refused(&with_key(&server, "/", hash), 401, "api-key-invalid");
    assert!(!server.log.text().contains(&key) && !server.log.text().contains(&other));
}

#[test]
fn the_key_alone_lets_in_and_nothing_else_does() {
    alone(Mpm::Event);
    alone(Mpm::Prefork);
}

#[test]
fn beside_a_token_one_of_both_is_enough_and_both_are_too_much() {
    let site = Site::new();
    let key = new_key(&site, "partner", &[]);
    let server = site.start(&gated(&format!("{BESIDE}JwtGateForward X-User subject\nJwtGateForward X-Key api-key")));
    let bearer = format!("Bearer {}", token(&server, "alice"));
    let wrong = format!("Bearer {key}");
    assert_answers(
        &server,
        Mpm::Event,
        "Bearer",
        &[
            (vec![("x-api-key", &*key)], 200, "-"),
            (vec![("x-api-key", &*key), ("authorization", "Basic YTpi")], 200, "-"),
            (vec![("authorization", &*bearer)], 200, "-"),
            (vec![], 401, "token-missing"),
            (vec![("x-api-key", "nobody-has-this-key")], 401, "api-key-invalid"),
            (vec![("authorization", &*wrong)], 401, "token-malformed"),
            (vec![("authorization", &*bearer), ("x-api-key", &*key)], 400, "credentials-ambiguous"),
            (vec![("authorization", &*bearer), ("x-api-key", "")], 400, "credentials-ambiguous"),
        ],
    );
    let seen = |request: Request| {
        let seen = request.send().seen();
        ["X-User", "X-Key"].map(|name| seen.header(name).map(str::to_owned))
    };
    assert_eq!(seen(with_key(&server, "/", &key)), ["partner", "partner"].map(|id| Some(id.to_owned())));
    assert_eq!(seen(server.get("/").header("Authorization", bearer)), [Some("alice".to_owned()), None]);
}

#[test]
fn where_both_are_needed_neither_does_alone() {
    let site = Site::new();
    let key = new_key(&site, "partner", &["--plan", "gold", "--scope", "write"]);
    let mut server = site.start(&format!(
        "JwtGatePlan gold\n{}<Location \"/write\">\nRequire jwt-scope write\n</Location>\n\
         <Location \"/bare\">\nJwtGateForwardCredentials off\n</Location>",
        gated(&format!(
            "{BOTH}JwtGateForward X-User subject\nJwtGateForward X-Key api-key\n\
             JwtGateForward X-Plan plan\nJwtGateForward X-Scope scope"
        ))
    ));
    server.expect_log("AH01630");
    let bearer = format!("Bearer {}", server.token().claim("scope", "read").sign());
    let forged = format!("Bearer {}", server.token().forge());
    let (both, stranger) = (vec![("authorization", &*bearer), ("x-api-key", &*key)], "nobody-has-this-key");
    assert_answers(
        &server,
        Mpm::Event,
        "Bearer",
        &[
            (both.clone(), 200, "-"),
            (vec![], 401, "token-missing"),
            (vec![("authorization", &*bearer)], 401, "token-missing"),
            (vec![("x-api-key", &*key)], 401, "token-missing"),
            (vec![("authorization", &*bearer), ("x-api-key", stranger)], 401, "api-key-invalid"),
            (vec![("authorization", &*forged), ("x-api-key", &*key)], 401, "signature-invalid"),
            (vec![("authorization", &*bearer), ("x-api-key", "")], 400, "credentials-malformed"),
            ([&both[..], &both[1..]].concat(), 400, "credentials-ambiguous"),
            ([&both[..], &both[..1]].concat(), 400, "credentials-ambiguous"),
        ],
    );
    let request = |target: &str| with_key(&server, target, &key).header("Authorization", &bearer);
    let told = ["X-User", "X-Key", "X-Plan", "X-Scope"];
    let seen = request("/").send().seen();
    assert_eq!(told.map(|name| seen.header(name).unwrap()), ["alice", "partner", "gold", "read"]);
    assert_eq!((seen.header("X-Api-Key"), seen.header("Authorization")), (Some(&*key), Some(&*bearer)));
    let seen = request("/bare").send().seen();
    assert_eq!(told.map(|name| seen.header(name).unwrap()), ["alice", "partner", "gold", "read"]);
    assert!(!format!("{seen:?}").contains(&key) && seen.header("Authorization").is_none(), "{seen:?}");
    // What the key may do is no scope of the token.
    let answer = server.refused(&request("/write"), 403, "scope-insufficient");
    assert!(challenge(&answer).starts_with("Bearer "), "{answer:?}");
}

#[test]
fn a_key_is_good_in_its_time_only() {
    let site = Site::new();
    // RFC 3339 of seconds since 1970.
    let time = |seconds: u64| {
        let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("@{seconds}")]).output();
        String::from_utf8(date.unwrap().stdout).unwrap().trim().to_owned()
    };
    let expired = new_key(&site, "expired", &["--expires", "2998-01-01T00:00:00Z"]);
    edit(&site, "2998", "1998");
    let later = new_key(&site, "later", &["--not-before", "2998-01-01T00:00:00Z"]);
    let within =
        new_key(&site, "within", &["--not-before", "1998-01-01T00:00:00Z", "--expires", "2998-01-01T00:00:00+01:00"]);
    let soon = time(now() + 4);
    let ending = new_key(&site, "ending", &["--expires", &soon]);
    let beginning = new_key(&site, "beginning", &["--not-before", &soon]);
    let server = site.start(&gated(""));
    for key in [&expired, &later] {
        server.refused(&with_key(&server, "/", key), 401, "api-key-invalid");
    }
    assert_eq!(with_key(&server, "/", &within).status(), 200);
    // Time alone changes what they are good for: the file stays as it is.
    let turns = |key: &str, status: u16| {
        await_true(&format!("{status}"), || with_key(&server, "/", key).status() == status);
    };
    turns(&beginning, 200);
    turns(&ending, 401);
    assert_eq!(server.log.count("JG4006"), 0);
}

#[test]
fn a_key_is_good_in_its_networks_only_also_when_these_change() {
    let site = Site::new().load(&["remoteip"]).children(3);
    site.write("conf/office", "198.51.100.0/24\n");
    let anywhere = new_key(&site, "anywhere", &[]);
    let bound = new_key(&site, "bound", &["--network", "192.0.2.0/24", "--network", "@office"]);
    let server = site.start(&format!(
        "{KEEP_ALIVE}RemoteIPHeader X-Client\nRemoteIPInternalProxy 127.0.0.1\n\
         JwtGateNetwork office file=conf/office\n{}",
        gated("")
    ));
    let from = |key: &str, address: &str| with_key(&server, "/", key).header("X-Client", address);
    let mut children = server.each_child();
    children.assert_status(&from(&bound, "192.0.2.1"), 200);
    children.assert_status(&from(&bound, "::ffff:192.0.2.1"), 200);
    children.assert_status(&from(&bound, "198.51.100.1"), 200);
    children.assert_status(&from(&bound, "203.0.113.1"), 401);
    children.assert_status(&from(&bound, "2001:db8::1"), 401);
    children.assert_status(&from(&anywhere, "203.0.113.1"), 200);
    server.refused(&from(&bound, "203.0.113.1"), 401, "api-key-invalid");
    server.write("conf/office", "203.0.113.0/24\n2001:db8::/32\n");
    children.await_status(&from(&bound, "203.0.113.1"), 200);
    children.await_status(&from(&bound, "2001:db8::1"), 200);
    children.assert_status(&from(&bound, "198.51.100.1"), 401);
    children.assert_status(&from(&bound, "192.0.2.1"), 200);
}

#[test]
fn rules_ask_for_what_the_key_has() {
    let site = Site::new().load(&["authz_user"]);
    let reader = new_key(&site, "reader", &["--scope", "read", "--scope", "list", "--plan", "free"]);
    let writer = new_key(&site, "writer", &["--scope", "write", "--plan", "gold"]);
    let bare = new_key(&site, "bare", &[]);
    let places = [
        ("scope", "Require jwt-scope read"),
        ("user", "Require user writer"),
        ("valid", "Require valid-user"),
        ("plan", "Require jwt-plan gold"),
        ("issuer", "Require jwt-issuer main"),
        ("claim", "Require jwt-claim sub reader"),
    ];
    let places = places.map(|(name, rule)| format!("<Location \"/{name}\">\n{rule}\n</Location>\n")).concat();
    let mut server = site.start(&format!("JwtGatePlan free\nJwtGatePlan gold\n{}{places}", gated("")));
    server.expect_log("AH01630");
    // Of which keys they let in: reader, writer, bare.
    for (place, statuses) in [
        ("scope", [200, 403, 403]),
        ("user", [403, 200, 403]),
        ("valid", [200; 3]),
        ("plan", [403, 200, 403]),
        ("issuer", [403; 3]),
        ("claim", [403; 3]),
    ] {
        let target = format!("/{place}");
        let answers = [&reader, &writer, &bare].map(|key| with_key(&server, &target, key).send());
        assert_eq!(answers.each_ref().map(|answer| answer.status), statuses, "{place}");
        let asked =
            if place == "scope" { "ApiKey realm=\"api\", error=\"insufficient_scope\", scope=\"read\"" } else { "" };
        for answer in answers.iter().filter(|answer| answer.status == 403) {
            assert_eq!(challenge(answer), asked, "{place}");
            // Where only lines of httpd's own refuse, the answer is httpd's.
            let control = if place == "user" { "private" } else { "no-store" };
            assert_eq!(answer.header("Cache-Control"), Some(control), "{place}");
        }
        server.refused(&server.get(&target), 401, "token-missing");
    }
}

fn numbers_of_plans(mpm: Mpm) {
    let site = Site::new().mpm(mpm);
    let gold = new_key(&site, "gold-key", &["--plan", "gold"]);
    let other_gold = new_key(&site, "other-gold-key", &["--plan", "gold"]);
    let small = new_key(&site, "small-key", &["--plan", "small"]);
    let bare = new_key(&site, "bare-key", &[]);
    let server = site.start(&format!(
        "JwtGatePlan gold rate=1/d burst=6 quota=4/month\nJwtGatePlan small quota=2/month\n{}",
        gated("JwtGateLimit by-key key=api-key rate=1/d burst=3 quota=20/month")
    ));
    for (key, allowed, left, count) in [
        (&gold, ["\"by-key\";q=6", "\"by-key-quota\";q=4"], ["\"by-key\";r=5", "\"by-key-quota\";r=3"], 4),
        (&other_gold, ["\"by-key\";q=6", "\"by-key-quota\";q=4"], ["\"by-key\";r=5", "\"by-key-quota\";r=3"], 4),
        (&small, ["\"by-key\";q=3", "\"by-key-quota\";q=2"], ["\"by-key\";r=2", "\"by-key-quota\";r=1"], 2),
        (&bare, ["\"by-key\";q=3", "\"by-key-quota\";q=20"], ["\"by-key\";r=2", "\"by-key-quota\";r=19"], 3),
    ] {
        let request = with_key(&server, "/", key);
        let first = request.send();
        assert_eq!(first.status, 200, "{mpm:?}");
        assert_eq!((members(&first, "RateLimit-Policy"), members(&first, "RateLimit")), (allowed.into(), left.into()));
        assert_eq!(1 + admitted(&request, 7), count, "{mpm:?} {key}");
    }
    // What ran out says so.
    server.refused(&with_key(&server, "/", &gold), 429, "quota-exceeded");
    server.refused(&with_key(&server, "/", &bare), 429, "rate-limited");
}

#[test]
fn limits_take_the_numbers_of_the_plan_of_the_key() {
    numbers_of_plans(Mpm::Event);
    numbers_of_plans(Mpm::Prefork);
}

#[test]
fn a_key_and_a_subject_of_the_same_name_are_counted_apart() {
    let site = Site::new();
    let alice = new_key(&site, "alice", &[]);
    let server = site.start(&format!(
        "{}<Location \"/subject\">\nJwtGateLimit s key=subject rate=1/d burst=2\n</Location>\n\
         <Location \"/key\">\nJwtGateLimit k key=api-key rate=1/d burst=3\n</Location>\n\
         <Location \"/both\">\n{BOTH}JwtGateLimit b key=api-key rate=1/d burst=2\n\
         JwtGateLimit bs key=subject rate=1/d burst=9\n</Location>",
        gated(BESIDE)
    ));
    let bearer = |target: &str, subject| server.get(target).bearer(token(&server, subject));
    assert_eq!(admitted(&with_key(&server, "/subject", &alice), 4), 2);
    assert_eq!(admitted(&bearer("/subject", "alice"), 4), 2);
    assert_eq!(admitted(&bearer("/subject", "bob"), 4), 2);
    assert_eq!(admitted(&with_key(&server, "/key", &alice), 5), 3);
    // The key is what counts, whoever uses it.
    let both = |subject| with_key(&server, "/both", &alice).bearer(token(&server, subject));
    assert_eq!(admitted(&both("carol"), 1), 1);
    assert_eq!(admitted(&both("dave"), 3), 1);
}

#[test]
fn the_application_is_told_of_the_key_and_by_the_gate_alone() {
    let site = Site::new();
    let key = new_key(&site, "partner-a", &["--plan", "gold", "--scope", "read", "--scope", "write"]);
    let plain = new_key(&site, "plain", &[]);
    let server = site.start(&format!(
        "JwtGatePlan gold\n{}<Location \"/bare\">\nJwtGateForwardCredentials off\n</Location>\n\
         <Location \"/open\">\nJwtGate off\n</Location>",
        gated(
            "JwtGateForward X-User subject\nJwtGateForward X-Key api-key\nJwtGateForward X-Plan plan\n\
             JwtGateForward X-Scope scope\nJwtGateForward X-Issuer issuer\nJwtGateForward X-Client client\n\
             JwtGateForward X-Claims claims"
        )
    ));
    let names = ["X-User", "X-Key", "X-Plan", "X-Scope", "X-Issuer", "X-Client", "X-Claims"];
    let forged = |request: Request| {
        let request = names.iter().fold(request, |request, name| request.header(name, "forged"));
        request.header("x_key", "forged").header("X.User", "forged").header("Connection", "close, X-Key, X-User")
    };
    for (target, key, expected) in [
        ("/app", &key, [Some("partner-a"), Some("partner-a"), Some("gold"), Some("read write"), None, None, None]),
        ("/bare", &key, [Some("partner-a"), Some("partner-a"), Some("gold"), Some("read write"), None, None, None]),
        ("/app", &plain, [Some("plain"), Some("plain"), None, None, None, None, None]),
    ] {
        let seen = forged(with_key(&server, target, key)).send().seen();
        assert_eq!(names.map(|name| seen.header(name)), expected, "{target}");
        let text = format!("{seen:?}");
        assert!(!text.contains("forged"), "{text}");
        assert_eq!(text.contains(key), target == "/app", "{text}");
    }
    // Another spelling of the header that an application may read as the same.
    let seen = with_key(&server, "/bare", &key).header("X_Api_Key", &key).send().seen();
    assert!(!format!("{seen:?}").contains(&key), "{seen:?}");
    let seen = forged(server.get("/open")).send().seen();
    assert!(!format!("{seen:?}").contains("forged"), "{seen:?}");
}

#[test]
fn redirects_and_parts_know_whose_key_it_was_and_have_it_no_more() {
    let site = Site::new().load(&["include"]);
    let key = new_key(&site, "partner", &["--plan", "gold"]);
    let server = site.start(&format!(
        "JwtGatePlan gold\n{}<Location \"/app/both\">\n{BOTH}</Location>\n\
         <Location \"/app/token\">\nJwtGateCredentials bearer\n</Location>\n\
         <Directory \"${{ROOT}}/html\">\nOptions +Includes\nAddOutputFilter INCLUDES .shtml\nRewriteEngine on\n\
         RewriteRule \"^old/(.*)$\" \"/app/$1\"\n</Directory>",
        gated(&format!(
            "{BESIDE}JwtGateForwardCredentials off\nJwtGateForward X-Key api-key\nJwtGateForward X-Plan plan\n\
             JwtGateLimit by-key key=api-key rate=1/d burst=100"
        ))
        .replace("ProxyPass / ${APP}/", "ProxyPass /app ${APP}/app")
    ));
    server.write("html/page.shtml", "<!--#include virtual=\"/app/part\" -->");
    for (left, (target, behind)) in [(99, ("/old/x", "/app/x")), (98, ("/page.shtml", "/app/part"))] {
        let answer = with_key(&server, target, &key).send();
        assert_eq!(members(&answer, "RateLimit"), [format!("\"by-key\";r={left}")], "{target}");
        let seen = answer.seen();
        assert_eq!(seen.target, behind);
        assert_eq!((seen.header("X-Key"), seen.header("X-Plan")), (Some("partner"), Some("gold")), "{target}");
        assert!(!format!("{seen:?}").contains(&key), "{seen:?}");
    }
    // A key is no token: what asks for one is not reached by a detour.
    for target in ["/old/both", "/old/token"] {
        server.refused(&with_key(&server, target, &key), 401, "token-missing");
    }
}

#[test]
fn keys_that_nobody_has_lock_an_address_out() {
    let site = Site::new();
    let key = new_key(&site, "partner", &[]);
    let expired = new_key(&site, "expired", &["--expires", "2998-01-01T00:00:00Z"]);
    edit(&site, "2998", "1998");
    let mut server = site.start(&gated("JwtGateLockout failures=3/1h"));
    server.expect_log("JG3002");
    let from = |address: &str, key: &str| with_key(&server, "/", key).from(address);
    // Who sends none, or two, has not tried one.
    for _ in 0..4 {
        assert_eq!(server.get("/").from("127.0.0.1").status(), 401);
        assert_eq!(from("127.0.0.1", &key).header("X-Api-Key", "x").status(), 400);
    }
    for wrong in ["nobody-has-this-key", "nor-anybody-this-one", &expired] {
        assert_eq!(from("127.0.0.1", &key).status(), 200);
        server.refused(&from("127.0.0.1", wrong), 401, "api-key-invalid");
    }
    let answer = server.refused(&from("127.0.0.1", &key), 429, "locked-out");
    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
    assert_eq!(from("127.0.0.2", &key).status(), 200);
}

fn replaced_under_load(mpm: Mpm) {
    let site = Site::new().mpm(mpm).children(3);
    let kept = new_key(&site, "kept", &[]);
    let old = new_key(&site, "old", &[]);
    let server = site.start(&format!("{KEEP_ALIVE}{}", gated("")));
    let load = |_| assert_eq!(with_key(&server, "/", &kept).status(), 200, "a key that stays in the file");
    under_load(2, load, |load| {
        let new = new_key(&server, "new", &[]);
        server.each_child().await_status(&with_key(&server, "/", &new), 200);
        server.each_child().assert_status(&with_key(&server, "/", &old), 200);
        load.more(10);
        revoke(&server, "old");
        server.each_child().await_status(&with_key(&server, "/", &old), 401);
        server.each_child().assert_status(&with_key(&server, "/", &new), 200);
        load.more(10);
    });
}

#[test]
fn each_child_takes_new_keys_and_refuses_revoked_ones_while_requests_come_under_event() {
    replaced_under_load(Mpm::Event);
}

#[test]
fn each_child_takes_new_keys_and_refuses_revoked_ones_while_requests_come_under_prefork() {
    replaced_under_load(Mpm::Prefork);
}

fn a_broken_file(mpm: Mpm) {
    let site = Site::new().mpm(mpm);
    let key = new_key(&site, "partner", &[]);
    let good = fs::read_to_string(site.root.join(FILE)).unwrap();
    let mut server = site.start(&format!("{KEEP_ALIVE}{}", gated("")));
    server.expect_log("JG4007");
    server.expect_log("JG2002");
    server.write_secret(FILE, &good[..good.len() / 2]);
    server.await_log("JG4007");
    let request = with_key(&server, "/", &key);
    server.each_child().assert_status(&request, 200);
    // Whoever begins now has the same.
    let child = server.children()[0];
    server.kill_child(child);
    server.each_child().assert_status(&request, 200);
    server.graceful();
    server.each_child().assert_status(&request, 200);
    server.write_secret(FILE, r#"{"keys": []}"#);
    server.each_child().await_status(&request, 401);
}

#[test]
fn a_broken_file_changes_nobodys_keys_under_event() {
    a_broken_file(Mpm::Event);
}

#[test]
fn a_broken_file_changes_nobodys_keys_under_prefork() {
    a_broken_file(Mpm::Prefork);
}

#[test]
fn without_a_file_at_the_first_start_keys_cannot_be_judged() {
    for file in [None, Some("{\"keys\":[")] {
        let site = Site::new();
        let key = new_key(&site, "partner", &[]);
        let good = fs::read_to_string(site.root.join(FILE)).unwrap();
        fs::remove_file(site.root.join(FILE)).unwrap();
        if let Some(text) = file {
            site.write_secret(FILE, text);
        }
        let mut server = site.start(&format!("{KEEP_ALIVE}{}", gated(BESIDE)));
        server.expect_log("JG2002");
        let answer = server.refused(&with_key(&server, "/", &key), 503, "keys-unavailable");
        assert_eq!((answer.header("Retry-After"), challenge(&answer)), (Some("30"), ""));
        server.refused(&with_key(&server, "/", "nobody-has-this-key"), 503, "keys-unavailable");
        // Tokens have nothing to do with it, and who sends nothing is told to.
        assert_eq!(server.get("/").bearer(token(&server, "alice")).status(), 200);
        server.refused(&server.get("/"), 401, "token-missing");
        server.write_secret(FILE, good);
        let mut children = server.each_child();
        children.await_status(&with_key(&server, "/", &key), 200);
        children.await_status(&with_key(&server, "/", "nobody-has-this-key"), 401);
    }
}

#[test]
fn a_dry_run_lets_every_key_in_and_says_which_it_would_refuse() {
    let site = Site::new();
    let key = new_key(&site, "partner", &[]);
    let server = site.start(&format!(
        "{}LogFormat \"%{{JWT_GATE_VERDICT}}e %{{JWT_GATE_REASON}}e\" told\nCustomLog logs/told.log told\n",
        gated("JwtGate dry-run\nJwtGateForward X-Key api-key\nJwtGateForwardCredentials off")
    ));
    let names = |key: &str| {
        let seen = with_key(&server, "/", key).header("X-Key", "forged").send().seen();
        [seen.header("X-Key").map(str::to_owned), seen.header("X-Api-Key").map(str::to_owned)]
    };
    // What is tried out takes nothing away.
    assert_eq!(names(&key), [Some("partner".to_owned()), Some(key.clone())]);
    assert_eq!(names("nobody-has-this-key"), [None, Some("nobody-has-this-key".to_owned())]);
    assert_eq!(server.get("/").status(), 200);
    assert_eq!(with_key(&server, "/", &key).header("X-Api-Key", &key).status(), 200);
    let told =
        ["allow -", "would-deny api-key-invalid", "would-deny token-missing", "would-deny credentials-ambiguous"];
    // Two children may write in another order.
    assert_eq!(told_log(&server, 4), BTreeSet::from(told.map(str::to_owned)));
}

#[test]
fn answers_to_a_key_are_of_its_owner_alone() {
    let site = Site::new().load(&["cache", "cache_socache", "socache_shmcb"]);
    let keys = ["one", "two"].map(|id| (id, new_key(&site, id, &[])));
    let server = site.start(&format!(
        "CacheQuickHandler off\nCacheSocache shmcb\nCacheEnable socache /cached\n{}\
         <Location \"/cached\">\nJwtGateForwardCredentials off\n</Location>",
        gated("JwtGateForward X-Key api-key")
    ));
    for (target, control) in [
        ("/app", "private"),
        ("/app?cache=max-age=60", "max-age=60"),
        ("/cached/a", "private"),
        ("/cached/b?cache=max-age=60", "max-age=60, private"),
    ] {
        for (id, key) in &keys {
            let answer = with_key(&server, target, key).send();
            assert_eq!(answer.header("Cache-Control"), Some(control), "{target}");
            assert_eq!(answer.seen().header("X-Key"), Some(*id), "{target}");
        }
    }
    assert_eq!(server.app.count(), 8);
    let refused = with_key(&server, "/cached/b?cache=max-age=60", "nobody-has-this-key").send();
    assert_eq!((refused.status, refused.header("Cache-Control")), (401, Some("no-store")));
}

#[test]
fn a_preflight_says_nothing_of_keys_unless_it_is_told_to() {
    let site = Site::new();
    let key = new_key(&site, "partner", &[]);
    let server = site.start(&format!(
        "{}<Location \"/named\">\nJwtGateCors https://app.test headers=X-Api-Key\n</Location>",
        gated("JwtGateCors https://app.test\nJwtGateLockout failures=1/1h")
    ));
    let preflight = |target: &str| {
        let request = server.request("OPTIONS", target).header("Origin", "https://app.test");
        let request = request.header("Access-Control-Request-Method", "GET");
        request.header("Access-Control-Request-Headers", "x-api-key").header("X-Api-Key", "nobody-has-this-key").send()
    };
    let answer = preflight("/");
    assert_eq!((answer.status, challenge(&answer)), (204, ""));
    assert!(!format!("{answer:?}").to_lowercase().contains("api-key"), "{answer:?}");
    let answer = preflight("/named");
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Headers")), (204, Some("X-Api-Key")));
    assert_eq!(server.app.count(), 0);
    let answer = with_key(&server, "/named", &key).header("Origin", "https://app.test").send();
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (200, Some("https://app.test")));
}

#[test]
fn the_owner_of_a_key_is_told_what_is_left() {
    let site = Site::new();
    let key = new_key(&site, "partner", &["--plan", "gold"]);
    let server = site.start(&format!(
        "JwtGatePlan gold rate=1/d burst=6 quota=7/month\n{}<Location \"/usage\">\nSetHandler jwt-gate-usage\n\
         </Location>\n<Location \"/usage/both\">\n{BOTH}</Location>",
        gated("JwtGateLimit by-key key=api-key rate=1/d burst=3").replace("ProxyPass /", "ProxyPass /app")
    ));
    let answer = with_key(&server, "/usage", &key).send();
    assert_eq!((answer.status, answer.header("Cache-Control")), (200, Some("no-store")));
    let said = answer.json();
    assert_eq!(
        [&said["subject"], &said["api_key"], &said["plan"]],
        ["partner", "partner", "gold"].map(|x| json!(x)).each_ref()
    );
    let left = |said: &Value| -> Vec<(String, u64)> {
        let limits = said["limits"].as_array().unwrap().iter();
        limits.map(|limit| (limit["kind"].as_str().unwrap().to_owned(), limit["remaining"].as_u64().unwrap())).collect()
    };
    assert_eq!(left(&said), [("rate".to_owned(), 5), ("quota".to_owned(), 6)]);
    let said = with_key(&server, "/usage/both", &key).bearer(token(&server, "alice")).send().json();
    assert_eq!(
        [&said["subject"], &said["api_key"], &said["plan"]],
        ["alice", "partner", "gold"].map(|x| json!(x)).each_ref()
    );
    assert_eq!(left(&said), [("rate".to_owned(), 4), ("quota".to_owned(), 5)]);
    server.refused(&server.get("/usage"), 401, "token-missing");
}

#[test]
fn logs_name_the_key_and_never_show_it() {
    let site = Site::new();
    let key = new_key(&site, "partner", &["--plan", "gold", "--scope", "read", "--scope", "write"]);
    let mut server = site.start(&format!(
        "JwtGatePlan gold\n{}<Location \"/admin\">\nRequire jwt-scope admin\n</Location>\n\
         LogFormat \"%U %u [%{{JWT_GATE_SUBJECT}}e] [%{{JWT_GATE_ISSUER}}e] [%{{JWT_GATE_PLAN}}e] \
         [%{{JWT_GATE_SCOPE}}e] %{{JWT_GATE_VERDICT}}e %{{JWT_GATE_REASON}}e\" told\nCustomLog logs/told.log told\n",
        gated("")
    ));
    server.expect_log("AH01630");
    let wrong = format!("{key}x");
    assert_eq!(with_key(&server, "/in", &key).status(), 200);
    assert_eq!(with_key(&server, "/admin", &key).status(), 403);
    assert_eq!(with_key(&server, "/out", &wrong).status(), 401);
    let told = [
        "/in partner [partner] [-] [gold] [read write] allow -",
        "/admin partner [partner] [-] [gold] [read write] deny scope-insufficient",
        "/out - [-] [-] [-] [-] deny api-key-invalid",
    ];
    assert_eq!(told_log(&server, 3), BTreeSet::from(told.map(str::to_owned)));
    server.await_log("api-key-invalid: refused with 401, in the header X-Api-Key");
    for file in ["logs/error.log", "logs/access.log", "logs/told.log"] {
        assert!(!fs::read_to_string(server.root.join(file)).unwrap().contains(&key), "{file}");
    }
}
