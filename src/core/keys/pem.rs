//! Public keys and certificates in PEM (RFC 7468): X.509 `SubjectPublicKeyInfo` with an RSA (RFC 3279
//! section 2.3.1), EC (RFC 5480 section 2) or Ed25519 key (RFC 8410 section 4).

use base64::{Engine, prelude::BASE64_STANDARD};
use spki::{
    ObjectIdentifier, SubjectPublicKeyInfoOwned,
    der::{self, Decode, Reader, SliceReader, asn1::UintRef},
};
use x509_cert::Certificate;

use crate::{algorithm::Family, token::verify::VerifyingKey};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// No label that somebody uses is longer (RFC 7468 section 4); what is, is not repeated in a message.
const LONGEST_LABEL: usize = 64;

/// Reads every block of a PEM file. Text outside of the blocks is a comment.
///
/// # Errors
/// No block, or one that is no sound public key or certificate of a supported kind.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<VerifyingKey>, String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Err(not_pem(bytes)) };
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let (label, block) = block.split_once("-----").ok_or("a PEM block's BEGIN line is cut off")?;
        if label.len() > LONGEST_LABEL || label.contains(|c: char| !matches!(c, ' '..='~')) {
            return Err("a PEM block's BEGIN line is no label; PUBLIC KEY and CERTIFICATE are read".into());
        }
        let end = format!("-----END {label}-----");
        let (body, behind) = block.split_once(&end).ok_or_else(|| format!("PEM block {label} has no {end}"))?;
        keys.push(read_block(label, body)?);
        rest = behind;
    }
    if keys.is_empty() { Err(not_pem(bytes)) } else { Ok(keys) }
}

/// Whether these octets are DER of something public: a key or a certificate.
pub(super) fn is_public_der(octets: &[u8]) -> bool {
    SubjectPublicKeyInfoOwned::from_der(octets).is_ok() || Certificate::from_der(octets).is_ok()
}

/// One block; how its base64 is broken into lines does not matter (RFC 7468 section 2 asks parsers for that).
fn read_block(label: &str, body: &str) -> Result<VerifyingKey, String> {
    if !matches!(label, "PUBLIC KEY" | "CERTIFICATE") {
        return Err(unsuitable(label));
    }
    let base64: String = body.split_ascii_whitespace().collect();
    let octets = BASE64_STANDARD.decode(base64).map_err(|_| format!("PEM block {label} is not base64"))?;
    let broken = |e: der::Error| format!("PEM block {label} holds something else: {e}");
    if label == "CERTIFICATE" {
        let certificate = Certificate::from_der(&octets).map_err(broken)?;
        read_spki(&certificate.tbs_certificate.subject_public_key_info)
    } else {
        read_spki(&SubjectPublicKeyInfoOwned::from_der(&octets).map_err(broken)?)
    }
}

fn read_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<VerifyingKey, String> {
    let key = spki.subject_public_key.as_bytes().ok_or("the public key is not a whole number of octets")?;
    match spki.algorithm.oid {
        RSA => {
            let (n, e) = rsa_numbers(key).map_err(|e| format!("broken RSA public key: {e}"))?;
            VerifyingKey::rsa(n.as_bytes(), e.as_bytes())
        }
        EC => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
            let curve = curve.ok_or("EC public key without a named curve")?;
            let family = match curve {
                P256 => Family::P256,
                P384 => Family::P384,
                P521 => Family::P521,
                other => return Err(format!("EC public key on curve {other}; P-256, P-384 and P-521 are supported")),
            };
            VerifyingKey::ecdsa(family, key).map_err(|e| {
                format!("{e}; if compressed: openssl ec -pubin -in FILE -conv_form uncompressed -out PUBLIC.pem")
            })
        }
        ED25519 => VerifyingKey::ed25519(key),
        RSA_PSS => Err("a public key of kind RSASSA-PSS; rsaEncryption keys are read, for RS and PS alike".into()),
        other => Err(format!("a public key of kind {other}; RSA, EC and Ed25519 are supported")),
    }
}

/// `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_numbers(octets: &[u8]) -> der::Result<(UintRef<'_>, UintRef<'_>)> {
    let mut reader = SliceReader::new(octets)?;
    let numbers = reader.sequence(|reader| Ok((UintRef::decode(reader)?, UintRef::decode(reader)?)))?;
    reader.finish(numbers)
}

/// What to do with a block of another kind.
fn unsuitable(label: &str) -> String {
    let remedy = match label {
        "RSA PUBLIC KEY" => "openssl rsa -RSAPublicKey_in -in FILE -pubout -out PUBLIC.pem",
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "openssl req -in FILE -noout -pubkey -out PUBLIC.pem",
        _ if label.ends_with("PRIVATE KEY") => {
            return format!(
                "a private key ({label}), which has no business here; take its public half: \
                 openssl pkey -in FILE -pubout -out PUBLIC.pem"
            );
        }
        _ => return format!("a PEM block {label}; PUBLIC KEY and CERTIFICATE are read"),
    };
    format!("a PEM block {label}; PUBLIC KEY and CERTIFICATE are read; convert it: {remedy}")
}

/// What a file without PEM blocks looks like, to name the remedy.
fn not_pem(bytes: &[u8]) -> String {
    const NONE: &str = "no PEM block (-----BEGIN PUBLIC KEY----- or -----BEGIN CERTIFICATE-----)";
    let remedy = match bytes.trim_ascii_start() {
        [b'{', ..] => "it looks like JSON: use jwks=file:PATH",
        [b's', b's', b'h', b'-', ..] => "it looks like OpenSSH: ssh-keygen -e -m PKCS8 -f FILE > PUBLIC.pem",
        _ if Certificate::from_der(bytes).is_ok() => {
            "it is a certificate in DER: openssl x509 -inform DER -in FILE -out CERTIFICATE.pem"
        }
        _ if is_public_der(bytes) => {
            "it is a public key in DER: openssl pkey -pubin -inform DER -in FILE -out PUBLIC.pem"
        }
        _ => return NONE.into(),
    };
    format!("{NONE}; {remedy}")
}
