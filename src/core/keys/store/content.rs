//! What a source last said: published by one process, read by all.
//!
//! The word *current* is the number of a publication times two, plus the number of its buffer; 0: none. A publication
//! writes the other buffer and then moves *current*, so whoever reads the current one is not disturbed. A reader can be
//! overtaken by two publications, and two processes can write one buffer ([`super`]). So each content has a seal:
//! SHA-256 of *current* as it will be and of the SHA-256 of the bytes. No two publications have the same number, so
//! what has the right seal is what was published under this number, whole.

use std::fmt;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};

use super::layout::{
    BYTES, CAPACITY, CURRENT, DAMAGED, FETCHED, LENGTH, PUBLICATIONS, SEAL, SEAL_BYTES, load_bytes, store_bytes,
};
use super::source::{Source, TRIES};
use crate::sync::{Ordering, fence, spin_hint};
use crate::time::UnixMicros;

/// Bytes of a source, whole.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// As [`Source::version`] says while they are the current ones.
    pub version: u64,
    /// As they were published.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes.
    pub digest: [u8; SHA256_OUTPUT_LEN],
}

/// Without the bytes, which may be a secret.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content(version {}, {} bytes)", self.version, self.bytes.len())
    }
}

/// More bytes than a buffer holds ([`MAX_BYTES`](crate::keys::set::MAX_BYTES)): so many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes; at most {CAPACITY} are accepted", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Source<'_> {
    /// The number of the content: 0 if there is none yet; grows with every new one. One load, made for polling.
    pub fn version(&self) -> u64 {
        self.word(CURRENT).load(Ordering::Relaxed) >> 1
    }

    /// When the source last said what is published. `None` if it never did.
    pub fn fetched(&self) -> Option<UnixMicros> {
        Some(self.load(FETCHED)).filter(|&at| at != 0).map(UnixMicros)
    }

    /// The content. `None` if there is none or it is damaged: then the caller keeps what it has, and the source is due
    /// at once, or, while attempts fail, when the next one is due.
    pub fn read(&self) -> Option<Content> {
        for _ in 0..TRIES {
            let current = self.load(CURRENT);
            if current >> 1 == 0 {
                return None;
            }
            if let Some(content) = self.copy(current) {
                return Some(content);
            }
            // Whoever has seen a word of a later publication sees that `current` has moved before.
            fence(Ordering::Acquire);
            if self.load(CURRENT) == current {
                self.store(DAMAGED, current);
                return None;
            }
            spin_hint();
        }
        None
    }

    /// Makes `bytes` the content. False if they are already, as the source said again at `fetched`; and if another
    /// process, which takes itself for the holder too, has published at the same time: then its content stands.
    ///
    /// # Errors
    /// There are too many. Nothing has changed.
    pub fn publish(&self, bytes: &[u8], fetched: UnixMicros) -> Result<bool, TooLong> {
        if bytes.len() > CAPACITY {
            return Err(TooLong(bytes.len()));
        }
        let current = self.load(CURRENT);
        // Compared with what is whole, so that a damaged content is replaced by the same one.
        let changed = self.copy(current).is_none_or(|content| content.bytes != bytes);
        if changed && !self.replace(current, bytes) {
            // Perhaps into the buffer that is now in use. A look at it makes the source due if so.
            self.read();
            return Ok(false);
        }
        // After the content: killed in between, a process leaves new keys with an old time, not the reverse.
        self.store(FETCHED, fetched.0.max(1));
        Ok(changed)
    }

    /// Whether the content is known to be damaged.
    pub(super) fn is_damaged(&self) -> bool {
        let current = self.load(CURRENT);
        current >> 1 != 0 && self.load(DAMAGED) == current
    }

    /// Publishes `bytes`, which must fit, in place of what is current. False if something else is meanwhile.
    pub(super) fn replace(&self, current: u64, bytes: &[u8]) -> bool {
        let which = !current & 1;
        self.word(PUBLICATIONS).fetch_max(current >> 1, Ordering::Relaxed);
        let number = self.word(PUBLICATIONS).fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // Only a damaged number runs over.
        let next = (number << 1).max(2) | which;
        // `current` has left this buffer before a word of it changes.
        fence(Ordering::Release);
        let buffer = self.buffer(which as usize);
        buffer[LENGTH].store(bytes.len() as u64, Ordering::Relaxed);
        store_bytes(&buffer[SEAL..BYTES], &seal(next, &sha256(bytes)));
        store_bytes(&buffer[BYTES..], bytes);
        self.swap(CURRENT, current, next)
    }

    /// What was published under this number, if it is still there and whole.
    fn copy(&self, current: u64) -> Option<Content> {
        if current >> 1 == 0 {
            return None;
        }
        let buffer = self.buffer((current & 1) as usize);
        let bytes = load_bytes(&buffer[BYTES..], buffer[LENGTH].load(Ordering::Relaxed))?;
        let digest = sha256(&bytes);
        let sealed = load_bytes(&buffer[SEAL..BYTES], SEAL_BYTES as u64)? == seal(current, &digest);
        sealed.then_some(Content { version: current >> 1, bytes, digest })
    }
}

fn seal(current: u64, digest: &[u8]) -> [u8; SEAL_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(&current.to_be_bytes());
    context.update(digest);
    array(context.finish().as_ref())
}

fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    array(digest(&SHA256, bytes).as_ref())
}

/// The start of a digest.
fn array<const LENGTH: usize>(digest: &[u8]) -> [u8; LENGTH] {
    let mut array = [0; LENGTH];
    array.copy_from_slice(&digest[..LENGTH]);
    array
}
