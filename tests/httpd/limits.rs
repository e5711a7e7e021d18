//! Limits: exactly as many requests as there may be, whoever counts them and whatever happens meanwhile.
//!
//! Rates are one a day, so that nothing is refilled while a test runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::metrics::{METRICS, Metrics};
use crate::harness::{GATED, MAIN, Mpm, Request, Server, Site};

/// Sends `each` requests from each of `clients` threads, made by `request` from the number of the client; gives how many
/// were answered 200 and 429.
fn hammer(clients: usize, each: usize, request: impl Fn(usize) -> Request + Sync) -> (usize, usize) {
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (request, admitted, refused) = (&request, &admitted, &refused);
            scope.spawn(move || {
                for _ in 0..each {
                    let counter = match request(client).status() {
                        200 => admitted,
                        429 => refused,
                        other => panic!("status {other}"),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (admitted.into_inner(), refused.into_inner())
}

#[test]
fn exactly_the_burst_is_admitted_by_all_children_together() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).children(4).start(
            r#"ProxyPass / ${APP}/
            <Location "/">
                JwtGate on
                JwtGateToken none
                JwtGateLimit all key=global rate=1/d burst=60
            </Location>"#,
        );
        assert_eq!(hammer(8, 20, |_| server.get("/")), (60, 100), "{mpm:?}");
        assert_eq!(server.app.count(), 60);
        let served = server.served_by();
        assert!(served.len() > 1, "only one child took part: {served:?}");
    }
}

#[test]
fn streams_of_one_http2_connection_are_counted_each() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLimit all key=global rate=1/d burst=7
        </Location>"#,
    );
    let requests: Vec<_> = (0..20).map(|n| (format!("/{n}"), Vec::new())).collect();
    let answers = server.http2().get_all(&requests);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 7);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 13);
}

/// How many of `count` equal requests come in.
fn admitted(request: &Request, count: usize) -> usize {
    (0..count).filter(|_| request.status() == 200).count()
}

#[test]
fn every_key_has_its_own_buckets() {
    let limits = [
        ("global", "global"),
        ("address", "address"),
        ("peer", "peer"),
        ("subject", "subject"),
        ("client", "client"),
        ("issuer", "issuer"),
        ("claim", "claim:team"),
        ("combined", "subject+address"),
    ];
    let limits = limits.map(|(name, key)| {
        format!("<Location \"/{name}\">\nJwtGateLimit l-{name} key={key} rate=1/d burst=2\n</Location>\n")
    });
    let server = Site::new().start(&format!(
        "{MAIN}{GATED}JwtGateAddressPrefix 24 64\n\
         JwtGateIssuer second https://second.test audience=api jwks=file:keys/all.jwks\n{}",
        limits.concat()
    ));
    let second = || server.token().claim("iss", "https://second.test");
    let get = |key: &str, from: &str, token: String| server.get(&format!("/{key}")).from(from).bearer(token);
    // Each line: what is asked for three times, and how many of these come in.
    let (near, far) = ("127.0.0.1", "127.0.5.1");
    let alice = || server.token().sign();
    let bob = || server.token().claim("sub", "bob").sign();
    let mut faults = Vec::new();
    for (key, from, token, expected) in [
        ("global", near, alice(), 2),
        ("global", far, bob(), 0),
        ("address", near, alice(), 2),
        ("address", "127.0.0.200", bob(), 0),
        ("address", far, alice(), 2),
        ("peer", near, alice(), 2),
        ("peer", "127.0.0.200", bob(), 2),
        ("peer", "127.0.0.200", alice(), 0),
        ("subject", near, alice(), 2),
        ("subject", far, alice(), 0),
        ("subject", near, bob(), 2),
        ("subject", near, second().sign(), 2),
        ("client", near, server.token().claim("azp", "web").sign(), 2),
        ("client", near, server.token().claim("azp", "app").claim("client_id", "web").sign(), 2),
        ("client", near, server.token().claim("client_id", "web").sign(), 0),
        ("client", near, alice(), 2),
        ("client", near, bob(), 0),
        ("issuer", near, alice(), 2),
        ("issuer", far, bob(), 0),
        ("issuer", near, second().sign(), 2),
        ("claim", near, server.token().claim("team", "red").sign(), 2),
        ("claim", near, server.token().claim("team", "red").claim("sub", "bob").sign(), 0),
        ("claim", near, server.token().claim("team", "blue").sign(), 2),
        // those without the claim share one bucket
        ("claim", near, alice(), 2),
        ("claim", near, bob(), 0),
        ("combined", near, alice(), 2),
        ("combined", far, alice(), 2),
        ("combined", near, bob(), 2),
        ("combined", near, alice(), 0),
    ] {
        let admitted = admitted(&get(key, from, token), 3);
        if admitted != expected {
            faults.push(format!("{key} from {from}: {admitted}, not {expected}"));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn limits_that_need_an_identity_pass_the_anonymous() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateToken optional
            JwtGateLimit per-user key=subject rate=1/d burst=1
        </Location>"#
    ));
    assert_eq!(admitted(&server.get("/"), 5), 5);
    assert_eq!(admitted(&server.get("/").bearer(server.token().sign()), 5), 1);
}

