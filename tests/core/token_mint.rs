//! Makes tokens, good and bad, and issuers that accept the good ones. Signs with the keys of
//! `tests/data/keys`.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_gate_core::{
    algorithm::{Algorithm, AlgorithmSet},
    keys::{KeySet, set},
    time::UnixMicros,
    token::{
        self, Verified,
        issuer::{Audiences, Issuer, IssuerSet, Types},
    },
    verdict::Reason,
};
use p521::elliptic_curve::rand_core;
use ring::{hmac, rand::SecureRandom, rand::SystemRandom, signature};

pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const ISS: &str = "https://issuer.test";
pub(crate) const AUD: &str = "api";
/// As long as the longest hash, so that it serves HS256, HS384 and HS512.
pub(crate) const SECRET: &[u8; 64] = b"a secret of the tests, sixty-four octets, known to everybody....";

macro_rules! key_file {
    ($name:literal) => {
        include_bytes!(concat!("../data/keys/", $name))
    };
}
pub(crate) use key_file;

pub(crate) fn now() -> UnixMicros {
    UnixMicros::from_secs(NOW)
}

pub(crate) fn base64url(octets: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// The claims that the issuers below accept.
pub(crate) fn good_claims() -> String {
    claims("")
}

/// The same with more members, written as they stand behind a comma.
pub(crate) fn claims(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"iss":"{ISS}","aud":"{AUD}","sub":"alice","exp":{}{comma}{more}}}"#, NOW + 300)
}

/// A token of this algorithm with the default header.
pub(crate) fn token(algorithm: Algorithm, claims: &str) -> String {
    sign(algorithm, format!(r#"{{"alg":"{}"}}"#, algorithm.name()), claims)
}

/// A token with this header and payload, whatever they say, signed by the key for `algorithm`.
pub(crate) fn sign(algorithm: Algorithm, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", base64url(header), base64url(payload));
    let signature = signature_of(algorithm, input.as_bytes());
    format!("{input}.{}", base64url(signature))
}

/// The signature of `input` by the key of `tests/data/keys` that is made for `algorithm`.
pub(crate) fn signature_of(algorithm: Algorithm, input: &[u8]) -> Vec<u8> {
    use Algorithm::*;
    match algorithm {
        HS256 => hmac_of(hmac::HMAC_SHA256, input),
        HS384 => hmac_of(hmac::HMAC_SHA384, input),
        HS512 => hmac_of(hmac::HMAC_SHA512, input),
        RS256 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PKCS1_SHA256, input),
        RS384 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PKCS1_SHA384, input),
        RS512 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PKCS1_SHA512, input),
        PS256 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PSS_SHA256, input),
        PS384 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PSS_SHA384, input),
        PS512 => rsa(key_file!("rsa.pkcs8"), &signature::RSA_PSS_SHA512, input),
        ES256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, key_file!("p256.pkcs8"), input),
        ES384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, key_file!("p384.pkcs8"), input),
        ES512 => p521(input),
        EdDSA => {
            let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(key_file!("ed25519.pkcs8")).unwrap();
            key.sign(input).as_ref().to_vec()
        }
    }
}

fn hmac_of(algorithm: hmac::Algorithm, input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, SECRET), input).as_ref().to_vec()
}

/// An RSA signature by the key in `pkcs8`.
pub(crate) fn rsa(pkcs8: &[u8], padding: &'static dyn signature::RsaEncoding, input: &[u8]) -> Vec<u8> {
    let key = signature::RsaKeyPair::from_pkcs8(pkcs8).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), input, &mut signature).unwrap();
    signature
}

fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm, pkcs8: &[u8], input: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).unwrap();
    key.sign(&random, input).unwrap().as_ref().to_vec()
}

fn p521(input: &[u8]) -> Vec<u8> {
    use p521::ecdsa::{Signature, SigningKey, signature::RandomizedSigner};
    let pkcs8 = key_file!("p521.pkcs8");
    // The private number is the one OCTET STRING of 66 octets.
    let start = pkcs8.windows(2).position(|w| w == [4, 66]).unwrap() + 2;
    let key = SigningKey::from_slice(&pkcs8[start..start + 66]).unwrap();
    let signature: Signature = key.sign_with_rng(&mut Random, input);
    signature.to_bytes().to_vec()
}

struct Random;

impl rand_core::CryptoRng for Random {}

impl rand_core::RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        SystemRandom::new().fill(dest).unwrap();
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

pub(crate) fn algorithms(algorithms: &[Algorithm]) -> AlgorithmSet {
    algorithms.iter().copied().collect()
}

/// The public key of `tests/data/keys` for `algorithm`, allowed for that algorithm only.
pub(crate) fn keys(algorithm: Algorithm) -> Arc<KeySet> {
    use Algorithm::*;
    let allowed = algorithms(&[algorithm]);
    let pem: &[u8] = match algorithm {
        HS256 | HS384 | HS512 => return Arc::new(set::from_secret(SECRET, allowed).unwrap().keys),
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => key_file!("rsa.pub.pem"),
        ES256 => key_file!("p256.pub.pem"),
        ES384 => key_file!("p384.pub.pem"),
        ES512 => key_file!("p521.pub.pem"),
        EdDSA => key_file!("ed25519.pub.pem"),
    };
    Arc::new(set::from_pem(pem, allowed).unwrap().keys)
}

/// An issuer with the defaults of the configuration, and the key for one algorithm.
pub(crate) fn issuer(algorithm: Algorithm) -> Issuer {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    Issuer {
        id: 0,
        name: "test".into(),
        issuer: Some(ISS.into()),
        audiences: Audiences::OneOf(words(&[AUD])),
        audience_claims: words(&["aud"]),
        algorithms: algorithms(&[algorithm]),
        types: Types::Usual,
        fixed_claims: Vec::new(),
        require_exp: true,
        leeway: Duration::from_secs(30),
        max_age: None,
        subject: "sub".into(),
        scopes: words(&["scope", "scp"]),
        groups: words(&["groups", "cognito:groups", "roles"]),
        keys: Some(keys(algorithm)),
    }
}

/// The set of just this issuer.
pub(crate) fn only(issuer: Issuer) -> IssuerSet {
    IssuerSet::new(vec![Arc::new(issuer)]).unwrap()
}

/// The verdict of one issuer, its policy changed by `change`, on EdDSA tokens at [`NOW`].
pub(crate) fn judge(token: impl AsRef<[u8]>, change: impl FnOnce(&mut Issuer)) -> Result<Verified, Reason> {
    let mut issuer = issuer(Algorithm::EdDSA);
    change(&mut issuer);
    token::verify(token.as_ref(), &only(issuer), now())
}

/// The reason for which `token` is refused by the default issuer, or `None` if it is let in.
pub(crate) fn refusal(token: impl AsRef<[u8]>) -> Option<Reason> {
    judge(token, |_| {}).err()
}

/// The reason for which these claims, well signed, are refused by an issuer changed by `change`.
pub(crate) fn refusal_of(claims: &str, change: impl FnOnce(&mut Issuer)) -> Option<Reason> {
    judge(token(Algorithm::EdDSA, claims), change).err()
}
