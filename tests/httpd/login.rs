//! The login page of the guide: browsers are sent there, and back to where they wanted to go; all others are told.

use serde_json::json;

use crate::browser::{at_gate, over_tls};
use crate::harness::chromium::Chromium;
use crate::harness::uvicorn::Uvicorn;
use crate::harness::{Request, Server, Site, Token, now};

/// The guide's lines in front of `app/login.py`.
fn server() -> (Uvicorn, Server) {
    let site = Site::new();
    std::fs::create_dir(site.root.join("jwt_gate")).unwrap();
    std::fs::copy(site.root.join("keys/hs256.secret"), site.root.join("jwt_gate/own.secret")).unwrap();
    let login = Uvicorn::start("login", &[("APP_SECRET", &site.root.join("keys/hs256.secret"))]);
    let page = include_str!("../../docs/browsers.md");
    let mut blocks = page.split("```apache\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains("ErrorDocument 401")).unwrap();
    let places =
        format!("{block}\nProxyPass / {}/\n<Location \"/\">\nJwtGateForward X-User subject\n</Location>", login.url());
    (login, over_tls(site, &places))
}

fn token(server: &Server) -> Token<'_> {
    Token::new(&server.keys.hs256).claim("iss", "https://app.example.com").claim("aud", "app")
}

fn expired(server: &Server) -> String {
    token(server).claim("exp", now() - 600).sign()
}

#[test]
fn a_browser_logs_in_and_lands_where_it_wanted_to() {
    let (_login, server) = server();
    let browser = Chromium::start(&server);
    let wanted = at_gate(&server, "/orders?status=open&to=%2F%3Fa%20b");
    let login = at_gate(&server, "/login?next=%2forders%3fstatus%3dopen%26to%3d%252F%253Fa%2520b");
    let page = browser.page(&at_gate(&server, "/login"));
    let expired = format!("document.cookie = 'access_token={}'", expired(&server));
    for before in ["", &expired, "document.cookie = 'access_token=; Max-Age=0'"] {
        page.run(before);
        page.go(&wanted);
        assert_eq!(page.await_url(&login), 200, "{before}");
    }
    page.run("document.forms[0].elements.user.value = 'alice'; document.forms[0].submit()");
    assert_eq!(page.await_url(&wanted), 200);
    assert_eq!(page.text(), "status=open&to=%2F%3Fa%20b alice");
    // A script of the page is told, not sent.
    let fetched = page.fetch("/orders", &json!({"credentials": "omit"}));
    assert_eq!(fetched["status"], 401);
    assert_eq!(fetched["headers"]["content-type"], "application/problem+json");
}

#[test]
fn all_others_are_told() {
    let (_login, server) = server();
    let ca = std::fs::read_to_string(server.root.join("conf/ca.pem")).unwrap();
    let get = || Request::url("GET", &format!("https://{}/orders", server.address()), Some(&ca));
    for accept in [None, Some("*/*"), Some("application/json")] {
        let request = accept.map_or_else(get, |accept| get().header("Accept", accept));
        let answer = server.refused(&request, 401, "token-missing");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"), "{accept:?}");
        assert_eq!(answer.header("WWW-Authenticate"), Some(r#"Bearer realm="api""#), "{accept:?}");
    }
    // What the browser gets is a refusal, too.
    let browser = || get().header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    let cookie = format!("access_token={}", expired(&server));
    for (request, reason) in [(browser(), "token-missing"), (browser().header("Cookie", cookie), "token-expired")] {
        let answer = server.refused(&request, 302, reason);
        let location = format!("https://{}/login?next=%2forders", server.address());
        assert_eq!(answer.header("Location"), Some(location.as_str()));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    }
    // A good token that does not suffice is no reason to log in again.
    let cookie = format!("access_token={}", token(&server).sign());
    let post = Request::url("POST", &format!("https://{}/orders", server.address()), Some(&ca));
    let answer = server.refused(&post.header("Accept", "text/html").header("Cookie", cookie), 403, "csrf");
    assert_eq!(answer.header("Location"), None);
}
