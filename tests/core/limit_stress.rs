//! Threads in place of processes, on real processors: nothing is lost, nothing is admitted twice.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::Duration;

use jwt_gate_core::limit::{
    self, Bank, Charge, Geometry, KeyHash, LimitId, LockoutRule, Lockouts, Numbers, Outcome, SLOTS, SlotTable,
    TableKind,
};
use jwt_gate_core::sync::{AtomicU64, Ordering};
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};

mod threads;

use threads::{THREADS, run};

const START: u64 = 1_000_000_000_000;

fn memory(geometry: Geometry) -> Vec<AtomicU64> {
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
    words
}

fn at(now: MonoNanos) -> Now {
    Now { mono: now, wall: UnixMicros(0) }
}

fn charge_all(charges: &mut [Charge<'_>], now: MonoNanos) -> Outcome {
    limit::charge_all(charges, at(now))
}

fn test_all(charges: &mut [Charge<'_>], now: MonoNanos) -> Outcome {
    limit::test_all(charges, at(now))
}

fn charge_all_by_clock(charges: &mut [Charge<'_>], now: MonoNanos, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome {
    limit::charge_all_by_clock(charges, at(now), clock)
}

fn numbers(rate: &str, burst: u32) -> Numbers {
    Numbers::new(rate.parse().unwrap(), Some(burst)).unwrap()
}

fn bank(table: SlotTable<'_>, name: &str) -> Bank {
    table.assign(LimitId::new(name), at(MonoNanos(START))).unwrap()
}

/// A sequence of numbers that differs by thread.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn a_bucket_admits_exactly_its_burst() {
    const BURST: u32 = 200_000;
    let geometry = Geometry::new(2, 1);
    let words = memory(geometry);
    let table = SlotTable::open(TableKind::Rates, &words, geometry, at(MonoNanos(START))).unwrap();
    let many = numbers("1000/s", BURST);
    let key = KeyHash::from_halves(0, 1);
    for charge in [Charge::keyed(table, many, bank(table, "a"), key), Charge::shared(table, many, bank(table, "b"))] {
        let results = run(|_| {
            let (mut admitted, mut interleaved, mut last) = (0, 0_u64, None);
            for _ in 0..BURST / 2 {
                let mut one = [charge.clone()];
                if charge_all(&mut one, MonoNanos(START)) == Outcome::Admitted {
                    let left = one[0].standing().remaining;
                    interleaved += u64::from(last.is_some_and(|last| last > left + 1));
                    (admitted, last) = (admitted + 1, Some(left));
                }
            }
            (admitted, interleaved)
        });
        assert_eq!(results.iter().map(|(admitted, _)| admitted).sum::<u32>(), BURST);
        let interleaved: u64 = results.iter().map(|(_, interleaved)| interleaved).sum();
        assert!(interleaved > 0, "the threads have not met: {results:?}");
    }
}

/// Bursts of all threads on a new key, while the clock runs: as many are admitted as there is room for, and each other
/// one is told a wait that was true while it asked.
#[test]
fn refusals_tell_the_time_until_there_is_room() {
    const ROUNDS: u64 = 5_000;
    const BURST: usize = 5;
    const EACH: usize = 5;
    const INTERVAL: u64 = 12 * 1_000_000_000;
    /// How far the clock goes on between two readings: long enough to see a wait that is wrong by one of them.
    const TICK: u64 = 100_000_000;
    let geometry = Geometry::new(2, 64);
    let words = memory(geometry);
    let table = SlotTable::open(TableKind::Rates, &words, geometry, at(MonoNanos(START))).unwrap();
    let banks = [bank(table, "a"), bank(table, "b")];
    let numbers = numbers("5/m", BURST as u32);
    let clock = AtomicU64::new(START);
    let read = || MonoNanos(clock.fetch_add(TICK, Ordering::Relaxed));
    let barrier = Barrier::new(THREADS as usize);
    // Of each request: when it came and when it was answered, and what.
    let answers = run(|_| {
        let burst = |round: u64| {
            barrier.wait();
            let charge = match round % 2 {
                0 => Charge::keyed(table, numbers, banks[0], KeyHash::from_halves(round << 58, 1 + round)),
                _ => Charge::shared(table, numbers, banks[1]),
            };
            let ask = || {
                let (came, mut one) = (read(), [charge.clone()]);
                let outcome = charge_all_by_clock(&mut one, came, |_| read());
                (came.0, read().0, outcome, one[0].standing())
            };
            let asked: Vec<_> = (0..EACH).map(|_| ask()).collect();
            // All have been answered; before the next burst all buckets are at rest.
            if barrier.wait().is_leader() {
                clock.fetch_add(2 * BURST as u64 * INTERVAL, Ordering::Relaxed);
            }
            asked
        };
        (0..ROUNDS).map(burst).collect::<Vec<_>>()
    });
    for round in 0..ROUNDS as usize {
        let asked = || answers.iter().flat_map(|thread| &thread[round]);
        let admitted = || asked().filter(|(_, _, outcome, _)| *outcome == Outcome::Admitted);
        assert_eq!(admitted().count(), BURST, "round {round}");
        // The bucket began to be emptied between these.
        let from = admitted().map(|(came, ..)| came).min().unwrap();
        let to = admitted().map(|(_, answered, ..)| answered).min().unwrap();
        let wait = |since: u64, now: u64| (since + INTERVAL - now).min(INTERVAL).div_ceil(1_000_000_000);
        for (came, answered, outcome, standing) in asked() {
            if let Outcome::Refused { retry_after, .. } = *outcome {
                let (shortest, longest) = (wait(*from, *answered), wait(*to, *came));
                assert!((shortest..=longest).contains(&retry_after), "{retry_after} of {shortest} to {longest}");
                assert_eq!((standing.remaining, standing.secs_until_one_more), (0, retry_after));
            }
        }
    }
    assert_eq!(table.overflows(), 0);
}

/// Keys come and go in a table that is far too small, while the clock runs.
#[test]
fn a_crowded_table_admits_nobody_too_often() {
    const KEYS: u64 = 5 * SLOTS as u64;
    const ROUNDS: u64 = 60_000;
    let geometry = Geometry::new(1, 2);
    let words = memory(geometry);
    let table = SlotTable::open(TableKind::Rates, &words, geometry, at(MonoNanos(START))).unwrap();
    let bank = bank(table, "a");
    let numbers = numbers("1000/s", 3);
    let clock = AtomicU64::new(START);
    let results = run(|thread| {
        let mut dice = Dice(thread);
        let mut admitted = HashMap::<u64, u64>::new();
        for _ in 0..ROUNDS {
            // Every other request is for the hot key.
            let key = if dice.roll(2) == 0 { 0 } else { dice.roll(KEYS) };
            // No multiple of the interval, so that no two requests come at the same moment of two intervals.
            let now = MonoNanos(clock.fetch_add(20_011, Ordering::Relaxed));
            let charge = Charge::keyed(table, numbers, bank, KeyHash::from_halves(key << 63, key + 1));
            if charge_all(&mut [charge], now) == Outcome::Admitted {
                *admitted.entry(key).or_default() += 1;
            }
        }
        admitted
    });
    let elapsed = clock.load(Ordering::Relaxed) - START;
    let most = u64::from(numbers.burst()) + elapsed / numbers.interval();
    for key in 0..KEYS {
        let admitted: u64 = results.iter().filter_map(|thread| thread.get(&key)).sum();
        assert!(admitted > 0 && admitted <= most, "key {key}: {admitted} of {most}");
    }
    let hot: u64 = results.iter().filter_map(|thread| thread.get(&0)).sum();
    assert!(hot > most / 2, "the hot key was refused too often: {hot} of {most}");
    assert!(table.overflows() > 0);
    assert_eq!(duplicates(&words, geometry), 0);
}

/// Each request is charged to a key of its own and to a bucket that all share: the two sums are equal.
#[test]
fn what_is_refused_by_one_limit_is_charged_to_none() {
    const KEYS: u64 = 64;
    let geometry = Geometry::new(3, 64);
    let words = memory(geometry);
    let table = SlotTable::open(TableKind::Rates, &words, geometry, at(MonoNanos(START))).unwrap();
    let (first, second, shared) = (bank(table, "a"), bank(table, "b"), bank(table, "c"));
    let (few, many) = (numbers("1/m", 20), numbers("1000/s", 100_000));
    let charges = |a: u64, b: u64| {
        [
            Charge::keyed(table, few, first, KeyHash::from_halves(a << 58, 1 + a)),
            Charge::keyed(table, few, second, KeyHash::from_halves(b << 58, 1_001 + b)),
            Charge::shared(table, many, shared),
        ]
    };
    let admitted: u32 = run(|thread| {
        let mut dice = Dice(thread);
        let outcomes =
            (0..20_000).map(|_| charge_all(&mut charges(dice.roll(KEYS), dice.roll(KEYS)), MonoNanos(START)));
        outcomes.filter(|outcome| *outcome == Outcome::Admitted).count() as u32
    })
    .into_iter()
    .sum();
    let mut left = [0, 0, 0];
    for key in 0..KEYS {
        let mut charges = charges(key, key);
        test_all(&mut charges, MonoNanos(START));
        let now = charges.each_ref().map(|charge| charge.standing().remaining);
        left = [left[0] + now[0], left[1] + now[1], now[2]];
    }
    assert_eq!(left, [20 * KEYS as u32 - admitted, 20 * KEYS as u32 - admitted, 100_000 - admitted]);
    assert!(admitted > 0 && left[0] < 20 * KEYS as u32 / 4, "the keys were used up");
    assert_eq!(table.overflows(), 0);
}

/// Each thread reads the clock for itself, and the clock goes over the end of a day: of each day exactly as many are
/// admitted as the quota says, in the slot of a key and in what everybody shares, together with a rate.
#[test]
fn a_quota_admits_exactly_its_count_in_each_window() {
    const COUNT: u32 = 30_000;
    const DAY: u64 = 86_400 * 1_000_000;
    /// 2026-08-05 00:00 UTC.
    const MIDNIGHT: u64 = 1_785_888_000 * 1_000_000;
    let (geometry, few) = (Geometry::new(2, 1), Geometry::new(1, 1));
    let rate_words = memory(few);
    let rates = SlotTable::open(TableKind::Rates, &rate_words, few, at(MonoNanos(START))).unwrap();
    let rate = Charge::shared(rates, numbers("1000000/s", 1_000_000), bank(rates, "rate"));
    for shared in [false, true] {
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let table = SlotTable::format(TableKind::Quotas, &words, geometry, [3, 5]).unwrap();
        let bank = table.assign(LimitId::new("quota"), Now::default()).unwrap();
        let quota = format!("{COUNT}/day").parse().unwrap();
        let charge = if shared {
            Charge::shared_quota(table, quota, bank)
        } else {
            Charge::keyed_quota(table, quota, bank, KeyHash::from_halves(0, 1))
        };
        // Half of the requests come before midnight.
        let clock = AtomicU64::new(0);
        let requests = 4 * u64::from(COUNT);
        let first = MIDNIGHT - requests / 2 * 100_000;
        let results = run(|_| {
            let mut admitted = [0, 0];
            loop {
                let request = clock.fetch_add(1, Ordering::Relaxed);
                if request >= requests {
                    return admitted;
                }
                let wall = first + request * 100_000;
                let mut both = [rate.clone(), charge.clone()];
                let now = Now { mono: MonoNanos(START + request * 1_000), wall: UnixMicros(wall) };
                if limit::charge_all(&mut both, now) == Outcome::Admitted {
                    let end = wall + both[1].standing().secs_until_one_more * 1_000_000;
                    admitted[usize::from(end >= MIDNIGHT + DAY)] += 1;
                }
            }
        });
        let admitted = [0, 1].map(|day| results.iter().map(|admitted| admitted[day]).sum::<u32>());
        assert_eq!(admitted, [COUNT, COUNT], "shared: {shared}");
        assert_eq!(table.repair(), 0);
    }
}

/// Threads fail for one address at once, again and again: the last failure that it may have locks it, and no other.
#[test]
fn exactly_so_many_failures_lock() {
    const FAILURES: u32 = 9;
    const SECOND: u64 = 1_000_000_000;
    let geometry = Geometry::new(0, 512);
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let table = SlotTable::format(TableKind::Lockouts, &words, geometry, [3, 5]).unwrap();
    let lockouts = Lockouts::new([
        LockoutRule { failures: FAILURES, within: Duration::from_secs(60), block: Duration::from_secs(30) },
        LockoutRule { failures: 1, within: Duration::from_secs(60), block: Duration::from_secs(30) },
    ]);
    let barrier = Barrier::new(THREADS as usize);
    let rounds = run(|_| {
        let round = |round: u64| {
            // The failures of earlier rounds are over.
            let now = at(MonoNanos(START + round * 120 * SECOND));
            let fail = || lockouts.record_failure(table, b"address", now).into_vec();
            barrier.wait();
            let mut newly = fail();
            newly.extend(fail());
            barrier.wait();
            // Eight of nine.
            let early = lockouts.locked(table, 0, b"address", now);
            if barrier.wait().is_leader() {
                newly.extend(fail());
            }
            barrier.wait();
            (newly, early, lockouts.locked(table, 0, b"address", now))
        };
        (0..2_000).map(round).collect::<Vec<_>>()
    });
    for round in 0..2_000 {
        let all = || rounds.iter().map(|thread| &thread[round]);
        assert!(all().all(|(_, early, late)| early.is_none() && *late == Some(30)), "round {round}");
        let mut newly: Vec<_> = all().flat_map(|(newly, ..)| newly.iter().copied()).collect();
        newly.sort_unstable();
        assert_eq!(newly, [0, 1], "each lock is told once: round {round}");
    }
    assert_eq!(table.overflows(), 0);
}

/// Keys that have two live slots in one group.
fn duplicates(words: &[AtomicU64], geometry: Geometry) -> usize {
    let groups = &words[words.len() - geometry.slots() / SLOTS * 16..];
    let twice = |group: &[AtomicU64]| {
        let live = group[2..].chunks(2).filter(|slot| slot[1].load(Ordering::Relaxed) < 1 << 63);
        let mut keys: Vec<_> = live.map(|slot| slot[0].load(Ordering::Relaxed)).filter(|&key| key != 0).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        all - keys.len()
    };
    groups.chunks(16).map(twice).sum()
}
