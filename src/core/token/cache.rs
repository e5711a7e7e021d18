//! Verified tokens, remembered by one process.
//!
//! A set-associative table: a token can lie in one bucket of a few entries, each bucket under a short
//! lock of its own. The bucket is found by a keyed hash of the token's length and last bytes, which are
//! signature and cheap to hash, so that a flood of garbage costs no digest. What decides is the SHA-256 of
//! the whole token, computed only when that hash is known, together with the issuer's identity.

use std::{hash::BuildHasher, hash::RandomState, sync::Arc};

use parking_lot::Mutex;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::{Rejection, Verified, check, issuer::IssuerSet};
use crate::{time::UnixMicros, verdict::Reason};

/// Entries of a bucket.
const WAYS: usize = 8;

/// How many of a token's last bytes find its bucket: 96 bits of signature.
const TAIL: usize = 16;

/// The cache. Its memory is bounded by its entries, and these by the greatest length of a token.
pub struct TokenCache {
    buckets: Box<[Mutex<Bucket>]>,
    hasher: RandomState,
}

/// Whether a token was known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// It was, and only its time was checked again.
    Hit,
    /// It was not, and was verified.
    Miss,
}

#[derive(Default)]
struct Bucket {
    /// Counts uses, so that the entry not used for longest is known.
    clock: u64,
    entries: [Option<Entry>; WAYS],
}

struct Entry {
    hash: u64,
    digest: [u8; SHA256_OUTPUT_LEN],
    used: u64,
    verified: Arc<Verified>,
}

impl TokenCache {
    /// A cache for this many tokens; 0 remembers nothing.
    ///
    /// There is room for twice as many if they need several buckets: tokens spread unevenly over these, and of
    /// tokens that come round in turn, a full bucket pushes out each before it is asked for again.
    pub fn new(entries: usize) -> Self {
        let buckets = match entries.div_ceil(WAYS) {
            few @ (0 | 1) => few,
            many => 2 * many,
        };
        let buckets = (0..buckets).map(|_| Mutex::default()).collect();
        Self { buckets, hasher: RandomState::new() }
    }

    /// Checks `token` as [`verify()`](super::verify()) does, from memory if this very token was let in before by one of
    /// `issuers`. Only what was let in is remembered.
    ///
    /// # Errors
    /// As [`verify()`](super::verify()); for a token from memory as [`Verified::check_time`].
    pub fn verify(
        &self,
        token: &[u8],
        issuers: &IssuerSet,
        now: UnixMicros,
    ) -> (Result<Arc<Verified>, Rejection>, Lookup) {
        let hash = self.hash(token);
        if let Some(verified) = self.get(hash, token, issuers) {
            return (verified.check_time(now).map(|()| verified).map_err(Rejection::from), Lookup::Hit);
        }
        let verified = check(token, issuers, now).map(Arc::new);
        if let Ok(verified) = &verified {
            self.insert(hash, token, verified, now);
        }
        (verified, Lookup::Miss)
    }

    fn get(&self, hash: u64, token: &[u8], issuers: &IssuerSet) -> Option<Arc<Verified>> {
        let bucket = self.bucket(hash)?;
        if !bucket.lock().entries.iter().flatten().any(|entry| entry.hash == hash) {
            return None;
        }
        let digest = digest(&SHA256, token);
        let mut bucket = bucket.lock();
        bucket.clock += 1;
        let clock = bucket.clock;
        let mut entries = bucket.entries.iter_mut().flatten();
        let entry = entries.find(|e| e.digest == digest.as_ref() && issuers.accepts(&e.verified.issuer))?;
        entry.used = clock;
        Some(Arc::clone(&entry.verified))
    }

    fn insert(&self, hash: u64, token: &[u8], verified: &Arc<Verified>, now: UnixMicros) {
        let Some(bucket) = self.bucket(hash) else { return };
        let mut sha256 = [0; SHA256_OUTPUT_LEN];
        sha256.copy_from_slice(digest(&SHA256, token).as_ref());
        let mut bucket = bucket.lock();
        bucket.clock += 1;
        let used = bucket.clock;
        // An earlier verdict on the same token by the same policy gives way first, as with withdrawn keys;
        // then a free entry, then an expired one, then the one that was not used for longest.
        let rank = |entry: &Option<Entry>| match entry {
            Some(e) if e.digest == sha256 && e.verified.issuer.id == verified.issuer.id => (0, 0),
            None => (1, 0),
            Some(e) if e.verified.check_time(now) == Err(Reason::TokenExpired) => (2, e.used),
            Some(e) => (3, e.used),
        };
        if let Some(entry) = bucket.entries.iter_mut().min_by_key(|entry| rank(entry)) {
            *entry = Some(Entry { hash, digest: sha256, used, verified: Arc::clone(verified) });
        }
    }

    fn hash(&self, token: &[u8]) -> u64 {
        self.hasher.hash_one((token.len(), &token[token.len().saturating_sub(TAIL)..]))
    }

    fn bucket(&self, hash: u64) -> Option<&Mutex<Bucket>> {
        // The upper bits of the product are evenly spread below the number of buckets.
        let index = (u128::from(hash) * self.buckets.len() as u128) >> 64;
        self.buckets.get(index as usize)
    }
}
