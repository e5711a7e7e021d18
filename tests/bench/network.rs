//! What one look-up costs, against the number of networks.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jwt_gate_core::net::network::NetworkSet;

/// Addresses asked in turn: more than the branch predictor remembers, few enough to stay in cache.
const PROBES: usize = 4096;

fn lookup(c: &mut Criterion) {
    for family in ["v4", "v6"] {
        let mut group = c.benchmark_group(format!("network lookup {family}"));
        for networks in [1, 10, 1_000, 10_000, 100_000] {
            let spread = |bits: u64| -> IpAddr {
                if family == "v4" {
                    Ipv4Addr::from_bits((bits >> 32) as u32).into()
                } else {
                    Ipv6Addr::from_bits(u128::from(bits) << 64).into()
                }
            };
            let prefix = if family == "v4" { 24 } else { 48 };
            let set: NetworkSet = scattered(1)
                .map(|bits| format!("{}/{prefix}", spread(bits & 0xffff_ff00_0000_0000)).parse().expect("a network"))
                .take(networks)
                .collect();
            let probes: Vec<_> = scattered(2).map(spread).take(PROBES).collect();
            let mut turn = 0;
            group.bench_function(BenchmarkId::from_parameter(networks), |b| {
                b.iter(|| {
                    turn = (turn + 1) % PROBES;
                    black_box(set.contains(black_box(probes[turn])))
                });
            });
        }
    }
}

/// Numbers without pattern, the same in every run (xorshift).
fn scattered(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

criterion_group!(benches, lookup);
criterion_main!(benches);
