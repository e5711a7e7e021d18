//! Identity providers that others have written, as processes: Amazon Cognito by moto, panva's oidc-provider, and
//! joserfc as a maker of keys and tokens; with them server and client of the Model Context Protocol. What they are and
//! what they answer stands in `tests/idp`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Answer, Request};
use super::ports::Port;
use super::{PATIENCE, tokens};

/// One user pool of Amazon Cognito with two clients, the user `alice` in the group `admins`, and `bob` in none.
#[derive(Debug)]
pub(crate) struct Cognito {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// The pool's second client.
    pub(crate) other_client_id: String,
    process: Process,
    _port: Port,
}

/// What a user gets who logs in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) access_token: String,
    pub(crate) id_token: String,
}

impl Cognito {
    /// Starts it, over TLS with the files of [`Authority::write`](super::certificates::Authority::write) in a folder if
    /// one is given.
    pub(crate) fn start(tls: Option<&Path>) -> Self {
        let port = Port::reserve();
        let (process, said) = Process::start("venv/bin/python", "cognito.py", &with_folder(&port, tls));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            issuer: text(&said["issuer"]),
            client_id: text(&said["clients"]["app"]),
            other_client_id: text(&said["clients"]["other"]),
            process,
            _port: port,
        }
    }

    /// Where its keys are, as discovery says.
    pub(crate) fn keys_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.issuer)
    }

    /// An access token of alice at [`Self::client_id`], for an hour. It has `client_id` and no `aud`.
    pub(crate) fn access_token(&self) -> String {
        self.login("alice", &self.client_id, Duration::from_secs(3600)).access_token
    }

    /// An identity token of alice with [`Self::client_id`] as its `aud`, for an hour.
    pub(crate) fn id_token(&self) -> String {
        self.login("alice", &self.client_id, Duration::from_secs(3600)).id_token
    }

    /// Logs `alice` or `bob` in at one of the two clients, for tokens of this lifetime.
    pub(crate) fn login(&self, user: &str, client_id: &str, lifetime: Duration) -> Login {
        let client = if client_id == self.client_id { "app" } else { "other" };
        let request = json!({"do": "tokens", "user": user, "client": client, "lifetime": lifetime.as_secs()});
        let answer = self.process.ask(&request);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Login { access_token: text("access_token"), id_token: text("id_token") }
    }

    /// Signs with a new key from now on, and publishes it and the one before. Gives their kids, the new one last.
    pub(crate) fn rotate(&self) -> Vec<String> {
        kids(&self.process.ask(&json!({"do": "rotate"})))
    }
}

/// A certified OpenID provider. The algorithm of an access token is the last segment of the resource that it is for, or
/// ES256.
#[derive(Debug)]
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    ca: Option<String>,
    process: Process,
    _port: Port,
}

impl Oidc {
    /// Those that access tokens can be signed with.
    pub(crate) const ALGORITHMS: [&str; 11] =
        ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];

    /// Starts it, over TLS with the files of [`Authority::write`](super::certificates::Authority::write) in a folder if
    /// one is given.
    pub(crate) fn start(tls: Option<&Path>) -> Self {
        let port = Port::reserve();
        let (process, said) = Process::start("node", "oidc.mjs", &with_folder(&port, tls));
        let ca = tls.map(|folder| std::fs::read_to_string(folder.join("ca.pem")).unwrap());
        Self { issuer: said["issuer"].as_str().unwrap().to_owned(), ca, process, _port: port }
    }

    /// Where its keys are, as discovery says.
    pub(crate) fn keys_url(&self) -> String {
        format!("{}/jwks", self.issuer)
    }

    /// The resource whose access tokens are signed with this algorithm; it becomes their `aud`.
    pub(crate) fn resource(algorithm: &str) -> String {
        format!("https://api.test/{algorithm}")
    }

    /// An access token (RFC 9068) of the client `svc` for five minutes, with the scopes `read` and `write`, and the
    /// claim `roles`. For a resource that ends in `/opaque` it is an opaque one.
    pub(crate) fn token(&self, resource: &str) -> String {
        self.token_of("svc", "read write", resource)
    }

    /// An access token of the client `svc` or `reader`, which may have `read` alone, for these scopes.
    pub(crate) fn token_of(&self, client: &str, scopes: &str, resource: &str) -> String {
        let answer = self.grant(client, scopes, resource);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Asks for an access token by client_credentials (RFC 6749 section 4.4, RFC 8707).
    pub(crate) fn grant(&self, client: &str, scopes: &str, resource: &str) -> Answer {
        let form = format!("grant_type=client_credentials&scope={}&resource={resource}", scopes.replace(' ', "+"));
        Request::url("POST", &format!("{}/token", self.issuer), self.ca.as_deref())
            .header("Authorization", format!("Basic {}", STANDARD.encode(format!("{client}:secret"))))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
    }

    /// Signs with new keys from now on, and publishes them and those before. Gives the kids of the new ones.
    pub(crate) fn rotate(&self) -> Vec<String> {
        kids(&self.process.ask(&json!({"do": "rotate"})))
    }
}

