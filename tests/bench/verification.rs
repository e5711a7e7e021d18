//! What a token costs: each algorithm through `token::verify` beside the bare signature check, a token from
//! the cache, and tokens that are refused before any signature is looked at.

#![allow(clippy::unwrap_used)] // what cannot be measured should stop the run

#[path = "../core/token_mint.rs"]
#[allow(dead_code)] // shared with the tests, which use all of it
mod token_mint;

use std::{cell::Cell, hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use jwt_gate_core::{
    algorithm::Algorithm::{self, *},
    token::{
        self,
        cache::TokenCache,
        issuer::{Audiences, IssuerSet},
    },
};
use ring::{digest, hmac, signature};
use token_mint::{ISS, NOW, algorithms, base64url, issuer, key_file, keys, now, only, sign, signature_of};

/// A payload of the size that identity providers send: about 500 bytes.
fn typical_claims(subject: usize) -> String {
    format!(
        concat!(
            r#"{{"iss":"{}","sub":"6f1c7a0e-9d7b-4a55-8f6e-{:012}","aud":"api","exp":{},"iat":{},"auth_time":{},"#,
            r#""jti":"0b7e9a34-5a1c-4f51-9a0d-4d1b2f6c8e90","client_id":"3n4b5urk1ft4fl3mg5e62d9ado","#,
            r#""token_use":"access","scope":"openid profile orders/read orders/write","version":2,"#,
            r#""cognito:groups":["admins","operators"],"username":"alice@example.com","#,
            r#""origin_jti":"5f2d1c6b-7a3e-4b19-8c55-9e0d1a2b3c4d"}}"#
        ),
        ISS,
        subject,
        NOW + 300,
        NOW,
        NOW
    )
}

fn typical_token(algorithm: Algorithm) -> String {
    let header = format!(r#"{{"kid":"any","typ":"at+jwt","alg":"{}"}}"#, algorithm.name());
    sign(algorithm, header, typical_claims(1))
}

fn verification(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for algorithm in Algorithm::ALL {
        let token = typical_token(algorithm);
        let issuers = only(issuer(algorithm));
        group.bench_function(algorithm.name(), |b| {
            b.iter(|| token::verify(black_box(token.as_bytes()), &issuers, now()).unwrap());
        });
        // The same check of the same key, without a token around it.
        let (input, encoded) = token.rsplit_once('.').unwrap();
        let keys = keys(algorithm);
        let key = keys.iter().next().unwrap();
        group.bench_function(format!("{}/key alone", algorithm.name()), |b| {
            b.iter(|| assert!(key.verify(algorithm, black_box(input.as_bytes()), encoded)));
        });
    }
    group.finish();
}

/// ring by itself, with nothing of ours or of `jsonwebtoken` around it.
fn ring_alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    let input = |algorithm| typical_token(algorithm).rsplit_once('.').unwrap().0.to_owned().into_bytes();

    let message = input(RS256);
    let signed = signature_of(RS256, &message);
    let pair = signature::RsaKeyPair::from_pkcs8(key_file!("rsa.pkcs8")).unwrap();
    let rsa = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
    group.bench_function("RS256", |b| {
        b.iter(|| rsa.verify(&signature::RSA_PKCS1_2048_8192_SHA256, black_box(&message), &signed).unwrap());
    });

    let message = input(HS256);
    let signed = signature_of(HS256, &message);
    group.bench_function("HS256", |b| {
        b.iter(|| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, token_mint::SECRET);
            hmac::verify(&key, black_box(&message), &signed).unwrap();
        });
    });
    group.bench_function("SHA-256", |b| b.iter(|| digest::digest(&digest::SHA256, black_box(&message))));
    group.finish();
}

fn cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache");
    let issuers = only(issuer(EdDSA));
    let tokens: Vec<String> = (0..1000).map(|i| sign(EdDSA, r#"{"alg":"EdDSA"}"#, typical_claims(i))).collect();
    let cache = TokenCache::new(4096);
    for token in &tokens {
        cache.verify(token.as_bytes(), &issuers, now()).0.unwrap();
    }
    group.bench_function("hit, one token", |b| {
        b.iter(|| cache.verify(black_box(tokens[0].as_bytes()), &issuers, now()).0.unwrap());
    });
    let next = Cell::new(0);
    group.bench_function("hit, 1000 tokens", |b| {
        b.iter(|| {
            next.set((next.get() + 7) % tokens.len());
            cache.verify(black_box(tokens[next.get()].as_bytes()), &issuers, now()).0.unwrap()
        });
    });
    group.finish();
}

fn garbage(c: &mut Criterion) {
    let mut group = c.benchmark_group("garbage");
    let issuers = only(issuer(RS256));
    let cache = TokenCache::new(4096);
    let mut refused = |name: &str, token: &[u8], issuers: &IssuerSet| {
        group.bench_function(name, |b| {
            b.iter(|| cache.verify(black_box(token), issuers, now()).0.unwrap_err());
        });
    };
    let good = typical_token(RS256);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    refused("no dots, 8192 bytes", &[b'a'; 8192], &issuers);
    refused("8193 bytes", &[b'a'; 8193], &issuers);
    refused("dots, 8192 bytes", &[b'.'; 8192], &issuers);
    refused(
        "base64url, 8192 bytes",
        format!("{}.{}.{}", "a".repeat(100), "a".repeat(7000), "a".repeat(1090)).as_bytes(),
        &issuers,
    );
    refused("header and garbage", format!("{header}.{}.{signature}", "a".repeat(7000)).as_bytes(), &issuers);
    refused("alg none", format!("{}.{payload}.", base64url(r#"{"alg":"none"}"#)).as_bytes(), &issuers);
    let mut other = issuer(RS256);
    other.issuer = Some("https://other.test".into());
    refused("unknown issuer", good.as_bytes(), &only(other));
    // Many small members: what costs most to read.
    let members: Vec<String> = (0..500).map(|number| format!("\"{number}\":\"a\"")).collect();
    let many = sign(RS256, r#"{"alg":"RS256"}"#, format!("{{{}}}", members.join(",")));
    refused("unknown issuer, 500 claims", many.as_bytes(), &issuers);
    let mut wide = issuer(RS256);
    (wide.algorithms, wide.audiences) = (algorithms(&[PS256]), Audiences::Any);
    refused("algorithm not allowed", good.as_bytes(), &only(wide));
    group.finish();
}

/// Short: the numbers are read as ratios to one another, not to the nanosecond.
fn short() -> Criterion {
    let criterion = Criterion::default().sample_size(30).without_plots();
    criterion.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = all; config = short(); targets = verification, ring_alone, cache, garbage }
criterion_main!(all);
