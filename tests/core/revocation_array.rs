//! Compiled lists that are not what was compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jwt_gate_core::revocation::{RevocationList, compile};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::{bearing, compiled};

/// All kinds, several of each.
fn entries() -> String {
    let of = |n: usize| {
        format!(
            r#"{{"issuer":"test","jti":"j{n}"}},{{"issuer":"test","sub":"s{n}"}},{{"issuer":"other","client":"c{n}"}},
            {{"issuer":"third","sid":"i{n}"}},{{"issuer":"n{n}","issued_before":"2023-11-14T22:13:20Z"}}"#
        )
    };
    [1, 2, 3].map(of).join(",")
}

fn open(bytes: Vec<u8>) -> Result<RevocationList, String> {
    RevocationList::open(Arc::new(bytes))
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
fn an_array_says_what_it_was_made_of() {
    let source = format!(r#"{{"revoked":[{},{}]}}"#, entries(), r#"{"issuer":"test","jti":"j1"}"#);
    let compiled = compile(source.as_bytes()).unwrap();
    assert_eq!(compiled.entries, 16);
    let names = ["n1", "n2", "n3", "other", "test", "third"];
    assert!(compiled.issuers.iter().eq(names));
    let list = open(compiled.bytes).unwrap();
    assert!(list.issuers().eq(names));
    assert_eq!((list.len(), list.is_empty()), (15, false));
    assert_eq!(list.source_digest(), digest(&SHA256, source.as_bytes()).as_ref());

    let none = open(super::compiled("")).unwrap();
    assert_eq!((none.len(), none.is_empty(), none.issuers().count()), (0, true, 0));
    assert!(!none.revokes(&bearing(r#""sub":"s1""#)));
}

/// The same file gives the same array, whoever compiles it.
#[test]
fn the_layout_is_as_written() {
    assert_eq!(compiled(&entries()), compiled(&entries()));
    let bytes = content();
    assert_eq!(bytes[..8], *b"JWTGREV\0");
    let words: Vec<_> = bytes[8..64].chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let names = "n1\nn2\nn3\nother\ntest\nthird";
    assert_eq!(words, [1, 3, 3, 3, 3, 3, names.len() as u64]);
    assert_eq!(bytes.len(), 96 + 15 * 24 + names.len());
    assert!(bytes.ends_with(names.as_bytes()));
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
    for foreign in [&b""[..], b"{}", b"JWTGATE\0", &[0; 4096]] {
        assert_eq!(error(foreign.to_vec()), "this is no compiled list of revocations");
    }
    let mut newer = content();
    newer[8] = 2;
    assert!(error(sealed(newer)).contains("another version"));
    let mut cut = compiled(&entries());
    cut.pop();
    assert!(error(cut).contains("damaged"));
    assert!(error(b"JWTGREV\0".to_vec()).contains("damaged"));
    assert!(error(b"JWTGREV\0\x01\0\0\0\0\0\0\0".to_vec()).contains("damaged"));
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
    let (count, records) = (16, 96);
    for (what, text) in [
        ("records in another order", changed(&|bytes| bytes[records..records + 48].rotate_left(24))),
        ("a record twice", changed(&|bytes| bytes.copy_within(records..records + 24, records + 24))),
        ("one more record of the first kind than there is", changed(&|bytes| bytes[count] += 1)),
        ("one record less", changed(&|bytes| bytes[count] -= 1)),
        ("more records than can be counted", changed(&|bytes| bytes[count..count + 8].fill(0xff))),
        ("more bytes than can be counted", changed(&|bytes| bytes[count + 7] = 0x0b)),
        ("names that are longer", changed(&|bytes| bytes[count + 40] += 1)),
        ("names that never end", changed(&|bytes| bytes[count + 40..count + 48].fill(0xff))),
        ("names that are no text", changed(&|bytes| *bytes.last_mut().unwrap() = 0xff)),
        ("no names", changed(&|bytes| bytes.truncate(records + 15 * 24))),
        ("a header that is cut", changed(&|bytes| bytes.truncate(70))),
    ] {
        assert!(text.contains("damaged"), "{what}: {text}");
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
fn an_array_that_shrinks_revokes_everything() {
    let bytes = compiled(&entries());
    let length = bytes.len();
    let shrinking = Arc::new(Shrinking(bytes, AtomicUsize::new(length)));
    let list = RevocationList::open(Arc::clone(&shrinking) as _).unwrap();
    assert!(!list.revokes(&bearing(r#""sub":"nobody","iat":1800000000"#)));
    for length in (0..96 + 24 * 3).rev() {
        shrinking.1.store(length, Ordering::Relaxed);
        assert!(list.revokes(&bearing(r#""sub":"nobody","iat":1800000000"#)), "{length}");
        assert_eq!((list.len(), list.issuers().count()), (15, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600), framed: bool) {
        let bytes = if framed { sealed([&b"JWTGREV\0\x01\0\0\0\0\0\0\0"[..], &bytes].concat()) } else { bytes };
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
            // Other digests, times and names make another list; it can be asked all the same.
            Ok(list) => {
                prop_assert!(seal || !changed);
                prop_assert_eq!(list.len(), 15);
                let asked = [r#""jti":"j1""#, r#""jti":"j9""#].map(|members| list.revokes(&bearing(members)));
                prop_assert!(changed || asked == [true, false]);
                let _ = list.issuers().count();
            }
        }
    }
}
