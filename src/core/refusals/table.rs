//! The memory of refusals. All of it is 64-bit words in the machine's byte order.
//!
//! | part | size | what |
//! |---|---|---|
//! | header | 16 words | word 0 magic, 1 version of this layout, 2 vocabulary, 3 shards, 4 entries, 5 groups |
//! | shards | 16 words, and 16 for each entry | word 0 how many were written; then the ring |
//! | groups | 4 times 16 words | those who wait for a limit |
//!
//! An entry is in the first words of its 16: ten words and their seal.

use std::time::Duration;

use super::entry::{Entry, NameId, WORDS, Words, seal, vocabulary};
use crate::metrics::Mismatch;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Now, UnixMicros};

const MAGIC: usize = 0;
const VERSION: usize = 1;
const VOCABULARY: usize = 2;
const SHARDS: usize = 3;
const ENTRIES: usize = 4;
const GROUPS: usize = 5;

/// Words that no two writers share: two cache lines, since processors fetch them in pairs.
const LINE: usize = 16;

const SEAL: usize = WORDS;
const _: () = assert!(SEAL < LINE);

/// Places in which one who waits may be.
const WAYS: usize = 4;

/// Times to wait are told in whole seconds, rounded up, each time anew: those that differ by less are the same.
const GRAIN: Duration = Duration::from_secs(2);

/// Who was not refused for so long may have been let in meanwhile, and is told no more.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// How old the note of a wait may be at a refusal before it is written again. Well below [`RECENT`].
const RENEWAL: Duration = Duration::from_secs(3600);

/// The size of each part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    shards: usize,
    entries: usize,
    groups: usize,
}

impl Geometry {
    /// The last 64 refusals of each of 8 shards, and 512 who wait, in 130 KiB.
    pub const DEFAULT: Self = Self { shards: 8, entries: 64, groups: 128 };

    /// So many shards, entries in each, and groups of four who wait; the next powers of two, at most 1024.
    pub fn new(shards: usize, entries: usize, groups: usize) -> Self {
        let [shards, entries, groups] = [shards, entries, groups].map(|count| count.clamp(1, 1024).next_power_of_two());
        Self { shards, entries, groups }
    }

    /// 64-bit words that it takes.
    pub const fn words(self) -> usize {
        self.group(self.groups)
    }

    /// Those who wait that there is room for.
    pub const fn waits(self) -> usize {
        self.groups * WAYS
    }

    /// First word of a shard.
    const fn shard(self, index: usize) -> usize {
        LINE + index * (1 + self.entries) * LINE
    }

    /// First word of a group.
    const fn group(self, index: usize) -> usize {
        self.shard(self.shards) + index * WAYS * LINE
    }

    /// First words of all entries in rings.
    fn rings(self) -> impl Iterator<Item = usize> {
        (0..self.shards).flat_map(move |shard| (1..=self.entries).map(move |entry| self.shard(shard) + entry * LINE))
    }

    /// First words of all places of those who wait.
    fn wait_places(self) -> impl Iterator<Item = usize> {
        (0..self.groups).flat_map(move |group| self.ways(group))
    }

    /// First words of the places in a group.
    fn ways(self, group: usize) -> impl Iterator<Item = usize> {
        (0..WAYS).map(move |way| self.group(group) + way * LINE)
    }
}

/// A handle on the memory. Every process of the server has one on the same.
#[derive(Clone, Copy, Debug)]
pub struct RefusalTable<'m> {
    words: &'m [AtomicU64],
    geometry: Geometry,
}

impl<'m> RefusalTable<'m> {
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

    /// Notes a refusal: one addition and ten stores. `shard` is any number that threads running at the same time should
    /// not share.
    pub fn note(&self, shard: usize, entry: &Entry) {
        let first = self.geometry.shard(shard & (self.geometry.shards - 1));
        let Some(written) = self.words.get(first) else { return };
        // A power of two divides what the count wraps at.
        let place = written.fetch_add(1, Ordering::Relaxed) as usize & (self.geometry.entries - 1);
        self.write(first + (1 + place) * LINE, entry);
    }

