//! HTTP/1.1 over a plain socket or TLS: what is sent is exactly what the test wrote.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;
use super::app::Seen;

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
}

trait Stream: Read + Write + std::fmt::Debug + Send {}
impl<T: Read + Write + std::fmt::Debug + Send> Stream for T {}

impl Connection {
    /// Connects, from the address `from` if one is given: all of 127.0.0.0/8 is this machine.
    ///
    /// # Panics
    /// When nobody listens there.
    pub(crate) fn open(to: SocketAddr, from: Option<IpAddr>) -> Self {
        Self::over(connect(to, from).expect("a server that listens"))
    }

    /// Connects over TLS, from the address `from` if one is given, to the server that calls itself `name`, if one of the
    /// authorities in `ca` (PEM) says so too.
    pub(crate) fn open_tls(to: SocketAddr, from: Option<IpAddr>, name: &str, ca: &str) -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.map_err(invalid)?).map_err(invalid)?;
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(invalid)?;
        let mut session = rustls::ClientConnection::new(Arc::new(config), name).map_err(invalid)?;
        let mut stream = connect(to, from)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self::over(rustls::StreamOwned::new(session, stream)))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), received: Vec::new() }
    }

    /// Sends bytes as they are. A peer that has closed is no error: it is seen when the answer is read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Reads the next answer to a request that was not HEAD.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    /// Reads the next answer, of which there is no body if `head`.
    pub(crate) fn try_answer(&mut self, head: bool) -> io::Result<Answer> {
        loop {
            let (status, headers) = self.read_head()?;
            if status == 100 {
                continue;
            }
            let mut answer = Answer { status, headers, body: Vec::new() };
            if !(head || matches!(status, 101 | 204 | 304)) {
                answer.body = self.read_body(&answer)?;
            }
            return Ok(answer);
        }
    }

    /// Reads up to the end of a line, of what follows a 101.
    ///
    /// # Panics
    /// When there is no line.
    pub(crate) fn line(&mut self) -> String {
        let end = loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            self.receive().expect("a line");
        };
        String::from_utf8(self.received.drain(..=end).collect()).unwrap()
    }

    /// Whether the server closes the connection now, with nothing more to say.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => self.received.is_empty(),
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.receive()?;
        };
        let head = String::from_utf8(self.received.drain(..end + 4).collect()).map_err(invalid)?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| invalid("no status line"))?;
        let headers = lines.filter_map(|line| line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, ""))));
        Ok((status, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    fn read_body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if answer.header("Transfer-Encoding") == Some("chunked") {
            return self.read_chunks();
        }
        if let Some(length) = answer.header("Content-Length") {
            return self.read_exactly(length.parse().map_err(invalid)?);
        }
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.received));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.received.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                self.receive()?;
            };
            let line = String::from_utf8(self.read_exactly(end + 2)?).map_err(invalid)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(invalid)?;
            let chunk = self.read_exactly(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < length {
            self.receive()?;
        }
        Ok(self.received.drain(..length).collect())
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    }
    socket.connect(&SockAddr::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// A request to be sent over a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Name of the server and authorities (PEM) for TLS.
    tls: Option<(String, String)>,
    method: String,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(to: SocketAddr, method: &str, target: &str) -> Self {
        Self::with_host(to, "gate.test", method, target)
    }

    /// A request for a URL with an address and a port of this machine; over https, the certificate must be of an
    /// authority in `ca` (PEM).
    ///
    /// # Panics
    /// When it is another URL, or one of https and there is no `ca`.
    pub(crate) fn url(method: &str, url: &str, ca: Option<&str>) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let to: SocketAddr = host.parse().expect("an address and a port");
        let tls = (scheme == "https").then(|| (to.ip().to_string(), ca.expect("authorities").to_owned()));
        Self { tls, ..Self::with_host(to, host, method, &format!("/{path}")) }
    }

    /// A request over TLS to the virtual host of this name, whose certificate must be of an authority in `ca` (PEM).
    pub(crate) fn over_tls(to: SocketAddr, method: &str, host: &str, target: &str, ca: &str) -> Self {
        let tls = Some((host.to_owned(), ca.to_owned()));
        Self { tls, ..Self::with_host(to, host, method, target) }
    }

    /// A request with this `Host`.
    pub(crate) fn with_host(to: SocketAddr, host: &str, method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        Self { to, from: None, tls: None, method: method.to_owned(), head, body: Vec::new() }
    }

    /// Adds a header, also one that is there already.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend([name.as_bytes(), b": ", value.as_ref(), b"\r\n"].concat());
        self
    }

    /// Adds `Authorization: Bearer TOKEN`.
    pub(crate) fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("Authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Adds a body with its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", length)
    }

    /// Asks for this host, whatever name the server has over TLS.
    pub(crate) fn host(mut self, host: &str) -> Self {
        let mut lines = self.head.split(|byte| *byte == b'\n');
        let (first, rest) = (lines.next().unwrap_or_default(), lines.skip(1));
        let head =
            [first, format!("Host: {host}\r").as_bytes()].into_iter().chain(rest).collect::<Vec<_>>().join(&b'\n');
        self.head = head;
        self
    }

    /// Sends to another address of the server.
    pub(crate) fn to(mut self, to: SocketAddr) -> Self {
        self.to = to;
        self
    }

    /// Sends from this address of the loopback network.
    pub(crate) fn from(mut self, from: &str) -> Self {
        self.from = Some(from.parse().unwrap());
        self
    }

    /// The bytes of the request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.head[..], b"\r\n", &self.body].concat()
    }

    /// Sends it and reads the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub(crate) fn send(&self) -> Answer {
        self.try_send().expect("an answer")
    }

    /// Sends it and reads the answer.
    pub(crate) fn try_send(&self) -> io::Result<Answer> {
        let mut connection = match &self.tls {
            None => Connection::over(connect(self.to, self.from)?),
            Some((name, ca)) => Connection::open_tls(self.to, self.from, name, ca)?,
        };
        connection.send(self.bytes());
        connection.try_answer(self.method == "HEAD")
    }

    /// Sends it and gives the status of the answer.
    pub(crate) fn status(&self) -> u16 {
        self.send().status
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    ///
    /// # Panics
    /// When it is there more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|header| header.0.eq_ignore_ascii_case(name));
        let value = found.next().map(|header| header.1.as_str());
        assert!(found.next().is_none(), "{name} is there twice: {:?}", self.headers);
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// # Panics
    /// When the body is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What the application saw of the request.
    ///
    /// # Panics
    /// When the answer is not that of the application.
    pub(crate) fn seen(&self) -> Seen {
        assert_eq!(self.status, 200, "{self:?}\n{}", self.text());
        Seen::from_json(&self.json())
    }
}
