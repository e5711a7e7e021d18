//! `jwt-gate explain`

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::folder::{Folder, Run, fed, words};
use crate::server::Server;

const PLACE: &str = "/gate/explain";

/// `jwt-gate explain --url … --path /x WORDS…`
fn explain(server: &Server, more: &[&str]) -> Run {
    let url = format!("{}{PLACE}", server.origin);
    words(&[&["explain", "--url", &url, "--path", "/x"], more].concat())
}

fn denied() -> String {
    json!({
        "verdict": "deny", "status": 401, "reason": "token-expired",
        "steps": [
            { "step": "addresses", "result": "passed", "detail": "192.0.2.7 is in @office" },
            { "step": "token", "result": "refused", "detail": "expired 3m ago" },
            { "step": "limits by identity", "result": "skipped" },
        ],
        "sections": ["<Location \"/\">", "<Location \"/x\">"],
        "policy": { "gate": "on", "issuers": ["login"] },
        "identity": null,
        "headers_for_application": [["X-User", "alice"]],
    })
    .to_string()
}

#[test]
fn the_request_is_described_and_the_answer_shown_step_by_step() {
    let server = Server::answering("200 OK", &denied());
    let more = [
        "--method",
        "POST",
        "--address",
        "192.0.2.7",
        "--peer",
        "10.0.0.1",
        "--host",
        "api.example.com",
        "--header",
        "Origin: https://app.example.com",
        "-H",
        "X-A:",
        "--token",
        "-",
    ];
    let url = format!("{}{PLACE}?a=b", server.origin);
    let run = fed(&[&["explain", "--url", &url, "--path", "/x?y=1"], &more[..]].concat(), b"Bearer a.b.c\n");
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{run:?}");
    assert_eq!(
        run.out,
        "deny: 401 token-expired\n  \
           The client gets a new token. If all are expired: is the clock right?\n\
         steps\n  \
           addresses           passed   192.0.2.7 is in @office\n  \
           token               refused  expired 3m ago\n  \
           limits by identity  skipped\n\
         sections\n  \
           <Location \"/\">\n  \
           <Location \"/x\">\n\
         policy\n  \
           gate     on\n  \
           issuers  [\"login\"]\n\
         headers for the application\n  \
           X-User: alice\n"
    );
    let asked = server.asked();
    assert_eq!(asked.head[0], "POST /gate/explain?a=b HTTP/1.1");
    assert!(asked.head.iter().any(|line| line.eq_ignore_ascii_case("content-type: application/json")), "{asked:?}");
    assert_eq!(
        serde_json::from_slice::<Value>(&asked.body).unwrap(),
        json!({
            "method": "POST", "path": "/x?y=1", "host": "api.example.com", "address": "192.0.2.7", "peer": "10.0.0.1",
            "headers": [["Origin", "https://app.example.com"], ["X-A", ""], ["Authorization", "Bearer a.b.c"]],
        })
    );
}

#[test]
fn what_is_not_said_is_left_to_the_server() {
    let server = Server::answering("200 OK", r#"{"verdict":"allow"}"#);
    let run = explain(&server, &[]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (Some(0), "allow\n", ""));
    let body = server.asked().body;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({ "method": "GET", "path": "/x", "headers": [] })
    );
}

