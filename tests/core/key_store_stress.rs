//! The key store with threads in place of processes, on real processors.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::sync::atomic::AtomicUsize;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use jwt_gate_core::keys::store::{Asked, KeyStore, LEASE, SourceId};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::time::{MonoNanos, UnixMicros};

mod threads;

use threads::{THREADS, run};

const COOLDOWN: Duration = Duration::from_secs(30);
const FETCHED: UnixMicros = UnixMicros::from_secs(1_700_000_000);

fn memory() -> Vec<AtomicU64> {
    let words: Vec<_> = (0..KeyStore::words(1)).map(|_| AtomicU64::new(0)).collect();
    KeyStore::format(&words, &[SourceId::new("a")]).unwrap();
    words
}

/// Some time after the machine was started.
fn at(millis: u64) -> MonoNanos {
    MonoNanos(5_000_000_000_000 + millis * 1_000_000)
}

/// A content that shows whether it is a mixture: its number, as often as the number says.
fn content(number: u64) -> Vec<u8> {
    number.to_ne_bytes().repeat(1 + number as usize * 7_919 % 1_000)
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == content(number), "a mixture");
    number
}

/// Some threads publish, the others read until they have done so.
fn publish_and_read(publishers: u64, words: &[AtomicU64]) -> (usize, usize) {
    const ROUNDS: u64 = 1_000;
    let running = AtomicUsize::new(publishers as usize);
    let (whole, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    run(|thread| {
        let source = KeyStore::open(words).unwrap().source(0).unwrap();
        if thread < publishers {
            for round in 1..=ROUNDS {
                source.publish(&content(round * publishers + thread), FETCHED).unwrap();
            }
            running.fetch_sub(1, Relaxed);
            return;
        }
        let (mut last, mut version) = (0, 0);
        while running.load(Relaxed) > 0 {
            let polled = source.version();
            assert!(polled >= version, "versions grow");
            let Some(content) = source.read() else {
                missed.fetch_add(1, Relaxed);
                continue;
            };
            assert!(content.version >= polled);
            let number = number_of(&content.bytes);
            assert_eq!(content.version == version, number == last, "one version, one content");
            assert!(publishers > 1 || number >= last, "a single publisher's contents come in order");
            (last, version) = (number, content.version);
            whole.fetch_add(1, Relaxed);
        }
    });
    (whole.into_inner(), missed.into_inner())
}

#[test]
fn readers_get_what_was_published_whole() {
    let words = memory();
    let source = KeyStore::open(&words).unwrap().source(0).unwrap();
    source.publish(&content(1), FETCHED).unwrap();
    source.set_due(at(1_000));
    let (whole, missed) = publish_and_read(1, &words);
    assert!(whole > 100, "{whole} read");
    assert!(missed * 10 < whole, "{missed} missed, {whole} read");
    assert_eq!(source.state(at(0)).due, at(1_000), "being overtaken is no damage");
}

/// Holders that were paused and did not notice. They may spoil each other's work, but nobody believes the result.
#[test]
fn publishers_that_meet_leave_nothing_that_is_wrong() {
    let words = memory();
    publish_and_read(2, &words);
    let source = KeyStore::open(&words).unwrap().source(0).unwrap();
    let last = source.read().is_some();
    assert!(last || source.state(at(0)).due <= at(0), "what is damaged is due");
    source.publish(&content(7), FETCHED).unwrap();
    assert_eq!(source.read().unwrap().bytes, content(7));
}

/// In steps of 100 ms, with holders that are killed now and then.
#[test]
fn the_lease_has_one_holder_and_is_taken_over_within_a_second() {
    const STEPS: u64 = 2_000;
    let words = memory();
    let step = Barrier::new(THREADS as usize);
    let held = Mutex::new(vec![Vec::new(); STEPS as usize]);
    run(|thread| {
        let store = KeyStore::open(&words).unwrap();
        let (mut process, mut dice) = (1 + thread, thread);
        for now in 0..STEPS {
            step.wait();
            if store.hold(process, at(100 * now)) {
                held.lock().unwrap()[now as usize].push(process);
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if (dice >> 33).is_multiple_of(10) {
                    // Killed; another child takes its place.
                    process += THREADS;
                }
            }
        }
    });
    let (mut idle, mut holders) = (0, 1);
    let mut last = 0;
    for holding in held.into_inner().unwrap() {
        match holding[..] {
            [] => idle += 1,
            [process] => {
                assert!(process == last || idle == LEASE.as_millis() as u64 / 100 - 1 || last == 0, "{idle} idle");
                holders += u64::from(process != last);
                (last, idle) = (process, 0);
            }
            _ => panic!("several holders: {holding:?}"),
        }
        assert!(idle < 10, "nobody takes over");
    }
    assert!(holders > 20, "{holders} holders");
}

/// Many requests at the same moment, again and again: one of them is granted, and all get the same answer.
#[test]
fn a_flood_of_asks_causes_one_attempt_in_a_cool_down() {
    const ROUNDS: u64 = 1_000;
    let words = memory();
    let step = Barrier::new(THREADS as usize);
    let attempts = AtomicUsize::new(0);
    run(|thread| {
        let store = KeyStore::open(&words).unwrap();
        let source = store.source(0).unwrap();
        for round in 0..ROUNDS {
            // A new cool-down with every third round.
            let now = at(30_001 * (round / 3) + round % 3);
            let fetch = || {
                if let Some(attempt) = source.begin(1, now) {
                    attempts.fetch_add(1, Relaxed);
                    source.publish(&content(round), FETCHED).unwrap();
                    source.succeed(attempt, now.saturating_add(COOLDOWN * 100));
                }
            };
            if thread == 0 {
                assert!(store.hold(1, now));
                source.set_due(now.saturating_add(COOLDOWN));
            }
            step.wait();
            // Everybody reads the clock for himself.
            let asked = source.ask(COOLDOWN, MonoNanos(now.0 + thread));
            if thread == 0 {
                // While others still ask.
                fetch();
            }
            step.wait();
            match asked {
                Asked::Wait(ticket) => {
                    assert_eq!(source.answer(ticket), Some(true));
                    assert_eq!(number_of(&source.read().unwrap().bytes), round, "which is there when the answer is");
                }
                Asked::Unknown => {}
                Asked::Unavailable => panic!("every attempt has succeeded"),
            }
            assert!(
                !round.is_multiple_of(3) || thread != 0 || matches!(asked, Asked::Wait(_)),
                "the cool-down was over"
            );
            if thread == 0 {
                fetch();
            }
            step.wait();
        }
    });
    assert_eq!(attempts.into_inner() as u64, ROUNDS.div_ceil(3));
}

/// Holders come, go and are killed while others ask: nobody who waits is forgotten.
#[test]
fn whoever_waits_gets_an_answer() {
    const ANSWERS: u64 = 100;
    let words = memory();
    let clock = AtomicU64::new(0);
    let asking = AtomicUsize::new(2);
    run(|thread| {
        let store = KeyStore::open(&words).unwrap();
        let source = store.source(0).unwrap();
        let tick = || at(clock.fetch_add(1, Relaxed));
        if thread < 2 {
            let (mut process, mut attempts) = (1 + thread, 0);
            while asking.load(Relaxed) > 0 {
                let now = tick();
                if !store.hold(process, now) {
                    thread::yield_now();
                } else if let Some(attempt) = source.begin(process, now) {
                    attempts += 1;
                    let next = now.saturating_add(COOLDOWN);
                    match attempts % 8 {
                        // Killed; another child takes its place.
                        0 => process += THREADS,
                        1 => {
                            source.fail(attempt, next, "nobody is there");
                        }
                        _ => source.succeed(attempt, next),
                    }
                }
            }
        } else {
            let mut answers = 0;
            while answers < ANSWERS {
                if let Asked::Wait(ticket) = source.ask(Duration::from_millis(200), tick()) {
                    while source.answer(ticket).is_none() {
                        thread::yield_now();
                    }
                    answers += 1;
                }
            }
            asking.fetch_sub(1, Relaxed);
        }
    });
}
