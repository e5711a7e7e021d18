//! Who the application is told that the client is: from the token only, whatever the client says itself.

use serde_json::json;

use crate::harness::app::Seen;
use crate::harness::{MAIN, Mpm, Request, Server, Site};

/// Names that any server behind could take for `X-User`.
const FORGED: [&str; 7] = ["X-User", "x-user", "X-USER", "X_User", "x_user", "X.User", "x.uSER"];

const PLACES: &str = r#"
    ProxyPass / ${APP}/
    <Location "/gated">
        JwtGate on
        JwtGateForward X-User subject
        JwtGateForward X-Issuer issuer
        JwtGateForward X-Client client
        JwtGateForward X-Scope scope
        JwtGateForward X-Roles claim:roles
        JwtGateForward X-Claims claims
    </Location>
    <Location "/optional">
        JwtGate on
        JwtGateToken optional
        JwtGateForward X-User subject
    </Location>
    <Location "/anonymous">
        JwtGate on
        JwtGateToken none
    </Location>
    <Location "/not-forwarded">
        JwtGate on
        JwtGateForward none
    </Location>
    <Location "/off">
        JwtGate off
    </Location>
"#;

fn places() -> Server {
    Site::new().start(&format!("{MAIN}{PLACES}"))
}

/// All that reached the application under any name that folds to `x-user`.
fn users(seen: &Seen) -> Vec<&str> {
    let fold = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    seen.headers.iter().filter(|header| fold(&header.0) == "x-user").map(|header| header.1.as_str()).collect()
}

#[test]
fn forged_identity_never_reaches_the_application() {
    let server = places();
    let token = server.token().sign();
    let mut forgeries: Vec<Vec<(&str, &str)>> = FORGED.iter().map(|&name| vec![(name, "eve")]).collect();
    forgeries.push(vec![("X-User", "eve"), ("X_User", "mallory")]);
    forgeries.push(vec![("X-User", "eve"), ("X-User", "eve")]);
    for connection in ["X-User", "close, x-user", "X_User", "keep-alive, X-User, x.user"] {
        forgeries.push(vec![("Connection", connection), ("X-User", "eve")]);
    }
    for headers in &forgeries {
        let forge =
            |request: Request| headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        for place in ["/off", "/anonymous", "/optional", "/elsewhere"] {
            assert_eq!(users(&forge(server.get(place)).send().seen()), [""; 0], "{headers:?} at {place}");
        }
        let not_forwarded = forge(server.get("/not-forwarded").bearer(&token)).send();
        assert_eq!(users(&not_forwarded.seen()), [""; 0], "{headers:?}");
        for place in ["/gated", "/optional"] {
            let seen = forge(server.get(place).bearer(&token)).send().seen();
            assert_eq!(users(&seen), ["alice"], "{headers:?} at {place}");
        }
    }
}

#[test]
fn forged_identity_never_reaches_the_application_over_http2() {
    let server = places();
    let authorization = format!("Bearer {}", server.token().sign());
    let mut connection = server.http2();
    for name in ["x-user", "x_user", "x.user"] {
        let seen = connection.get("/off", &[(name, "eve")]).seen();
        assert_eq!(users(&seen), [""; 0], "{name}");
        let seen = connection.get("/gated", &[(name, "eve"), ("x-user", "mallory"), ("authorization", &authorization)]);
        assert_eq!(users(&seen.seen()), ["alice"], "{name}");
    }
}

#[test]
fn headers_named_anywhere_in_the_server_are_removed_everywhere_in_it() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass / ${{APP}}/
        <VirtualHost 127.0.0.1:${{PORT}}>
            ServerName gate.test
            <Location "/deep/down">
                JwtGate on
                JwtGateForward X-User subject
            </Location>
        </VirtualHost>
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName gate.test
            JwtGateForward X-Other subject
        </VirtualHost>"#
    ));
    let seen = server.get("/").header("X_USER", "eve").header("X-Unrelated", "1").send().seen();
    assert_eq!((users(&seen), seen.header("X-Unrelated")), (vec![], Some("1")));
}

#[test]
fn what_the_gate_says_outlasts_other_modules_and_the_client() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{PLACES}
        RequestHeader unset X-User early
        <Location "/gated/unset">
            RequestHeader unset X-User
        </Location>
        <Location "/gated/rewritten">
            RewriteEngine on
            RewriteRule "^" "${{APP}}/rewritten" [P]
        </Location>"#
    ));
    for target in ["/gated", "/gated/unset", "/gated/rewritten"] {
        let request = server.get(target).bearer(server.token().sign());
        let request = request.header("Connection", "X-User").header("X-User", "eve");
        assert_eq!(users(&request.send().seen()), ["alice"], "{target}");
    }
}

