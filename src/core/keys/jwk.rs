//! One key of a JWK set (RFC 7517 section 4; RFC 7518 section 6; RFC 8037 section 2): untrusted JSON in,
//! a sound public key out.

use super::Key;
use crate::{
    algorithm::{Algorithm, AlgorithmSet, Family},
    token::{compact, json::Json, verify::VerifyingKey},
};

/// The most bytes of a `kid` or another text of the issuer that a message quotes, escapes included.
const QUOTED: usize = 64;

/// Members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads one entry of `keys`.
///
/// # Errors
/// Why no token can be verified with it.
pub(super) fn read(entry: &Json, allowed: AlgorithmSet) -> Result<Key, String> {
    if !matches!(entry, Json::Object(_)) {
        return Err("not a JSON object".into());
    }
    let kty = required(entry, "kty")?;
    if kty == "oct" || PRIVATE.iter().any(|name| entry.member(name).is_some()) {
        return Err("private or symmetric: nobody but the issuer may have it, so whoever reads this set could \
                    make tokens; publish the public key alone and replace this one"
            .into());
    }
    check_purpose(entry)?;
    let verifying = match kty {
        "RSA" => VerifyingKey::rsa(&octets(entry, "n")?, &octets(entry, "e")?)?,
        "EC" => ecdsa(entry)?,
        "OKP" => match required(entry, "crv")? {
            "Ed25519" => VerifyingKey::ed25519(&octets(entry, "x")?)?,
            other => return Err(format!("curve {} is not supported", quoted(other))),
        },
        other => return Err(format!("kty {} is not supported", quoted(other))),
    };
    let algorithms = match optional(entry, "alg")? {
        None => allowed,
        Some(name) => {
            let named = Algorithm::from_name(name).ok_or_else(|| format!("alg {} is not supported", quoted(name)))?;
            if named.family() != verifying.family() {
                return Err(format!("alg {name} does not fit a key of kind {:?}", verifying.family()));
            }
            if !allowed.contains(named) {
                return Err(format!("alg {name} is not allowed for this issuer"));
            }
            [named].into_iter().collect()
        }
    };
    Key::new(optional(entry, "kid")?.map(str::to_owned), algorithms, verifying)
}

/// How a message names an entry: by its `kid`, else by its place.
pub(super) fn label(entry: &Json, index: usize) -> String {
    match entry.member("kid").and_then(Json::as_str) {
        Some(kid) => quoted(kid),
        None => format!("number {}", index + 1),
    }
}

/// `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3), where present, must be for verification.
fn check_purpose(entry: &Json) -> Result<(), String> {
    match optional(entry, "use")? {
        None | Some("sig") => {}
        Some(other) => return Err(format!("for use {}, not for signatures", quoted(other))),
    }
    match entry.member("key_ops") {
        None => Ok(()),
        Some(operations @ Json::Array(_)) if operations.strings().any(|o| o == "verify") => Ok(()),
        Some(_) => Err("key_ops does not contain \"verify\"".into()),
    }
}

/// Each coordinate has the full length of the curve's field (RFC 7518 section 6.2.1.2).
fn ecdsa(entry: &Json) -> Result<VerifyingKey, String> {
    let (family, length) = match required(entry, "crv")? {
        "P-256" => (Family::P256, 32),
        "P-384" => (Family::P384, 48),
        "P-521" => (Family::P521, 66),
        other => return Err(format!("curve {} is not supported", quoted(other))),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = octets(entry, name)?;
        if coordinate.len() != length {
            return Err(format!("{name} has {} octets; on this curve it has {length}", coordinate.len()));
        }
        point.extend(coordinate);
    }
    VerifyingKey::ecdsa(family, &point)
}

fn octets(entry: &Json, name: &str) -> Result<Vec<u8>, String> {
    compact::decode(required(entry, name)?).map_err(|_| format!("{name} is not base64url without padding"))
}

fn required<'j>(entry: &'j Json, name: &str) -> Result<&'j str, String> {
    optional(entry, name)?.ok_or_else(|| format!("{name} is missing"))
}

fn optional<'j>(entry: &'j Json, name: &str) -> Result<Option<&'j str>, String> {
    match entry.member(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is not a string")),
    }
}

/// Text of the issuer, fit for a log line.
fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    for char in text.chars().map(|c| c.escape_debug().to_string()) {
        if shown.len() + char.len() > QUOTED {
            return shown + "\"...";
        }
        shown += &char;
    }
    shown + "\""
}
