//! Network sets against a model that knows nothing of ranges: a list of blocks, each compared with the
//! address bit by bit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jwt_gate_core::net::address::{AddressPrefix, Cidr, parse_address};
use jwt_gate_core::net::cidr_file;
use jwt_gate_core::net::network::NetworkSet;
use jwt_gate_core::net::rules::{AddressRule, AddressRules};
use proptest::collection::vec;
use proptest::prelude::*;

/// A block of the model: bits left-aligned in 128, so that both families are compared alike.
#[derive(Clone, Copy, Debug)]
struct Block {
    v4: bool,
    bits: u128,
    prefix: u32,
    /// Written as IPv4-mapped IPv6.
    mapped: bool,
}

impl Block {
    fn new(v4: bool, bits: u128, prefix: u32, mapped: bool) -> Self {
        let prefix = prefix % if v4 { 33 } else { 129 };
        let kept = (0..prefix).fold(0, |mask, bit| mask | 1 << (127 - bit));
        Self { v4, bits: bits & kept, prefix, mapped }
    }

    fn text(self) -> String {
        match (self.v4, self.mapped) {
            (true, false) => format!("{}/{}", v4(self.bits), self.prefix),
            (true, true) => format!("::ffff:{}/{}", v4(self.bits), self.prefix + 96),
            (false, _) => format!("{}/{}", Ipv6Addr::from_bits(self.bits), self.prefix),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        let (is_v4, bits) = left_aligned(address);
        is_v4 == self.v4 && (0..self.prefix).all(|bit| (bits ^ self.bits) >> (127 - bit) & 1 == 0)
    }

    /// The first and the last address, and those just outside.
    fn edges(self) -> Vec<IpAddr> {
        let unit = if self.v4 { 1 << 96 } else { 1 };
        let last = (self.prefix..if self.v4 { 32 } else { 128 }).fold(self.bits, |bits, bit| bits | 1 << (127 - bit));
        [self.bits.wrapping_sub(unit), self.bits, last, last.wrapping_add(unit)]
            .into_iter()
            .map(|bits| if self.v4 { v4(bits).into() } else { Ipv6Addr::from_bits(bits).into() })
            .collect()
    }
}

fn v4(left_aligned: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits((left_aligned >> 96) as u32)
}

fn left_aligned(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits()) << 96),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => (true, u128::from(v4.to_bits()) << 96),
            None => (false, v6.to_bits()),
        },
    }
}

