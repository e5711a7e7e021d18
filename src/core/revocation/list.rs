//! A compiled list, and what it says of a token.

use std::sync::Arc;

use super::array::Layout;
use super::record::{Before, Kind, Record, digest};
use crate::token::Verified;
use crate::token::json::Json;
use crate::token::remembered::ListId;

/// A list that can be asked. It never changes.
pub struct RevocationList {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    layout: Layout,
    id: ListId,
}

impl RevocationList {
    /// Takes what [`super::compile`] made. All of it is checked here, once. `bytes` must stay what they are: if
    /// there are fewer of them later, every token is revoked.
    ///
    /// # Errors
    /// A sentence for the log: this is no compiled list, one of another version, or damaged.
    pub fn open(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, String> {
        let layout = Layout::check((*bytes).as_ref())?;
        let id = ListId::new(&layout.checksum);
        Ok(Self { bytes, layout, id })
    }

    /// SHA-256 of the file from which the list was compiled.
    pub fn source_digest(&self) -> [u8; 32] {
        self.layout.source_digest
    }

    /// How many things are revoked; what the file repeats counts once.
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The issuers that the file names, in alphabetical order.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.layout.names(self.bytes()).into_iter().flatten()
    }

    /// Whether `token` is revoked: its issuer, its `jti`, its subject, its client or its session (`sid`, or
    /// `origin_jti`, which is what Amazon Cognito calls it), the first and the third perhaps only if it was issued
    /// before a certain time or does not say when. Does not allocate, and looks nothing up if this list was the
    /// last that was asked about the token.
    pub fn revokes(&self, token: &Verified) -> bool {
        token.remembered().or_ask(self.id, || self.holds(token))
    }

    fn holds(&self, token: &Verified) -> bool {
        let claim = |name| token.claim(name).and_then(Json::as_str);
        [
            (Kind::Issuer, Some("")),
            (Kind::Jti, claim("jti")),
            (Kind::Subject, token.subject()),
            (Kind::Client, token.client()),
            (Kind::Session, claim("sid")),
            (Kind::Session, claim("origin_jti")),
        ]
        .into_iter()
        .filter_map(|(kind, value)| self.find(kind, &token.issuer().name, value?))
        .any(|before| before.covers(token.issued_at()))
    }

    fn find(&self, kind: Kind, issuer: &str, value: &str) -> Option<Before> {
        let Some(records) = self.layout.records(self.bytes(), kind) else { return Some(Before::EVER) };
        if records.is_empty() {
            return None;
        }
        let wanted = digest(kind, issuer, value);
        let found = records.binary_search_by(|record| Record::from_bytes(record).digest.cmp(&wanted)).ok()?;
        records.get(found).map(|record| Record::from_bytes(record).before)
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_and_their_neighbours_are_not() {
        const ENTRIES: u32 = 100_000;
        let entries: Vec<_> = (0..ENTRIES).map(|n| format!(r#"{{"issuer":"a","jti":"{n}"}}"#)).collect();
        let source = format!(r#"{{"revoked":[{}]}}"#, entries.join(","));
        let list = RevocationList::open(Arc::new(super::super::compile(source.as_bytes()).unwrap().bytes)).unwrap();
        assert_eq!(list.len(), ENTRIES as usize);
        for n in 0..ENTRIES {
            assert_eq!(list.find(Kind::Jti, "a", &n.to_string()), Some(Before::EVER), "{n}");
            assert_eq!(list.find(Kind::Jti, "a", &(n + ENTRIES).to_string()), None, "{n}");
        }
    }
}
