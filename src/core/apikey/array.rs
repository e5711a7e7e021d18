//! The compiled form (see [`crate::compiled`] for its ends):
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic |
//! | 8 | version of this layout |
//! | 8 | how many records there are |
//! | 8 | length of the texts |
//! | 8, 8 | length of the names of plans, and of networks |
//! | 32 | SHA-256 of the source |
//! | 64 each | records, ascending by hash, none twice |
//! | | texts of the keys |
//! | | names of the plans, a line each |
//! | | names of the networks, a line each |
//! | 32 | SHA-256 of everything before |
//!
//! A record is the SHA-256 of a key (32), `not_before` and `expires` in µs (8, 8), and where its text begins among
//! the texts, and ends (8, 8).

use std::collections::BTreeSet;
use std::ops::Range;

use super::key::{ApiKey, is_entry};
use crate::compiled::{Form, HASH, HEAD, Unsealed, WORD, seal, word};
use crate::time::UnixMicros;

const FORM: Form = Form { magic: *b"JWTGKEY\0", version: 1, what: "API keys" };
/// Bytes before the records.
const HEADER: usize = HEAD + WORD * 4 + HASH;
/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = HASH + WORD * 4;
/// `expires` of a key that does not.
const NEVER: u64 = u64::MAX;

/// A key in the order of the array.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Record {
    pub(super) hash: [u8; HASH],
    pub(super) not_before: UnixMicros,
    pub(super) expires: Option<UnixMicros>,
    /// Where its text stands among the texts.
    pub(super) text: (usize, usize),
}

/// What an array holds, and where.
#[derive(Debug)]
pub(super) struct Layout {
    records: Range<usize>,
    texts: Range<usize>,
    plans: Range<usize>,
    networks: Range<usize>,
    pub(super) source_digest: [u8; HASH],
}

/// The array of these records, which may be in any order.
pub(super) fn write(
    mut records: Vec<Record>,
    texts: &str,
    plans: &BTreeSet<String>,
    networks: &BTreeSet<String>,
    source_digest: &[u8; HASH],
) -> Vec<u8> {
    records.sort_unstable();
    let lines = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let (plans, networks) = (lines(plans), lines(networks));
    let counts = [records.len(), texts.len(), plans.len(), networks.len()];
    let length = records.len() * RECORD_BYTES + texts.len() + plans.len() + networks.len();
    let mut bytes = FORM.begin(HEADER - HEAD + length);
    for count in counts {
        bytes.extend((count as u64).to_le_bytes());
    }
    bytes.extend(source_digest);
    for record in &records {
        bytes.extend(record.to_bytes());
    }
    for text in [texts, &plans, &networks] {
        bytes.extend(text.as_bytes());
    }
    seal(bytes)
}

impl Record {
    fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let words =
            [self.not_before.0, self.expires.map_or(NEVER, |time| time.0), self.text.0 as u64, self.text.1 as u64];
        let mut bytes = [0; RECORD_BYTES];
        bytes[..HASH].copy_from_slice(&self.hash);
        for (place, word) in bytes[HASH..].chunks_exact_mut(WORD).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `None` if this machine cannot address that much text.
    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (not_before, rest) = word(rest)?;
        let (expires, rest) = word(rest)?;
        let (start, rest) = word(rest)?;
        let (end, _) = word(rest)?;
        Some(Self {
            hash: *hash,
            not_before: UnixMicros(not_before),
            expires: Some(UnixMicros(expires)).filter(|time| time.0 != NEVER),
            text: (start.try_into().ok()?, end.try_into().ok()?),
        })
    }
}

/// The hash of a record.
pub(super) fn hash(record: &[u8; RECORD_BYTES]) -> &[u8] {
    &record[..HASH]
}

impl Layout {
    /// Checks the whole array.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn check(bytes: &[u8]) -> Result<Self, String> {
        let Unsealed { header, content, .. } = FORM.unseal(bytes)?;
        Self::locate(header).filter(|layout| layout.describes(content)).ok_or_else(|| FORM.damaged())
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.records.len() / RECORD_BYTES
    }

    /// The records in `bytes`, the array that was checked.
    pub(super) fn records<'b>(&self, bytes: &'b [u8]) -> Option<&'b [[u8; RECORD_BYTES]]> {
        bytes.get(self.records.clone()).map(|records| records.as_chunks().0)
    }

    /// The key that a record of `bytes` is about.
    pub(super) fn key(&self, bytes: &[u8], record: &[u8; RECORD_BYTES]) -> Option<ApiKey> {
        let record = Record::from_bytes(record)?;
        ApiKey::from_parts(self.text(bytes, &record)?, record.not_before, record.expires)
    }

    /// The names of the plans in `bytes`, in alphabetical order.
    pub(super) fn plans<'b>(&self, bytes: &'b [u8]) -> Option<impl Iterator<Item = &'b str>> {
        lines(bytes, &self.plans)
    }

    /// The names of the networks in `bytes`, in alphabetical order.
    pub(super) fn networks<'b>(&self, bytes: &'b [u8]) -> Option<impl Iterator<Item = &'b str>> {
        lines(bytes, &self.networks)
    }

    fn text<'b>(&self, bytes: &'b [u8], record: &Record) -> Option<&'b str> {
        let (start, end) = record.text;
        str::from_utf8(bytes.get(self.texts.clone())?.get(start..end)?).ok()
    }

    /// What the header says, from the counts on.
    fn locate(mut header: &[u8]) -> Option<Self> {
        let mut end = HEADER;
        let mut next = |unit: usize| {
            let (count, rest) = word(header)?;
            header = rest;
            let start = end;
            end = usize::try_from(count).ok()?.checked_mul(unit)?.checked_add(start)?;
            Some(start..end)
        };
        let (records, texts, plans, networks) = (next(RECORD_BYTES)?, next(1)?, next(1)?, next(1)?);
        Some(Self { records, texts, plans, networks, source_digest: *header.first_chunk()? })
    }

    /// Whether this is what `content`, the array without its checksum, holds.
    fn describes(&self, content: &[u8]) -> bool {
        let is_good = |record: &[u8; RECORD_BYTES]| {
            let record = Record::from_bytes(record);
            record.and_then(|record| self.text(content, &record)).is_some_and(is_entry)
        };
        self.networks.end == content.len()
            && self.records(content).is_some_and(|records| {
                records.is_sorted_by(|one, next| hash(one) < hash(next)) && records.iter().all(is_good)
            })
            && self.plans(content).is_some()
            && self.networks(content).is_some()
    }
}

fn lines<'b>(bytes: &'b [u8], place: &Range<usize>) -> Option<impl Iterator<Item = &'b str> + use<'b>> {
    Some(str::from_utf8(bytes.get(place.clone())?).ok()?.lines())
}