#[test]
fn of_several_limits_all_are_charged_or_none() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLimit wide key=global rate=1/d burst=10
        </Location>
        <Location "/narrow">
            JwtGateLimit narrow key=global rate=1/d burst=3
        </Location>"#,
    );
    assert_eq!(admitted(&server.get("/narrow"), 20), 3);
    let answer = server.get("/").send();
    assert!(answer.header("RateLimit").unwrap().starts_with(r#""wide";r=6;"#), "{answer:?}");
    assert_eq!(admitted(&server.get("/"), 20), 6);
}

#[test]
fn answers_name_every_limit_that_applied() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateLimit by-address key=address rate=2/m burst=5
            JwtGateLimit by-user key=subject rate=1/h
        </Location>
        <Location "/only">
            JwtGateLimit none
            JwtGateLimit only key=global rate=10/s
        </Location>
        <Location "/silent">
            JwtGateLimitHeaders off
        </Location>"#
    ));
    let get = |target: &str| server.get(target).bearer(server.token().sign()).send();
    let answer = get("/");
    assert_eq!(answer.header("RateLimit-Policy"), Some(r#""by-address";q=5;w=150, "by-user";q=1;w=3600"#));
    assert_eq!(answer.header("RateLimit"), Some(r#""by-address";r=4;t=30, "by-user";r=0;t=3600"#));
    assert_eq!(get("/only").header("RateLimit-Policy"), Some(r#""only";q=10;w=1"#));
    let refused = get("/silent");
    assert_eq!((refused.status, refused.header("RateLimit"), refused.header("RateLimit-Policy")), (429, None, None));
    assert!(refused.header("Retry-After").is_some());
}

#[test]
fn what_is_refused_before_verification_stays_charged() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateLimit by-address key=address rate=1/d burst=5
            JwtGateLimit by-user key=subject rate=1/d burst=5
        </Location>"#
    ));
    for _ in 0..4 {
        server.refused(&server.get("/").bearer(server.token().forge()), 401, "signature-invalid");
    }
    let valid = server.get("/").bearer(server.token().sign());
    let answer = valid.send();
    let left = answer.header("RateLimit").unwrap();
    assert!(left.contains(r#""by-address";r=0;"#) && left.contains(r#""by-user";r=4;"#), "{left}");
    server.refused(&valid, 429, "rate-limited");
}

const ONE_LIMIT: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateToken none
        JwtGateLimit all key=global rate=1/d burst=40
        JwtGateLimit each key=address rate=1/d burst=12
    </Location>
"#;

#[test]
fn counts_survive_graceful_restarts() {
    let mut server = Site::new().start(ONE_LIMIT);
    let get = |server: &Server, from: &str| admitted(&server.get("/").from(from), 6);
    assert_eq!((get(&server, "127.0.0.1"), get(&server, "127.0.0.2")), (6, 6));
    server.graceful();
    assert_eq!((get(&server, "127.0.0.1"), get(&server, "127.0.0.1")), (6, 0));
    server.graceful();
    assert_eq!((get(&server, "127.0.0.1"), get(&server, "127.0.0.2")), (0, 6));
    assert_eq!(server.app.count(), 24);
}

#[test]
fn counts_survive_children_that_are_killed_in_between() {
    let mut server = Site::new().children(3).start(ONE_LIMIT);
    let mut total = 0;
    for _ in 0..3 {
        let address = server.address();
        let request = Request::new(address, "GET", "/");
        // While the child dies, requests go on; those it was about to answer get no answer.
        let running = std::thread::spawn(move || {
            (0..30)
                .filter(|n| {
                    let request = request.clone().from(&format!("127.0.0.{}", n % 5 + 1));
                    request.try_send().is_ok_and(|answer| answer.status == 200)
                })
                .count()
        });
        let child = server.children()[0];
        server.kill_child(child);
        total += running.join().unwrap();
    }
    total += (0..30).map(|n| admitted(&server.get("/").from(&format!("127.0.0.{}", n % 5 + 1)), 1)).sum::<usize>();
    // A request that was charged and whose answer died with its child is lost to the client, never given twice.
    assert!(total <= 40, "{total}");
    assert!(total >= 40 - 3 * 8, "{total}");
    assert!(server.app.count() <= 40);
    assert_eq!(server.get("/").from("127.0.0.9").status(), 429);
}

#[test]
fn a_limit_of_other_numbers_begins_anew_after_a_restart() {
    let mut server = Site::new().start(ONE_LIMIT);
    assert_eq!(admitted(&server.get("/"), 15), 12);
    server.graceful_with(&ONE_LIMIT.replace("burst=12", "burst=20"));
    let more = admitted(&server.get("/"), 25);
    assert!((1..=20).contains(&more), "{more}");
}

#[test]
fn exempt_networks_are_not_counted() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        JwtGateNetwork office 127.0.7.0/24
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLimit all key=global rate=1/d burst=3 exempt=@office
        </Location>"#,
    );
    assert_eq!(admitted(&server.get("/").from("127.0.7.7"), 10), 10);
    assert_eq!(admitted(&server.get("/"), 10), 3);
    assert_eq!(admitted(&server.get("/").from("127.0.7.7"), 10), 10);
}

#[test]
fn one_name_in_two_places_is_one_bucket() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <Location "/a">
            JwtGateLimit shared key=address rate=1/d burst=4
        </Location>
        <Location "/b">
            JwtGateLimit shared key=address rate=1/d burst=4
        </Location>"#,
    );
    assert_eq!((admitted(&server.get("/a"), 3), admitted(&server.get("/b"), 3)), (3, 1));
}

