//! Lock-outs: two processes record failures of one address at once.

use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::limit::{Geometry, LockoutRule, Lockouts, SlotTable, TableKind};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use loom::thread;

use super::explore;

/// The memory of one server: so many groups that every bucket has room.
#[derive(Clone)]
struct Memory {
    words: Arc<Vec<AtomicU64>>,
    geometry: Geometry,
    lockouts: Lockouts,
}

impl Memory {
    /// After so many failures in ten seconds, an address is locked for two.
    fn new(failures: u32) -> Self {
        Self::with(&[rule(failures, 10)])
    }

    fn with(rules: &[LockoutRule]) -> Self {
        let geometry = Geometry::new(0, 4);
        let words: Arc<Vec<_>> = Arc::new((0..geometry.words()).map(|_| AtomicU64::new(0)).collect());
        SlotTable::format(TableKind::Lockouts, &words, geometry, [3, 5]).unwrap();
        Self { words, geometry, lockouts: Lockouts::new(rules.iter().copied()) }
    }

    fn table(&self, now: u64) -> SlotTable<'_> {
        SlotTable::open(TableKind::Lockouts, &self.words, self.geometry, at(now)).unwrap()
    }

    /// Whether the failure locks the address by the first rule.
    fn fail(&self, now: u64) -> bool {
        !self.lockouts.record_failure(self.table(now), b"address", at(now)).is_empty()
    }

    fn is_locked(&self, now: u64) -> bool {
        self.lockouts.locked(self.table(now), 0, b"address", at(now)).is_some()
    }

    fn spawn(&self, process: impl FnOnce(&Self) -> bool + 'static) -> thread::JoinHandle<bool> {
        let memory = self.clone();
        thread::spawn(move || process(&memory))
    }
}

fn rule(failures: u32, seconds: u64) -> LockoutRule {
    LockoutRule { failures, within: Duration::from_secs(seconds), block: Duration::from_secs(2) }
}

fn at(seconds: u64) -> Now {
    Now { mono: MonoNanos(seconds * 1_000_000_000), wall: UnixMicros(0) }
}

/// The two have one history, and the later one of them locks, no matter which. All buckets have their slots, so that the
/// model is about failing alone.
#[test]
fn two_failures_at_once_lock_once() {
    explore(2, || {
        let memory = Memory::new(2);
        assert!(!memory.fail(10) && memory.fail(10));
        let other = memory.spawn(|memory| memory.fail(101));
        let locks = [memory.fail(100), other.join().unwrap()];
        assert_eq!(locks.iter().filter(|locks| **locks).count(), 1);
        assert!(memory.is_locked(101));
        assert_eq!(memory.table(101).overflows(), 0);
    });
}

/// The first failures of an address take slots.
#[test]
fn two_failures_at_once_are_not_three() {
    explore(2, || {
        let memory = Memory::new(3);
        let other = memory.spawn(|memory| memory.fail(100));
        assert!(!memory.fail(100) && !other.join().unwrap());
        assert!(!memory.is_locked(100));
        assert!(memory.fail(101));
        assert!(memory.is_locked(101));
    });
}

/// The first failure is remembered by one clock and not by the other, so the two are written to different buckets, and
/// neither process meets the other while it writes. One of them sees both.
#[test]
fn failures_meet_where_an_old_one_ends() {
    explore(2, || {
        let memory = Memory::with(&[rule(2, 5), rule(3, 10)]);
        assert!(!memory.fail(100));
        // 100 is remembered up to 110, and counts up to 105.
        let other = memory.spawn(|memory| memory.fail(109));
        let locks = [memory.fail(110), other.join().unwrap()];
        assert_eq!(locks.iter().filter(|locks| **locks).count(), 1);
        assert!(memory.is_locked(110));
    });
}

/// All places of the history are taken, and each of two failures takes that of the oldest.
#[test]
fn the_oldest_failures_give_way() {
    explore(2, || {
        let memory = Memory::new(2);
        assert!(!memory.fail(100) && memory.fail(101));
        assert!(!memory.is_locked(103));
        let other = memory.spawn(|memory| memory.fail(103));
        let locks = [memory.fail(103), other.join().unwrap()];
        assert_eq!(locks.iter().filter(|locks| **locks).count(), 1);
        // Both are remembered when the first two are not.
        assert!(memory.is_locked(104) && !memory.is_locked(105));
        assert!(memory.fail(112));
    });
}
