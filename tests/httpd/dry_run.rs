//! What is tried out first: everything is decided and told, nothing is refused, and nobody can tell from outside.

use std::fs;

use serde_json::json;

use crate::harness::app::Seen;
use crate::harness::{Answer, MAIN, Request, Server, Site, Token, await_true, now};

/// What each request ended with, in `logs/verdicts.log`: path, status, verdict, reason and limit.
const VERDICTS: &str = "LogFormat \"%U %>s %{JWT_GATE_VERDICT}e %{JWT_GATE_REASON}e %{JWT_GATE_LIMIT}e\" verdicts\n\
                        CustomLog logs/verdicts.log verdicts\n";

/// How many requests ended with this line so far.
fn verdicts(server: &Server, line: &str) -> usize {
    let log = fs::read_to_string(server.root.join("logs/verdicts.log")).unwrap_or_default();
    log.lines().filter(|logged| *logged == line).count()
}

/// Waits until a request has ended with this line: httpd writes it after the answer.
fn await_verdict(server: &Server, line: &str) {
    await_true(&format!("the verdict {line:?}"), || verdicts(server, line) > 0);
}

/// Header fields that only a gate would have set.
const OF_THE_GATE: [&str; 5] = ["RateLimit", "RateLimit-Policy", "Cache-Control", "Retry-After", "WWW-Authenticate"];

/// Asserts that the application was reached, that only the log and the environment know of the refusal that it would
/// have been (its log id, reason and limit), and gives what the application saw.
fn would_be_refused(server: &Server, request: &Request, id: &str, reason: &str, limit: &str) -> Seen {
    let line = format!("{id} {reason}: let in by a dry run, else refused with");
    let (before, reached) = (server.log.count(&line), server.app.count());
    let path = String::from_utf8(request.bytes()).unwrap().split([' ', '?']).nth(1).unwrap().to_owned();
    let verdict = format!("{path} 200 would-deny {reason} {limit}");
    let told = verdicts(server, &verdict);
    let answer = request.send();
    let seen = answer.seen();
    assert_eq!(server.app.count(), reached + 1, "{reason}");
    assert_tells_nothing(&answer, reason);
    assert_eq!(server.log.count(&line), before + 1, "{reason}");
    assert!(server.log.text().lines().any(|logged| logged.contains(&line) && logged.contains("[jwt_gate:info]")));
    await_true(&format!("the verdict {verdict:?}"), || verdicts(server, &verdict) > told);
    seen
}

fn assert_tells_nothing(answer: &Answer, case: &str) {
    for field in OF_THE_GATE {
        assert_eq!(answer.header(field), None, "{case}: {field}");
    }
}

