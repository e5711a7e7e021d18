//! The deny list of `JwtGateRevocations`: tokens that are refused although everything else about them is good.
//!
//! [`compile`] turns the administrator's file into one flat array of bytes, once for the whole server.
//! [`RevocationList`] asks that array, which every process can map read-only, without parsing or allocating.
//! A list never changes once it is open: a new file is a new list. So what a list says of a token is remembered
//! with the token, and asking again costs one load and one comparison.

mod array;
mod list;
mod record;
mod source;

use std::collections::BTreeSet;

pub use self::list::RevocationList;
pub use self::source::{MAX_ENTRIES, MAX_FILE_BYTES};
use crate::compiled::sha256;

/// A list, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What [`RevocationList::open`] takes.
    pub bytes: Vec<u8>,
    /// How many entries the file has, repetitions included.
    pub entries: usize,
    /// The issuers that it names, by the names of `JwtGateIssuer`. It may know more of them than there are, and
    /// whoever does can say so.
    pub issuers: BTreeSet<String>,
}

/// Compiles the file: `{"revoked":[{"issuer":NAME,"jti":TEXT},…]}`, where an entry has one of `jti`, `sub`,
/// `client`, `sid` and `issued_before`, or `sub` together with `issued_before` (RFC 3339). Beside the file,
/// it needs less than 100 bytes of memory for each entry.
///
/// # Errors
/// Text for the administrator with the line of the mistake. Nothing is passed over: a file with one mistake is no
/// list at all.
pub fn compile(source: &[u8]) -> Result<Compiled, String> {
    let entries = source::read(source)?;
    let bytes = array::write(entries.records, &entries.issuers, &sha256(source));
    Ok(Compiled { bytes, entries: entries.count, issuers: entries.issuers })
}
