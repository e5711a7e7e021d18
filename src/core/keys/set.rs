//! The keys of one issuer, and which of them a token may be checked with.

use std::sync::Arc;

use super::{Key, jwk, pem, secret};
use crate::{
    algorithm::{Algorithm, AlgorithmSet},
    token::json::Json,
    verdict::Reason,
};

/// The longest JWK set or PEM file, in bytes.
pub const MAX_BYTES: usize = 150_000;

/// The most keys of one source.
pub const MAX_KEYS: usize = 100;

/// The most signature checks that one token can cause, and so the most keys without `kid`, each of which
/// has to be tried.
pub const MAX_CANDIDATES: usize = 4;

/// The keys of one issuer; at least one.
#[derive(Debug)]
pub struct KeySet(Vec<Arc<Key>>);

/// What was read from a source.
#[derive(Debug)]
pub struct Loaded {
    /// The usable keys.
    pub keys: KeySet,
    /// Why others were left out, for the log.
    pub skipped: Vec<String>,
}

/// An entry of a JWK set.
#[derive(Debug)]
pub struct Entry<'t> {
    /// As its issuer wrote it.
    pub json: Json<'t>,
    /// The key that it is, or why it cannot verify any of the algorithms that are allowed.
    pub key: Result<Key, String>,
}

/// Reads a JWK set (RFC 7517 section 5). Keys that cannot verify one of `allowed` are skipped.
///
/// # Errors
/// Too long, too many keys, not strictly JSON, no `keys`, none usable, or more than [`MAX_CANDIDATES`]
/// usable ones without `kid`.
pub fn from_jwks(bytes: &[u8], allowed: AlgorithmSet) -> Result<Loaded, String> {
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    for (index, Entry { json: entry, key }) in examine_jwks(bytes, allowed)?.into_iter().enumerate() {
        match key {
            Ok(key) => keys.push(Arc::new(key)),
            Err(reason) => skipped.push(format!("key {}: {reason}", jwk::label(&entry, index))),
        }
    }
    if keys.is_empty() {
        return Err(format!("no usable key in the JWK set: {}", reasons(&skipped)));
    }
    Ok(Loaded { keys: KeySet::new(keys)?, skipped })
}

/// The entries of a JWK set one by one, for an administrator to look at.
///
/// # Errors
/// Too long, too many keys, not strictly JSON, no `keys`.
pub fn examine_jwks(bytes: &[u8], allowed: AlgorithmSet) -> Result<Vec<Entry<'_>>, String> {
    check_length(bytes)?;
    let document = Json::parse(bytes).map_err(|e| format!("not a JWK set: {e}"))?;
    let is_jwk = document.member("kty").is_some();
    let keys = match document {
        Json::Object(members) => members.into_iter().find(|(name, _)| name == "keys"),
        _ => None,
    };
    let Some((_, Json::Array(entries))) = keys else {
        return Err(if is_jwk {
            "one JWK instead of a JWK set: write {\"keys\":[...]} around it".into()
        } else {
            "not a JWK set: it has no array \"keys\"".into()
        });
    };
    if entries.len() > MAX_KEYS {
        return Err(format!("{} keys; at most {MAX_KEYS} are accepted", entries.len()));
    }
    Ok(entries.into_iter().map(|json| Entry { key: jwk::read(&json, allowed), json }).collect())
}

/// Reads the public keys (`PUBLIC KEY`) and certificates (`CERTIFICATE`) of a PEM file (RFC 7468 sections
/// 13 and 5). Of a certificate only the key counts, not its dates and not who signed it.
///
/// # Errors
/// Anything else in the file, and keys that fit none of `allowed`. The message says what was found and
/// how to turn it into what is needed.
pub fn from_pem(bytes: &[u8], allowed: AlgorithmSet) -> Result<Loaded, String> {
    check_length(bytes)?;
    let keys = pem::read(bytes)?
        .into_iter()
        .map(|key| Key::new(None, allowed, key).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Ok(Loaded { keys: KeySet::new(keys)?, skipped: Vec::new() })
}

/// Reads a shared secret: raw bytes, of which one line break at the end is no part, or text that begins
/// with `base64url:` or `hex:`.
///
/// # Errors
/// Shorter than the hash of an allowed algorithm (RFC 7518 section 3.2), or something that is public,
/// such as a key or certificate.
pub fn from_secret(bytes: &[u8], allowed: AlgorithmSet) -> Result<Loaded, String> {
    check_length(bytes)?;
    let key = Key::new(None, allowed, secret::read(bytes, allowed)?)?;
    Ok(Loaded { keys: KeySet::new(vec![Arc::new(key)])?, skipped: Vec::new() })
}

/// One reason stands for up to [`MAX_KEYS`], so that the line in the log stays one that can be read.
fn reasons(skipped: &[String]) -> String {
    match skipped {
        [] => "it is empty".into(),
        [only] => only.clone(),
        [first, others @ ..] => format!("{first}; nor any of the other {}", others.len()),
    }
}

fn check_length(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("{} bytes; at most {MAX_BYTES} are accepted", bytes.len()));
    }
    Ok(())
}

impl KeySet {
    fn new(keys: Vec<Arc<Key>>) -> Result<Self, String> {
        let unnamed = keys.iter().filter(|key| key.kid().is_none()).count();
        if unnamed > MAX_CANDIDATES {
            return Err(format!(
                "{unnamed} keys without kid; an issuer may have {MAX_CANDIDATES}, since each is tried with every token"
            ));
        }
        Ok(Self(keys))
    }

    /// One set of the keys of several files.
    ///
    /// # Errors
    /// More than [`MAX_CANDIDATES`] of them carry no `kid`; none at all.
    pub fn merge<'s>(sets: impl IntoIterator<Item = &'s Self>) -> Result<Self, String> {
        let keys: Vec<Arc<Key>> = sets.into_iter().flat_map(|set| &set.0).cloned().collect();
        if keys.is_empty() {
            return Err("no key".into());
        }
        Self::new(keys)
    }

    /// The keys, in the order of their sources.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(Arc::as_ref)
    }

    /// The keys that a token with this `kid` and algorithm may be checked with, at most
    /// [`MAX_CANDIDATES`]: those of that `kid` first, then those that carry none; without `kid`, all.
    ///
    /// # Errors
    /// `key-unknown` if the `kid` selects nothing, `algorithm-refused` if nothing that it selects is made for
    /// the algorithm.
    pub fn candidates<'k>(
        &'k self,
        kid: Option<&'k str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &'k Key>, Reason> {
        let named = move |key: &&Key| kid.is_some() && key.kid() == kid;
        let others = move |key: &&Key| kid.is_none() || key.kid().is_none();
        let selected = || self.iter().filter(named).chain(self.iter().filter(others));
        if selected().next().is_none() {
            return Err(Reason::KeyUnknown);
        }
        let mut fitting = selected().filter(move |key| key.algorithms().contains(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Reason::AlgorithmRefused);
        }
        Ok(fitting.take(MAX_CANDIDATES))
    }
}