#[test]
fn every_refusal_is_told_and_let_in() {
    let site = Site::new();
    site.write("conf/revoked.json", r#"{"revoked": [{"issuer": "main", "sub": "mallory"}]}"#);
    site.write("keys/broken.jwks", "{");
    let mut server = site.start(&format!(
        r#"{MAIN}{VERDICTS}
        LimitRequestFieldSize 10000
        JwtGateIssuer broken https://broken.test audience=api jwks=file:keys/broken.jwks
        JwtGateRevocations conf/revoked.json
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
            JwtGateForward X-User subject
            JwtGateForwardCredentials off
        </Location>
        <Location "/denied">
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location "/not-allowed">
            JwtGateAllow 192.0.2.1
        </Location>
        <Location "/locked">
            JwtGateLockout failures=1/1h
        </Location>
        <Location "/early">
            JwtGateLimit first key=address rate=1/d
            JwtGateLimit second key=global rate=1/s burst=100
        </Location>
        <Location "/quota">
            JwtGateLimit daily key=global rate=100/s quota=1/day
        </Location>
        <Location "/late">
            JwtGateLimit late key=subject rate=1/d
        </Location>
        <Location "/session">
            JwtGateCredentials cookie:session
        </Location>"#
    ));
    server.expect_log("broken.jwks");
    server.expect_log("JG3002 an address would be locked out for 1 h 0 min");
    let token = || server.token();
    let forged = |request: Request| request.header("X-User", "eve").header("x_user", "eve");
    let get = |target: &str| forged(server.get(target));
    let good = |target: &str| get(target).bearer(token().sign());
    // The first of each limit is let in for good, and the failure that locks is the first thing to be told.
    for target in ["/early", "/quota", "/late"] {
        let answer = good(target).send();
        assert_eq!(answer.seen().header("X-User"), Some("alice"));
        assert_tells_nothing(&answer, target);
        await_verdict(&server, &format!("{target} 200 allow - -"));
    }
    would_be_refused(&server, &get("/locked").bearer("a.b.c"), "JG1007", "token-malformed", "-");
    for (request, id, reason, limit, user) in [
        (good("/denied"), "JG1001", "address-denied", "-", Some("alice")),
        (good("/not-allowed"), "JG1001", "address-denied", "-", Some("alice")),
        (good("/locked"), "JG1026", "locked-out", "-", Some("alice")),
        (good("/early"), "JG1002", "rate-limited", "first", Some("alice")),
        (good("/quota"), "JG1025", "quota-exceeded", "daily", Some("alice")),
        (good("/late"), "JG1002", "rate-limited", "late", Some("alice")),
        (get("/"), "JG1003", "token-missing", "-", None),
        (good("/").bearer(token().sign()), "JG1004", "credentials-ambiguous", "-", None),
        (get("/").bearer(""), "JG1005", "credentials-malformed", "-", None),
        (get("/").bearer("x".repeat(8193)), "JG1006", "token-too-large", "-", None),
        (get("/").bearer("a.b.c"), "JG1007", "token-malformed", "-", None),
        (get("/").bearer(token().claim("iss", "https://nobody.test").sign()), "JG1009", "issuer-unknown", "-", None),
        (get("/").bearer(token().header("kid", "another").sign()), "JG1010", "key-unknown", "-", None),
        (get("/").bearer(token().claim("iss", "https://broken.test").sign()), "JG1011", "keys-unavailable", "-", None),
        (get("/").bearer(token().forge()), "JG1012", "signature-invalid", "-", None),
        (get("/").bearer(token().claim("exp", now() - 3600).sign()), "JG1013", "token-expired", "-", None),
        (get("/").bearer(token().claim("aud", "others").sign()), "JG1015", "audience-mismatch", "-", None),
        (get("/").bearer(token().claim("sub", "mallory").sign()), "JG1021", "token-revoked", "-", None),
        (
            forged(server.request("POST", "/session")).header("Cookie", format!("session={}", token().sign())),
            "JG1018",
            "csrf",
            "-",
            Some("alice"),
        ),
    ] {
        let seen = would_be_refused(&server, &request, id, reason, limit);
        assert_eq!(seen.header("X-User"), user, "{reason}");
        assert_eq!(seen.header("x_user"), None, "{reason}");
        // JwtGateForwardCredentials off changes nothing for the application before the gate is on.
        let sent = String::from_utf8(request.bytes()).unwrap();
        assert_eq!(seen.all("Authorization").is_empty(), !sent.contains("Authorization:"), "{reason}");
        assert_eq!(seen.header("Cookie").is_some(), sent.contains("Cookie:"), "{reason}");
    }
    // The first reason counts: what else is wrong is not told.
    would_be_refused(&server, &get("/denied/..;/b"), "JG1028", "path-ambiguous", "-");
    would_be_refused(&server, &get("/denied"), "JG1001", "address-denied", "-");
    assert_eq!(server.log.count("would be locked out"), 1);
}

#[test]
fn over_http2_the_same_is_told_and_let_in() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
            JwtGateForward X-User subject
        </Location>"#
    ));
    let mut http2 = server.http2();
    let answer = http2.get("/a", &[("x-user", "eve"), ("authorization", "Bearer a.b.c")]);
    assert_eq!(answer.seen().header("X-User"), None);
    assert_tells_nothing(&answer, "HTTP/2");
    await_verdict(&server, "/a 200 would-deny token-malformed -");
    let bearer = format!("Bearer {}", server.token().sign());
    let answer = http2.get("/b", &[("x-user", "eve"), ("authorization", &bearer)]);
    assert_eq!(answer.seen().header("X-User"), Some("alice"));
    await_verdict(&server, "/b 200 allow - -");
}

