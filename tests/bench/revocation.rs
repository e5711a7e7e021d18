//! A deny list of 100,000 entries: compiled once for the server, opened by each process.

#![allow(clippy::unwrap_used)] // a benchmark that cannot be set up has nothing to measure

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use jwt_gate_core::revocation::{RevocationList, compile};

fn bench(c: &mut Criterion) {
    let entries: Vec<_> = (0..100_000)
        .map(|n| {
            let kind = ["jti", "sub", "client", "sid"][n % 4];
            format!(r#"{{"issuer":"login","{kind}":"5f0c2a44-8d5e-4b1a-9a39-{n:012}"}}"#)
        })
        .collect();
    let source = format!("{{\"revoked\":[\n{}\n]}}\n", entries.join(",\n")).into_bytes();
    let compiled = Arc::new(compile(&source).unwrap().bytes);
    let mut group = c.benchmark_group("revocations, 100000 entries");
    group.bench_function("compile", |b| b.iter(|| compile(black_box(&source)).unwrap()));
    group.bench_function("open", |b| b.iter(|| RevocationList::open(Arc::clone(&compiled) as _).unwrap()));
}

criterion_group!(benches, bench);
criterion_main!(benches);
