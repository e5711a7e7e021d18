//! API keys: which one was presented, and whether it may be used.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

mod api_key_array;
mod api_key_source;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use jwt_gate_core::apikey::format::{ApiKeyText, PREFIX, is_whole, looks_right};
use jwt_gate_core::apikey::{ApiKey, ApiKeyList, Refusal, compile};
use jwt_gate_core::time::UnixMicros;
use ring::digest::{SHA256, digest};

/// The list of these entries.
fn list(entries: &str) -> ApiKeyList {
    ApiKeyList::open(Arc::new(compiled(entries))).unwrap()
}

fn compiled(entries: &str) -> Vec<u8> {
    compile(file(entries).as_bytes()).unwrap_or_else(|text| panic!("{entries}: {text}")).bytes
}

fn file(entries: &str) -> String {
    format!(r#"{{"keys":[{entries}]}}"#)
}

/// An entry of this id for a key, with these members, written as they stand behind a comma.
fn entry(id: &str, key: &str, members: &str) -> String {
    format!(r#"{{"id":"{id}","sha256":"{}"{members}}}"#, hex(key))
}

fn hex(key: &str) -> String {
    digest(&SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of another system.
fn foreign(number: usize) -> String {
    format!("foreign-key-{number:08}")
}

fn only(members: &str) -> ApiKey {
    list(&entry("a", &foreign(1), members)).find(foreign(1).as_bytes()).unwrap()
}

fn at(text: &str) -> UnixMicros {
    UnixMicros::from_rfc3339(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_key_says_what_its_entry_says() {
    let members = r#","plan":"premium","scopes":["read","urn:x:'w'"],"networks":["10.0.0.0/8","@office","::1"],
                     "not_before":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00.000001Z""#;
    let key = only(members);
    assert_eq!((key.id(), key.plan(), key.scope()), ("a", Some("premium"), "read urn:x:'w'"));
    assert!(key.scopes().eq(["read", "urn:x:'w'"]));
    assert!(key.networks().eq(["10.0.0.0/8", "@office", "::1/128"]));
    assert_eq!(key.not_before(), at("2026-01-01T00:00:00Z"));
    assert_eq!(key.expires(), Some(UnixMicros(at("2027-01-01T00:00:00Z").0 + 1)));

    let bare = only("");
    assert_eq!((bare.id(), bare.plan(), bare.scope()), ("a", None, ""));
    assert_eq!((bare.scopes().count(), bare.networks().count()), (0, 0));
    assert_eq!((bare.not_before(), bare.expires()), (UnixMicros(0), None));
    assert_eq!(only(r#","scopes":[]"#).scopes().count(), 0);
}

#[test]
fn a_key_outlives_its_list() {
    let list = list(&entry("a", &foreign(1), r#","scopes":["read"]"#));
    let key = list.find(foreign(1).as_bytes()).unwrap();
    drop(list);
    assert_eq!((key.id(), key.scope()), ("a", "read"));
}

#[test]
fn only_the_key_itself_is_found() {
    let key = foreign(1);
    let list = list(&entry("a", &key, ""));
    assert!(list.find(key.as_bytes()).is_some());
    for other in [
        String::new(),
        key[1..].to_owned(),
        key[..key.len() - 1].to_owned(),
        format!("{key}x"),
        format!(" {key}"),
        format!("{key}\n"),
        format!("{key}\0"),
        key.to_uppercase(),
        hex(&key),
        format!("\"{key}\""),
        format!("Bearer {key}"),
        "a".to_owned(),
    ] {
        assert_eq!(list.find(other.as_bytes()), None, "{other:?}");
    }
    let empty = ApiKeyList::open(Arc::new(compiled(""))).unwrap();
    assert_eq!(empty.find(key.as_bytes()), None);
}

/// Bounds of what is hashed: such a key is not found although the file has its hash.
#[test]
fn a_key_of_any_system_is_of_some_length_and_visible() {
    for (key, found) in [
        ("x".repeat(15), false),
        ("x".repeat(16), true),
        ("~!\"\\'`,;=  ".trim().repeat(2), true),
        ("x".repeat(256), true),
        ("x".repeat(257), false),
        (String::new(), false),
        ("x".repeat(15) + " ", false),
        ("x".repeat(16) + "\u{7f}", false),
        ("x".repeat(16) + "\t", false),
        ("x".repeat(16) + "é", false),
    ] {
        assert_eq!(looks_right(key.as_bytes()), found, "{key:?}");
        let list = list(&entry("a", &key, ""));
        assert_eq!(list.find(key.as_bytes()).is_some(), found, "{key:?}");
    }
    assert!(!looks_right(&[b'x'; 1 << 20]) && !looks_right(&[0xff; 32]));
}

#[test]
fn times_are_exact() {
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:00.5Z"));
    let both = only(r#","not_before":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:00:00.5Z""#);
    let check = |key: &ApiKey, now: u64| key.check(UnixMicros(now), ip("192.0.2.1"), |_| false);
    assert_eq!(check(&both, from.0 - 1), Err(Refusal::NotYetValid));
    assert_eq!(check(&both, from.0), Ok(()));
    assert_eq!(check(&both, to.0 - 1), Ok(()));
    assert_eq!(check(&both, to.0), Err(Refusal::Expired));
    assert_eq!(check(&both, u64::MAX), Err(Refusal::Expired));
    let bare = only("");
    assert_eq!([0, to.0, u64::MAX].map(|now| check(&bare, now)), [Ok(()); 3]);
    assert_eq!(check(&only(r#","expires":"1970-01-01T00:00:00Z""#), 0), Err(Refusal::Expired));
    let started = only(r#","not_before":"2026-01-01T00:00:00Z""#);
    assert_eq!((check(&started, from.0 - 1), check(&started, u64::MAX)), (Err(Refusal::NotYetValid), Ok(())));
}

#[test]
fn a_key_is_used_from_where_it_belongs() {
    let key = only(r#","networks":["10.0.0.0/8","@office","2001:db8::/32"]"#);
    let check = |client: &str, in_office: bool| {
        let asked = RefCell::new(Vec::new());
        let result = key.check(UnixMicros(0), ip(client), |name| {
            asked.borrow_mut().push(name.to_owned());
            in_office
        });
        (result, asked.into_inner())
    };
    let office = || vec!["office".to_owned()];
    assert_eq!(check("10.255.0.1", false), (Ok(()), vec![]));
    assert_eq!(check("::ffff:10.0.0.1", false), (Ok(()), vec![]));
    assert_eq!(check("2001:db8::1", false), (Ok(()), office()));
    assert_eq!(check("192.0.2.1", true), (Ok(()), office()));
    assert_eq!(check("192.0.2.1", false), (Err(Refusal::WrongAddress), office()));
    assert_eq!(check("2001:db9::1", false), (Err(Refusal::WrongAddress), office()));

    let expired = only(r#","networks":["10.0.0.0/8"],"expires":"2026-01-01T00:00:00Z""#);
    let late = at("2026-01-01T00:00:00Z");
    assert_eq!(expired.check(late, ip("192.0.2.1"), |_| true), Err(Refusal::Expired), "times come first");
}

#[test]
fn refusals_are_sentences() {
    for refusal in [Refusal::NotYetValid, Refusal::Expired, Refusal::WrongAddress] {
        assert!(refusal.to_string().starts_with("the API key "));
    }
}

#[test]
fn what_is_made_here_is_whole() {
    let key = ApiKeyText::new([7; 32]);
    assert_eq!(key.as_str(), "jg_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc51HYVX");
    assert_eq!(key.sha256(), hex(key.as_str()));
    assert!(!format!("{key:?}").contains("BwcH"));
    for random in [[0; 32], [0xff; 32], [0xfb; 32]] {
        let key = ApiKeyText::new(random);
        let text = key.as_str();
        assert!(looks_right(text.as_bytes()) && is_whole(text), "{text}");
        let body = text.strip_prefix(PREFIX).unwrap();
        assert!(body.len() == 49 && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
        assert!(list(&entry("a", text, "")).find(text.as_bytes()).is_some());
    }
}

#[test]
fn typing_mistakes_are_seen() {
    let key = ApiKeyText::new(std::array::from_fn(|n| u8::try_from(n * 7).unwrap()));
    let good = key.as_str();
    for at in 0..good.len() {
        for other in ["A", "b", "0", "_", " ", "é"] {
            let mistyped = format!("{}{other}{}", &good[..at], &good[at + 1..]);
            assert!(mistyped == good || !is_whole(&mistyped), "{mistyped}");
        }
        assert!(!is_whole(&good[..at]) && !is_whole(&good[at + 1..]));
        let mut swapped = good.as_bytes().to_vec();
        swapped.swap(at, (at + 1) % good.len());
        assert!(swapped == good.as_bytes() || !is_whole(str::from_utf8(&swapped).unwrap()));
    }
    assert!(!is_whole(&format!("{good}A")) && !is_whole(&good.to_uppercase()) && !is_whole(&"é".repeat(26)));
}