#[test]
fn require_refuses_all_the_same() {
    let mut server = Site::new().load(&["authz_user"]).start(&format!(
        r#"{MAIN}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
        </Location>
        <Location "/user">
            Require valid-user
        </Location>
        <Location "/scope">
            Require jwt-scope write
        </Location>
        <Location "/nobody">
            Require all denied
        </Location>"#
    ));
    server.expect_log("AH01630");
    for target in ["/user", "/scope"] {
        for request in [server.get(target), server.get(target).bearer(server.token().forge())] {
            let answer = request.send();
            assert_eq!((answer.status, answer.header("Cache-Control")), (401, Some("no-store")), "{target}");
            assert!(answer.header("WWW-Authenticate").is_some(), "{target}");
        }
    }
    assert_eq!(server.get("/user").bearer(server.token().sign()).status(), 200);
    server.refused(&server.get("/scope").bearer(server.token().sign()), 403, "scope-insufficient");
    assert_eq!(server.get("/scope").bearer(server.token().claim("scope", "write").sign()).status(), 200);
    assert_eq!(server.get("/nobody").bearer(server.token().sign()).status(), 403);
    assert_eq!(server.app.count(), 2);
}

#[test]
fn a_dry_run_uses_up_nothing_of_what_is_real() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/real">
            JwtGate on
            JwtGateLockout failures=3/1h
        </Location>
        <Location "/trial">
            JwtGate dry-run
            JwtGateLockout failures=3/1h
        </Location>
        <LocationMatch "^/(real|trial)/early">
            JwtGateToken none
            JwtGateLimit early key=global rate=1/d burst=3
        </LocationMatch>
        <LocationMatch "^/(real|trial)/late">
            JwtGateLimit late key=subject rate=1/d burst=3
        </LocationMatch>"#
    ));
    server.expect_log("JG3002");
    let get = |target: &str| server.get(target).bearer(server.token().sign());
    for limit in ["early", "late"] {
        // Used up in the dry run, where the fourth would be refused.
        let (trial, real) = (format!("/trial/{limit}"), format!("/real/{limit}"));
        for _ in 0..3 {
            assert_eq!(get(&trial).status(), 200);
            await_verdict(&server, &format!("{trial} 200 allow - -"));
        }
        would_be_refused(&server, &get(&trial), "JG1002", "rate-limited", limit);
        let statuses = [(); 4].map(|()| get(&real).status());
        assert_eq!(statuses, [200, 200, 200, 429], "{limit}");
    }
    let fail = |target: &str| server.get(target).bearer("a.b.c").status();
    assert_eq!([fail("/trial"), fail("/trial"), fail("/trial"), fail("/trial")], [200; 4]);
    would_be_refused(&server, &get("/trial"), "JG1026", "locked-out", "-");
    assert_eq!(get("/real").status(), 200);
    assert_eq!([fail("/real"), fail("/real"), fail("/real"), fail("/real")], [401, 401, 401, 429]);
}

#[test]
fn what_the_application_answers_is_counted_apart_too() {
    let mut server = Site::new().start(&format!(
        r#"{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
            JwtGateToken none
            JwtGateLockout failures=2/1h count=backend
        </Location>
        <Location "/real">
            JwtGate on
        </Location>"#
    ));
    server.expect_log("JG3002 an address would be locked out");
    for _ in 0..2 {
        assert_eq!(server.request("POST", "/login?answer=401").body("password=guess").status(), 401);
    }
    would_be_refused(&server, &server.get("/"), "JG1026", "locked-out", "-");
    assert_eq!(server.get("/real").status(), 200);
    assert_eq!(server.get("/real?answer=403").status(), 403);
    assert_eq!(server.get("/real").status(), 200);
}

