//! `jwt-gate explain`: asks the running server how it would decide a request, and why.
//!
//! The request is described in a POST to the place with `SetHandler jwt-gate-explain`:
//!
//! ```json
//! {"method": "GET", "path": "/x", "host": "api.example.com", "address": "192.0.2.1", "peer": "10.0.0.1",
//!  "headers": [["Authorization", "Bearer ..."]]}
//! ```
//!
//! `host`, `address` and `peer` are left out if they were not given; a token is the header that carries it. The answer:
//!
//! ```json
//! {"verdict": "deny", "status": 401, "reason": "token-expired",
//!  "steps": [{"step": "addresses", "result": "passed", "detail": "192.0.2.1 is in @office"}],
//!  "sections": ["<Location \"/x\">"], "policy": {"gate": "on"}, "identity": {"subject": "alice"},
//!  "headers_for_application": [["X-User", "alice"]]}
//! ```
//!
//! `verdict` is `allow`, `deny` or `would-deny` (a dry run, which lets in), and all else may be missing. `result` is
//! `passed`, `refused`, `would-refuse` or `skipped`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jwt_gate_core::fetch::trusting;
use jwt_gate_core::keys::set;
use serde_json::{Map, Value};
use ureq::http::{HeaderName, HeaderValue, Method, Uri};
use ureq::{Agent, Error};

use crate::advice::{advice, reason};
use crate::answer::Answer;
use crate::credential;
use crate::failure::Failure;
use crate::file;
use crate::screen::{Paint, Tone, show, show_json, visible};
use crate::table;

/// A server that decides does not take longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A longer answer is not one of the handler.
const MOST: u64 = 1 << 20;
/// What the handler says of a description that it does not understand is shorter.
const MOST_ERROR: u64 = 4 << 10;

/// Ask the running server how it would decide a request, step by step
///
/// Nothing is charged and nothing is forwarded. It takes a place of the server with `SetHandler jwt-gate-explain`, which
/// only administrators should reach.
#[derive(Args)]
#[command(after_help = "\
Ends with 0 if the server would let the request in, with 1 if it would refuse it, with 2 if it cannot be asked.

Examples:
  jwt-gate explain --url http://127.0.0.1:8080/gate/explain --path /api/orders --address 192.0.2.7
  jwt-gate explain --url http://127.0.0.1:8080/gate/explain --path /api/orders --method POST \\
      --host api.example.com --header 'Origin: https://app.example.com' --token - < token")]
pub(crate) struct Explain {
    /// Where the handler is; https, or http to this machine
    #[arg(long)]
    url: String,
    /// Certificates of a private authority (PEM) that signed the server's [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Path of the request, with its query if it has one
    #[arg(long)]
    path: String,
    /// Its method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The client's address, as mod_remoteip would tell it [default: that of this command]
    #[arg(long)]
    address: Option<String>,
    /// The address of the connection, such as that of a load balancer [default: that of this command]
    #[arg(long)]
    peer: Option<String>,
    /// Its header Host, which finds the virtual host [default: that of the URL]
    #[arg(long)]
    host: Option<String>,
    /// A header of it; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A token for its header Authorization; `-` for standard input
    #[arg(long, value_name = "TOKEN|-")]
    token: Option<String>,
    /// The answer as it came, for programs
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(&self) -> Result<Answer, Failure> {
        let uri = uri(&self.url).map_err(|why| Failure::unusable(format!("--url {}: {why}", visible(&self.url))))?;
        let described = self.described()?;
        let agent = agent(&uri, self.ca.as_deref())?;
        let asked = ask(&agent, &uri, described.to_string().as_bytes());
        let answer = asked.map_err(|why| Failure::unusable(format!("{}: {}", visible(&self.url), visible(&why))))?;
        let verdict = match answer["verdict"].as_str() {
            Some("allow" | "would-deny") => Answer::Yes,
            Some("deny") => Answer::No,
            _ => {
                return Err(Failure::unusable(format!(
                    "{}: the answer has no verdict: is `SetHandler jwt-gate-explain` what answers there?",
                    visible(&self.url)
                )));
            }
        };
        if self.json {
            show_json(&answer)?;
        } else {
            show(&text(&answer, Paint::for_output()))?;
        }
        Ok(verdict)
    }