    /// Notes who waits for a limit, up to when the entry says. Writes nothing if that is known: who is refused again and
    /// again costs a look. Where there is no room, those are known that wait longest.
    pub fn wait(&self, entry: &Entry) {
        let now = Now { mono: entry.noted, wall: entry.time };
        let Some(until) = entry.until.filter(|until| *until > now.wall) else { return };
        let group = entry.wait_hash() as usize & (self.geometry.groups - 1);
        let mut place = None;
        for way in self.geometry.ways(group) {
            let known = self.read(way);
            let ends = known.and_then(|known| end(&known, now)).unwrap_or_default();
            if let Some(known) = known.filter(|known| known.is_same_wait(entry)) {
                if distance(ends, until) < GRAIN && now.mono.since(known.noted) < RENEWAL {
                    return;
                }
                place = Some((UnixMicros::default(), way));
                break;
            }
            if place.is_none_or(|(first, _)| ends < first) {
                place = Some((ends, way));
            }
        }
        if let Some((_, way)) = place.filter(|(ends, _)| *ends < until) {
            self.write(way, entry);
        }
    }

    /// The refusals that were noted last, by all processes: at most `most`, the newest first.
    pub fn newest(&self, most: usize) -> Vec<Entry> {
        let mut found: Vec<Entry> = self.geometry.rings().filter_map(|place| self.read(place)).collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.noted));
        found.truncate(most);
        found
    }

    /// Those who wait for a limit at `now`, each once, those who wait longest first.
    pub fn waiting(&self, now: Now) -> Vec<Entry> {
        let mut found: Vec<Entry> = self.geometry.wait_places().filter_map(|place| self.read(place)).collect();
        found.retain(|entry| end(entry, now).is_some());
        found.sort_by_key(|entry| std::cmp::Reverse(entry.until));
        // Two processes that note one at the same time may do so in two places.
        let mut distinct: Vec<Entry> = Vec::with_capacity(found.len());
        for entry in found {
            if !distinct.iter().any(|known| known.is_same_wait(&entry)) {
                distinct.push(entry);
            }
        }
        distinct
    }

    /// Forgets those who wait on terms that there are no more, and makes room for others.
    pub fn keep_waits(&self, has_terms: impl Fn(NameId) -> bool) {
        for place in self.geometry.wait_places() {
            if self.read(place).is_some_and(|entry| !entry.limit.is_some_and(&has_terms)) {
                for offset in 0..=SEAL {
                    self.store(place + offset, 0);
                }
            }
        }
    }

    fn write(&self, place: usize, entry: &Entry) {
        let words = entry.words();
        for (offset, word) in words.iter().enumerate() {
            self.store(place + offset, *word);
        }
        self.store(place + SEAL, seal(&words));
    }

    /// The entry of a place; `None` if it has none, or is being written.
    fn read(&self, place: usize) -> Option<Entry> {
        let words: Words = std::array::from_fn(|offset| self.load(place + offset));
        if seal(&words) == self.load(place + SEAL) { Entry::of(&words) } else { None }
    }

    fn load(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.words.get(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// The words that say what the rest is, the most telling first.
    fn signature(&self) -> [(usize, u64); 6] {
        let Geometry { shards, entries, groups } = self.geometry;
        [
            (MAGIC, u64::from_le_bytes(*b"JWTDENY\0")),
            (VERSION, 2),
            (VOCABULARY, vocabulary()),
            (SHARDS, shards as u64),
            (ENTRIES, entries as u64),
            (GROUPS, groups as u64),
        ]
    }
}

/// When a wait is over; `None` if it is, or if what was noted need not be so any more.
///
/// Rates and lock-outs go by a clock that nobody sets. So if the wall clock was set since, the wait is another one than
/// what it tells.
fn end(entry: &Entry, now: Now) -> Option<UnixMicros> {
    let age = now.mono.since(entry.noted);
    let was_set = distance(entry.time.saturating_add(age), now.wall) >= GRAIN;
    entry.until.filter(|until| *until > now.wall && age < RECENT && !was_set)
}

fn distance(one: UnixMicros, other: UnixMicros) -> Duration {
    one.since(other).max(other.since(one))
}
