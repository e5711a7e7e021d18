//! A fetched key set as it is kept on disk: a few lines that say what it is, an empty line, the set itself.

use crate::time::UnixMicros;

/// First line of each file; the number is that of the layout.
const TITLE: &str = "mod_jwt_gate key set 1";

/// A key set and where it is from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredSet {
    /// Whose it is, in the words of [`RemoteKeys`](crate::fetch::RemoteKeys).
    pub from: String,
    /// When it was fetched.
    pub fetched: UnixMicros,
    /// As the provider sent it.
    pub jwks: Vec<u8>,
}

impl StoredSet {
    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let head = format!(
            "{TITLE}\nfrom: {}\nfetched: {}\nbytes: {}\n\n",
            self.from.escape_default(),
            self.fetched.0,
            self.jwks.len()
        );
        [head.as_bytes(), &self.jwks].concat()
    }

    /// Reads the bytes of a file about the keys of `from`.
    ///
    /// # Errors
    /// Another layout, another origin, or cut off.
    pub fn decode(bytes: &[u8], from: &str) -> Result<Self, String> {
        let stored = Self::examine(bytes)?;
        if stored.from != from.escape_default().to_string() {
            return Err("holds the keys of another issuer".to_owned());
        }
        Ok(Self { from: from.to_owned(), ..stored })
    }

    /// Reads the bytes of a file about anybody's keys, for an administrator to look at. [`from`](Self::from) is as the
    /// file has it: printable ASCII, with everything else escaped.
    ///
    /// # Errors
    /// Another layout, or cut off.
    pub fn examine(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or("is not a key set of this module")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "is not a key set of this module")?;
        let jwks = &bytes[end + 2..];
        let mut lines = head.lines();
        if lines.next() != Some(TITLE) {
            return Err("is not a key set of this version".to_owned());
        }
        let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (from, fetched, length) = (value("from"), value("fetched"), value("bytes"));
        let is_printable = |from: &&str| from.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let from = from.filter(is_printable).ok_or("does not say whose keys it holds")?;
        if length.and_then(|length| length.parse().ok()) != Some(jwks.len()) {
            return Err("is cut off".to_owned());
        }
        let fetched = fetched.and_then(|text| text.parse().ok()).ok_or("does not say when it was fetched")?;
        Ok(Self { from: from.to_owned(), fetched: UnixMicros(fetched), jwks: jwks.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "discovery of https://id.example/\n";

    fn stored() -> StoredSet {
        StoredSet { from: FROM.to_owned(), fetched: UnixMicros(17), jwks: b"{\"keys\":\n\n[]}".to_vec() }
    }

    #[test]
    fn comes_back_as_it_was() {
        assert_eq!(StoredSet::decode(&stored().encode(), FROM).as_ref(), Ok(&stored()));
    }

    #[test]
    fn anybody_s_can_be_looked_at() {
        let found = StoredSet::examine(&stored().encode()).unwrap();
        assert_eq!(found, StoredSet { from: FROM.escape_default().to_string(), ..stored() });
        let hostile = String::from_utf8(stored().encode()).unwrap().replacen("https", "\u{1b}[2J", 1);
        assert!(StoredSet::examine(hostile.as_bytes()).unwrap_err().contains("whose keys"));
    }

    #[test]
    fn nothing_else_is_believed() {
        let bytes = stored().encode();
        for length in 0..bytes.len() {
            assert!(StoredSet::decode(&bytes[..length], FROM).is_err(), "{length}");
        }
        assert!(StoredSet::decode(&[&bytes[..], b" "].concat(), FROM).is_err());
        assert!(StoredSet::decode(&bytes, "discovery of https://id.example/").is_err());
        let newer = String::from_utf8(bytes).unwrap().replacen("set 1", "set 2", 1);
        assert!(StoredSet::decode(newer.as_bytes(), FROM).unwrap_err().contains("version"));
    }
}
