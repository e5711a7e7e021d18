//! Keys and tokens, good ones and every kind of bad one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p521::ecdsa::signature::Verifier;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Map, Value, json};

/// `iss` of tokens that say nothing else.
const ISSUER: &str = "https://issuer.test";
/// `aud` of tokens that say nothing else.
const AUDIENCE: &str = "api";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// One key of every kind, new for each test but for the RSA key.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) rs256: Signer,
    pub(crate) ps256: Signer,
    pub(crate) es256: Signer,
    pub(crate) es384: Signer,
    pub(crate) eddsa: Signer,
    pub(crate) hs256: Signer,
}

impl Keys {
    pub(crate) fn generate() -> Self {
        Self {
            rs256: Signer::rsa("RS256", "rsa"),
            ps256: Signer::rsa("PS256", "rsa-pss"),
            es256: Signer::ec("ES256", "ec256"),
            es384: Signer::ec("ES384", "ec384"),
            eddsa: Signer::ed25519("ed"),
            // as text: one final line break in the file would not be part of it
            hs256: Signer::hmac("HS256", base64url(random::<32>()).as_bytes()),
        }
    }

    /// Those with a public half.
    pub(crate) fn public(&self) -> [&Signer; 5] {
        [&self.rs256, &self.ps256, &self.es256, &self.es384, &self.eddsa]
    }

    /// Writes `all.jwks`, one `NAME.jwks` and one `NAME.pem` for each public key, the certificate `rs256.crt`, and
    /// the secret `hs256.secret` (mode 0600); names are the algorithms in lower case.
    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("all.jwks"), jwks(&self.public())).unwrap();
        for signer in self.public() {
            let name = signer.algorithm.to_lowercase();
            fs::write(folder.join(format!("{name}.jwks")), jwks(&[signer])).unwrap();
            fs::write(folder.join(format!("{name}.pem")), signer.pem()).unwrap();
        }
        fs::write(folder.join("rs256.crt"), include_bytes!("../data/rsa2048.crt")).unwrap();
        let Kind::Hmac(_, secret) = &self.hs256.kind else { unreachable!("an HMAC key") };
        fs::write(folder.join("hs256.secret"), secret).unwrap();
        fs::set_permissions(folder.join("hs256.secret"), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The key set of these signers.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// A key and the algorithm it signs with.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) algorithm: &'static str,
    /// Named in the tokens and key sets; PEM files and secrets know none.
    pub(crate) kid: Option<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rsa(&'static dyn signature::RsaEncoding, Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(ring::hmac::Key, Vec<u8>),
}

impl Signer {
    /// The RSA key (2048 bits) of [`Keys`], with `RS256` or `PS256`.
    pub(crate) fn rsa(algorithm: &'static str, kid: &str) -> Self {
        Self::rsa_of(include_bytes!("../data/rsa2048.pk8"), algorithm, kid)
    }

    /// The other RSA key (2048 bits), with `RS256` or `PS256`: ring makes none.
    pub(crate) fn other_rsa(algorithm: &'static str, kid: &str) -> Self {
        Self::rsa_of(include_bytes!("../../data/keys/rsa-other.pkcs8"), algorithm, kid)
    }

    fn rsa_of(pkcs8: &[u8], algorithm: &'static str, kid: &str) -> Self {
        let encoding: &'static dyn signature::RsaEncoding =
            if algorithm == "PS256" { &signature::RSA_PSS_SHA256 } else { &signature::RSA_PKCS1_SHA256 };
        let key = RsaKeyPair::from_pkcs8(pkcs8).unwrap();
        Self { algorithm, kid: Some(kid.to_owned()), kind: Kind::Rsa(encoding, Box::new(key)) }
    }

    /// A new key for `ES256` or `ES384`.
    pub(crate) fn ec(algorithm: &'static str, kid: &str) -> Self {
        let curve = if algorithm == "ES384" {
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING
        } else {
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING
        };
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).unwrap();
        Self { algorithm, kid: Some(kid.to_owned()), kind: Kind::Ec(key) }
    }

    /// A new Ed25519 key.
    pub(crate) fn ed25519(kid: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Self { algorithm: "EdDSA", kid: Some(kid.to_owned()), kind: Kind::Ed25519(key) }
    }

    /// `HS256`, `HS384` or `HS512` with this secret.
    pub(crate) fn hmac(algorithm: &'static str, secret: &[u8]) -> Self {
        let digest = match algorithm {
            "HS384" => ring::hmac::HMAC_SHA384,
            "HS512" => ring::hmac::HMAC_SHA512,
            _ => ring::hmac::HMAC_SHA256,
        };
        Self { algorithm, kid: None, kind: Kind::Hmac(ring::hmac::Key::new(digest, secret), secret.to_vec()) }
    }

    /// Signs what stands before the second dot of a token.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa(encoding, key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
            Kind::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Kind::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Kind::Hmac(key, _) => ring::hmac::sign(key, message).as_ref().to_vec(),
        }
    }

    /// A token of exactly these two JSON texts.
    pub(crate) fn compact(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = base64url(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// The public key as a member of a JWK set (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.kind {
            Kind::Rsa(_, key) => {
                let parts = signature::RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": base64url(&parts.n), "e": base64url(&parts.e)})
            }
            Kind::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(if self.algorithm == "ES384" { 48 } else { 32 });
                let curve = if self.algorithm == "ES384" { "P-384" } else { "P-256" };
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Kind::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key())}),
            Kind::Hmac(_, secret) => json!({"kty": "oct", "k": base64url(secret)}),
        };
        jwk["alg"] = self.algorithm.into();
        jwk["use"] = "sig".into();
        if let Some(kid) = &self.kid {
            jwk["kid"] = kid.as_str().into();
        }
        jwk
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280 section 4.1) in PEM.
    pub(crate) fn pem(&self) -> String {
        let (algorithm, key) = match &self.kind {
            // rsaEncryption, NULL
            Kind::Rsa(_, key) => (&b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"[..], key.public().as_ref()),
            // id-ecPublicKey with secp384r1 or prime256v1
            Kind::Ec(key) if self.algorithm == "ES384" => {
                (&b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22"[..], key.public_key().as_ref())
            }
            Kind::Ec(key) => {
                let algorithm = &b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"[..];
                (algorithm, key.public_key().as_ref())
            }
            Kind::Ed25519(key) => (&b"\x06\x03\x2b\x65\x70"[..], key.public_key().as_ref()),
            Kind::Hmac(..) => unreachable!("a secret has no public half"),
        };
        let bits = der(0x03, &[b"\0", key].concat());
        let der = der(0x30, &[der(0x30, algorithm), bits].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }
}

/// One DER value (X.690 section 8.1) of less than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag][..], &length, content].concat()
}

/// The claims of a token of `alice` that is valid for five minutes.
pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now(), "exp": now() + 300})
}

