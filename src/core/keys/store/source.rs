//! One source of keys in the store: its words, and what is known of it.

use std::time::Duration;

use super::{KeyStore, SourceId, layout};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{MonoNanos, UnixMicros};

/// Tries at something that only another process's success can spoil.
pub(super) const TRIES: u32 = 8;

/// A source of keys.
#[derive(Clone, Copy, Debug)]
pub struct Source<'m> {
    pub(super) store: KeyStore<'m>,
    index: usize,
}

/// What is known of a source: for logs, metrics and the status page. The fields are read one after another, while
/// other processes change them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceState {
    /// Which content is published; 0: none.
    pub version: u64,
    /// When that was fetched.
    pub fetched: Option<UnixMicros>,
    /// When the next attempt is due; not later than now if it is.
    pub due: MonoNanos,
    /// Failed attempts since the last one that succeeded.
    pub failures: u64,
    /// Why the last attempt failed; empty if it succeeded. Not more than [`MAX_ERROR`](super::MAX_ERROR) bytes were
    /// kept.
    pub error: String,
    /// Attempts that succeeded, over all configurations that had the source.
    pub fetches_ok: u64,
    /// Attempts that failed, likewise.
    pub fetches_failed: u64,
    /// An attempt was asked for and has not ended.
    pub asked: bool,
    /// An attempt has begun and has not ended. It may have been abandoned.
    pub under_way: bool,
}

impl<'m> Source<'m> {
    /// `index` must be below the store's number of sources.
    pub(super) fn new(store: KeyStore<'m>, index: usize) -> Self {
        Self { store, index }
    }

    /// What it is known by.
    pub fn id(&self) -> SourceId {
        SourceId([layout::ID, layout::ID + 1].map(|word| self.load(word)))
    }

    /// When the next attempt is due; not later than `now` if it is.
    pub fn due(&self, now: MonoNanos) -> MonoNanos {
        let due = MonoNanos(self.load(layout::DUE));
        if self.is_due(now) { due.min(now) } else { due }
    }

    /// What is known of it now.
    pub fn state(&self, now: MonoNanos) -> SourceState {
        SourceState {
            version: self.version(),
            fetched: self.fetched(),
            due: self.due(now),
            failures: self.failures(),
            error: self.error(),
            fetches_ok: self.load(layout::SUCCEEDED),
            fetches_failed: self.load(layout::FAILED),
            asked: self.is_asked_for(),
            under_way: self.is_under_way(now),
        }
    }

    /// See [`KeyStore::adopt`].
    pub(super) fn adopt(&self, earlier: Source<'_>) {
        // Before the content: what is fetched there in the meantime then counts as older than it is.
        let fetched = earlier.load(layout::FETCHED);
        for word in (layout::ASKED..layout::SOURCE).filter(|word| !OF_PROCESSES.contains(word)) {
            self.store(word, earlier.load(word));
        }
        let published = earlier.version() != 0;
        match earlier.read() {
            Some(content) if self.replace(self.load(layout::CURRENT), &content.bytes) => {
                self.store(layout::FETCHED, fetched);
            }
            _ if published => self.store(layout::DUE, 0),
            _ => {}
        }
    }

    pub(super) fn set_id(&self, id: SourceId) {
        self.store(layout::ID, id.0[0]);
        self.store(layout::ID + 1, id.0[1]);
    }

    pub(super) fn words(&self) -> &'m [AtomicU64] {
        &self.store.words[layout::source(self.index)]
    }

    pub(super) fn buffer(&self, which: usize) -> &'m [AtomicU64] {
        &self.store.words[layout::buffer(self.store.sources, self.index, which)]
    }

    pub(super) fn word(&self, word: usize) -> &'m AtomicU64 {
        &self.words()[word]
    }

    /// What other processes wrote before this word is seen, too.
    pub(super) fn load(&self, word: usize) -> u64 {
        self.word(word).load(Ordering::Acquire)
    }

    /// Who sees this word sees what was written before.
    pub(super) fn store(&self, word: usize, value: u64) {
        self.word(word).store(value, Ordering::Release);
    }

    pub(super) fn swap(&self, word: usize, from: u64, to: u64) -> bool {
        self.word(word).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// What concerns the processes that use a store, and no others.
const OF_PROCESSES: [usize; 2] = [layout::ATTEMPT, layout::BEGUN];

/// Whether `then` is less than `span` away from now, before or after: clocks of two processes are read in one
/// order and compared in another, and what another boot or a crash left must not count for ever.
pub(super) fn is_recent(then: u64, now: MonoNanos, span: Duration) -> bool {
    u128::from(then.abs_diff(now.0)) < span.as_nanos()
}
