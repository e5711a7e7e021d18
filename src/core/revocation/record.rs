//! One record: what is revoked, and which tokens of it.

use ring::digest::{Context, SHA256};

use crate::time::UnixMicros;

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// All tokens of an issuer.
    Issuer,
    /// The token with this `jti` (RFC 7519 section 4.1.7).
    Jti,
    /// The tokens of a subject.
    Subject,
    /// The tokens given to a client.
    Client,
    /// The tokens of a session.
    Session,
}

/// How many kinds there are.
pub(super) const KINDS: usize = Kind::Session as usize + 1;

/// The length of a record in the array.
pub(super) const RECORD_BYTES: usize = DIGEST_BYTES + size_of::<u64>();

const DIGEST_BYTES: usize = 16;

/// 128 bits of SHA-256: to have a token of another revoked one would have to find a second preimage.
pub(super) type Digest = [u8; DIGEST_BYTES];

/// Tokens of one kind and value that are revoked. In the order of their digests.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Record {
    pub(super) digest: Digest,
    pub(super) before: Before,
}

/// Only tokens issued before this are revoked; a token that does not say when it was issued is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Before(u64);

impl Before {
    /// Tokens are revoked whenever they were issued.
    pub(super) const EVER: Self = Self(u64::MAX);

    pub(super) fn time(time: UnixMicros) -> Self {
        Self(time.0)
    }

    pub(super) fn covers(self, issued_at: Option<UnixMicros>) -> bool {
        self == Self::EVER || issued_at.is_none_or(|issued_at| issued_at.0 < self.0)
    }
}

impl Record {
    pub(super) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..DIGEST_BYTES].copy_from_slice(&self.digest);
        bytes[DIGEST_BYTES..].copy_from_slice(&self.before.0.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let (mut digest, mut before) = ([0; DIGEST_BYTES], [0; size_of::<u64>()]);
        digest.copy_from_slice(&bytes[..DIGEST_BYTES]);
        before.copy_from_slice(&bytes[DIGEST_BYTES..]);
        Self { digest, before: Before(u64::from_le_bytes(before)) }
    }
}

/// The name of what is revoked. The kind has one byte and the issuer its length in front, so that no two
/// of them run into the same bytes.
pub(super) fn digest(kind: Kind, issuer: &str, value: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(&[kind as u8]);
    context.update(&(issuer.len() as u64).to_le_bytes());
    context.update(issuer.as_bytes());
    context.update(value.as_bytes());
    let mut digest = Digest::default();
    digest.copy_from_slice(&context.finish().as_ref()[..DIGEST_BYTES]);
    digest
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_another() {
        use Kind::{Client, Issuer, Jti, Session, Subject};
        let parts = ["", "a", "b", "ab", "ba", "\0", "a\0", "\u{1}\0\0\0\0\0\0\0a"];
        let names = [Issuer, Jti, Subject, Client, Session]
            .into_iter()
            .flat_map(|kind| parts.into_iter().flat_map(move |issuer| parts.map(|value| digest(kind, issuer, value))));
        assert_eq!(names.collect::<HashSet<_>>().len(), KINDS * parts.len() * parts.len());
    }

    #[test]
    fn times_are_borders() {
        let at = |micros| Some(UnixMicros(micros));
        let before = Before::time(UnixMicros(5));
        assert_eq!([at(4), at(5), at(6), None].map(|time| before.covers(time)), [true, false, false, true]);
        assert!([at(0), at(u64::MAX), None].iter().all(|time| Before::EVER.covers(*time)));
    }

    #[test]
    fn records_are_read_as_written() {
        let record = Record { digest: digest(Kind::Jti, "a", "b"), before: Before::time(UnixMicros(0x0102_0304)) };
        assert_eq!(Record::from_bytes(&record.to_bytes()), record);
    }
}
