//! Names of buckets: which limit, and whose.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher128};

use super::period::Period;
use super::rate::Numbers;

/// A limit, by its name and not by its place in the configuration, so that its buckets are found again when
/// limits are added, removed or moved.
///
/// Numbers are not part of it by themselves. Buckets that are counted with other numbers (of a plan, or after
/// a change of the configuration) should be others, see [`with_numbers`](Self::with_numbers).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LimitId(u64);

impl LimitId {
    /// The limit of this name.
    pub fn new(name: &str) -> Self {
        Self(0).with(b"name", name.as_bytes())
    }

    /// A bucket of its own for one member of the limit, such as an issuer.
    #[must_use]
    pub fn with_member(self, name: &str) -> Self {
        self.with(b"member", name.as_bytes())
    }

    /// Buckets of their own for these numbers.
    ///
    /// A debt counted in days would otherwise refuse for days under numbers that refill in seconds.
    #[must_use]
    pub fn with_numbers(self, numbers: Numbers) -> Self {
        let (interval, burst) = (numbers.interval().get(), u64::from(numbers.burst()));
        self.with(b"interval", &interval.to_le_bytes()).with(b"burst", &burst.to_le_bytes())
    }

    /// Buckets of their own for this period of a quota.
    ///
    /// How many requests it admits is no part of it: a caller whose plan changes keeps what is counted.
    #[must_use]
    pub fn with_period(self, period: Period) -> Self {
        self.with(b"quota", period.name().as_bytes())
    }

    /// Buckets of their own for the number `index` of a list, and for times of so many nanoseconds.
    pub(super) fn with_index(self, index: u64, nanos: u64) -> Self {
        self.with(b"index", &index.to_le_bytes()).with(b"time", &nanos.to_le_bytes())
    }

    /// The id as it is kept in shared memory; never 0.
    pub(super) fn word(self) -> u64 {
        self.0.max(1)
    }

    fn with(self, kind: &[u8], value: &[u8]) -> Self {
        let mut hasher = SipHasher24::new_with_keys(self.0, kind.len() as u64);
        hasher.write(kind);
        hasher.write(value);
        Self(hasher.finish())
    }
}

/// What a part of a key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the words of `key=`
pub enum Part {
    Address = 1,
    Peer,
    Subject,
    Client,
    Issuer,
    ApiKey,
    Claim,
}

/// Hashes the parts of a key, with the secret of a table, into the name of a bucket.
///
/// Every part is preceded by its kind and length: different lists of parts are different input.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    hasher: SipHasher128,
    movable: bool,
}

impl KeyHasher {
    /// `movable`: the place of a bucket follows from what its slot says, so that it can go to another table.
    pub(super) fn new(secret: [u64; 2], limit: LimitId, movable: bool) -> Self {
        let mut hasher = SipHasher128::new_with_keys(secret[0], secret[1]);
        hasher.write_u64(limit.word());
        Self { hasher, movable }
    }

    /// Adds a part that the request has.
    #[must_use]
    pub fn part(self, part: Part, value: &[u8]) -> Self {
        let mut hasher = self.prefix(part, value.len() as u64);
        hasher.hasher.write(value);
        hasher
    }

    /// Adds a part that the request lacks: all such requests share one bucket.
    #[must_use]
    pub fn missing(self, part: Part) -> Self {
        // No value is that long.
        self.prefix(part, LENGTH)
    }

    /// The name of the bucket.
    pub fn finish(&self) -> KeyHash {
        let hash = self.hasher.finish128();
        if self.movable { KeyHash::movable(hash.h2) } else { KeyHash { place: hash.h1, key: hash.h2.max(1) } }
    }

    fn prefix(mut self, part: Part, length: u64) -> Self {
        self.hasher.write_u64((part as u64) << 56 | length & LENGTH);
        self
    }
}

/// The bits of a prefix that hold the length.
const LENGTH: u64 = u64::MAX >> 8;

