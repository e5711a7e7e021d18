//! The cache of verified tokens.

use std::sync::Arc;

use jwt_gate_core::{
    algorithm::Algorithm::EdDSA,
    time::UnixMicros,
    token::{
        Rejection, Verified,
        cache::{Lookup, TokenCache},
        issuer::{Audiences, Issuer, IssuerSet},
    },
    verdict::Reason,
};

use super::token_mint::*;

fn subject_claims(subject: &str, exp: u64) -> String {
    format!(r#"{{"iss":"{ISS}","aud":"{AUD}","sub":"{subject}","exp":{exp}}}"#)
}

fn lookup(cache: &TokenCache, token: &str, issuers: &IssuerSet) -> Lookup {
    let (verdict, lookup) = cache.verify(token.as_bytes(), issuers, now());
    verdict.unwrap();
    lookup
}

fn reason(verdict: Result<Arc<Verified>, Rejection>) -> Option<Reason> {
    verdict.err().map(|rejection| rejection.reason)
}

/// Whoever fetches keys is told whose are missing.
#[test]
fn a_missing_key_is_the_issuers() {
    let keys_of = |issuer: Issuer, token: &str| {
        let (verdict, _) = TokenCache::new(8).verify(token.as_bytes(), &only(Issuer { id: 7, ..issuer }), now());
        verdict.err().and_then(|rejection| rejection.keys_of)
    };
    let good = token(EdDSA, &good_claims());
    assert_eq!(keys_of(Issuer { keys: None, ..issuer(EdDSA) }, &good), Some(7));
    let other_kid = sign(EdDSA, r#"{"alg":"EdDSA","kid":"of another"}"#, good_claims());
    let named = Issuer { keys: Some(Arc::new(keys_of_another(r#","kid":"one""#))), ..issuer(EdDSA) };
    assert_eq!(keys_of(named, &other_kid), Some(7));
    let elsewhere = Issuer { issuer: Some("https://other.test".into()), ..issuer(EdDSA) };
    assert_eq!(keys_of(elsewhere, &good), None);
    assert_eq!(keys_of(issuer(EdDSA), &token(EdDSA, &subject_claims("alice", 1))), None);
}

#[test]
fn a_token_is_verified_once() {
    let (cache, issuers, token) = (TokenCache::new(8), only(issuer(EdDSA)), token(EdDSA, &good_claims()));
    let (first, miss) = cache.verify(token.as_bytes(), &issuers, now());
    let (second, hit) = cache.verify(token.as_bytes(), &issuers, now());
    assert_eq!((miss, hit), (Lookup::Miss, Lookup::Hit));
    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
}

#[test]
fn no_entries_no_memory() {
    let (cache, issuers, token) = (TokenCache::new(0), only(issuer(EdDSA)), token(EdDSA, &good_claims()));
    for _ in 0..3 {
        assert_eq!(lookup(&cache, &token, &issuers), Lookup::Miss);
    }
}

#[test]
fn refused_tokens_are_not_remembered() {
    let (cache, issuers) = (TokenCache::new(8), only(issuer(EdDSA)));
    let expired = token(EdDSA, &subject_claims("alice", 1));
    for _ in 0..3 {
        let (verdict, lookup) = cache.verify(expired.as_bytes(), &issuers, now());
        assert_eq!((reason(verdict), lookup), (Some(Reason::TokenExpired), Lookup::Miss));
    }
}

/// CWE-613 in liboauth2 2.3.0: expired, but served from the cache.
#[test]
fn time_is_checked_on_every_hit() {
    let (cache, issuers) = (TokenCache::new(8), only(issuer(EdDSA)));
    let token = token(EdDSA, &claims(r#""nbf":1600000000"#));
    lookup(&cache, &token, &issuers);
    let edge = (NOW + 330) * 1_000_000;
    for (now, expected) in [
        (edge - 1, None),
        (edge, Some(Reason::TokenExpired)),
        (1_599_999_000_000_000, Some(Reason::TokenNotYetValid)),
        (edge - 1, None),
    ] {
        let (verdict, lookup) = cache.verify(token.as_bytes(), &issuers, UnixMicros(now));
        assert_eq!((reason(verdict), lookup), (expected, Lookup::Hit));
    }
}

/// CVE-2026-35039: the key of the cache is the whole token, so that no change of it finds another's claims.
#[test]
fn every_byte_counts() {
    let (cache, issuers, good) = (TokenCache::new(8), only(issuer(EdDSA)), token(EdDSA, &good_claims()));
    lookup(&cache, &good, &issuers);
    let mallory = token(EdDSA, &subject_claims("mallory", NOW + 300));
    let (input, _) = mallory.rsplit_once('.').unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let (verdict, _) = cache.verify(format!("{input}.{signature}").as_bytes(), &issuers, now());
    assert_eq!(reason(verdict), Some(Reason::SignatureInvalid));
    for place in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[place] ^= 1;
        let (verdict, lookup) = cache.verify(&changed, &issuers, now());
        assert!(verdict.is_err() && lookup == Lookup::Miss, "{place}");
    }
    let (verdict, lookup) = cache.verify(good.as_bytes(), &issuers, now());
    assert_eq!((verdict.unwrap().subject(), lookup), (Some("alice"), Lookup::Hit));
}

#[test]
fn a_location_that_does_not_accept_the_issuer_has_no_part_in_its_verdicts() {
    let cache = TokenCache::new(8);
    let token = token(EdDSA, &good_claims());
    let here = only(issuer(EdDSA));
    lookup(&cache, &token, &here);
    let other = |change: fn(&mut Issuer)| {
        let mut other = issuer(EdDSA);
        other.id = 1;
        change(&mut other);
        only(other)
    };
    let elsewhere = other(|i| i.issuer = Some("https://other.test".into()));
    assert_eq!(reason(cache.verify(token.as_bytes(), &elsewhere, now()).0), Some(Reason::IssuerUnknown));
    assert_eq!(reason(cache.verify(token.as_bytes(), &IssuerSet::default(), now()).0), Some(Reason::IssuerUnknown));
    // The same ISSUER with another audience is another policy.
    let stricter = other(|i| i.audiences = Audiences::OneOf(vec!["admin".into()]));
    assert_eq!(reason(cache.verify(token.as_bytes(), &stricter, now()).0), Some(Reason::AudienceMismatch));
    let wider = other(|i| i.audiences = Audiences::Any);
    assert_eq!(lookup(&cache, &token, &wider), Lookup::Miss);
    // Both verdicts are kept, each for its own locations.
    assert_eq!((lookup(&cache, &token, &wider), lookup(&cache, &token, &here)), (Lookup::Hit, Lookup::Hit));
}

/// GHSA-675f-rq2r-jw82: a verdict dies with its key.
#[test]
fn a_new_key_set_begins_anew() {
    let cache = TokenCache::new(8);
    let token = token(EdDSA, &good_claims());
    let before = only(issuer(EdDSA));
    lookup(&cache, &token, &before);
    let mut withdrawn = issuer(EdDSA);
    withdrawn.keys = Some(Arc::new(keys_of_another("")));
    assert_eq!(reason(cache.verify(token.as_bytes(), &only(withdrawn), now()).0), Some(Reason::SignatureInvalid));
    let mut none = issuer(EdDSA);
    none.keys = None;
    assert_eq!(reason(cache.verify(token.as_bytes(), &only(none), now()).0), Some(Reason::KeysUnavailable));
    let after = only(issuer(EdDSA));
    assert_eq!(lookup(&cache, &token, &after), Lookup::Miss);
    assert_eq!(lookup(&cache, &token, &after), Lookup::Hit);
    // The old verdict's place was taken, not one more.
    assert_eq!(lookup(&cache, &token, &before), Lookup::Miss);
}

fn keys_of_another(more: &str) -> jwt_gate_core::keys::KeySet {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let jwks = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}]}}"#);
    jwt_gate_core::keys::set::from_jwks(jwks.as_bytes(), algorithms(&[EdDSA])).unwrap().keys
}

/// One bucket: expired tokens leave first, then those that were not used for longest.
#[test]
fn what_is_evicted() {
    let (cache, issuers) = (TokenCache::new(1), only(issuer(EdDSA)));
    let tokens: Vec<String> =
        (0..8).map(|i| token(EdDSA, &subject_claims(&format!("user{i}"), NOW + 300 + i))).collect();
    let short = token(EdDSA, &subject_claims("short", NOW + 1));
    for token in tokens[..7].iter().chain([&short]) {
        assert_eq!(lookup(&cache, token, &issuers), Lookup::Miss);
    }
    let later = UnixMicros::from_secs(NOW + 31);
    let at = |token: &str| cache.verify(token.as_bytes(), &issuers, later);
    // Just used, but expired: `short` makes room for the eighth.
    assert_eq!(at(&short).1, Lookup::Hit);
    assert_eq!(at(&tokens[7]).1, Lookup::Miss);
    for token in &tokens {
        assert_eq!(at(token).1, Lookup::Hit);
    }
    // Now `tokens[1]` is the one not used for longest.
    assert_eq!(at(&tokens[0]).1, Lookup::Hit);
    let newcomer = token(EdDSA, &subject_claims("newcomer", NOW + 400));
    assert_eq!(at(&newcomer).1, Lookup::Miss);
    for (token, expected) in [(&newcomer, Lookup::Hit), (&tokens[0], Lookup::Hit), (&tokens[2], Lookup::Hit)] {
        assert_eq!(at(token).1, expected);
    }
    assert_eq!(at(&tokens[1]).1, Lookup::Miss);
}

#[test]
fn threads_share_it() {
    let (cache, issuers) = (TokenCache::new(16), only(issuer(EdDSA)));
    let tokens: Vec<String> = (0..24).map(|i| token(EdDSA, &subject_claims(&format!("user{i}"), NOW + 300))).collect();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (cache, issuers, tokens) = (&cache, &issuers, &tokens);
            scope.spawn(move || {
                for round in 0..200 {
                    let i = (start * 7 + round * 5) % tokens.len();
                    let (verdict, _) = cache.verify(tokens[i].as_bytes(), issuers, now());
                    assert_eq!(verdict.unwrap().subject(), Some(format!("user{i}").as_str()));
                }
            });
        }
    });
}
