//! Keys out of files and out of answers of issuers.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::keys::set::{MAX_CANDIDATES, MAX_KEYS, from_jwks, from_pem, from_secret};
use jwt_gate_core::keys::{Key, KeySet, Loaded};
use ring::hmac;
use serde_json::Value;

use super::assert_fit_for_log;

/// A JWK set: every entry is taken or named with the reason, and what is taken is public.
pub fn jwks(data: &[u8]) {
    match from_jwks(data, Algorithm::ALL.into_iter().collect()) {
        Ok(Loaded { keys, skipped }) => {
            assert_is_sound(&keys);
            skipped.iter().for_each(|reason| assert_fit_for_log(reason));
            let document: Value = serde_json::from_slice(data).expect("JSON");
            let entries = document["keys"].as_array().expect("an array");
            let taken = keys.iter().count();
            assert_eq!(taken + skipped.len(), entries.len());
            let usable = |entry: &&Value| {
                let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
                ["RSA", "EC", "OKP"].iter().any(|kty| entry["kty"] == *kty)
                    && private.iter().all(|name| entry.get(name).is_none())
                    && entry.get("use").is_none_or(|purpose| purpose == "sig")
            };
            let usable: Vec<_> = entries.iter().filter(usable).collect();
            assert!(taken <= usable.len());
            assert!(keys.iter().all(|key| usable.iter().any(|e| e.get("kid").and_then(Value::as_str) == key.kid())));
        }
        Err(error) => assert_fit_for_log(&error),
    }
}

/// A PEM file: no block is passed over, however its lines end.
pub fn pem(data: &[u8]) {
    let read = |data: &[u8]| from_pem(data, Algorithm::ALL.into_iter().collect());
    match read(data) {
        Ok(Loaded { keys, skipped }) => {
            assert_is_sound(&keys);
            assert!(skipped.is_empty());
            let text = str::from_utf8(data).expect("text");
            // Where an END line runs into a BEGIN line, five hyphens may belong to either.
            let lines = text.lines().filter(|line| line.starts_with("-----BEGIN ")).count();
            assert!((lines..=text.matches("-----BEGIN ").count()).contains(&keys.iter().count()));
            let again = read(text.replace('\n', "\r\n").as_bytes()).expect("the same keys").keys;
            assert!(again.iter().map(Key::algorithms).eq(keys.iter().map(Key::algorithms)));
        }
        Err(error) => assert_fit_for_log(&error),
    }
}

/// A secret: it is what the file says, nothing that is public, and no message repeats it.
pub fn secret(data: &[u8]) {
    let line = data.strip_suffix(b"\r\n").or(data.strip_suffix(b"\n")).unwrap_or(data);
    let read = |data: &[u8]| from_secret(data, AlgorithmSet::from_iter([Algorithm::HS256]));
    match read(data) {
        Ok(Loaded { keys, .. }) => {
            let secret = if let Some(encoded) = line.strip_prefix(b"base64url:") {
                BASE64_URL_SAFE_NO_PAD.decode(encoded).expect("base64url")
            } else if let Some(digits) = line.strip_prefix(b"hex:") {
                let digits = str::from_utf8(digits).expect("digits");
                let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
                (0..digits.len()).step_by(2).map(byte).collect()
            } else {
                line.to_vec()
            };
            assert!(secret.len() >= 32 && !secret.windows(11).any(|part| part == b"-----BEGIN "));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), b"input");
            let key = keys.iter().next().expect("one key");
            assert!(key.verify(Algorithm::HS256, b"input", &BASE64_URL_SAFE_NO_PAD.encode(tag)));
        }
        Err(error) => {
            assert_fit_for_log(&error);
            let is_text = line.starts_with(b"base64url:") || line.starts_with(b"hex:");
            if line.len() < 32 && !is_text {
                assert_eq!(
                    error,
                    read(&b"x".repeat(line.len())).expect_err("too short"),
                    "its length is all that it tells"
                );
            }
        }
    }
}

/// Some keys, not too many to try, and none that is a secret.
fn assert_is_sound(keys: &KeySet) {
    assert!((1..=MAX_KEYS).contains(&keys.iter().count()));
    assert!(keys.iter().filter(|key| key.kid().is_none()).count() <= MAX_CANDIDATES);
    for key in keys.iter() {
        let mut algorithms = key.algorithms().iter().map(Algorithm::name);
        assert!(!key.algorithms().is_empty() && algorithms.all(|name| !name.starts_with("HS")));
    }
}
