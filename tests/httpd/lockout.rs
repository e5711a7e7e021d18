//! JwtGateLockout: an address that fails too often is refused for a while, and nobody else is.
//!
//! Where nothing is said of time, failures count for an hour, so that none is forgotten while a test runs.

use std::time::{Duration, Instant};

use crate::harness::{AtEnd, MAIN, Mpm, Request, Server, Site, await_true};

/// A token that is a failure and costs nobody the check of a signature.
const MALFORMED: &str = "a.b.c";

/// A failed try from this address.
fn fail(server: &Server, from: &str) -> Request {
    server.get("/").from(from).bearer(MALFORMED)
}

/// A request with a valid token from this address.
fn good(server: &Server, from: &str) -> Request {
    server.get("/").from(from).bearer(server.token().sign())
}

fn gated(lockout: &str) -> String {
    format!(
        r#"{MAIN}
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateLockout {lockout}
        </Location>
        "#
    )
}

#[test]
fn exactly_the_last_of_n_failures_locks_whichever_children_count_them() {
    for mpm in Mpm::ALL {
        let mut server = Site::new().mpm(mpm).children(4).start(&gated("failures=20/1h"));
        server.expect_log("JG3002");
        let fail_at_once = |count: usize, from: &str| -> Vec<u16> {
            std::thread::scope(|scope| {
                let tries: Vec<_> = (0..count).map(|_| scope.spawn(|| fail(&server, from).status())).collect();
                tries.into_iter().map(|one| one.join().unwrap()).collect()
            })
        };
        assert_eq!(fail_at_once(19, "127.0.0.1"), [401; 19], "{mpm:?}");
        assert_eq!(good(&server, "127.0.0.1").status(), 200, "{mpm:?}");
        assert_eq!(server.log.count("JG3002"), 0);
        assert_eq!(fail(&server, "127.0.0.1").status(), 401, "{mpm:?}");
        server.refused(&good(&server, "127.0.0.1"), 429, "locked-out");
        // Those that were under way when the twentieth failed are told their own failure, and one of them locks.
        let answers = fail_at_once(40, "127.0.0.2");
        assert!(answers.iter().filter(|status| **status == 401).count() >= 20, "{answers:?}");
        assert_eq!(good(&server, "127.0.0.2").status(), 429);
        assert_eq!(server.log.count("JG3002"), 2, "one line for each lock");
        assert_eq!(good(&server, "127.0.0.3").status(), 200);
        assert!(server.served_by().len() > 1, "only one child took part: {:?}", server.served_by());
    }
}

#[test]
fn a_locked_out_client_learns_when_to_come_back_and_nothing_else() {
    let mut server = Site::new().start(&format!(
        "{}<Location \"/\">\nJwtGateLimit each key=address rate=1/s burst=1000\n</Location>",
        gated("failures=1/10m block=1h")
    ));
    server.expect_log("JG3002 an address is locked out for 1 h 0 min: 1 failed try within 10 min 0 s");
    assert!(good(&server, "127.0.0.1").send().header("RateLimit").is_some());
    assert!(fail(&server, "127.0.0.1").send().header("RateLimit").is_some());
    let over_http2 = server.http2().get("/", &[("authorization", &format!("Bearer {}", server.token().sign()))]);
    for answer in [server.refused(&good(&server, "127.0.0.1"), 429, "JG1026 locked-out"), over_http2] {
        let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait), "{wait}");
        let kind = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";
        let problem = serde_json::json!({"type": kind, "title": "Too Many Requests", "status": 429});
        assert_eq!(answer.json(), problem);
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        for absent in ["RateLimit", "RateLimit-Policy", "WWW-Authenticate"] {
            assert_eq!(answer.header(absent), None, "{absent}");
        }
    }
    let lines = server.log.text();
    let told: Vec<&str> = lines.lines().filter(|line| line.contains("JG3002") || line.contains("JG1026")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|line| !line.contains(MALFORMED)), "{told:?}");
}

