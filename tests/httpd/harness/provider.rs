//! An identity provider that misbehaves when asked to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::SockRef;

use super::await_true;
use super::certificates::{Authority, Certificate, Certified};
use super::ports::Port;
use super::tokens::{Signer, Token};

/// An identity provider on a free port of 127.0.0.1. It answers well, with an empty key set, until a test changes
/// [what](Self::answer) or [how](Self::behave) it answers, its [certificate](Self::certify) or its
/// [door](Self::door); each takes effect for what comes then. One request a connection. It stops listening at its end;
/// what it was answering ends with the test.
#[derive(Debug)]
pub(crate) struct Provider {
    port: Port,
    ca: Option<String>,
    path: String,
    listener: Mutex<Option<(TcpListener, JoinHandle<()>)>>,
    shared: Arc<Shared>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    /// `ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 section 4)
    OpenId,
    /// `/.well-known/oauth-authorization-server` and the issuer's path (RFC 8414 section 3)
    OAuth,
    /// `ISSUER/keys`
    Keys,
    /// All else, such as `ISSUER/elsewhere`. There is nothing there.
    Elsewhere,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// How it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// At once, with its length.
    Prompt,
    /// After this time.
    After(Duration),
    /// Not at all: the connection stays until the peer closes it.
    Never,
    /// One byte of the body each time, the head at once.
    Trickle(Duration),
    /// Half of the body, of which the whole length was said, then the end of the connection.
    CutOff,
    /// Without length: the body ends with the connection.
    Unframed,
    /// In chunks (RFC 9112 section 7.1).
    Chunked,
}

/// What comes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Open,
    /// Connections are accepted, then nothing is said, not even in a TLS handshake.
    Mute,
    /// Connections are refused.
    Closed,
}

#[derive(Debug)]
struct Shared {
    /// By certificate.
    tls: Option<[Arc<ServerConfig>; 4]>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    path: String,
    mute: bool,
    certificate: Certificate,
    connections: usize,
    endpoints: [Conduct; 4],
}

/// How one endpoint behaves, and what came to it.
#[derive(Debug)]
struct Conduct {
    reply: Reply,
    manner: Manner,
    times: Vec<Instant>,
    open: usize,
}

/// Options of an issuer with which keys are fetched at the start, and then but for an unknown kid, once.
pub(crate) const ONCE: &str = "refresh=1h cooldown=1h timeout=15s";

impl Provider {
    /// Without TLS.
    pub(crate) fn http() -> Self {
        Self::start(None, None)
    }

    /// With TLS 1.2 and 1.3, and this certificate.
    pub(crate) fn https(certificate: Certificate) -> Self {
        let authority = Authority::new();
        let tls = Certificate::ALL.map(|kind| {
            let Certified { certificate, key } = authority.certify(kind);
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
            Arc::new(config.unwrap())
        });
        let provider = Self::start(Some(authority.pem()), Some(tls));
        provider.certify(certificate);
        provider
    }

