//! Compiled lists: large ones, and such that are not what was compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jwt_gate_core::apikey::{ApiKeyList, compile};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::{compiled, entry, file, foreign, hex, list};

const COUNT: usize = 5;
const RECORDS: usize = 80;
const RECORD: usize = 64;

/// Keys with everything, and without.
fn entries() -> String {
    let of = |n: usize| {
        let members = [
            r#","plan":"gold""#.to_owned(),
            format!(r#","scopes":["read","s{n}"],"networks":["10.{n}.0.0/16","@office"]"#),
            r#","not_before":"2026-01-01T00:00:00Z","expires":"2027-01-01T00:00:00Z""#.to_owned(),
        ];
        entry(&format!("k{n}"), &foreign(n), &members.into_iter().take(n % 4).collect::<String>())
    };
    (0..COUNT).map(of).collect::<Vec<_>>().join(",")
}

fn open(bytes: Vec<u8>) -> Result<ApiKeyList, String> {
    ApiKeyList::open(Arc::new(bytes))
}

fn error(bytes: Vec<u8>) -> String {
    open(bytes).err().unwrap()
}

/// As somebody would do who writes such an array by other means.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = digest(&SHA256, &content);
    content.extend(checksum.as_ref());
    content
}

fn content() -> Vec<u8> {
    let mut bytes = compiled(&entries());
    bytes.truncate(bytes.len() - 32);
    bytes
}

#[test]
fn all_are_found_and_their_neighbours_are_not() {
    const KEYS: usize = 20_000;
    let entries: Vec<_> = (0..KEYS).map(|n| entry(&n.to_string(), &foreign(n), "")).collect();
    let list = list(&entries.join(","));
    assert_eq!(list.len(), KEYS);
    for n in 0..KEYS {
        assert_eq!(list.find(foreign(n).as_bytes()).unwrap().id(), n.to_string());
        assert_eq!(list.find(foreign(n + KEYS).as_bytes()), None, "{n}");
    }
}

/// The search looks at the first bytes of a hash; the rest decides.
#[test]
fn hashes_that_begin_alike_are_told_apart() {
    let key = foreign(1);
    let hash = hex(&key);
    let same_start =
        |id: &str, end: char| format!(r#"{{"id":"{id}","sha256":"{}"}}"#, hash[..63].to_owned() + &end.to_string());
    let last = hash.chars().last().unwrap();
    let others: Vec<_> = ('0'..='9').chain('a'..='f').filter(|end| *end != last).collect();
    let strangers = others.iter().map(|end| same_start(&format!("other-{end}"), *end)).collect::<Vec<_>>().join(",");
    assert_eq!(list(&strangers).find(key.as_bytes()), None);
    let found = list(&format!("{strangers},{}", entry("mine", &key, ""))).find(key.as_bytes()).unwrap();
    assert_eq!(found.id(), "mine");
}

#[test]
fn an_array_says_what_it_was_made_of() {
    let source = file(&entries());
    let compiled = compile(source.as_bytes()).unwrap();
    assert_eq!(compiled.entries, COUNT);
    assert!(compiled.plans.iter().eq(["gold"]) && compiled.networks.iter().eq(["office"]));
    let list = open(compiled.bytes).unwrap();
    assert!(list.plans().eq(["gold"]) && list.network_names().eq(["office"]));
    assert_eq!((list.len(), list.is_empty()), (COUNT, false));
    assert_eq!(list.source_digest(), digest(&SHA256, source.as_bytes()).as_ref());

    let none = open(super::compiled("")).unwrap();
    assert_eq!((none.len(), none.is_empty(), none.plans().count(), none.network_names().count()), (0, true, 0, 0));
}

/// The same file gives the same array, whoever compiles it.
#[test]
fn the_layout_is_as_written() {
    let one = entry(
        "a",
        &foreign(1),
        r#","plan":"gold","scopes":["r","w"],"networks":["::1","@x"],"expires":"1970-01-01T00:00:01Z""#,
    );
    let bytes = compiled(&one);
    assert_eq!(bytes, compiled(&one));
    assert_eq!(bytes[..8], *b"JWTGKEY\0");
    let text = "a\ngold\nr w\n::1/128 @x";
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!([8, 16, 24, 32, 40].map(word), [1, 1, text.len() as u64, 4, 1]);
    assert_eq!(bytes[48..RECORDS], *digest(&SHA256, file(&one).as_bytes()).as_ref());
    assert_eq!(bytes[RECORDS..RECORDS + 32], *digest(&SHA256, foreign(1).as_bytes()).as_ref());
    assert_eq!([112, 120, 128, 136].map(word), [0, 1_000_000, 0, text.len() as u64]);
    assert!(bytes[..bytes.len() - 32].ends_with(format!("{text}goldx").as_bytes()));
}

#[test]
fn no_byte_can_be_changed_and_none_be_missing() {
    let good = compiled(&entries());
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            assert!(open(bytes).is_err(), "byte {at}");
        }
        assert!(open(good[..at].to_vec()).is_err(), "the first {at} bytes");
        assert!(open(good[at + 1..].to_vec()).is_err(), "the last bytes, {at} and one missing");
    }
    assert!(open([&good[..], b"\0"].concat()).is_err());
    assert!(open([&good[..], &good].concat()).is_err());
}

#[test]
fn an_error_says_what_is_wrong() {
    for foreign in [&b""[..], b"{}", b"JWTGREV\0", &[0; 4096]] {
        assert_eq!(error(foreign.to_vec()), "this is no compiled list of API keys");
    }
    let mut newer = content();
    newer[8] = 2;
    assert!(error(sealed(newer)).contains("another version"));
    let mut cut = compiled(&entries());
    cut.pop();
    assert!(error(cut).contains("damaged"));
    assert!(error(b"JWTGKEY\0".to_vec()).contains("damaged"));
    assert!(error(b"JWTGKEY\0\x01\0\0\0\0\0\0\0".to_vec()).contains("damaged"));
}

