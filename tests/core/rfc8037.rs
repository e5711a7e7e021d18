//! RFC 8037 appendix A.4 and A.5: Ed25519.

use jwt_gate_core::algorithm::Algorithm;

use super::{
    rfc7515::{signature_holds, vector, vector_keys},
    token_mint::algorithms,
};

#[test]
fn appendix_a4_and_a5() {
    let (jwk, token) = vector(include_str!("../data/vectors/rfc8037.json"), "A.4");
    let keys = vector_keys(&jwk.unwrap(), algorithms(&[Algorithm::EdDSA]));
    assert!(signature_holds(&token, &keys, None, Algorithm::EdDSA));
    assert!(!signature_holds(&token.replacen(".RX", ".RY", 1), &keys, None, Algorithm::EdDSA));
}