/// A token in the making. It starts with [`claims`].
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    signer: &'a Signer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    pub(crate) fn new(signer: &'a Signer) -> Self {
        let mut header = json!({"alg": signer.algorithm, "typ": "JWT"});
        if let Some(kid) = &signer.kid {
            header["kid"] = kid.as_str().into();
        }
        let (Value::Object(header), Value::Object(claims)) = (header, claims()) else { unreachable!("two objects") };
        Self { signer, header, claims }
    }

    /// Sets a claim; `null` takes it away.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets a header parameter; `null` takes it away.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, value.into());
        self
    }

    /// Signs it.
    pub(crate) fn sign(&self) -> String {
        let text = |map: &Map<String, Value>| serde_json::to_string(map).unwrap();
        self.signer.compact(&text(&self.header), &text(&self.claims))
    }

    /// Signs it, then changes the last byte of the signature.
    pub(crate) fn forge(&self) -> String {
        let token = self.sign();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        *signature.last_mut().unwrap() ^= 1;
        format!("{message}.{}", base64url(signature))
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
}

/// Checks a token's signature by the key of a JWK set that it names, and gives its header and claims. Signatures of
/// public keys alone.
///
/// # Panics
/// When the set has no such key or more than one, or the signature is not of it.
pub(crate) fn verified(token: &str, jwks: &Value) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let json = |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    let (header, claims) = (json(header), json(claims));
    let mut found = jwks["keys"].as_array().unwrap().iter().filter(|jwk| jwk["kid"] == header["kid"]);
    let (Some(jwk), None) = (found.next(), found.next()) else { panic!("not one key for {header} in {jwks}") };
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let message = message.as_bytes();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let rsa = |kind: &'static signature::RsaParameters| {
        assert_eq!(jwk["kty"], "RSA");
        signature::RsaPublicKeyComponents { n: bytes("n"), e: bytes("e") }.verify(kind, message, &signature)
    };
    let other = |kind: &'static dyn signature::VerificationAlgorithm, curve: &str, key: &[&[u8]]| {
        assert_eq!(jwk["crv"], curve);
        signature::UnparsedPublicKey::new(kind, key.concat()).verify(message, &signature)
    };
    let valid = match header["alg"].as_str().unwrap() {
        "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => other(&signature::ECDSA_P256_SHA256_FIXED, "P-256", &[b"\x04", &bytes("x"), &bytes("y")]),
        "ES384" => other(&signature::ECDSA_P384_SHA384_FIXED, "P-384", &[b"\x04", &bytes("x"), &bytes("y")]),
        "ES512" => {
            assert_eq!(jwk["crv"], "P-521");
            let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&[b"\x04", &bytes("x")[..], &bytes("y")].concat());
            let signature = p521::ecdsa::Signature::from_slice(&signature).unwrap();
            key.unwrap().verify(message, &signature).map_err(|_| ring::error::Unspecified)
        }
        "EdDSA" | "Ed25519" => other(&signature::ED25519, "Ed25519", &[&bytes("x")]),
        other => panic!("{other} is not checked here"),
    };
    assert!(valid.is_ok(), "the signature of {header} is not of {jwk}");
    (header, claims)
}

/// Base64url without padding (RFC 4648 section 5).
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Random bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}
