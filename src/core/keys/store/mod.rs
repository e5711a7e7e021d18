//! Keys in memory that all processes share: one process fetches, all of them load.
//!
//! [`KeyStore::hold`] gives a lease to one process, which begins attempts at fetching ([`Source::begin`]), publishes
//! what it has read ([`Source::publish`]), and says how each attempt ended. The others poll [`Source::version`] and
//! load what is new ([`Source::read`]). A request that meets an unknown key asks for an attempt ([`Source::ask`]).
//! Each configuration has a store of its own, into which the parent process takes over what the one before knows
//! ([`KeyStore::adopt`]); processes that still use that one are told to stop fetching ([`KeyStore::retire`]).
//!
//! There are no locks, so a process that dies holds none. What it was doing is found again by the next one:
//!
//! * A lease lasts a second.
//! * An attempt of another holder counts as abandoned; what made it due is changed only by its end.
//! * Content is written into the buffer that is not in use and counts from one compare-and-swap on. Its seal
//!   shows whether it is whole.
//!
//! Two processes can take themselves for the holder if one of them was paused for longer than its lease. Both write
//! then, perhaps into the same buffer, and the seal shows that too: the content is lost, nobody takes it for keys, and
//! the source is due at once. Nothing that is read here is trusted: damaged words lose keys or cost a fetch.

mod ask;
mod attempt;
mod content;
mod layout;
mod lease;
mod source;

use std::fmt;

use ring::digest::{SHA256, digest};

pub use self::ask::{Asked, Ticket};
pub use self::attempt::{Attempt, MAX_ATTEMPT};
pub use self::content::{Content, TooLong};
pub use self::layout::{MAX_ERROR, MAX_SOURCES};
pub use self::lease::LEASE;
pub use self::source::{Source, SourceState};
use crate::sync::{AtomicU64, Ordering};

/// What a source of keys is known by, in all configurations.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SourceId([u64; 2]);

impl SourceId {
    /// The first 128 bits of the SHA-256 of a description.
    pub fn new(description: &str) -> Self {
        let digest = digest(&SHA256, description.as_bytes());
        let (words, _) = digest.as_ref().as_chunks::<8>();
        Self([u64::from_be_bytes(words[0]), u64::from_be_bytes(words[1])])
    }

    /// 32 lower-case hexadecimal digits, for the name of a file.
    pub fn hex(&self) -> String {
        format!("{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// A handle on the store. Every process of the server has one on the same memory.
#[derive(Clone, Copy, Debug)]
pub struct KeyStore<'m> {
    words: &'m [AtomicU64],
    sources: usize,
}

/// Why there is no store in this memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// No store, or one of another layout.
    Layout,
    /// The memory is too small.
    Size,
    /// More sources than [`MAX_SOURCES`].
    TooMany,
    /// A source is named twice.
    Duplicate,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str("it has another layout"),
            Self::Size => f.write_str("it is too small"),
            Self::TooMany => write!(f, "there are more than {MAX_SOURCES} sources of keys: define fewer issuers"),
            Self::Duplicate => f.write_str("a source of keys is named twice"),
        }
    }
}

impl std::error::Error for Mismatch {}

impl<'m> KeyStore<'m> {
    /// 64-bit words that a store for so many sources takes; no more than for [`MAX_SOURCES`]. That is 300 kB of
    /// addresses for each source, and as much memory as its keys take.
    pub const fn words(sources: usize) -> usize {
        layout::words(if sources < MAX_SOURCES { sources } else { MAX_SOURCES })
    }

    /// Makes a new store at the start of `words`, in which nothing is published and every source is due. Source
    /// number n is `sources[n]`. What the memory held before does not matter.
    ///
    /// Only the parent process may call this, and only while no other process uses the memory.
    ///
    /// # Errors
    /// Too many sources, one of them twice, or too few words.
    pub fn format(words: &'m [AtomicU64], sources: &[SourceId]) -> Result<Self, Mismatch> {
        if sources.len() > MAX_SOURCES {
            return Err(Mismatch::TooMany);
        }
        let mut sorted = sources.to_vec();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Mismatch::Duplicate);
        }
        let words = words.get(..Self::words(sources.len())).ok_or(Mismatch::Size)?;
        // Not the buffers.
        for word in &words[..layout::source(sources.len()).start] {
            word.store(0, Ordering::Relaxed);
        }
        let store = Self { words, sources: sources.len() };
        for (source, id) in store.iter().zip(sources) {
            source.set_id(*id);
        }
        words[layout::SOURCES].store(sources.len() as u64, Ordering::Relaxed);
        for (index, value) in SIGNATURE {
            words[index].store(value, Ordering::Release);
        }
        Ok(store)
    }

    /// Finds the store that an earlier generation of the server has made, perhaps of another build.
    ///
    /// # Errors
    /// There is none, or one of another layout.
    pub fn open(words: &'m [AtomicU64]) -> Result<Self, Mismatch> {
        for (index, expected) in SIGNATURE {
            if words.get(index).ok_or(Mismatch::Size)?.load(Ordering::Acquire) != expected {
                return Err(Mismatch::Layout);
            }
        }
        let sources = words.get(layout::SOURCES).ok_or(Mismatch::Size)?.load(Ordering::Relaxed);
        let sources = usize::try_from(sources).ok().filter(|n| *n <= MAX_SOURCES).ok_or(Mismatch::Layout)?;
        let words = words.get(..Self::words(sources)).ok_or(Mismatch::Size)?;
        Ok(Self { words, sources })
    }

    /// Takes over what an earlier store knows of the sources that both have: content and when it was fetched, due
    /// times, failures, counters, and the cool-down of asked-for attempts. An attempt under way there has not begun
    /// here, and one that is asked for there is asked for here. Content that is damaged there is due here.
    ///
    /// Only the parent process may call this, and only before the children of this store's generation exist. Those of
    /// the earlier store may go on using that.
    pub fn adopt(&self, earlier: KeyStore<'_>) {
        for source in self.iter() {
            if let Some(earlier) = earlier.find(source.id()) {
                source.adopt(earlier);
            }
        }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.sources
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sources == 0
    }

    /// Source number `index`, in the order in which they were given to [`format`](Self::format).
    pub fn source(&self, index: usize) -> Option<Source<'m>> {
        (index < self.sources).then(|| Source::new(*self, index))
    }

    /// All sources, in that order.
    pub fn iter(&self) -> impl Iterator<Item = Source<'m>> + use<'m> {
        let store = *self;
        (0..self.sources).map(move |index| Source::new(store, index))
    }

    /// The source with this id.
    pub fn find(&self, id: SourceId) -> Option<Source<'m>> {
        self.iter().find(|source| source.id() == id)
    }
}

