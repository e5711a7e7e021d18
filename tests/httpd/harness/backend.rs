//! Applications behind other protocols than HTTP that tell what they were told.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::app::Seen;
use super::{ajp, fastcgi, scgi, uwsgi};

/// An application that answers every request with a [`Seen`] of it and counts them. Where the protocol is one of CGI's
/// variables, these are its headers.
#[derive(Debug)]
pub(crate) struct Backend {
    url: String,
    count: Arc<AtomicUsize>,
}

/// Serves one connection: reads requests, and answers each with the body that [`Told::body`] makes of its fields.
type Serve = fn(&TcpStream, &Told) -> io::Result<()>;

/// Counts requests and says what to answer.
pub(super) struct Told(Arc<AtomicUsize>);

impl Backend {
    /// AJP 1.3.
    pub(crate) fn ajp() -> Self {
        Self::start("ajp", ajp::serve)
    }

    /// FastCGI 1.0.
    pub(crate) fn fastcgi() -> Self {
        Self::start("fcgi", fastcgi::serve)
    }

    /// SCGI 1.
    pub(crate) fn scgi() -> Self {
        Self::start("scgi", scgi::serve)
    }

    /// uwsgi.
    pub(crate) fn uwsgi() -> Self {
        Self::start("uwsgi", uwsgi::serve)
    }

    /// Starts it on a free port of 127.0.0.1. It ends with the process of the test.
    fn start(scheme: &str, serve: Serve) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = Told(Arc::clone(&shared));
                // What goes wrong with a connection is seen at its other end.
                std::thread::spawn(move || drop(serve(&stream, &told)));
            }
        });
        Self { url: format!("{scheme}://127.0.0.1:{port}"), count }
    }

    /// Its address as ProxyPass takes it, without final slash.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Told {
    /// The body of the answer to a request with these headers or variables.
    pub(super) fn body(&self, fields: Vec<(Vec<u8>, Vec<u8>)>) -> String {
        self.0.fetch_add(1, Ordering::SeqCst);
        // Latin-1, so that every byte has its own character.
        let text = |bytes: Vec<u8>| -> String { bytes.into_iter().map(char::from).collect() };
        let headers: Vec<_> = fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        let variable = |name: &str| headers.iter().find(|field| field.0 == name).map(|field| field.1.clone());
        let (method, target) = (variable("REQUEST_METHOD"), variable("REQUEST_URI"));
        let (method, target) = (method.unwrap_or_default(), target.unwrap_or_default());
        Seen { method, target, headers, body_length: 0 }.to_json().to_string()
    }
}