/// Keys that joserfc made, one of an algorithm, whose kid is the algorithm.
#[derive(Debug)]
pub(crate) struct Joserfc {
    /// The JWK set; of secrets it has all.
    pub(crate) keys: Value,
    process: Process,
}

impl Joserfc {
    /// Makes keys for algorithms of RFC 7518, EdDSA (RFC 8037), ES256K (RFC 8812), Ed25519 and Ed448 (RFC 9864).
    pub(crate) fn start(algorithms: &[&str]) -> Self {
        let arguments: Vec<String> = algorithms.iter().map(|&algorithm| algorithm.to_owned()).collect();
        let (process, keys) = Process::start("venv/bin/python", "tokens.py", &arguments);
        Self { keys, process }
    }

    /// Signs claims; members of `header` stand beside `alg` and `kid` or in place of them.
    pub(crate) fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let request = json!({"do": "sign", "algorithm": algorithm, "header": header, "claims": claims});
        self.process.ask(&request)["token"].as_str().unwrap().to_owned()
    }

    /// A valid token, as those of [`Site::token`](super::Site::token).
    pub(crate) fn token(&self, algorithm: &str) -> String {
        self.sign(algorithm, &json!({}), &tokens::claims())
    }
}

/// An application that speaks the Model Context Protocol. Its tool `whoami` gives the header `X-User`.
#[derive(Debug)]
pub(crate) struct McpServer {
    pub(crate) url: String,
    _process: Process,
    _port: Port,
}

impl McpServer {
    pub(crate) fn start() -> Self {
        let port = Port::reserve();
        let (process, said) = Process::start("venv/bin/python", "mcp_server.py", &with_folder(&port, None));
        Self { url: said["url"].as_str().unwrap().to_owned(), _process: process, _port: port }
    }
}

/// A client of the Model Context Protocol with alice before it, who logs in at [`Oidc`] when she is asked to.
#[derive(Debug)]
pub(crate) struct McpClient(Process);

impl McpClient {
    pub(crate) fn start() -> Self {
        Self(Process::start("venv/bin/python", "mcp_client.py", &[]).0)
    }

    /// Calls a tool as one who comes for the first time; gives its text or an error, and all `requests` that were
    /// needed.
    pub(crate) fn call(&self, url: &str, tool: &str) -> Value {
        self.0.ask(&json!({"do": "call", "url": url, "tool": tool}))
    }
}

fn with_folder(port: &Port, folder: Option<&Path>) -> Vec<String> {
    let mut arguments = vec![port.number.to_string()];
    arguments.extend(folder.map(|folder| folder.canonicalize().unwrap().display().to_string()));
    arguments
}

fn kids(answer: &Value) -> Vec<String> {
    answer["kids"].as_array().unwrap().iter().map(|kid| kid.as_str().unwrap().to_owned()).collect()
}

/// A program of `tests/idp` with which one talks in lines of JSON. It ends with this value, and with the test.
#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    talk: Mutex<(ChildStdin, Receiver<String>)>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Starts it with an interpreter of `target/idp` and gives what it says first.
    ///
    /// # Panics
    /// When it says nothing.
    fn start(interpreter: &str, name: &str, arguments: &[String]) -> (Self, Value) {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed =
            std::env::var_os("JWT_GATE_IDP").map_or_else(|| package.join("../../target/idp"), PathBuf::from);
        let interpreter = installed.join(interpreter);
        assert!(
            interpreter.exists() && installed.join("node_modules").exists(),
            "no identity providers in {}: run `make target/idp/node_modules` first",
            installed.display()
        );
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(interpreter);
        command.arg(package.join("../idp").join(name).canonicalize().unwrap()).args(arguments);
        command.current_dir(installed).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv (util-linux) can be started");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut said = Vec::new();
            // What came before an error is all that there is.
            drop(stderr.read_to_end(&mut said));
            String::from_utf8_lossy(&said).into_owned()
        });
        let talk = Mutex::new((child.stdin.take().unwrap(), lines));
        let process = Self { name: name.to_owned(), child, talk, stderr: Some(stderr) };
        let introduction = process.hear(&process.talk.lock().unwrap().1);
        (process, introduction)
    }

    /// # Panics
    /// When there is no answer.
    fn ask(&self, request: &Value) -> Value {
        let mut talk = self.talk.lock().unwrap();
        writeln!(talk.0, "{request}").unwrap();
        self.hear(&talk.1)
    }

    fn hear(&self, lines: &Receiver<String>) -> Value {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{} says nothing", self.name));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let said = self.stderr.take().map(JoinHandle::join);
            eprintln!("{} wrote to stderr:\n{}", self.name, said.and_then(Result::ok).unwrap_or_default());
        }
    }
}
