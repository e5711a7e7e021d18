//! The table of counted numbers in shared memory. All of it is 64-bit words in the machine's byte order.
//!
//! | part | size | what |
//! |---|---|---|
//! | header | 16 words | word 0 magic, 1 version of this layout, 2 shards, 3 series, 4 generation |
//! | owners | 2 words for each series | word 0 id, 1 generation of its last use |
//! | shards | one word for each series, rounded up to 16 | what was added here |
//!
//! A series is the sum of its words in all shards. Threads that use different shards share no cache line, if the
//! memory starts on one. A table of zeros but for its header has no series.
//!
//! The parent process assigns series when it starts; requests then use them by index. A series is known by what it is
//! called, not by its place in the configuration, so that it goes on when others are added, removed or moved.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::sync::{AtomicU64, Ordering};

const MAGIC: usize = 0;
const VERSION: usize = 1;
const SHARDS: usize = 2;
const SERIES: usize = 3;
const GENERATION: usize = 4;
const HEADER: usize = LINE;

/// Words that no two shards share: two cache lines, since processors fetch them in pairs.
const LINE: usize = 16;

/// The size of each part of a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    shards: usize,
    series: usize,
}

impl Geometry {
    /// Room for about 600 limits in 160 KiB.
    pub const DEFAULT: Self = Self { shards: 8, series: 2048 };

    /// So many shards (a power of two, 1 to 64) and series (1 to 65 536): the next possible numbers.
    pub fn new(shards: usize, series: usize) -> Self {
        Self { shards: shards.clamp(1, 64).next_power_of_two(), series: series.clamp(1, 1 << 16) }
    }

    /// 64-bit words that the table takes.
    pub const fn words(self) -> usize {
        self.shard(self.shards)
    }

    const fn owner(self, series: usize) -> usize {
        HEADER + 2 * series
    }

    /// First word of a shard.
    const fn shard(self, index: usize) -> usize {
        HEADER + (2 * self.series).next_multiple_of(LINE) + index * self.series.next_multiple_of(LINE)
    }
}

/// A series, by what it is called.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SeriesId(u64);

impl SeriesId {
    /// The series of this name, without labels.
    pub fn new(name: &str) -> Self {
        Self(0).with(name, "")
    }

    /// The same with a label.
    #[must_use]
    pub fn with(self, label: &str, value: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(self.0, label.len() as u64);
        hasher.write(label.as_bytes());
        hasher.write(value.as_bytes());
        Self(hasher.finish())
    }

    /// The id as it is kept in shared memory; never 0, which nobody has.
    fn word(self) -> u64 {
        self.0.max(1)
    }
}

/// The place of a series. Good for the table that assigned it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Series(u32);

/// Why memory cannot be used as it is and must be formatted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// No table, or one of another layout.
    Layout,
    /// A table of another size, or too few words.
    Geometry,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layout => "it has another layout",
            Self::Geometry => "its size has changed",
        })
    }
}

impl std::error::Error for Mismatch {}

/// A handle on the table. Every process of the server has one on the same memory.
#[derive(Clone, Copy, Debug)]
pub struct MetricTable<'m> {
    words: &'m [AtomicU64],
    geometry: Geometry,
}

impl<'m> MetricTable<'m> {
    /// Makes a new table of `geometry` at the start of `words`.
    ///
    /// Only the parent process may call this, and only while no other process uses the memory.
    ///
    /// # Errors
    /// [`Mismatch::Geometry`] if there are too few words.
    pub fn format(words: &'m [AtomicU64], geometry: Geometry) -> Result<Self, Mismatch> {
        let words = words.get(..geometry.words()).ok_or(Mismatch::Geometry)?;
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
        let table = Self { words, geometry };
        // The magic comes last: whoever sees it sees the rest.
        for (index, value) in table.signature().into_iter().rev() {
            words[index].store(value, Ordering::Release);
        }
        Ok(table)
    }

    /// Finds a table that [`format`](Self::format) has made. Changes nothing.
    ///
    /// # Errors
    /// [`Mismatch`] if there is none that fits: the caller formats memory that nobody uses.
    pub fn open(words: &'m [AtomicU64], geometry: Geometry) -> Result<Self, Mismatch> {
        let words = words.get(..geometry.words()).ok_or(Mismatch::Geometry)?;
        let table = Self { words, geometry };
        for (index, expected) in table.signature() {
            if words[index].load(Ordering::Acquire) != expected {
                return Err(if index < SHARDS { Mismatch::Layout } else { Mismatch::Geometry });
            }
        }
        Ok(table)
    }

