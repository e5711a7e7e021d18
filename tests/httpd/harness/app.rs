//! The application behind the gate: it tells what it saw.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

/// An application that answers every request with a [`Seen`] of it and counts them.
///
/// A target that begins `/hold` is answered after [`App::release`] only; one with `answer=STATUS` in its query gets
/// that status, one with `cache=VALUE` that `Cache-Control`, one with `cors=ORIGIN` the application's own permission for
/// that origin and a `Vary`. To a target that begins `/echo`, with an `Upgrade`, it answers 101, its [`Seen`] in one
/// line, and from then on whatever it gets.
#[derive(Debug)]
pub(crate) struct App {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: AtomicUsize,
    count: AtomicUsize,
    released: Mutex<bool>,
    release: Condvar,
}

/// One request as the application saw it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In order, names as sent.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body_length: usize,
}

impl App {
    /// Starts it on a free port of 127.0.0.1. It ends with the process of the test.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                // A peer that goes away ends its connection, nothing else.
                std::thread::spawn(move || drop(state.serve(&stream)));
            }
        });
        Self { port, state }
    }

    /// Its address as ProxyPass takes it, without final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }

    /// How many connections were made to it so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Answers what was held, and holds no more.
    pub(crate) fn release(&self) {
        *self.state.released.lock().unwrap() = true;
        self.state.release.notify_all();
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some(seen) = read_request(&mut reader)? {
            self.count.fetch_add(1, Ordering::SeqCst);
            if seen.target.starts_with("/hold") {
                drop(self.release.wait_while(self.released.lock().unwrap(), |released| !*released).unwrap());
            }
            if seen.target.starts_with("/echo")
                && let Some(protocol) = seen.header("Upgrade")
            {
                let mut sender = stream;
                let head = format!("HTTP/1.1 101 Switched\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
                sender.write_all(format!("{head}{}\n", seen.to_json()).as_bytes())?;
                return io::copy(&mut reader, &mut sender).map(drop);
            }
            let status = seen.query("answer").unwrap_or("200");
            let cache = seen.query("cache").map(|value| format!("Cache-Control: {value}\r\n")).unwrap_or_default();
            let cors = seen.query("cors").map(|origin| {
                format!(
                    "Access-Control-Allow-Origin: {origin}\r\naccess-control-allow-credentials: true\r\n\
                     Access-Control-Expose-Headers: X-Own\r\nVary: Accept-Encoding\r\n"
                )
            });
            let body = seen.to_json().to_string();
            let mut answer = format!("HTTP/1.1 {status} Application\r\nContent-Type: application/json\r\n{cache}");
            answer += &cors.unwrap_or_default();
            answer += &format!("Content-Length: {}\r\n\r\n", body.len());
            if seen.method != "HEAD" {
                answer += &body;
            }
            (&mut &*stream).write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut seen = Seen { method, target, headers: Vec::new(), body_length: 0 };
    loop {
        let mut bytes = Vec::new();
        reader.read_until(b'\n', &mut bytes)?;
        // Latin-1, so that every byte has its own character.
        let line: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let Some((name, value)) = line.trim_end_matches(['\r', '\n']).split_once(':') else { break };
        seen.headers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    seen.body_length = if seen.header("Transfer-Encoding").is_some() {
        read_chunks(reader)?
    } else {
        let length = seen.header("Content-Length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let read = io::copy(&mut reader.take(length), &mut io::sink())?;
        usize::try_from(read).map_err(io::Error::other)?
    };
    Ok(Some(seen))
}

fn read_chunks(reader: &mut BufReader<&TcpStream>) -> io::Result<usize> {
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        reader.read_exact(&mut vec![0; size + 2])?;
        if size == 0 {
            return Ok(total);
        }
        total += size;
    }
}

impl Seen {
    /// The value of a header, by any spelling of its case.
    ///
    /// # Panics
    /// When it was there more than once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} came more than once: {:?}", self.headers);
        values.first().copied()
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|header| header.0.eq_ignore_ascii_case(name));
        found.map(|header| header.1.as_str()).collect()
    }

    fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"method": self.method, "target": self.target, "headers": self.headers, "body_length": self.body_length})
    }

    pub(super) fn from_json(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let headers = value["headers"].as_array().expect("what the application says");
        Self {
            method: text(&value["method"]),
            target: text(&value["target"]),
            headers: headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect(),
            body_length: usize::try_from(value["body_length"].as_u64().unwrap()).unwrap(),
        }
    }
}
