//! Sets of networks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Cidr, host_bits_v4, host_bits_v6};

/// Bytes of an address in a set.
pub(super) const V4_BYTES: usize = 4;
/// As [`V4_BYTES`].
pub(super) const V6_BYTES: usize = 16;

/// Many networks, asked with one binary search: merged into disjoint ranges in ascending order. The ranges are bytes
/// that are searched where they lie, in the memory of this process or in a file that many have mapped, so that a clone
/// is another handle on the same ones.
#[derive(Clone)]
pub struct NetworkSet {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// Where in `bytes` the ranges begin, and how many there are of each family.
    start: usize,
    v4: usize,
    v6: usize,
}

impl NetworkSet {
    /// The ranges that [`write`] wrote, from `start` on.
    pub(super) fn new(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>, start: usize, v4: usize, v6: usize) -> Self {
        Self { bytes, start, v4, v6 }
    }

    /// Whether `address` lies in one of the networks. Does not allocate.
    ///
    /// # Panics
    /// If the bytes have become fewer since the set was made: then nobody knows who is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4().contains(v4.to_bits(), u32::from_be_bytes),
            IpAddr::V6(v6) => self.v6().contains(v6.to_bits(), u128::from_be_bytes),
        }
    }

    /// Number of ranges that are left after merging; at most the number of networks put in.
    pub const fn len(&self) -> usize {
        self.v4 + self.v6
    }

    /// Whether the set holds no address at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it holds all of IPv4.
    pub fn holds_all_v4(&self) -> bool {
        self.v4().is_everything()
    }

    /// Whether it holds all of IPv6.
    pub fn holds_all_v6(&self) -> bool {
        self.v6().is_everything()
    }

    pub(super) fn v4(&self) -> Ranges<'_, V4_BYTES> {
        Ranges::at((*self.bytes).as_ref(), self.start, self.v4)
    }

    pub(super) fn v6(&self) -> Ranges<'_, V6_BYTES> {
        Ranges::at((*self.bytes).as_ref(), self.start + range_bytes(self.v4, 0), self.v6)
    }
}

impl Default for NetworkSet {
    fn default() -> Self {
        std::iter::empty().collect()
    }
}

impl FromIterator<Cidr> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Cidr>>(networks: I) -> Self {
        let Written { ranges, v4, v6, .. } = write(networks);
        Self::new(Arc::new(ranges), 0, v4, v6)
    }
}

/// Two sets are equal if they hold the same addresses.
impl PartialEq for NetworkSet {
    fn eq(&self, other: &Self) -> bool {
        self.v4() == other.v4() && self.v6() == other.v6()
    }
}

impl Eq for NetworkSet {}

/// Not the ranges, of which there may be a million.
impl fmt::Debug for NetworkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkSet({} ranges of IPv4, {} of IPv6)", self.v4, self.v6)
    }
}

/// Networks, written as a set holds them.
pub(super) struct Written {
    /// The first addresses of the ranges of IPv4, their last ones, the same of IPv6.
    pub(super) ranges: Vec<u8>,
    pub(super) v4: usize,
    pub(super) v6: usize,
    /// How many different networks there were.
    pub(super) networks: usize,
}

/// Writes networks, which may be in any order.
pub(super) fn write(networks: impl IntoIterator<Item = Cidr>) -> Written {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for cidr in networks {
        match cidr.network() {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                v4.push((first, first | host_bits_v4(cidr.prefix())));
            }
            IpAddr::V6(first) => {
                let first = first.to_bits();
                v6.push((first, first | host_bits_v6(cidr.prefix())));
            }
        }
    }
    let networks = sort(&mut v4) + sort(&mut v6);
    merge(&mut v4, |last| last.checked_add(1));
    merge(&mut v6, |last| last.checked_add(1));
    let mut ranges = Vec::with_capacity(range_bytes(v4.len(), v6.len()));
    ranges.extend(v4.iter().flat_map(|(first, _)| first.to_be_bytes()));
    ranges.extend(v4.iter().flat_map(|(_, last)| last.to_be_bytes()));
    ranges.extend(v6.iter().flat_map(|(first, _)| first.to_be_bytes()));
    ranges.extend(v6.iter().flat_map(|(_, last)| last.to_be_bytes()));
    Written { ranges, v4: v4.len(), v6: v6.len(), networks }
}

/// Bytes of so many ranges.
pub(super) const fn range_bytes(v4: usize, v6: usize) -> usize {
    2 * (v4 * V4_BYTES + v6 * V6_BYTES)
}

/// Sorts, and tells how many different ones there are.
fn sort<T: Ord>(ranges: &mut Vec<(T, T)>) -> usize {
    ranges.sort_unstable();
    ranges.dedup();
    ranges.len()
}

