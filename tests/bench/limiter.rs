//! What a charge costs: by number of keys, by contention, with and without hashing the key; and what quotas and lock-outs
//! cost.
//!
//! The clock stands still and bursts are large, so that every charge is admitted and written.

#![allow(clippy::unwrap_used, missing_docs)] // criterion's macros; a panic ends the measurement

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jwt_gate_core::limit::{
    Bank, Charge, Geometry, KeyHash, LimitId, LockoutRule, Lockouts, MAX_COUNT, MAX_FAILURES, Numbers, Part, Quota,
    SlotTable, TableKind, charge_all,
};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};

const NOW: Now = Now { mono: MonoNanos(1_000_000_000_000), wall: UnixMicros(1_800_000_000_000_000) };

fn numbers() -> Numbers {
    Numbers::new("1000000/s".parse().unwrap(), Some(MAX_COUNT)).unwrap()
}

/// A table with room for about 1,800,000 keys.
fn with_table(bench: impl FnOnce(SlotTable<'_>, Bank)) {
    let geometry = Geometry::for_bytes(32 << 20).unwrap();
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let table = SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
    let bank = table.assign(LimitId::new("limit"), NOW).unwrap();
    bench(table, bank);
}

fn key(table: SlotTable<'_>, limit: LimitId, number: u64) -> KeyHash {
    table.hasher(limit).part(Part::Address, &u128::from(number).to_be_bytes()).finish()
}

fn charges(c: &mut Criterion) {
    let limit = LimitId::new("limit");
    let mut group = c.benchmark_group("charge");
    with_table(|table, bank| {
        group.bench_function("hash of an address", |b| b.iter(|| key(table, limit, black_box(7))));
        group.bench_function("shared", |b| {
            b.iter(|| charge_all(&mut [Charge::shared(table, numbers(), bank)], black_box(NOW)));
        });
        let one = key(table, limit, 0);
        group.bench_function("two limits", |b| {
            let charges = [Charge::shared(table, numbers(), bank), Charge::keyed(table, numbers(), bank, one)];
            b.iter_batched_ref(
                || charges.clone(),
                |charges| charge_all(charges, black_box(NOW)),
                BatchSize::SmallInput,
            );
        });
    });
    let numbers = numbers();
    for keys in [1, 1_000, 100_000, 1_000_000] {
        with_table(|table, bank| {
            let hashes: Vec<_> = (0..keys).map(|number| key(table, limit, number)).collect();
            let mut next = hashes.iter().cycle();
            group.bench_function(BenchmarkId::new("keys", keys), |b| {
                b.iter(|| {
                    let key = next.next().copied().unwrap_or(hashes[0]);
                    charge_all(&mut [Charge::keyed(table, numbers, bank, key)], black_box(NOW))
                });
            });
        });
    }
    group.finish();
}

/// A quota for itself and beside a rate. The count is larger than any measurement.
fn quotas(c: &mut Criterion) {
    let mut group = c.benchmark_group("quota");
    let geometry = Geometry::for_bytes(32 << 20).unwrap();
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let quotas = SlotTable::format(TableKind::Quotas, &words, geometry, [3, 5]).unwrap();
    let limit = LimitId::new("limit");
    let key_of = |number| key(quotas, limit, number);
    for (name, text) in [("day", "2147483647/day"), ("month", "2147483647/month")] {
        let quota = text.parse::<Quota>().unwrap();
        let place = quotas.assign(limit.with_period(quota.period()), NOW).unwrap();
        let charge = Charge::keyed_quota(quotas, quota, place, key_of(0));
        group.bench_function(BenchmarkId::new("one key", name), |b| {
            b.iter_batched_ref(
                || [charge.clone()],
                |charges| charge_all(charges, black_box(NOW)),
                BatchSize::SmallInput,
            );
        });
    }
    with_table(|table, bank| {
        let quota = "2147483647/month".parse::<Quota>().unwrap();
        let place = quotas.assign(limit.with_period(quota.period()), NOW).unwrap();
        let charges = [
            Charge::keyed(table, numbers(), bank, key(table, limit, 0)),
            Charge::keyed_quota(quotas, quota, place, key_of(1)),
        ];
        group.bench_function("with a rate", |b| {
            b.iter_batched_ref(
                || charges.clone(),
                |charges| charge_all(charges, black_box(NOW)),
                BatchSize::SmallInput,
            );
        });
    });
    group.finish();
}

/// What every request pays, and what a failed one does: in the worst case the whole history is read twice.
fn lockouts(c: &mut Criterion) {
    let mut group = c.benchmark_group("lock-out");
    let geometry = Geometry::for_bytes(32 << 20).unwrap();
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let table = SlotTable::format(TableKind::Lockouts, &words, geometry, [3, 5]).unwrap();
    let time = Duration::from_secs(300);
    for failures in [10, MAX_FAILURES] {
        let lockouts = Lockouts::new([LockoutRule { failures, within: time, block: time }]);
        let [locked, free] = [[4; 17], [6; 17]];
        for _ in 0..failures {
            lockouts.record_failure(table, &locked, NOW);
        }
        for (name, address) in [("locked", locked), ("not locked", free)] {
            group.bench_function(BenchmarkId::new(name, failures), |b| {
                b.iter(|| lockouts.locked(table, 0, black_box(&address), black_box(NOW)));
            });
        }
        group.bench_function(BenchmarkId::new("failure", failures), |b| {
            b.iter(|| lockouts.record_failure(table, black_box(&locked), black_box(NOW)));
        });
    }
    group.finish();
}

fn contention(c: &mut Criterion) {
    let mut group = c.benchmark_group("two threads");
    group.throughput(Throughput::Elements(1));
    for (name, places) in [("one key", [0, 0]), ("a key each", [0, u64::MAX])] {
        with_table(|table, bank| {
            group.bench_function(name, |b| b.iter_custom(|rounds| both(table, bank, places, rounds)));
        });
    }
    group.finish();
}

/// The time in which each of two threads makes `rounds` charges.
fn both(table: SlotTable<'_>, bank: Bank, places: [u64; 2], rounds: u64) -> Duration {
    let numbers = numbers();
    let start = Instant::now();
    thread::scope(|scope| {
        for place in places {
            scope.spawn(move || {
                let key = KeyHash::from_halves(place, 1);
                for _ in 0..rounds {
                    black_box(charge_all(&mut [Charge::keyed(table, numbers, bank, key)], black_box(NOW)));
                }
            });
        }
    });
    start.elapsed()
}

criterion_group!(benches, charges, quotas, lockouts, contention);
criterion_main!(benches);
