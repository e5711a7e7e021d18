//! What a refused client gets: status, challenge, body, and what becomes of its upload.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Answer, Connection, MAIN, PATIENCE, Server, Site};

/// One location for each way to be refused.
const PLACES: &str = r#"
    JwtGateIssuer keyless https://keyless.test audience=api jwks=file:keys/keyless.jwks
    ProxyPass / ${APP}/
    <Location "/token">
        JwtGate on
    </Location>
    <Location "/address">
        JwtGate on
        JwtGateDeny 127.0.0.66
    </Location>
    <Location "/limit">
        JwtGate on
        JwtGateToken none
        JwtGateLimit slow key=address rate=6/h burst=1
    </Location>
    <Location "/cookie">
        JwtGate on
        JwtGateCredentials cookie:session
    </Location>
    <Location "/realm">
        JwtGate on
        JwtGateRealm "the \"inner\" \\ API"
    </Location>
    <Location "/plain">
        JwtGate on
        JwtGateErrorBody httpd
    </Location>
"#;

fn places() -> Server {
    let mut server = Site::new().start(&format!("{MAIN}{PLACES}"));
    server.expect_log("keyless.jwks");
    server
}

/// What every refusal has in common.
fn assert_refusal(answer: &Answer, challenge: Option<&str>) {
    assert_eq!(answer.header("WWW-Authenticate"), challenge, "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{problem}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    let error = challenge.and_then(|text| Some(text.split_once("error=\"")?.1.trim_end_matches('"')));
    assert_eq!(problem.get("error").and_then(|error| error.as_str()), error, "{problem}");
}

