//! The administrator's file.

use jwt_gate_core::revocation::{MAX_FILE_BYTES, compile};

fn error(source: impl AsRef<[u8]>) -> String {
    let text = compile(source.as_ref()).unwrap_err();
    assert!(text.len() <= 400 && !text.contains(char::is_control), "{text:?}");
    text
}

/// The error about a file of this one entry.
fn entry_error(entry: &str) -> String {
    error(format!(r#"{{"revoked":[{entry}]}}"#))
}

#[test]
fn files_that_are_good() {
    for (source, entries) in [
        (r#"{"revoked":[]}"#, 0),
        (" \r\n\t{ \"revoked\" : [ ] } \n", 0),
        (r#"{"\u0072evoked":[{"\u0069ssuer":"a","jti":"\u0062"}]}"#, 1),
        (
            r#"{"revoked":[{"jti":"b","issuer":"a"},{"issued_before":"2023-11-14T22:13:20Z","sub":"b","issuer":"a"}]}"#,
            2,
        ),
        (r#"{"revoked":[{"issuer":"a","jti":"b"},{"issuer":"a","jti":"b"},{"issuer":"a","jti":"b"}]}"#, 3),
    ] {
        let compiled = compile(source.as_bytes()).unwrap_or_else(|text| panic!("{source}: {text}"));
        assert_eq!((compiled.entries, compiled.issuers.len()), (entries, entries.min(1)), "{source}");
    }
}

#[test]
fn an_entry_is_one_thing() {
    for (entry, remedy) in [
        (r#"{}"#, "add the name"),
        (r#"{"jti":"b"}"#, "add the name"),
        (r#"{"issued_before":"2023-11-14T22:13:20Z"}"#, "add the name"),
        (r#"{"issuer":"a"}"#, "revokes nothing"),
        (r#"{"issuer":"a","jti":"b","sub":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","jti":"b","client":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","jti":"b","sid":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","sub":"b","client":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","sub":"b","sid":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","client":"b","sid":"b"}"#, "make an entry of each"),
        (r#"{"issuer":"a","jti":"b","issued_before":"2023-11-14T22:13:20Z"}"#, "make an entry of each"),
        (r#"{"issuer":"a","client":"b","issued_before":"2023-11-14T22:13:20Z"}"#, "make an entry of each"),
        (r#"{"issuer":"a","sid":"b","issued_before":"2023-11-14T22:13:20Z"}"#, "make an entry of each"),
        (r#"{"issuer":"a","sub":"b","jti":"b","issued_before":"2023-11-14T22:13:20Z"}"#, "make an entry of each"),
        (r#"{"issuer":"a","jti":"b","jti":"b"}"#, "\"jti\" stands twice"),
        (r#"{"issuer":"a","issuer":"a","jti":"b"}"#, "\"issuer\" stands twice"),
        (r#"{"issuer":"a","sub":"b","s\u0075b":"c"}"#, "\"sub\" stands twice"),
        (r#"{"issuer":"a","jtl":"b"}"#, "\"jtl\" is not known here"),
        (r#"{"issuer":"a","JTI":"b"}"#, "\"JTI\" is not known here"),
        (r#"{"issuer":"a","jti ":"b"}"#, "\"jti \" is not known here"),
        (r#"{"issuer":"a","jti":"b","comment":"left"}"#, "\"comment\" is not known here"),
        (r#"{"issuer":"a","jti":"b","":""}"#, "\"\" is not known here"),
        (r#"{"issuer":"a","origin_jti":"b"}"#, "one of \"jti\", \"sub\""),
        (r#"{"iss":"https://a.example","jti":"b"}"#, "an entry has \"issuer\""),
        (r#"{"issuer":"https://a.example/","jti":"b"}"#, "the NAME that JwtGateIssuer gives it"),
        (r#"{"issuer":"a\nb","jti":"b"}"#, "\"a\\nb\" is no name"),
        (r#"{"issuer":"","jti":"b"}"#, "\"issuer\" is empty"),
        (r#"{"issuer":"a","jti":""}"#, "\"jti\" is empty"),
        (r#"{"issuer":"a","sub":""}"#, "\"sub\" is empty"),
        (r#"{"issuer":"a","issued_before":""}"#, "\"issued_before\" is empty"),
        (r#"{"issuer":"a","jti":7}"#, "\"jti\" as text in double quotes"),
        (r#"{"issuer":"a","sub":null}"#, "\"sub\" as text"),
        (r#"{"issuer":"a","client":["b"]}"#, "\"client\" as text"),
        (r#"{"issuer":"a","sid":{"b":"c"}}"#, "\"sid\" as text"),
        (r#"{"issuer":true,"jti":"b"}"#, "\"issuer\" as text"),
        (r#"{"issuer":"a","issued_before":1700000000}"#, "\"issued_before\" as text"),
        (r#"{"issuer":"a","issued_before":"1700000000"}"#, "RFC 3339"),
        (r#"{"issuer":"a","issued_before":"2023-11-14"}"#, "RFC 3339"),
        (r#"{"issuer":"a","issued_before":"2023-02-29T00:00:00Z"}"#, "RFC 3339"),
        (r#"{"issuer":"a","issued_before":"yesterday\u0007"}"#, "RFC 3339"),
        (r#""b""#, "an entry like"),
        ("7", "an entry like"),
        ("null", "an entry like"),
        ("[]", "an entry like"),
        (r#"["a","b"]"#, "an entry like"),
        (r#"{"issuer":"a","jti":"b"},null"#, "an entry like"),
    ] {
        let text = entry_error(entry);
        assert!(text.starts_with("line 1: ") && text.contains(remedy), "{entry}: {text}");
    }
}

#[test]
fn a_file_is_one_list() {
    for (source, remedy) in [
        ("", "not JSON"),
        (" ", "not JSON"),
        ("{}", "\"revoked\" is missing"),
        ("[]", "{\"revoked\":[…]}"),
        (r#""revoked""#, "{\"revoked\":[…]}"),
        ("null", "{\"revoked\":[…]}"),
        (r#"[{"issuer":"a","jti":"b"}]"#, "{\"revoked\":[…]}"),
        (r#"{"issuer":"a","jti":"b"}"#, "\"issuer\" is not known here"),
        (r#"{"Revoked":[]}"#, "\"Revoked\" is not known here"),
        (r#"{"revoked":[],"version":1}"#, "\"version\" is not known here"),
        (r#"{"revoked":[],"revoked":[]}"#, "twice"),
        (r#"{"revoked":null}"#, "a list of entries"),
        (r#"{"revoked":{}}"#, "a list of entries"),
        (r#"{"revoked":{"issuer":"a","jti":"b"}}"#, "a list of entries"),
        (r#"{"revoked":"a"}"#, "a list of entries"),
        (r#"{"revoked":[]}{}"#, "trailing characters"),
        (r#"{"revoked":[]} x"#, "trailing characters"),
        ("{\"revoked\":[]}\0", "trailing characters"),
        (r#"{"revoked":[],}"#, "trailing comma"),
        (r#"{"revoked":[{"issuer":"a","jti":"b"},]}"#, "trailing comma"),
        (r#"{"revoked":[{"issuer":"a","jti":"b",}]}"#, "trailing comma"),
        (r#"{"revoked":[{"issuer":"a","jti":"b"} {"issuer":"a","jti":"b"}]}"#, "expected `,` or `]`"),
        (r#"{"revoked":[{"issuer":"a" "jti":"b"}]}"#, "expected `,` or `}`"),
        (r#"{"revoked":[{"issuer":"a","jti":"b"}]"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":"b"}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":"b"#, "not JSON"),
        (r#"{"revoked":[{'issuer':'a','jti':'b'}]}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":NaN}]}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":-Infinity}]}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":1e999}]}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":"\ud800"}]}"#, "not JSON"),
        (r#"{"revoked":[{"issuer":"a","jti":"\x"}]}"#, "not JSON"),
        ("{\"revoked\":[{\"issuer\":\"a\",\"jti\":\"b\tc\"}]}", "not JSON"),
        ("{\"revoked\":[// none\n]}", "not JSON"),
        ("# none\n{\"revoked\":[]}", "not JSON"),
        ("\u{feff}{\"revoked\":[]}", "byte order mark"),
    ] {
        let text = error(source);
        assert!(text.starts_with("line 1: ") && text.contains(remedy), "{source}: {text}");
    }
    for not_utf_8 in
        [&b"{\"revoked\":[{\"issuer\":\"a\",\"jti\":\"\xff\"}]}"[..], b"\xff\xfe{\0}\0", b"{\"revoked\":[\xe9]}"]
    {
        assert!(error(not_utf_8).starts_with("line 1: not JSON"), "{}", not_utf_8.escape_ascii());
    }
}

#[test]
fn numbers_of_any_length_are_no_text() {
    let digits = "9".repeat(100_000);
    for number in
        [digits.clone(), format!("-{digits}"), format!("0.{digits}"), format!("1e{digits}"), format!("1e-{digits}")]
    {
        assert!(entry_error(&format!(r#"{{"issuer":"a","jti":{number}}}"#)).starts_with("line 1: "));
    }
}

#[test]
fn depth_is_refused_where_it_begins() {
    for open in ["[", "{\"a\":", "{\"revoked\":[", "{\"issuer\":", "{\"revoked\":[{\"issuer\":"] {
        for text in [open.repeat(100_000), format!("{{\"revoked\":[{}", open.repeat(100_000))] {
            assert!(error(text).starts_with("line 1: "), "{open}");
        }
    }
}

#[test]
fn the_line_is_that_of_the_entry() {
    let good = r#"  {"issuer":"a","jti":"b"}"#;
    for bad in [
        r#"{"issuer":"a","jtl":"b"}"#,
        r#"{"issuer":"a"}"#,
        r#"{"jti":"b"}"#,
        r#"{"issuer":"a","jti":7}"#,
        r#"{"issuer":"a","jti":""}"#,
        r#"{"issuer":"a","jti":"b","sub":"c"}"#,
        r#"{"issuer":"a","jti":"b","jti":"c"}"#,
        r#"{"issuer":"a/b","jti":"b"}"#,
        r#"{"issuer":"a","issued_before":"b"}"#,
        r#"{"issuer":"a" "jti":"b"}"#,
        r#""b""#,
        "NaN",
    ] {
        for line_break in ["\n", "\r\n"] {
            let lines = ["{\"revoked\":[", &format!("{good},"), &format!("{good},"), &format!("  {bad},"), good, "]}"];
            let text = error(lines.join(line_break));
            assert!(text.starts_with("line 4: "), "{bad}: {text}");
            let lines = ["{\"revoked\":[", &format!("{good},"), "", bad, "", "]", "}"];
            let text = error(lines.join(line_break));
            assert!(text.starts_with("line 4: "), "{bad} at the end: {text}");
        }
    }
    // Of an entry with several lines it is one of them.
    let text = error("{\"revoked\":[\n{\n\"issuer\":\"a\",\n\"jti\":\"b\",\n\"sub\":\"c\"\n}\n,\n{}\n]}");
    assert!(text.starts_with("line 6: ") && text.contains("more than one"), "{text}");
}

#[test]
fn long_texts_are_not_repeated_in_the_log() {
    for long in ["x".repeat(1 << 14), "\u{1}\n\u{7f}".repeat(1 << 13), "漢字".repeat(1 << 13)] {
        let quoted = serde_json::to_string(&long).unwrap();
        for (source, remedy) in [
            (format!("{{{quoted}:1}}"), "{\"revoked\":[…]}"),
            (quoted.clone(), "{\"revoked\":[…]}"),
            (format!("{{\"revoked\":{quoted}}}"), "a list of entries"),
            (format!("{{\"revoked\":[{quoted}]}}"), "an entry like"),
            (format!("{{\"revoked\":[{{{quoted}:1}}]}}"), "\"issued_before\""),
            (format!("{{\"revoked\":[{{\"issuer\":{quoted}}}]}}"), "more than any token"),
            (format!("{{\"revoked\":[{{\"issuer\":\"a\",\"jti\":{quoted}}}]}}"), "more than any token"),
        ] {
            assert!(error(source).contains(remedy), "{remedy}");
        }
        let most: String = long.chars().take(2000).collect();
        let quoted = serde_json::to_string(&most).unwrap();
        assert!(entry_error(&format!(r#"{{"issuer":{quoted},"jti":"b"}}"#)).contains("not its ISSUER"));
        assert!(entry_error(&format!(r#"{{"issuer":"a","issued_before":{quoted}}}"#)).contains("RFC 3339"));
        assert!(compile(format!(r#"{{"revoked":[{{"issuer":"a","jti":{quoted}}}]}}"#).as_bytes()).is_ok());
    }
}

#[test]
fn a_file_is_bounded() {
    let mut long = vec![b'x'; MAX_FILE_BYTES];
    assert!(error(&long).contains("not JSON"));
    long.push(b'x');
    assert!(error(&long).contains("268435457 bytes"));
}
