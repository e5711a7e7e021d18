//! Signatures. The only file that names a library for them: ring through `jsonwebtoken`, and `p521` for
//! ES512, which neither of the two knows.

use std::{fmt, sync::Once};

use jsonwebtoken::{
    Algorithm as Jwa, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::{
    agreement::{self, EphemeralPrivateKey},
    hmac,
    rand::SystemRandom,
    signature as public,
};

use crate::{
    algorithm::{Algorithm, Family},
    token::compact,
};

/// The shortest and the longest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that signatures can be checked with, found sound when it was made.
pub struct VerifyingKey {
    family: Family,
    material: Material,
}

enum Material {
    Provided(DecodingKey),
    P521(Box<p521::ecdsa::VerifyingKey>),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?})", self.family)
    }
}

impl VerifyingKey {
    /// A shared secret. Its length is tested against each algorithm that it is to be used with.
    pub fn hmac(secret: &[u8]) -> Self {
        Self::provided(Family::Hmac, DecodingKey::from_secret(secret))
    }

    /// An RSA public key: modulus and exponent, big endian. Zeros in front are dropped, since some issuers
    /// send the sign octet of ASN.1 along.
    ///
    /// # Errors
    /// The modulus is even or not of 2048 to 8192 bits; the exponent is even, below 3, or longer than the
    /// 33 bits that keep one check cheap.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!("RSA modulus of {bits} bits; {} to {} are accepted", RSA_BITS.start(), RSA_BITS.end()));
        }
        if !is_odd(modulus) {
            return Err("RSA modulus is even".into());
        }
        let value = exponent.iter().take(6).fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if !is_odd(exponent) || value < 3 || value >> 33 != 0 {
            return Err("RSA exponent must be odd, at least 3 and less than 2^33".into());
        }
        Ok(Self::provided(Family::Rsa, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    /// A public key of ECDSA: an uncompressed point (SEC 1 section 2.3.3).
    ///
    /// # Errors
    /// The family is none of ECDSA, or the octets are no point of its curve.
    pub fn ecdsa(family: Family, point: &[u8]) -> Result<Self, String> {
        const UNCOMPRESSED: u8 = 4;
        let off_curve = || format!("not an uncompressed point of the curve {family:?}");
        if point.first() != Some(&UNCOMPRESSED) {
            return Err(off_curve());
        }
        match family {
            Family::P256 if is_point(&agreement::ECDH_P256, point) => {}
            Family::P384 if is_point(&agreement::ECDH_P384, point) => {}
            Family::P521 => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve())?;
                return Ok(Self { family, material: Material::P521(Box::new(key)) });
            }
            _ => return Err(off_curve()),
        }
        Ok(Self::provided(family, DecodingKey::from_ec_der(point)))
    }

    /// A public key of Ed25519 (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// Not 32 octets, or a point of small order, for which anybody can sign.
    pub fn ed25519(key: &[u8]) -> Result<Self, String> {
        if key.len() != public::ED25519_PUBLIC_KEY_LEN {
            return Err(format!("Ed25519 key of {} octets; it has 32", key.len()));
        }
        if has_small_order(key) {
            return Err("Ed25519 key is a point of small order, for which anybody can sign".into());
        }
        Ok(Self::provided(Family::Ed25519, DecodingKey::from_ed_der(key)))
    }

    /// What kind of key this is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether `signature`, in base64url, is `algorithm`'s signature of `signing_input` by this key.
    /// An algorithm of another family never is.
    pub fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &str) -> bool {
        if algorithm.family() != self.family {
            return false;
        }
        match (&self.material, registered(algorithm)) {
            (Material::Provided(key), Some(jwa)) => {
                jsonwebtoken::crypto::verify(signature, signing_input, key, jwa).unwrap_or(false)
            }
            (Material::P521(key), None) => compact::decode(signature).is_ok_and(|octets| {
                // `from_slice` takes 132 octets, with r and s from 1 to n-1.
                p521::ecdsa::Signature::from_slice(&octets).is_ok_and(|s| key.verify(signing_input, &s).is_ok())
            }),
            _ => false,
        }
    }

    fn provided(family: Family, key: DecodingKey) -> Self {
        static REGISTERED: Once = Once::new();
        // The first provider of a process stays; nothing else in this library registers one.
        REGISTERED.call_once(|| {
            let _ = RING.install_default();
        });
        Self { family, material: Material::Provided(key) }
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}

