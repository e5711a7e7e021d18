//! The key store as its users see it, one process at a time: attempts, asks, content, and what is left of
//! each by a process that dies, another configuration, or a damaged memory.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::time::Duration;

use jwt_gate_core::keys::schedule::MAX_REFRESH;
use jwt_gate_core::keys::set::MAX_BYTES;
use jwt_gate_core::keys::store::{
    Asked, Attempt, KeyStore, LEASE, MAX_ATTEMPT, MAX_ERROR, Source, SourceId, Ticket, TooLong,
};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::time::{MonoNanos, UnixMicros};
use proptest::prelude::*;

const COOLDOWN: Duration = Duration::from_secs(30);
const FETCHED: UnixMicros = UnixMicros::from_secs(1_700_000_000);

/// Processes.
const A: u64 = 4_711;
const B: u64 = 4_712;

/// As the layout says.
const HEADER: usize = 16;
const BLOCK: usize = 48;
const LEASE_WORD: usize = 8;
const CURRENT: usize = HEADER + 2;
const FETCHED_WORD: usize = HEADER + 4;
const ASKED: usize = HEADER + 6;
const DUE: usize = HEADER + 10;
const BUFFER: usize = 5 + MAX_BYTES.div_ceil(8);

/// A store with sources of these names.
struct Memory(Vec<AtomicU64>);

impl Memory {
    fn new(names: &[&str]) -> Self {
        let words: Vec<_> = (0..KeyStore::words(names.len())).map(|_| AtomicU64::new(0)).collect();
        let ids: Vec<_> = names.iter().map(|name| SourceId::new(name)).collect();
        KeyStore::format(&words, &ids).unwrap();
        Self(words)
    }

    fn one() -> Self {
        Self::new(&["a"])
    }

