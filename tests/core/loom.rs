//! Every interleaving of two processes on the slot table, on one source of the key store, or on the last refusals, by
//! the model checker loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p jwt-gate-core --release --test loom
//! ```
//!
//! Each model says how many preemptions are tried; `LOOM_MAX_PREEMPTIONS` overrides it. A group has two slots here. Times are seconds of a clock that each process reads for itself.
#![cfg(loom)]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::sync::Arc;

use jwt_gate_core::limit::{
    Bank, Charge, Geometry, KeyHash, LimitId, Numbers, Outcome, SlotTable, TableKind, charge_all, charge_all_by_clock,
};
use jwt_gate_core::sync::{AtomicU64, Ordering};
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use loom::thread;

mod loom_key_store;
mod loom_lockout;
mod loom_quota;
mod loom_refusals;

const SECOND: u64 = 1_000_000_000;

/// The memory of one server, with the bank of one limit.
#[derive(Clone)]
struct Memory {
    words: Arc<Vec<AtomicU64>>,
    geometry: Geometry,
    bank: Bank,
}

impl Memory {
    fn new() -> Self {
        let geometry = Geometry::new(1, 1);
        let words: Arc<Vec<_>> = Arc::new((0..geometry.words()).map(|_| AtomicU64::new(0)).collect());
        let table = SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
        let bank = table.assign(LimitId::new("limit"), at(MonoNanos(0))).unwrap();
        Self { words, geometry, bank }
    }

    fn all(&self, asked: &[(Option<u64>, Numbers)], now: u64) -> bool {
        let now = at(MonoNanos(now * SECOND));
        let table = SlotTable::open(TableKind::Rates, &self.words, self.geometry, now).unwrap();
        let charge = |&(key, numbers): &(Option<u64>, Numbers)| match key {
            Some(key) => Charge::keyed(table, numbers, self.bank, KeyHash::from_halves(0, key)),
            None => Charge::shared(table, numbers, self.bank),
        };
        let mut charges: Vec<_> = asked.iter().map(charge).collect();
        charge_all(&mut charges, now) == Outcome::Admitted
    }

    fn one(&self, key: u64, numbers: Numbers, now: u64) -> u32 {
        u32::from(self.all(&[keyed(key, numbers)], now))
    }

    fn spawn<T: 'static>(&self, process: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let memory = self.clone();
        thread::spawn(move || process(&memory))
    }
}

fn at(now: MonoNanos) -> Now {
    Now { mono: now, wall: UnixMicros(0) }
}

fn keyed(key: u64, numbers: Numbers) -> (Option<u64>, Numbers) {
    (Some(key), numbers)
}

fn shared(numbers: Numbers) -> (Option<u64>, Numbers) {
    (None, numbers)
}

fn numbers(rate: &str, burst: u32) -> Numbers {
    Numbers::new(rate.parse().unwrap(), Some(burst)).unwrap()
}

/// Runs `model` in every way that two processes can interleave with so many preemptions.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    run(builder, model);
}

/// The same with no more preemptions than these, whatever is asked for.
fn explore_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    run(builder, model);
}

fn run(mut builder: loom::model::Builder, model: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = runs.clone();
    // A failure of an address looks at many slots.
    builder.max_branches = 4_000;
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let runs = runs.load(std::sync::atomic::Ordering::Relaxed);
    println!("{runs} interleavings");
    // Else loom has not seen that the processes meet.
    assert!(runs > 10);
}

const A: u64 = 0xa;
const B: u64 = 0xb;
const C: u64 = 0xc;
const D: u64 = 0xd;

#[test]
fn a_new_key_gets_one_bucket() {
    explore(3, || {
        let memory = Memory::new();
        let twice = numbers("1/h", 2);
        let other = memory.spawn(move |memory| memory.one(A, twice, 100));
        let admitted = memory.one(A, twice, 100) + other.join().unwrap();
        assert_eq!(admitted, 2);
        assert_eq!(memory.one(A, twice, 101), 0);
    });
}

