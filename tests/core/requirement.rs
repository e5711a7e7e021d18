//! `Require` lines and expressions, against a model that knows nothing of how they are read and compared.

#![allow(clippy::unwrap_used)] // the lint spares test functions, but not what they call

#[allow(dead_code, unused_imports)] // the tests of tokens use the rest
mod token_mint;

use std::sync::Arc;

use jwt_gate_core::algorithm::Algorithm::EdDSA;
use jwt_gate_core::config::requirement::{Kind, words};
use jwt_gate_core::expression::{claim_list, claim_text};
use jwt_gate_core::identity::Identity;
use jwt_gate_core::requirement::Requirement;
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Number, Value, json};
use token_mint::*;

/// Texts that are easily taken for one another.
const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "b",
    "a b",
    "a,b",
    "ü",
    "5",
    "5.0",
    "50e-1",
    "05",
    "-3",
    "1.5",
    "0",
    "-0.0",
    "true",
    "false",
    "True",
    "null",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "1e16",
    "\\",
    "\"",
    "'",
    "test",
];

const NUMBERS: &[&str] = &[
    "0",
    "5",
    "5.0",
    "-3",
    "1.5",
    "15e-1",
    "9007199254740991.0",
    "9007199254740992",
    "9007199254740992.0",
    "9007199254740993",
    "10000000000000000",
    "1e16",
    "18446744073709551615",
    "18446744073709551616",
    "1e300",
];

/// Names of members, and what reaches into them.
const NAMES: &[&str] = &["a", "b", "a.b", "b.a", "a.b.a", "", "x"];

/// The claims that scopes, groups and client are read from.
const TELLING: &[&str] = &["scope", "scp", "groups", "cognito:groups", "roles"];

fn verified(payload: &Map<String, Value>) -> Identity {
    let mut claims = json!({"iss": ISS, "aud": AUD, "exp": NOW + 300});
    claims.as_object_mut().unwrap().extend(payload.clone());
    Identity::of_token(Arc::new(judge(token(EdDSA, &claims.to_string()), |_| {}).unwrap()))
}

fn identity(payload: &str) -> Identity {
    Identity::of_token(Arc::new(judge(token(EdDSA, &claims(payload)), |_| {}).unwrap()))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        select(NUMBERS).prop_map(|text| Value::Number(text.parse::<Number>().unwrap())),
        select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            hash_map(select(NAMES).prop_map(str::to_owned), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn payload() -> impl Strategy<Value = Map<String, Value>> {
    let names = || prop_oneof![2 => select(NAMES), 1 => select(TELLING)].prop_map(str::to_owned);
    let client = hash_map(select(&["azp", "client_id"][..]).prop_map(str::to_owned), select(TEXTS), 0..2);
    (hash_map(names(), value(), 0..7), client).prop_map(|(members, client)| {
        members.into_iter().chain(client.into_iter().map(|(name, text)| (name, text.into()))).collect()
    })
}

/// The claim, if there is one.
fn reached<'v>(members: &'v Map<String, Value>, name: &[&str]) -> Option<&'v Value> {
    if let Some(value) = members.get(&name.join(".")) {
        return Some(value);
    }
    (1..name.len()).find_map(|dots| reached(members.get(&name[..dots].join("."))?.as_object()?, &name[dots..]))
}

/// A whole number or one with a fraction, in the one spelling that Rust has for it.
fn spelt(number: &Number) -> Option<String> {
    let double = number.as_f64().unwrap();
    match number.is_f64() {
        true if double.abs() >= 9_007_199_254_740_992.0 => None,
        true => Some(if double == 0.0 { "0".to_owned() } else { double.to_string() }),
        false => Some(number.to_string()),
    }
}

/// The same of what the administrator wrote.
fn spelt_as_written(text: &str) -> Option<String> {
    let number: Number = serde_json::from_str(text).ok()?;
    match text {
        "1e16" => Some("10000000000000000".to_owned()),
        _ => spelt(&number),
    }
}

