//! The table of buckets in shared memory: made, found again, and handed to the processes.

use std::fmt;
use std::time::Duration;

use super::gcra;
use super::geometry::{
    BANKS, CLAIMS, GENERATION, GROUP_SLOTS, GROUPS, Geometry, MAGIC, OVERFLOWS, REPORTED, REPORTED_AT, SECRET, SLOTS,
    VERSION, spread,
};
use super::group::is_mark;
use super::key::{KeyHash, KeyHasher, LimitId};
use super::quota;
use super::rule::sane;
use crate::sync::{AtomicU64, Ordering};
use crate::time::Now;

/// What the buckets of a table are counted by. Tables of one kind cannot be mistaken for those of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TableKind {
    /// Rates: by [`Now::mono`].
    Rates,
    /// Quotas: by [`Now::wall`], since windows are those of the calendar and counts outlive the machine's clock.
    Quotas,
    /// Lock-outs: by [`Now::mono`]. A table of its own, so that those who fail cannot take the slots of others.
    Lockouts,
}

impl TableKind {
    /// The time by which its slots are at rest, nanoseconds.
    pub(super) fn clock(self, now: Now) -> u64 {
        match self {
            Self::Rates | Self::Lockouts => sane(now.mono).0,
            Self::Quotas => quota::clock(now.wall),
        }
    }

    /// `word` as read from shared memory, or 0 if no bucket can have it at `now` of the table's clock.
    pub(super) const fn sane(self, word: u64, now: u64) -> u64 {
        let most = match self {
            Self::Rates | Self::Lockouts => gcra::MAX_DEBT,
            Self::Quotas => quota::MAX_AHEAD,
        };
        if word.saturating_sub(now) > most { 0 } else { word }
    }

    /// Whether the place of a key follows from what its slot says.
    pub(super) const fn is_movable(self) -> bool {
        !matches!(self, Self::Rates)
    }

    const fn magic(self) -> u64 {
        u64::from_le_bytes(match self {
            Self::Rates => *b"JWTGATE\0",
            Self::Quotas => *b"JWTQUOTA",
            Self::Lockouts => *b"JWTLOCKS",
        })
    }
}

/// A handle on the table. Every process of the server has one on the same memory.
#[derive(Clone, Copy, Debug)]
pub struct SlotTable<'m> {
    pub(super) words: &'m [AtomicU64],
    pub(super) geometry: Geometry,
    pub(super) kind: TableKind,
}

/// How many slots there are, and how many of them no other key can have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Occupancy {
    /// In debt, or on their way from one key to another.
    pub used: usize,
    /// At rest, or never used.
    pub free: usize,
    /// [`SlotTable::overflows`].
    pub overflows: u64,
}

/// Why a segment cannot be used as it is and must be formatted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// No table, or one of another layout.
    Layout,
    /// A table of another size.
    Geometry,
    /// A table with impossible contents.
    Damaged,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layout => "it has another layout",
            Self::Geometry => "its size has changed",
            Self::Damaged => "its contents are damaged",
        })
    }
}

impl<'m> SlotTable<'m> {
    /// Makes a new table of `geometry` at the start of `words`; the secret must be random.
    ///
    /// Only the parent process may call this, and only while no other process uses the memory.
    ///
    /// # Errors
    /// [`Mismatch::Geometry`] if there are too few words.
    pub fn format(
        kind: TableKind,
        words: &'m [AtomicU64],
        geometry: Geometry,
        secret: [u64; 2],
    ) -> Result<Self, Mismatch> {
        let words = words.get(..geometry.words()).ok_or(Mismatch::Geometry)?;
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
        let table = Self { words, geometry, kind };
        table.words[SECRET].store(secret[0], Ordering::Relaxed);
        table.words[SECRET + 1].store(secret[1], Ordering::Relaxed);
        table.words[GENERATION].store(1, Ordering::Relaxed);
        for (index, value) in table.signature() {
            table.words[index].store(value, Ordering::Release);
        }
        Ok(table)
    }

