//! A FastCGI application (FastCGI 1.0) that tells what it was told.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// Starts an application on a free port of 127.0.0.1 that answers every request with its parameters as they came
/// (lengths, name and value of each); gives its address as ProxyPass takes it, without final slash. It ends with the
/// process of the test.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // httpd opens a connection for each request; what goes wrong with one is seen there.
            drop(serve(&stream));
        }
    });
    format!("fcgi://127.0.0.1:{port}")
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut answer = b"Content-Type: application/octet-stream\r\n\r\n".to_vec();
    loop {
        let (kind, content) = read_record(stream)?;
        match kind {
            PARAMS => answer.extend(content),
            STDIN if content.is_empty() => break,
            _ => {}
        }
    }
    write_record(stream, STDOUT, &answer)?;
    write_record(stream, STDOUT, &[])?;
    write_record(stream, END_REQUEST, &[0; 8])
}

fn read_record(mut stream: &TcpStream) -> io::Result<(u8, Vec<u8>)> {
    // version, type, request id (2), length of the content (2), length of the padding, reserved
    let mut header = [0; 8];
    stream.read_exact(&mut header)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut content = vec![0; length + usize::from(header[6])];
    stream.read_exact(&mut content)?;
    content.truncate(length);
    Ok((header[1], content))
}

fn write_record(mut stream: &TcpStream, kind: u8, content: &[u8]) -> io::Result<()> {
    let [high, low] = u16::try_from(content.len()).map_err(io::Error::other)?.to_be_bytes();
    stream.write_all(&[&[1, kind, 0, 1, high, low, 0, 0], content].concat())
}
