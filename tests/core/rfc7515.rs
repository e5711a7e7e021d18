//! RFC 7515 appendix A: A.1 to A.3 are tokens, A.4 signs a payload that is none, A.5 must never be let in.

use std::sync::Arc;

use jwt_gate_core::{
    algorithm::{Algorithm, AlgorithmSet},
    keys::{KeySet, set},
    time::UnixMicros,
    token::{self, issuer::Audiences, json::Json},
    verdict::Reason,
};

use super::token_mint::{algorithms, issuer, only};

/// `exp` of the examples.
const EXP: u64 = 1_300_819_380;

pub(crate) fn vector(file: &str, section: &str) -> (Option<String>, String) {
    let document = Json::parse(file.as_bytes()).unwrap();
    let example = document.member(section).unwrap();
    let token = example.member("token").and_then(Json::as_str).unwrap().to_owned();
    (example.member("jwk").map(jwk_text), token)
}

/// The keys of a vector: a set of one, or, for a symmetric key, a secret.
pub(crate) fn vector_keys(jwk: &str, allowed: AlgorithmSet) -> KeySet {
    let document = Json::parse(jwk.as_bytes()).unwrap();
    match document.member("k").and_then(Json::as_str) {
        Some(k) => set::from_secret(format!("base64url:{k}\n").as_bytes(), allowed).unwrap().keys,
        None => set::from_jwks(format!("{{\"keys\":[{jwk}]}}").as_bytes(), allowed).unwrap().keys,
    }
}

/// Whether the signature of a vector holds, its payload left aside.
pub(crate) fn signature_holds(token: &str, keys: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    keys.candidates(kid, algorithm).unwrap().any(|key| key.verify(algorithm, input.as_bytes(), signature))
}

fn jwk_text(jwk: &Json) -> String {
    let Json::Object(members) = jwk else { panic!() };
    let members: Vec<String> = members.iter().map(|(n, v)| format!("\"{n}\":\"{}\"", v.as_str().unwrap())).collect();
    format!("{{{}}}", members.join(","))
}

fn example(section: &str, algorithm: Algorithm) -> Result<(), Reason> {
    example_at(section, algorithm, EXP - 1)
}

fn example_at(section: &str, algorithm: Algorithm, seconds: u64) -> Result<(), Reason> {
    let (jwk, token) = vector(include_str!("../data/vectors/rfc7515.json"), section);
    let mut issuer = issuer(algorithm);
    issuer.issuer = Some("joe".into());
    issuer.audiences = Audiences::Any;
    issuer.leeway = std::time::Duration::ZERO;
    if let Some(jwk) = jwk {
        issuer.keys = Some(Arc::new(vector_keys(&jwk, algorithms(&[algorithm]))));
    }
    let verified = token::verify(token.as_bytes(), &only(issuer), UnixMicros::from_secs(seconds))?;
    assert_eq!(verified.claim("http://example.com/is_root"), Some(&Json::Bool(true)));
    assert_eq!(verified.expires(), Some(UnixMicros::from_secs(EXP)));
    Ok(())
}

#[test]
fn a1_hs256() {
    assert_eq!(example("A.1", Algorithm::HS256), Ok(()));
    assert_eq!(example_at("A.1", Algorithm::HS256, EXP), Err(Reason::TokenExpired));
}

#[test]
fn a2_rs256() {
    assert_eq!(example("A.2", Algorithm::RS256), Ok(()));
}

#[test]
fn a3_es256() {
    assert_eq!(example("A.3", Algorithm::ES256), Ok(()));
}

#[test]
fn a4_es512() {
    let (jwk, token) = vector(include_str!("../data/vectors/rfc7515.json"), "A.4");
    let keys = vector_keys(&jwk.unwrap(), algorithms(&[Algorithm::ES512]));
    assert!(signature_holds(&token, &keys, None, Algorithm::ES512));
    assert!(!signature_holds(&token.replacen('U', "V", 1), &keys, None, Algorithm::ES512));
    // "Payload" is no JSON object.
    assert_eq!(example("A.4", Algorithm::ES512), Err(Reason::TokenMalformed));
}

#[test]
fn a5_unsecured() {
    for algorithm in Algorithm::ALL {
        assert_eq!(example("A.5", algorithm), Err(Reason::AlgorithmRefused));
    }
}