/// The only slot that can be had goes from A to B while A is charged by a process whose clock says less.
#[test]
fn a_slot_changes_hands_while_its_old_key_is_charged() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(A, once, 10), 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        // A is at rest from 70 on.
        let other = memory.spawn(move |memory| memory.one(B, once, 70));
        let early = memory.one(A, once, 69);
        let b = other.join().unwrap();
        assert_eq!(early, 0, "A is refused up to 70, with slot or without");
        assert_eq!(b, 1);
        assert_eq!(memory.one(B, once, 71), 0);
    });
}

#[test]
fn a_slot_changes_hands_or_is_charged() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(A, once, 10), 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        let other = memory.spawn(move |memory| memory.one(B, once, 70));
        let a = memory.one(A, once, 70);
        let b = other.join().unwrap();
        share_what_there_is(&memory, a, b);
    });
}

/// One has the slot, and the other the limit's overflow bucket; or the other was first, and its charge there counts
/// against the one as well.
fn share_what_there_is(memory: &Memory, a: u32, b: u32) {
    let once = numbers("1/m", 1);
    assert!(a + b >= 1);
    assert!(a + memory.one(A, once, 71) <= 1);
    assert!(b + memory.one(B, once, 71) <= 1);
}

/// Two keys that are new want the only slot at rest.
#[test]
fn two_keys_want_one_slot() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        let other = memory.spawn(move |memory| memory.one(B, once, 70));
        let a = memory.one(A, once, 70);
        let b = other.join().unwrap();
        share_what_there_is(&memory, a, b);
    });
}

/// One process sees no room for A yet and charges the overflow bucket, the other one sees room.
#[test]
fn overflow_and_slot_together_admit_no_more_than_one_bucket() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(B, once, 10), 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        let other = memory.spawn(move |memory| memory.one(A, once, 70));
        let overflow = memory.one(A, once, 69);
        let slot = other.join().unwrap();
        assert!(overflow + slot <= 1);
        // Where both were refused, nothing is missing.
        assert_eq!(overflow + slot + memory.one(A, once, 71), 1);
    });
}

/// One process takes the only room for A; the other one, also for A, finds none meanwhile. What it charges to the
/// overflow bucket then may count against A's slot as well.
#[test]
fn room_on_the_move_is_no_second_bucket() {
    explore(3, || {
        let memory = Memory::new();
        let twice = numbers("1/h", 2);
        assert_eq!(memory.one(C, twice, 100), 1);
        let other = memory.spawn(move |memory| memory.one(A, twice, 100));
        let admitted = memory.one(A, twice, 100) + other.join().unwrap();
        assert!(admitted >= 1);
        let more: u32 = (0..3).map(|_| memory.one(A, twice, 101)).sum();
        assert!(admitted + more <= 2);
    });
}

#[test]
fn a_shared_bucket_is_charged_once_a_request() {
    explore(3, || {
        let memory = Memory::new();
        let twice = numbers("1/h", 2);
        let other = memory.spawn(move |memory| u32::from(memory.all(&[shared(twice)], 100)));
        let admitted = u32::from(memory.all(&[shared(twice)], 100)) + other.join().unwrap();
        assert_eq!(admitted, 2);
        assert!(!memory.all(&[shared(twice)], 101));
    });
}

/// Whoever read the clock first may be charged last, when the others' charges lie in its future: it has what they left,
/// and if there is nothing, it waits from the moment at which it is told so.
#[test]
fn who_is_overtaken_gets_what_is_left_and_a_true_wait() {
    for burst in [1, 2] {
        explore(3, move || {
            let (memory, rate) = (Memory::new(), numbers("1/m", burst));
            let clock = Arc::new(AtomicU64::new(100));
            let ask = move |memory: &Memory, clock: &AtomicU64| {
                let read = || MonoNanos(clock.fetch_add(1, Ordering::Relaxed) * SECOND);
                let came = read();
                let table = SlotTable::open(TableKind::Rates, &memory.words, memory.geometry, at(came)).unwrap();
                let mut one = [Charge::shared(table, rate, memory.bank)];
                (came, charge_all_by_clock(&mut one, at(came), |_| read()), read())
            };
            let other = memory.spawn({
                let clock = clock.clone();
                move |memory| ask(memory, &clock)
            });
            let mut answers = [ask(&memory, &clock), other.join().unwrap()];
            // The admitted first.
            answers.sort_by_key(|(_, outcome, _)| *outcome != Outcome::Admitted);
            assert_eq!(answers[0].1, Outcome::Admitted);
            match answers[1] {
                (_, Outcome::Admitted, _) => assert_eq!(burst, 2),
                (came, Outcome::Refused { retry_after, .. }, told) => {
                    assert_eq!(burst, 1, "there was room for both");
                    let (from, to) = (answers[0].0, answers[0].2);
                    let seconds = |since: MonoNanos, now: MonoNanos| 60 + since.0 / SECOND - now.0 / SECOND;
                    assert!(seconds(from, told) <= retry_after && retry_after <= seconds(to, came).min(60));
                }
            }
        });
    }
}

