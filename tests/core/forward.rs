//! Identity headers, whatever a token or a client puts into them.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

#[allow(dead_code, unused_imports)] // the tests of tokens use the rest
mod token_mint;

use std::borrow::Cow;
use std::sync::Arc;

use jwt_gate_core::algorithm::Algorithm::EdDSA;
use jwt_gate_core::config::forward::{ForwardValue, parse};
use jwt_gate_core::expression::{claim_list, claim_text};
use jwt_gate_core::forward::{
    HeaderName, ScrubList, clean_connection, encode_list, encode_value, encode_words, same_name, value,
};
use jwt_gate_core::identity::Identity;
use proptest::collection::vec;
use proptest::prelude::*;
use token_mint::{base64url, claims, judge, token};

/// RFC 3986 section 2.1, written once more for the tests.
fn decoded(field: &str) -> String {
    let mut bytes = field.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().expect("two digits"), bytes.next().expect("two digits")];
            let digits = str::from_utf8(&digits).expect("ASCII");
            out.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

/// RFC 9110 section 5.5 without obs-text and tab: no blanks around, nothing but SP and VCHAR within.
fn is_field_value(text: &str) -> bool {
    text.trim_ascii() == text && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// Text with many of the characters that matter.
fn text() -> impl Strategy<Value = String> {
    let tricky =
        prop::sample::select(vec![' ', ',', '%', '\r', '\n', '\0', '\t', '\x7f', 'a', '2', 'C', 'ü', '\u{2028}']);
    vec(prop_oneof![4 => tricky, 1 => any::<char>()], 0..24).prop_map(String::from_iter)
}

fn name() -> impl Strategy<Value = String> {
    "[xX][-_.][a-cA-C]{1,3}"
}

fn scrub_list(names: &[String]) -> ScrubList {
    ScrubList::new(&names.iter().map(|name| HeaderName::parse(name).expect("a name")).collect::<Vec<_>>())
}

/// A token with these members, written as they stand behind a comma.
fn identity(members: &str) -> Identity {
    identity_of(&claims(members))
}

fn identity_of(claims: &str) -> Identity {
    Identity::of_token(Arc::new(judge(token(EdDSA, claims), |_| {}).unwrap()))
}

/// What the application receives under `JwtGateForward X-Test VALUE`.
fn forwarded(wanted: &str, identity: &Identity) -> Option<String> {
    let def = parse(&["X-Test", wanted], |_| Err(String::new())).unwrap().unwrap();
    value(&def.value, identity)
}

#[test]
fn each_value_is_that_part_of_the_identity() {
    let members = r#""azp":"web shop","scope":"read  write","role":["a","b"]"#;
    let known = identity(members);
    let payload = base64url(claims(members));
    for (wanted, expected) in [
        ("subject", Some("alice")),
        ("issuer", Some("test")),
        ("client", Some("web shop")),
        ("scope", Some("read write")),
        ("plan", None),
        ("api-key", None),
        ("claim:role", Some("a,b")),
        ("claim:absent", None),
        ("claims", Some(payload.as_str())),
    ] {
        assert_eq!(forwarded(wanted, &known).as_deref(), expected, "{wanted}");
    }
    let unknown = identity_of(&claims("").replace(r#""sub":"alice","#, ""));
    for wanted in ["subject", "client", "scope"] {
        assert_eq!(forwarded(wanted, &unknown), None, "{wanted}");
    }
}

#[test]
fn a_scope_with_a_space_inside_stays_one() {
    for (scope, expected) in [
        (r#"["read","ad min",7,null]"#, Some("read ad%20min")),
        (r#"["admin\r\nX-Role: root"]"#, Some("admin%0D%0AX-Role:%20root")),
        (r#"" ""#, None),
        ("[]", None),
        ("null", None),
        (r#"{"a":"b"}"#, None),
    ] {
        assert_eq!(forwarded("scope", &identity(&format!(r#""scope":{scope}"#))).as_deref(), expected, "{scope}");
    }
}

#[test]
fn a_claim_of_any_kind_is_whole_or_absent() {
    for (claim, expected) in [
        ("null", None),
        ("[]", None),
        ("[null]", None),
        (r#""""#, Some("")),
        ("18446744073709551615", Some("18446744073709551615")),
        ("-1.50", Some("-1.5")),
        ("false", Some("false")),
        (r#"["a",null,1,true,"b,c"]"#, Some("a,1,true,b%2Cc")),
        (r#"[["a","b"],{"c":1}]"#, Some(r#"["a"%2C"b"],{"c":1}"#)),
        (r#"{"b": ["x, y", null], "a": "100%"}"#, Some(r#"{"b":["x, y",null],"a":"100%25"}"#)),
        (r#""J\u00fcrgen""#, Some("J%C3%BCrgen")),
        (r#""a\r\nX-Admin: 1\u0000\u007f\u2028""#, Some("a%0D%0AX-Admin: 1%00%7F%E2%80%A8")),
        (r#"{"k\n\u007f":"\u0000"}"#, Some(r#"{"k\n%7F":"\u0000"}"#)),
        ("{}", Some("{}")),
    ] {
        assert_eq!(forwarded("claim:x", &identity(&format!(r#""x":{claim}"#))).as_deref(), expected, "{claim}");
    }
    let deep = format!("{}{}", "[".repeat(15), "]".repeat(15));
    let inner = format!("{}{}", "[".repeat(14), "]".repeat(14));
    assert_eq!(forwarded("claim:x", &identity(&format!(r#""x":{deep}"#))), Some(inner));
    let huge = "\u{fc}".repeat(2_500);
    assert_eq!(forwarded("claim:x", &identity(&format!(r#""x":"{huge}""#))), Some("%C3%BC".repeat(2_500)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_value_is_a_field_value_and_decodes_to_itself(value in text()) {
        let mut field = String::new();
        encode_value(&value, &mut field);
        prop_assert!(is_field_value(&field), "{:?}", field);
        prop_assert_eq!(decoded(&field), value);
    }

    #[test]
    fn a_list_is_a_field_value_and_splits_into_its_values(values in vec(text(), 1..6)) {
        let mut field = String::new();
        encode_list(values.iter().map(String::as_str), &mut field);
        prop_assert!(is_field_value(&field), "{:?}", field);
        prop_assert_eq!(field.split(',').map(decoded).collect::<Vec<_>>(), values);
    }

    #[test]
    fn words_are_a_field_value_and_split_into_what_they_were(values in vec(text(), 1..6)) {
        let mut field = String::new();
        encode_words(values.iter().map(String::as_str), &mut field);
        prop_assert_eq!(field.split(' ').map(decoded).collect::<Vec<_>>(), values);
    }

    #[test]
    fn a_claim_is_forwarded_as_expressions_see_it(
        name in prop::sample::select(vec!["s", "list", "o"]),
        values in vec(text(), 0..4),
    ) {
        let json = serde_json::json!({"s": values.concat(), "list": values, "o": {"k": values}}).to_string();
        let identity = identity(&json[1..json.len() - 1]);
        let field = value(&ForwardValue::Claim(name.to_owned()), &identity);
        // JSON leaves the last one as it is.
        let visible = if name == "o" { '\u{7f}'..='\u{7f}' } else { '\0'..='\u{7f}' };
        if values.concat().contains(|c: char| c.is_ascii_control() && visible.contains(&c)) {
            // It would be cut by C or break a header, so that expressions do not see it.
            prop_assert!(field.is_some() && claim_text(&identity, name).is_none());
        } else {
            prop_assert_eq!(field.as_deref().map(decoded), claim_text(&identity, name).map(Cow::into_owned));
            let split: Vec<_> = match (field, name) {
                (Some(field), "list") => field.split(',').map(decoded).collect(),
                (field, _) => field.as_deref().map(decoded).into_iter().collect(),
            };
            prop_assert_eq!(split, claim_list(&identity, name).collect::<Vec<_>>());
        }
        if let Some(field) = value(&ForwardValue::Claim(name.to_owned()), &identity) {
            prop_assert!(is_field_value(&field), "{:?}", field);
        }
    }

    #[test]
    fn a_list_matches_what_is_the_same_name_as_a_member(names in vec(name(), 0..6), asked in name()) {
        let expected = names.iter().any(|name| {
            name.to_lowercase().replace(['_', '.'], "-") == asked.to_lowercase().replace(['_', '.'], "-")
        });
        prop_assert_eq!(scrub_list(&names).matches(asked.as_bytes()), expected);
        prop_assert_eq!(names.iter().any(|name| same_name(name.as_bytes(), asked.as_bytes())), expected);
    }

    #[test]
    fn no_reader_of_a_cleaned_connection_header_finds_our_names(
        names in vec(name(), 1..4),
        parts in vec((prop_oneof![name(), "close", "[ -~]{0,6}"], "[,; \t\"]{1,2}"), 0..8),
    ) {
        let scrub = scrub_list(&names);
        let value: String = parts.into_iter().flat_map(|(part, end)| [part, end]).collect();
        let cleaned = clean_connection(value.as_bytes(), |name| scrub.matches(name));
        let left = cleaned.clone().unwrap_or_else(|| value.clone().into_bytes());
        for word in left.split(|b| b",; \t\"".contains(b)) {
            prop_assert!(!scrub.matches(word), "{:?} in {:?}", word, value);
        }
        prop_assert_eq!(clean_connection(&left, |name| scrub.matches(name)), None, "cleaned once is clean");

        let named = |element: &str| element.split([',', ';', ' ', '\t', '"']).any(|word| scrub.matches(word.as_bytes()));
        let foreign: Vec<_> = value.split(',').map(str::trim).filter(|e| !e.is_empty() && !named(e)).collect();
        let left = String::from_utf8(left).expect("ASCII");
        let kept: Vec<_> = left.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        prop_assert_eq!(kept, foreign, "what is not ours stays");
    }
}