#[test]
fn failures_are_credentials_that_nobody_could_have_by_mistake_and_no_others() {
    let site = Site::new();
    site.write("conf/revoked.json", r#"{"revoked": [{"issuer": "main", "sub": "mallory"}]}"#);
    let mut server = site.start(&format!(
        r#"{}
        LimitRequestFieldSize 10000
        JwtGateIssuer strict https://strict.test audience=api jwks=file:keys/all.jwks claim.kind=access typ=at+jwt
        JwtGateIssuer absent https://absent.test audience=api jwks=https://127.0.0.1:1/keys timeout=100ms
        JwtGateRevocations conf/revoked.json
        <Location "/denied">
            JwtGateDeny 127.0.0.0/8
        </Location>
        <Location "/limited">
            JwtGateLimit few key=global rate=1/d
        </Location>
        <Location "/scoped">
            Require jwt-scope write
        </Location>
        <Location "/session">
            JwtGateCredentials cookie:session
        </Location>"#,
        gated("failures=2/1h")
    ));
    server.expect_log("JG3002");
    server.expect_log("JG4002");
    server.expect_log("AH01630");
    assert_eq!(server.get("/limited").bearer(server.token().sign()).status(), 200);
    let token = || server.token();
    let get = |target: &str| server.get(target);
    let bearer = |token: String| server.get("/").bearer(token);
    let strict = || token().claim("iss", "https://strict.test");
    let past = crate::harness::now() - 3600;
    let hmac = crate::harness::Signer::hmac("HS256", b"a secret that the issuer does not have");
    let cases = [
        (bearer(MALFORMED.to_owned()), 401, "token-malformed", true),
        (bearer(crate::harness::Token::new(&hmac).sign()), 401, "algorithm-refused", true),
        (bearer(token().claim("iss", "https://nobody.test").sign()), 401, "issuer-unknown", true),
        (bearer(token().forge()), 401, "signature-invalid", true),
        (get("/"), 401, "token-missing", false),
        (bearer("x".repeat(8193)), 401, "token-too-large", false),
        (bearer(String::new()), 400, "credentials-malformed", false),
        (bearer(token().sign()).bearer(token().sign()), 400, "credentials-ambiguous", false),
        (bearer(token().header("kid", "another").sign()), 401, "key-unknown", false),
        (bearer(token().claim("exp", past).sign()), 401, "token-expired", false),
        (bearer(token().claim("nbf", past + 7200).sign()), 401, "token-not-yet-valid", false),
        (bearer(token().claim("aud", "others").sign()), 401, "audience-mismatch", false),
        (bearer(strict().sign()), 401, "type-mismatch", false),
        (bearer(strict().header("typ", "at+jwt").sign()), 401, "claim-mismatch", false),
        (bearer(token().claim("sub", "mallory").sign()), 401, "token-revoked", false),
        (bearer(token().claim("iss", "https://absent.test").sign()), 503, "keys-unavailable", false),
        (get("/denied").bearer(token().sign()), 403, "address-denied", false),
        (get("/limited").bearer(token().sign()), 429, "rate-limited", false),
        (get("/scoped").bearer(token().sign()), 403, "scope-insufficient", false),
        (
            server.request("POST", "/session").header("Cookie", format!("session={}", token().sign())).body("x"),
            403,
            "csrf",
            false,
        ),
    ];
    let mut faults = Vec::new();
    for (number, (request, status, reason, counts)) in cases.into_iter().enumerate() {
        let from = format!("127.0.1.{}", number + 1);
        server.refused(&request.clone().from(&from), status, reason);
        assert_eq!(good(&server, &from).status(), 200, "{reason}");
        server.refused(&request.from(&from), status, reason);
        let after = good(&server, &from).status();
        if after != if counts { 429 } else { 200 } {
            faults.push(format!("{reason}: {after}"));
        }
    }
    server.await_log("JG4002");
    assert_eq!(faults, [""; 0]);
}

#[test]
fn one_count_is_asked_by_each_location_for_its_own_number_and_by_others_not_at_all() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        <VirtualHost 127.0.0.1:${{PORT}}>
            ServerName one.test
            ProxyPass / ${{APP}}/
            <Location "/">
                JwtGate on
            </Location>
            <Location "/strict">
                JwtGateLockout failures=3/1h
            </Location>
            <Location "/lenient">
                JwtGateLockout failures=5/1h block=2h
            </Location>
            <Location "/lenient/off">
                JwtGateLockout off
            </Location>
        </VirtualHost>
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName two.test
            ProxyPass / ${{APP}}/
            <Location "/">
                JwtGate on
                JwtGateLockout failures=3/1h
            </Location>
        </VirtualHost>"#
    ));
    server.expect_log("JG3002 an address is locked out for 1 h 0 min: 3 failed tries within");
    server.expect_log("JG3002 an address is locked out for 2 h 0 min: 5 failed tries within");
    let second = |request: Request| request.to(server.second_address());
    let failed = |target: &str| server.get(target).bearer(server.token().forge());
    // What each place says to a good token.
    let standing = || {
        let places = ["/", "/strict", "/lenient", "/lenient/off"].map(|target| server.get(target));
        let places = places.into_iter().chain([second(server.get("/"))]);
        places.map(|request| request.bearer(server.token().sign()).status()).collect::<Vec<_>>()
    };
    // Without a lock-out, nothing is counted.
    for target in ["/", "/lenient/off", "/", "/lenient/off", "/"] {
        assert_eq!(failed(target).status(), 401);
    }
    assert_eq!((failed("/lenient").status(), failed("/strict").status()), (401, 401));
    assert_eq!(standing(), [200; 5]);
    assert_eq!(failed("/lenient").status(), 401);
    assert_eq!(standing(), [200, 429, 200, 200, 429]);
    // Where it is locked, nothing more is counted, whatever comes.
    for _ in 0..5 {
        assert_eq!((failed("/strict").status(), second(failed("/")).status()), (429, 429));
    }
    assert_eq!(failed("/lenient").status(), 401);
    assert_eq!(standing(), [200, 429, 200, 200, 429]);
    assert_eq!(failed("/lenient").status(), 401);
    assert_eq!(standing(), [200, 429, 429, 200, 429]);
}

