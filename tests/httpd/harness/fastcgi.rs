//! The application's side of FastCGI 1.0.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::backend::Told;

const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

pub(super) fn serve(stream: &TcpStream, told: &Told) -> io::Result<()> {
    let mut parameters = Vec::new();
    loop {
        let (kind, content) = read_record(stream)?;
        match kind {
            PARAMS => parameters.extend(content),
            STDIN if content.is_empty() => break,
            _ => {}
        }
    }
    let body = told.body(fields(&parameters)?);
    write_record(stream, STDOUT, format!("Content-Type: application/json\r\n\r\n{body}").as_bytes())?;
    write_record(stream, STDOUT, &[])?;
    write_record(stream, END_REQUEST, &[0; 8])
}

/// Names and values, each pair behind its two lengths: one byte, or four with the highest bit set.
fn fields(mut rest: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let lengths = [read_length(&mut rest)?, read_length(&mut rest)?];
        let [mut name, mut value] = lengths.map(|length| vec![0; length]);
        rest.read_exact(&mut name)?;
        rest.read_exact(&mut value)?;
        fields.push((name, value));
    }
    Ok(fields)
}

fn read_length(rest: &mut &[u8]) -> io::Result<usize> {
    let mut length = [0; 4];
    rest.read_exact(&mut length[..1])?;
    if length[0] < 0x80 {
        return Ok(usize::from(length[0]));
    }
    rest.read_exact(&mut length[1..])?;
    usize::try_from(u32::from_be_bytes(length) & 0x7FFF_FFFF).map_err(io::Error::other)
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