/// The words that say what the rest is, the most telling first.
const SIGNATURE: [(usize, u64); 3] = [
    (layout::MAGIC, u64::from_le_bytes(*b"JWTKEYS\0")),
    (layout::VERSION, 1),
    (layout::BUFFER_BYTES, layout::CAPACITY as u64),
];

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<SourceId> {
        (0..count).map(|n| SourceId::new(&n.to_string())).collect()
    }

    /// Zeros, without touching them.
    fn zeros(sources: usize) -> Vec<AtomicU64> {
        std::iter::repeat_with(AtomicU64::default).take(KeyStore::words(sources)).collect()
    }

    /// `printf 'https://idp.example/jwks' | sha256sum`
    #[test]
    fn an_id_is_the_start_of_a_sha_256() {
        let id = SourceId::new("https://idp.example/jwks");
        assert_eq!(id.hex(), "3fec90cf462c0ddc41ea898aa492d2c3");
        assert_ne!(id, SourceId::new("https://idp.example/jwks "));
    }

    #[test]
    fn a_store_is_found_again() {
        let words = zeros(3);
        for word in &words {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        let made = KeyStore::format(&words, &ids(3)).unwrap();
        let found = KeyStore::open(&words).unwrap();
        for store in [made, found] {
            assert_eq!(store.len(), 3);
            assert_eq!(store.iter().map(|source| source.id()).collect::<Vec<_>>(), ids(3));
            assert_eq!(store.source(2).unwrap().id(), ids(3)[2]);
            assert!(store.source(3).is_none());
            assert!(store.iter().all(|source| source.version() == 0 && source.read().is_none()));
            assert!(!store.is_retired());
        }
    }

    #[test]
    fn a_new_store_leaves_its_buffers_untouched() {
        let words = zeros(2);
        for word in &words {
            word.store(7, Ordering::Relaxed);
        }
        KeyStore::format(&words, &ids(2)).unwrap();
        let buffers = &words[layout::buffer(2, 0, 0).start..];
        assert!(buffers.iter().all(|word| word.load(Ordering::Relaxed) == 7));
    }

    #[test]
    fn another_layout_or_size_is_refused() {
        let open = |words: &[AtomicU64]| KeyStore::open(words).err();
        let words = zeros(2);
        assert_eq!(open(&words), Some(Mismatch::Layout));
        KeyStore::format(&words, &ids(2)).unwrap();
        assert_eq!(open(&words), None);
        for length in 0..words.len().min(200) {
            assert_eq!(open(&words[..length]), Some(Mismatch::Size), "{length} words");
        }
        assert_eq!(open(&words[..words.len() - 1]), Some(Mismatch::Size));
        for index in [layout::MAGIC, layout::VERSION, layout::BUFFER_BYTES] {
            words[index].fetch_add(1, Ordering::Relaxed);
            assert_eq!(open(&words), Some(Mismatch::Layout), "word {index}");
            words[index].fetch_sub(1, Ordering::Relaxed);
        }
        for (sources, expected) in
            [(3, Mismatch::Size), (MAX_SOURCES as u64 + 1, Mismatch::Layout), (u64::MAX, Mismatch::Layout)]
        {
            words[layout::SOURCES].store(sources, Ordering::Relaxed);
            assert_eq!(open(&words), Some(expected), "{sources} sources");
        }
    }

    #[test]
    fn impossible_sources_are_refused() {
        let words = zeros(2);
        let format = |ids: &[SourceId]| KeyStore::format(&words, ids).err();
        let [a, b] = [SourceId::new("a"), SourceId::new("b")];
        assert_eq!(format(&[]), None);
        assert_eq!(format(&[a, b]), None);
        assert_eq!(format(&[a, a]), Some(Mismatch::Duplicate));
        assert_eq!(format(&ids(3)), Some(Mismatch::Size));
        assert_eq!(format(&ids(MAX_SOURCES + 1)), Some(Mismatch::TooMany));
        assert_eq!(KeyStore::words(MAX_SOURCES + 1), KeyStore::words(MAX_SOURCES));
        assert_eq!(KeyStore::words(usize::MAX), KeyStore::words(MAX_SOURCES));
    }
}