#[test]
fn the_time_in_which_failures_count_ends_with_the_last_one() {
    let within = Duration::from_secs(2);
    let mut server = Site::new().start(&gated("failures=3/2s block=1h"));
    server.expect_log("JG3002");
    let pass = |since: Instant, time: Duration| await_true("time to pass", || since.elapsed() >= time);
    // Two failures and, when they are forgotten, two more, lock nobody.
    let from = "127.0.0.1";
    assert_eq!([fail(&server, from).status(), fail(&server, from).status()], [401; 2]);
    pass(Instant::now(), within);
    assert_eq!([fail(&server, from).status(), fail(&server, from).status()], [401; 2]);
    assert_eq!(good(&server, from).status(), 200);
    // One, and two more shortly before and after it is forgotten, neither; a third does, being within two seconds of
    // the other two. A fixed window would have ended between them.
    let locked = (2..100).find(|n| {
        let from = format!("127.0.0.{n}");
        fail(&server, &from).status();
        pass(Instant::now(), within.mul_f32(0.7));
        let second = Instant::now();
        fail(&server, &from).status();
        pass(second, within.mul_f32(0.4));
        fail(&server, &from).status();
        assert_eq!(good(&server, &from).status(), 200, "the first failure is older than the time");
        fail(&server, &from).status();
        // On a machine that is too busy, again from another address.
        let in_time = second.elapsed() < within;
        let status = good(&server, &from).status();
        assert!(!in_time || status == 429, "{status}");
        in_time
    });
    assert!(locked.is_some());
}

