//! The application's side of AJP 1.3, as mod_proxy_ajp speaks it (modules/proxy/ajp_header.c).

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::backend::Told;

const FORWARD_REQUEST: u8 = 2;
const SEND_BODY_CHUNK: u8 = 3;
const SEND_HEADERS: u8 = 4;
const END_RESPONSE: u8 = 5;

/// Names that have a code: 0xA000 and their place here, counted from one.
const HEADERS: [&str; 14] = [
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Connection",
    "Content-Type",
    "Content-Length",
    "Cookie",
    "Cookie2",
    "Host",
    "Pragma",
    "Referer",
    "User-Agent",
];

/// What is told besides headers, by the names that CGI has for it; the code is the place, counted from one.
const ATTRIBUTES: [&str; 13] = [
    "CONTEXT",
    "SERVLET_PATH",
    "REMOTE_USER",
    "AUTH_TYPE",
    "QUERY_STRING",
    "ROUTE",
    "SSL_CLIENT_CERT",
    "SSL_CIPHER",
    "SSL_SESSION_ID",
    "",
    "",
    "SECRET",
    "REQUEST_METHOD",
];
const NAMED_ATTRIBUTE: u8 = 10;
const SSL_KEY_SIZE: u8 = 11;
const NO_MORE_ATTRIBUTES: u8 = 0xFF;

pub(super) fn serve(mut stream: &TcpStream, told: &Told) -> io::Result<()> {
    loop {
        // 0x1234, then the length of what follows
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        stream.read_exact(&mut payload)?;
        let fields = Packet(&payload).request().ok_or_else(|| io::Error::other("no request"))?;
        let body = told.body(fields);
        let mut head = vec![SEND_HEADERS, 0, 200];
        head.extend([text("OK")?, vec![0, 1], text("Content-Type")?, text("application/json")?].concat());
        let mut answer = packet(&head)?;
        for chunk in body.as_bytes().chunks(4096) {
            let length = u16::try_from(chunk.len()).map_err(io::Error::other)?.to_be_bytes();
            answer.extend(packet(&[&[SEND_BODY_CHUNK], &length[..], chunk, &[0]].concat())?);
        }
        // The connection can be used again.
        answer.extend(packet(&[END_RESPONSE, 1])?);
        stream.write_all(&answer)?;
    }
}

fn text(text: &str) -> io::Result<Vec<u8>> {
    let length = u16::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes();
    Ok([&length[..], text.as_bytes(), &[0]].concat())
}

fn packet(payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
    Ok([b"AB", &length[..], payload].concat())
}

/// What is left of a packet.
struct Packet<'p>(&'p [u8]);

impl Packet<'_> {
    /// Headers and attributes of a request without body.
    fn request(mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        if self.byte()? != FORWARD_REQUEST {
            return None;
        }
        self.byte()?; // method
        self.text()?; // protocol
        let mut target = self.text()?;
        let mut fields = Vec::new();
        for name in ["REMOTE_ADDR", "REMOTE_HOST", "SERVER_NAME"] {
            fields.push((name.into(), self.text()?));
        }
        self.number()?; // port
        self.byte()?; // TLS
        for _ in 0..self.number()? {
            let name = if self.0.first() == Some(&0xA0) {
                HEADERS.get(usize::from(self.number()? & 0xFF).checked_sub(1)?)?.as_bytes().to_vec()
            } else {
                self.text()?
            };
            fields.push((name, self.text()?));
        }
        loop {
            let field = match self.byte()? {
                NO_MORE_ATTRIBUTES => break,
                NAMED_ATTRIBUTE => (self.text()?, self.text()?),
                SSL_KEY_SIZE => (b"SSL_CIPHER_USEKEYSIZE".to_vec(), self.number()?.to_string().into()),
                code => (ATTRIBUTES.get(usize::from(code).checked_sub(1)?)?.as_bytes().to_vec(), self.text()?),
            };
            fields.push(field);
        }
        if let Some((_, query)) = fields.iter().find(|field| field.0 == b"QUERY_STRING") {
            target.extend([b"?", query.as_slice()].concat());
        }
        fields.push((b"REQUEST_URI".to_vec(), target));
        Some(fields)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// Length, bytes and a zero; the length 0xFFFF stands alone, for nothing.
    fn text(&mut self) -> Option<Vec<u8>> {
        let length = self.number()?;
        if length == 0xFFFF {
            return Some(Vec::new());
        }
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest.get(1..)?;
        Some(text.to_vec())
    }
}
