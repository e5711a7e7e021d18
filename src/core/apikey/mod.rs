//! API keys of `JwtGateApiKeys`: secrets that stand for a partner or a program, each with what it may do.
//!
//! The administrator's file has the SHA-256 of each key, never the key. [`compile`] turns it into one flat array of
//! bytes, once for the whole server, and [`ApiKeyList`] asks that array, which every process can map read-only.
//! A list never changes once it is open: a new file is a new list.
//!
//! One round of SHA-256 is enough, because keys are no passwords: what `jwt-gate apikey new` makes ([`format`])
//! has 256 random bits, which nobody finds by trying. Keys that another system made can be listed as well, by their
//! hashes; that they cannot be guessed is up to that system.

mod array;
pub mod format;
mod key;
mod list;
mod source;

use std::collections::BTreeSet;

pub use self::key::{ApiKey, Refusal};
pub use self::list::ApiKeyList;
pub use self::source::{MAX_FILE_BYTES, MAX_KEYS};
use crate::compiled::sha256;

/// A list, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What [`ApiKeyList::open`] takes.
    pub bytes: Vec<u8>,
    /// How many keys there are.
    pub entries: usize,
    /// The plans that it names, by the names of `JwtGatePlan`. It may know more of them than there are, and
    /// whoever does can say so.
    pub plans: BTreeSet<String>,
    /// The networks that it names, by the names of `JwtGateNetwork`, without `@`.
    pub networks: BTreeSet<String>,
}

/// Compiles the file: `{"keys":[{"id":ID,"sha256":HEX},…]}`, where an entry may have `plan`, `scopes`, `networks`,
/// `not_before` and `expires` (RFC 3339) as well. Beside the file, it needs a few hundred bytes of memory for each
/// entry.
///
/// # Errors
/// Text for the administrator with the line of the mistake. Nothing is passed over: a file with one mistake is no
/// list at all.
pub fn compile(source: &[u8]) -> Result<Compiled, String> {
    let entries = source::read(source)?;
    let count = entries.records.len();
    let bytes = array::write(entries.records, &entries.texts, &entries.plans, &entries.networks, &sha256(source));
    Ok(Compiled { bytes, entries: count, plans: entries.plans, networks: entries.networks })
}
