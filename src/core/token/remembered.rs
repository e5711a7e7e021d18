//! What a list of revocations says of a token, remembered with the token.

use crate::sync::{AtomicU64, Ordering};

/// The identity of a list, which is that of its contents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ListId(u64);

/// Where the answer stands, so that no identity has this bit. Without it an identity is not 0.
const REVOKED: u64 = 1;

impl ListId {
    /// From a digest of the list's contents.
    pub(crate) fn new(digest: &[u8; 32]) -> Self {
        let start = digest.first_chunk().map_or(0, |start| u64::from_le_bytes(*start));
        Self((start & !REVOKED).max(REVOKED + 1))
    }
}

/// The answer of the list that was asked last, in one word, so that two threads that ask two lists do not mix
/// up who said what. 0 if none was asked.
#[derive(Debug)]
pub(crate) struct Remembered(AtomicU64);

impl Remembered {
    /// No list was asked.
    pub(super) fn nothing() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether `list` holds the token: what it said before, or else what `ask` says.
    pub(crate) fn or_ask(&self, list: ListId, ask: impl FnOnce() -> bool) -> bool {
        // Nothing else is published by the word, so that no order is needed.
        let known = self.0.load(Ordering::Relaxed);
        if known & !REVOKED == list.0 {
            return known & REVOKED != 0;
        }
        let revoked = ask();
        self.0.store(list.0 | if revoked { REVOKED } else { 0 }, Ordering::Relaxed);
        revoked
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn list(first: u8) -> ListId {
        let mut digest = [0; 32];
        digest[0] = first;
        ListId::new(&digest)
    }

    #[test]
    fn a_list_is_asked_once_until_another_is() {
        let remembered = Remembered::nothing();
        let (one, other) = (list(2), list(4));
        for (list, answer, asked) in [
            (one, true, true),
            (one, true, false),
            (other, false, true),
            (other, false, false),
            (one, false, true),
            (one, false, false),
            (other, true, true),
        ] {
            let mut was_asked = false;
            let said = remembered.or_ask(list, || {
                was_asked = true;
                answer
            });
            assert_eq!((said, was_asked), (answer, asked), "{list:?}");
        }
    }

    #[test]
    fn no_identity_is_that_of_nothing_or_has_the_bit_of_the_answer() {
        for first in 0..=u8::MAX {
            let ListId(id) = list(first);
            assert!(id != 0 && id & REVOKED == 0, "{id}");
            assert!(Remembered::nothing().or_ask(list(first), || true));
            assert!(!Remembered::nothing().or_ask(list(first), || false));
        }
    }
}