    /// The request, as the handler is told of it.
    fn described(&self) -> Result<Value, Failure> {
        if !self.path.starts_with('/') {
            return Err(Failure::unusable(format!("--path {}: a path begins with `/`", visible(&self.path))));
        }
        if Method::from_bytes(self.method.as_bytes()).is_err() {
            return Err(Failure::unusable(format!("--method {}: no method is spelt so", visible(&self.method))));
        }
        let mut headers = self.headers.iter().map(|header| pair(header)).collect::<Result<Vec<_>, _>>()?;
        if let Some(token) = &self.token {
            let token = String::from_utf8(credential::token(token)?).ok().map(|token| format!("Bearer {token}"));
            let value = token.filter(|value| HeaderValue::from_str(value).is_ok());
            let value = value.ok_or_else(|| Failure::unusable("--token: no header can hold this".to_owned()))?;
            headers.push(["Authorization".to_owned(), value].into_iter().collect());
        }
        let mut described = Map::new();
        let text = |text: &String| Value::from(text.as_str());
        described.insert("method".to_owned(), text(&self.method));
        described.insert("path".to_owned(), text(&self.path));
        for (name, value) in [("host", &self.host), ("address", &self.address), ("peer", &self.peer)] {
            if let Some(value) = value {
                described.insert(name.to_owned(), text(value));
            }
        }
        described.insert("headers".to_owned(), headers.into());
        Ok(described.into())
    }
}

/// A header as curl takes it.
fn pair(header: &str) -> Result<Value, Failure> {
    let parts = header.split_once(':').map(|(name, value)| (name, value.trim()));
    let good = parts.filter(|(name, value)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok()
    });
    good.map(|(name, value)| [name, value].into_iter().collect())
        .ok_or_else(|| Failure::unusable(format!("--header {}: write `NAME: VALUE`", visible(header))))
}

/// An address where a token may be sent.
fn uri(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "not a URL: write `http://127.0.0.1/PATH`".to_owned())?;
    let Some(authority) = uri.authority() else {
        return Err("not a whole URL: write `http://127.0.0.1/PATH`".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("names a user: leave out what stands before `@`".to_owned());
    }
    let host = authority.host();
    let is_loopback = host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback => Ok(uri),
        Some("http") => {
            Err("others could read the token on its way: write `https://`, or run this on the server itself \
                             with `http://127.0.0.1`"
                .to_owned())
        }
        _ => Err("not http: write `http://127.0.0.1/PATH` or `https://HOST/PATH`".to_owned()),
    }
}

/// Speaks with nobody but that server: no proxy, and nowhere else on its word.
fn agent(uri: &Uri, ca: Option<&Path>) -> Result<Agent, Failure> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("jwt-gate/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        .accept_encoding("identity");
    if uri.scheme_str() == Some("http") {
        if ca.is_some() {
            return Err(Failure::unusable("--ca: there are no certificates in http: leave it out".to_owned()));
        }
        return Ok(config.build().into());
    }
    let read = |path: &Path| {
        let read = file::read(path, set::MAX_BYTES as u64);
        read.map_err(|why| {
            Failure::unusable(format!("--ca {}: cannot be read: {why}", visible(&path.display().to_string())))
        })
    };
    let authorities = ca.map(read).transpose()?.map(|(bytes, _)| bytes);
    let tls = trusting(authorities.as_deref()).map_err(|why| Failure::unusable(format!("--ca: {}", visible(&why))))?;
    Ok(config.tls_config(tls).build().into())
}

