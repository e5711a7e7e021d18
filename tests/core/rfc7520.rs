//! RFC 7520 section 4: signatures of a text that is no JSON, so that only the signature is looked at.

use jwt_gate_core::algorithm::Algorithm;

use super::{
    rfc7515::{signature_holds, vector, vector_keys},
    token_mint::algorithms,
};

fn holds(section: &str, kid: &str, algorithm: Algorithm) -> bool {
    let (jwk, token) = vector(include_str!("../data/vectors/rfc7520.json"), section);
    let keys = vector_keys(&jwk.unwrap(), algorithms(&[algorithm]));
    let flipped = token.replacen("SXTi", "SXTj", 1);
    assert_ne!(token, flipped);
    assert!(!signature_holds(&flipped, &keys, Some(kid), algorithm));
    signature_holds(&token, &keys, Some(kid), algorithm)
}

#[test]
fn section_4_1_rs256() {
    assert!(holds("4.1", "bilbo.baggins@hobbiton.example", Algorithm::RS256));
}

#[test]
fn section_4_2_ps384() {
    assert!(holds("4.2", "bilbo.baggins@hobbiton.example", Algorithm::PS384));
}

#[test]
fn section_4_3_es512() {
    assert!(holds("4.3", "bilbo.baggins@hobbiton.example", Algorithm::ES512));
}

#[test]
fn section_4_4_hs256() {
    assert!(holds("4.4", "018c0ae5-4d9b-471b-bfd6-eef314bc7037", Algorithm::HS256));
}
