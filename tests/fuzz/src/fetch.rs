//! What identity providers send when keys are fetched.

use std::time::Duration;

use jwt_gate_core::fetch::{Url, cache_control, discovery::jwks_uri};
use serde_json::Value;

use super::assert_fit_for_log;

/// The metadata of an issuer: what is taken stands there as it is, for this very issuer, and leads from https to
/// https alone.
pub fn discovery_document(data: &[u8]) {
    for issuer in ["https://id.example", "http://localhost:8080/realm"] {
        match jwks_uri(data, issuer) {
            Ok(url) => {
                let document: Value = serde_json::from_slice(data).expect("JSON");
                assert_eq!(document["issuer"], issuer);
                assert_eq!(document["jwks_uri"], url.to_string());
                assert!(!url.is_plain() || issuer.starts_with("http:"));
            }
            Err(error) => assert_fit_for_log(&error),
        }
    }
}

/// An address, and behind a line break another that is found there: what is read is written and read as the same,
/// and plain http stays on this machine.
pub fn fetch_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (base, reference) = text.split_once('\n').unwrap_or((&text, ""));
    let Some(base) = sound(Url::parse(base)) else { return };
    let Some(target) = sound(base.join(reference)) else { return };
    assert_eq!(target.join(&target.to_string()), Ok(target.clone()));
    assert_eq!(base.may_lead_to(&target), base.is_plain() || !target.is_plain());
}

/// The fields `Cache-Control` of an answer, one a line: the first directive counts, and any that forbids.
pub fn max_age(data: &[u8]) {
    let fields = || data.split(|&b| b == b'\n');
    let age = cache_control::max_age(fields());
    let with = |field: &'static str| [field.as_bytes()].into_iter().chain(fields());
    assert_eq!(cache_control::max_age(with("no-store")), None);
    let before = cache_control::max_age(with("max-age=5"));
    assert!(before.is_none() || before == Some(Duration::from_secs(5)));
    assert!(before.is_some() || age.is_none());
    assert!(age.is_none() || data.to_ascii_lowercase().windows(8).any(|part| part == b"max-age="));
}

fn sound(url: Result<Url, String>) -> Option<Url> {
    match url {
        Ok(url) => {
            assert_eq!(Url::parse(&url.to_string()), Ok(url.clone()));
            assert!(url.is_loopback() || !url.is_plain());
            Some(url)
        }
        Err(error) => {
            assert_fit_for_log(&error);
            None
        }
    }
}
