//! Which process fetches.
//!
//! The lease is one word, so that it changes hands at once: the upper half says when it was taken, in units of 2^20
//! nanoseconds (about a millisecond), the lower half by whom. 0 is no lease; all bits set is one that nobody
//! gets any more. The units run over after 52 days; a lease that nobody has renewed for as long can then count for one
//! more second.

use std::time::Duration;

use super::{KeyStore, layout};
use crate::sync::Ordering;
use crate::time::MonoNanos;

/// How long a lease lasts after it was taken or prolonged.
pub const LEASE: Duration = Duration::from_secs(1);

const UNIT_BITS: u32 = 20;
const UNITS: u32 = (LEASE.as_nanos() >> UNIT_BITS) as u32;
/// The greatest of all values, so that nothing takes its place.
const RETIRED: u64 = u64::MAX;

/// A process, as it stands in the lower half of a word: never 0, which stands for nobody, and never all bits set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Holder(u32);

impl Holder {
    /// Different for all numbers below 2^32 - 2, so for all process ids.
    pub(super) const fn new(number: u64) -> Self {
        // The remainder is below u32::MAX - 1.
        Self((number % (u32::MAX as u64 - 1)) as u32 + 1)
    }

    /// A word of which the holder is the lower half.
    pub(super) const fn below(self, upper: u32) -> u64 {
        (upper as u64) << 32 | self.0 as u64
    }

    pub(super) const fn is_in(self, word: u64) -> bool {
        word as u32 == self.0
    }
}

impl KeyStore<'_> {
    /// Takes the lease, or prolongs it, for [`LEASE`] from now on. `holder` is a number that only this process has,
    /// such as its process id. False if another process has it, or the store is retired.
    ///
    /// A lease from further away than [`LEASE`], before or after `now`, does not count.
    pub fn hold(&self, holder: u64, now: MonoNanos) -> bool {
        let holder = Holder::new(holder);
        let word = &self.words[layout::LEASE];
        let lease = word.load(Ordering::Acquire);
        if lease == RETIRED || lease != 0 && !holder.is_in(lease) && is_valid(lease, now) {
            return false;
        }
        word.compare_exchange(lease, holder.below(units(now)), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Ends the use of this store: from now on nobody holds the lease, no attempt begins and none can be asked for.
    pub fn retire(&self) {
        self.words[layout::LEASE].fetch_max(RETIRED, Ordering::AcqRel);
    }

    /// Whether another store has taken the place of this one.
    pub fn is_retired(&self) -> bool {
        self.words[layout::LEASE].load(Ordering::Acquire) == RETIRED
    }

    pub(super) fn is_held_by(&self, holder: Holder, now: MonoNanos) -> bool {
        let lease = self.words[layout::LEASE].load(Ordering::Acquire);
        lease != RETIRED && holder.is_in(lease) && is_valid(lease, now)
    }
}

/// Whether a lease is less than [`LEASE`] away from `now`. It may have been taken later than `now`: the clock was read
/// before the lease.
fn is_valid(lease: u64, now: MonoNanos) -> bool {
    let age = units(now).wrapping_sub((lease >> 32) as u32);
    age.cast_signed().unsigned_abs() < UNITS
}

/// Without what has run over.
const fn units(now: MonoNanos) -> u32 {
    (now.0 >> UNIT_BITS) as u32
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::sync::AtomicU64;

    const SECOND: u64 = 1_000_000_000;
    const A: u64 = 4_711;
    const B: u64 = 4_712;

    fn words() -> Vec<AtomicU64> {
        let words: Vec<_> = (0..KeyStore::words(0)).map(|_| AtomicU64::new(0)).collect();
        KeyStore::format(&words, &[]).unwrap();
        words
    }

    #[test]
    fn a_lease_is_one_process_s_for_a_second() {
        let words = words();
        let store = KeyStore::open(&words).unwrap();
        // From the first moment of the machine on, and when the units run over.
        for start in [0, 1, 1_000 * SECOND, (1 << (UNIT_BITS + 32)) - SECOND / 2, u64::MAX - 10 * SECOND] {
            words[layout::LEASE].store(0, Ordering::Relaxed);
            let at = |millis: u64| MonoNanos(start + millis * 1_000_000);
            assert!(store.hold(A, at(0)));
            assert!(!store.hold(B, at(0)) && !store.hold(B, at(998)), "{start}");
            assert!(store.hold(A, at(900)), "{start}: prolonged");
            assert!(!store.hold(B, at(1_890)), "{start}");
            assert!(store.hold(B, at(1_900)), "{start}: taken over");
            assert!(!store.hold(A, at(1_900)), "{start}");
        }
    }

    /// Two processes read the clock, and the one with the later time comes first.
    #[test]
    fn a_lease_from_a_moment_ahead_counts() {
        let words = words();
        let store = KeyStore::open(&words).unwrap();
        assert!(store.hold(A, MonoNanos(100 * SECOND)));
        assert!(!store.hold(B, MonoNanos(100 * SECOND - 500_000_000)));
        assert!(store.hold(B, MonoNanos(98 * SECOND)));
    }

    #[test]
    fn impossible_leases_do_not_count() {
        let words = words();
        let store = KeyStore::open(&words).unwrap();
        let now = MonoNanos(5_000 * SECOND);
        for lease in [1, u64::from(u32::MAX), 1 << 63, u64::MAX - 1, Holder::new(A).below(units(now) + 1_000)] {
            words[layout::LEASE].store(lease, Ordering::Relaxed);
            assert!(store.hold(B, now), "{lease:x}");
        }
    }

    #[test]
    fn nobody_holds_the_lease_of_a_retired_store() {
        let words = words();
        let store = KeyStore::open(&words).unwrap();
        assert!(store.hold(A, MonoNanos(SECOND)));
        assert!(!store.is_retired());
        store.retire();
        assert!(store.is_retired());
        for (holder, now) in [(A, SECOND), (B, 10 * SECOND), (u64::MAX, u64::MAX), (u64::from(u32::MAX), u64::MAX)] {
            assert!(!store.hold(holder, MonoNanos(now)));
            assert!(!store.is_held_by(Holder::new(holder), MonoNanos(now)));
        }
    }

    /// Else a process could retire the store by taking the lease, or stand for nobody.
    #[test]
    fn no_process_is_nobody() {
        for number in [0, 1, u64::from(u32::MAX) - 2, u64::from(u32::MAX) - 1, u64::from(u32::MAX), u64::MAX] {
            assert!(!(Holder::new(number).0 == 0 || Holder::new(number).0 == u32::MAX), "{number}");
        }
        assert_ne!(Holder::new(0), Holder::new(u64::from(u32::MAX) - 3));
    }
}
