//! Refusals: two processes write one place at once, or one writes what the other reads.
//!
//! All accesses are relaxed, so a load may give whatever was stored since the last meeting of the two, word by word: the
//! models need few preemptions, and have many runs all the same.

use std::sync::Arc;

use jwt_gate_core::refusals::{Entry, Geometry, NameId, RefusalTable, Who};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use jwt_gate_core::verdict::Reason;
use loom::thread;

use super::explore_within;

/// One place for the last refusals, and four for those who wait.
#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Memory {
    fn new() -> Self {
        let words: Arc<Vec<_>> = Arc::new((0..geometry().words()).map(|_| AtomicU64::new(0)).collect());
        RefusalTable::format(&words, geometry()).unwrap();
        Self(words)
    }

    fn table(&self) -> RefusalTable<'_> {
        RefusalTable::open(&self.0, geometry()).unwrap()
    }

    fn spawn(&self, process: impl FnOnce(&Self) + 'static) -> thread::JoinHandle<()> {
        let memory = self.clone();
        thread::spawn(move || process(&memory))
    }
}

fn geometry() -> Geometry {
    Geometry::new(1, 1, 1)
}

/// Two of different numbers differ in several words.
fn entry(number: u64) -> Entry {
    Entry {
        time: UnixMicros(number),
        noted: MonoNanos(number * 1000),
        server: NameId::new(&number.to_string()),
        reason: Reason::RateLimited,
        would_deny: false,
        status: 429,
        limit: Some(NameId::new("limit")),
        who: Who::default(),
        until: Some(UnixMicros(number + 60_000_000)),
    }
}

#[test]
fn a_place_that_two_write_shows_one_of_them_or_none() {
    explore_within(1, || {
        let memory = Memory::new();
        let table = memory.table();
        let other = memory.spawn(|memory| memory.table().note(0, &entry(1)));
        table.note(0, &entry(2));
        other.join().unwrap();
        let found = table.newest(64);
        assert!(found.is_empty() || found == [entry(1)] || found == [entry(2)]);
        // Whatever is there, the next one takes its place.
        table.note(0, &entry(3));
        assert_eq!(table.newest(64), [entry(3)]);
    });
}

#[test]
fn who_reads_meanwhile_sees_the_old_the_new_or_nothing() {
    explore_within(1, || {
        let memory = Memory::new();
        let table = memory.table();
        table.note(0, &entry(1));
        let other = memory.spawn(|memory| memory.table().note(0, &entry(2)));
        let found = table.newest(64);
        assert!(found.is_empty() || found == [entry(1)] || found == [entry(2)]);
        other.join().unwrap();
        assert_eq!(table.newest(64), [entry(2)]);
    });
}

/// Two processes refuse one caller at once, of different virtual hosts.
#[test]
fn who_waits_is_told_once() {
    explore_within(0, || {
        let (memory, now) = (Memory::new(), Now { mono: MonoNanos(1000), wall: UnixMicros(1) });
        let table = memory.table();
        let elsewhere = Entry { server: NameId::new(""), ..entry(1) };
        let other = memory.spawn(move |memory| memory.table().wait(&elsewhere));
        table.wait(&entry(1));
        other.join().unwrap();
        assert!(table.waiting(now).len() <= 1);
        table.wait(&entry(1));
        assert_eq!(table.waiting(now).len(), 1);
    });
}