#[test]
fn a_block_ends_and_what_is_refused_meanwhile_does_not_prolong_it() {
    let mut server = Site::new().start(&gated("failures=3/1s block=3s"));
    server.expect_log("JG3002");
    await_true("a lock", || {
        fail(&server, "127.0.0.1").status();
        good(&server, "127.0.0.1").status() == 429
    });
    // Whoever goes on all the time is let try again when the block is over, as is told from its first moment on.
    let mut last = 3;
    await_true("the end of the block", || {
        let answer = fail(&server, "127.0.0.1").send();
        if answer.status == 401 {
            return true;
        }
        let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!(answer.status == 429 && (1..=last).contains(&wait), "{} {wait} after {last}", answer.status);
        last = wait;
        false
    });
    assert_eq!(good(&server, "127.0.0.1").status(), 200);
}

#[test]
fn an_attack_locks_its_own_sources_and_bystanders_stay_served() {
    const SOURCES: u32 = 2000;
    let mut server = Site::new().load(&["remoteip"]).start(&format!(
        "{}RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\nMaxKeepAliveRequests 0\n",
        gated("failures=2/1h")
    ));
    server.expect_log("JG3002");
    let token = server.token().sign();
    let via = |client: &str| server.get("/").header("X-Forwarded-For", client);
    let good = |client: &str| via(client).bearer(&token);
    // One source.
    assert_eq!(
        [via("203.0.113.1").bearer(MALFORMED).status(), via("203.0.113.1").bearer(MALFORMED).status()],
        [401; 2]
    );
    assert_eq!(good("203.0.113.1").status(), 429);
    assert_eq!((good("203.0.113.2").status(), good("127.0.0.1").status()), (200, 200));
    // Who is not trusted locks itself and nobody whom it names.
    let liar = || good("203.0.113.7").from("127.0.0.2");
    for _ in 0..2 {
        assert_eq!(via("203.0.113.7").from("127.0.0.2").bearer(MALFORMED).status(), 401);
    }
    assert_eq!((liar().status(), good("203.0.113.7").status()), (429, 200));
    // Two thousand, and bystanders all the while.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let source = |n: u32| format!("10.0.{}.{}", n >> 8, n & 255);
    let served = std::thread::scope(|scope| {
        let bystanders = scope.spawn(|| {
            let mut served = 0;
            while !stop.load(std::sync::atomic::Ordering::Acquire) || served == 0 {
                for n in 1..=20 {
                    assert_eq!(good(&format!("198.51.100.{n}")).status(), 200);
                    served += 1;
                }
            }
            served
        });
        let end = AtEnd(&stop);
        let mut connection = server.connect();
        for first in (0..SOURCES).step_by(100) {
            let sources = || (first..first + 100).map(source);
            let rounds =
                [MALFORMED, MALFORMED, &token].map(|token| sources().map(move |from| via(&from).bearer(token)));
            for (requests, status) in rounds.into_iter().zip([401, 401, 429]) {
                connection.send(requests.flat_map(|request| request.bytes()).collect::<Vec<u8>>());
                for from in sources() {
                    assert_eq!(connection.answer().status, status, "{from}");
                }
            }
        }
        drop(end);
        bystanders.join().unwrap()
    });
    assert!(served >= 20);
    for n in [1, 2, 254] {
        assert_eq!(good(&format!("10.0.1.{n}")).status(), 429);
        assert_eq!(good(&format!("10.0.9.{n}")).status(), 200);
    }
}

#[test]
fn addresses_are_one_client_as_limits_group_them() {
    for (prefix, cases) in [
        ("", [("2001:db8:1:1::99", 429), ("2001:db8:1:2::1", 200), ("192.0.2.1", 429), ("192.0.2.2", 200)]),
        (
            "JwtGateAddressPrefix 24 48\n",
            [("2001:db8:1:2::1", 429), ("2001:db8:2:1::1", 200), ("192.0.2.99", 429), ("192.0.3.1", 200)],
        ),
    ] {
        let mut server = Site::new().load(&["remoteip"]).start(&format!(
            "{}{prefix}RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n",
            gated("failures=3/1h")
        ));
        server.expect_log("JG3002");
        let via = |client: &str| server.get("/").header("X-Forwarded-For", client);
        for client in ["2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:1:ffff::1"] {
            assert_eq!(via(client).bearer(MALFORMED).status(), 401, "{client}");
        }
        for client in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            assert_eq!(via(client).bearer(MALFORMED).status(), 401, "{client}");
        }
        for (client, status) in cases {
            assert_eq!(via(client).bearer(server.token().sign()).status(), status, "{prefix}{client}");
        }
    }
}