fn ask(agent: &Agent, uri: &Uri, request: &[u8]) -> Result<Value, String> {
    let mut response = agent.post(uri).content_type("application/json").send(request).map_err(unanswered)?;
    let status = response.status().as_u16();
    if status != 200 {
        // The handler says what is wrong with a description; others answer with pages.
        let told = file::start(response.body_mut().as_reader(), MOST_ERROR).unwrap_or_default();
        let told = serde_json::from_slice::<Value>(&told).unwrap_or_default();
        if let Some(why) = told["error"].as_str() {
            return Err(format!("answered with status {status}: {why}"));
        }
        let hint = match status {
            401 | 403 | 429 => {
                ": the server refused this command itself. Who may ask is said by Require and the gate there"
            }
            404 | 405 | 501 => ": does `SetHandler jwt-gate-explain` stand there, and no ProxyPass before it?",
            _ => "",
        };
        return Err(format!("answered with status {status}{hint}"));
    }
    let body = file::start(response.body_mut().as_reader(), MOST).map_err(|why| unanswered(why.into()))?;
    if body.len() as u64 > MOST {
        return Err(format!("answered with more than {MOST} bytes"));
    }
    serde_json::from_slice(&body)
        .map_err(|why| format!("the answer is not JSON ({why}): is `SetHandler jwt-gate-explain` what answers there?"))
}

fn unanswered(error: Error) -> String {
    match error {
        Error::Timeout(_) => format!("no answer within {}s", TIMEOUT.as_secs()),
        Error::HostNotFound => "the host name could not be resolved".to_owned(),
        Error::Io(why) if why.kind() == ErrorKind::ConnectionRefused => {
            "the connection was refused: does the server run, and listen there?".to_owned()
        }
        // Of whichever kind it is: on the way it is wrapped.
        other => match other.to_string() {
            text if text.contains("certificate") => {
                format!("no answer: {text}; if the authority that signed it is your own, name it with --ca")
            }
            text => format!("no answer: {text}"),
        },
    }
}

fn text(answer: &Value, paint: Paint) -> String {
    let word = |value: &Value| value.as_str().map(visible);
    let verdict = word(&answer["verdict"]).unwrap_or_default();
    let tone = match verdict.as_str() {
        "allow" => Tone::Good,
        "deny" => Tone::Bad,
        _ => Tone::Odd,
    };
    let mut text = paint.tone(tone, &verdict);
    let why = [answer["status"].as_u64().map(|status| status.to_string()), word(&answer["reason"])];
    let why: Vec<_> = why.into_iter().flatten().collect();
    if !why.is_empty() {
        text.push_str(&format!(": {}", why.join(" ")));
    }
    text.push('\n');
    if let Some(reason) = answer["reason"].as_str().and_then(reason) {
        text.push_str(&format!("  {}\n", advice(reason)));
    }
    text.push_str(&steps(&answer["steps"], paint));
    for (title, member) in [
        ("sections", "sections"),
        ("policy", "policy"),
        ("identity", "identity"),
        ("headers for the application", "headers_for_application"),
    ] {
        let lines = lines(&answer[member]);
        if !lines.is_empty() {
            text.push_str(&format!("{}\n", paint.title(title)));
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
    }
    text
}

fn steps(steps: &Value, paint: Paint) -> String {
    let steps = steps.as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        return String::new();
    }
    let cell = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), visible);
    let columns: Vec<_> = steps.iter().map(|step| [cell(&step["step"]), cell(&step["result"])]).collect();
    let width = |column: usize| columns.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    let line = |(step, [name, result]): (&Value, &[String; 2])| {
        let tone = match result.as_str() {
            "passed" => Tone::Good,
            "refused" => Tone::Bad,
            "skipped" => Tone::Aside,
            _ => Tone::Odd,
        };
        let detail = step["detail"].as_str().map(visible).unwrap_or_default();
        let result = paint.tone(tone, &format!("{result:second$}"));
        format!("{}\n", format!("  {name:first$}  {result}  {detail}").trim_end())
    };
    let lines: String = steps.iter().zip(&columns).map(line).collect();
    format!("{}\n{lines}", paint.title("steps"))
}

/// Members, pairs or texts, a line each.
fn lines(value: &Value) -> Vec<String> {
    let cell = |value: &Value| visible(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    match value {
        Value::Object(members) => {
            let rows: Vec<_> = members.iter().map(|(name, value)| [visible(name), cell(value)]).collect();
            table::lines(&rows)
        }
        Value::Array(elements) => {
            let line = |element: &Value| match element.as_array().map(Vec::as_slice) {
                Some([name, value]) => format!("{}: {}", cell(name), cell(value)),
                _ => cell(element),
            };
            elements.iter().map(line).collect()
        }
        Value::Null => Vec::new(),
        other => vec![cell(other)],
    }
}
