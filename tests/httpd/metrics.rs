//! `SetHandler jwt-gate-metrics`: what monitoring is told is what has happened, whatever became of the processes.

use std::time::Duration;

use serde_json::json;

use crate::harness::metrics::{METRICS, Metrics};
use crate::harness::provider::Endpoint;
use crate::harness::{MAIN, Mpm, Provider, Server, Signer, Site, await_true};

/// Rates are one a day, so that nothing is refilled while a test runs.
const GATED: &str = r#"
    ProxyPass /metrics !
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateLimit by-user key=subject rate=1/d burst=40
        JwtGateLimit all key=global rate=1/d burst=1000
        JwtGateLimit tried key=subject rate=1/d burst=30 dry-run
    </Location>
    <Location "/closed">
        JwtGateDeny 127.0.0.0/8
    </Location>
    <Location "/admin">
        Require jwt-scope admin
    </Location>
    <Location "/trial">
        JwtGate dry-run
    </Location>
"#;

fn start(site: Site, more: &str) -> Server {
    site.start(&format!("{MAIN}{GATED}{METRICS}{more}"))
}

fn limit(metrics: &Metrics, name: &str) -> [f64; 3] {
    let count = |outcome| metrics.value("jwt_gate_limit_total", &[("limit", name), ("outcome", outcome)]);
    ["allow", "deny", "would-deny"].map(count)
}

#[test]
fn every_client_request_is_counted_once_over_all_children() {
    let mut server = start(Site::new().children(3), "");
    server.expect_log("AH01630");
    let valid = |subject: &str| server.token().claim("sub", subject).sign();
    std::thread::scope(|scope| {
        for subject in ["a", "b", "c", "d", "e"] {
            let (server, token) = (&server, valid(subject));
            scope.spawn(move || {
                for at in 0..50 {
                    let status = server.get("/x").bearer(&token).status();
                    assert_eq!(status, if at < 40 { 200 } else { 429 });
                }
                for _ in 0..10 {
                    assert_eq!(server.get("/x").status(), 401);
                    assert_eq!(server.get("/closed/x").bearer(&token).status(), 403);
                    assert_eq!(server.get("/trial").status(), 200);
                }
            });
        }
    });
    let admin = server.token().claim("sub", "f").sign();
    assert_eq!(server.get("/admin").bearer(&admin).status(), 403);
    assert_eq!(server.get("/x").bearer(server.token().claim("sub", "g").forge()).status(), 401);
    assert_eq!(server.get("/x?answer=500").bearer(&admin).status(), 500);

    let metrics = Metrics::await_decisions(&server, 5 * 80 + 3);
    for (verdict, reason, count) in [
        // 30 of each user's 40 are within the limit that is tried out, which has a bucket of its own.
        ("allow", "none", 5 * 30 + 1),
        ("would-deny", "rate-limited", 5 * 10),
        ("deny", "rate-limited", 5 * 10),
        ("deny", "token-missing", 5 * 10),
        ("deny", "address-denied", 5 * 10),
        ("would-deny", "token-missing", 5 * 10),
        ("deny", "scope-insufficient", 1),
        ("deny", "signature-invalid", 1),
        ("deny", "internal", 0),
    ] {
        assert_eq!(metrics.decisions(verdict, reason), f64::from(count), "{verdict} {reason}");
    }
    // Over the limit a request is refused before the trial is asked.
    assert_eq!(limit(&metrics, "by-user"), [202.0, 50.0, 0.0]);
    assert_eq!(limit(&metrics, "tried"), [152.0, 0.0, 50.0]);
    // Before the token is looked at, and charged whatever comes of it: the forged and the missing ones, too. A dry run
    // has buckets of its own and the same name.
    assert_eq!(limit(&metrics, "all"), [f64::from(5 * 70 + 3), 0.0, 0.0]);
    for (class, count) in [("1xx", 0), ("2xx", 5 * 50), ("3xx", 0), ("4xx", 5 * 30 + 2), ("5xx", 1)] {
        assert_eq!(metrics.value("jwt_gate_responses_total", &[("class", class)]), f64::from(count), "{class}");
    }
    for histogram in ["jwt_gate_decision_seconds", "jwt_gate_request_seconds"] {
        assert_eq!(metrics.value(&format!("{histogram}_count"), &[]), f64::from(5 * 80 + 3));
        assert!(metrics.value(&format!("{histogram}_sum"), &[]) > 0.0);
    }
    let lookups = |outcome| metrics.value("jwt_gate_token_cache_total", &[("outcome", outcome)]);
    // Each child knows a token after it has seen it once.
    assert_eq!(lookups("hit") + lookups("miss"), f64::from(5 * 50 + 3));
    assert!((8.0..=8.0 + 2.0 * 5.0 + 1.0).contains(&lookups("miss")), "{}", lookups("miss"));
    let slots = |state| metrics.value("jwt_gate_limit_slots", &[("state", state)]);
    assert!(slots("used") >= 12.0 && slots("free") > 1000.0, "{} {}", slots("used"), slots("free"));
}

