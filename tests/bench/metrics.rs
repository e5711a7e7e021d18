//! What counting costs: one number, a duration, and a whole decision, by one thread and by two.

#![allow(clippy::unwrap_used, missing_docs)] // criterion's macros; a panic ends the measurement

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jwt_gate_core::limit::Occupancy;
use jwt_gate_core::metrics::{Gauges, Geometry, MetricTable, Metrics, SeriesId, Table};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::verdict::Ruling;

fn memory() -> Vec<AtomicU64> {
    let words: Vec<_> = (0..Geometry::DEFAULT.words()).map(|_| AtomicU64::new(0)).collect();
    MetricTable::format(&words, Geometry::DEFAULT).unwrap();
    words
}

fn add(c: &mut Criterion) {
    let words = memory();
    let table = MetricTable::open(&words, Geometry::DEFAULT).unwrap();
    let series = table.assign(SeriesId::new("one")).unwrap();
    let mut group = c.benchmark_group("add");
    group.bench_function("one thread", |b| b.iter(|| table.add(black_box(series), black_box(3), black_box(1))));
    for (name, shards) in [("two threads, two shards", [0, 1]), ("two threads, one shard", [0, 0])] {
        group.bench_function(name, |b| {
            b.iter_custom(|rounds| {
                let run = |shard: usize| {
                    let begin = Instant::now();
                    (0..rounds).for_each(|_| table.add(black_box(series), shard, 1));
                    begin.elapsed()
                };
                thread::scope(|scope| {
                    let other = scope.spawn(|| run(shards[1]));
                    run(shards[0]).max(other.join().unwrap())
                })
            });
        });
    }
    group.finish();
}

fn decision(c: &mut Criterion) {
    let words = memory();
    let table = MetricTable::open(&words, Geometry::DEFAULT).unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("limit-{n}")).collect();
    let limits = || names.iter().map(String::as_str);
    let metrics = Metrics::assign(table, limits(), []).unwrap();
    let mut group = c.benchmark_group("metrics");
    for micros in [1, 50, 1_000_000] {
        group.bench_with_input(BenchmarkId::new("decided, µs", micros), &Duration::from_micros(micros), |b, took| {
            b.iter(|| metrics.decided(black_box(3), black_box(Ruling::Allow), *took));
        });
    }
    let gauges = Gauges { keys: &[], tables: &[(Table::Rates, Occupancy::default())], networks: &[], version: "" };
    group.bench_function("render, 100 limits", |b| b.iter(|| metrics.render(&gauges)));
    group.bench_function("assign again, 100 limits", |b| b.iter(|| Metrics::assign(table, limits(), []).unwrap()));
    group.finish();
}

criterion_group!(benches, add, decision);
criterion_main!(benches);
