//! Single addresses, CIDR blocks, and the prefix under which addresses are counted together.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Bytes of the longest spelling of an address: IPv6 with IPv4 at its end. What is longer is not repeated
/// in an error.
const LONGEST: usize = "0000:0000:0000:0000:0000:ffff:255.255.255.255".len();

/// Reads one address. IPv4-mapped IPv6 becomes IPv4.
///
/// # Errors
/// The text is not four decimal numbers without leading zeros, nor IPv6 (RFC 4291 section 2.2) without
/// zone. The error is a sentence for an administrator.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    parse_unfolded(text).map(|address| address.to_canonical())
}

/// A block of addresses: a network and the length of its prefix (RFC 4632 section 3.1, RFC 4291
/// section 2.3). All bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The block with a prefix of this length that `address` lies in; `None` if the prefix is longer than an address.
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = address.to_canonical();
        (prefix <= width(address)).then(|| Self { network: mask(address, prefix), prefix })
    }

    /// The first address of the block.
    pub const fn network(self) -> IpAddr {
        self.network
    }

    /// Length of the prefix in bits: at most 32 for IPv4, 128 for IPv6.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in the block. IPv4 never lies in an IPv6 block, not even in `::/0`.
    pub fn contains(self, address: IpAddr) -> bool {
        mask(address.to_canonical(), self.prefix) == self.network
    }
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address.
    ///
    /// # Errors
    /// Not an address, not a prefix length for it, or address bits set behind the prefix. The error is
    /// a sentence for an administrator.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((address, prefix)) = text.split_once('/') else {
            let network = parse_address(text)?;
            return Ok(Self { network, prefix: width(network) });
        };
        let written = parse_unfolded(address)?;
        let prefix = parse_prefix(prefix, width(written))?;
        let address = written.to_canonical();
        let prefix = if address == written {
            prefix
        } else {
            prefix
                .checked_sub(96)
                .ok_or_else(|| format!("{text} is an IPv4 network in IPv6 form: its prefix length is at least 96"))?
        };
        let network = mask(address, prefix);
        if network != address {
            return Err(format!("{text} has host bits set: write {network}/{prefix} or {address}"));
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// How many leading bits of an address are one party where requests are counted by address
/// (`JwtGateAddressPrefix V4 V6`). The default is 32 and 64: an IPv6 subscriber has at least a /64
/// (RFC 6177 section 2) and can take any address of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressPrefix {
    v4: u8,
    v6: u8,
}

impl AddressPrefix {
    /// Every address for itself.
    pub const WHOLE: Self = Self { v4: 32, v6: 128 };

    /// Reads the two arguments of the directive.
    ///
    /// # Errors
    /// Not a number from 1 to 32 and one from 1 to 128. The error is a sentence for an administrator.
    pub fn parse(v4: &str, v6: &str) -> Result<Self, String> {
        let parse = |text, width, family| match parse_prefix(text, width)? {
            0 => Err(format!("prefix length 0 would count all of {family} as one: write a number from 1 to {width}")),
            prefix => Ok(prefix),
        };
        Ok(Self { v4: parse(v4, 32, "IPv4")?, v6: parse(v6, 128, "IPv6")? })
    }

    /// The block of all addresses that are counted together with this one.
    pub fn block(self, address: IpAddr) -> Cidr {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { self.v4 } else { self.v6 };
        Cidr { network: mask(address, prefix), prefix }
    }

    /// The bytes that are the same for all addresses counted together, and for no others: the family
    /// (4 or 6), then the masked address, left-aligned.
    pub fn group(self, address: IpAddr) -> [u8; 17] {
        let mut group = [0; 17];
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                group[0] = 4;
                group[1..5].copy_from_slice(&(v4.to_bits() & !host_bits_v4(self.v4)).to_be_bytes());
            }
            IpAddr::V6(v6) => {
                group[0] = 6;
                group[1..].copy_from_slice(&(v6.to_bits() & !host_bits_v6(self.v6)).to_be_bytes());
            }
        }
        group
    }
}