#[test]
fn preflights_are_answered_as_configured() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
            JwtGateCors https://app.test
        </Location>
        <Location "/denied">
            JwtGateDeny 127.0.0.0/8
        </Location>"#
    ));
    let preflight = |target: &str, origin: &str| {
        server.request("OPTIONS", target).header("Origin", origin).header("Access-Control-Request-Method", "PUT").send()
    };
    let allowed = |answer: &Answer| answer.header("Access-Control-Allow-Origin").map(str::to_owned);
    let answer = preflight("/", "https://app.test");
    assert_eq!((answer.status, allowed(&answer).as_deref()), (204, Some("https://app.test")));
    await_verdict(&server, "/ 204 allow - -");
    let answer = preflight("/denied", "https://app.test");
    assert_eq!((answer.status, allowed(&answer).as_deref()), (204, Some("https://app.test")));
    await_verdict(&server, "/denied 204 would-deny address-denied -");
    let answer = preflight("/", "https://other.test");
    assert_eq!((answer.status, allowed(&answer)), (204, None));
    assert_eq!(server.app.count(), 0);
    // What is let in says who may read it, as it will.
    let answer = server.get("/").header("Origin", "https://app.test").send();
    assert_eq!((answer.status, allowed(&answer).as_deref()), (200, Some("https://app.test")));
}

#[test]
fn single_lines_are_tried_out_beside_real_ones() {
    let server = Site::new().start(&format!(
        r#"{VERDICTS}
        JwtGateNetwork office 127.0.5.0/24
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <Location "/addresses">
            JwtGateAllow 127.0.0.0/16
            JwtGateAllow dry-run 127.0.0.0/24 @office
            JwtGateDeny 127.0.0.9
            JwtGateDeny dry-run 127.0.0.8
        </Location>
        <Location "/addresses/cleared">
            JwtGateAllow dry-run none
            JwtGateDeny dry-run none
        </Location>
        <Location "/limits">
            JwtGateLimit real key=global rate=1/d burst=4
            JwtGateLimit tried key=global rate=1/d burst=2 dry-run
        </Location>"#
    ));
    let from = |target: &str, from: &str| server.get(target).from(from);
    for (address, is_tried) in [("127.0.0.1", true), ("127.0.5.1", true), ("127.0.0.8", false), ("127.0.6.1", false)] {
        if is_tried {
            assert_eq!(from("/addresses", address).status(), 200);
            await_verdict(&server, "/addresses 200 allow - -");
        } else {
            would_be_refused(&server, &from("/addresses", address), "JG1001", "address-denied", "-");
        }
        assert_eq!(from("/addresses/cleared", address).status(), 200);
        await_verdict(&server, "/addresses/cleared 200 allow - -");
    }
    for target in ["/addresses", "/addresses/cleared"] {
        server.refused(&from(target, "127.0.0.9"), 403, "JG1001 address-denied: refused");
        await_verdict(&server, &format!("{target} 403 deny address-denied -"));
        server.refused(&from(target, "127.1.0.1"), 403, "JG1001 address-denied: refused");
    }
    // Two for good, two that would have been refused, and then what is real refuses; clients are told of that alone.
    let answers = [(); 5].map(|()| from("/limits", "127.0.0.1").send());
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 200, 200, 429]);
    assert_eq!(server.log.count("JG1002 rate-limited: let in by a dry run, else refused with 429, limit tried"), 2);
    assert_eq!(server.log.count("JG1002 rate-limited: refused with 429, limit real"), 1);
    await_verdict(&server, "/limits 429 deny rate-limited real");
    for (answer, left) in answers.iter().zip([3, 2, 1, 0, 0]) {
        let fields = (answer.header("RateLimit").unwrap(), answer.header("RateLimit-Policy").unwrap());
        assert!(fields.0.starts_with(&format!("\"real\";r={left};")), "{fields:?}");
        assert!(!fields.0.contains("tried") && !fields.1.contains("tried"), "{fields:?}");
    }
}