#[test]
fn the_decision_that_led_to_the_answer_is_counted() {
    let site = Site::new().load(&["include"]);
    let mut server = site.start(&format!(
        r#"{MAIN}
        ProxyPass /app ${{APP}}/app
        DirectoryIndex first.html second.html
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            ErrorDocument 401 /sorry.html
            ErrorDocument 404 /missing.html
        </Location>
        <Location "/folder/second.html">
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location "/part.html">
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location "/missing.html">
            JwtGate off
        </Location>
        <Location "/other">
            ErrorDocument 404 /part.html
        </Location>
        <Location "/open">
            JwtGate off
        </Location>
        <Location "/strange">
            JwtGateCors https://a.example
        </Location>
        RewriteEngine on
        RewriteRule "^/internal$" "/app/rewritten" [PT]
        RewriteRule "^/open/in$" "/app/in" [PT]
        {METRICS}"#
    ));
    server.expect_log("part.html");
    for page in ["second.html", "missing.html", "sorry.html", "part.html", "folder/second.html", "open/page"] {
        server.write(&format!("html/{page}"), page);
    }
    server.write("html/all.shtml", "<!--#include virtual=\"/part.html\" --><!--#include virtual=\"/part.html\" -->");
    let token = server.token().sign();
    let mut count = 0;
    for (target, status, verdict, reason) in [
        ("/app/plain", 200, "allow", "none"),
        ("/", 200, "allow", "none"),
        // What the application says is no refusal.
        ("/app/x?answer=401", 401, "allow", "none"),
        ("/app/x?answer=403", 403, "allow", "none"),
        ("/nothing", 404, "allow", "none"),
        // What is refused is the page for it, and so httpd answers with its own.
        ("/other/nothing", 404, "allow", "none"),
        ("/internal", 200, "allow", "none"),
        ("/open/in", 200, "allow", "none"),
        // The page itself is let in, and a part of it is not.
        ("/all.shtml", 200, "allow", "none"),
        // The index of the folder is refused.
        ("/folder/", 403, "deny", "address-denied"),
        ("/app/%252e%252e/x", 400, "deny", "path-ambiguous"),
        // Nothing is decided.
        ("/open/page", 200, "", ""),
        ("/open/nothing", 404, "", ""),
    ] {
        let before = Metrics::await_decisions(&server, count);
        assert_eq!(server.get(target).bearer(&token).status(), status, "{target}");
        if verdict.is_empty() {
            continue;
        }
        count += 1;
        let after = Metrics::await_decisions(&server, count);
        assert_eq!(after.decisions(verdict, reason), before.decisions(verdict, reason) + 1.0, "{target}");
        let class = format!("{}xx", status / 100);
        let answers = |metrics: &Metrics| metrics.value("jwt_gate_responses_total", &[("class", &class)]);
        assert_eq!(answers(&after), answers(&before) + 1.0, "{target}");
    }
    // The page for a refusal is no decision of its own.
    let answer = server.get("/app/x").send();
    assert_eq!((answer.status, answer.text().as_str()), (401, "sorry.html"));
    assert_eq!(Metrics::await_decisions(&server, count + 1).decisions("deny", "token-missing"), 1.0);
    let preflight = server.request("OPTIONS", "/strange").header("Origin", "https://a.example");
    assert_eq!(preflight.header("Access-Control-Request-Method", "PUT").status(), 204);
    Metrics::await_decisions(&server, count + 2);
}

#[test]
fn nothing_is_lost_with_the_processes_that_counted_it() {
    for mpm in Mpm::ALL {
        // Room for those that have not quite ended yet.
        let room = if mpm.has_threads() { "ServerLimit 8\n" } else { "" };
        let mut server = start(Site::new().mpm(mpm), &format!("{room}MaxConnectionsPerChild 10\n"));
        let token = server.token().sign();
        let asked = server.get("/closed").bearer(&token);
        let first = server.children();
        for _ in 0..60 {
            assert_eq!(asked.status(), 403);
        }
        Metrics::await_decisions(&server, 60);
        await_true("other children", || {
            // One of the first may have had few of those requests.
            server.get("/metrics").send();
            !server.children().iter().any(|pid| first.contains(pid))
        });
        for killed in 1..=2 {
            server.kill_all_children();
            assert_eq!(asked.status(), 403);
            Metrics::await_decisions(&server, 60 + killed);
        }
        let metrics = Metrics::of(&server);
        assert_eq!(metrics.decisions("deny", "address-denied"), 62.0, "{mpm:?}");
        assert_eq!(metrics.value("jwt_gate_decision_seconds_count", &[]), 62.0);
    }
}

