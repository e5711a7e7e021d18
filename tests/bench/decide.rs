//! The decision as a whole: an address in 10,000 networks, a token, two limits.

#![allow(clippy::unwrap_used)] // a benchmark that cannot be set up has nothing to measure

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{Mode, Section};
use jwt_gate_core::config::server::{Networks, ServerTables};
use jwt_gate_core::config::{address, limit};
use jwt_gate_core::facts::PlainFacts;
use jwt_gate_core::gate::{ApiKeys, Prior, Shared, decide};
use jwt_gate_core::keys::set;
use jwt_gate_core::limit::{Geometry, Meter, SlotTable, TableKind, Tables};
use jwt_gate_core::net::network::NetworkSet;
use jwt_gate_core::revocation::{RevocationList, compile};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use jwt_gate_core::token::cache::TokenCache;
use jwt_gate_core::token::issuer::{Audiences, Issuer, Types};
use ring::hmac;

const SECRET: [u8; 32] = [7; 32];
const NOW: Now = Now { mono: MonoNanos(1 << 40), wall: UnixMicros(1_800_000_000_000_000) };

/// A token of about 600 bytes, as identity providers make them.
fn token(subject: usize, signed_with: &[u8]) -> Vec<u8> {
    let header = br#"{"alg":"HS256","typ":"JWT","kid":"benchmark-key-1"}"#;
    let claims = format!(
        r#"{{"iss":"https://id.example.com/","aud":"api","sub":"user-{subject:08}","exp":1800003600,"iat":1800000000,"scope":"read write admin","client_id":"web","pad":"{}"}}"#,
        "x".repeat(220)
    );
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, signed_with), token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(tag));
    token.into_bytes()
}

fn issuer(id: usize) -> Arc<Issuer> {
    let algorithms = AlgorithmSet::from_iter([Algorithm::HS256]);
    let number = if id == 0 { String::new() } else { id.to_string() };
    Arc::new(Issuer {
        id: u32::try_from(id).unwrap(),
        name: format!("login{id}"),
        issuer: Some(format!("https://id{number}.example.com/")),
        audiences: Audiences::OneOf(vec!["api".to_owned()]),
        audience_claims: vec!["aud".to_owned()],
        algorithms,
        types: Types::Usual,
        fixed_claims: Vec::new(),
        require_exp: true,
        leeway: Duration::from_secs(30),
        max_age: None,
        subject: "sub".to_owned(),
        scopes: vec!["scope".to_owned()],
        groups: Vec::new(),
        keys: Some(Arc::new(set::from_secret(&SECRET, algorithms).unwrap().keys)),
    })
}

fn policy(limits: Tables<'_>, issuers: usize, networks: u32) -> Policy {
    let inside: NetworkSet = (0..networks)
        .map(|n| format!("{}/32", Ipv4Addr::from(0x0a00_0000 + 2 * n)).parse().unwrap())
        .chain(["192.0.2.1".parse().unwrap()])
        .collect();
    let tables = ServerTables {
        issuers: (0..issuers).map(issuer).collect(),
        networks: [("inside".to_owned(), Some(Arc::new(inside)))].into(),
        ..ServerTables::default()
    };
    let limit = |line: &str| Arc::new(limit::parse(&line.split(' ').collect::<Vec<_>>()).unwrap().unwrap());
    let mut section = Section { mode: Some(Mode::On), ..Section::default() };
    section.addresses.allow = address::parse(&["@inside"]).unwrap().items;
    section.limits.items = vec![
        (Default::default(), limit("per-address key=address rate=1000000/s burst=1000000000")),
        (Default::default(), limit("per-user key=subject rate=1000000/s burst=1000000000")),
    ];
    let meter = |def: &LimitDef, numbers, quota, dry_run| {
        Meter::reserve(limits, def.id(dry_run), &def.key, (numbers, quota), &[], NOW).map(Arc::new)
    };
    Policy::resolve(&[&section], &tables, &meter).unwrap()
}

/// The subject of the first revocation.
const REVOKED: usize = 10_000_000;

