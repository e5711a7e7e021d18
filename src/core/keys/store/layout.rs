//! How the memory of a key store is divided. All of it is 64-bit words in the machine's byte order.
//!
//! | part | size | what |
//! |---|---|---|
//! | header | 16 words | see below |
//! | sources | 48 words each | see below |
//! | buffers | 2 for each source | word 0 length of the content in bytes, 1 to 4 its seal, 5.. the bytes |
//!
//! Header: word 0 magic, 1 version of this layout, 2 number of sources, 3 bytes that a buffer holds; on another
//! cache line word 8 the lease.
//!
//! Source: words 0 and 1 its id; 2 which content is the current one; 3 number of the last publication; 4 when
//! the content was fetched (microseconds since 1970); 5 which content was found damaged; 6 when an attempt was last
//! asked for, 7 the last such moment that an attempt has answered (nanoseconds of the monotonic clock); 8 the latest
//! attempt, 9 when it began, 10 when the next one is due (the same clock); 11 failures since the last success,
//! 12 attempts that succeeded, 13 attempts that failed; 14 length of the last error in bytes, 15.. its text.
//!
//! Buffers come last and are not written before there is content: pages that nobody touches take no memory.

use crate::keys::set::MAX_BYTES;
use crate::sync::{AtomicU64, Ordering};

/// The most sources of one server.
pub const MAX_SOURCES: usize = 1_000;

/// The longest error text, in bytes.
pub const MAX_ERROR: usize = 8 * ERROR_WORDS;

/// Bytes that a buffer holds. Less of everything when model-checked: what two threads do to one word they also do
/// to many.
pub(super) const CAPACITY: usize = if cfg!(loom) { 8 } else { MAX_BYTES };
pub(super) const SEAL_BYTES: usize = if cfg!(loom) { 8 } else { 32 };
const ERROR_WORDS: usize = if cfg!(loom) { 1 } else { 30 };

pub(super) const MAGIC: usize = 0;
pub(super) const VERSION: usize = 1;
pub(super) const SOURCES: usize = 2;
pub(super) const BUFFER_BYTES: usize = 3;
pub(super) const LEASE: usize = 8;
const HEADER: usize = 16;

pub(super) const ID: usize = 0;
pub(super) const CURRENT: usize = 2;
pub(super) const PUBLICATIONS: usize = 3;
pub(super) const FETCHED: usize = 4;
pub(super) const DAMAGED: usize = 5;
pub(super) const ASKED: usize = 6;
pub(super) const ANSWERED: usize = 7;
pub(super) const ATTEMPT: usize = 8;
pub(super) const BEGUN: usize = 9;
pub(super) const DUE: usize = 10;
pub(super) const FAILURES: usize = 11;
pub(super) const SUCCEEDED: usize = 12;
pub(super) const FAILED: usize = 13;
pub(super) const ERROR_BYTES: usize = 14;
pub(super) const ERROR: usize = 15;
pub(super) const SOURCE: usize = (ERROR + ERROR_WORDS).next_multiple_of(16);

pub(super) const LENGTH: usize = 0;
pub(super) const SEAL: usize = 1;
pub(super) const BYTES: usize = SEAL + SEAL_BYTES / 8;
const BUFFER: usize = BYTES + CAPACITY.div_ceil(8);

/// Words of the store for so many sources, which must not be more than [`MAX_SOURCES`].
pub(super) const fn words(sources: usize) -> usize {
    HEADER + sources * (SOURCE + 2 * BUFFER)
}

/// The words of a source.
pub(super) const fn source(index: usize) -> std::ops::Range<usize> {
    let first = HEADER + index * SOURCE;
    first..first + SOURCE
}

/// The words of one of the two buffers of a source, in a store for so many `sources`.
pub(super) const fn buffer(sources: usize, index: usize, which: usize) -> std::ops::Range<usize> {
    let first = HEADER + sources * SOURCE + (2 * index + which) * BUFFER;
    first..first + BUFFER
}

/// Writes bytes into words, as many as there is room for.
pub(super) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

/// Reads so many bytes out of words. `None` if the words cannot hold them, as only a damaged length says.
pub(super) fn load_bytes(words: &[AtomicU64], length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    let words = words.get(..length.div_ceil(8))?;
    let mut bytes = Vec::with_capacity(8 * words.len());
    for word in words {
        bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_parts_follow_one_another() {
        for sources in [1, 2, MAX_SOURCES] {
            let mut end = source(0).start;
            let buffers = (0..2 * sources).map(|n| buffer(sources, n / 2, n % 2));
            for part in (0..sources).map(source).chain(buffers) {
                assert_eq!(part.start, end);
                end = part.end;
            }
            assert_eq!(end, words(sources));
        }
        assert_eq!((source(0).start, source(1).start), (16, 64));
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let words: Vec<_> = (0..4).map(|_| AtomicU64::new(u64::MAX)).collect();
        for text in ["", "a", "12345678", "123456789", "12345678901234567890123456789012"] {
            store_bytes(&words, text.as_bytes());
            assert_eq!(load_bytes(&words, text.len() as u64).unwrap(), text.as_bytes());
        }
        for damaged in [33, 1 << 32, u64::MAX] {
            assert_eq!(load_bytes(&words, damaged), None, "{damaged}");
        }
    }
}