#[test]
fn counts_go_on_over_graceful_restarts_with_other_limits() {
    let gated = |limits: &str| format!("{MAIN}<Location />\nJwtGate on\n{limits}</Location>\n{METRICS}");
    let limit_named = |name: &str| format!("JwtGateLimit {name} key=global rate=1/d burst=10\n");
    let (one, two) = (limit_named("one"), limit_named("two"));
    let mut server = Site::new().start(&gated(&one));
    let request = server.get("/").bearer(server.token().sign());
    let mut all = 0;
    let mut ask = |server: &Server, times: u32| {
        for _ in 0..times {
            request.status();
        }
        all += times;
        Metrics::await_decisions(server, all)
    };
    assert_eq!(limit(&ask(&server, 3), "one"), [3.0, 0.0, 0.0]);
    server.graceful_with(&gated(&[one.as_str(), &two].concat()));
    let metrics = ask(&server, 9);
    assert_eq!((limit(&metrics, "one"), limit(&metrics, "two")), ([10.0, 2.0, 0.0], [7.0, 0.0, 0.0]));
    server.graceful_with(&gated(&two));
    let metrics = ask(&server, 2);
    assert_eq!(limit(&metrics, "two"), [9.0, 0.0, 0.0]);
    // One that is gone is not told, and its numbers go on when it is back.
    assert_eq!(metrics.find("jwt_gate_limit_total", &[("limit", "one"), ("outcome", "allow")]), None);
    server.graceful_with(&gated(&one));
    assert_eq!(limit(&ask(&server, 1), "one"), [10.0, 3.0, 0.0]);
    // A start from nothing begins anew.
    server.stop();
    server.start_again();
    assert_eq!(Metrics::of(&server).sum("jwt_gate_decisions_total"), 0.0);
}

#[test]
fn fetches_and_ages_of_keys_and_networks_are_told() {
    let provider = Provider::http();
    let signer = Signer::ec("ES256", "k1");
    provider.publish(&[&signer]);
    let site = Site::new();
    site.write("networks/office", "10.0.0.0/8\n");
    let mut server = site.start(&format!(
        "JwtGateIssuer idp {} audience=api jwks={} refresh=10s\nJwtGateIssuer lost https://lost.test audience=api jwks={}\n\
         JwtGateNetwork office file=networks/office\n{MAIN}<Location />\nJwtGate on\nJwtGateIssuers idp main\n</Location>\n{METRICS}",
        provider.issuer(),
        provider.keys_url(),
        provider.url(Endpoint::Elsewhere),
    ));
    server.expect_log("JG2201");
    server.expect_log("JG4002");
    let fetches = |metrics: &Metrics, issuer, outcome| {
        metrics.value("jwt_gate_key_fetches_total", &[("issuer", issuer), ("outcome", outcome)])
    };
    await_true("a fetch that fails", || fetches(&Metrics::of(&server), "lost", "failed") >= 1.0);
    await_true("a fetch that brings keys", || fetches(&Metrics::of(&server), "idp", "ok") >= 1.0);
    let metrics = Metrics::of(&server);
    assert_eq!((fetches(&metrics, "lost", "ok"), fetches(&metrics, "idp", "failed")), (0.0, 0.0));
    let age = |issuer| metrics.find("jwt_gate_keys_age_seconds", &[("issuer", issuer)]);
    let limit = Duration::from_secs(60).as_secs_f64();
    assert!(age("idp").is_some_and(|age| age < limit), "{:?}", age("idp"));
    assert_eq!(age("lost"), Some(f64::INFINITY));
    assert_eq!(age("main"), None, "files have no age: they are read when they change");
    assert!(metrics.value("jwt_gate_network_age_seconds", &[("network", "office")]) < limit);
}

#[test]
fn lockouts_are_counted() {
    let mut server = start(
        Site::new(),
        "<Location \"/login\">\nJwtGateLockout failures=2/1h count=backend\nJwtGateToken optional\n</Location>\n",
    );
    server.expect_log("JG3002");
    let lockouts = || Metrics::of(&server).value("jwt_gate_lockouts_total", &[]);
    assert_eq!(lockouts(), 0.0);
    for _ in 0..2 {
        assert_eq!(server.get("/login").bearer(server.token().forge()).status(), 401);
    }
    assert_eq!(lockouts(), 1.0);
    for _ in 0..2 {
        assert_eq!(server.get("/login?answer=403").from("127.0.0.2").status(), 403);
    }
    await_true("the second", || lockouts() == 2.0);
    assert_eq!(server.get("/login").status(), 429);
    assert_eq!(lockouts(), 2.0);
}

