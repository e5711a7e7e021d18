//! The setup of the README: FastAPI under uvicorn behind the gate.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::ports::Port;
use crate::harness::{MAIN, Site, await_true};

/// uvicorn with `app/main.py`; ends with this value.
struct Uvicorn {
    process: Child,
    port: Port,
}

impl Uvicorn {
    fn start() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = package.join("../../target/venv/bin/uvicorn");
        assert!(program.exists(), "no {}: run `make target/venv` first", program.display());
        let port = Port::reserve();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("--app-dir").arg(package.join("app"));
        command.args(["main:app", "--log-level", "warning", "--port", &port.number.to_string()]);
        let process = command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).spawn().unwrap();
        let uvicorn = Self { process, port };
        await_true("uvicorn to serve", || TcpStream::connect(("127.0.0.1", uvicorn.port.number)).is_ok());
        uvicorn
    }
}

impl Drop for Uvicorn {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn fastapi_sees_who_asks_and_only_those_who_may() {
    let uvicorn = Uvicorn::start();
    let server = Site::new().start(&format!(
        r#"{MAIN}
        ProxyPass / http://127.0.0.1:{}/
        <Location "/">
            JwtGate on
            JwtGateForward X-User subject
            JwtGateLimit per-user key=subject rate=1/d burst=3
        </Location>
        <Location "/health">
            JwtGate off
        </Location>"#,
        uvicorn.port.number
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
