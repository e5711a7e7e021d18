//! Sets of networks, and the text files that list them.

use std::net::IpAddr;

use super::address::{Cidr, host_bits_v4, host_bits_v6};

/// Largest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// Most networks in one file.
pub const MAX_NETWORKS: usize = 1_000_000;

/// Many networks, asked with one binary search: merged into disjoint ranges in ascending order.
#[derive(Clone, Debug, Default)]
pub struct NetworkSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl NetworkSet {
    /// Whether `address` lies in one of the networks. Does not allocate.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.contains(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.contains(v6.to_bits()),
        }
    }

    /// Number of ranges that are left after merging; at most the number of networks put in.
    pub const fn len(&self) -> usize {
        self.v4.first.len() + self.v6.first.len()
    }

    /// Whether the set holds no address at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Cidr> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Cidr>>(networks: I) -> Self {
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
        Self { v4: Ranges::merged(v4, |last| last.checked_add(1)), v6: Ranges::merged(v6, |last| last.checked_add(1)) }
    }
}

/// Reads a list of networks: one a line, `#` begins a comment, blanks around are ignored, lines end
/// with LF or CRLF. A UTF-8 byte order mark at the beginning is skipped: some editors write one, and it
/// says nothing.
///
/// # Errors
/// The first line that is not a network, with its number and the reason; a file without any network;
/// one above [`MAX_FILE_BYTES`] or [`MAX_NETWORKS`]. The error is a sentence for an administrator.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<Cidr>, String> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!(
            "{} bytes are more than the {MAX_FILE_BYTES} that a list of networks may have",
            bytes.len()
        ));
    }
    let mut networks = Vec::new();
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, number) in text.split(|b| *b == b'\n').zip(1..) {
        let Some(network) = parse_line(line).map_err(|reason| format!("line {number}: {reason}"))? else { continue };
        if networks.len() == MAX_NETWORKS {
            return Err(format!("line {number}: more than {MAX_NETWORKS} networks"));
        }
        networks.push(network);
    }
    if networks.is_empty() { Err("the list holds no network".to_owned()) } else { Ok(networks) }
}

/// The network on a line, if there is one.
fn parse_line(line: &[u8]) -> Result<Option<Cidr>, String> {
    let entry = line.split(|b| *b == b'#').next().unwrap_or_default().trim_ascii();
    if entry.is_empty() {
        return Ok(None);
    }
    let entry = str::from_utf8(entry).map_err(|_| "not text in UTF-8".to_owned())?;
    if entry.contains([' ', '\t']) {
        return Err("more than one word: write one network a line, and a comment after #".to_owned());
    }
    entry.parse().map(Some)
}

/// Disjoint ranges in ascending order; `first[i]..=last[i]` is one. Kept apart, because the search
/// looks at the firsts only.
#[derive(Clone, Debug, Default)]
struct Ranges<T> {
    first: Box<[T]>,
    last: Box<[T]>,
}

impl<T: Copy + Ord> Ranges<T> {
    /// Sorts, and joins what overlaps or adjoins. `after` is the address behind one, if any.
    fn merged(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joined = after(kept.1).is_none_or(|free| next.0 <= free);
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
        let (first, last): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
        Self { first: first.into(), last: last.into() }
    }

    fn contains(&self, address: T) -> bool {
        let begun = self.first.partition_point(|first| *first <= address);
        begun > 0 && address <= self.last[begun - 1]
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
    fn a_list_is_read_line_by_line() {
        let list = b"\xef\xbb\xbf# office\r\n10.0.0.0/8\r\n\n\t 192.0.2.1 # caf\xe9, not UTF-8\n2001:db8::/32#x\n::ffff:198.51.100.0/120";
        let networks: Vec<_> = parse_file(list).unwrap().iter().map(Cidr::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "198.51.100.0/24"]);
        assert_eq!(parse_file(b"10.0.0.0/8").unwrap().len(), 1, "a final line break may be missing");
    }

    #[test]
    fn an_error_names_line_and_reason() {
        for (list, line, reason) in [
            (&b"10.0.0.0/8\n10.1.2.3/8\n"[..], "line 2: ", "write 10.0.0.0/8 or 10.1.2.3"),
            (b"\n\n10.0.0.0/33", "line 3: ", "prefix length"),
            (b"10.0.0.0/8\r10.0.0.0/8", "line 1: ", "prefix length"),
            (b"10.0.0.0 /8", "line 1: ", "one network a line"),
            (b"10.0.0.0/8 11.0.0.0/8", "line 1: ", "one network a line"),
            (b"10.0.0.0/8,11.0.0.0/8", "line 1: ", "prefix length"),
            (b"10.0.0.0/8;", "line 1: ", "prefix length"),
            (b"10.0.0.0/8\n\xef\xbb\xbf10.0.0.0/8", "line 2: ", "not an address"),
            (b"\xff\xfe1\x000\x00", "line 1: ", "UTF-8"),
            (b"<html>", "line 1: ", "not an address"),
        ] {
            let error = parse_file(list).expect_err(&String::from_utf8_lossy(list));
            assert!(error.starts_with(line) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_list_without_network_is_an_error() {
        for list in [&b""[..], b"\n", b"\r\n\r\n", b"# nothing\n", b"\xef\xbb\xbf", b" \t"] {
            assert_eq!(parse_file(list), Err("the list holds no network".to_owned()));
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let longer = "::\n".repeat(MAX_NETWORKS + 1);
        assert_eq!(parse_file(longer.as_bytes()), Err("line 1000001: more than 1000000 networks".to_owned()));

        let mut padded = vec![b'\n'; MAX_FILE_BYTES];
        padded[..2].copy_from_slice(b"::");
        assert_eq!(parse_file(&padded).map(|n| n.len()), Ok(1));
        padded.push(b'\n');
        assert!(parse_file(&padded).unwrap_err().contains("bytes"));
    }
}