/// A list of all kinds of entries, so that a token has to be looked up by all that it bears.
fn revocations(entries: usize) -> RevocationList {
    let entries: Vec<_> = (0..entries)
        .map(|n| {
            let kind = ["sub", "jti", "client", "sid"][n % 4];
            format!(r#"{{"issuer":"login0","{kind}":"user-{:08}"}}"#, REVOKED + n)
        })
        .chain([r#"{"issuer":"login0","issued_before":"2020-01-01T00:00:00Z"}"#.to_owned()])
        .collect();
    let source = format!(r#"{{"revoked":[{}]}}"#, entries.join(","));
    RevocationList::open(Arc::new(compile(source.as_bytes()).unwrap().bytes)).unwrap()
}

fn bench(c: &mut Criterion) {
    let geometry = Geometry::for_bytes(64 << 20).unwrap();
    let words: Vec<AtomicU64> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
    let table = SlotTable::format(TableKind::Rates, &words, geometry, [1, 2]).unwrap();
    let (cache, nothing, few) = (TokenCache::new(4096), TokenCache::new(0), TokenCache::new(64));
    let limits = Tables { rates: table, quotas: None };
    let networks = Networks::default();
    let of = |tokens| Shared {
        limits,
        lockouts: None,
        tokens,
        revocations: None,
        api_keys: ApiKeys::None,
        networks: &networks,
    };
    let list = revocations(100_000);
    let with_list = |tokens| Shared { revocations: Some(&list), ..of(tokens) };
    let mut time = NOW;
    let mut run = |policy: &Policy, shared: Shared<'_>, credential: &[u8], client: IpAddr| {
        time.mono.0 += 1_000;
        let value = [b"Bearer ", credential].concat();
        let headers = [("Host", &b"localhost"[..]), ("Accept", b"*/*"), ("Authorization", value.as_slice())];
        let facts =
            PlainFacts { client, peer: client, method: b"GET", query: None, headers: &headers, own_scheme: b"http" };
        let started = std::time::Instant::now();
        let verdict = decide(policy, shared, black_box(&facts), Prior::default(), time);
        let elapsed = started.elapsed();
        (verdict.outcome.map(|_| ()).map_err(|refusal| refusal.reason.word()), elapsed)
    };
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let plain = policy(limits, 1, 10_000);
    let (good, forged, long) = (token(0, &SECRET), token(0, &[8; 32]), vec![b'a'; 8000]);
    let revoked = token(REVOKED, &SECRET);
    let mut group = c.benchmark_group("decide");
    let mut case = |id: BenchmarkId, policy: &Policy, shared: Shared<'_>, credentials: &[&[u8]], client, expected| {
        let mut next = 0;
        for credential in credentials {
            assert_eq!(run(policy, shared, credential, client).0, expected);
        }
        group.bench_function(id, |b| {
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        next = (next + 1) % credentials.len();
                        run(policy, shared, credentials[next], client).1
                    })
                    .sum()
            });
        });
    };
    let id = BenchmarkId::from_parameter;
    case(id("warm"), &plain, of(&cache), &[&good], client, Ok(()));
    let many: Vec<_> = (0..1000).map(|subject| token(subject, &SECRET)).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    case(id("warm, 1000 tokens"), &plain, of(&cache), &many, client, Ok(()));
    case(id("cold HS256"), &plain, of(&nothing), &[&good], client, Ok(()));
    case(id("warm, 100000 revocations"), &plain, with_list(&cache), &[&good], client, Ok(()));
    case(id("warm, 1000 tokens, 100000 revocations"), &plain, with_list(&cache), &many, client, Ok(()));
    case(id("cold HS256, 100000 revocations"), &plain, with_list(&nothing), &[&good], client, Ok(()));
    case(id("refused: revoked"), &plain, with_list(&cache), &[&revoked], client, Err("token-revoked"));
    case(id("refused: address"), &plain, of(&cache), &[&good], stranger, Err("address-denied"));
    case(id("refused: forged"), &plain, of(&cache), &[&forged], client, Err("signature-invalid"));
    case(id("refused: 8000 bytes of garbage"), &plain, of(&cache), &[&long], client, Err("token-malformed"));
    for issuers in [1, 10, 100] {
        let policy = policy(limits, issuers, 10_000);
        case(BenchmarkId::new("warm, issuers", issuers), &policy, of(&few), &[&good], client, Ok(()));
    }
    for networks in [1, 100, 10_000, 100_000] {
        let policy = policy(limits, 1, networks);
        case(BenchmarkId::new("warm, networks", networks), &policy, of(&few), &[&good], client, Ok(()));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
