//! Identity headers, whatever a token or a client puts into them.

use jwt_gate_core::forward::{HeaderName, ScrubList, clean_connection, encode_list, encode_value, same_name};
use proptest::collection::vec;
use proptest::prelude::*;

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
        let cleaned = clean_connection(value.as_bytes(), &scrub);
        let left = cleaned.clone().unwrap_or_else(|| value.clone().into_bytes());
        for word in left.split(|b| b",; \t\"".contains(b)) {
            prop_assert!(!scrub.matches(word), "{:?} in {:?}", word, value);
        }
        prop_assert_eq!(clean_connection(&left, &scrub), None, "cleaned once is clean");

        let named = |element: &str| element.split([',', ';', ' ', '\t', '"']).any(|word| scrub.matches(word.as_bytes()));
        let foreign: Vec<_> = value.split(',').map(str::trim).filter(|e| !e.is_empty() && !named(e)).collect();
        let left = String::from_utf8(left).expect("ASCII");
        let kept: Vec<_> = left.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        prop_assert_eq!(kept, foreign, "what is not ours stays");
    }
}