/// Joins what overlaps or adjoins of sorted ranges. `after` is the address behind one, if any.
fn merge<T: Copy + Ord>(ranges: &mut Vec<(T, T)>, after: impl Fn(T) -> Option<T>) {
    ranges.dedup_by(|next, kept| {
        let joined = after(kept.1).is_none_or(|free| next.0 <= free);
        if joined {
            kept.1 = kept.1.max(next.1);
        }
        joined
    });
}

/// Disjoint ranges in ascending order; `first[i]..=last[i]` is one. Kept apart, because the search looks at the firsts
/// only. Addresses are in network order, in which their bytes compare as they do.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Ranges<'b, const BYTES: usize> {
    first: &'b [[u8; BYTES]],
    last: &'b [[u8; BYTES]],
}

impl<'b, const BYTES: usize> Ranges<'b, BYTES> {
    fn at(bytes: &'b [u8], start: usize, count: usize) -> Self {
        let (addresses, _) = bytes[start..start + 2 * count * BYTES].as_chunks();
        let (first, last) = addresses.split_at(count);
        Self { first, last }
    }

    /// Compares numbers: the search takes fewer branches than with bytes.
    fn contains<T: Copy + Ord>(self, address: T, number: impl Fn([u8; BYTES]) -> T) -> bool {
        let begun = self.first.partition_point(|first| number(*first) <= address);
        begun > 0 && address <= number(self.last[begun - 1])
    }

    fn is_everything(self) -> bool {
        self.first == [[0; BYTES]] && self.last == [[u8::MAX; BYTES]]
    }

    /// Whether they are what they should be.
    pub(super) fn are_in_order(self) -> bool {
        self.first.iter().zip(self.last).all(|(first, last)| first <= last)
            && self.last.iter().zip(self.first.iter().skip(1)).all(|(last, next)| last < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        networks.iter().map(|text| text.parse::<Cidr>().unwrap()).collect()
    }

    fn within(set: &NetworkSet, address: &str) -> bool {
        set.contains(address.parse().unwrap())
    }

    #[test]
    fn an_empty_set_holds_nothing() {
        let none = set(&[]);
        assert!(none.is_empty() && !within(&none, "0.0.0.0") && !within(&none, "::"));
    }

    #[test]
    fn whole_families_have_no_edge() {
        let v4 = set(&["0.0.0.0/0", "10.0.0.0/8", "255.255.255.255"]);
        assert_eq!(v4.len(), 1);
        assert!(within(&v4, "0.0.0.0") && within(&v4, "255.255.255.255") && within(&v4, "::ffff:255.255.255.255"));
        assert!(!within(&v4, "::") && !within(&v4, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));

        let v6 = set(&["::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
        assert_eq!(v6.len(), 1);
        assert!(within(&v6, "::") && within(&v6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert!(!within(&v6, "0.0.0.0") && !within(&v6, "::ffff:0.0.0.0"));
    }

    #[test]
    fn single_addresses_have_two_edges() {
        let one = set(&["192.0.2.7", "2001:db8::7"]);
        for (address, expected) in [
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::6", false),
            ("2001:db8::7", true),
            ("2001:db8::8", false),
        ] {
            assert_eq!(within(&one, address), expected, "{address}");
        }
    }

    #[test]
    fn neighbours_and_overlaps_merge_and_gaps_stay() {
        assert_eq!(set(&["10.0.1.0/24", "10.0.0.0/24"]).len(), 1, "adjacent");
        assert_eq!(set(&["10.0.0.0/8", "10.2.0.0/16", "10.1.0.0/16", "10.255.255.255"]).len(), 1, "nested");
        let gap = set(&["10.0.0.0/24", "10.0.2.0/24"]);
        assert_eq!(gap.len(), 2);
        assert!(within(&gap, "10.0.0.255") && !within(&gap, "10.0.1.0") && !within(&gap, "10.0.1.255"));
        let inner = set(&["10.0.0.0/8", "10.0.0.0/24", "12.0.0.0/8"]);
        assert!(within(&inner, "10.200.0.1"), "a network is not cut short by a smaller one with the same beginning");
    }

    #[test]
    fn all_of_a_family_is_told_however_it_is_written() {
        for (networks, v4, v6) in [
            (&["0.0.0.0/0"][..], true, false),
            (&["::/0"], false, true),
            (&["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"], true, true),
            (&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"], true, false),
            (&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"], false, false),
            (&[], false, false),
        ] {
            let set = set(networks);
            assert_eq!((set.holds_all_v4(), set.holds_all_v6()), (v4, v6), "{networks:?}");
        }
    }
}