    fn store(&self) -> KeyStore<'_> {
        KeyStore::open(&self.0).unwrap()
    }

    fn source(&self, name: &str) -> Source<'_> {
        self.store().find(SourceId::new(name)).unwrap()
    }

    /// Begins an attempt, if one is wanted, as the process that holds the lease.
    fn begin(&self, holder: u64, now: MonoNanos) -> Option<Attempt> {
        assert!(self.store().hold(holder, now));
        self.source("a").begin(holder, now)
    }

    /// One attempt that finds these bytes.
    fn fetch(&self, bytes: &[u8], now: MonoNanos) {
        let attempt = self.begin(A, now).unwrap();
        self.source("a").publish(bytes, FETCHED).unwrap();
        self.source("a").succeed(attempt, now.saturating_add(MAX_REFRESH / 2));
    }

    /// One attempt that finds nothing; the next one is due in a minute.
    fn fail(&self, now: MonoNanos) -> u64 {
        let attempt = self.begin(A, now).unwrap();
        self.source("a").fail(attempt, now.saturating_add(Duration::from_secs(60)), "nobody is there")
    }

    fn ask(&self, now: MonoNanos) -> Asked {
        self.source("a").ask(COOLDOWN, now)
    }

    fn ask_granted(&self, now: MonoNanos) -> Ticket {
        match self.ask(now) {
            Asked::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// The words of the buffer that is in use.
    fn current_buffer(&self) -> &[AtomicU64] {
        let which = (self.0[CURRENT].load(Relaxed) & 1) as usize;
        let buffers = &self.0[HEADER + self.store().len() * BLOCK..];
        &buffers[which * BUFFER..][..BUFFER]
    }
}

/// Seconds before or after a moment in the life of the machine.
fn at(seconds: f64) -> MonoNanos {
    MonoNanos(4_000_000_000_000).saturating_add(Duration::from_secs_f64(1_000.0 + seconds))
}

#[test]
fn what_is_published_is_read_by_all() {
    let memory = Memory::new(&["b", "a"]);
    let (source, other) = (memory.source("a"), memory.source("b"));
    assert_eq!((source.version(), source.read(), source.fetched()), (0, None, None));
    let mut last = 0;
    for bytes in [&b"one"[..], b"", b"three and more than a word", b"one"] {
        assert_eq!(source.publish(bytes, FETCHED), Ok(true));
        let content = memory.source("a").read().unwrap();
        assert_eq!(content.bytes, bytes);
        assert_eq!(content.digest, ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        assert_eq!(content.version, source.version());
        assert!(content.version > last);
        last = content.version;
    }
    assert_eq!((other.version(), other.read(), other.fetched()), (0, None, None));
}

#[test]
fn the_same_content_only_becomes_younger() {
    let memory = Memory::one();
    let source = memory.source("a");
    source.publish(b"keys", FETCHED).unwrap();
    let version = source.version();
    let later = FETCHED.saturating_add(Duration::from_secs(600));
    assert_eq!(source.publish(b"keys", later), Ok(false));
    assert_eq!((source.version(), source.fetched()), (version, Some(later)));
    // The clock was set back.
    assert_eq!(source.publish(b"keys", FETCHED), Ok(false));
    assert_eq!(source.fetched(), Some(FETCHED));
}

#[test]
fn a_content_has_a_greatest_length() {
    let memory = Memory::new(&["a", "b"]);
    let longest: Vec<u8> = (0..MAX_BYTES).map(|n| n as u8).collect();
    for source in memory.store().iter() {
        source.publish(b"first", FETCHED).unwrap();
        source.publish(&longest, FETCHED).unwrap();
    }
    for source in memory.store().iter() {
        let version = source.version();
        assert_eq!(source.publish(&[0; MAX_BYTES + 1], FETCHED), Err(TooLong(MAX_BYTES + 1)));
        assert_eq!(source.version(), version);
        assert_eq!(source.read().unwrap().bytes, longest);
    }
    assert_eq!(TooLong(150_001).to_string(), "150001 bytes; at most 150000 are accepted");
}

/// A process is killed while it writes, so that anything may be in the buffer that is not in use.
#[test]
fn an_unfinished_publication_leaves_the_content_as_it_is() {
    let memory = Memory::one();
    let source = memory.source("a");
    for bytes in [b"one", b"two"] {
        source.publish(bytes, FETCHED).unwrap();
        let in_use = memory.current_buffer().as_ptr_range();
        for word in memory.0[HEADER + BLOCK..].iter().filter(|word| !in_use.contains(&std::ptr::from_ref(*word))) {
            word.store(u64::MAX, Relaxed);
        }
        assert_eq!(source.read().unwrap().bytes, bytes);
    }
}

#[test]
fn a_damaged_content_is_not_read_and_fetched_again() {
    const BYTES: &[u8] = b"seventeen letters";
    for damaged in 0..8 {
        let memory = Memory::one();
        let source = memory.source("a");
        memory.fetch(BYTES, at(0.0));
        assert!(memory.begin(B, at(1.0)).is_none(), "nothing is due");

        memory.current_buffer()[damaged].fetch_add(1, Relaxed);
        assert_eq!(source.read(), None, "word {damaged}");
        let version = source.version();
        assert_eq!(source.state(at(1.0)).due, at(1.0));
        memory.fetch(BYTES, at(2.0));
        assert_eq!(source.read().unwrap().bytes, BYTES);
        assert!(source.version() > version, "so that everybody looks");
        assert!(memory.begin(A, at(3.0)).is_none());
    }
}

/// Whoever looks at it meanwhile must not turn that into a flood of attempts.
#[test]
fn a_damaged_content_waits_while_attempts_fail() {
    let memory = Memory::one();
    memory.fetch(b"keys", at(0.0));
    memory.current_buffer()[0].fetch_add(1, Relaxed);
    memory.source("a").read();
    assert_eq!(memory.fail(at(1.0)), 1);
    for second in 2..60 {
        assert_eq!(memory.source("a").read(), None);
        assert!(memory.begin(A, at(f64::from(second))).is_none());
    }
    memory.fetch(b"keys", at(61.0));
    assert!(memory.source("a").read().is_some());
}

#[test]
fn one_attempt_at_a_time_when_it_is_due() {
    let memory = Memory::one();
    let source = memory.source("a");
    let attempt = memory.begin(A, at(0.0)).unwrap();
    assert!(source.state(at(0.0)).under_way);
    assert!(memory.begin(A, at(0.5)).is_none(), "it is under way");
    source.succeed(attempt, at(10.0));
    assert!(!source.state(at(0.5)).under_way);
    assert!(memory.begin(A, at(9.9)).is_none());
    assert!(memory.begin(A, at(10.0)).is_some());
    source.set_due(at(20.0));
    assert_eq!(source.state(at(10.0)).due, at(20.0));
}

#[test]
fn only_the_holder_of_the_lease_begins() {
    let memory = Memory::one();
    let source = memory.source("a");
    assert!(source.begin(A, at(0.0)).is_none(), "nobody holds it");
    assert!(memory.store().hold(A, at(0.0)));
    assert!(source.begin(B, at(0.0)).is_none());
    assert!(source.begin(A, at(0.0).saturating_add(LEASE)).is_none(), "it has run out");
    assert!(source.begin(A, at(0.5)).is_some());
}

#[test]
fn failures_are_counted_until_a_success() {
    let memory = Memory::one();
    let source = memory.source("a");
    for count in 1..=3 {
        assert_eq!(memory.fail(at(60.0 * count as f64)), count);
        assert_eq!(source.failures(), count);
    }
    let state = source.state(at(200.0));
    assert_eq!((state.failures, state.fetches_ok, state.fetches_failed), (3, 0, 3));
    assert_eq!((state.error.as_str(), state.due), ("nobody is there", at(240.0)));
    memory.fetch(b"keys", at(240.0));
    let state = source.state(at(240.0));
    assert_eq!((state.failures, state.fetches_ok, state.fetches_failed), (0, 1, 3));
    assert_eq!(state.error, "");
}

#[test]
fn an_error_is_cut_between_two_characters() {
    let memory = Memory::one();
    let source = memory.source("a");
    for (error, kept) in [
        ("x".repeat(MAX_ERROR), MAX_ERROR),
        ("x".repeat(MAX_ERROR + 1), MAX_ERROR),
        ("é".repeat(MAX_ERROR), MAX_ERROR),
        (format!("x{}", "é".repeat(MAX_ERROR)), MAX_ERROR - 1),
        (format!("x{}", "😀".repeat(MAX_ERROR)), MAX_ERROR - 3),
        (String::new(), 0),
    ] {
        source.set_due(at(0.0));
        let attempt = memory.begin(A, at(0.0)).unwrap();
        source.fail(attempt, at(0.0), &error);
        assert_eq!(source.state(at(0.0)).error, error[..kept]);
    }
}

/// The holder is killed, and another one takes its place within a lease.
#[test]
fn an_abandoned_attempt_is_begun_anew() {
    let memory = Memory::one();
    assert!(memory.begin(A, at(0.0)).is_some());
    assert!(!memory.store().hold(B, at(0.9)));
    assert!(memory.begin(B, at(1.0)).is_some());
}

/// The holder was only paused, and comes back.
#[test]
fn an_attempt_that_was_begun_anew_says_nothing_more() {
    let memory = Memory::one();
    let source = memory.source("a");
    let ticket = memory.ask_granted(at(0.0));
    let [first, second] = [0.0, 0.1].map(|offset| {
        // The second one is again by a process that lost the lease and got it back.
        assert!(memory.begin(B, at(offset * 100.0 + 1.0)).is_some());
        memory.begin(A, at(offset * 100.0 + 2.0)).unwrap()
    });
    let current = memory.begin(B, at(20.0)).unwrap();
    let before = source.state(at(20.0));
    source.succeed(first, at(1_000.0));
    assert_eq!(source.fail(second, at(1_000.0), "too late"), 0);
    assert_eq!(source.state(at(20.0)), before);
    assert_eq!(source.answer(ticket), None);
    assert!(memory.begin(B, at(20.5)).is_none(), "the current one is under way");
    source.succeed(current, at(100.0));
    assert_eq!(source.answer(ticket), Some(true));
    assert_eq!(source.state(at(20.0)).due, at(100.0));
}

/// As after a panic in the thread that fetched.
#[test]
fn an_attempt_that_never_ends_does_not_block_its_holder_for_ever() {
    let memory = Memory::one();
    let source = memory.source("a");
    let lost = memory.begin(A, at(0.0)).unwrap();
    let just_before = at(MAX_ATTEMPT.as_secs_f64() - 0.001);
    assert!(memory.begin(A, just_before).is_none());
    assert!(source.state(just_before).under_way);
    let next = memory.begin(A, at(MAX_ATTEMPT.as_secs_f64())).unwrap();
    source.fail(lost, at(1_000.0), "too late");
    assert_eq!(source.failures(), 0);
    source.fail(next, at(1_000.0), "in time");
    assert_eq!(source.failures(), 1);
}

#[test]
fn a_due_time_beyond_all_settings_is_not_believed() {
    for (due, expected) in [
        (at(0.1), false),
        (at(0.0).saturating_add(MAX_REFRESH - Duration::from_nanos(1)), false),
        (at(0.0).saturating_add(MAX_REFRESH), true),
        (MonoNanos(u64::MAX), true),
    ] {
        let memory = Memory::one();
        memory.0[DUE].store(due.0, Relaxed);
        assert_eq!(memory.source("a").state(at(0.0)).due <= at(0.0), expected, "{due:?}");
        assert_eq!(memory.begin(A, at(0.0)).is_some(), expected, "{due:?}");
    }
}

#[test]
fn an_ask_is_granted_once_in_a_cool_down() {
    let memory = Memory::one();
    let source = memory.source("a");
    memory.fetch(b"keys", at(-10.0));
    for start in [0.0, 30.0, 100.0] {
        let now = at(start);
        assert!(memory.begin(A, now).is_none(), "nothing is due");
        let ticket = memory.ask_granted(now);
        assert!(source.state(now).asked);
        assert_eq!(memory.ask(at(start + 0.1)), Asked::Wait(ticket));
        assert_eq!(source.answer(ticket), None);
        let attempt = memory.begin(A, at(start + 0.2)).unwrap();
        assert_eq!(memory.ask(at(start + 0.3)), Asked::Wait(ticket));
        assert!(memory.begin(A, at(start + 0.4)).is_none());
        assert_eq!(source.answer(ticket), None);
        source.succeed(attempt, at(start + 1_000.0));
        assert_eq!(source.answer(ticket), Some(true));
        assert!(!source.state(now).asked);
        for after in [0.5, 1.0, 29.999] {
            assert_eq!(memory.ask(at(start + after)), Asked::Unknown);
        }
        assert!(memory.begin(A, at(start + 29.999)).is_none());
    }
}

#[test]
fn ten_thousand_asks_cause_one_fetch_in_a_cool_down() {
    let memory = Memory::one();
    memory.fetch(b"keys", at(-10.0));
    for ask in 0..10_000 {
        let now = at(f64::from(ask) / 100.0);
        memory.ask(now);
        if let Some(attempt) = memory.begin(A, now) {
            memory.source("a").succeed(attempt, at(10_000.0));
        }
    }
    // 100 seconds: at 0, 30, 60, 90.
    assert_eq!(memory.source("a").state(at(100.0)).fetches_ok, 1 + 4);
}

#[test]
fn a_failed_ask_says_that_nobody_knows() {
    let memory = Memory::one();
    let source = memory.source("a");
    memory.fetch(b"keys", at(-10.0));
    let ticket = memory.ask_granted(at(0.0));
    memory.fail(at(0.1));
    assert_eq!(source.answer(ticket), Some(false));
    assert_eq!(memory.ask(at(0.2)), Asked::Unavailable);
    // In back-off: the next attempt is due at 60.1.
    assert!(memory.begin(A, at(29.9)).is_none());
    let ticket = memory.ask_granted(at(30.0));
    memory.fail(at(30.1));
    assert_eq!(source.answer(ticket), Some(false));
    assert!(memory.begin(A, at(31.0)).is_none());
    assert_eq!(memory.ask(at(31.0)), Asked::Unavailable);
    // The schedule goes on, and what it finds counts for those who ask.
    memory.fetch(b"keys", at(90.1));
    memory.ask_granted(at(90.2));
}

/// It may have read what the source said before.
#[test]
fn an_attempt_under_way_does_not_answer_an_ask() {
    let memory = Memory::one();
    let source = memory.source("a");
    let early = memory.begin(A, at(0.0)).unwrap();
    let ticket = memory.ask_granted(at(0.1));
    source.succeed(early, at(1_000.0));
    assert_eq!(source.answer(ticket), None);
    assert_eq!(memory.ask(at(0.2)), Asked::Wait(ticket));
    let next = memory.begin(A, at(0.3)).unwrap();
    source.fail(next, at(1_000.0), "nobody is there");
    assert_eq!(source.answer(ticket), Some(false));
}

#[test]
fn an_ask_survives_the_death_of_the_holder() {
    let memory = Memory::one();
    memory.fetch(b"keys", at(-10.0));
    let ticket = memory.ask_granted(at(0.0));
    for (holder, time) in [(A, 0.1), (B, 1.2), (A, 2.3)] {
        assert!(memory.begin(holder, at(time)).is_some());
        assert_eq!(memory.source("a").answer(ticket), None);
        assert_eq!(memory.ask(at(time)), Asked::Wait(ticket));
    }
    let attempt = memory.begin(B, at(3.4)).unwrap();
    memory.source("a").succeed(attempt, at(1_000.0));
    assert_eq!(memory.source("a").answer(ticket), Some(true));
}

#[test]
fn a_ticket_of_long_ago_is_answered() {
    let memory = Memory::one();
    let old = memory.ask_granted(at(0.0));
    memory.fetch(b"keys", at(0.1));
    let new = memory.ask_granted(at(40.0));
    assert_eq!((memory.source("a").answer(old), memory.source("a").answer(new)), (Some(true), None));
}

#[test]
fn no_clock_locks_out_those_who_ask() {
    for asked in [0, 1, at(-30.0).0, at(30.0).0, u64::MAX] {
        for now in [at(0.0), MonoNanos(0), MonoNanos(u64::MAX)] {
            let memory = Memory::one();
            memory.fetch(b"keys", now);
            for word in [ASKED, ASKED + 1] {
                memory.0[word].store(asked, Relaxed);
            }
            let close = asked != 0 && asked.abs_diff(now.0.max(1)) < 30_000_000_000;
            assert_eq!(matches!(memory.ask(now), Asked::Wait(_)), !close, "asked at {asked}, now {now:?}");
        }
    }
    // The first ask of all, in the first moment of the machine; and without cool-down.
    let memory = Memory::one();
    let mut last = None;
    for _ in 0..3 {
        let Asked::Wait(ticket) = memory.source("a").ask(Duration::ZERO, MonoNanos(0)) else { panic!() };
        assert_eq!(memory.source("a").answer(ticket), None);
        assert_ne!(last, Some(ticket));
        last = Some(ticket);
        let attempt = memory.begin(A, MonoNanos(0)).unwrap();
        memory.source("a").succeed(attempt, at(0.0));
    }
}

/// A clock that another process has read a moment later does not end the cool-down.
#[test]
fn an_ask_of_a_moment_ahead_counts() {
    let memory = Memory::one();
    memory.fetch(b"keys", at(-10.0));
    memory.ask_granted(at(0.0));
    memory.fetch(b"keys", at(0.1));
    assert_eq!(memory.ask(at(-0.1)), Asked::Unknown);
}

#[test]
fn a_new_store_takes_over_what_the_earlier_one_knows() {
    let earlier = Memory::new(&["a", "gone"]);
    earlier.fetch(b"keys", at(0.0));
    earlier.ask_granted(at(1.0));
    earlier.fail(at(1.1));
    let (before, version) = (earlier.source("a").state(at(2.0)), earlier.source("a").version());

    let memory = Memory::new(&["new", "a"]);
    memory.store().adopt(earlier.store());
    let source = memory.source("a");
    let state = source.state(at(2.0));
    assert!(source.version() > 0);
    assert_eq!(source.read().unwrap().bytes, b"keys");
    assert_eq!(jwt_gate_core::keys::store::SourceState { version, ..state }, before);
    assert_eq!((before.failures, before.fetches_ok, before.error.as_str()), (1, 1, "nobody is there"));
    assert_eq!(source.fetched(), Some(FETCHED));
    assert_eq!(memory.ask(at(30.9)), Asked::Unavailable, "the cool-down goes on");
    memory.ask_granted(at(31.0));
    let new = memory.source("new");
    assert_eq!((new.version(), new.read()), (0, None));
    assert_eq!(new.id(), SourceId::new("new"));
    assert!(new.state(at(2.0)).due <= at(2.0));
    assert_eq!(earlier.source("a").read().unwrap().bytes, b"keys", "which may still be used");
}

#[test]
fn an_attempt_under_way_has_not_begun_in_the_new_store() {
    let earlier = Memory::one();
    earlier.fetch(b"keys", at(0.0));
    let old_ticket = earlier.ask_granted(at(1.0));
    let old = earlier.begin(A, at(1.1)).unwrap();

    let memory = Memory::one();
    memory.store().adopt(earlier.store());
    earlier.store().retire();
    assert!(!memory.source("a").state(at(1.2)).under_way);
    let ticket = memory.ask_granted(at(1.2));
    let attempt = memory.begin(A, at(1.3)).unwrap();
    assert_eq!(memory.source("a").answer(ticket), None);
    memory.source("a").succeed(attempt, at(1_000.0));
    assert_eq!(memory.source("a").answer(ticket), Some(true));
    // The old one ends where it began.
    assert_eq!(earlier.source("a").answer(old_ticket), Some(false));
    earlier.source("a").succeed(old, at(1_000.0));
    assert_eq!(memory.source("a").state(at(2.0)).fetches_ok, 2);
}

#[test]
fn a_damaged_content_is_not_taken_over_but_due() {
    let earlier = Memory::one();
    earlier.fetch(b"keys", at(0.0));
    earlier.current_buffer()[0].fetch_add(1, Relaxed);
    let memory = Memory::one();
    memory.store().adopt(earlier.store());
    assert_eq!((memory.source("a").version(), memory.source("a").fetched()), (0, None));
    memory.fetch(b"keys", at(1.0));
    assert_eq!(memory.source("a").read().unwrap().bytes, b"keys");
}

#[test]
fn an_earlier_store_without_content_takes_none_away() {
    let (earlier, memory) = (Memory::one(), Memory::one());
    earlier.fail(at(0.0));
    memory.source("a").publish(b"keys", FETCHED).unwrap();
    memory.store().adopt(earlier.store());
    assert_eq!(memory.source("a").read().unwrap().bytes, b"keys");
    assert_eq!(memory.source("a").fetched(), Some(FETCHED));
    assert_eq!((memory.source("a").failures(), memory.source("a").state(at(1.0)).due), (1, at(60.0)));
}

/// The process before was killed between two words.
#[test]
fn content_of_unknown_age_stays_of_unknown_age() {
    let earlier = Memory::one();
    earlier.fetch(b"keys", at(0.0));
    earlier.0[FETCHED_WORD].store(0, Relaxed);
    let memory = Memory::one();
    memory.store().adopt(earlier.store());
    assert_eq!(memory.source("a").read().unwrap().bytes, b"keys");
    assert_eq!(memory.source("a").fetched(), None);
}

#[test]
fn a_retired_store_is_read_but_asks_nobody() {
    let memory = Memory::one();
    let source = memory.source("a");
    memory.fetch(b"keys", at(0.0));
    let ticket = memory.ask_granted(at(1.0));
    assert!(memory.store().hold(A, at(1.0)));
    memory.store().retire();
    assert!(memory.store().is_retired());
    assert!(!memory.store().hold(A, at(1.0)) && !memory.store().hold(B, at(100.0)));
    assert!(source.begin(A, at(1.0)).is_none());
    assert_eq!(source.answer(ticket), Some(false));
    for now in [1.0, 2.0, 1_000.0] {
        assert_eq!(memory.ask(at(now)), Asked::Unavailable);
    }
    assert_eq!(source.read().unwrap().bytes, b"keys");
}

fn word() -> impl Strategy<Value = u64> {
    // Times around now, small numbers, and anything.
    prop_oneof![any::<u64>(), 0..4_u64, Just(u64::MAX), (0..80_000_000_000_u64).prop_map(|n| at(-40.0).0 + n)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the words say, everything ends, and one attempt makes the source good again.
    #[test]
    fn garbage_costs_at_most_a_fetch(
        garbage in prop::collection::vec(word(), LEASE_WORD..HEADER + 2 * BLOCK),
        buffers in prop::collection::vec(word(), 4 * 6),
        now in word(),
    ) {
        let memory = Memory::new(&["a", "b"]);
        // The header up to the lease is tested beside the code; the ids are left so that `a` is found.
        for (index, value) in garbage.iter().enumerate().skip(LEASE_WORD) {
            if index != HEADER && index != HEADER + 1 {
                memory.0[index].store(*value, Relaxed);
            }
        }
        for (index, values) in buffers.chunks(6).enumerate() {
            for (word, value) in memory.0[HEADER + 2 * BLOCK + index * BUFFER..].iter().zip(values) {
                word.store(*value, Relaxed);
            }
        }
        let now = MonoNanos(now);
        let store = memory.store();
        for source in store.iter() {
            // Nothing was ever published, so nothing has the right seal.
            prop_assert_eq!(source.read(), None);
            source.state(now);
            source.ask(COOLDOWN, now);
            source.fetched();
        }
        let adopting = Memory::one();
        adopting.store().adopt(store);
        prop_assert_eq!(adopting.source("a").read(), None);

        // Nobody's lease is worth more than a second each way.
        let later = now.saturating_add(2 * LEASE);
        if store.is_retired() || later.0 == u64::MAX {
            return Ok(());
        }
        prop_assert!(store.hold(A, now) || store.hold(A, later));
        let source = memory.source("a");
        prop_assert_eq!(source.publish(b"keys", FETCHED), Ok(true));
        prop_assert_eq!(source.read().unwrap().bytes, b"keys");
        prop_assert_eq!(source.fetched(), Some(FETCHED));
        source.set_due(MonoNanos(0));
        prop_assert!(store.hold(A, later));
        let attempt = source.begin(A, later).unwrap();
        source.succeed(attempt, later.saturating_add(COOLDOWN));
        prop_assert!(matches!(source.ask(COOLDOWN, later), Asked::Wait(_) | Asked::Unknown));
        prop_assert_eq!(source.state(later).error, "");
        prop_assert_eq!(source.failures(), 0);
    }

    #[test]
    fn too_few_words_are_no_store(words in prop::collection::vec(word(), 0..200)) {
        let words: Vec<_> = words.into_iter().map(AtomicU64::new).collect();
        prop_assert!(KeyStore::open(&words).is_err());
    }
}