#[test]
fn a_dry_run_lets_in() {
    let server = Server::answering("200 OK", r#"{"verdict":"would-deny","status":403,"reason":"address-denied"}"#);
    let run = explain(&server, &[]);
    assert_eq!(run.code, Some(0));
    assert!(run.out.starts_with("would-deny: 403 address-denied\n  The address is in a `JwtGateDeny`"), "{run:?}");
}

#[test]
fn json_for_programs() {
    let server = Server::answering("200 OK", &denied());
    let run = explain(&server, &["--json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap(), serde_json::from_str::<Value>(&denied()).unwrap());
}

#[test]
fn a_token_on_the_command_line_is_warned_about() {
    let server = Server::answering("200 OK", r#"{"verdict":"allow"}"#);
    let run = explain(&server, &["--token", "a.b.c"]);
    assert!(run.code == Some(0) && run.err.contains("history of the shell"), "{run:?}");
    assert!(String::from_utf8(server.asked().body).unwrap().contains("Bearer a.b.c"));
}

#[test]
fn what_is_no_answer_ends_with_2() {
    for (status, body, why) in [
        ("200 OK", "", "is not JSON"),
        ("200 OK", "<html>", "is not JSON"),
        ("200 OK", "{}", "no verdict"),
        ("200 OK", "[]", "no verdict"),
        ("200 OK", r#"{"verdict":"maybe"}"#, "no verdict"),
        ("200 OK", r#"{"verdict":["allow"]}"#, "no verdict"),
        ("404 Not Found", r#"{"verdict":"allow"}"#, "status 404: does `SetHandler jwt-gate-explain` stand there"),
        ("401 Unauthorized", r#"{"verdict":"allow"}"#, "status 401: the server refused this command itself"),
        ("302 Found\r\nLocation: http://192.0.2.1/", "", "status 302"),
        ("500 Oops", "", "status 500"),
        ("400 Bad Request", r#"{"error":"address: \u001bnowhere"}"#, r"status 400: address: \u{1b}nowhere"),
        ("400 Bad Request", r#"{"error":["a"]}"#, "status 400\n"),
    ] {
        let server = Server::answering(status, body);
        explain(&server, &[]).refused(2, why);
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    explain(&Server::answering("200 OK", &deep), &[]).refused(2, "is not JSON");
    let long = format!("{{\"verdict\":\"allow\",\"x\":\"{}\"}}", "x".repeat(2 << 20));
    explain(&Server::answering("200 OK", &long), &[]).refused(2, "more than 1048576 bytes");
    explain(&Server::saying(b"SSH-2.0-OpenSSH\r\n".to_vec()), &[]).refused(2, "no answer");
    explain(&Server::saying(Vec::new()), &[]).refused(2, "no answer");
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"verdict\":\"allow\"}".to_vec();
    explain(&Server::saying(cut), &[]).refused(2, "no answer");
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    words(&["explain", "--url", &url, "--path", "/"]).refused(2, "the connection was refused");
}

#[test]
fn a_certificate_has_to_be_trusted() {
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (certificate(), certificate());
    let (trusted, stranger) = (Folder::with(own.cert.pem()), Folder::with(other.cert.pem()));
    let body = r#"{"verdict":"allow"}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();

    let server = Server::saying_over_tls(answer.clone(), &own);
    let run = explain(&server, &["--ca", trusted.file().to_str().unwrap()]);
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (Some(0), "allow\n", ""));
    assert_eq!(server.asked().head[0], "POST /gate/explain HTTP/1.1");

    let server = Server::saying_over_tls(answer, &own);
    explain(&server, &["--ca", stranger.file().to_str().unwrap()]).refused(2, "name it with --ca");
    let asked = server.asked();
    assert!(
        asked.head.is_empty() && asked.body.is_empty(),
        "nobody is told of a request whom we do not trust: {asked:?}"
    );
}

/// The server may repeat what a client sent.
#[test]
fn nothing_in_an_answer_is_obeyed_by_a_terminal() {
    let hostile = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}b\nallow";
    let answer = json!({
        "verdict": "deny", "reason": hostile,
        "steps": [{ "step": hostile, "result": hostile, "detail": hostile }, 5, null, { "step": 1 }],
        "sections": [hostile, [hostile], { hostile: hostile }],
        "policy": { hostile: { hostile: hostile } },
        "identity": hostile,
        "headers_for_application": [[hostile, hostile], [], [1, 2, 3]],
    });
    for more in [&[][..], &["--json"]] {
        let run = explain(&Server::answering("200 OK", &answer.to_string()), more);
        assert_eq!(run.code, Some(1), "{run:?}");
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!run.out.contains(obeyed) && !run.out.lines().any(|line| line == "allow"), "{run:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let folder = Folder::with("no certificate");
    let file = folder.file();
    for (wrong, why) in [
        (&["--url", "127.0.0.1", "--path", "/"][..], "not http"),
        (&["--url", "/gate", "--path", "/"], "not a whole URL"),
        (&["--url", "ftp://127.0.0.1/", "--path", "/"], "not http"),
        (&["--url", "http://api.example.com/", "--path", "/"], "others could read the token"),
        (&["--url", "http://127.0.0.1.example.com/", "--path", "/"], "others could read the token"),
        (&["--url", "http://user@127.0.0.1/", "--path", "/"], "names a user"),
        (&["--url", "http://127.0.0.1/", "--path", "x"], "begins with `/`"),
        (&["--url", "http://127.0.0.1/", "--path", "/", "--method", "GET /"], "no method"),
        (&["--url", "http://127.0.0.1/", "--path", "/", "--header", "X"], "NAME: VALUE"),
        (&["--url", "http://127.0.0.1/", "--path", "/", "--header", "X: a\r\nY: b"], "NAME: VALUE"),
        (&["--url", "http://127.0.0.1/", "--path", "/", "--token", "-"], "there is no token"),
        (&["--url", "http://127.0.0.1/", "--path", "/", "--ca", file.to_str().unwrap()], "no certificates in http"),
        (&["--url", "https://127.0.0.1/", "--path", "/", "--ca", "/nonexistent"], "cannot be read"),
        (&["--url", "https://127.0.0.1/", "--path", "/", "--ca", file.to_str().unwrap()], "no certificate"),
    ] {
        words(&[&["explain"], wrong].concat()).refused(2, why);
    }
    let bad = fed(&["explain", "--url", "http://127.0.0.1/", "--path", "/", "--token", "-"], b"a\nb");
    bad.refused(2, "no header can hold this");
    let bad = fed(&["explain", "--url", "http://127.0.0.1/", "--path", "/", "--token", "-"], b"a\xffb");
    bad.refused(2, "no header can hold this");
}
