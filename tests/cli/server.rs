//! A server that answers once, as good or as bad as a test needs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::crypto::ring;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Request line and headers, a line each.
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Server {
    /// As `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    asked: JoinHandle<Asked>,
}

impl Server {
    /// Says this and hangs up, whatever it is asked.
    pub(crate) fn saying(answer: Vec<u8>) -> Self {
        Self::start("http://127.0.0.1", move |stream| converse(stream, &answer))
    }

    /// The same over TLS, with a certificate for `localhost`.
    pub(crate) fn saying_over_tls(answer: Vec<u8>, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let key = certificate.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        Self::start("https://localhost", move |stream| {
            converse(StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream), &answer)
        })
    }

    fn start(origin: &str, serve: impl FnOnce(TcpStream) -> Asked + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("{origin}:{}", listener.local_addr().unwrap().port());
        Self { origin, asked: thread::spawn(move || serve(listener.accept().unwrap().0)) }
    }

    /// Answers with this status and body.
    pub(crate) fn answering(status: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        Self::saying(format!("{head}Connection: close\r\n\r\n{body}").into_bytes())
    }

    /// What it was asked, once it was.
    pub(crate) fn asked(self) -> Asked {
        self.asked.join().unwrap()
    }
}

/// Hears a request out, and answers. Of whom leaves early, not much is heard.
fn converse(stream: impl Read + Write, answer: &[u8]) -> Asked {
    let mut reader = BufReader::new(stream);
    let head: Vec<_> = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let lower = head.iter().map(|line| line.to_ascii_lowercase());
    let length = lower.filter_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).next();
    let mut body = vec![0; length.unwrap_or_default()];
    let _ = reader.read_exact(&mut body);
    let mut stream = reader.into_inner();
    let _ = stream.write_all(answer).and_then(|()| stream.flush());
    Asked { head, body }
}
