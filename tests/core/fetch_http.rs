//! Answers over HTTP: what is asked, what is taken, and what is refused.

use std::{
    io,
    net::TcpListener,
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use jwt_gate_core::keys::set::MAX_BYTES;

use super::fetch_server::{KEYS, PLENTY, SHORT, Server, Wire, answer, fetch_plain, keys};

/// The error of fetching from a server that answers every request with these bytes and closes.
fn error_of(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    let server = Server::http(move |_, wire| wire.write_all(&bytes));
    let error = fetch_plain(&server.keys("/jwks"), PLENTY).unwrap_err();
    let expected = format!("{}/jwks: ", server.origin);
    error.strip_prefix(&expected).unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// The body of what a server answers with these bytes.
fn body_of(bytes: impl Into<Vec<u8>>) -> Vec<u8> {
    let bytes = bytes.into();
    let server = Server::http(move |_, wire| wire.write_all(&bytes));
    fetch_plain(&server.keys("/jwks"), PLENTY).unwrap().jwks
}

#[test]
fn one_modest_request_gets_the_keys() {
    let server = Server::http(|_, wire| {
        wire.write_all(&answer("200 OK", "Content-Type: application/json\r\nCache-Control: max-age=600\r\n", KEYS))
    });
    let fetched = fetch_plain(&server.keys("/realm/jwks?v=1&k=%20"), PLENTY).unwrap();
    assert_eq!((fetched.jwks.as_slice(), fetched.max_age), (KEYS, Some(Duration::from_secs(600))));
    assert_eq!(fetched.url, format!("{}/realm/jwks?v=1&k=%20", server.origin));

    let heads = server.heads();
    let mut lines: Vec<_> = heads[0].trim_end().split("\r\n").map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "get /realm/jwks?v=1&k=%20 http/1.1");
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: application/json, application/jwk-set+json",
            "connection: close",
            &format!("host: 127.0.0.1:{}", server.port),
            concat!("user-agent: mod_jwt_gate/", env!("CARGO_PKG_VERSION")),
        ]
    );
    assert_eq!(heads.len(), 1);
}

#[test]
fn one_fetcher_serves_several_threads_at_once() {
    let (server, _closed) = waiting(|path, wire| match path {
        "/silence" => Ok(()),
        _ => wire.write_all(&answer("200 OK", "", KEYS)),
    });
    std::thread::scope(|scope| {
        let silence = scope.spawn(|| fetch_plain(&server.keys("/silence"), SHORT));
        assert_eq!(fetch_plain(&server.keys("/keys"), PLENTY).unwrap().jwks, KEYS);
        assert!(silence.join().unwrap().is_err());
    });
}

#[test]
fn the_content_type_does_not_matter() {
    for field in ["", "Content-Type: application/jwk-set+json\r\n", "Content-Type: text/html;charset=x\r\n"] {
        assert_eq!(body_of(answer("200 OK", field, KEYS)), KEYS, "{field}");
    }
}

