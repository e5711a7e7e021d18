//! Where credentials may be: header, cookie, query; what is ambiguous; forgery across sites; what the application sees.

use crate::harness::{MAIN, Request, Server, Site};

const PLACES: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
    </Location>
    <Location "/header">
        JwtGateCredentials header:X-Token
    </Location>
    <Location "/cookie">
        JwtGateCredentials cookie:session
    </Location>
    <Location "/query">
        JwtGateCredentials query:access_token
    </Location>
    <Location "/any">
        JwtGateCredentials bearer header:X-Token cookie:session query:access_token
    </Location>
    <LocationMatch "^/(bearer|header|cookie|query|any)/off">
        JwtGateForwardCredentials off
    </LocationMatch>
"#;

fn places() -> Server {
    Site::new().start(&format!("{MAIN}{PLACES}"))
}

#[test]
fn a_credential_is_taken_from_where_it_may_be_and_from_nowhere_else() {
    let server = places();
    let token = server.token().sign();
    let cookie = format!("session={token}");
    let query = format!("access_token={token}");
    for place in ["bearer", "header", "cookie", "query", "any"] {
        let target = format!("/{place}");
        for (source, request) in [
            ("bearer", server.get(&target).bearer(&token)),
            ("header", server.get(&target).header("X-Token", &token)),
            ("cookie", server.get(&target).header("Cookie", &cookie)),
            ("query", server.get(&format!("{target}?{query}"))),
        ] {
            if place == source || place == "any" {
                assert_eq!(request.status(), 200, "{source} at {place}");
            } else {
                server.refused(&request, 401, "token-missing");
            }
        }
    }
}

#[test]
fn shapes_of_cookies_headers_and_queries() {
    let server = places();
    let token = server.token().sign();
    let fill = |text: &str| text.replace("TOKEN", &token);
    let cookie = |value: &str| server.get("/cookie").header("Cookie", fill(value));
    let header = |value: &str| server.get("/header").header("X-Token", fill(value));
    let query = |value: &str| server.get(&fill(&format!("/query?{value}")));
    for good in [
        cookie("session=TOKEN"),
        cookie("a=b; session=TOKEN; c=d"),
        cookie("a=b;session=TOKEN;c=d"),
        cookie("session=\"TOKEN\""),
        cookie("session=Bearer TOKEN"),
        cookie("session=\"Bearer TOKEN\""),
        cookie("xsession=1; session=TOKEN; sessionx=2"),
        header("TOKEN"),
        header("Bearer TOKEN"),
        header("bearer TOKEN"),
        header("\"TOKEN\""),
        query("access_token=TOKEN"),
        query("a=b&access_token=TOKEN&c"),
    ] {
        assert_eq!(good.status(), 200, "{good:?}");
    }
    for (bad, status, reason) in [
        (cookie("session="), 400, "credentials-malformed"),
        (cookie("session=\"\""), 400, "credentials-malformed"),
        (cookie("session=Bearer "), 400, "credentials-malformed"),
        (cookie("Session=TOKEN"), 401, "token-missing"),
        (cookie("a=\"session=TOKEN\""), 401, "token-missing"),
        (cookie("a=session=TOKEN"), 401, "token-missing"),
        (header(""), 400, "credentials-malformed"),
        (query("access_token="), 400, "credentials-malformed"),
        (query("ACCESS_TOKEN=TOKEN"), 401, "token-missing"),
        (query("x=access_token=TOKEN"), 401, "token-missing"),
    ] {
        server.refused(&bad, status, reason);
    }
}

#[test]
fn more_than_one_credential_is_refused_even_if_they_are_equal() {
    let server = places();
    let token = server.token().sign();
    let cookie = format!("session={token}");
    let with_query = server.get(&format!("/any?access_token={token}"));
    for request in [
        server.get("/any").bearer(&token).header("X-Token", &token),
        server.get("/any").bearer(&token).header("Cookie", &cookie),
        server.get("/any").bearer(&token).header("X-Token", "x"),
        with_query.clone().bearer(&token),
        with_query.header("Cookie", &cookie),
        server.get(&format!("/query?access_token={token}&access_token={token}")),
        server.get(&format!("/query?access_token=x&access_token={token}")),
        server.get("/cookie").header("Cookie", format!("{cookie}; {cookie}")),
        server.get("/cookie").header("Cookie", &cookie).header("Cookie", &cookie),
        server.get("/cookie").header("Cookie", format!("session=x; {cookie}")),
        server.get("/header").header("X-Token", &token).header("X-Token", &token),
    ] {
        server.refused(&request, 400, "credentials-ambiguous");
    }
    // What may not be a credential here does not count.
    assert_eq!(server.get("/cookie").bearer("x").header("Cookie", &cookie).status(), 200);
    assert_eq!(server.app.count(), 1);
}