#[test]
fn children_that_come_and_go_share_the_counts() {
    let server = Site::new().mpm(Mpm::Prefork).children(2).start(&format!("MaxConnectionsPerChild 3\n{ONE_LIMIT}"));
    assert_eq!(admitted(&server.get("/"), 20), 12);
    assert!(server.served_by().len() > 3, "{:?}", server.served_by());
}

#[test]
fn a_flood_of_addresses_does_not_give_a_used_up_one_new_requests() {
    // 64K are room for fewer addresses than come here.
    let mut server = Site::new().load(&["remoteip"]).children(1).start(&format!(
        r#"MaxKeepAliveRequests 0
        RemoteIPHeader X-Forwarded-For
        RemoteIPInternalProxy 127.0.0.1
        JwtGateSharedMemory 64K
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateLimit each key=address rate=1/d burst=2
        </Location>
        {METRICS}"#,
    ));
    server.expect_log("JG3001");
    let from = |n: u32| server.get("/index.html").header("X-Forwarded-For", format!("10.{}.{}.1", n >> 8, n & 255));
    let victims: Vec<u32> = (0..20).collect();
    for &victim in &victims {
        assert_eq!(admitted(&from(victim), 3), 2, "{victim}");
    }
    let mut connection = server.connect();
    for batch in 1..50 {
        let requests: Vec<u8> = (0..200).flat_map(|n| from(batch * 200 + n).bytes()).collect();
        connection.send(requests);
        for _ in 0..200 {
            // httpd ends a connection after some requests; the flood goes on over the next one.
            let Ok(answer) = connection.try_answer(false) else {
                connection = server.connect();
                break;
            };
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
        }
    }
    for &victim in &victims {
        assert_eq!(from(victim).status(), 429, "{victim}");
    }
    assert!(Metrics::of(&server).value("jwt_gate_overflows_total", &[("table", "rates")]) > 0.0);
}

#[test]
fn memory_of_another_size_begins_anew_and_says_so() {
    let mut server = Site::new().start(&format!("JwtGateSharedMemory 1M\n{ONE_LIMIT}"));
    assert_eq!(admitted(&server.get("/"), 15), 12);
    server.graceful();
    assert_eq!(admitted(&server.get("/"), 5), 0);
    assert_eq!(server.log.count("JG2004"), 0);
    server.graceful_with(&format!("JwtGateSharedMemory 2M\n{ONE_LIMIT}"));
    assert_eq!(admitted(&server.get("/"), 15), 12);
    server.await_log("JG2004");
}

#[test]
fn a_limit_of_two_virtual_hosts_is_one_bucket() {
    let host = |port: &str, name: &str| {
        format!(
            r#"<VirtualHost 127.0.0.1:${{{port}}}>
                ServerName {name}
                <Location "/">
                    JwtGate on
                    JwtGateToken none
                    JwtGateLimit shared key=global rate=1/d burst=5
                    JwtGateLimit of-{port} key=global rate=1/d burst=100
                </Location>
            </VirtualHost>
            "#
        )
    };
    let server = Site::new().start(&(host("PORT", "one.test") + &host("PORT2", "two.test")));
    let (one, two) = (server.get("/index.html"), server.get("/index.html").to(server.second_address()));
    assert_eq!((admitted(&one, 2), admitted(&two, 2), admitted(&one, 2), admitted(&two, 2)), (2, 2, 1, 0));
    assert!(two.send().header("RateLimit").unwrap().contains(r#""of-PORT2";r=98;"#));
}
