//! Shared secrets for HMAC.

use super::{names, pem};
use crate::{
    algorithm::{Algorithm, AlgorithmSet},
    token::{compact, json::Json, verify::VerifyingKey},
};

/// Reads the file of a secret.
///
/// # Errors
/// Too short for one of the `allowed` algorithms, badly encoded, or something public.
pub(super) fn read(bytes: &[u8], allowed: AlgorithmSet) -> Result<VerifyingKey, String> {
    let content = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let secret = decode(content)?;
    let longest = allowed.iter().map(Algorithm::hash_len).max().unwrap_or(usize::MAX);
    if secret.len() < longest {
        return Err(format!(
            "a secret of {} bytes; {} needs at least {longest}: head -c {longest} /dev/urandom > FILE",
            secret.len(),
            names(allowed),
        ));
    }
    if is_public(&secret) {
        return Err("a key or certificate that others may know, which is no secret; for public keys use pem= or \
                    jwks=file:"
            .into());
    }
    Ok(VerifyingKey::hmac(&secret))
}

fn decode(content: &[u8]) -> Result<Vec<u8>, String> {
    let text = |encoded| std::str::from_utf8(encoded).ok();
    if let Some(encoded) = content.strip_prefix(b"base64url:") {
        let secret = text(encoded).and_then(|e| compact::decode(e).ok());
        return secret.ok_or_else(|| "what follows base64url: is not base64url without padding".into());
    }
    if let Some(digits) = content.strip_prefix(b"hex:") {
        let byte = |pair: &[u8]| match pair {
            [a @ (b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F'), b] => {
                u8::from_str_radix(std::str::from_utf8(&[*a, *b]).ok()?, 16).ok()
            }
            _ => None,
        };
        let secret = digits.chunks(2).map(byte).collect::<Option<_>>();
        return secret.ok_or_else(|| "what follows hex: is not pairs of hexadecimal digits".into());
    }
    Ok(content.to_vec())
}

/// Whether this is a key or certificate that is meant to be published, or is written like one. Generous:
/// no good secret looks like this, and with a public key for a secret anybody could make tokens.
fn is_public(secret: &[u8]) -> bool {
    const PEM: &[u8] = b"-----BEGIN ";
    let start = secret.trim_ascii_start();
    let is_pem = || secret.windows(PEM.len()).any(|window| window == PEM);
    let is_openssh = || [&b"ssh-"[..], b"ecdsa-", b"sk-ssh-", b"sk-ecdsa-"].iter().any(|p| start.starts_with(p));
    let is_jwk = || Json::parse(secret).is_ok_and(|json| json.member("kty").or(json.member("keys")).is_some());
    is_pem() || is_openssh() || is_jwk() || pem::is_public_der(secret)
}
