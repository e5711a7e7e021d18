//! Attempts at fetching, one at a time for each source.
//!
//! Word *attempt* has the number of the latest attempt in its upper half and its holder in the lower half, nobody once
//! it has ended. An end writes what came of it and then clears the holder, so that a process killed in between leaves
//! an attempt that another one begins anew, if it is still wanted. An attempt that was begun anew no longer counts:
//! its end changes nothing.

use std::time::Duration;

use super::layout::{
    ANSWERED, ASKED, ATTEMPT, BEGUN, DUE, ERROR, ERROR_BYTES, FAILED, FAILURES, MAX_ERROR, SUCCEEDED, load_bytes,
    store_bytes,
};
use super::lease::Holder;
use super::source::{Source, is_recent};
use crate::keys::schedule::MAX_REFRESH;
use crate::sync::Ordering;
use crate::time::MonoNanos;

/// A holder that has not ended its attempt after this time begins anew: one that never ends must not keep
/// the source from being fetched as long as the process lives.
pub const MAX_ATTEMPT: Duration = Duration::from_secs(60);

/// A fetch that has begun. Dropping it without a word abandons it.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    /// Word *attempt*.
    word: u64,
    /// What is answered when it ends.
    asked: u64,
    /// What was answered when it began.
    answered: u64,
}

impl Source<'_> {
    /// Begins an attempt if one is due or asked for, `holder` has the lease, and none of its own is under way.
    pub fn begin(&self, holder: u64, now: MonoNanos) -> Option<Attempt> {
        let holder = Holder::new(holder);
        if !self.store.is_held_by(holder, now) {
            return None;
        }
        // First: if its end is seen here, then also what it wrote before.
        let attempt = self.load(ATTEMPT);
        if holder.is_in(attempt) && is_recent(self.load(BEGUN), now, MAX_ATTEMPT) {
            return None;
        }
        let (asked, answered) = (self.load(ASKED), self.load(ANSWERED));
        if asked == answered && !self.is_due(now) {
            return None;
        }
        let word = holder.below(number(attempt).wrapping_add(1));
        if !self.swap(ATTEMPT, attempt, word) {
            return None;
        }
        self.store(BEGUN, now.0);
        Some(Attempt { word, asked, answered })
    }

    /// Ends an attempt that has [published](Self::publish) what it fetched. The next one is due at `next`.
    pub fn succeed(&self, attempt: Attempt, next: MonoNanos) {
        if self.load(ATTEMPT) == attempt.word {
            self.store(FAILURES, 0);
            self.word(SUCCEEDED).fetch_add(1, Ordering::Relaxed);
            self.store(ERROR_BYTES, 0);
            self.end(attempt, next);
        }
    }

    /// Ends an attempt that came to nothing, because of `error`, of which [`MAX_ERROR`] bytes are kept. The next one is
    /// due at `next`. Returns [`Self::failures`].
    pub fn fail(&self, attempt: Attempt, next: MonoNanos, error: &str) -> u64 {
        if self.load(ATTEMPT) == attempt.word {
            self.word(FAILURES).fetch_add(1, Ordering::Relaxed);
            self.word(FAILED).fetch_add(1, Ordering::Relaxed);
            self.set_error(error);
            self.end(attempt, next);
        }
        self.failures()
    }

    /// Whether no other attempt was begun since: what it has fetched may be older than what is published by now.
    pub fn is_current(&self, attempt: &Attempt) -> bool {
        self.load(ATTEMPT) == attempt.word
    }

    /// Sets when the next attempt is due, as the parent process does after it has loaded keys from disk. At most
    /// [`MAX_REFRESH`] from now: what is further away is not believed and due at once.
    pub fn set_due(&self, due: MonoNanos) {
        self.store(DUE, due.0);
    }

    /// Failed attempts since the last one that succeeded.
    pub fn failures(&self) -> u64 {
        self.load(FAILURES)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.load(SUCCEEDED) != 0
    }

    /// Whether it is time for an attempt, asked for or not. A damaged content makes it time at once; but after a failed
    /// attempt to replace it the schedule counts again.
    pub(super) fn is_due(&self, now: MonoNanos) -> bool {
        let due = self.load(DUE);
        due <= now.0 || !is_recent(due, now, MAX_REFRESH) || self.failures() == 0 && self.is_damaged()
    }

    pub(super) fn is_under_way(&self, now: MonoNanos) -> bool {
        !is_ended(self.load(ATTEMPT)) && is_recent(self.load(BEGUN), now, MAX_ATTEMPT)
    }

    /// Why the last attempt failed. A mixture of two texts if one is written meanwhile.
    pub(super) fn error(&self) -> String {
        let bytes = load_bytes(&self.words()[ERROR..], self.load(ERROR_BYTES)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn set_error(&self, error: &str) {
        let end = (0..=error.len().min(MAX_ERROR)).rfind(|&end| error.is_char_boundary(end)).unwrap_or(0);
        self.store(ERROR_BYTES, 0);
        store_bytes(&self.words()[ERROR..], &error.as_bytes()[..end]);
        self.store(ERROR_BYTES, end as u64);
    }

    fn end(&self, Attempt { word, asked, answered }: Attempt, next: MonoNanos) {
        self.set_due(next);
        // Not over what an attempt that was begun meanwhile has answered.
        self.swap(ANSWERED, answered, asked);
        self.swap(ATTEMPT, word, u64::from(number(word)) << 32);
    }
}

const fn number(attempt: u64) -> u32 {
    (attempt >> 32) as u32
}

const fn is_ended(attempt: u64) -> bool {
    attempt as u32 == 0
}