#[test]
fn locks_and_failures_survive_graceful_restarts_whatever_else_changes() {
    let lockout = gated("failures=3/1h");
    let limit = |n: u32| format!("<Location \"/\">\nJwtGateLimit l{n} key=address rate=1/s burst=1000\n</Location>\n");
    let mut server = Site::new().start(&lockout);
    server.expect_log("JG3002");
    for _ in 0..3 {
        fail(&server, "127.0.0.1").status();
    }
    let other = "<Location \"/other\">\nJwtGateLockout failures=9/1m count=backend\n</Location>\n";
    for (changed, from) in [
        (lockout.clone(), "127.0.0.2"),
        (lockout.clone() + &limit(1) + &limit(2), "127.0.0.3"),
        (lockout.clone() + &limit(2), "127.0.0.4"),
        (lockout.clone() + other, "127.0.0.5"),
        (lockout.clone(), "127.0.0.6"),
    ] {
        assert_eq!([fail(&server, from).status(), fail(&server, from).status()], [401; 2]);
        server.graceful_with(&changed);
        assert_eq!(good(&server, "127.0.0.1").status(), 429, "{changed}");
        assert_eq!(good(&server, from).status(), 200, "{changed}");
        assert_eq!(fail(&server, from).status(), 401);
        assert_eq!(good(&server, from).status(), 429, "{changed}");
    }
    // Memory of another size takes over what was counted in the old one.
    server.graceful_with(&format!("JwtGateSharedMemory 32M\n{lockout}"));
    assert_eq!((good(&server, "127.0.0.1").status(), good(&server, "127.0.0.9").status()), (429, 200));
}

#[test]
fn children_that_are_killed_take_no_count_along() {
    // (mod_mpm_event warns about children that are killed one after another.)
    let mut server = Site::new().mpm(Mpm::Prefork).children(3).start(&gated("failures=3/1h"));
    server.expect_log("JG3002");
    assert_eq!([fail(&server, "127.0.0.1").status(), fail(&server, "127.0.0.1").status()], [401; 2]);
    server.kill_all_children();
    assert_eq!(good(&server, "127.0.0.1").status(), 200);
    assert_eq!(fail(&server, "127.0.0.1").status(), 401);
    for pid in server.children() {
        server.kill_child(pid);
        assert_eq!(good(&server, "127.0.0.1").status(), 429);
    }
}

#[test]
fn without_room_failures_are_lost_and_nobody_is_locked_for_others() {
    // Room for fewer addresses than come here.
    let mut server = Site::new().load(&["remoteip"]).start(&format!(
        "{}JwtGateSharedMemory 64K\nRemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n\
         MaxKeepAliveRequests 0\n",
        gated("failures=3/1h")
    ));
    server.expect_log("JG3001");
    server.expect_log("JG3002");
    let via = |client: &str| server.get("/").header("X-Forwarded-For", client);
    for _ in 0..3 {
        assert_eq!(via("203.0.113.1").bearer(MALFORMED).status(), 401);
    }
    let sources = |range: std::ops::Range<u32>| range.map(|n| format!("10.{}.{}.1", n >> 8, n & 255));
    let mut connection = server.connect();
    for first in (0..6000).step_by(200) {
        let requests = sources(first..first + 200).flat_map(|from| via(&from).bearer(MALFORMED).bytes());
        connection.send(requests.collect::<Vec<u8>>());
        for _ in 0..200 {
            assert_eq!(connection.answer().status, 401);
        }
    }
    server.await_log("JG3001");
    // Each failed once; locks stay.
    assert_eq!(server.log.count("JG3002"), 1);
    for from in sources(0..6000).step_by(40) {
        assert_eq!(via(&from).bearer(server.token().sign()).status(), 200, "{from}");
    }
    assert_eq!(via("203.0.113.1").bearer(server.token().sign()).status(), 429);
}