#[test]
fn a_graceful_restart_makes_it_real_and_back() {
    let gated = |mode: &str| {
        format!(
            r#"{MAIN}
            ProxyPass / ${{APP}}/
            <Location "/">
                JwtGate {mode}
                JwtGateLockout failures=2/1h
            </Location>
            <Location "/limited">
                JwtGateToken none
                JwtGateLimit few key=global rate=1/d burst=2
            </Location>"#
        )
    };
    let mut server = Site::new().start(&gated("dry-run"));
    server.expect_log("JG3002");
    let statuses = |server: &Server| {
        let limited = [(); 3].map(|()| server.get("/limited").from("127.0.0.2").status());
        let failing = [(); 3].map(|()| server.get("/").bearer("a.b.c").status());
        (limited, failing, server.get("/").from("127.0.0.2").status())
    };
    assert_eq!(statuses(&server), ([200; 3], [200; 3], 200));
    server.graceful_with(&gated("on"));
    // All that was tried out left no trace.
    assert_eq!(statuses(&server), ([200, 200, 429], [401, 401, 429], 401));
    server.graceful_with(&gated("dry-run"));
    assert_eq!(statuses(&server), ([200; 3], [200; 3], 200));
    server.graceful_with(&gated("on"));
    assert_eq!(statuses(&server), ([429; 3], [429; 3], 401));
}

#[test]
fn error_pages_are_those_of_the_application() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass /app ${{APP}}/app
        <Location "/">
            JwtGate dry-run
            ErrorDocument 401 /page.html
            ErrorDocument 404 /page.html
        </Location>
        <Location "/app/override">
            ProxyErrorOverride On
        </Location>"#
    ));
    server.write("html/page.html", "page");
    for (target, status, text) in [
        ("/app/plain?answer=401", 401, "/app/plain"),
        ("/app/override?answer=401", 401, "page"),
        ("/app/override?answer=404", 404, "page"),
        ("/absent", 404, "page"),
        ("/page.html", 200, "page"),
    ] {
        let answer = server.get(target).send();
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.text().contains(text), "{target}: {}", answer.text());
        assert_tells_nothing(&answer, target);
    }
}

/// Ways from one place to another inside of the server.
fn inner(places: &str) -> Server {
    let site = Site::new().load(&["include"]);
    for (from, to) in [("trial", "real"), ("trial", "open"), ("real", "trial"), ("open", "trial")] {
        site.write(&format!("html/{from}/to-{to}.shtml"), format!("[<!--#include virtual=\"/{to}/page.html\" -->]"));
        site.write(&format!("html/{from}/moved-{to}/other"), "");
    }
    for place in ["trial", "real", "open"] {
        site.write(&format!("html/{place}/page.html"), format!("page of {place}"));
    }
    site.start(&format!(
        r#"{MAIN}
        ProxyPass /trial/app ${{APP}}/trial
        ProxyPass /real/app ${{APP}}/real
        ProxyPass /open/app ${{APP}}/open
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <DirectoryMatch "/moved-(?<place>[a-z]+)">
            RewriteEngine on
            RewriteRule "^" "/%{{env:MATCH_PLACE}}/app"
        </DirectoryMatch>
        <Location "/trial">
            JwtGate dry-run
            JwtGateForward X-User subject
        </Location>
        <Location "/real">
            JwtGate on
            JwtGateForward X-User subject
        </Location>
        <Location "/open">
            JwtGate off
        </Location>
        {places}"#
    ))
}

