//! What must hold for any bytes whatsoever: one function for each parser of bytes that others wrote.
//!
//! libFuzzer calls these functions through `fuzz_targets/`; the ordinary test run replays `corpus/`
//! through them (`tests/core/fuzz_replay.rs`). A function says that something is wrong by panicking.

mod api_key;
mod fetch;
mod keys;
mod request;
mod requirement;
mod revocation;
mod token;

use std::sync::Arc;

use jwt_gate_core::forward::{HeaderName, ScrubList, clean_connection, encode_list, encode_value};
use jwt_gate_core::net::address::{Cidr, parse_address};
use jwt_gate_core::net::aws_file::{self, Filter};
use jwt_gate_core::net::cidr_file;
use jwt_gate_core::net::list::{Format, NetworkList, compile};
use jwt_gate_core::net::network::NetworkSet;

pub use api_key::api_keys;
pub use fetch::{discovery_document, fetch_url, max_age};
pub use keys::{jwks, pem, secret};
pub use request::{authorization, cookie, csrf, query};
pub use requirement::requirement;
pub use revocation::{revocations, time};
pub use token::{json, signed_token, token};

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by name. Each has a file in `fuzz_targets/`, a line in `Cargo.toml` and a folder in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("api_keys", api_keys),
    ("authorization", authorization),
    ("aws_file", aws_file),
    ("cidr", cidr),
    ("cidr_file", cidr_file),
    ("connection_header", connection_header),
    ("cookie", cookie),
    ("csrf", csrf),
    ("discovery_document", discovery_document),
    ("fetch_url", fetch_url),
    ("forward_value", forward_value),
    ("json", json),
    ("jwks", jwks),
    ("max_age", max_age),
    ("pem", pem),
    ("query", query),
    ("requirement", requirement),
    ("revocations", revocations),
    ("secret", secret),
    ("signed_token", signed_token),
    ("time", time),
    ("token", token),
];

/// A file of AWS: whatever is chosen from it is a part of it, and what is compiled of it is what it names.
pub fn aws_file(data: &[u8]) {
    let chosen = Filter { services: vec!["S3".to_owned()], regions: Vec::new() };
    match aws_file::read(data, &Filter::default()) {
        Ok(networks) => {
            assert!(!networks.is_empty());
            let compiled = compile(data, &Format::Aws(Filter::default())).expect("what was read is compiled");
            let list = NetworkList::open(Arc::new(compiled)).expect("what was compiled is opened");
            assert!(list.len() <= networks.len() && list.set().len() <= list.len());
            assert!(networks.iter().all(|cidr| list.set().contains(cidr.network())));
            match aws_file::read(data, &chosen) {
                Ok(chosen) => assert!(!chosen.is_empty() && chosen.iter().all(|cidr| networks.contains(cidr))),
                Err(error) => assert_fit_for_log(&error),
            }
        }
        Err(error) => {
            assert_fit_for_log(&error);
            assert!(aws_file::read(data, &chosen).is_err());
        }
    }
}

/// One network, as in `JwtGateAllow`: what is read is written and read as the same.
pub fn cidr(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match text.parse::<Cidr>() {
        Ok(cidr) => {
            assert_eq!(cidr.to_string().parse(), Ok(cidr));
            assert_eq!(cidr.network(), cidr.network().to_canonical());
            assert!(cidr.contains(cidr.network()));
        }
        Err(error) => assert_fit_for_log(&error),
    }
    match parse_address(text) {
        Ok(address) => assert_eq!(parse_address(&address.to_string()), Ok(address)),
        Err(error) => assert_fit_for_log(&error),
    }
}

/// A file of networks: the set holds what the list names, and the list can be written anew.
pub fn cidr_file(data: &[u8]) {
    match cidr_file::read(data) {
        Ok(networks) => {
            assert!(!networks.is_empty());
            let set: NetworkSet = networks.iter().copied().collect();
            assert!(!set.is_empty() && set.len() <= networks.len());
            assert!(networks.iter().all(|cidr| set.contains(cidr.network())));
            let written: String = networks.iter().map(|cidr| format!("{cidr}\n")).collect();
            assert_eq!(cidr_file::read(written.as_bytes()), Ok(networks));
        }
        Err(error) => assert_fit_for_log(&error),
    }
}

/// `Connection` of a request: none of our names is left, whatever else is.
pub fn connection_header(data: &[u8]) {
    let names = ["X-User", "X-Scope"].map(|name| HeaderName::parse(name).expect("a header name"));
    let scrub = ScrubList::new(&names);
    let cleaned = clean_connection(data, |name| scrub.matches(name));
    let left = cleaned.as_deref().unwrap_or(data);
    assert!(left.split(|b| b",; \t\"".contains(b)).all(|word| !scrub.matches(word)));
    assert_eq!(clean_connection(left, |name| scrub.matches(name)), None);
}

/// A claim on its way into a header, alone and as a list (elements end at line breaks here).
pub fn forward_value(data: &[u8]) {
    let value = String::from_utf8_lossy(data);
    let mut field = String::new();
    encode_value(&value, &mut field);
    assert_field_value(&field);
    assert_eq!(decoded(&field), value);

    let mut field = String::new();
    encode_list(value.split('\n'), &mut field);
    assert_field_value(&field);
    assert_eq!(field.split(',').map(decoded).collect::<Vec<_>>(), value.split('\n').collect::<Vec<_>>());
}

/// Errors go to the log and to the terminal: short, and no control characters in them.
fn assert_fit_for_log(error: &str) {
    assert!((1..=400).contains(&error.len()), "{} bytes", error.len());
    assert!(!error.contains(char::is_control), "{error:?}");
}

/// RFC 9110 section 5.5, without obs-text and tab.
fn assert_field_value(field: &str) {
    assert!(field.trim_ascii() == field && field.bytes().all(|b| matches!(b, b' '..=b'~')), "{field:?}");
}

/// RFC 3986 section 2.1.
fn decoded(field: &str) -> String {
    let mut bytes = field.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).expect("a hexadecimal digit");
                u8::try_from(digit() << 4 | digit()).expect("two digits")
            }
            _ => byte,
        });
    }
    String::from_utf8(out).expect("UTF-8")
}
