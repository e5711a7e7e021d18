//! The decision log: a line of JSON for each decision.

use std::fmt;
use std::hash::Hasher;
use std::io::Write;
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::time::UnixMicros;
use crate::trace::Traceparent;
use crate::verdict::{Reason, Ruling};

/// The longest line, with its end: the system writes that much to a pipe at once, so that lines of several processes do
/// not mix (POSIX `PIPE_BUF`, as Linux has it).
pub const MAX_LINE: usize = 4096;

/// The end of a text that is longer than there is room for.
const CUT: &str = "\u{2026}";

/// What is told of one decision. Bytes are what the client sent, and may be anything.
#[derive(Clone, Copy, Debug)]
pub struct DecisionLine<'a> {
    /// When it was made.
    pub time: UnixMicros,
    /// The host's name for the request, for its other logs.
    pub request_id: Option<&'a [u8]>,
    /// What became of the request, and why.
    pub ruling: Ruling,
    /// The name of the virtual host that answers.
    pub server: Option<&'a [u8]>,
    /// The method.
    pub method: &'a [u8],
    /// The path that the client asked for, as it was sent ([`target::path`](crate::target::path)): without query, which
    /// may hold a credential.
    pub path: &'a [u8],
    /// The status of the answer.
    pub status: u16,
    /// The issuer's name in the configuration.
    pub issuer: Option<&'a str>,
    /// Who sent it.
    pub subject: Option<Subject<'a>>,
    /// The client for which the token was made.
    pub client: Option<&'a str>,
    /// The usage plan.
    pub plan: Option<&'a str>,
    /// The limit that is nearest to its end, or has refused.
    pub limit: Option<&'a str>,
    /// Requests that are left of that limit.
    pub remaining: Option<u32>,
    /// The client's address.
    pub address: IpAddr,
    /// How long the decision took, microseconds.
    pub micros: u64,
    /// The trace to which the request belongs.
    pub traceparent: Option<Traceparent>,
}

/// Who sent a request, as the log tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject<'a> {
    /// The token's subject itself (`subject=plain`).
    Plain(&'a str),
    /// A name that stands for it.
    Hashed(SubjectHash),
}

/// Makes the names that stand for subjects. Lines of one caller can be found by one of them, and who it is cannot be
/// told without the secret.
#[derive(Clone, Copy)]
pub struct SubjectHasher {
    secret: [u64; 2],
}

/// A name that stands for a subject: 32 hexadecimal digits in the log.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SubjectHash(u128);

impl SubjectHash {
    /// The name that [`to_bits`](Self::to_bits) gave.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// As a number.
    pub const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for SubjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl SubjectHasher {
    /// By a random secret. The same secret makes the same names: the host keeps it as long as the server lives.
    pub const fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// The name of `subject` of the issuer with this `iss`: two issuers may know different people by one subject.
    pub fn hash(&self, issuer: &str, subject: &str) -> SubjectHash {
        let mut hasher = SipHasher24::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write_u64(issuer.len() as u64);
        hasher.write(issuer.as_bytes());
        hasher.write(subject.as_bytes());
        SubjectHash(hasher.finish128().as_u128())
    }
}

impl DecisionLine<'_> {
    /// Appends the line with its line break: valid JSON in UTF-8 whatever the fields hold, at most [`MAX_LINE`] bytes.
    /// What is absent is left out. Bytes that are no UTF-8 become U+FFFD, and a text that is too long ends with `…`.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{{\"time\":\"{}\"", self.time.rfc3339());
        // The longest texts that are possible, 3,650 bytes, leave enough for the rest.
        text(out, "request_id", self.request_id, 128);
        text(out, "verdict", Some(self.ruling.verdict()), 16);
        text(out, "reason", self.ruling.reason().map(Reason::word), 64);
        // No name of the DNS is longer (RFC 1035 section 2.3.4).
        text(out, "server", self.server, 253);
        text(out, "method", Some(self.method), 32);
        text(out, "path", Some(self.path), 2048);
        number(out, "status", Some(u64::from(self.status)));
        text(out, "issuer", self.issuer, 64);
        match self.subject {
            Some(Subject::Plain(subject)) => text(out, "subject", Some(subject), 512),
            Some(Subject::Hashed(hash)) => {
                let _ = write!(out, ",\"subject\":\"{hash}\"");
            }
            None => {}
        }
        text(out, "client", self.client, 384);
        text(out, "plan", self.plan, 64);
        text(out, "limit", self.limit, 72);
        number(out, "remaining", self.remaining.map(u64::from));
        let _ = write!(out, ",\"address\":\"{}\"", self.address);
        number(out, "decision_us", Some(self.micros));
        if let Some(traceparent) = self.traceparent {
            let _ = write!(out, ",\"traceparent\":\"{traceparent}\"");
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Appends a member with a number.
fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        let _ = write!(out, ",\"{name}\":{value}");
    }
}

