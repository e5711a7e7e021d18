//! The compiled form of a file of networks (see [`crate::compiled`] for its ends). Addresses are in network order:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic |
//! | 8 | version of this layout |
//! | 8 | how many different networks the source names |
//! | 2 × 8 | how many ranges of IPv4 and of IPv6 they are |
//! | 32 | SHA-256 of the source |
//! | 4 each | first addresses of the ranges of IPv4, ascending; then the last ones |
//! | 16 each | the same of IPv6 |
//! | 32 | SHA-256 of everything before |

use std::sync::Arc;

use super::address::Cidr;
use super::network::{self, NetworkSet, Written, range_bytes};
use crate::compiled::{Form, HASH, HEAD, WORD, seal, sha256, word};

const FORM: Form = Form { magic: *b"JWTGNET\0", version: 1, what: "networks" };
/// Bytes before the ranges.
const HEADER: usize = HEAD + 3 * WORD + HASH;

/// What an array holds, and where.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of the ranges.
    pub(super) start: usize,
    pub(super) v4: usize,
    pub(super) v6: usize,
    pub(super) networks: usize,
    pub(super) source_digest: [u8; HASH],
}

/// The array of the networks in a source.
pub(super) fn write(networks: Vec<Cidr>, source: &[u8]) -> Vec<u8> {
    let Written { ranges, v4, v6, networks } = network::write(networks);
    let mut bytes = FORM.begin(HEADER - HEAD + ranges.len());
    for count in [networks, v4, v6] {
        bytes.extend((count as u64).to_le_bytes());
    }
    bytes.extend(sha256(source));
    bytes.extend(ranges);
    seal(bytes)
}

impl Layout {
    /// Checks the whole array.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn check(bytes: &Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, String> {
        let unsealed = FORM.unseal((**bytes).as_ref())?;
        Self::locate(unsealed.header, unsealed.content.len())
            .filter(|layout| {
                let set = NetworkSet::new(Arc::clone(bytes), layout.start, layout.v4, layout.v6);
                set.v4().are_in_order() && set.v6().are_in_order()
            })
            .ok_or_else(|| FORM.damaged())
    }

    /// What the header says, from the counts on, if it fits the length of the array without its checksum.
    fn locate(mut header: &[u8], length: usize) -> Option<Self> {
        let mut count = || {
            let (count, rest) = word(header)?;
            header = rest;
            usize::try_from(count).ok()
        };
        let networks = count()?;
        // So that nothing that is made of them runs over.
        let mut ranges = || count().filter(|count| *count <= length);
        let (v4, v6) = (ranges()?, ranges()?);
        let fits = length == HEADER + range_bytes(v4, v6);
        fits.then_some(Self { start: HEADER, v4, v6, networks, source_digest: *header.first_chunk()? })
    }
}