#[test]
fn only_reading_is_allowed_and_nobody_keeps_it() {
    let server = start(Site::new(), "");
    let head = server.request("HEAD", "/metrics").send();
    assert_eq!((head.status, head.header("Cache-Control"), head.body.len()), (200, Some("no-store"), 0));
    assert_eq!(server.get("/metrics").send().header("Cache-Control"), Some("no-store"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = server.request(method, "/metrics").body("x").send();
        assert_eq!(answer.status, 405, "{method}");
        assert!(!answer.text().contains("jwt_gate_"), "{method}");
    }
}

#[test]
fn who_may_not_see_it_does_not() {
    let mut server = Site::new().start(&format!(
        "{MAIN}<Location />\nJwtGate on\n</Location>\n<Location /metrics>\nSetHandler jwt-gate-metrics\n</Location>\n\
         <Location /local>\nJwtGate off\nSetHandler jwt-gate-metrics\nRequire ip 127.0.0.2\n</Location>\n"
    ));
    server.expect_log("AH01630");
    server.expect_log("JG2110 the handler jwt-gate-metrics tells everybody with a token");
    server.refused(&server.get("/metrics"), 401, "token-missing");
    assert_eq!(server.get("/metrics").bearer(server.token().sign()).status(), 200);
    assert_eq!(server.get("/local").status(), 403);
    assert_eq!(server.get("/local").from("127.0.0.2").status(), 200);
}

#[test]
fn files_that_change_are_counted_by_what_became_of_them() {
    let site = Site::new();
    site.write("conf/revoked.json", "{\"revoked\":[]}");
    site.write("conf/denied.txt", "192.0.2.0/24\n");
    let mut server = site.start(&format!(
        "{MAIN}JwtGateRevocations conf/revoked.json\nJwtGateNetwork bad file=conf/denied.txt\n\
         <Location />\nJwtGate on\nJwtGateDeny @bad\n</Location>\n{METRICS}"
    ));
    let reads = |server: &Server, kind, outcome| {
        Metrics::of(server).value("jwt_gate_file_reads_total", &[("kind", kind), ("outcome", outcome)])
    };
    for kind in ["keys", "api-keys", "networks", "revocations"] {
        assert_eq!((reads(&server, kind, "ok"), reads(&server, kind, "failed")), (0.0, 0.0), "{kind}");
    }
    server.write("conf/revoked.json", "{\"revoked\":[{}]}");
    server.expect_log("JG4007 JwtGateRevocations");
    await_true("a file that cannot be used", || reads(&server, "revocations", "failed") >= 1.0);
    server.write("conf/denied.txt", "198.51.100.0/24\n");
    await_true("a file that can", || reads(&server, "networks", "ok") >= 1.0);
    assert_eq!(reads(&server, "networks", "failed"), 0.0);
    server.write("conf/revoked.json", "{\"revoked\":[{\"issuer\":\"main\",\"jti\":\"one\"}]}");
    await_true("a file that was mended", || reads(&server, "revocations", "ok") >= 1.0);
}

#[test]
fn an_open_page_is_warned_about() {
    let open = "<Location /metrics>\nSetHandler jwt-gate-metrics\n</Location>\n";
    let check = Site::new().configtest(open);
    assert!(check.passed && check.output.contains("JG2110"), "{}", check.output);
    for other in ["jwt-gate-explain", "jwt-gate-status"] {
        let check = Site::new().configtest(&open.replace("jwt-gate-metrics", other));
        assert!(
            check.passed && check.output.contains(&format!("JG2110 the handler {other} tells")),
            "{}",
            check.output
        );
    }
    let check = Site::new().configtest(METRICS);
    assert!(check.passed && !check.output.contains("JG2110"), "{}", check.output);
    let mut server = Site::new().start(open);
    server.expect_log("JG2110");
    assert_eq!(server.get("/metrics").status(), 200);
}

#[test]
fn a_request_that_is_only_described_is_not_counted() {
    let server = start(
        Site::new(),
        "<Location /explain>\nJwtGate off\nSetHandler jwt-gate-explain\nRequire local\n</Location>\n",
    );
    let authorization = format!("Bearer {}", server.token().sign());
    let described = json!({"method": "GET", "path": "/x", "address": "127.0.0.1", "peer": "127.0.0.1", "headers": [["Authorization", authorization]]});
    let request = server.request("POST", "/explain").header("Content-Type", "application/json");
    let answer = request.body(described.to_string()).send();
    assert_eq!((answer.status, &answer.json()["verdict"]), (200, &json!("allow")), "{}", answer.text());
    // Requests are logged one after another: this one behind that.
    assert_eq!(server.get("/closed").status(), 403);
    let metrics = Metrics::await_decisions(&server, 1);
    assert_eq!(limit(&metrics, "all"), [0.0; 3]);
    assert_eq!(metrics.sum("jwt_gate_token_cache_total"), 0.0);
}
