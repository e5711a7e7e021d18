//! The whole story, the same under every process model and protocol.

use crate::harness::{Answer, MAIN, Mpm, Server, Site};

const STORY: &str = r#"
    ProxyPass / ${APP}/
    JwtGateDeny 127.0.0.66
    <Location "/">
        JwtGate on
        JwtGateForward X-User subject
    </Location>
    <Location "/limited">
        JwtGateLimit per-user key=subject rate=1/d burst=3
    </Location>
    <Location "/local">
        ProxyPass !
        JwtGateDeny 127.0.0.1
    </Location>
    <Location "/public">
        JwtGate off
    </Location>
"#;

/// Tells the story with a client that sends `GET target` with these headers.
fn story(server: &Server, mut get: impl FnMut(&str, &[(&str, &str)]) -> Answer) {
    let authorization = |token: String| format!("Bearer {token}");
    let alice = authorization(server.token().sign());
    let forged = authorization(server.token().forge());
    let bob = authorization(server.token().claim("sub", "bob").sign());

    assert_eq!(get("/public", &[]).status, 200);
    let refused = get("/a", &[]);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="api""#));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(get("/a", &[("authorization", &forged)]).status, 401);
    let seen = get("/a?b=c", &[("authorization", &alice), ("x-user", "eve")]).seen();
    assert_eq!((seen.target.as_str(), seen.header("X-User")), ("/a?b=c", Some("alice")));
    assert_eq!(get("/local", &[("authorization", &alice)]).status, 403);
    let limited: Vec<u16> = (0..5).map(|_| get("/limited", &[("authorization", &alice)]).status).collect();
    assert_eq!(limited, [200, 200, 200, 429, 429]);
    assert_eq!(get("/limited", &[("authorization", &bob)]).status, 200);
}

#[test]
fn over_http1() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).children(3).start(&format!("{MAIN}{STORY}"));
        story(&server, |target, headers| {
            let request = server.get(target);
            headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
        });
        assert_eq!(server.app.count(), 6);
    }
}

#[test]
fn over_http1_on_one_connection() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).start(&format!("{MAIN}{STORY}"));
        let mut connection = server.connect();
        story(&server, |target, headers| {
            let request = server.get(target);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            connection.send(request.bytes());
            connection.answer()
        });
    }
}

#[test]
fn over_http2() {
    for mpm in Mpm::ALL.into_iter().filter(|mpm| mpm.has_threads()) {
        let server = Site::new().mpm(mpm).children(3).start(&format!("{MAIN}{STORY}"));
        let mut connection = server.http2();
        story(&server, |target, headers| connection.get(target, headers));
        assert_eq!(server.app.count(), 6);
    }
}

#[test]
fn pipelined_requests_are_judged_one_by_one() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).children(1).start(&format!("{MAIN}{STORY}"));
        let mut connection = server.connect();
        let valid = server.get("/").bearer(server.token().sign()).bytes();
        connection.send([valid.clone(), server.get("/").bytes(), valid].concat());
        let statuses: Vec<u16> = (0..3).map(|_| connection.answer().status).collect();
        assert_eq!(statuses, [200, 401, 200], "{mpm:?}");
    }
}