/// Whether ring takes `point` for one of the curve. An agreement with a key that is thrown away is the
/// one way to ask it that without a signature.
fn is_point(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    EphemeralPrivateKey::generate(curve, &SystemRandom::new()).is_ok_and(|private| {
        agreement::agree_ephemeral(private, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).is_ok()
    })
}

/// Whether this encodes one of the eight points whose order divides 8, in whatever spelling: for these,
/// R = S·B − h·A (RFC 8032 section 5.1.7) can be met without the private key.
fn has_small_order(key: &[u8]) -> bool {
    // The y coordinates, little endian: 0, 1, the two of order 8, p − 1, and p and p + 1 for 0 and 1 once more.
    const COORDINATES: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let Some((sign, rest)) = key.split_last() else { return false };
    let coordinate: String = rest.iter().chain([&(sign & 0x7f)]).map(|octet| format!("{octet:02x}")).collect();
    COORDINATES.contains(&coordinate.as_str())
}

/// The name that `jsonwebtoken` has for an algorithm; it has none for ES512.
fn registered(algorithm: Algorithm) -> Option<Jwa> {
    Some(match algorithm {
        Algorithm::HS256 => Jwa::HS256,
        Algorithm::HS384 => Jwa::HS384,
        Algorithm::HS512 => Jwa::HS512,
        Algorithm::RS256 => Jwa::RS256,
        Algorithm::RS384 => Jwa::RS384,
        Algorithm::RS512 => Jwa::RS512,
        Algorithm::PS256 => Jwa::PS256,
        Algorithm::PS384 => Jwa::PS384,
        Algorithm::PS512 => Jwa::PS512,
        Algorithm::ES256 => Jwa::ES256,
        Algorithm::ES384 => Jwa::ES384,
        Algorithm::EdDSA => Jwa::EdDSA,
        Algorithm::ES512 => return None,
    })
}

/// ring, as `jsonwebtoken` wants it. Nothing is ever signed here, and keys are read by [`crate::keys`].
static RING: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: ring_verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn no_signer(_: &Jwa, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn ring_verifier(algorithm: &Jwa, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
}

struct RingVerifier {
    algorithm: Jwa,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Jwa {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let mac = |algorithm| {
            let secret = self.key.try_get_as_bytes().map_err(|_| ring::error::Unspecified)?;
            hmac::verify(&hmac::Key::new(algorithm, secret), message, signature)
        };
        let rsa = |parameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                public::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(ring::error::Unspecified),
        };
        let curve = |algorithm| {
            let point = self.key.try_get_as_bytes().map_err(|_| ring::error::Unspecified)?;
            public::UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        };
        match self.algorithm {
            Jwa::HS256 => mac(hmac::HMAC_SHA256),
            Jwa::HS384 => mac(hmac::HMAC_SHA384),
            Jwa::HS512 => mac(hmac::HMAC_SHA512),
            Jwa::RS256 => rsa(&public::RSA_PKCS1_2048_8192_SHA256),
            Jwa::RS384 => rsa(&public::RSA_PKCS1_2048_8192_SHA384),
            Jwa::RS512 => rsa(&public::RSA_PKCS1_2048_8192_SHA512),
            Jwa::PS256 => rsa(&public::RSA_PSS_2048_8192_SHA256),
            Jwa::PS384 => rsa(&public::RSA_PSS_2048_8192_SHA384),
            Jwa::PS512 => rsa(&public::RSA_PSS_2048_8192_SHA512),
            Jwa::ES256 => curve(&public::ECDSA_P256_SHA256_FIXED),
            Jwa::ES384 => curve(&public::ECDSA_P384_SHA384_FIXED),
            Jwa::EdDSA => curve(&public::ED25519),
            _ => Err(ring::error::Unspecified),
        }
        .map_err(|_| signature::Error::new())
    }
}