    /// Finds the table that an earlier generation of the server has made. Changes nothing, so that the processes of
    /// that generation may still use it. A table of quotas out of a file, which nobody uses, needs
    /// [`repair`](Self::repair) besides.
    ///
    /// # Errors
    /// [`Mismatch`] if there is none that fits: the caller formats memory that nobody uses.
    pub fn open(kind: TableKind, words: &'m [AtomicU64], geometry: Geometry, now: Now) -> Result<Self, Mismatch> {
        let words = words.get(..geometry.words()).ok_or(Mismatch::Geometry)?;
        let table = Self { words, geometry, kind };
        for (index, expected) in table.signature() {
            if words[index].load(Ordering::Acquire) != expected {
                return Err(if index < BANKS { Mismatch::Layout } else { Mismatch::Geometry });
            }
        }
        // What a quota cannot be today may be a matter of the clock: it counts as rest until it can be.
        if kind == TableKind::Quotas || table.banks_are_plausible(kind.clock(now)) {
            Ok(table)
        } else {
            Err(Mismatch::Damaged)
        }
    }

    /// Finds a table of whatever geometry, for [`carry_over`](Self::carry_over).
    ///
    /// # Errors
    /// [`Mismatch`] if there is none, or not all of it.
    pub fn open_any(kind: TableKind, words: &'m [AtomicU64], now: Now) -> Result<Self, Mismatch> {
        let part = |index: usize| words.get(index).map(|word| word.load(Ordering::Acquire)).ok_or(Mismatch::Layout);
        let geometry = Geometry::said(part(BANKS)?, part(GROUPS)?).ok_or(Mismatch::Layout)?;
        match Self::open(kind, words, geometry, now) {
            // It is told before what is behind it is looked at.
            Err(Mismatch::Geometry) if part(MAGIC)? != kind.magic() => Err(Mismatch::Layout),
            table => table,
        }
    }

    /// Starts the name of a bucket: a hash with this table's secret.
    pub fn hasher(&self, limit: LimitId) -> KeyHasher {
        let secret = [SECRET, SECRET + 1].map(|index| self.words[index].load(Ordering::Relaxed));
        KeyHasher::new(secret, limit, self.kind.is_movable())
    }

    /// How many charges were made to, or refused by, what keys share that find no room, since the table was formatted;
    /// of a table of lock-outs: how many were not made.
    pub fn overflows(&self) -> u64 {
        self.words[OVERFLOWS].load(Ordering::Relaxed)
    }

