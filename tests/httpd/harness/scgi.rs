//! The application's side of SCGI.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::backend::Told;

pub(super) fn serve(mut stream: &TcpStream, told: &Told) -> io::Result<()> {
    // A netstring of names and values, each ended by a zero.
    let mut reader = BufReader::new(stream);
    let mut length = Vec::new();
    reader.read_until(b':', &mut length)?;
    length.pop();
    let length: usize = String::from_utf8_lossy(&length).parse().map_err(io::Error::other)?;
    let mut headers = vec![0; length + 1];
    reader.read_exact(&mut headers)?;
    let mut words = headers[..length].split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        fields.push((name, value));
    }
    let body = told.body(fields);
    stream.write_all(format!("Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").as_bytes())
}