    /// Moves the issuer to a path such as `/tenant`, with documents that say so.
    pub(crate) fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        path.clone_into(&mut self.shared.lock().path);
        self.describe(&self.issuer(), &self.keys_url());
        self
    }

    fn start(ca: Option<String>, tls: Option<[Arc<ServerConfig>; 4]>) -> Self {
        let replies = [Reply::status(404), Reply::status(404), Reply::keys(&[]), Reply::status(404)];
        let endpoints = replies.map(|reply| Conduct { reply, manner: Manner::Prompt, times: Vec::new(), open: 0 });
        let certificate = Certificate::Good;
        let state = State { path: String::new(), mute: false, certificate, connections: 0, endpoints };
        let shared = Arc::new(Shared { tls, state: Mutex::new(state) });
        let provider = Self { port: Port::reserve(), ca, path: String::new(), listener: Mutex::new(None), shared };
        provider.door(Door::Open);
        provider.at("")
    }

    /// The issuer's name, without final slash.
    pub(crate) fn issuer(&self) -> String {
        self.origin() + &self.path
    }

    fn origin(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port.number)
    }

    /// The directive of its issuer, with these options and the URL of its keys.
    pub(crate) fn directive(&self, name: &str, options: &str) -> String {
        format!("JwtGateIssuer {name} {} audience=api jwks={} {options}\n", self.issuer(), self.keys_url())
    }

    /// Where its keys are.
    pub(crate) fn keys_url(&self) -> String {
        self.url(Endpoint::Keys)
    }

    /// Where this is.
    pub(crate) fn url(&self, endpoint: Endpoint) -> String {
        self.origin() + &endpoint.target(&self.path)
    }

    /// The authority that is to be trusted, in PEM.
    ///
    /// # Panics
    /// When there is no TLS.
    pub(crate) fn ca_pem(&self) -> &str {
        self.ca.as_deref().expect("a provider with TLS")
    }

    /// A valid token of this issuer, to be changed as the test wants it.
    pub(crate) fn token<'a>(&self, signer: &'a Signer) -> Token<'a> {
        Token::new(signer).claim("iss", self.issuer())
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.answer(Endpoint::Keys, Reply::keys(signers));
    }

    /// Lets both documents say this.
    pub(crate) fn describe(&self, issuer: &str, keys_url: &str) {
        for endpoint in [Endpoint::OpenId, Endpoint::OAuth] {
            self.answer(endpoint, Reply::document(issuer, keys_url));
        }
    }

    /// Sets what is answered there.
    pub(crate) fn answer(&self, endpoint: Endpoint, reply: Reply) {
        self.shared.lock().endpoints[endpoint as usize].reply = reply;
    }

    /// Sets how it is answered there.
    pub(crate) fn behave(&self, endpoint: Endpoint, manner: Manner) {
        self.shared.lock().endpoints[endpoint as usize].manner = manner;
    }

    /// Sets the certificate.
    pub(crate) fn certify(&self, certificate: Certificate) {
        self.shared.lock().certificate = certificate;
    }

    /// Sets what comes of connections. When this returns, a closed one is closed.
    pub(crate) fn door(&self, door: Door) {
        self.shared.lock().mute = door == Door::Mute;
        let mut listener = self.listener.lock().unwrap();
        match (door, listener.take()) {
            (Door::Closed, Some((socket, thread))) => {
                // Ends the accept() in the thread, which has a descriptor of the socket as well.
                SockRef::from(&socket).shutdown(Shutdown::Both).unwrap();
                thread.join().unwrap();
            }
            (Door::Closed, None) => {}
            (_, Some(open)) => *listener = Some(open),
            (_, None) => {
                let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port.number)).unwrap();
                let accepting = socket.try_clone().unwrap();
                let shared = Arc::clone(&self.shared);
                *listener = Some((socket, std::thread::spawn(move || shared.accept(&accepting))));
            }
        }
    }

    /// When requests came, in order.
    pub(crate) fn times(&self, endpoint: Endpoint) -> Vec<Instant> {
        self.shared.lock().endpoints[endpoint as usize].times.clone()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().endpoints[endpoint as usize].times.len()
    }

    /// How many requests are being answered, or left without answer, at this moment.
    pub(crate) fn open(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().endpoints[endpoint as usize].open
    }

    /// How many connections were accepted so far, also those that brought no request.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until there were `count` requests for the keys in all.
    pub(crate) fn await_fetch(&self, count: usize) {
        await_true(&format!("fetch {count} of the keys"), || self.count(Endpoint::Keys) >= count);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.door(Door::Closed);
    }
}

impl Reply {
    /// `application/json`, status 200.
    pub(crate) fn json(value: &Value) -> Self {
        Self::bytes(value.to_string()).header("Content-Type", "application/json")
    }

    /// A body of no type, status 200.
    pub(crate) fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// This status with a page that says nothing.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::bytes("<p>no</p>").header("Content-Type", "text/html") }
    }

    /// To another URL (302).
    pub(crate) fn redirect(url: &str) -> Self {
        Self::status(302).header("Location", url)
    }

    /// The JWK set of these keys.
    pub(crate) fn keys(signers: &[&Signer]) -> Self {
        Self::key_set(&signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>())
    }

    /// A JWK set of exactly these members.
    pub(crate) fn key_set(keys: &[Value]) -> Self {
        Self::json(&json!({"keys": keys}))
    }

    /// The JWK set of `count` keys, of which all but the last, `signer`, have kids `filler-N`.
    pub(crate) fn many_keys(count: usize, signer: &Signer) -> Self {
        let filler = Signer::ec("ES256", "filler").jwk();
        let mut keys: Vec<Value> = (1..count)
            .map(|number| {
                let mut key = filler.clone();
                key["kid"] = format!("filler-{number}").into();
                key
            })
            .collect();
        keys.push(signer.jwk());
        Self::key_set(&keys)
    }

    /// What discovery gives.
    pub(crate) fn document(issuer: &str, keys_url: &str) -> Self {
        Self::json(&json!({
            "issuer": issuer,
            "jwks_uri": keys_url,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }))
    }

    /// Sets a header in place of those of that name. With a `Content-Length`, none is made.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|header| !header.0.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Members of JWK sets that sign no token of an accepted algorithm: a key for encryption, one to agree on keys (X25519,
