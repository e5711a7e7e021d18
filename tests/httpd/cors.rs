//! Pages of other origins: preflights, and what every other answer says of who may read it.

use crate::harness::{Answer, MAIN, Request, Server, Site};

const PAGE: &str = "https://app.test";
const EXPOSED: &str = "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, Link";

const PLACES: &str = r#"
    JwtGateIssuer keyless https://keyless.test audience=api jwks=file:keys/keyless.jwks
    ProxyPass /static !
    ProxyPass /errors !
    ProxyPass /down http://127.0.0.1:1/
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateCors https://app.test http://localhost:5173 max-age=1h expose=Link
    </Location>
    <Location "/limit">
        JwtGateLimit few key=address rate=2/d
    </Location>
    <Location "/denied">
        JwtGateDeny 127.0.0.66
    </Location>
    <Location "/cookies">
        JwtGateCors https://app.test methods=GET,POST,PURGE headers=X-CSRF credentials=on
        JwtGateCredentials cookie:session
    </Location>
    <Location "/all">
        JwtGateCors * headers=*
    </Location>
    <Location "/closed">
        JwtGateCors off
    </Location>
    <Location "/off">
        JwtGate off
    </Location>
"#;

fn places() -> Server {
    places_and("")
}

fn places_and(more: &str) -> Server {
    let mut server = Site::new().start(&format!("{MAIN}{PLACES}{more}"));
    server.expect_log("keyless.jwks");
    server
}

fn preflight(server: &Server, target: &str, origin: &str, method: &str, headers: Option<&str>) -> Request {
    let request = server.request("OPTIONS", target).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    headers.map_or(request.clone(), |headers| request.header("Access-Control-Request-Headers", headers))
}

/// The fields of CORS, in alphabetical order, names in lower case.
fn permission(answer: &Answer) -> Vec<(String, String)> {
    let fields = answer.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut fields: Vec<_> = fields.filter(|(name, _)| name.starts_with("access-control-")).collect();
    fields.sort();
    fields
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (format!("access-control-{name}"), (*value).to_owned())).collect()
}

fn vary(answer: &Answer) -> Vec<String> {
    let members = answer.header("Vary").unwrap_or_default().split(',').map(|member| member.trim().to_owned());
    let mut members: Vec<String> = members.filter(|member| !member.is_empty()).collect();
    members.sort();
    members
}

/// Asserts that a script of [`PAGE`] may read the answer, and no cache gives it to another.
#[track_caller]
fn assert_readable(answer: &Answer) {
    assert_eq!(permission(answer), owned(&[("allow-origin", PAGE), ("expose-headers", EXPOSED)]), "{answer:?}");
    assert_eq!(vary(answer), ["Origin"], "{answer:?}");
}

