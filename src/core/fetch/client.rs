//! One exchange over HTTP: a GET, its redirects, and an answer that is short and in time.

use std::{
    io::{self, ErrorKind, Read},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use ureq::{
    Agent, Body, Error, Proxy, ProxyProtocol,
    http::{
        HeaderValue, Response,
        header::{CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, LOCATION},
    },
    tls::RootCerts,
};

use super::{RULE, cache_control, quoted, tls, url::Url};
use crate::keys::set::MAX_BYTES;

/// How often an exchange may be sent elsewhere.
const MAX_REDIRECTS: usize = 3;

/// The longest header of an answer, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// What is longer than any timeout that makes sense, so that a deadline can always be computed.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Asks servers.
#[derive(Debug)]
pub(super) struct Client {
    /// Or why none is trusted.
    trusted: Result<RootCerts, String>,
    /// What `HTTPS_PROXY` (`ALL_PROXY`, `HTTP_PROXY`) and `NO_PROXY` say.
    proxy: Option<Proxy>,
}

/// An answer with status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// Who gave it, after redirects.
    pub(super) url: Url,
    pub(super) max_age: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// One line for the log, with the address.
    pub(super) text: String,
    /// If the last server asked gave another status than 200.
    pub(super) status: Option<u16>,
}

/// What one server said.
enum Reply {
    Answer {
        body: Vec<u8>,
        max_age: Option<Duration>,
    },
    Redirect(Vec<u8>),
    Status(u16),
    /// Nothing, or not everything, in time.
    Late,
}

impl Client {
    /// Servers have to show a certificate of these.
    pub(super) fn new(trusted: Result<RootCerts, String>) -> Self {
        Self { trusted, proxy: Proxy::try_from_env() }
    }

    /// Gets `url`, redirects included, within `timeout`.
    pub(super) fn get(&self, url: &Url, timeout: Duration) -> Result<Answer, Failure> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let mut asked = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let failed = |why: String, status| Failure { text: format!("{}: {why}", place(&asked, url)), status };
            match self.ask(&asked, deadline).map_err(|why| failed(why, None))? {
                Reply::Answer { body, max_age } => return Ok(Answer { body, url: asked, max_age }),
                Reply::Status(status) => return Err(failed(format!("answered with status {status}"), Some(status))),
                Reply::Late => return Err(failed(format!("no answer within {}ms", timeout.as_millis()), None)),
                Reply::Redirect(location) => asked = target(&asked, &location).map_err(|why| failed(why, None))?,
            }
        }
        let why = format!("was redirected more than {MAX_REDIRECTS} times");
        Err(Failure { text: format!("{}: {why}", quoted(&url.to_string())), status: None })
    }

    /// Asks one server.
    ///
    /// That is done on another thread, and its connection cut when the time is over. So the deadline holds for
    /// the resolver, for a negotiation with a proxy (each step of which ureq gives the whole time) and for
    /// whatever ureq will do one day, and a panic in there is an error here.
    fn ask(&self, url: &Url, deadline: Instant) -> Result<Reply, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Reply::Late);
        }
        let agent = self.agent(url, left)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let asking = {
            let (agent, uri) = (agent.clone(), url.uri().clone());
            move || {
                let reply = match agent.get(uri).header(CONNECTION, "close").call() {
                    Ok(response) => read(response),
                    Err(error) => unanswered(error),
                };
                // If that took too long, nobody waits for it.
                let _ = sender.send(reply);
            }
        };
        let thread = thread::Builder::new().name("jwt_gate_fetch".to_owned());
        thread.spawn(asking).map_err(|e| format!("no thread could be started: {e}"))?;
        match receiver.recv_timeout(left) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout) => {
                agent.shutdown();
                Ok(Reply::Late)
            }
            Err(RecvTimeoutError::Disconnected) => Err("the HTTP client panicked; see above".to_owned()),
        }
    }

    /// For one request: what it opens is closed with it.
    fn agent(&self, url: &Url, timeout: Duration) -> Result<Agent, String> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADER_BYTES)
            .user_agent(concat!("mod_jwt_gate/", env!("CARGO_PKG_VERSION")))
            .accept("application/json, application/jwk-set+json")
            .accept_encoding("identity")
            // So that what is abandoned while it connects ends soon as well.
            .timeout_connect(Some(timeout))
            .proxy(self.proxy(url)?);
        let config = if url.is_plain() { config } else { config.tls_config(tls::config(self.trusted.clone()?)) };
        Ok(config.build().into())
    }

    /// The proxy of the environment for this address; never for this machine itself.
    fn proxy(&self, url: &Url) -> Result<Option<Proxy>, String> {
        let Some(proxy) = self.proxy.as_ref().filter(|proxy| !url.is_loopback() && !proxy.is_no_proxy(url.uri()))
        else {
            return Ok(None);
        };
        match proxy.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => Ok(Some(proxy.clone())),
            _ => {
                Err("the environment names a SOCKS proxy, which is not supported: name an HTTP proxy in HTTPS_PROXY, \
                      or this host in NO_PROXY"
                    .to_owned())
            }
        }
    }
}