#[test]
fn each_kind_of_refusal_has_its_status_challenge_and_body() {
    let server = places();
    let token = server.token();
    let (missing, invalid) = (r#"Bearer realm="api""#, r#"Bearer realm="api", error="invalid_token""#);
    let request = r#"Bearer realm="api", error="invalid_request""#;
    let get = |target: &str| server.get(target);
    let cookie = format!("session={}", token.sign());
    let keyless = token.clone().claim("iss", "https://keyless.test");
    for (request, status, reason, challenge) in [
        (get("/token"), 401, "token-missing", Some(missing)),
        (get("/token").header("Authorization", "Basic YTpi"), 401, "token-missing", Some(missing)),
        (get("/token").header("Authorization", "Bearer"), 400, "credentials-malformed", Some(request)),
        (get("/token").bearer(token.forge()), 401, "signature-invalid", Some(invalid)),
        (get("/token").bearer("a.b"), 401, "token-malformed", Some(invalid)),
        (get("/address").from("127.0.0.66").bearer(token.sign()), 403, "address-denied", None),
        (server.request("POST", "/cookie").header("Cookie", &cookie).body("x"), 403, "csrf", None),
        (get("/token").bearer(keyless.sign()), 503, "keys-unavailable", None),
    ] {
        let answer = server.refused(&request, status, reason);
        assert_refusal(&answer, challenge);
        assert_eq!(answer.header("Retry-After").is_some(), status == 503, "{answer:?}");
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn a_refusal_for_its_rate_says_when_to_come_back() {
    let server = places();
    let first = server.get("/limit").send();
    first.seen();
    assert_eq!(first.header("RateLimit-Policy"), Some(r#""slow";q=1;w=600"#));
    assert_eq!(first.header("RateLimit"), Some(r#""slow";r=0;t=600"#));
    assert_eq!((first.header("Retry-After"), first.header("Cache-Control")), (None, None));

    let second = server.refused(&server.get("/limit"), 429, "rate-limited");
    assert_refusal(&second, None);
    let wait: u64 = second.header("Retry-After").unwrap().parse().unwrap();
    assert!((590..=600).contains(&wait), "{wait}");
    assert_eq!(second.header("RateLimit-Policy"), Some(r#""slow";q=1;w=600"#));
    assert_eq!(second.header("RateLimit"), Some(format!(r#""slow";r=0;t={wait}"#).as_str()));
    let kind = second.json()["type"].as_str().unwrap().to_owned();
    assert!(kind.ends_with("#quota-exceeded"), "{kind}");
}

#[test]
fn a_body_tells_no_more_than_the_status_and_the_error_code() {
    let server = places();
    let expired = server.get("/token").bearer(server.token().claim("exp", 1).sign()).send();
    let foreign = server.get("/token").bearer(server.token().claim("aud", "other").sign()).send();
    assert_eq!((expired.status, expired.text()), (foreign.status, foreign.text()));
    server.await_log("token-expired");
    server.await_log("audience-mismatch");
}

#[test]
fn the_realm_is_quoted() {
    let answer = places().get("/realm").send();
    assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="the \"inner\" \\ API""#));
}

#[test]
fn head_is_answered_like_get_without_body() {
    let server = places();
    let (get, head) = (server.get("/token").send(), server.request("HEAD", "/token").send());
    let without_date = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.retain(|header| header.0 != "Date");
        headers
    };
    assert_eq!((head.status, head.body.len()), (401, 0));
    assert_eq!(without_date(&head), without_date(&get));
}

#[test]
fn error_body_httpd_leaves_the_page_to_httpd() {
    let answer = places().get("/plain").send();
    assert!(answer.header("Content-Type").unwrap().starts_with("text/html"), "{answer:?}");
    assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="api""#));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
}

#[test]
fn what_the_application_refuses_is_its_own_answer() {
    let server = places();
    let answer = server.get("/token?answer=401&cache=max-age=5").bearer(server.token().sign()).send();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("WWW-Authenticate"), None);
    assert_eq!(answer.header("Cache-Control"), Some("max-age=5"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
}

/// A front controller would answer what was asked for, as the body of the refusal.
#[test]
fn a_missing_error_document_is_not_rewritten_to_the_application() {
    let site = Site::new();
    site.write("html/front.html", "front controller");
    site.write("html/sorry.html", "sorry");
    let server = site.start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            RewriteEngine on
            RewriteCond %{{REQUEST_FILENAME}} !-f
            RewriteRule ^ /front.html [L]
        </Directory>
        <Location "/">
            JwtGate on
            ErrorDocument 401 /missing.html
        </Location>
        <Location "/well">
            ErrorDocument 401 /sorry.html
        </Location>"#
    ));
    for target in ["/orders/secret?x=1", "/front.html"] {
        let answer = server.refused(&server.get(target), 401, "token-missing");
        assert!(!answer.text().contains("front controller"), "{answer:?}");
        assert!(answer.header("WWW-Authenticate").is_some());
    }
    assert_eq!(server.get("/well").send().text(), "sorry");
    let token = server.token().sign();
    assert_eq!(server.get("/orders/secret").bearer(token).send().text(), "front controller");
}

/// httpd answers with the first error; a client that sees a challenge would look for a token that does not help.
#[test]
fn a_gated_page_for_an_error_of_somebody_else_adds_no_challenge() {
    let site = Site::new();
    site.write("html/gone.html", "gone");
    let server = site.start(&format!(
        r#"{MAIN}
        ErrorDocument 404 /gone.html
        <Location "/">
            JwtGate on
        </Location>
        <Location "/open">
            JwtGate off
        </Location>"#
    ));
    let answer = server.get("/open/nothing").send();
    assert_eq!((answer.status, answer.header("WWW-Authenticate"), answer.header("Cache-Control")), (404, None, None));
}

#[test]
fn error_documents_of_the_administrator_are_used_and_headers_survive_them() {
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass /static !
        ProxyPass /inside !
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateLimit all key=global rate=1/d burst=100
        </Location>
        <LocationMatch "^/(static|pages)">
            JwtGate off
        </LocationMatch>
        <Location "/a-text">
            ErrorDocument 401 "Please sign in."
        </Location>
        <Location "/a-file">
            ErrorDocument 401 /static/error.html
        </Location>
        <Location "/a-file-inside">
            ErrorDocument 401 /inside/error.html
        </Location>
        <Location "/a-proxied-page">
            ErrorDocument 401 /pages/401?answer=401
        </Location>
        <Location "/a-proxied-page-inside">
            ErrorDocument 401 /more-pages/401
        </Location>"#
    ));
    server.write("html/static/error.html", "a static page");
    server.write("html/inside/error.html", "a page inside the gate");
    let get = |target: &str| {
        let answer = server.refused(&server.get(target), 401, "token-missing");
        assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="api""#), "{target}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{target}");
        answer.text()
    };
    assert_eq!(get("/a-text"), "Please sign in.");
    assert_eq!(get("/a-file"), "a static page");
    get("/a-file-inside");
    assert_eq!(server.app.count(), 0);
    // httpd takes the status of a proxied page from the application.
    assert!(get("/a-proxied-page").contains("/pages/401"));
    assert_eq!(server.app.count(), 1);
    // A page that needs a token itself is not forwarded for whoever has none.
    assert!(!get("/a-proxied-page-inside").contains("/more-pages/401"));
    assert_eq!(server.app.count(), 1);
    // Five requests were five, whatever pages they led to.
    let left = server.get("/x").bearer(server.token().sign()).send();
    assert!(left.header("RateLimit").unwrap().starts_with(r#""all";r=94;"#), "{left:?}");
}

const UPLOADS: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
    </Location>
"#;

/// Sends the head of an upload and none of its body; gives the answer.
fn upload(connection: &mut Connection, framing: &str) -> Answer {
    connection.send(format!("POST /upload HTTP/1.1\r\nHost: gate.test\r\n{framing}\r\n\r\n"));
    connection.answer()
}

#[test]
fn a_refused_upload_that_is_large_or_of_unknown_length_is_not_read() {
    let server = Site::new().start(&format!("{MAIN}{UPLOADS}"));
    for framing in ["Content-Length: 65537", "Content-Length: 10000000000", "Transfer-Encoding: chunked"] {
        let mut connection = server.connect();
        let answer = upload(&mut connection, framing);
        assert_eq!((answer.status, answer.header("Connection")), (401, Some("close")), "{framing}");
        assert_refusal(&answer, Some(r#"Bearer realm="api""#));
        assert!(connection.is_closed(), "{framing}");
    }
    assert_eq!(server.app.count(), 0);
}

#[test]
fn a_refused_upload_that_is_small_keeps_the_connection() {
    let server = Site::new().start(&format!("{MAIN}{UPLOADS}"));
    let mut connection = server.connect();
    for length in [0, 1, 65_536] {
        connection.send(server.request("POST", "/upload").body(vec![b'x'; length]).bytes());
        let answer = connection.answer();
        assert_eq!((answer.status, answer.header("Connection")), (401, None), "{length}");
    }
    connection.send(server.get("/").bearer(server.token().sign()).bytes());
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn a_refused_upload_over_http2_ends_its_stream_and_no_other() {
    let server = Site::new().start(&format!("{MAIN}{UPLOADS}"));
    let mut connection = server.http2();
    for headers in [&[("content-length", "10000000")][..], &[]] {
        let (answer, reset) = connection.upload_without_end("/upload", headers);
        assert_refusal(&answer, Some(r#"Bearer realm="api""#));
        assert_eq!(answer.status, 401);
        assert!(reset.is_some(), "the server waits for the rest of the upload");
    }
    let authorization = format!("Bearer {}", server.token().sign());
    assert_eq!(connection.get("/", &[("authorization", &authorization)]).status, 200);
    assert_eq!(server.app.count(), 1);
}

#[test]
fn errors_of_httpd_itself_are_not_dressed_up_as_refusals() {
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass /down http://127.0.0.1:1/
        <Location "/">
            JwtGate on
            JwtGateLimit all key=global rate=1/d burst=100
        </Location>
        <Location "/forbidden">
            Require all denied
        </Location>"#
    ));
    for text in ["AH01114", "AH00957", "AH01630"] {
        server.expect_log(text);
    }
    for (target, status) in [("/absent", 404), ("/down", 503), ("/forbidden", 403)] {
        let answer = server.get(target).bearer(server.token().sign()).send();
        assert_eq!(answer.status, status);
        assert!(answer.header("Content-Type").unwrap().starts_with("text/html"), "{answer:?}");
        assert_eq!((answer.header("WWW-Authenticate"), answer.header("Cache-Control")), (None, None), "{target}");
        // They were counted, so they say so.
        assert!(answer.header("RateLimit").unwrap().starts_with(r#""all";r=9"#), "{answer:?}");
    }
}

#[test]
fn old_and_odd_clients_are_answered() {
    let server = places();
    let mut connection = server.connect();
    connection.send("GET /token HTTP/1.0\r\n\r\n");
    let answer = connection.answer();
    assert_refusal(&answer, Some(r#"Bearer realm="api""#));
    assert!(connection.is_closed());
    let mut connection = server.connect();
    let large = "Content-Length: 70000\r\nExpect: 100-continue";
    connection.send(format!("POST /token HTTP/1.1\r\nHost: gate.test\r\n{large}\r\n\r\n"));
    assert_eq!(connection.answer().status, 401);
    assert!(connection.is_closed());
}

/// All that the server says to a request, to the end of the connection.
fn everything(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn who_is_refused_is_not_asked_for_the_body() {
    // Else mod_proxy leaves it to the application to ask for the body.
    let mut server = Site::new().start(&format!("{MAIN}{PLACES}Proxy100Continue Off"));
    server.expect_log("keyless.jwks");
    assert_eq!(server.get("/limit").status(), 200);
    let post = |target: &str, length: usize, rest: &str| {
        let head = "Host: gate.test\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length:";
        everything(&server, &format!("POST {target} HTTP/1.1\r\n{head} {length}\r\n{rest}"))
    };
    for length in [1, 65_536, 65_537] {
        let said = post("/limit", length, "\r\n");
        assert!(said.starts_with("HTTP/1.1 429 ") && !said.contains(" 100 "), "{length}: {said}");
        let said = post("/token", length, "\r\n");
        assert!(said.starts_with("HTTP/1.1 401 ") && !said.contains(" 100 "), "{length}: {said}");
    }
    let authorization = format!("Authorization: Bearer {}\r\n\r\nx", server.token().sign());
    let said = post("/token", 1, &authorization);
    assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), "{said}");
}