/// Blocks crowded into a few neighbourhoods, so that they meet, nest and repeat; and some anywhere.
fn block() -> impl Strategy<Value = Block> {
    let crowded_v4 = (0..64_u128, 24..=32_u32).prop_map(|(low, prefix)| (true, (10 << 120) | (low << 96), prefix));
    let top_v4 = (0..64_u128, 24..=32_u32).prop_map(|(low, prefix)| (true, u128::MAX << 96 & !(low << 96), prefix));
    let crowded_v6 = (0..64_u128, 120..=128_u32).prop_map(|(low, prefix)| (false, (0x2001_0db8 << 96) | low, prefix));
    // the IPv4-mapped block and what surrounds it
    let mapped_v6 = (0..4_u128, 90..=128_u32).prop_map(|(low, prefix)| (false, (0xfffe << 32) | (low << 31), prefix));
    let anywhere = (any::<bool>(), any::<u128>(), 0..=128_u32);
    let short = (any::<bool>(), any::<u128>(), 0..=2_u32);
    (
        prop_oneof![
            4 => crowded_v4, 1 => top_v4, 4 => crowded_v6, 1 => mapped_v6, 2 => anywhere, 1 => short,
        ],
        any::<bool>(),
    )
        .prop_map(|((v4, bits, prefix), mapped)| Block::new(v4, bits, prefix, mapped))
        // what is IPv4-mapped is never an IPv6 block
        .prop_filter("mapped", |block| block.v4 || Ipv6Addr::from_bits(block.bits).to_ipv4_mapped().is_none())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..64_u32).prop_map(|low| Ipv4Addr::from_bits(10 << 24 | low).into()),
        (0..64_u128).prop_map(|low| Ipv6Addr::from_bits(0x2001_0db8 << 96 | low).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

fn parsed(blocks: &[Block]) -> Vec<Cidr> {
    blocks.iter().map(|block| block.text().parse().expect("a network")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_set_agrees_with_the_list_it_was_built_from(blocks in vec(block(), 0..24), more in vec(address(), 0..16)) {
        let cidrs = parsed(&blocks);
        let set: NetworkSet = cidrs.iter().copied().collect();
        prop_assert!(set.len() <= blocks.len());
        for address in blocks.iter().flat_map(|block| block.edges()).chain(more) {
            let expected = blocks.iter().any(|block| block.contains(address));
            prop_assert_eq!(set.contains(address), expected, "{}", address);
            prop_assert_eq!(cidrs.iter().any(|cidr| cidr.contains(address)), expected, "{}", address);
            if let IpAddr::V4(v4) = address {
                prop_assert_eq!(set.contains(v4.to_ipv6_mapped().into()), expected, "mapped {}", address);
            }
        }
    }

    #[test]
    fn the_order_of_networks_does_not_matter(blocks in vec(block(), 0..24)) {
        let forward: NetworkSet = parsed(&blocks).into_iter().collect();
        let backward: NetworkSet = parsed(&blocks).into_iter().rev().collect();
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn a_network_is_written_as_it_is_read(block in block()) {
        let cidr: Cidr = block.text().parse().unwrap();
        prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
        prop_assert_eq!(left_aligned(cidr.network()), (block.v4, block.bits));
    }

    #[test]
    fn the_network_named_for_host_bits_is_the_one_meant(address in address(), prefix in 0..=128_u32) {
        let text = format!("{address}/{prefix}");
        if let Err(error) = text.parse::<Cidr>()
            && let Some((_, remedy)) = error.split_once("write ")
            && error.contains("host bits")
        {
            let (network, host) = remedy.split_once(" or ").unwrap();
            let network: Cidr = network.parse().unwrap();
            prop_assert!(network.contains(address));
            prop_assert_eq!(parse_address(host), Ok(address.to_canonical()));
        }
    }

    #[test]
    fn a_list_gives_what_its_lines_give(blocks in vec(block(), 1..24), crlf in any::<bool>(), bom in any::<bool>()) {
        let line_end = if crlf { " # why\r\n" } else { "\n\n" };
        let list: String = blocks.iter().map(|block| block.text() + line_end).collect();
        let list = format!("{}{list}", if bom { "\u{feff}" } else { "" });
        prop_assert_eq!(cidr_file::read(list.as_bytes()), Ok(parsed(&blocks)));
    }

    #[test]
    fn two_addresses_are_one_group_exactly_if_they_share_the_prefix(
        one in address(), other in address(), v4 in 1..=32_u32, v6 in 1..=128_u32,
    ) {
        let prefix = AddressPrefix::parse(&v4.to_string(), &v6.to_string()).unwrap();
        let (is_v4, bits) = left_aligned(one);
        let same = Block::new(is_v4, bits, if is_v4 { v4 } else { v6 }, false).contains(other);
        prop_assert_eq!(prefix.group(one) == prefix.group(other), same);
    }

    #[test]
    fn rules_agree_with_their_definition(
        allow in vec((any::<bool>(), block()), 0..4),
        deny in vec((any::<bool>(), block()), 0..4),
        client in address(),
        peer in address(),
    ) {
        let rules = |items: &[(bool, Block)]| -> Vec<AddressRule> {
            let item = |(peer, block): &(bool, Block)| AddressRule {
                peer: *peer,
                set: Arc::new(parsed(&[*block]).into_iter().collect()),
                items: Vec::new(),
            };
            items.iter().map(item).collect()
        };
        let named = |(of_peer, block): &(bool, Block)| block.contains(if *of_peer { peer } else { client });
        let expected = !deny.iter().any(named) && (allow.is_empty() || allow.iter().any(named));
        prop_assert_eq!(AddressRules { allow: rules(&allow), deny: rules(&deny) }.permits(client, peer), expected);
    }
}
