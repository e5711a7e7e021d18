//! The application's side of the uwsgi protocol.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::backend::Told;

pub(super) fn serve(mut stream: &TcpStream, told: &Told) -> io::Result<()> {
    // modifier, length of the variables, modifier
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut variables = vec![0; usize::from(u16::from_le_bytes([head[1], head[2]]))];
    stream.read_exact(&mut variables)?;
    let mut rest = variables.as_slice();
    let mut next = || -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        rest.read_exact(&mut length)?;
        let mut text = vec![0; usize::from(u16::from_le_bytes(length))];
        rest.read_exact(&mut text)?;
        Ok(text)
    };
    let mut fields = Vec::new();
    while let Ok(name) = next() {
        fields.push((name, next()?));
    }
    let body = told.body(fields);
    stream.write_all(format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").as_bytes())
}