#[test]
fn every_way_to_end_a_body() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\n{\"ke\r\n7\r\nys\":[]}\r\n0\r\n\r\n";
    assert_eq!(body_of(chunked), KEYS);
    assert_eq!(body_of([b"HTTP/1.1 200 OK\r\n\r\n", KEYS].concat()), KEYS);
    assert_eq!(body_of([b"HTTP/1.0 200 OK\r\n\r\n", KEYS].concat()), KEYS);
    assert_eq!(body_of([b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".as_slice(), &answer("200", "", KEYS)].concat()), KEYS);
}

#[test]
fn only_status_200_is_an_answer() {
    for status in [201, 204, 206, 300, 304, 400, 401, 404, 410, 429, 500, 503, 599, 999] {
        let error = error_of(answer(&format!("{status} Whatever"), "Location: /x\r\n", KEYS));
        assert_eq!(error, format!("answered with status {status}"));
    }
}

#[test]
fn the_longest_body() {
    let longest = vec![b' '; MAX_BYTES];
    let chunked = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
        [head.as_bytes(), &vec![b' '; length], b"\r\n0\r\n\r\n"].concat()
    };
    let unannounced = |length: usize| [b"HTTP/1.1 200 OK\r\n\r\n", vec![b' '; length].as_slice()].concat();
    assert_eq!(body_of(answer("200 OK", "", &longest)), longest);
    assert_eq!(body_of(chunked(MAX_BYTES)), longest);
    assert_eq!(body_of(unannounced(MAX_BYTES)), longest);
    for longer in [MAX_BYTES + 1, 10_000_000] {
        let expected = "answered with more than 150000 bytes";
        assert_eq!(error_of(answer("200 OK", "", &vec![b' '; longer])), expected);
        assert_eq!(error_of(chunked(longer)), expected);
        assert_eq!(error_of(unannounced(longer)), expected);
    }
}

#[test]
fn a_body_announced_as_too_long_is_not_waited_for() {
    let (server, closed) = waiting(|_, wire| wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 150001\r\n\r\n"));
    let error = fetch_plain(&server.keys("/"), PLENTY).unwrap_err();
    assert!(error.ends_with("answered with more than 150000 bytes"), "{error}");
    closed.recv_timeout(PLENTY).unwrap();
}

#[test]
fn endless_bodies_end() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
        let (server, closed) = forever(head, b"00001\r\n \r\n");
        let error = fetch_plain(&server.keys("/"), PLENTY).unwrap_err();
        assert!(error.ends_with("answered with more than 150000 bytes"), "{error}");
        closed.recv_timeout(PLENTY).unwrap();
    }
}

#[test]
fn a_body_that_is_cut_off_is_an_error() {
    let expected = "the connection was closed before the answer was complete";
    for bytes in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"keys\":[]}",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"keys\":[]}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"keys\":[]}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"keys\":[]}",
    ] {
        assert_eq!(error_of(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn encodings_were_not_asked_for() {
    let error = error_of(answer("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b"));
    assert_eq!(error, "answered in the encoding `gzip`, which was not asked for");
    let error = error_of(answer("200 OK", "Content-Encoding: identity\r\nContent-Encoding: \x1b[m\r\n", KEYS));
    assert!(!error.is_empty());
    assert_eq!(body_of(answer("200 OK", "Content-Encoding: Identity\r\n", KEYS)), KEYS);
}

#[test]
fn what_is_not_http_is_an_error() {
    for bytes in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 O\x1b[31mK\r\n\r\n",
        "HTTP/1.1 200 O\x00K\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \x7f\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\x01: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let error = error_of(bytes);
        assert!(error.starts_with("the answer is not HTTP/1.1"), "{bytes:?}: {error}");
    }
}

#[test]
fn floods_of_header_fields_end() {
    let many = "A: b\r\n".repeat(3000);
    assert!(error_of(answer("200 OK", &many, KEYS)).contains("header"));
    let long = format!("A: {}\r\n", "b".repeat(1_000_000));
    assert_eq!(error_of(answer("200 OK", &long, KEYS)), "answered with a header of more than 32768 bytes");
    for part in [b"A: b\r\n".as_slice(), b"b", b"HTTP/1.1 103 Early\r\n\r\n"] {
        let (server, closed) = forever("HTTP/1.1 200 OK\r\nX: ", part);
        assert!(fetch_plain(&server.keys("/"), PLENTY).is_err());
        closed.recv_timeout(PLENTY).unwrap();
    }
    let normal = format!("Content-Security-Policy: {}\r\n", "b".repeat(16_000));
    assert_eq!(body_of(answer("200 OK", &normal, KEYS)), KEYS);
}

#[test]
fn silence_ends_in_time() {
    let (server, closed) = waiting(|_, _| Ok(()));
    let error = fetch_plain(&server.keys("/jwks"), SHORT).unwrap_err();
    assert_eq!(error, format!("{}/jwks: no answer within 300ms", server.origin));
    closed.recv_timeout(PLENTY).unwrap();
}

#[test]
fn silence_amid_the_answer_ends_in_time() {
    for head in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let (server, closed) = waiting(|_, wire| wire.write_all(head.as_bytes()));
        let error = fetch_plain(&server.keys("/"), SHORT).unwrap_err();
        assert!(error.ends_with("no answer within 300ms"), "{error}");
        closed.recv_timeout(PLENTY).unwrap();
    }
}

#[test]
fn one_byte_after_another_does_not_extend_the_time() {
    for head in [
        "HTTP/1.1 200 OK\r\nX: ",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 O",
    ] {
        let (server, closed) = trickling(head, b" ");
        let error = fetch_plain(&server.keys("/"), SHORT).unwrap_err();
        assert!(error.ends_with("no answer within 300ms"), "{error}");
        closed.recv_timeout(PLENTY).unwrap();
    }
}

#[test]
fn a_listener_that_never_accepts_does_not_hold_anybody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = fetch_plain(&keys(&format!("http://{}/", listener.local_addr().unwrap())), SHORT).unwrap_err();
    assert!(error.ends_with("no answer within 300ms"), "{error}");
}

#[test]
fn no_time_is_no_answer_and_any_time_is_enough() {
    let server = Server::http(|_, wire| wire.write_all(&answer("200 OK", "", KEYS)));
    let error = fetch_plain(&server.keys("/"), Duration::ZERO).unwrap_err();
    assert!(error.ends_with("no answer within 0ms"), "{error}");
    assert_eq!(fetch_plain(&server.keys("/"), Duration::MAX).unwrap().jwks, KEYS);
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(fetch_plain(&keys(&url), PLENTY).unwrap_err(), format!("{url}: the connection was refused"));
}

/// A server that plays a script and then waits until the client has gone, which it reports.
fn waiting(script: impl Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static) -> (Server, Receiver<()>) {
    let (gone, closed) = mpsc::channel();
    let gone = Mutex::new(gone);
    let server = Server::http(move |path, wire| {
        script(path, wire)?;
        wire.flush()?;
        let _ = wire.read_to_end(&mut Vec::new());
        gone.lock().unwrap().send(()).map_err(io::Error::other)
    });
    (server, closed)
}

/// A server that writes `part` over and over until the client has gone, which it reports.
fn forever(head: &'static str, part: &'static [u8]) -> (Server, Receiver<()>) {
    endless(head, part.repeat(1000), Duration::ZERO)
}

/// The same, slowly.
fn trickling(head: &'static str, part: &'static [u8]) -> (Server, Receiver<()>) {
    endless(head, part.to_vec(), Duration::from_millis(10))
}

fn endless(head: &'static str, part: Vec<u8>, pause: Duration) -> (Server, Receiver<()>) {
    let (gone, closed) = mpsc::channel();
    let gone = Mutex::new(gone);
    let server = Server::http(move |_, wire| {
        wire.write_all(head.as_bytes())?;
        while wire.write_all(&part).and_then(|()| wire.flush()).is_ok() {
            std::thread::sleep(pause);
        }
        gone.lock().unwrap().send(()).map_err(io::Error::other)
    });
    (server, closed)
}
