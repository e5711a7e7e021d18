//! Setup 1: users of Amazon Cognito.

use std::time::Instant;

use serde_json::json;

use crate::harness::example::{Example, Running};
use crate::harness::idp::Cognito;
use crate::harness::{Connection, PATIENCE, await_true};

const NAME: &str = "1-cognito-backend";
const HEADING: &str = "1. For users of Amazon Cognito";
const HOST: &str = "api.example.com";
const LOCAL: &str = "127.0.0.1";

/// The setup for a user pool of this machine.
fn install() -> (Example, Cognito) {
    let example = Example::install(NAME, &[]);
    let folder = example.root().join("conf");
    crate::harness::certificates::Authority::new().write(&folder);
    let cognito = Cognito::start(Some(&folder));
    // moto takes its time to answer on a machine that has much to do.
    let client = format!("audience={} ca=conf/ca.pem timeout=15s", cognito.client_id);
    let example = example
        .replace("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E", &cognito.issuer)
        .replace("audience=4f5g6h7j8k9l0example", &client);
    (example, cognito)
}

/// The setup, once all processes have the keys of the pool, and an access token of alice.
fn start(example: Example, cognito: &Cognito) -> (Running, String) {
    let running = example.start("api.service");
    let token = cognito.access_token();
    await_true("the keys of the pool in all processes", || {
        (0..8).all(|_| running.request("GET", HOST, "/auth/me").bearer(&token).status() == 200)
    });
    (running, token)
}

/// These need what `make target/idp/node_modules` installs.
mod installed {
    use super::*;

    #[test]
    fn readme_of_the_cognito_backend_tells_what_happens() {
        let (example, cognito) = install();
        let example = example.variable("TOKEN", &cognito.access_token());
        start(example, &cognito).0.follow_readme(HEADING, &[("", LOCAL)]);
    }

    #[test]
    fn only_the_question_for_health_is_open() {
        let (example, cognito) = install();
        let (running, token) = start(example, &cognito);
        let request = |method: &str, target: &str| running.request(method, HOST, target);
        assert_eq!(request("GET", "/health").send().json(), json!({"status": "ok"}));
        // A token that is no good harms nobody where none is looked at.
        assert_eq!(request("GET", "/health").bearer("a.b.c").status(), 200);
        for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get"] {
            let refusal = request(method, "/health");
            running.server.refused(&refusal, 401, "token-missing");
        }
        for target in [
            "/",
            "/health/",
            "/health/x",
            "/HEALTH",
            "/healthy",
            "/auth/me",
            "/masters/",
            "/jobs/",
            "/attachments/",
            "/reports/",
            "/docs",
        ] {
            running.server.refused(&request("GET", target), 401, "token-missing");
        }
        for target in ["/masters/", "/jobs/", "/attachments/", "/reports/"] {
            let answer = request("GET", target).bearer(&token).send();
            assert_eq!(answer.json(), json!({"items": [], "groups": ["admins"]}), "{target}");
            assert_eq!(answer.header("Strict-Transport-Security"), Some("max-age=31536000"));
        }
        let me =
            request("GET", "/auth/me").bearer(&token).header("X-User", "eve").header("X-Groups", "root").send().json();
        assert_eq!((&me["groups"], &me["scopes"]), (&json!(["admins"]), &json!(["aws.cognito.signin.user.admin"])));
        assert_ne!(me["user"], "eve");
    }

    #[test]
    fn other_tokens_of_the_pool_are_refused() {
        let (example, cognito) = install();
        let (running, _) = start(example, &cognito);
        let get = |token: String| running.request("GET", HOST, "/jobs/").bearer(token);
        running.server.refused(&get(cognito.id_token()), 401, "claim-mismatch");
        let other = cognito.login("alice", &cognito.other_client_id, std::time::Duration::from_secs(60));
        running.server.refused(&get(other.access_token), 401, "audience-mismatch");
    }

    #[test]
    fn the_stage_has_room_for_200_at_once_and_100_a_second() {
        let (example, _cognito) = install();
        let running = example.start("api.service");
        let ca = std::fs::read_to_string(running.server.root.join("tls/ca.pem")).unwrap();
        let open = || Connection::open_tls(running.server.address(), None, HOST, &ca).unwrap();
        let mut connection = open();
        let begin = Instant::now();
        let mut admitted = 0_u32;
        // The limit is asked before the token, so that these are counted and cost nothing more.
        let refusal = loop {
            connection.send(format!("GET /jobs/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            let answer = connection.answer();
            if answer.status == 429 {
                break answer;
            }
            assert_eq!(answer.status, 401);
            admitted += 1;
            if answer.header("Connection") == Some("close") {
                connection = open();
            }
            assert!(begin.elapsed() < PATIENCE, "{admitted} of all let in");
        };
        assert!(admitted >= 200, "{admitted}");
        assert!(
            f64::from(admitted) <= 200.0 + 100.0 * begin.elapsed().as_secs_f64(),
            "{admitted} in {:?}",
            begin.elapsed()
        );
        assert_eq!(refusal.header("Retry-After"), Some("1"));
        // The open path is part of the stage.
        let health = running.request("GET", HOST, "/health").send();
        assert_eq!(health.header("RateLimit-Policy"), Some("\"stage\";q=200;w=2"));
        running.access_log("stage.log", " deny rate-limited stage\n");
    }
}

#[test]
fn the_lines_for_a_managed_certificate_are_good() {
    Example::install(NAME, &[]).managed_certificate();
}