/// Everything that an application answers, and what answers in its place.
const BACKEND: &str = r#"
    ProxyPass /app ${APP}/app
    ScriptAlias /cgi "${ROOT}/cgi/login"
    <Directory "${ROOT}/html">
        Options +Includes
        AddOutputFilter INCLUDES .shtml
    </Directory>
    <Directory "${ROOT}/html/rewritten">
        RewriteEngine on
        RewriteRule "^" "/app/login?answer=401"
    </Directory>
    <Location "/">
        JwtGate on
        JwtGateToken none
        JwtGateLockout failures=3/1h count=backend
    </Location>
    <Location "/open">
        JwtGate off
    </Location>
    <Location "/uncounted">
        JwtGateLockout failures=3/1h
    </Location>
    <LocationMatch "^/app/(page|open|uncounted|text|absent)$">
        ProxyErrorOverride On
    </LocationMatch>
    <LocationMatch "/(page|page-[a-z]+)$">
        ErrorDocument 401 /page.html
        ErrorDocument 403 /page.html
    </LocationMatch>
    <Location "/app/open">
        ErrorDocument 401 /open/page.html
    </Location>
    <Location "/app/uncounted">
        ErrorDocument 401 /uncounted/page.html
    </Location>
    <Location "/app/absent">
        ErrorDocument 401 /absent.html
    </Location>
    <Location "/app/text">
        ErrorDocument 401 "no"
    </Location>
    <Location "/app/not-counted">
        JwtGateLockout failures=3/1h
    </Location>
    <LocationMatch "/(required|page-required)$">
        Require ip 192.0.2.1
    </LocationMatch>
    <LocationMatch "/(claim|page-claim)$">
        Require jwt-scope write
    </LocationMatch>
    <LocationMatch "/(token|page-token)$">
        JwtGateToken required
    </LocationMatch>
"#;

fn backend() -> Server {
    let site = Site::new().load(&["include", "cgi"]);
    for page in ["page.html", "open/page.html", "uncounted/page.html", "rewritten/other"] {
        site.write(&format!("html/{page}"), "page");
    }
    site.write("html/part.shtml", "[<!--#include virtual=\"/app/part?answer=401\" -->]");
    site.write(
        "cgi/login",
        "#!/bin/sh\ncat >/dev/null\nprintf 'Status: 401 Wrong\\r\\nContent-Type: text/plain\\r\\n\\r\\nwrong'\n",
    );
    site.chmod("cgi/login", 0o755);
    let mut server = site.start(&format!("{MAIN}{BACKEND}"));
    server.expect_log("JG3002");
    server
}

/// Sends a request three times from an address of its own, and gives the status of the answers and, after the second
/// and after the third, that of one which is good.
fn after_three(server: &Server, request: &Request, number: usize) -> ([u16; 3], [u16; 2]) {
    let from = format!("127.0.2.{}", number + 1);
    let (request, good) = (request.clone().from(&from), server.get("/app/fine").from(&from));
    let (first, second, between) = (request.status(), request.status(), good.status());
    ([first, second, request.status()], [between, good.status()])
}