    /// How many more there are than were told before: for the log, so only once in `period` for all processes
    /// together. `None` if there is nothing new, or nothing to be told yet.
    pub fn untold_overflows(&self, now: Now, period: Duration) -> Option<u64> {
        let now = self.kind.clock(now);
        let (count, told) = (self.overflows(), self.words[REPORTED].load(Ordering::Relaxed));
        let at = self.words[REPORTED_AT].load(Ordering::Relaxed);
        let due = at == 0 || u128::from(now.saturating_sub(at)) >= period.as_nanos();
        let swap = |at| {
            let now = now.max(1);
            self.words[REPORTED_AT].compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if count == told || !due || !swap(at) {
            return None;
        }
        Some(count.saturating_sub(self.words[REPORTED].fetch_max(count, Ordering::AcqRel)))
    }

    /// How many slots are taken. Reads all of the table: for the background.
    pub fn occupancy(&self, now: Now) -> Occupancy {
        let now = self.kind.clock(now);
        let is_used = |(_, tat): &(usize, u64)| is_mark(*tat) || self.kind.sane(*tat, now) > now;
        let used = (0..self.geometry.groups()).flat_map(|group| self.slots(group)).filter(is_used).count();
        Occupancy { used, free: self.geometry.slots() - used, overflows: self.overflows() }
    }

    /// The slots of a group: the word of each one's `tat`, and the `tat`.
    pub(super) fn slots(&self, group: usize) -> impl Iterator<Item = (usize, u64)> {
        let first = self.geometry.group(group) + GROUP_SLOTS + 1;
        (first..first + 2 * SLOTS).step_by(2).map(|word| (word, self.words[word].load(Ordering::Acquire)))
    }

    pub(super) fn count_overflow(&self) {
        self.words[OVERFLOWS].fetch_add(1, Ordering::Relaxed);
    }

    /// A number that no other claim has had.
    pub(super) fn next_claim(&self) -> u64 {
        self.words[CLAIMS].fetch_add(1, Ordering::Relaxed)
    }

    /// The group in which a key has its slot.
    pub(super) fn group_of(&self, key: KeyHash) -> usize {
        spread(key.place, self.geometry.groups())
    }

    /// The words that say what the rest is, the most telling first.
    fn signature(&self) -> [(usize, u64); 4] {
        [
            (MAGIC, self.kind.magic()),
            (VERSION, 1),
            (BANKS, self.geometry.banks() as u64),
            (GROUPS, self.geometry.groups() as u64),
        ]
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::rate::MAX_WINDOW;
    use super::*;
    use crate::time::{MonoNanos, UnixMicros};

    const NOW: Now = Now { mono: MonoNanos(1_000_000_000), wall: UnixMicros(0) };
    const RATES: TableKind = TableKind::Rates;

    fn formatted(geometry: Geometry) -> Vec<AtomicU64> {
        // What was there before does not matter.
        let words: Vec<_> = (0..geometry.words() + 3).map(|_| AtomicU64::new(u64::MAX)).collect();
        SlotTable::format(RATES, &words, geometry, [3, 5]).unwrap();
        words
    }

    #[test]
    fn a_table_is_found_again_with_its_secret() {
        let geometry = Geometry::new(4, 4);
        let words = formatted(geometry);
        let key = |table: SlotTable<'_>| table.hasher(LimitId::new("a")).finish();
        let first = key(SlotTable::open(RATES, &words, geometry, NOW).unwrap());
        assert_eq!(key(SlotTable::open(RATES, &words, geometry, NOW).unwrap()), first);
        assert_ne!(key(SlotTable::format(RATES, &words, geometry, [3, 6]).unwrap()), first);
        assert_ne!(key(SlotTable::format(RATES, &words, geometry, [4, 5]).unwrap()), first);
    }

    #[test]
    fn another_layout_or_geometry_is_refused() {
        let geometry = Geometry::new(4, 4);
        let open = |words: &[AtomicU64], geometry| SlotTable::open(RATES, words, geometry, NOW).err();
        let words = formatted(geometry);
        assert_eq!(open(&words, geometry), None);
        assert_eq!(open(&words, Geometry::new(5, 3)), Some(Mismatch::Geometry));
        assert_eq!(open(&words, Geometry::new(4, 3)), Some(Mismatch::Geometry));
        assert_eq!(open(&words[..geometry.words()], geometry), None);
        assert_eq!(open(&words[..geometry.words() - 1], geometry), Some(Mismatch::Geometry));
        assert_eq!(open(&[], geometry), Some(Mismatch::Geometry));
        assert!(SlotTable::format(RATES, &words[..geometry.words() - 1], geometry, [0, 0]).is_err());

        for index in [MAGIC, VERSION, BANKS, GROUPS] {
            let words = formatted(geometry);
            words[index].fetch_add(1, Ordering::Relaxed);
            let expected = if index < BANKS { Mismatch::Layout } else { Mismatch::Geometry };
            assert_eq!(open(&words, geometry), Some(expected), "word {index}");
        }
        let zeros: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        assert_eq!(open(&zeros, geometry), Some(Mismatch::Layout));
    }

    #[test]
    fn overflows_are_told_once_in_a_while_by_one_process() {
        let geometry = Geometry::new(4, 4);
        let words = formatted(geometry);
        let table = SlotTable::open(RATES, &words, geometry, NOW).unwrap();
        let minute = Duration::from_secs(60);
        let after = |seconds: u64| NOW.at(MonoNanos(NOW.mono.0 + seconds * 1_000_000_000));
        assert_eq!(table.untold_overflows(NOW, minute), None);
        table.count_overflow();
        table.count_overflow();
        assert_eq!(table.untold_overflows(NOW, minute), Some(2));
        let other = SlotTable::open(RATES, &words, geometry, NOW).unwrap();
        other.count_overflow();
        assert_eq!(other.untold_overflows(after(59), minute), None);
        assert_eq!(other.untold_overflows(after(60), minute), Some(1));
        assert_eq!(table.untold_overflows(after(600), minute), None);
    }

    #[test]
    fn an_impossible_debt_in_a_bank_is_refused() {
        let geometry = Geometry::new(4, 4);
        for (tat, expected) in [
            (NOW.mono.0 + MAX_WINDOW, None),
            (NOW.mono.0 + 3 * MAX_WINDOW, Some(Mismatch::Damaged)),
            (u64::MAX, Some(Mismatch::Damaged)),
        ] {
            let words = formatted(geometry);
            words[geometry.group(0) - 1].store(tat, Ordering::Relaxed);
            assert_eq!(SlotTable::open(RATES, &words, geometry, NOW).err(), expected, "{tat}");
        }
    }
}