#[test]
fn a_preflight_is_answered_without_token_and_without_the_application() {
    let server = places();
    for (request, allowed) in [
        (
            preflight(&server, "/x", PAGE, "DELETE", Some("authorization,content-type")),
            owned(&[
                ("allow-headers", "Authorization, Content-Type"),
                ("allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
                ("allow-origin", PAGE),
                ("max-age", "3600"),
            ]),
        ),
        (
            preflight(&server, "/cookies", PAGE, "PURGE", None),
            owned(&[
                ("allow-credentials", "true"),
                ("allow-headers", "X-CSRF"),
                ("allow-methods", "GET, POST, PURGE"),
                ("allow-origin", PAGE),
                ("max-age", "600"),
            ]),
        ),
        (
            preflight(&server, "/all", "https://anybody.test", "PUT", Some("authorization,x-a")),
            owned(&[
                ("allow-headers", "authorization, x-a"),
                ("allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
                ("allow-origin", "*"),
                ("max-age", "600"),
            ]),
        ),
        // Those that may not learn nothing else.
        (preflight(&server, "/x", "https://evil.test", "GET", None), vec![]),
        (preflight(&server, "/x", "null", "GET", None), vec![]),
        (preflight(&server, "/x", PAGE, "PURGE", None), vec![]),
        (preflight(&server, "/x", PAGE, "GET", Some("authorization,x-other")), vec![]),
        (preflight(&server, "/all", "null", "PURGE", None), vec![]),
    ] {
        let answer = request.send();
        assert_eq!((answer.status, answer.text()), (204, String::new()), "{answer:?}");
        assert_eq!(permission(&answer), allowed, "{answer:?}");
        let asked = ["Access-Control-Request-Headers", "Access-Control-Request-Method", "Origin"];
        assert_eq!(vary(&answer), asked, "{answer:?}");
        for name in ["WWW-Authenticate", "Content-Type", "Content-Length", "Transfer-Encoding"] {
            assert_eq!(answer.header(name), None, "{answer:?}");
        }
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn what_is_no_preflight_is_a_request_like_others() {
    let server = places();
    let options = |target: &str| server.request("OPTIONS", target);
    for request in [
        options("/x"),
        options("/x").header("Origin", PAGE),
        options("/x").header("Access-Control-Request-Method", "GET"),
        server.get("/x").header("Origin", PAGE).header("Access-Control-Request-Method", "GET"),
        preflight(&server, "/closed", PAGE, "GET", None),
    ] {
        server.refused(&request, 401, "token-missing");
    }
    // Where the gate is off, the application answers for itself.
    assert_eq!(permission(&preflight(&server, "/off?cors=x", PAGE, "GET", None).send())[1].1, "x");
    assert_eq!(server.app.count(), 1);
}

#[test]
fn a_preflight_passes_addresses_and_limits_first() {
    let server = places();
    let denied = preflight(&server, "/denied", PAGE, "GET", None).from("127.0.0.66");
    assert_readable(&server.refused(&denied, 403, "address-denied"));
    let limited = preflight(&server, "/limit", PAGE, "GET", None);
    for left in ["r=1", "r=0"] {
        let answer = limited.send();
        assert_eq!(answer.status, 204);
        assert!(answer.header("RateLimit").unwrap().contains(left), "{answer:?}");
        assert!(answer.header("RateLimit-Policy").is_some(), "{answer:?}");
    }
    assert_readable(&server.refused(&limited, 429, "rate-limited"));
}

#[test]
fn a_preflight_is_logged_as_let_in_and_has_no_error_page() {
    let server = places_and(
        r#"
        LogFormat "%s %{JWT_GATE_VERDICT}e %{JWT_GATE_REASON}e %{JWT_GATE_TIME_US}e" verdict
        CustomLog logs/verdict.log verdict
        <Location "/page">
            ErrorDocument 204 /errors/empty.html
        </Location>
        "#,
    );
    server.write("html/errors/empty.html", "a page");
    for target in ["/x", "/page"] {
        let answer = preflight(&server, target, PAGE, "PUT", None).send();
        assert_eq!((answer.status, answer.text().as_str()), (204, ""));
        assert_eq!(permission(&answer).len(), 4, "{answer:?}");
    }
    let log = crate::harness::await_some("two lines of the log", || {
        let text = std::fs::read_to_string(server.root.join("logs/verdict.log")).ok()?;
        (text.lines().count() == 2 && text.ends_with('\n')).then_some(text)
    });
    assert_eq!(log.matches("204 allow - ").count(), 2, "{log}");
    let time = |line: &str| line.rsplit(' ').next().and_then(|time| time.parse::<u64>().ok());
    assert!(log.lines().any(|line| time(line).is_some()), "{log}");
}

#[test]
fn a_preflight_with_a_large_body_closes_the_connection() {
    let server = places();
    let mut connection = server.connect();
    let head =
        format!("OPTIONS /x HTTP/1.1\r\nHost: gate.test\r\nOrigin: {PAGE}\r\nAccess-Control-Request-Method: PUT\r\n");
    connection.send(format!("{head}Content-Length: 65537\r\n\r\n"));
    assert_eq!(connection.answer().status, 204);
    assert!(connection.is_closed());
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send(format!("{head}Content-Length: 3\r\n\r\nabc"));
        assert_eq!(connection.answer().status, 204);
    }
}

#[test]
fn scripts_can_read_refusals() {
    let server = places();
    let get = |target: &str| server.get(target).header("Origin", PAGE);
    let token = server.token();
    let keyless = token.clone().claim("iss", "https://keyless.test").sign();
    for (request, status, reason) in [
        (get("/x"), 401, "token-missing"),
        (get("/x").bearer("a b"), 400, "credentials-malformed"),
        (get("/x").bearer(token.forge()), 401, "signature-invalid"),
        (get("/denied").from("127.0.0.66"), 403, "address-denied"),
        (get("/x").bearer(&keyless), 503, "keys-unavailable"),
    ] {
        assert_readable(&server.refused(&request, status, reason));
    }
    for _ in 0..2 {
        get("/limit").send();
    }
    assert_readable(&server.refused(&get("/limit"), 429, "rate-limited"));
    // Other pages, and what comes from no page, are told nothing; caches keep them apart.
    for request in [server.get("/x"), server.get("/x").header("Origin", "https://evil.test")] {
        let answer = request.send();
        assert_eq!((answer.status, permission(&answer), vary(&answer)), (401, vec![], vec!["Origin".to_owned()]));
    }
    let head = server.request("HEAD", "/x").header("Origin", PAGE).send();
    assert_readable(&head);
    let closed = get("/closed").send();
    assert_eq!((permission(&closed), vary(&closed)), (vec![], vec![]));
}

#[test]
fn the_gate_alone_speaks_of_cors_on_answers_of_the_application() {
    let server = places();
    let token = server.token().sign();
    let get = |target: &str, origin: &str| server.get(target).bearer(&token).header("Origin", origin).send();
    for status in ["200", "302", "404", "500"] {
        let answer = get(&format!("/x?cors=https://evil.test&answer={status}"), PAGE);
        assert_eq!(answer.status.to_string(), status);
        assert_eq!(permission(&answer), owned(&[("allow-origin", PAGE), ("expose-headers", EXPOSED)]), "{answer:?}");
        assert_eq!(vary(&answer), ["Accept-Encoding", "Origin"], "{answer:?}");
    }
    let evil = get("/x?cors=https://evil.test", "https://evil.test");
    assert_eq!((permission(&evil), vary(&evil)), (vec![], vec!["Accept-Encoding".to_owned(), "Origin".to_owned()]));
    assert_eq!(get("/x", "http://localhost:5173").header("Access-Control-Allow-Origin"), Some("http://localhost:5173"));
    let all = get("/all?cors=https://evil.test", "null");
    assert_eq!((permission(&all)[0].1.as_str(), vary(&all)), ("*", vec!["Accept-Encoding".to_owned()]));
    // Without JwtGateCors the application speaks for itself.
    for place in ["/closed", "/off"] {
        let own = permission(&get(&format!("{place}?cors={PAGE}"), PAGE));
        let expected = [("allow-credentials", "true"), ("allow-origin", PAGE), ("expose-headers", "X-Own")];
        assert_eq!(own, owned(&expected), "{place}");
    }
    let head = server.request("HEAD", "/x?cors=x").bearer(&token).header("Origin", PAGE).send();
    assert_eq!(permission(&head), owned(&[("allow-origin", PAGE), ("expose-headers", EXPOSED)]));
}

#[test]
fn answers_of_httpd_itself_are_readable() {
    let mut server = places_and(
        r#"
        ErrorDocument 404 /errors/404.html
        <Location "/errors">
            JwtGate off
        </Location>
        <Location "/text">
            ErrorDocument 401 "Please sign in."
        </Location>
        <Location "/page">
            ErrorDocument 401 /errors/401.html
        </Location>
        <Location "/overridden">
            ProxyErrorOverride on
        </Location>
        "#,
    );
    for text in ["AH01114", "AH00957"] {
        server.expect_log(text);
    }
    server.write("html/static/file.txt", "a file");
    server.write("html/errors/404.html", "not here");
    server.write("html/errors/401.html", "who is it?");
    let token = server.token().sign();
    let get = |target: &str| server.get(target).header("Origin", PAGE);
    let with_token = |target: &str| get(target).bearer(&token).send();

    let file = with_token("/static/file.txt");
    assert_eq!((file.status, file.text().as_str()), (200, "a file"));
    assert_readable(&file);
    let tag = file.header("ETag").unwrap();
    let unchanged = get("/static/file.txt").bearer(&token).header("If-None-Match", tag).send();
    assert_eq!(unchanged.status, 304);
    assert_readable(&unchanged);
    let down = with_token("/down");
    assert_eq!(down.status, 503);
    assert_readable(&down);
    let absent = with_token("/static/absent");
    assert_eq!((absent.status, absent.text().as_str()), (404, "not here"));
    assert_readable(&absent);
    // What the application said is lost, and what it said of CORS too.
    let overridden = with_token("/overridden?answer=500&cors=https://evil.test");
    assert!(overridden.header("Content-Type").unwrap().starts_with("text/html"), "{overridden:?}");
    assert_readable(&overridden);
    for (target, text) in [("/text", "Please sign in."), ("/page", "who is it?")] {
        let answer = get(target).send();
        assert_eq!((answer.status, answer.text().as_str()), (401, text));
        assert_readable(&answer);
        assert!(answer.header("WWW-Authenticate").is_some(), "{answer:?}");
    }
    // The page itself stands where the gate is off.
    assert_eq!(permission(&get("/errors/404.html").send()), vec![]);
}

#[test]
fn neither_mod_headers_nor_mod_rewrite_change_what_is_said() {
    let server = places_and(
        r#"
        Header set Access-Control-Allow-Origin *
        Header always set Access-Control-Allow-Origin *
        Header always append Vary Accept
        <Location "/x">
            RequestHeader unset Origin
        </Location>
        <Location "/moved">
            RequestHeader unset Origin
            RewriteEngine on
            RewriteRule "^" "/x" [PT]
        </Location>
        "#,
    );
    let token = server.token().sign();
    for target in ["/x", "/moved"] {
        for request in [server.get(target), server.get(target).bearer(&token)] {
            let answer = request.header("Origin", PAGE).send();
            let expected = owned(&[("allow-origin", PAGE), ("expose-headers", EXPOSED)]);
            assert_eq!(permission(&answer), expected, "{target} {answer:?}");
            assert_eq!(vary(&answer), ["Accept", "Origin"], "{target} {answer:?}");
        }
    }
    let answer = server.get("/x").bearer(&token).header("Origin", PAGE).send();
    assert_eq!(answer.seen().header("Origin"), None);
}

#[test]
fn a_cache_behind_the_gate_keeps_no_permission() {
    let site = Site::new().load(&["cache", "cache_socache", "socache_shmcb"]);
    let server = site.start(&format!(
        r#"{MAIN}
        CacheQuickHandler off
        CacheSocache shmcb
        CacheEnable socache /
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateCors https://app.test https://other.test
        </Location>"#
    ));
    for origin in [PAGE, "https://other.test", "https://evil.test", PAGE] {
        let answer = server.get("/x?cache=max-age=600&cors=https://evil.test").header("Origin", origin).send();
        let told = answer.header("Access-Control-Allow-Origin");
        assert_eq!(told, (origin != "https://evil.test").then_some(origin), "{answer:?}");
        assert_eq!(vary(&answer), ["Accept-Encoding", "Origin"]);
    }
    assert_eq!(server.app.count(), 1);
}

#[test]
fn http2_is_answered_alike() {
    let server = places();
    let token = format!("Bearer {}", server.token().sign());
    let mut connection = server.http2();
    let origin = ("origin", PAGE);
    assert_readable(&connection.get("/x", &[origin]));
    let answer = connection.get("/x?cors=https://evil.test", &[origin, ("authorization", &token)]);
    assert_eq!(permission(&answer), owned(&[("allow-origin", PAGE), ("expose-headers", EXPOSED)]));
    assert_eq!(vary(&answer), ["Accept-Encoding", "Origin"]);
    let request = http::Request::builder().method("OPTIONS").uri("http://gate.test/x").header("origin", PAGE);
    let request = request.header("access-control-request-method", "PUT").body(()).unwrap();
    let answer = connection.send(request).unwrap();
    assert_eq!((answer.status, permission(&answer).len()), (204, 4), "{answer:?}");
    assert_eq!(server.app.count(), 1);
}

#[test]
fn named_origins_are_trusted_with_cookies() {
    let server = places();
    let cookie = format!("session={}", server.token().sign());
    let post = |target: &str, origin: &str| {
        let request = server.request("POST", target).header("Cookie", &cookie).header("Origin", origin);
        request.header("Sec-Fetch-Site", "cross-site").body("x")
    };
    let answer = post("/cookies", PAGE).send();
    answer.seen();
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), Some("true"));
    for origin in ["https://evil.test", "null"] {
        let refused = server.refused(&post("/cookies", origin), 403, "csrf");
        assert_eq!(permission(&refused), vec![]);
    }
}

#[test]
fn mistakes_are_found() {
    let site = Site::new();
    for (lines, remedy) in [
        ("JwtGateCors * credentials=on", "name the origins"),
        ("JwtGateCors null", "name the origin"),
        ("JwtGateCors https://a.test\nJwtGateCors https://b.test", "twice in the same section"),
    ] {
        let check = site.configtest(&format!("{MAIN}<Location \"/\">\nJwtGate on\n{lines}\n</Location>"));
        assert!(!check.passed && check.output.contains("JwtGateCors") && check.output.contains(remedy), "{check:?}");
    }
}