#[test]
fn the_applications_own_401_and_403_count_where_that_is_said_and_nothing_else_does() {
    let mut server = backend();
    server.expect_log("AH01630");
    let form = |target: &str| {
        let request = server.request("POST", target).header("Content-Type", "application/x-www-form-urlencoded");
        request.body("user=alice&password=guess")
    };
    let get = |target: &str| server.get(target);
    let mut faults = Vec::new();
    for (number, (request, status, counts)) in [
        (form("/app/login?answer=401"), 401, true),
        (form("/app/login?answer=403"), 403, true),
        (get("/app/login?answer=401"), 401, true),
        (server.request("HEAD", "/app/login?answer=401"), 401, true),
        (form("/app/login?answer=200"), 200, false),
        (form("/app/login?answer=404"), 404, false),
        (form("/app/login?answer=400"), 400, false),
        (form("/app/login?answer=500"), 500, false),
        (form("/app/not-counted?answer=401"), 401, false),
        // error pages in the place of what the application said
        (form("/app/page?answer=401"), 401, true),
        (form("/app/page?answer=403"), 403, true),
        (form("/app/page?answer=404"), 404, false),
        (form("/app/open?answer=401"), 401, true),
        (form("/app/open?answer=403"), 403, true),
        (form("/app/uncounted?answer=401"), 401, true),
        (form("/app/absent?answer=401"), 401, true),
        (form("/app/text?answer=401"), 401, true),
        // other applications than one behind mod_proxy, and ways to it
        (form("/cgi"), 401, true),
        (get("/rewritten/form"), 401, true),
        (get("/part.shtml"), 200, false),
        // not the application's
        (form("/app/required?answer=401"), 403, false),
        (form("/app/page-required?answer=401"), 403, false),
        (form("/app/claim?answer=401"), 403, false),
        (form("/app/page-claim?answer=401"), 403, false),
        (form("/app/token?answer=401"), 401, false),
        (form("/app/page-token?answer=401"), 401, false),
        (form("/app/page-token?answer=401").bearer(server.token().sign()), 401, true),
        // a failure of the gate is one failure
        (form("/app/token").bearer(MALFORMED), 401, true),
        (form("/app/page-token").bearer(MALFORMED), 401, true),
    ]
    .into_iter()
    .enumerate()
    {
        let expected = ([status; 3], [200, if counts { 429 } else { 200 }]);
        let found = after_three(&server, &request, number);
        if found != expected {
            let said = String::from_utf8_lossy(&request.bytes()).into_owned();
            faults.push(format!("{}: {found:?}", said.lines().next().unwrap()));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn answers_over_http2_count_alike() {
    let server = backend();
    let mut http2 = server.http2();
    let mut status = |target: &str| http2.get(target, &[]).status;
    assert_eq!(
        [status("/app/page?answer=401"), status("/app/x?answer=404"), status("/app/x?answer=403")],
        [401, 404, 403]
    );
    assert_eq!(status("/app/fine"), 200);
    assert_eq!(status("/app/x?answer=401"), 401);
    assert_eq!((status("/app/fine"), server.get("/app/fine").status()), (429, 429));
}

#[test]
fn what_an_application_answers_at_once_is_counted_once_each_by_all_children() {
    for mpm in Mpm::ALL {
        let mut server = Site::new().mpm(mpm).children(3).start(
            r#"ProxyPass / ${APP}/
            <Location "/">
                JwtGate on
                JwtGateToken none
                JwtGateLockout failures=20/1h count=backend
            </Location>"#,
        );
        server.expect_log("JG3002");
        let login = || server.request("POST", "/login?answer=401").body("password=guess").status();
        let all = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..19).map(|_| scope.spawn(login)).collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!((all, server.get("/").status()), (vec![401; 19], 200), "{mpm:?}");
        assert_eq!((login(), login(), server.get("/").status()), (401, 429, 429), "{mpm:?}");
        assert_eq!((server.app.count(), server.log.count("JG3002")), (21, 1));
    }
}

#[test]
fn one_client_request_fails_once_whatever_it_causes_inside() {
    let mut server = Site::new().load(&["autoindex"]).start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            Options +Indexes
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLockout failures=3/1h
        </Location>
        <LocationMatch "^/folder/file">
            JwtGateToken required
        </LocationMatch>"#
    ));
    server.expect_log("JG3002");
    for n in 0..9 {
        server.write(&format!("html/folder/file-{n}"), "");
    }
    let list = || server.get("/folder/").bearer(MALFORMED).status();
    assert_eq!(([list(), list()], server.get("/index.html").status()), ([200; 2], 200));
    // httpd asked for each of the files.
    assert_eq!(server.log.count("token-malformed"), 18);
    assert_eq!((list(), server.get("/index.html").status()), (200, 429));
}
