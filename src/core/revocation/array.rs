//! The compiled form (see [`crate::compiled`] for its ends):
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic |
//! | 8 | version of this layout |
//! | 5 × 8 | how many records each [`Kind`] has |
//! | 8 | length of the names |
//! | 32 | SHA-256 of the source |
//! | 24 each | records, kind after kind: digest (16), time in µs (8); ascending by digest, none twice |
//! | | names of the issuers, a line each |
//! | 32 | SHA-256 of everything before |

use std::collections::BTreeSet;
use std::ops::Range;

use super::record::{KINDS, Kind, RECORD_BYTES, Record};
use crate::compiled::{Form, HASH, HEAD, Unsealed, WORD, seal, word};

const FORM: Form = Form { magic: *b"JWTGREV\0", version: 1, what: "revocations" };
/// Bytes before the records.
const HEADER: usize = HEAD + WORD * (KINDS + 1) + HASH;

/// What an array holds, and where.
#[derive(Debug)]
pub(super) struct Layout {
    kinds: [Range<usize>; KINDS],
    names: Range<usize>,
    pub(super) source_digest: [u8; HASH],
    pub(super) checksum: [u8; HASH],
}

/// The array of these records, which may be in any order. Of several for the same thing the latest time counts.
pub(super) fn write(
    mut kinds: [Vec<Record>; KINDS],
    issuers: &BTreeSet<String>,
    source_digest: &[u8; HASH],
) -> Vec<u8> {
    for records in &mut kinds {
        records.sort_unstable();
        records.dedup_by(|later, kept| {
            let same = later.digest == kept.digest;
            if same {
                kept.before = later.before;
            }
            same
        });
    }
    let names = issuers.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let records: usize = kinds.iter().map(Vec::len).sum();
    let mut bytes = FORM.begin(HEADER - HEAD + records * RECORD_BYTES + names.len());
    for records in &kinds {
        bytes.extend((records.len() as u64).to_le_bytes());
    }
    bytes.extend((names.len() as u64).to_le_bytes());
    bytes.extend(source_digest);
    for record in kinds.iter().flatten() {
        bytes.extend(record.to_bytes());
    }
    bytes.extend(names.as_bytes());
    seal(bytes)
}

impl Layout {
    /// Checks the whole array.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn check(bytes: &[u8]) -> Result<Self, String> {
        let Unsealed { header, content, checksum } = FORM.unseal(bytes)?;
        Self::locate(header, checksum).filter(|layout| layout.describes(content)).ok_or_else(|| FORM.damaged())
    }

    /// The part of `bytes`, the array that was checked, that has the records of a kind.
    pub(super) fn records<'b>(&self, bytes: &'b [u8], kind: Kind) -> Option<&'b [[u8; RECORD_BYTES]]> {
        bytes.get(self.kinds[kind as usize].clone()).map(|records| records.as_chunks().0)
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.kinds.iter().map(|records| records.len() / RECORD_BYTES).sum()
    }

    /// The names of the issuers in `bytes`, the array that was checked.
    pub(super) fn names<'b>(&self, bytes: &'b [u8]) -> Option<impl Iterator<Item = &'b str>> {
        Some(str::from_utf8(bytes.get(self.names.clone())?).ok()?.lines())
    }

    /// What the header says, from the counts on.
    fn locate(mut header: &[u8], checksum: [u8; HASH]) -> Option<Self> {
        let mut end = HEADER;
        let mut next = |unit: usize| {
            let (count, rest) = word(header)?;
            header = rest;
            let start = end;
            end = usize::try_from(count).ok()?.checked_mul(unit)?.checked_add(start)?;
            Some(start..end)
        };
        let mut kinds = [const { 0..0 }; KINDS];
        for records in &mut kinds {
            *records = next(RECORD_BYTES)?;
        }
        let names = next(1)?;
        Some(Self { kinds, names, source_digest: *header.first_chunk()?, checksum })
    }

    /// Whether this is what `content`, the array without its checksum, holds.
    fn describes(&self, content: &[u8]) -> bool {
        let in_order = |records: &Range<usize>| {
            let records = content.get(records.clone()).map(<[u8]>::as_chunks);
            records.is_some_and(|(records, _)| {
                let digests = records.iter().map(|record| Record::from_bytes(record).digest);
                digests.is_sorted_by(|one, next| one < next)
            })
        };
        self.names.end == content.len() && self.kinds.iter().all(in_order) && self.names(content).is_some()
    }
}
