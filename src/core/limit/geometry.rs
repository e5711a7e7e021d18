//! How a segment of shared memory is divided. All of it is 64-bit words in the machine's byte order.
//!
//! | part | size | what |
//! |---|---|---|
//! | header | 32 words | see below |
//! | banks | 16 words each | word 0 owner, word 1 generation of its last use, words 2.. cells, one `tat` each |
//! | groups | 16 words each | word 0 forgotten, word 1 overflowed, words 2.. slots, (key, `tat`) each |
//!
//! Header: word 0 magic, 1 version of this layout, 2 banks, 3 groups, 4 and 5 secret of the keyed hash,
//! 6 generation; on another cache line word 16 number of the last claim, 17 charges that found their group
//! full, 18 how many of these were told to the log, 19 when that was. A segment of zeros holds no bucket.
//! The magic says what is counted ([`TableKind`](super::TableKind)), and so by which clock all times are.
//!
//! A bank or group is 128 bytes, so that neighbours share no cache line if the segment starts on one.

use super::rate::MAX_COUNT;

/// Requests that find their group full are charged to one of so many cells of their limit.
pub const OVERFLOW_CELLS: usize = BLOCK - BANK_CELLS;

/// Keys that have their bucket in one group.
pub const SLOTS: usize = (BLOCK - GROUP_SLOTS) / 2;

pub(super) const MAGIC: usize = 0;
pub(super) const VERSION: usize = 1;
pub(super) const BANKS: usize = 2;
pub(super) const GROUPS: usize = 3;
pub(super) const SECRET: usize = 4;
pub(super) const GENERATION: usize = 6;
pub(super) const CLAIMS: usize = 16;
pub(super) const OVERFLOWS: usize = 17;
pub(super) const REPORTED: usize = 18;
pub(super) const REPORTED_AT: usize = 19;
const HEADER: usize = 32;

/// Words of a bank, and of a group. Fewer when model-checked: what two threads do to two slots they also do to
/// seven.
const BLOCK: usize = if cfg!(loom) { 6 } else { 16 };

pub(super) const BANK_OWNER: usize = 0;
pub(super) const BANK_GENERATION: usize = 1;
pub(super) const BANK_CELLS: usize = 2;

pub(super) const GROUP_FORGOTTEN: usize = 0;
pub(super) const GROUP_OVERFLOWED: usize = 1;
pub(super) const GROUP_SLOTS: usize = 2;

/// Smallest segment.
pub const MIN_BYTES: u64 = 64 << 10;

/// Largest segment.
pub const MAX_BYTES: u64 = 16 << 30;

/// More limits than anybody has; keeps the start short.
const MAX_BANKS: usize = 1 << 16;

/// The size of each part of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    banks: usize,
    groups: usize,
}

impl Geometry {
    /// Divides `bytes`: a sixteenth for banks, the rest for groups.
    ///
    /// # Errors
    /// A text for the administrator if `bytes` is below [`MIN_BYTES`] or above [`MAX_BYTES`].
    pub fn for_bytes(bytes: u64) -> Result<Self, String> {
        if bytes < MIN_BYTES {
            return Err(format!("{bytes} bytes of shared memory are too few: write at least {}K", MIN_BYTES >> 10));
        }
        let words = usize::try_from(bytes / 8).ok().filter(|_| bytes <= MAX_BYTES).ok_or_else(|| {
            format!("{bytes} bytes of shared memory are too many: write at most {}G", MAX_BYTES >> 30)
        })?;
        let blocks = (words - HEADER) / BLOCK;
        let banks = (blocks / 16).min(MAX_BANKS);
        Ok(Self { banks, groups: blocks - banks })
    }

    /// A segment of so many banks and groups (at least one group, at most [`MAX_COUNT`] of each).
    pub fn new(banks: usize, groups: usize) -> Self {
        let most = MAX_COUNT as usize;
        Self { banks: banks.min(most), groups: groups.clamp(1, most) }
    }

    /// The geometry that a header says; `None` if no table has it.
    pub(super) fn said(banks: u64, groups: u64) -> Option<Self> {
        let (banks, groups) = (usize::try_from(banks).ok()?, usize::try_from(groups).ok()?);
        let geometry = Self::new(banks, groups);
        (geometry == Self { banks, groups }).then_some(geometry)
    }

    /// 64-bit words that the segment takes.
    pub const fn words(self) -> usize {
        HEADER + (self.banks + self.groups) * BLOCK
    }

    /// How many banks there are: one for each limit, and one more for each issuer of a limit per issuer.
    pub const fn banks(self) -> usize {
        self.banks
    }

    /// How many keys have room.
    pub const fn slots(self) -> usize {
        self.groups * SLOTS
    }

    pub(super) const fn groups(self) -> usize {
        self.groups
    }

    /// First word of a bank.
    pub(super) const fn bank(self, index: usize) -> usize {
        HEADER + index * BLOCK
    }

    /// First word of a group.
    pub(super) const fn group(self, index: usize) -> usize {
        HEADER + (self.banks + index) * BLOCK
    }
}

/// Maps a hash evenly to `0..count`.
pub(super) fn spread(hash: u64, count: usize) -> usize {
    // The product's upper half is below `count`.
    ((u128::from(hash) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_a_least_and_a_greatest_size() {
        assert!(Geometry::for_bytes(0).unwrap_err().contains("at least 64K"));
        assert!(Geometry::for_bytes(MIN_BYTES - 1).is_err());
        assert!(Geometry::for_bytes(MIN_BYTES).is_ok());
        assert!(Geometry::for_bytes(MAX_BYTES).is_ok());
        assert!(Geometry::for_bytes(MAX_BYTES + 1).unwrap_err().contains("at most 16G"));
        assert!(Geometry::for_bytes(u64::MAX).is_err());
    }

    #[test]
    fn the_parts_fit_and_leave_less_than_a_block() {
        for bytes in [MIN_BYTES, MIN_BYTES + 1, 100_000, 16 << 20, MAX_BYTES - 8, MAX_BYTES] {
            let geometry = Geometry::for_bytes(bytes).unwrap();
            let taken = geometry.words() as u64 * 8;
            assert!(taken <= bytes && bytes - taken < BLOCK as u64 * 8 + 8, "{bytes}: {geometry:?}");
            assert!(geometry.banks() >= 30, "{geometry:?}");
            assert_eq!(geometry.group(geometry.groups()), geometry.words());
            assert_eq!(geometry.bank(geometry.banks()), geometry.group(0));
        }
    }

    #[test]
    fn a_key_takes_at_most_32_bytes() {
        for bytes in [MIN_BYTES, 16 << 20, MAX_BYTES] {
            let slots = Geometry::for_bytes(bytes).unwrap().slots() as u64;
            assert!(bytes / slots <= 20, "{bytes} bytes, {slots} slots");
        }
    }

    #[test]
    fn a_hash_is_mapped_into_range() {
        for count in [1, 2, 7, 131_072] {
            assert_eq!(spread(0, count), 0);
            assert_eq!(spread(u64::MAX, count), count - 1);
        }
    }
}