/// RFC 8037), a post-quantum one (ML-DSA), one of a type that nobody knows, and one that lacks its type.
pub(crate) fn unusable_keys() -> Vec<Value> {
    let mut encryption = Signer::ec("ES256", "for-encryption").jwk();
    encryption["use"] = "enc".into();
    encryption["alg"] = "ECDH-ES".into();
    vec![
        encryption,
        json!({"kty": "OKP", "crv": "X25519", "kid": "x25519", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "ml-dsa", "use": "sig", "pub": "AAAA"}),
        json!({"kty": "new", "kid": "new", "use": "sig"}),
        json!({"kid": "typeless", "use": "sig"}),
    ]
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let shared = Arc::clone(&self);
            // A peer that goes away ends its connection, nothing else.
            std::thread::spawn(move || drop(shared.serve(stream)));
        }
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let peer = stream.try_clone()?;
        let (mute, certificate) = {
            let mut state = self.lock();
            state.connections += 1;
            (state.mute, state.certificate)
        };
        if mute {
            has_left(&peer, None);
            return Ok(());
        }
        let mut stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(configs) => {
                let config = Arc::clone(&configs[certificate as usize]);
                let session = ServerConnection::new(config).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        };
        let target = read_target(&mut stream)?;
        let (endpoint, reply, manner) = {
            let mut state = self.lock();
            let endpoint = state.endpoint(&target);
            let conduct = &mut state.endpoints[endpoint as usize];
            conduct.times.push(Instant::now());
            conduct.open += 1;
            (endpoint, conduct.reply.clone(), conduct.manner)
        };
        let sent = reply.send(&mut stream, &peer, manner);
        self.lock().endpoints[endpoint as usize].open -= 1;
        sent
    }
}

impl Endpoint {
    /// What a request for it says, by the path of the issuer.
    fn target(self, path: &str) -> String {
        match self {
            Self::OpenId => format!("{path}/.well-known/openid-configuration"),
            Self::OAuth => format!("/.well-known/oauth-authorization-server{path}"),
            Self::Keys => format!("{path}/keys"),
            Self::Elsewhere => format!("{path}/elsewhere"),
        }
    }
}

impl State {
    fn endpoint(&self, target: &str) -> Endpoint {
        let known = [Endpoint::OpenId, Endpoint::OAuth, Endpoint::Keys];
        known.into_iter().find(|endpoint| endpoint.target(&self.path) == target).unwrap_or(Endpoint::Elsewhere)
    }
}

impl Reply {
    fn send(&self, stream: &mut Stream, peer: &TcpStream, manner: Manner) -> io::Result<()> {
        let left = match manner {
            Manner::Never => has_left(peer, None),
            Manner::After(time) => has_left(peer, Some(time)),
            _ => false,
        };
        if left {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Provider\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match manner {
            Manner::Unframed => {}
            Manner::Chunked => head += "Transfer-Encoding: chunked\r\n",
            _ if head.to_ascii_lowercase().contains("\r\ncontent-length:") => {}
            _ => head += &format!("Content-Length: {}\r\n", self.body.len()),
        }
        stream.write_all((head + "\r\n").as_bytes())?;
        match manner {
            Manner::Trickle(time) => {
                for byte in &self.body {
                    if has_left(peer, Some(time)) {
                        return Ok(());
                    }
                    stream.write_all(&[*byte])?;
                    stream.flush()?;
                }
            }
            Manner::CutOff => {
                stream.write_all(&self.body[..self.body.len() / 2])?;
                return stream.flush();
            }
            Manner::Chunked => {
                for chunk in self.body.chunks(1000) {
                    stream.write_all(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())?;
                }
                stream.write_all(b"0\r\n\r\n")?;
            }
            _ => stream.write_all(&self.body)?,
        }
        stream.end()
    }
}

/// Waits for this time, without one for ever. Ends early, with true, when the peer closes the connection; what it says
/// meanwhile is dropped.
fn has_left(mut peer: &TcpStream, time: Option<Duration>) -> bool {
    let begin = Instant::now();
    loop {
        let rest = time.map(|time| time.saturating_sub(begin.elapsed()));
        if rest == Some(Duration::ZERO) {
            return false;
        }
        if peer.set_read_timeout(rest).is_err() {
            return true;
        }
        match peer.read(&mut [0; 512]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// Reads the head of a request and gives its target.
fn read_target(stream: &mut Stream) -> io::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            return first.split(' ').nth(1).map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Says that nothing more comes.
    fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
