//! Fetching JWK sets from identity providers: the only part of this crate that opens sockets, or reads a
//! file (the system's trusted certificates).
//!
//! It blocks, and so belongs on a thread of its own, never on one that serves requests. Keys come over https
//! with the certificate verified, over plain http from this machine alone. What a provider sends is hostile
//! until proven otherwise: its length, its time, its redirects and its share of a line in the log are bounded.
//!
//! | where | what |
//! |---|---|
//! | [`url`] | which addresses keys may come from |
//! | [`discovery`] | from an issuer to the address of its keys |
//! | `client` | one exchange over HTTP, redirects included |
//! | `tls` | whose certificates are trusted, and why one was not |
//! | [`cache_control`] | how long an answer stays good |

pub mod cache_control;
mod client;
pub mod discovery;
mod tls;
pub mod url;

use std::{fmt, time::Duration};

use self::client::Client;
pub use self::{
    tls::{check_ca, trusting},
    url::Url,
};

/// What is said of an address that a provider names and and that keys may not come from.
const RULE: &str = "keys come over https only, from an address without user and fragment";

/// Where the keys of an issuer are fetched from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RemoteKeys {
    /// The address stands in the metadata of this issuer, byte for byte as its tokens have it; made by
    /// [`RemoteKeys::discovery`].
    Discovery(String),
    /// A JWK set (RFC 7517 section 5).
    JwkSet(Url),
}

impl RemoteKeys {
    /// The keys that the metadata of `issuer` names.
    ///
    /// # Errors
    /// `issuer` is no address that keys may be fetched from, or has a query. Text for the administrator.
    pub fn discovery(issuer: &str) -> Result<Self, String> {
        discovery::addresses(issuer)?;
        Ok(Self::Discovery(issuer.to_owned()))
    }

    /// Whether they come over plain http, from this machine.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Discovery(issuer) => Url::parse(issuer).is_ok_and(|url| url.is_plain()),
            Self::JwkSet(url) => url.is_plain(),
        }
    }
}

impl fmt::Display for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(issuer) => write!(f, "discovery of {issuer}"),
            Self::JwkSet(url) => url.fmt(f),
        }
    }
}

/// What a provider answered.
#[derive(Debug)]
pub struct Fetched {
    /// At most [`MAX_BYTES`](crate::keys::set::MAX_BYTES) bytes that claim to be a JWK set.
    pub jwks: Vec<u8>,
    /// Where they came from, after discovery and redirects.
    pub url: String,
    /// How long the provider calls them good (`max-age`, RFC 9111 section 5.2.2.1), whatever it says.
    pub max_age: Option<Duration>,
}

/// Fetches keys. Between two fetches nothing stays open.
#[derive(Debug)]
pub struct Fetcher(Client);

impl Fetcher {
    /// Trusts the certificates in `ca` (PEM) and no others; without it, those of the system, found as
    /// OpenSSL finds them (`SSL_CERT_FILE` and `SSL_CERT_DIR` count). These, and the proxy that the
    /// environment names, are read now and not again.
    ///
    /// # Errors
    /// As [`check_ca`]. A system without certificates is an error of each fetch over https.
    pub fn new(ca: Option<&[u8]>) -> Result<Self, String> {
        let trusted = match ca {
            Some(pem) => Ok(tls::only(pem)?),
            None => tls::system(),
        };
        Ok(Self(Client::new(trusted)))
    }

    /// Fetches the keys. One exchange over HTTP, from the name's resolution over redirects to the last byte,
    /// takes at most `timeout` (or an hour, if that is less); by discovery there are two, at most three.
    ///
    /// # Errors
    /// One line of printable ASCII for the log that says which address, and what went wrong.
    pub fn fetch(&self, from: &RemoteKeys, timeout: Duration) -> Result<Fetched, String> {
        let url = match from {
            RemoteKeys::Discovery(issuer) => self.discover(issuer, timeout)?,
            RemoteKeys::JwkSet(url) => url.clone(),
        };
        let answer = self.0.get(&url, timeout).map_err(|failure| failure.text)?;
        Ok(Fetched { jwks: answer.body, url: answer.url.to_string(), max_age: answer.max_age })
    }

    /// Asks where OpenID Connect has the metadata, and where that is a client's error (4xx), where OAuth has it.
    /// Anything else may be over the next time, and is no reason to ask elsewhere.
    fn discover(&self, issuer: &str, timeout: Duration) -> Result<Url, String> {
        let (openid, oauth) = discovery::addresses(issuer)?;
        let answer = match self.0.get(&openid, timeout) {
            Err(first) if matches!(first.status, Some(400..=499)) => {
                self.0.get(&oauth, timeout).map_err(|second| format!("{}; {}", first.text, second.text))
            }
            other => other.map_err(|failure| failure.text),
        }?;
        discovery::jwks_uri(&answer.body, issuer).map_err(|e| format!("{}: {e}", quoted(&answer.url.to_string())))
    }
}

/// Enough for any address that a person would write.
const LONGEST_QUOTE: usize = 120;

/// What others wrote, for a line in the log: printable ASCII, and not more than [`LONGEST_QUOTE`] bytes of it.
fn quoted(text: &(impl AsRef<[u8]> + ?Sized)) -> String {
    let mut line = String::new();
    for &byte in text.as_ref() {
        if line.len() >= LONGEST_QUOTE {
            line.push_str("...");
            break;
        }
        match byte {
            b' '..=b'~' => line.push(char::from(byte)),
            _ => line.push_str(&format!("\\x{byte:02x}")),
        }
    }
    line
}