/// A good checksum does not excuse contents that no search could be trusted with.
#[test]
fn what_is_sealed_is_checked_as_well() {
    assert!(open(sealed(content())).is_ok());
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = content();
        change(&mut bytes);
        error(sealed(bytes))
    };
    let (count, texts) = (16, RECORDS + COUNT * RECORD);
    for (what, text) in [
        ("records in another order", changed(&|bytes| bytes[RECORDS..RECORDS + 2 * RECORD].rotate_left(RECORD))),
        ("a record twice", changed(&|bytes| bytes.copy_within(RECORDS..RECORDS + RECORD, RECORDS + RECORD))),
        ("one more record than there is", changed(&|bytes| bytes[count] += 1)),
        ("one record less", changed(&|bytes| bytes[count] -= 1)),
        ("more records than can be counted", changed(&|bytes| bytes[count..count + 8].fill(0xff))),
        ("more bytes than can be counted", changed(&|bytes| bytes[count + 7] = 0x04)),
        ("texts that are longer", changed(&|bytes| bytes[count + 8] += 1)),
        ("texts that never end", changed(&|bytes| bytes[count + 8..count + 16].fill(0xff))),
        ("names that are no text", changed(&|bytes| *bytes.last_mut().unwrap() = 0xff)),
        ("no names", changed(&|bytes| bytes.truncate(texts))),
        ("a header that is cut", changed(&|bytes| bytes.truncate(70))),
        ("a text that begins behind its end", changed(&|bytes| bytes[RECORDS + 48 + 7] = 1)),
        ("a text that ends behind all texts", changed(&|bytes| bytes[RECORDS + 56 + 1] = 0xff)),
        ("a text that begins in the middle of a line", changed(&|bytes| bytes[texts] = b'\n')),
        ("an id that is none", changed(&|bytes| bytes[texts] = b'"')),
        ("a text that is no text", changed(&|bytes| bytes[texts] = 0xff)),
    ] {
        assert!(text.contains("damaged"), "{what}: {text}");
    }
}

/// What goes into header fields, logs and decisions comes from the array as it is.
#[test]
fn texts_are_such_as_the_file_can_have() {
    let with_text = |text: &str| {
        let mut bytes = compiled(&entry("placeholder", &foreign(1), ""));
        bytes.truncate(RECORDS + RECORD);
        bytes[24..32].copy_from_slice(&(text.len() as u64).to_le_bytes());
        bytes[RECORDS + 56..RECORDS + 64].copy_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        open(sealed(bytes))
    };
    assert!(with_text("a\n\n\n").is_ok() && with_text("a\np\nr w\n::1/128 @b").is_ok());
    for text in [
        "",
        "a",
        "a\n\n",
        "a\n\n\n\n",
        "\n\n\n",
        "a b\n\n\n",
        "a\r\n\n\n",
        "a\np q\n\n",
        "a\n\nr  w\n",
        "a\n\n \n",
        "a\n\nr\\w\n",
        "a\n\n\n10.0.0.1/8",
        "a\n\n\n@",
        "a\n\n\n@a  @b",
        "a\n\n\n10.0.0.0/8,::1",
        "é\n\n\n",
    ] {
        assert!(with_text(text).is_err(), "{text:?}");
    }
}

/// A mapping whose file is cut while it is in use.
struct Shrinking(Vec<u8>, AtomicUsize);

impl AsRef<[u8]> for Shrinking {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1.load(Ordering::Relaxed)]
    }
}

#[test]
fn an_array_that_shrinks_has_no_keys() {
    let bytes = compiled(&entries());
    let length = bytes.len();
    let shrinking = Arc::new(Shrinking(bytes, AtomicUsize::new(length)));
    let list = ApiKeyList::open(Arc::clone(&shrinking) as _).unwrap();
    let found = || (0..COUNT).filter(|n| list.find(foreign(*n).as_bytes()).is_some()).count();
    assert_eq!(found(), COUNT);
    // The names and the checksum are not needed for it.
    for length in (0..length - 32 - "goldoffice".len()).rev() {
        shrinking.1.store(length, Ordering::Relaxed);
        assert_eq!((found(), list.len()), (0, COUNT), "{length}");
        assert_eq!((list.plans().count(), list.network_names().count()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), framed: bool) {
        let bytes = if framed { sealed([&b"JWTGKEY\0\x01\0\0\0\0\0\0\0"[..], &bytes].concat()) } else { bytes };
        prop_assert!(open(bytes).is_err());
    }

    #[test]
    fn damaged(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
        seal: bool,
    ) {
        let good = if seal { content() } else { compiled(&entries()) };
        let mut bytes = good.clone();
        for (index, value, edit) in edits {
            if bytes.is_empty() { break; }
            let place = index.index(bytes.len());
            match edit {
                0 => bytes[place] = value,
                1 => bytes.insert(place, value),
                2 => { bytes.remove(place); }
                _ => bytes.truncate(place),
            }
        }
        let changed = bytes != good;
        match open(if seal { sealed(bytes) } else { bytes }) {
            Err(text) => prop_assert!(changed, "{}", text),
            // Other hashes, times and texts make another list; it can be asked all the same.
            Ok(list) => {
                prop_assert!(seal || !changed);
                prop_assert_eq!(list.len(), COUNT);
                let found = (0..=COUNT).filter_map(|n| list.find(foreign(n).as_bytes()));
                let ids: Vec<_> = found.map(|key| key.id().to_owned()).collect();
                prop_assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_graphic())));
                prop_assert!(changed || ids.len() == COUNT);
            }
        }
    }
}
