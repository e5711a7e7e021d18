//! Setup 2: FastAPI with its own login and a session in a cookie.

use serde_json::json;

use crate::harness::example::{Example, Running, is_private};
use crate::harness::{Answer, Request, Signer, Token};

const NAME: &str = "2-session-cookie";
const HEADING: &str = "2. With a session cookie";
const HOST: &str = "app.example.com";
const LOCAL: &str = "127.0.0.1";

fn start() -> Running {
    Example::install(NAME, &[]).start("session-app.service")
}

fn request(running: &Running, method: &str, target: &str) -> Request {
    running.request(method, HOST, target)
}

fn log_in(running: &Running, user: &str, password: &str) -> Answer {
    let form = format!("user={user}&password={password}&next=%2Fapi%2Fme");
    request(running, "POST", "/auth/login")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
}

/// Name and value of a cookie that an answer sets, as a browser sends it.
fn cookie(answer: &Answer, name: &str) -> String {
    let set = answer.headers.iter().filter(|header| header.0.eq_ignore_ascii_case("Set-Cookie"));
    let mut values = set.map(|(_, value)| value.split(';').next().unwrap());
    values.find(|value| value.starts_with(&format!("{name}="))).unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Logs alice in, and gives her cookie.
fn session(running: &Running) -> String {
    let login = log_in(running, "alice", "correct+horse");
    assert_eq!(login.status, 303, "{login:?}");
    let callback = login.header("Location").unwrap();
    let answer = request(running, "GET", callback).header("Cookie", cookie(&login, "login_state")).send();
    assert_eq!((answer.status, answer.header("Location")), (303, Some("/api/me")));
    cookie(&answer, "access_token")
}

#[test]
fn readme_of_the_session_cookie_tells_what_happens() {
    start().follow_readme(HEADING, &[("", LOCAL)]);
}

#[test]
fn the_cookie_that_starlette_writes_is_a_session() {
    let running = start();
    let cookie = session(&running);
    // The form that Starlette gives a value with a space in it.
    assert!(cookie.starts_with("access_token=\"Bearer ey") && cookie.ends_with('"'), "{cookie}");
    let me = || request(&running, "GET", "/api/me").header("X-User", "eve");
    assert_eq!(me().header("Cookie", &cookie).send().json(), json!({"user": "alice"}));
    running.server.refused(&me(), 401, "token-missing");
    let token = cookie.trim_start_matches("access_token=\"Bearer ").trim_end_matches('"');
    // It is a session only where the application puts it.
    running.server.refused(&me().bearer(token), 401, "token-missing");
    running.server.refused(&me().header("Cookie", cookie.replace("ey", "ex")), 401, "token-malformed");
    let own = Signer::hmac("HS256", b"a secret that somebody else has made up");
    let forged = Token::new(&own).claim("iss", "https://app.example.com").claim("aud", "app").sign();
    running.server.refused(
        &me().header("Cookie", format!("access_token=\"Bearer {forged}\"")),
        401,
        "signature-invalid",
    );
}

#[test]
fn only_a_page_of_this_site_changes_something() {
    let running = start();
    let cookie = session(&running);
    let post = || request(&running, "POST", "/api/notes").header("Cookie", &cookie);
    assert_eq!(post().header("Sec-Fetch-Site", "same-origin").send().json(), json!({"noted": "alice"}));
    assert_eq!(post().header("Origin", "https://app.example.com").status(), 200);
    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "https://elsewhere.example"),
        ("Origin", "http://app.example.com"),
        ("Origin", "null"),
    ] {
        running.server.refused(&post().header(name, value), 403, "csrf");
    }
    running.server.refused(&post(), 403, "csrf");
    let logout = request(&running, "POST", "/auth/logout").header("Cookie", &cookie);
    running.server.refused(&logout.clone().header("Sec-Fetch-Site", "cross-site"), 403, "csrf");
    assert_eq!(logout.header("Sec-Fetch-Site", "same-origin").status(), 303);
}

#[test]
fn login_and_callback_are_open_and_their_like_are_not() {
    let running = start();
    assert_eq!(request(&running, "GET", "/auth/login").status(), 200);
    // An old session does not keep anybody from a new one.
    assert_eq!(request(&running, "GET", "/auth/login").header("Cookie", "access_token=old").status(), 200);
    assert_eq!(log_in(&running, "alice", "wrong").status, 401);
    assert_eq!(log_in(&running, "nobody", "wrong").status, 401);
    let login = log_in(&running, "alice", "correct+horse");
    let callback = login.header("Location").unwrap();
    let other = request(&running, "GET", callback).header("Cookie", "login_state=other");
    assert_eq!(other.status(), 401, "another's browser finishes no login");
    for target in
        ["/auth/login/", "/auth/login/x", "/auth/callbacks", "/auth/Login", "/auth/", "/docs", "/openapi.json", "/x"]
    {
        running.server.refused(&request(&running, "GET", target), 401, "token-missing");
    }
    running.server.refused(
        &request(&running, "GET", "/auth/login/%252e%252e/%252e%252e/api/me"),
        400,
        "path-ambiguous",
    );
}

#[test]
fn the_secrets_are_roots_alone_and_in_no_other_file() {
    let example = Example::install(NAME, &[]);
    let secrets = ["jwt_gate/session.secret", "session-app/users.json"].map(|name| example.root().join(name));
    for file in &secrets {
        assert!(is_private(file), "{}", file.display());
        assert!(is_private(file.parent().unwrap()), "{}", file.display());
    }
    let secret = std::fs::read_to_string(&secrets[0]).unwrap();
    let secret = secret.trim_end();
    assert_eq!(secret.len(), 64);
    let unit = std::fs::read_to_string(example.root().join("units/session-app.service")).unwrap();
    assert!(!example.vhost().contains(secret) && !unit.contains(secret));
}

#[test]
fn the_lines_for_a_managed_certificate_are_good() {
    Example::install(NAME, &[]).managed_certificate();
}