/// Appends a member with a string (RFC 8259 section 7) of at most `most` bytes between its quotes.
fn text(out: &mut Vec<u8>, name: &str, value: Option<impl AsRef<[u8]>>, most: usize) {
    let Some(value) = value else { return };
    let _ = write!(out, ",\"{name}\":\"");
    let start = out.len();
    // Where the text is cut if it turns out to be too long: behind the last character that leaves room for the mark.
    let mut cut = start;
    for chunk in value.as_ref().utf8_chunks() {
        let replacement = if chunk.invalid().is_empty() { None } else { Some(char::REPLACEMENT_CHARACTER) };
        for character in chunk.valid().chars().chain(replacement) {
            push(out, character);
            if out.len() - start > most {
                out.truncate(cut);
                out.extend_from_slice(CUT.as_bytes());
                out.push(b'"');
                return;
            }
            if out.len() - start + CUT.len() <= most {
                cut = out.len();
            }
        }
    }
    out.push(b'"');
}

/// Appends a character of a string. What a terminal would obey, or a reader of lines take for an end, is escaped.
fn push(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // Control characters, separators of lines and paragraphs, and those that turn the direction of what follows.
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            let _ = write!(out, "\\u{:04x}", character as u32);
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SHORT: DecisionLine<'_> = DecisionLine {
        time: UnixMicros(1_700_000_000_123_456),
        request_id: None,
        ruling: Ruling::Allow,
        server: None,
        method: b"GET",
        path: b"/",
        status: 200,
        issuer: None,
        subject: None,
        client: None,
        plan: None,
        limit: None,
        remaining: None,
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        micros: 7,
        traceparent: None,
    };

    fn written(line: &DecisionLine<'_>) -> String {
        let mut out = b"before".to_vec();
        line.write_line(&mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    fn path(path: &[u8]) -> String {
        let line = written(&DecisionLine { path, ..SHORT });
        let value: Value = serde_json::from_str(&line).unwrap();
        value["path"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_line_says_everything_in_order() {
        let traceparent = Traceparent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let full = DecisionLine {
            request_id: Some(b"aRz7@k"),
            ruling: Ruling::WouldDeny(Reason::QuotaExceeded),
            server: Some(b"api.example.com"),
            method: b"POST",
            path: b"/a\"b",
            issuer: Some("login"),
            subject: Some(Subject::Plain("alice")),
            client: Some("web"),
            plan: Some("free"),
            limit: Some("per-user-quota"),
            remaining: Some(0),
            address: "2001:db8::1".parse().unwrap(),
            traceparent,
            ..SHORT
        };
        let expected = "{\"time\":\"2023-11-14T22:13:20.123456Z\",\"request_id\":\"aRz7@k\",\
             \"verdict\":\"would-deny\",\"reason\":\"quota-exceeded\",\"server\":\"api.example.com\",\"method\":\"POST\",\"path\":\"/a\\\"b\",\
             \"status\":200,\"issuer\":\"login\",\"subject\":\"alice\",\"client\":\"web\",\"plan\":\"free\",\
             \"limit\":\"per-user-quota\",\"remaining\":0,\"address\":\"2001:db8::1\",\"decision_us\":7,\
             \"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}\n";
        assert_eq!(written(&full), expected);
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let value: Value = serde_json::from_str(&written(&SHORT)).unwrap();
        let expected = json!({
            "time": "2023-11-14T22:13:20.123456Z", "verdict": "allow", "method": "GET", "path": "/", "status": 200,
            "address": "192.0.2.1", "decision_us": 7
        });
        assert_eq!(value, expected);
        let deny = written(&DecisionLine { ruling: Ruling::Deny(Reason::Csrf), status: 403, ..SHORT });
        assert!(deny.contains("\"verdict\":\"deny\",\"reason\":\"csrf\""), "{deny}");
    }

    #[test]
    fn a_subject_is_told_by_a_name_that_only_the_secret_explains() {
        let hasher = SubjectHasher::new([3, 5]);
        let hash = hasher.hash("https://a.example", "alice");
        let line = written(&DecisionLine { subject: Some(Subject::Hashed(hash)), ..SHORT });
        let value: Value = serde_json::from_str(&line).unwrap();
        let name = value["subject"].as_str().unwrap();
        assert!(name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        assert!(!line.contains("alice"));

        assert_eq!(SubjectHasher::new([3, 5]).hash("https://a.example", "alice"), hash);
        for other in [
            SubjectHasher::new([3, 6]).hash("https://a.example", "alice"),
            SubjectHasher::new([4, 5]).hash("https://a.example", "alice"),
            hasher.hash("https://b.example", "alice"),
            hasher.hash("https://a.example", "bob"),
            hasher.hash("https://a.examplea", "lice"),
        ] {
            assert_ne!(other, hash);
        }
    }

    #[test]
    fn no_character_leaves_its_string_or_its_line() {
        for (path, escaped) in [
            (&b"/\n{\"time\":\"x"[..], "/\\n{\\\"time\\\":\\\"x"),
            (b"/\\", "/\\\\"),
            (b"\r\t\0\x1b[2J\x7f", "\\r\\t\\u0000\\u001b[2J\\u007f"),
            ("\u{9b}2J\u{2028}\u{202e}\u{2066}".as_bytes(), "\\u009b2J\\u2028\\u202e\\u2066"),
            ("/\u{fc}\u{4e2d}\u{1f600}".as_bytes(), "/\u{fc}\u{4e2d}\u{1f600}"),
            (b"/\xff\xc3(\xed\xa0\x80", "/\u{fffd}\u{fffd}(\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let line = written(&DecisionLine { path, ..SHORT });
            assert!(line.contains(&format!("\"path\":\"{escaped}\",")), "{line}");
            assert_eq!(self::path(path), String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_with_a_mark() {
        for (unit, bytes) in [("a", 1), ("\u{fc}", 2), ("\u{4e2d}", 3), ("\u{1f600}", 4), ("\"", 2), ("\0", 6)] {
            let fits = unit.repeat(2048 / bytes);
            assert_eq!(path(fits.as_bytes()), fits);
            let long = format!("{fits}a");
            let cut = path(long.as_bytes());
            assert_eq!(cut == long, fits.len() * bytes / unit.len() < 2048, "{unit:?}");
            let cut = path(unit.repeat(3000).as_bytes());
            assert_eq!(cut, format!("{}\u{2026}", unit.repeat((2048 - 3) / bytes)), "{unit:?}");
        }
    }

    #[test]
    fn the_longest_line_is_written_at_once() {
        let long = "\u{4e2d}".repeat(5000);
        let traceparent = Some(Traceparent::begin([7; 24]));
        // The longest of each kind.
        let longest_reason = Reason::ALL.into_iter().max_by_key(|reason| reason.word().len()).unwrap();
        let line = DecisionLine {
            time: UnixMicros(u64::MAX),
            request_id: Some(&[0xff; 5000]),
            ruling: Ruling::WouldDeny(longest_reason),
            server: Some(&[0; 5000]),
            method: &[0; 5000],
            path: long.as_bytes(),
            status: u16::MAX,
            issuer: Some(&long),
            subject: Some(Subject::Plain(&long)),
            client: Some(&long),
            plan: Some(&long),
            limit: Some(&long),
            remaining: Some(u32::MAX),
            address: "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap(),
            micros: u64::MAX,
            traceparent,
        };
        let length = written(&line).len();
        assert!(length <= MAX_LINE, "{length}");
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..4000),
            proptest::collection::vec(0_u8..0x20, 0..2000),
            any::<String>().prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn every_line_is_one_line_of_json_and_short(
            id in proptest::option::of(bytes()),
            server in proptest::option::of(bytes()),
            method in bytes(),
            path in bytes(),
            texts in proptest::array::uniform5(proptest::option::of(any::<String>())),
            repeat in 1_usize..200,
            status in any::<u16>(),
            time in any::<u64>(),
        ) {
            let texts = texts.map(|text| text.map(|text| text.repeat(repeat)));
            let [issuer, subject, client, plan, limit] = texts.each_ref().map(Option::as_deref);
            let line = written(&DecisionLine {
                time: UnixMicros(time),
                request_id: id.as_deref(),
                ruling: Ruling::Deny(Reason::Internal),
                server: server.as_deref(),
                method: &method,
                path: &path,
                status,
                issuer,
                subject: subject.map(Subject::Plain),
                client,
                plan,
                limit,
                ..SHORT
            });
            prop_assert!(line.len() <= MAX_LINE);
            prop_assert_eq!(line.find(|c: char| c.is_control()), Some(line.len() - 1), "one line break, at the end");
            let value: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&value["status"], &json!(status));
            let whole = |name: &str, expected: &str| {
                let found = value[name].as_str().unwrap();
                found == expected || found.strip_suffix(CUT).is_some_and(|start| expected.starts_with(start))
            };
            prop_assert!(whole("path", &String::from_utf8_lossy(&path)));
            prop_assert!(whole("method", &String::from_utf8_lossy(&method)));
            for (name, text) in [("issuer", issuer), ("subject", subject), ("client", client), ("limit", limit)] {
                prop_assert!(text.map_or(value.get(name).is_none(), |text| whole(name, text)), "{}", name);
            }
        }
    }
}