/// A charge that is given back is seen by others meanwhile. It is not the one to the slow bucket, so that nobody is told
/// to wait an hour for nothing.
#[test]
fn the_slowest_bucket_is_charged_last() {
    explore(3, || {
        let memory = Memory::new();
        let (slow, fast) = (numbers("1/h", 1), numbers("1/m", 1));
        // The key has its slot, so that the model is about charging alone.
        assert_eq!(memory.one(A, slow, 10), 1);
        let other = memory.spawn(move |memory| {
            memory.all(&[shared(fast)], 5_000);
            memory.one(A, slow, 5_000)
        });
        let both = memory.all(&[keyed(A, slow), shared(fast)], 5_000);
        assert_eq!(u32::from(both) + other.join().unwrap(), 1);
    });
}

/// While one process charges the overflow bucket for A, A gets a slot from others, uses it up and loses it.
#[test]
fn a_key_that_came_and_went_is_not_overlooked() {
    explore(2, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(B, once, 10), 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        let others = memory.spawn(move |memory| {
            let slot = memory.one(A, once, 70);
            memory.one(D, once, 130);
            slot
        });
        let overflow = memory.one(A, once, 69);
        assert!(overflow + others.join().unwrap() <= 1);
    });
}

/// B takes the slot of A at the very moment at which A is at rest, and gives its charge back, which leaves what A
/// had left.
#[test]
fn a_charge_on_a_slot_that_looks_the_same_is_made_again() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/m", 1);
        assert_eq!(memory.one(A, once, 10), 1);
        assert_eq!(memory.one(C, numbers("1/h", 1), 10), 1);
        // Refused by itself the second time.
        let other = memory.spawn(move |memory| memory.all(&[keyed(B, once), keyed(B, once)], 70));
        let a = memory.one(A, once, 70);
        assert!(!other.join().unwrap());
        assert!(a + memory.one(A, once, 71) <= 1);
    });
}

#[test]
fn all_are_charged_or_none() {
    explore(3, || {
        let memory = Memory::new();
        let once = numbers("1/h", 1);
        // Both keys have their slots, so that the model is about charging alone.
        assert_eq!((memory.one(A, once, 10), memory.one(B, once, 10)), (1, 1));
        let pair = move |memory: &Memory, first, second| memory.all(&[keyed(first, once), keyed(second, once)], 5_000);
        let other = memory.spawn(move |memory| pair(memory, B, A));
        let admitted = u32::from(pair(&memory, A, B)) + u32::from(other.join().unwrap());
        assert!(admitted <= 1);
        // Where none was admitted, nothing is missing.
        let left = [memory.one(A, once, 5_000), memory.one(B, once, 5_000)];
        assert_eq!(left, [1 - admitted; 2]);
    });
}

/// A charge is given back while another process charges the same bucket.
#[test]
fn what_is_given_back_is_what_was_charged() {
    explore(3, || {
        let memory = Memory::new();
        let (once, thrice) = (numbers("1/h", 1), numbers("1/h", 3));
        assert_eq!((memory.one(A, thrice, 10), memory.one(B, once, 10)), (1, 1));
        let both = move |memory: &Memory| memory.all(&[keyed(A, thrice), keyed(B, once), shared(thrice)], 50_000);
        let other = memory.spawn(move |memory| both(memory));
        let admitted = u32::from(both(&memory)) + u32::from(other.join().unwrap());
        assert_eq!(admitted, 1);
        let left: u32 = (0..4).map(|_| memory.one(A, thrice, 50_000)).sum();
        assert_eq!(left, 2);
        let left = (0..4).filter(|_| memory.all(&[shared(thrice)], 50_000)).count();
        assert_eq!(left, 2);
    });
}
