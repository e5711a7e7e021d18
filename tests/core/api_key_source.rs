//! The administrator's file.

use jwt_gate_core::apikey::{MAX_FILE_BYTES, compile};

use super::{entry, file, foreign, hex};

fn error(source: impl AsRef<[u8]>) -> String {
    let text = compile(source.as_ref()).unwrap_err();
    assert!(text.len() <= 400 && !text.contains(char::is_control), "{text:?}");
    text
}

/// The error about a file of this one entry.
fn entry_error(entry: &str) -> String {
    error(file(entry))
}

/// The error about an entry with these members, besides the two that it must have.
fn member_error(members: &str) -> String {
    entry_error(&entry("a", &foreign(1), members))
}

#[test]
fn files_that_are_good() {
    let (one, other) = (hex("one"), hex("other"));
    for (source, entries) in [
        (r#"{"keys":[]}"#.to_owned(), 0),
        (" \r\n\t{ \"keys\" : [ ] } \n".to_owned(), 0),
        (format!(r#"{{"\u006beys":[{{"\u0069d":"\u0061","sha256":"{one}"}}]}}"#), 1),
        (format!(r#"{{"keys":[{{"sha256":"{one}","id":"a"}},{{"id":"A","sha256":"{other}"}}]}}"#), 2),
        (file(&format!(r#"{{"id":"a","sha256":"{}"}}"#, one.to_uppercase())), 1),
        (file(&entry("a", "one", r#","scopes":["read"],"expires":"1970-01-01T00:00:00Z""#)), 1),
        (
            file(&entry("a", "one", r#","not_before":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:00:00.000001Z""#)),
            1,
        ),
    ] {
        let compiled = compile(source.as_bytes()).unwrap_or_else(|text| panic!("{source}: {text}"));
        assert_eq!(compiled.entries, entries, "{source}");
    }
}

#[test]
fn names_that_a_file_uses() {
    let entries = [
        entry("a", "1", r#","plan":"gold","networks":["@b","@a","10.0.0.0/8"]"#),
        entry("b", "2", r#","plan":"basic","networks":["@b"]"#),
        entry("c", "3", r#","plan":"gold""#),
    ];
    let compiled = compile(file(&entries.join(",")).as_bytes()).unwrap();
    assert!(compiled.plans.iter().eq(["basic", "gold"]) && compiled.networks.iter().eq(["a", "b"]));
}

#[test]
fn an_entry_is_one_key() {
    let hash = hex("one");
    for (entry, remedy) in [
        ("{}".to_owned(), "no \"id\""),
        (format!(r#"{{"sha256":"{hash}"}}"#), "no \"id\""),
        (r#"{"id":"a"}"#.to_owned(), "no \"sha256\""),
        (r#"{"id":"a","sha256":""}"#.to_owned(), "\"sha256\" is empty"),
        (format!(r#"{{"id":"a","sha256":"{}"}}"#, &hash[1..]), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"{hash}0"}}"#), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"{hash}00"}}"#), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"{}g"}}"#, &hash[1..]), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"{}+"}}"#, &hash[1..]), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"0x{}"}}"#, &hash[2..]), "64 hexadecimal digits"),
        (format!(r#"{{"id":"a","sha256":"{}é"}}"#, &hash[2..]), "64 hexadecimal digits"),
        (r#"{"id":"a","sha256":7}"#.to_owned(), "\"sha256\" as text in double quotes"),
        (format!(r#"{{"id":7,"sha256":"{hash}"}}"#), "\"id\" as text"),
        (format!(r#"{{"id":null,"sha256":"{hash}"}}"#), "\"id\" as text"),
        (format!(r#"{{"id":"a","id":"a","sha256":"{hash}"}}"#), "\"id\" stands twice"),
        (format!(r#"{{"id":"a","sha256":"{hash}","sh\u0061256":"{hash}"}}"#), "\"sha256\" stands twice"),
        (format!(r#"{{"ID":"a","sha256":"{hash}"}}"#), "\"ID\" is not known here"),
        (r#"{"id":"a","key":"secret"}"#.to_owned(), "an entry has \"id\", \"sha256\""),
        (r#""a""#.to_owned(), "an entry like"),
        ("7".to_owned(), "an entry like"),
        ("null".to_owned(), "an entry like"),
        (r#"["a"]"#.to_owned(), "an entry like"),
        (format!(r#"{{"id":"a","sha256":"{hash}"}},null"#), "an entry like"),
    ] {
        let text = entry_error(&entry);
        assert!(text.starts_with("line 1: ") && text.contains(remedy), "{entry}: {text}");
    }
    for id in ["", " ", "a b", "a\\\"", "it's", "a\\\\b", "é", "a\\n", "a\\u0000", &"x".repeat(129)] {
        let text = entry_error(&format!(r#"{{"id":"{id}","sha256":"{hash}"}}"#));
        assert!(text.contains("\"id\""), "{id}: {text}");
    }
    for id in ["a", "A/b@c:d,e;f=<>`~!#$%&()*+-.?[]^_{|}", &"x".repeat(128)] {
        assert!(compile(file(&entry(id, "one", "")).as_bytes()).is_ok(), "{id}");
    }
}

#[test]
fn members_are_what_they_should_be() {
    let many = |count: usize| (0..count).map(|n| format!("\"s{n}\"")).collect::<Vec<_>>().join(",");
    for (members, remedy) in [
        (r#","plan":"""#.to_owned(), "\"plan\" is empty"),
        (r#","plan":"a b""#.to_owned(), "the NAME of a JwtGatePlan"),
        (r#","plan":"a\n""#.to_owned(), "the NAME of a JwtGatePlan"),
        (r#","plan":["a"]"#.to_owned(), "\"plan\" as text"),
        (r#","plan":null"#.to_owned(), "\"plan\" as text"),
        (r#","plan":"a","plan":"a""#.to_owned(), "\"plan\" stands twice"),
        (r#","scopes":"read write""#.to_owned(), "\"scopes\" as a list of texts"),
        (r#","scopes":null"#.to_owned(), "\"scopes\" as a list"),
        (r#","scopes":{"read":true}"#.to_owned(), "\"scopes\" as a list"),
        (r#","scopes":[7]"#.to_owned(), "\"scopes\" as text"),
        (r#","scopes":[["read"]]"#.to_owned(), "\"scopes\" as text"),
        (r#","scopes":[""]"#.to_owned(), "\"scopes\" is empty"),
        (r#","scopes":["read write"]"#.to_owned(), "texts of their own"),
        (r#","scopes":["a\\b"]"#.to_owned(), "cannot be one of \"scopes\""),
        (r#","scopes":["a\"b"]"#.to_owned(), "cannot be one of \"scopes\""),
        (r#","scopes":["größe"]"#.to_owned(), "cannot be one of \"scopes\""),
        (r#","scopes":["a\nb"]"#.to_owned(), "cannot be one of \"scopes\""),
        (r#","scopes":["a","a"]"#.to_owned(), "\"scopes\" has \"a\" twice"),
        (r#","scopes":["a"],"scopes":["b"]"#.to_owned(), "\"scopes\" stands twice"),
        (format!(r#","scopes":[{}]"#, many(65)), "more than 64"),
        (r#","networks":[]"#.to_owned(), "\"networks\" is empty"),
        (r#","networks":"10.0.0.0/8""#.to_owned(), "\"networks\" as a list"),
        (r#","networks":["10.0.0.1/8"]"#.to_owned(), "\"networks\": 10.0.0.1/8 has host bits set"),
        (r#","networks":["10.0.0.0/33"]"#.to_owned(), "prefix length"),
        (r#","networks":["peer:10.0.0.0/8"]"#.to_owned(), "is not an address"),
        (r#","networks":["10.0.0.0/8 ::1"]"#.to_owned(), "\"networks\""),
        (r#","networks":["example.com"]"#.to_owned(), "is not an address"),
        (r#","networks":["none"]"#.to_owned(), "is not an address"),
        (r#","networks":["@"]"#.to_owned(), "the NAME of a JwtGateNetwork"),
        (r#","networks":["@a b"]"#.to_owned(), "the NAME of a JwtGateNetwork"),
        (r#","networks":["@@a"]"#.to_owned(), "the NAME of a JwtGateNetwork"),
        (r#","networks":["::1","::1"]"#.to_owned(), "twice"),
        (format!(r#","networks":[{}]"#, many(65).replace("\"s", "\"@s")), "more than 64"),
        (r#","not_before":1700000000"#.to_owned(), "\"not_before\" as text"),
        (r#","not_before":"1700000000""#.to_owned(), "\"not_before\": \"1700000000\" is not a time"),
        (r#","expires":"2026-02-30T00:00:00Z""#.to_owned(), "\"expires\": \"2026-02-30T00:00:00Z\" is not a time"),
        (r#","expires":"never""#.to_owned(), "RFC 3339"),
        (r#","expires":null"#.to_owned(), "\"expires\" as text"),
        (
            r#","not_before":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:00:00Z""#.to_owned(),
            "\"expires\" is not later",
        ),
        (
            r#","expires":"2026-01-01T00:00:00+01:00","not_before":"2026-01-01T00:00:00Z""#.to_owned(),
            "\"expires\" is not later",
        ),
        (r#","comment":"left""#.to_owned(), "\"comment\" is not known here"),
        (r#","":"""#.to_owned(), "\"\" is not known here"),
        (r#","enabled":false"#.to_owned(), "\"enabled\" is not known here"),
    ] {
        let text = member_error(&members);
        assert!(text.starts_with("line 1: ") && text.contains(remedy), "{members}: {text}");
    }
    let most = format!(r#","scopes":[{}],"networks":[{}]"#, many(64), many(64).replace("\"s", "\"@s"));
    assert!(compile(file(&entry("a", "one", &most)).as_bytes()).is_ok());
}

#[test]
fn a_file_is_one_list() {
    for (source, remedy) in [
        ("", "not JSON"),
        ("{}", "\"keys\" is missing: the file is {\"keys\":[…]}"),
        ("[]", "{\"keys\":[…]}"),
        ("null", "{\"keys\":[…]}"),
        (r#"{"Keys":[]}"#, "\"Keys\" is not known here: the file is {\"keys\":[…]}"),
        (r#"{"revoked":[]}"#, "\"revoked\" is not known here"),
        (r#"{"keys":[],"version":1}"#, "\"version\" is not known here"),
        (r#"{"keys":[],"keys":[]}"#, "\"keys\" stands there twice"),
        (r#"{"keys":{}}"#, "a list of entries: \"keys\":[…]"),
        (r#"{"keys":null}"#, "a list of entries"),
        (r#"{"keys":[]}{}"#, "trailing characters"),
        (r#"{"keys":[],}"#, "trailing comma"),
        (r#"{"keys":["#, "not JSON"),
        ("{\"keys\":[// none\n]}", "not JSON"),
        ("\u{feff}{\"keys\":[]}", "byte order mark"),
    ] {
        let text = error(source);
        assert!(text.starts_with("line 1: ") && text.contains(remedy), "{source}: {text}");
    }
    assert!(error(b"\xff\xfe{\0}\0").starts_with("line 1: not JSON"));
    assert!(error("{\"keys\":[{\"id\":\"\u{1}\"}]}").starts_with("line 1: not JSON"));
}

#[test]
fn a_key_and_a_name_are_given_once() {
    let lines = |entries: [String; 3]| format!("{{\"keys\":[\n{},\n{},\n{}\n]}}", entries[0], entries[1], entries[2]);
    let text = error(lines([entry("a", "1", ""), entry("b", "2", ""), entry("a", "3", "")]));
    assert!(text.starts_with("line 4: \"a\" is the \"id\" of an earlier entry"), "{text}");
    let text = error(lines([entry("a", "1", ""), entry("b", "1", ""), entry("c", "3", "")]));
    assert!(text.starts_with("line 3: \"sha256\" is that of an earlier entry"), "{text}");
    let capitals = entry("b", "1", "").replace(&hex("1"), &hex("1").to_uppercase());
    assert!(error(lines([entry("a", "1", ""), capitals, entry("c", "3", "")])).starts_with("line 3: \"sha256\""));
}

/// Somebody will write the key where its hash belongs.
#[test]
fn a_key_in_the_place_of_its_hash_is_not_repeated() {
    let secret = "jg_not-to-be-seen-by-anybody";
    for source in [
        file(&format!(r#"{{"id":"a","sha256":"{secret}"}}"#)),
        file(&format!(r#"{{"id":"a","sha256":"{}"}}"#, secret.repeat(20))),
    ] {
        assert!(!error(source).contains("seen"));
    }
}

#[test]
fn the_line_is_that_of_the_entry() {
    let good = |n: usize| format!("  {}", entry(&format!("g{n}"), &foreign(n), ""));
    for bad in [
        "{}".to_owned(),
        entry("a b", "x", ""),
        entry("g1", "x", ""),
        entry("a", &foreign(1), ""),
        entry("a", "x", r#","plan":"a b""#),
        entry("a", "x", r#","networks":[]"#),
        entry("a", "x", r#","networks":["10.0.0.1/8"]"#),
        entry("a", "x", r#","expires":"b""#),
        entry("a", "x", r#","scopes":7"#),
        entry("a", "x", r#" "plan":"b""#),
        "NaN".to_owned(),
    ] {
        for line_break in ["\n", "\r\n"] {
            let (one, two, three) = (good(1) + ",", good(2) + ",", good(3));
            let text = error(["{\"keys\":[", &one, &two, &format!("{bad},"), &three, "]}"].join(line_break));
            assert!(text.starts_with("line 4: "), "{bad}: {text}");
            let text = error(["{\"keys\":[", &one, "", &bad, "", "]", "}"].join(line_break));
            assert!(text.starts_with("line 4: "), "{bad} at the end: {text}");
        }
    }
}

#[test]
fn depth_is_refused_where_it_begins() {
    for open in ["[", "{\"a\":", "{\"keys\":[", "{\"scopes\":[", "{\"id\":"] {
        for text in [open.repeat(100_000), format!("{{\"keys\":[{}", open.repeat(100_000))] {
            assert!(error(text).starts_with("line 1: "), "{open}");
        }
    }
}

#[test]
fn long_texts_are_not_repeated_in_the_log() {
    for long in ["x".repeat(1 << 14), "\u{1}\n\u{7f}".repeat(1 << 13), "漢字".repeat(1 << 13)] {
        for text in [long.chars().take(80).collect(), long] {
            let quoted = serde_json::to_string(&text).unwrap();
            error(format!("{{{quoted}:1}}"));
            error(format!("{{\"keys\":{quoted}}}"));
            entry_error(&format!("{{{quoted}:1}}"));
            entry_error(&format!(r#"{{"id":{quoted}}}"#));
            entry_error(&format!(r#"{{"id":"a","sha256":{quoted}}}"#));
            for members in ["plan\":", "not_before\":", "networks\":[", "networks\":[\"@a\","] {
                let end = if members.contains('[') { "]" } else { "" };
                member_error(&format!(",\"{members}{quoted}{end}"));
            }
            member_error(&format!(r#","scopes":["{}",{quoted}]"#, "é".repeat(100)));
        }
    }
}

#[test]
fn a_file_is_bounded() {
    let mut long = vec![b'x'; MAX_FILE_BYTES];
    assert!(error(&long).contains("not JSON"));
    long.push(b'x');
    assert!(error(&long).contains("268435457 bytes"));
}
