//! FastAPI applications under uvicorn, from the folder `app`.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::await_true;
use super::ports::Port;

/// uvicorn with one of them; ends with this value.
#[derive(Debug)]
pub(crate) struct Uvicorn {
    process: Child,
    port: Port,
}

impl Uvicorn {
    /// Starts `app/NAME.py` with these environment variables and waits until it serves.
    ///
    /// # Panics
    /// When uvicorn is not installed, or does not come up.
    pub(crate) fn start(name: &str, environment: &[(&str, &Path)]) -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = package.join("../../target/venv/bin/uvicorn");
        assert!(program.exists(), "no {}: run `make target/venv` first", program.display());
        let port = Port::reserve();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("--app-dir").arg(package.join("app"));
        command.arg(format!("{name}:app")).args(["--log-level", "warning", "--port", &port.number.to_string()]);
        command.env("PYTHONDONTWRITEBYTECODE", "1").envs(environment.iter().copied());
        Self::serving(&mut command, port)
    }

    /// Runs a command that starts uvicorn, as a unit of systemd has it, on another port and with this folder of
    /// credentials, and waits until it serves.
    ///
    /// # Panics
    /// When it names no port or no address, or does not come up.
    pub(crate) fn of_command(words: &[String], credentials: &Path) -> Self {
        let port = Port::reserve();
        let mut words = words.to_vec();
        let after = |words: &[String], option| words.iter().position(|word| word == option).expect(option) + 1;
        let number = after(&words, "--port");
        assert_eq!(words[number], "9000");
        assert_eq!(words[after(&words, "--host")], "127.0.0.1");
        words[number] = port.number.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(words).args(["--log-level", "critical"]);
        command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1").env("CREDENTIALS_DIRECTORY", credentials);
        Self::serving(&mut command, port)
    }

    fn serving(command: &mut Command, port: Port) -> Self {
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let uvicorn = Self { process, port };
        await_true("uvicorn to serve", || TcpStream::connect(("127.0.0.1", uvicorn.port.number)).is_ok());
        uvicorn
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The port of 127.0.0.1 on which it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port.number
    }

    /// Its address as ProxyPass takes it, without final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }
}

impl Drop for Uvicorn {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