    /// Begins a start or graceful restart of the server: series that this one and the one before do not ask for may be
    /// given to others, once there is no other room. Call it after [`open`](Self::open), in the parent process.
    pub fn begin_generation(&self) {
        self.words[GENERATION].fetch_add(1, Ordering::Relaxed);
    }

    /// The series of this id: the one that it has, else one that nobody has had, else one that is out of use, which
    /// then begins at 0. `None` if all are in use.
    ///
    /// Only the parent process may call this, and only before it starts the children of this generation. A child that
    /// is older than the generation before and still ends its last requests may add to what is no longer its own.
    pub fn assign(&self, id: SeriesId) -> Option<Series> {
        let generation = self.words[GENERATION].load(Ordering::Relaxed);
        let mut place = None;
        // A series that was assigned once stays somebody's, so the search may end at the first that is nobody's.
        for series in 0..self.geometry.series {
            let [owner, used] = self.owner(series);
            let found = owner.load(Ordering::Relaxed);
            if found == 0 || found == id.word() {
                place = Some(series);
                break;
            }
            if place.is_none() && used.load(Ordering::Relaxed).saturating_add(1) < generation {
                place = Some(series);
            }
        }
        let place = place?;
        let series = Series(u32::try_from(place).ok()?);
        let [owner, used] = self.owner(place);
        if owner.load(Ordering::Relaxed) != id.word() {
            for cell in self.cells(series) {
                cell.store(0, Ordering::Relaxed);
            }
            owner.store(id.word(), Ordering::Relaxed);
        }
        used.store(generation, Ordering::Relaxed);
        Some(series)
    }

    /// Adds to a series. `shard` is any number that threads running at the same time should not share.
    #[inline]
    pub fn add(&self, series: Series, shard: usize, count: u64) {
        let word = self.geometry.shard(shard & (self.geometry.shards - 1)) + series.0 as usize;
        if let Some(cell) = self.words.get(word) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What was added to a series so far, by all shards: more than 64 bits, as each has that many.
    pub fn read(&self, series: Series) -> u128 {
        self.cells(series).map(|cell| u128::from(cell.load(Ordering::Relaxed))).sum()
    }

    fn cells(&self, series: Series) -> impl Iterator<Item = &AtomicU64> {
        (0..self.geometry.shards)
            .filter_map(move |shard| self.words.get(self.geometry.shard(shard) + series.0 as usize))
    }

    fn owner(&self, series: usize) -> [&AtomicU64; 2] {
        let first = self.geometry.owner(series);
        [&self.words[first], &self.words[first + 1]]
    }

    /// The words that say what the rest is, the most telling first.
    fn signature(&self) -> [(usize, u64); 4] {
        [
            (MAGIC, u64::from_le_bytes(*b"JWTMETER")),
            (VERSION, 1),
            (SHARDS, self.geometry.shards as u64),
            (SERIES, self.geometry.series as u64),
        ]
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn no_two_words_of_a_table_are_one() {
        for geometry in [Geometry::new(1, 1), Geometry::new(3, 17), Geometry::DEFAULT] {
            let mut used: Vec<usize> = (0..HEADER).collect();
            for series in 0..geometry.series {
                used.extend([geometry.owner(series), geometry.owner(series) + 1]);
                used.extend((0..geometry.shards).map(|shard| geometry.shard(shard) + series));
            }
            let count = used.len();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), count, "{geometry:?}");
            assert!(used.last().is_some_and(|last| *last < geometry.words()));
            assert!((0..geometry.shards).all(|shard| geometry.shard(shard) % LINE == 0), "{geometry:?}");
        }
    }

    #[test]
    fn sizes_are_kept_in_bounds() {
        assert_eq!(Geometry::new(0, 0), Geometry { shards: 1, series: 1 });
        assert_eq!(Geometry::new(5, 5), Geometry { shards: 8, series: 5 });
        assert_eq!(Geometry::new(usize::MAX, usize::MAX), Geometry { shards: 64, series: 1 << 16 });
    }

    #[test]
    fn ids_depend_on_name_labels_and_values() {
        let id = SeriesId::new;
        let ids = [
            id("a"),
            id("b"),
            id(""),
            id("a").with("b", "c"),
            id("a").with("bc", ""),
            id("a").with("", "bc"),
            id("a").with("b", "c").with("d", "e"),
            id("a").with("d", "e").with("b", "c"),
            id("ab").with("", "c"),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    /// The table outlives a graceful restart with a newer build of the module.
    #[test]
    fn ids_stay_what_they_are() {
        assert_eq!(SeriesId::new("jwt_gate_limit_total").with("limit", "per-user").word(), 6_312_695_410_047_160_994);
    }
}