#[test]
fn inside_of_the_server_each_place_is_judged_as_it_says() {
    let mut server = inner("");
    server.expect_log("unable to include");
    let get = |target: &str| server.get(target).header("X-User", "eve");
    let good = |target: &str| get(target).bearer(server.token().sign());
    for (target, without, with) in [
        ("/trial/to-real.shtml", Some(false), true),
        ("/trial/to-open.shtml", Some(true), true),
        ("/real/to-trial.shtml", None, true),
        ("/open/to-trial.shtml", Some(true), true),
    ] {
        let (anonymous, known) = (get(target).send(), good(target).send());
        assert_eq!(anonymous.status, if without.is_some() { 200 } else { 401 }, "{target}");
        assert_eq!(anonymous.text().contains("page of"), without == Some(true), "{target}");
        assert_eq!((known.status, known.text().contains("page of")), (200, with), "{target}");
        for field in ["RateLimit", "Retry-After"] {
            assert_eq!(anonymous.header(field), None, "{target}");
        }
    }
    let reached = server.app.count();
    for (target, without, user) in [
        ("/trial/moved-real/", 401, Some("alice")),
        ("/trial/moved-open/", 200, None),
        ("/real/moved-trial/", 401, Some("alice")),
        ("/open/moved-trial/", 200, Some("alice")),
    ] {
        assert_eq!(get(target).status(), without, "{target}");
        assert_eq!(good(target).send().seen().header("X-User"), user, "{target}");
    }
    assert_eq!(server.app.count(), reached + 6);
}

#[test]
fn what_a_dry_run_let_in_is_no_proof_where_it_is_real() {
    let mut server = inner(
        r#"<LocationMatch "^/(trial|real)">
            JwtGateCredentials cookie:session
        </LocationMatch>
        <LocationMatch "^/(trial|real)">
            JwtGateLockout failures=2/1h
        </LocationMatch>"#,
    );
    server.expect_log("JG3002");
    let post =
        |token: String| server.request("POST", "/trial/moved-real/").header("Cookie", format!("session={token}"));
    let good = || post(server.token().sign());
    assert_eq!(good().header("Sec-Fetch-Site", "same-origin").status(), 200);
    let answer = good().header("Sec-Fetch-Site", "cross-site").send();
    assert_eq!((answer.status, server.log.count("JG1018 csrf: refused with 403")), (403, 1));
    // Failures count in both places.
    for _ in 0..2 {
        assert_eq!(post("a.b.c".to_owned()).status(), 401);
    }
    assert_eq!(good().header("Sec-Fetch-Site", "same-origin").status(), 429);
}

#[test]
fn tokens_are_not_looked_at_where_none_are_needed() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate dry-run
            JwtGateToken optional
            JwtGateForward X-User subject
        </Location>
        <Location "/none">
            JwtGateToken none
        </Location>"#
    ));
    assert_eq!(server.get("/").send().seen().header("X-User"), None);
    await_verdict(&server, "/ 200 allow - -");
    would_be_refused(&server, &server.get("/").bearer("a.b.c"), "JG1007", "token-malformed", "-");
    assert_eq!(server.get("/none").bearer("a.b.c").status(), 200);
    await_verdict(&server, "/none 200 allow - -");
    let other = Token::new(&server.keys.es256).claim("sub", json!("bob")).sign();
    assert_eq!(server.get("/").bearer(other).send().seen().header("X-User"), Some("bob"));
}

#[test]
fn a_path_that_may_lead_from_a_dry_run_into_a_real_place_is_refused() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{VERDICTS}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>
        <Location "/trial">
            JwtGate dry-run
        </Location>"#
    ));
    would_be_refused(&server, &server.get("/trial/a"), "JG1003", "token-missing", "-");
    server.refused(&server.get("/trial/..;/a"), 400, "JG1028 path-ambiguous: refused");
    assert_eq!(server.app.count(), 1);
}