/// Reads an answer.
///
/// `Content-Type` is not looked at: providers send `application/json`, `application/jwk-set+json`, `text/plain`
/// and nothing. Whoever parses the body does so strictly, which also finds the one cut that goes unseen here:
/// of an answer that neither says its length nor comes in chunks.
fn read(response: Response<Body>) -> Result<Reply, String> {
    let headers = response.headers();
    match response.status().as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            let mut locations = headers.get_all(LOCATION).iter();
            return match (locations.next(), locations.next()) {
                (Some(location), None) => Ok(Reply::Redirect(location.as_bytes().to_vec())),
                _ => Err("was redirected, but not to one address".to_owned()),
            };
        }
        other => return Ok(Reply::Status(other)),
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(encoding) = encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(format!("answered in the encoding `{}`, which was not asked for", quoted(encoding)));
    }
    let max_age = cache_control::max_age(headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes));
    let too_long = || Err(format!("answered with more than {MAX_BYTES} bytes"));
    let most = MAX_BYTES as u64;
    let body = response.into_body();
    if body.content_length().is_some_and(|length| length > most) {
        return too_long();
    }
    let mut bytes = Vec::new();
    match body.into_reader().take(most + 1).read_to_end(&mut bytes) {
        Ok(length) if length > MAX_BYTES => too_long(),
        Ok(_) => Ok(Reply::Answer { body: bytes, max_age }),
        Err(error) => unanswered(error.into()),
    }
}

/// Where to go on.
fn target(from: &Url, location: &[u8]) -> Result<Url, String> {
    let target = std::str::from_utf8(location).ok().and_then(|location| from.join(location).ok());
    target
        .filter(|target| from.may_lead_to(target))
        .ok_or_else(|| format!("was redirected to `{}`; {RULE}", quoted(location)))
}

/// The address asked, and how it came to that.
fn place(asked: &Url, first: &Url) -> String {
    let asked = quoted(&asked.to_string());
    match quoted(&first.to_string()) {
        first if first == asked => asked,
        first => format!("{asked} (redirected from {first})"),
    }
}

/// What ureq says, in words for the log.
fn unanswered(error: Error) -> Result<Reply, String> {
    let text = match error {
        Error::Timeout(_) => return Ok(Reply::Late),
        Error::Io(error) => return Err(broken(&error)),
        Error::Rustls(error) => tls::reason(&error),
        Error::HostNotFound => UNRESOLVED.to_owned(),
        Error::LargeResponseHeader(..) => format!("answered with a header of more than {MAX_HEADER_BYTES} bytes"),
        Error::Protocol(error) => format!("the answer is not HTTP/1.1 ({})", quoted(&error.to_string())),
        Error::ConnectProxyFailed(why) => format!("the proxy that the environment names failed ({})", quoted(&why)),
        other => format!("no connection ({})", quoted(&other.to_string())),
    };
    Err(text)
}

const UNRESOLVED: &str = "the host name could not be resolved";

fn broken(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return tls::reason(error);
    }
    let text = error.to_string();
    match error.kind() {
        // The standard library has no kind for what the resolver says.
        _ if text.starts_with("failed to lookup address information") => UNRESOLVED.to_owned(),
        ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => "the connection was closed before the answer was complete".to_owned(),
        _ => format!("no connection ({})", quoted(&text)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn a_name_that_cannot_be_resolved_is_called_so() {
        // Too long for the resolver to ask anybody.
        let error = ("a".repeat(300).as_str(), 443).to_socket_addrs().unwrap_err();
        assert_eq!(unanswered(error.into()).err().as_deref(), Some(UNRESOLVED));
    }
}