fn equals(word: &str, found: &Value) -> bool {
    match found {
        Value::String(text) => text == word,
        Value::Bool(value) => word == if *value { "true" } else { "false" },
        Value::Number(number) => spelt(number).is_some() && spelt(number) == spelt_as_written(word),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_met(kind: Kind, words: &[String], payload: &Map<String, Value>) -> bool {
    let strings = |names: &[&str]| -> Vec<String> {
        match names.iter().find_map(|name| payload.get(*name)) {
            Some(Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            Some(Value::String(text)) if names[0] == "scope" => text.split_whitespace().map(str::to_owned).collect(),
            Some(Value::String(text)) => vec![text.clone()],
            _ => vec![],
        }
    };
    let client =
        ["azp", "client_id"].iter().find_map(|name| payload.get(*name)?.as_str().filter(|text| !text.is_empty()));
    let found = match kind {
        Kind::Claim => {
            let (name, values) = words.split_first().unwrap();
            let Some(claim) = reached(payload, &name.split('.').collect::<Vec<_>>()) else { return false };
            let elements = claim.as_array().map_or(std::slice::from_ref(claim), Vec::as_slice);
            return values.iter().any(|value| elements.iter().any(|element| equals(value, element)));
        }
        Kind::Scope => strings(&["scope", "scp"]),
        Kind::Group => strings(&["groups", "cognito:groups", "roles"]),
        Kind::Client => client.map(str::to_owned).into_iter().collect(),
        Kind::Issuer => vec!["test".to_owned()],
        Kind::Plan => vec![],
    };
    words.iter().any(|word| found.contains(word))
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_requirement_is_met_as_the_model_says(
        kind in select(&Kind::ALL[..]),
        name in select(NAMES),
        texts in vec(select(TEXTS), 1..4),
        payload in payload(),
    ) {
        let name = (kind == Kind::Claim).then_some(name);
        let words: Vec<_> = name.into_iter().chain(texts).map(str::to_owned).collect();
        let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        if let Ok(requirement) = Requirement::parse(kind, &line) {
            prop_assert_eq!(requirement.is_met_by(&verified(&payload)), is_met(kind, &words, &payload));
        } else {
            let never = words.iter().any(|word| word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphanumeric()));
            prop_assert!(never && kind != Kind::Claim || words[0].is_empty(), "{}", line);
        }
    }

    #[test]
    fn quoted_words_are_read_as_they_were(all in vec("[ -~é\t]{0,8}", 0..6)) {
        let line = all.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(words(&line), all);
    }
}

#[test]
fn one_met_value_of_each_kind_and_one_that_is_not() {
    let identity = identity(
        r#""role":["user","admin"],"level":7,"scope":"read write","groups":["night shift","a,b"],"azp":"shop","a":{"b":null}"#,
    );
    for (kind, line, met) in [
        (Kind::Claim, "role owner admin", true),
        (Kind::Claim, "role owner", false),
        (Kind::Claim, "level 7", true),
        (Kind::Claim, "level 7.5", false),
        (Kind::Claim, "sub alice", true),
        (Kind::Claim, "a.b null ''", false),
        (Kind::Claim, "absent ''", false),
        (Kind::Scope, "admin write", true),
        (Kind::Scope, "rea", false),
        (Kind::Scope, "READ", false),
        (Kind::Group, "'night shift'", true),
        (Kind::Group, "night shift", false),
        (Kind::Group, "a b", false),
        (Kind::Client, "web shop", true),
        (Kind::Client, "web", false),
        (Kind::Issuer, "other test", true),
        (Kind::Issuer, "Test", false),
        (Kind::Plan, "test", false),
    ] {
        assert_eq!(Requirement::parse(kind, line).unwrap().is_met_by(&identity), met, "{line}");
    }
}

#[test]
fn a_line_is_cut_into_words_as_httpd_does() {
    for (line, expected) in [
        ("", &[][..]),
        (" \t\r\n\u{b}\u{c}", &[]),
        ("a", &["a"]),
        ("  a\tb  c ", &["a", "b", "c"]),
        (r#""a b" 'c d'"#, &["a b", "c d"]),
        (r#""" '' a"#, &["", "", "a"]),
        (r#""it's" 'say "x"'"#, &["it's", r#"say "x""#]),
        (r#""a\"b" 'a\'b'"#, &[r#"a"b"#, "a'b"]),
        (r#""a\'b" 'a\"b'"#, &[r"a\'b", r#"a\"b"#]),
        (r#""a\\" b"#, &[r"a\", "b"]),
        (r#""a\\\" b"#, &[r#"a\" b"#]),
        (r#""a\nb\ c""#, &[r"a\nb\ c"]),
        (r#"a\\b a\b a\ b a\"#, &[r"a\b", r"a\b", r"a\", "b", r"a\"]),
        (r"a\\\b", &[r"a\\b"]),
        (r#"a"b c" d'e"#, &[r#"a"b"#, r#"c""#, "d'e"]),
        (r#""a"b"c d""#, &["a", r#"b"c"#, r#"d""#]),
        (r#""a""b"'c'"#, &["a", "b", "c"]),
        (r#""a b"#, &["a b"]),
        (r#"a ""#, &["a", ""]),
        (r#""a\"#, &[r"a\"]),
        (r#""a\\"#, &[r"a\"]),
        ("é\u{a0}b \u{3000} \"ü ü\"", &["é\u{a0}b", "\u{3000}", "ü ü"]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}

/// `ap_getword_conf` and `substring_conf` of httpd's server/util.c, statement by statement.
fn as_in_c(line: &[u8]) -> Vec<Vec<u8>> {
    let at = |i: usize| line.get(i).copied().unwrap_or(0);
    let is_space = |b: u8| b == b' ' || (9..=13).contains(&b);
    let substring = |start: usize, end: usize, quote: u8| {
        let (mut result, mut i) = (Vec::new(), start);
        while i < end {
            if at(i) == b'\\' && (at(i + 1) == b'\\' || (quote != 0 && at(i + 1) == quote)) {
                i += 1;
            }
            result.push(at(i));
            i += 1;
        }
        result
    };
    let (mut words, mut start) = (Vec::new(), 0);
    loop {
        while is_space(at(start)) {
            start += 1;
        }
        let quote = at(start);
        if quote == 0 {
            return words;
        }
        let mut end;
        if quote == b'"' || quote == b'\'' {
            end = start + 1;
            while at(end) != 0 && at(end) != quote {
                let pair = at(end) == b'\\' && at(end + 1) != 0 && (at(end + 1) == quote || at(end + 1) == b'\\');
                end += if pair { 2 } else { 1 };
            }
            words.push(substring(start + 1, end, quote));
            if at(end) == quote {
                end += 1;
            }
        } else {
            end = start;
            while at(end) != 0 && !is_space(at(end)) {
                end += 1;
            }
            words.push(substring(start, end, 0));
        }
        start = end;
    }
}

#[test]
fn every_short_line_is_cut_as_in_c() {
    const BYTES: &[u8] = b" a\\\"'";
    for length in 0..=7u32 {
        for number in 0..BYTES.len().pow(length) {
            let byte = |place| BYTES[number / BYTES.len().pow(place) % BYTES.len()];
            let line: Vec<u8> = (0..length).map(byte).collect();
            let found: Vec<_> = words(str::from_utf8(&line).unwrap()).into_iter().map(String::into_bytes).collect();
            assert_eq!(found, as_in_c(&line), "{}", line.escape_ascii());
        }
    }
}

#[test]
fn claims_in_expressions() {
    let identity = identity(concat!(
        r#""s":"a, b","e":"","n":5,"big":18446744073709551615,"f":1.50,"t":true,"null":null,"#,
        r#""o":{"b":[1,null],"a":"\u0000é"},"list":["a","b,c",7,false,null,["x","y"],{"k":"v"},""],"none":[],"nulls":[null],"#,
        r#""nul":"admin\u0000x","nuls":["admin\u0000","b"],"a":{"b":"deep"},"a.b.c":"flat","lines":"a\r\nb""#
    ));
    for (name, text, list) in [
        ("s", Some("a, b"), &["a, b"][..]),
        ("e", Some(""), &[""]),
        ("n", Some("5"), &["5"]),
        ("big", Some("18446744073709551615"), &["18446744073709551615"]),
        ("f", Some("1.5"), &["1.5"]),
        ("t", Some("true"), &["true"]),
        ("null", None, &[]),
        ("absent", None, &[]),
        ("o", Some(r#"{"b":[1,null],"a":"\u0000é"}"#), &[r#"{"b":[1,null],"a":"\u0000é"}"#]),
        (
            "list",
            Some(r#"a,b,c,7,false,["x","y"],{"k":"v"},"#),
            &["a", "b,c", "7", "false", r#"["x","y"]"#, r#"{"k":"v"}"#, ""],
        ),
        ("none", None, &[]),
        ("nulls", None, &[]),
        ("nul", None, &[]),
        ("nuls", None, &["b"]),
        ("o.a", None, &[]),
        ("a.b", Some("deep"), &["deep"]),
        ("a.b.c", Some("flat"), &["flat"]),
        ("lines", None, &[]),
        ("sub", Some("alice"), &["alice"]),
    ] {
        assert_eq!(claim_text(&identity, name).as_deref(), text, "{name}");
        assert_eq!(claim_list(&identity, name).collect::<Vec<_>>(), list, "{name}");
    }
}
