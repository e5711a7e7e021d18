//! What a charge costs: by number of keys, by contention, with and without hashing the key.
//!
//! The clock stands still and bursts are large, so that every charge is admitted and written.

#![allow(clippy::unwrap_used, missing_docs)] // criterion's macros; a panic ends the measurement

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jwt_gate_core::limit::{Bank, Charge, Geometry, KeyHash, LimitId, MAX_COUNT, Numbers, Part, SlotTable};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::MonoNanos;

const NOW: MonoNanos = MonoNanos(1_000_000_000_000);

fn numbers() -> Numbers {
    Numbers::new("1000000/s".parse().unwrap(), Some(MAX_COUNT)).unwrap()
}

/// A table with room for about 1,800,000 keys.
fn with_table(bench: impl FnOnce(SlotTable<'_>, Bank)) {
    let geometry = Geometry::for_bytes(32 << 20).unwrap();
    let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let table = SlotTable::format(&words, geometry, [3, 5]).unwrap();
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
            b.iter(|| table.charge_all(&mut [Charge::shared(numbers(), bank)], black_box(NOW)));
        });
        let one = key(table, limit, 0);
        group.bench_function("two limits", |b| {
            let charges = [Charge::shared(numbers(), bank), Charge::keyed(numbers(), bank, one)];
            b.iter_batched_ref(
                || charges.clone(),
                |charges| table.charge_all(charges, black_box(NOW)),
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
                    table.charge_all(&mut [Charge::keyed(numbers, bank, key)], black_box(NOW))
                });
            });
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
                    black_box(table.charge_all(&mut [Charge::keyed(numbers, bank, key)], black_box(NOW)));
                }
            });
        }
    });
    start.elapsed()
}

criterion_group!(benches, charges, contention);
criterion_main!(benches);