#[test]
fn values_are_encoded_so_that_one_value_stays_one_value() {
    let server = places();
    let roles = |value: serde_json::Value| {
        let seen = server.get("/gated").bearer(server.token().claim("roles", value).sign()).send().seen();
        seen.header("X-Roles").map(str::to_owned)
    };
    for (value, header) in [
        (json!("admin"), Some("admin")),
        (json!("two words"), Some("two words")),
        (json!("100%"), Some("100%25")),
        (json!("a\r\nX-User: eve"), Some("a%0D%0AX-User: eve")),
        (json!("tab\there"), Some("tab%09here")),
        (json!("\u{7f}\u{0}"), Some("%7F%00")),
        (json!("Jürgen ☃"), Some("J%C3%BCrgen %E2%98%83")),
        (json!(" outer "), Some("%20outer%20")),
        (json!(["a", "b c", "d,e"]), Some("a,b c,d%2Ce")),
        (json!("d,e"), Some("d,e")),
        (json!(["Jürgen", 7, true]), Some("J%C3%BCrgen,7,true")),
        (json!(42), Some("42")),
        (json!(true), Some("true")),
        (json!(null), None),
    ] {
        assert_eq!(roles(value.clone()).as_deref(), header, "{value}");
    }
}

#[test]
fn each_value_that_can_be_forwarded() {
    let server = places();
    let token = server.token().claim("azp", "web").claim("scope", "read write").claim("roles", json!(["a"]));
    let token = token.sign();
    let seen = server.get("/gated").bearer(&token).send().seen();
    assert_eq!(seen.header("X-User"), Some("alice"));
    assert_eq!(seen.header("X-Issuer"), Some("main"));
    assert_eq!(seen.header("X-Client"), Some("web"));
    assert_eq!(seen.header("X-Scope"), Some("read write"));
    assert_eq!(seen.header("X-Roles"), Some("a"));
    assert_eq!(seen.header("X-Claims"), token.split('.').nth(1));

    let seen = server.get("/gated").bearer(server.token().sign()).send().seen();
    for absent in ["X-Client", "X-Scope", "X-Roles"] {
        assert_eq!(seen.header(absent), None);
    }
    let seen = server.get("/optional").header("X-User", "eve").send().seen();
    assert_eq!(seen.header("X-User"), None);
}

#[test]
fn identity_is_that_of_this_request_on_a_reused_connection() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).children(1).start(&format!("{MAIN}{PLACES}"));
        let mut connection = server.connect();
        for user in ["alice", "bob", ""] {
            let request = match user {
                "" => server.get("/optional"),
                user => server.get("/optional").bearer(server.token().claim("sub", user).sign()),
            };
            connection.send(request.bytes());
            let expected = if user.is_empty() { None } else { Some(user) };
            assert_eq!(connection.answer().seen().header("X-User"), expected, "{mpm:?}");
        }
    }
}

#[test]
fn identities_of_concurrent_clients_do_not_mix() {
    for mpm in Mpm::ALL {
        let server = Site::new().mpm(mpm).start(&format!("{MAIN}{PLACES}"));
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (server, name) = (&server, format!("user-{client}"));
                scope.spawn(move || {
                    let token = server.token().claim("sub", name.as_str());
                    let (valid, forged) = (token.sign(), token.forge());
                    for _ in 0..25 {
                        let seen = server.get("/gated").bearer(&valid).send().seen();
                        assert_eq!(seen.header("X-User"), Some(name.as_str()), "{mpm:?}");
                        assert_eq!(server.get("/gated").bearer(&forged).status(), 401, "{mpm:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn identities_of_concurrent_streams_do_not_mix() {
    let server = places();
    let tokens: Vec<_> = (0..40).map(|n| server.token().claim("sub", format!("user-{n}")).sign()).collect();
    let values: Vec<_> = tokens.iter().map(|token| format!("Bearer {token}")).collect();
    let requests: Vec<_> =
        values.iter().map(|value| ("/gated".to_owned(), vec![("authorization", value.as_str())])).collect();
    for (n, answer) in server.http2().get_all(&requests).iter().enumerate() {
        assert_eq!(answer.seen().header("X-User"), Some(format!("user-{n}").as_str()));
    }
}

#[test]
fn trailers_are_no_headers() {
    let server = places();
    let token = server.token().sign();
    for (place, expected) in [("/off", vec![]), ("/gated", vec!["alice"]), ("/optional", vec!["alice"])] {
        let before = server.app.count();
        for name in FORGED {
            let head = server.request("POST", place).bearer(&token).header("Trailer", name);
            let head = head.header("Transfer-Encoding", "chunked").bytes();
            let mut connection = server.connect();
            connection
                .send([head, format!("1\r\nx\r\n0\r\n{name}: eve\r\nX-Unrelated: eve\r\n\r\n").into_bytes()].concat());
            let seen = connection.answer().seen();
            assert_eq!((users(&seen), seen.body_length), (expected.clone(), 1), "{name} at {place}");
            assert!(seen.headers.iter().all(|header| header.1 != "eve"), "{seen:?}");
        }
        // What would come behind the body, the application would take for further requests.
        assert_eq!(server.app.count(), before + FORGED.len());
    }
}
