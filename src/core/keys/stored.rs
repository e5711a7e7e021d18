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
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").ok_or("is not a key set of this module")?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "is not a key set of this module")?;
        let jwks = &bytes[end + 2..];
        let mut lines = head.lines();
        if lines.next() != Some(TITLE) {
            return Err("is not a key set of this version".to_owned());
        }
        let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let (stated_from, fetched, length) = (value("from"), value("fetched"), value("bytes"));
        if stated_from != Some(from.escape_default().to_string().as_str()) {
            return Err("holds the keys of another issuer".to_owned());
        }
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
