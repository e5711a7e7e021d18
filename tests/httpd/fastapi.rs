//! The setup of the README: FastAPI under uvicorn behind the gate.

use serde_json::json;

use crate::harness::uvicorn::Uvicorn;
use crate::harness::{MAIN, Site};

#[test]
fn fastapi_sees_who_asks_and_only_those_who_may() {
    let uvicorn = Uvicorn::start("main", &[]);
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass / {}/
        <Location "/">
            JwtGate on
            JwtGateForward X-User subject
            JwtGateLimit per-user key=subject rate=1/d burst=3
        </Location>
        <Location "/health">
            JwtGate off
        </Location>"#,
        uvicorn.url()
    ));
    assert_eq!(server.get("/health").header("X-User", "eve").send().json(), json!({"status": "up", "user": null}));
    assert_eq!(server.get("/me").header("X-User", "eve").status(), 401);
    let token = server.token().claim("sub", "jürgen").sign();
    let me = || server.get("/me").header("X-User", "eve").header("X_User", "eve").bearer(&token);
    assert_eq!(me().send().json(), json!({"user": "jürgen"}));
    let note = server.request("POST", "/notes").bearer(&token).header("Content-Type", "application/json");
    assert_eq!(note.body(r#"{"text":"hello"}"#).send().json(), json!({"user": "jürgen", "text": "hello"}));
    assert_eq!(me().status(), 200);
    server.refused(&me(), 429, "rate-limited");
}

#[test]
fn who_guesses_passwords_of_its_login_form_is_locked_out() {
    let uvicorn = Uvicorn::start("main", &[]);
    let mut server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass / {}/
        <Location "/">
            JwtGate on
        </Location>
        <Location "/login">
            JwtGateToken none
            JwtGateLockout failures=3/1h count=backend
        </Location>"#,
        uvicorn.url()
    ));
    server.expect_log("JG3002");
    let log_in = |from: &str, user: &str, password: &str| {
        let request = server.request("POST", "/login").from(from);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        request.body(format!("user={user}&password={password}")).send()
    };
    let statuses = |from: &str, tries: &[(&str, &str)]| -> Vec<u16> {
        tries.iter().map(|(user, password)| log_in(from, user, password).status).collect()
    };
    let right = ("alice", "correct+horse");
    let guesses = [("alice", "1"), ("mallory", "2"), right, ("alice", "3"), right];
    assert_eq!(statuses("127.0.0.2", &guesses), [401, 403, 200, 401, 429]);
    assert_eq!(log_in("127.0.0.3", right.0, right.1).json(), json!({"user": "alice"}));
    // The rest of the application does not ask the lock.
    assert_eq!(server.get("/health").from("127.0.0.2").bearer(server.token().sign()).status(), 200);
}