#[test]
fn a_cookie_counts_only_for_requests_that_this_site_made() {
    let server = Site::new().start(&format!(
        r#"{MAIN}{PLACES}
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName https://gate.test
        </VirtualHost>"#
    ));
    let cookie = format!("session={}", server.token().sign());
    let send = |method: &str| server.request(method, "/cookie").header("Cookie", &cookie);
    let upgrade = || send("GET").header("Connection", "Upgrade").header("Upgrade", "websocket");
    for good in [
        send("GET"),
        send("HEAD"),
        send("OPTIONS"),
        send("GET").header("Sec-Fetch-Site", "cross-site"),
        send("POST").header("Sec-Fetch-Site", "same-origin"),
        send("POST").header("Sec-Fetch-Site", "none"),
        send("DELETE").header("Origin", "http://gate.test"),
        upgrade().header("Origin", "http://gate.test"),
        send("POST").header("Origin", "https://gate.test").to(server.second_address()),
    ] {
        assert_eq!(good.status(), 200, "{good:?}");
    }
    for bad in [
        send("POST"),
        send("PUT"),
        send("PATCH"),
        send("DELETE"),
        send("PROPFIND"),
        upgrade(),
        send("POST").header("Sec-Fetch-Site", "same-site"),
        send("POST").header("Sec-Fetch-Site", "cross-site"),
        send("POST").header("Sec-Fetch-Site", "same-origin").header("Sec-Fetch-Site", "cross-site"),
        send("POST").header("Origin", "null"),
        send("POST").header("Origin", "http://evil.test"),
        send("POST").header("Origin", "http://gate.test.evil.test"),
        send("POST").header("Origin", "http://gate.test, http://evil.test"),
        send("POST").header("Origin", "http://gate.test/"),
        send("POST").header("Referer", "http://gate.test/"),
        upgrade().header("Origin", "http://evil.test"),
        send("POST").header("Origin", "http://gate.test").to(server.second_address()),
    ] {
        server.refused(&bad, 403, "csrf");
    }
    let bearer = server.request("POST", "/bearer").bearer(server.token().sign());
    assert_eq!(bearer.header("Sec-Fetch-Site", "cross-site").status(), 200);
}

#[test]
fn forward_credentials_off_takes_the_credential_and_nothing_else_away() {
    let server = places();
    let token = server.token().sign();
    let requests = |place: &str| -> Vec<Request> {
        let target = |source: &str| format!("/{source}{place}?a=1");
        vec![
            server.get(&target("bearer")).bearer(&token),
            server.get(&target("header")).header("X-Token", &token),
            server.get(&target("cookie")).header("Cookie", format!("a=1; session={token}; b=2")),
            server.get(&format!("{}&access_token={token}&b=2", target("query"))),
            server.get(&target("any")).bearer(&token),
        ]
    };
    for request in requests("/on") {
        let seen = request.send().seen();
        assert!(format!("{seen:?}").contains(&token), "{seen:?}");
    }
    for request in requests("/off") {
        let seen = request.send().seen();
        assert!(!format!("{seen:?}").contains(&token), "{seen:?}");
        assert!(seen.target.contains("?a=1"), "{seen:?}");
        if seen.target.starts_with("/cookie") {
            assert_eq!(seen.header("Cookie"), Some("a=1; b=2"));
        }
        if seen.target.starts_with("/query") {
            assert_eq!(seen.target, "/query/off?a=1&b=2");
        }
    }
    // The only cookie, the only member of the query.
    let seen = server.get("/cookie/off").header("Cookie", format!("session={token}")).send().seen();
    assert_eq!(seen.header("Cookie"), None);
    let seen = server.get(&format!("/query/off?access_token={token}")).send().seen();
    assert_eq!(seen.target, "/query/off");
}

#[test]
fn what_came_by_another_credential_than_authorization_is_private_to_caches() {
    let server = places();
    let token = server.token().sign();
    let cookie = format!("session={token}");
    let control = |request: Request| request.send().header("Cache-Control").map(str::to_owned);
    assert_eq!(control(server.get("/any").bearer(&token)), None);
    assert_eq!(control(server.get("/any").header("Cookie", &cookie)).as_deref(), Some("private"));
    assert_eq!(control(server.get("/any").header("X-Token", &token)).as_deref(), Some("private"));
    assert_eq!(control(server.get(&format!("/any?access_token={token}"))).as_deref(), Some("private"));
    let chosen = server.get("/any?cache=max-age=7").header("Cookie", &cookie);
    assert_eq!(control(chosen).as_deref(), Some("max-age=7"));
}