/// A bucket's name: one half says where it is, the other half which one it is there.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyHash {
    pub(super) place: u64,
    /// Never 0, which marks a slot that nobody has.
    pub(super) key: u64,
}

impl KeyHash {
    /// The name of a bucket in a table of quotas or lock-outs. There two keys share a bucket if these 64 bits are
    /// equal anywhere in the table, not just in one group.
    pub(super) fn movable(key: u64) -> Self {
        let key = key.max(1);
        // The last steps of SplitMix64: all of the key's bits say where it is, and distinct keys differ.
        let mixed = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self { place: mixed ^ mixed >> 31, key }
    }

    /// A name without hashing, for tests that need two keys in one place.
    #[doc(hidden)]
    pub fn from_halves(place: u64, key: u64) -> Self {
        Self { place, key: key.max(1) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECRET: [u64; 2] = [3, 5];

    fn hasher() -> KeyHasher {
        KeyHasher::new(SECRET, LimitId::new("a"), false)
    }

    #[test]
    fn different_lists_of_parts_are_different_keys() {
        let keys = [
            hasher(),
            hasher().part(Part::Subject, b""),
            hasher().missing(Part::Subject),
            hasher().part(Part::Subject, b"ab"),
            hasher().part(Part::Client, b"ab"),
            hasher().part(Part::Subject, b"a").part(Part::Subject, b"b"),
            hasher().part(Part::Subject, b"a").part(Part::Client, b"b"),
            hasher().part(Part::Subject, b"").part(Part::Subject, b"ab"),
            hasher().part(Part::Subject, b"ab").part(Part::Subject, b""),
            hasher().part(Part::Subject, b"ab").missing(Part::Subject),
            KeyHasher::new(SECRET, LimitId::new("b"), false).part(Part::Subject, b"ab"),
            KeyHasher::new([3, 6], LimitId::new("a"), false).part(Part::Subject, b"ab"),
        ];
        let distinct: HashSet<_> = keys.iter().map(KeyHasher::finish).collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(hasher().part(Part::Peer, b"x").finish(), hasher().part(Part::Peer, b"x").finish());
    }

    #[test]
    fn an_id_depends_on_name_member_numbers_and_period() {
        let slow = Numbers::new("1/h".parse().unwrap(), None).unwrap();
        let fast = Numbers::new("1/s".parse().unwrap(), None).unwrap();
        let ids = [
            LimitId::new("a"),
            LimitId::new("b"),
            LimitId::new(""),
            LimitId::new("a").with_member("b"),
            LimitId::new("a").with_member(""),
            LimitId::new("ab"),
            LimitId::new("a").with_numbers(slow),
            LimitId::new("a").with_numbers(fast),
            LimitId::new("a").with_period(Period::Day),
            LimitId::new("a").with_period(Period::Week),
            LimitId::new("a").with_index(1, 2),
            LimitId::new("a").with_index(2, 1),
        ];
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    /// What a slot says is enough to find the place of its key again.
    #[test]
    fn movable_keys_have_their_place_from_their_bits() {
        let keys: Vec<_> = (0..1_000_u64)
            .map(|n| KeyHasher::new(SECRET, LimitId::new("a"), true).part(Part::Claim, &n.to_le_bytes()).finish())
            .collect();
        for &key in &keys {
            assert_eq!(KeyHash::movable(key.key), key);
        }
        let places: HashSet<_> = keys.iter().map(|key| key.place >> 54).collect();
        assert!(places.len() > 550, "{} of 1024", places.len());
        let near: HashSet<_> = (1..=1_000).map(|key| KeyHash::movable(key).place >> 54).collect();
        assert!(near.len() > 550, "{} of 1024", near.len());
    }

    /// A segment outlives a graceful restart with a newer build of the module.
    #[test]
    fn ids_stay_what_they_are() {
        assert_eq!(LimitId::new("per-address").word(), 11_373_167_400_376_991_389);
    }
}