impl Default for AddressPrefix {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// The address as it is written, IPv4-mapped IPv6 still as IPv6.
fn parse_unfolded(text: &str) -> Result<IpAddr, String> {
    if text.is_empty() {
        return Err("an address is missing".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("{} bytes are too long for an address", text.len()));
    }
    text.parse().map_err(|_| {
        format!("{text:?} is not an address: write IPv4 without leading zeros (192.0.2.1) or IPv6 without zone (2001:db8::1)")
    })
}

/// A prefix length from 0 to `width`: digits without sign, blanks and leading zeros.
fn parse_prefix(text: &str, width: u8) -> Result<u8, String> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(prefix) if canonical && prefix <= width => Ok(prefix),
        _ => {
            let shown: String = text.chars().take(16).collect();
            Err(format!("{shown:?} is not a prefix length: write a number from 0 to {width}"))
        }
    }
}

/// Number of bits in an address of this family.
const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with all bits behind the prefix zero.
fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !host_bits_v4(prefix)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !host_bits_v6(prefix)).into()),
    }
}

/// Ones in all bits behind the prefix.
pub(super) fn host_bits_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// Ones in all bits behind the prefix.
pub(super) fn host_bits_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn refusal(text: &str) -> String {
        text.parse::<Cidr>().expect_err(text)
    }

    #[test]
    fn an_address_has_one_spelling_and_no_zone() {
        assert_eq!(parse_address("192.0.2.1"), Ok(ip("192.0.2.1")));
        assert_eq!(parse_address("0.0.0.0"), Ok(ip("0.0.0.0")));
        assert_eq!(parse_address("2001:DB8::1"), Ok(ip("2001:db8::1")));
        assert_eq!(parse_address("::ffff:192.0.2.1"), Ok(ip("192.0.2.1")));
        assert_eq!(parse_address("::FFFF:c000:201"), Ok(ip("192.0.2.1")));
        assert_eq!(parse_address("::192.0.2.1"), Ok(ip("::c000:201")), "IPv4-compatible is not IPv4-mapped");
        for text in [
            "",
            " ",
            "192.0.2.1 ",
            " 192.0.2.1",
            "192.0.2",
            "192.0.2.1.5",
            "192.0.2.256",
            "192.0.2.01",
            "0300.0.2.1",
            "0xc0.0.2.1",
            "3221225985",
            "192.0.2.-1",
            "192.0.2.+1",
            "fe80::1%eth0",
            "[::1]",
            "1::2::3",
            "::12345",
            "::ffff:192.0.2.01",
            "192.0.2.1:80",
            "localhost",
            "192.0.2.1\0",
            "١٩٢.0.2.1",
            "1.1.1.1/32",
        ] {
            assert!(parse_address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_not_repeated() {
        for text in ["9", "\x10", "\u{10ffff}"] {
            for text in [text.repeat(11), text.repeat(1_000_000)] {
                assert!(refusal(&text).len() < 400, "{text:?}");
                assert!(refusal(&format!("10.0.0.0/{text}")).len() < 400, "{text:?}");
            }
        }
        assert!(parse_address("0000:0000:0000:0000:0000:ffff:255.255.255.255").is_ok());
        assert!(!refusal("10.0.0.0\x1b[2J").contains('\x1b'), "control characters do not reach the terminal");
    }

    #[test]
    fn a_network_is_read_and_written() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("128.0.0.0/1", "128.0.0.0/1"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
        ] {
            assert_eq!(cidr(text).to_string(), written, "{text}");
            assert_eq!(cidr(written), cidr(text));
        }
    }

    #[test]
    fn host_bits_are_answered_with_both_meanings() {
        assert_eq!(refusal("10.1.2.3/8"), "10.1.2.3/8 has host bits set: write 10.0.0.0/8 or 10.1.2.3");
        assert_eq!(refusal("2001:db8::1/32"), "2001:db8::1/32 has host bits set: write 2001:db8::/32 or 2001:db8::1");
        assert_eq!(
            refusal("::ffff:10.1.2.3/104"),
            "::ffff:10.1.2.3/104 has host bits set: write 10.0.0.0/8 or 10.1.2.3"
        );
        for text in ["0.0.0.1/0", "192.0.2.1/31", "::1/0", "::1/127"] {
            assert!(refusal(text).contains("host bits"), "{text}");
        }
    }

    #[test]
    fn a_block_around_an_address_has_no_host_bits() {
        for (address, prefix, block) in [
            ("192.0.2.255", 26, Some("192.0.2.192/26")),
            ("192.0.2.255", 0, Some("0.0.0.0/0")),
            ("192.0.2.255", 33, None),
            ("::ffff:192.0.2.255", 24, Some("192.0.2.0/24")),
            ("::ffff:192.0.2.255", 96, None),
            ("2001:db8::1", 128, Some("2001:db8::1/128")),
            ("2001:db8::1", 129, None),
        ] {
            assert_eq!(Cidr::around(ip(address), prefix), block.map(cidr), "{address}/{prefix}");
        }
    }

    #[test]
    fn a_prefix_is_a_plain_number_in_range() {
        for prefix in
            ["33", "", " 8", "8 ", "-8", "+8", "08", "00", "256", "4294967304", "8/8", "8.0", "a", "255.0.0.0"]
        {
            assert!(refusal(&format!("10.0.0.0/{prefix}")).contains("prefix length"), "{prefix:?}");
        }
        assert!(refusal("::/129").contains("from 0 to 128"));
        assert!(refusal("/8").contains("missing"));
        assert!(refusal("::ffff:0:0/95").contains("at least 96"));
        assert!(refusal("::ffff:10.0.0.0/8").contains("at least 96"));
    }

    #[test]
    fn families_do_not_mix() {
        assert!(cidr("0.0.0.0/0").contains(ip("::ffff:192.0.2.1")));
        assert!(!cidr("0.0.0.0/0").contains(ip("::1")));
        assert!(!cidr("::/0").contains(ip("192.0.2.1")));
        assert!(!cidr("::/0").contains(ip("::ffff:192.0.2.1")));
        assert!(cidr("::/0").contains(ip("::192.0.2.1")));
    }

    #[test]
    fn edges_of_a_network() {
        let net = cidr("192.0.2.64/26");
        assert!(net.contains(ip("192.0.2.64")) && net.contains(ip("192.0.2.127")));
        assert!(!net.contains(ip("192.0.2.63")) && !net.contains(ip("192.0.2.128")));
        assert_eq!((net.network(), net.prefix()), (ip("192.0.2.64"), 26));
    }

    #[test]
    fn addresses_are_grouped_by_prefix() {
        let group = |address| AddressPrefix::default().group(ip(address));
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_ne!(group("0.0.0.0"), group("::"));
        assert_eq!(group("192.0.2.1")[..6], [4, 192, 0, 2, 1, 0]);
        for (address, block) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ] {
            assert_eq!(AddressPrefix::default().block(ip(address)), cidr(block), "{address}");
        }

        let wide = AddressPrefix::parse("24", "48").unwrap();
        assert_eq!(wide.group(ip("192.0.2.1")), wide.group(ip("192.0.2.255")));
        assert_ne!(wide.group(ip("192.0.2.255")), wide.group(ip("192.0.3.0")));
        let exact = AddressPrefix::parse("32", "128").unwrap();
        assert_ne!(exact.group(ip("::1")), exact.group(ip("::2")));
    }

    #[test]
    fn a_grouping_prefix_is_from_one_to_the_width() {
        assert_eq!(AddressPrefix::parse("32", "64"), Ok(AddressPrefix::default()));
        assert!(AddressPrefix::parse("1", "1").is_ok() && AddressPrefix::parse("32", "128").is_ok());
        for (v4, v6) in
            [("0", "64"), ("32", "0"), ("33", "64"), ("32", "129"), ("", "64"), ("/32", "64"), ("032", "64")]
        {
            assert!(AddressPrefix::parse(v4, v6).is_err(), "{v4} {v6}");
        }
    }
}
