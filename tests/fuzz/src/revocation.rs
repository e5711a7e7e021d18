//! The deny list, and the times in it.

use std::sync::Arc;

use jwt_gate_core::revocation::{RevocationList, compile};
use jwt_gate_core::time::UnixMicros;
use serde_json::{Value, json};

use super::assert_fit_for_log;
use super::token::{let_in, members_in, names_in};

/// Entries of a file that are tried.
const TRIED: usize = 8;

/// A deny list, as a file or compiled: what it names is revoked, what it does not name is not, and another reader
/// of JSON finds nothing in it that was passed over.
pub fn revocations(data: &[u8]) {
    let open = |bytes: &[u8]| RevocationList::open(Arc::new(bytes.to_vec()));
    match open(data) {
        Ok(list) => {
            let _ = list.revokes(&let_in("a", &claims("jti", "b")));
            assert!(list.len() <= data.len() && list.issuers().all(|name| !name.contains('\n')));
        }
        Err(error) => assert_fit_for_log(&error),
    }
    let document = serde_json::from_slice::<Value>(data);
    let compiled = match compile(data) {
        Ok(compiled) => compiled,
        Err(error) => {
            assert_fit_for_log(&error);
            assert!(error.starts_with("line "));
            if let Ok(document) = document {
                assert!(names_in(data) > members_in(&document) || !is_plain(&document), "{error}");
            }
            return;
        }
    };
    let document = document.expect("JSON");
    assert_eq!(names_in(data), members_in(&document), "no member twice");
    let entries = document["revoked"].as_array().expect("an array");
    assert!(document.as_object().is_some_and(|members| members.len() == 1) && entries.len() == compiled.entries);

    let list = open(&compiled.bytes).expect("what was compiled");
    assert!(list.len() <= entries.len() && list.is_empty() == entries.is_empty());
    assert!(list.issuers().eq(&compiled.issuers));
    for entry in entries.iter().take(TRIED) {
        let members = entry.as_object().expect("an object");
        let text = |name: &str| members.get(name).map(|text| text.as_str().expect("text"));
        let issuer = text("issuer").expect("an issuer");
        assert!(compiled.issuers.contains(issuer) && (2..=3).contains(&members.len()));
        let (member, value) = ["jti", "sub", "client", "sid"]
            .into_iter()
            .find_map(|name| Some((name, text(name)?)))
            .unwrap_or(("issued_before", "anything"));
        let claim = match member {
            "client" => "azp",
            "issued_before" => "nonce",
            same => same,
        };
        let before = text("issued_before").map(|time| UnixMicros::from_rfc3339(time).expect("a time"));
        assert_eq!(members.len() == 3, member == "sub" && before.is_some());
        assert!(list.revokes(&let_in(issuer, &claims(claim, value))), "{entry}");
        let mut strange = claims(claim, &format!("{value}{value}"));
        strange["iat"] = json!(u64::MAX);
        let named = entries.iter().any(|other| other[member] == strange[claim]);
        assert!(named || !list.revokes(&let_in(issuer, &strange)), "{entry}");
    }
    assert!(!list.revokes(&let_in("of no entry", &claims("jti", "b"))));
}

/// A time in a file: written anew it is read as the same.
pub fn time(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match UnixMicros::from_rfc3339(text) {
        Ok(time) => {
            let written = written(time);
            // West of Greenwich the year 9999 ends when it is 10000 in UTC, which cannot be written.
            let again = UnixMicros::from_rfc3339(&written);
            assert!(again == Ok(time) || written.starts_with("10000-01-01"), "{written}");
            assert!(text.is_ascii() && (20..).contains(&text.len()));
            if text.ends_with(['Z', 'z']) {
                assert_eq!(written[..19], text[..19].replace('t', "T"));
            }
        }
        Err(error) => assert!(error.contains("RFC 3339") && !error.contains(char::is_control)),
    }
}

fn claims(name: &str, value: &str) -> Value {
    json!({ "iss": "https://HS256.test", "aud": "api", name: value })
}

/// Whether nothing can be wrong with a file, times aside, of which this knows nothing.
fn is_plain(document: &Value) -> bool {
    let is_name =
        |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_plain_entry = |entry: &Value| {
        entry.as_object().is_some_and(|members| {
            members.len() == 2
                && members.values().all(|value| value.as_str().is_some_and(|text| (1..=8192).contains(&text.len())))
                && members.get("issuer").and_then(Value::as_str).is_some_and(is_name)
                && ["jti", "sub", "client", "sid"].iter().any(|name| members.contains_key(*name))
        })
    };
    document.as_object().is_some_and(|members| {
        members.len() == 1
            && members.get("revoked").and_then(Value::as_array).is_some_and(|all| all.iter().all(is_plain_entry))
    })
}

/// In UTC, year after year.
fn written(time: UnixMicros) -> String {
    let (mut days, micros) = (time.0 / 86_400_000_000, time.0 % 86_400_000_000);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", days + 1)
}
