//! Files of networks and what is compiled of them: what is read, what is refused and with which words, and that nothing
//! but what was compiled is taken for a list.
#![allow(clippy::unwrap_used)] // a test ends at the first thing that is not as it should be

use std::net::IpAddr;
use std::sync::Arc;

use jwt_gate_core::compiled::sha256;
use jwt_gate_core::config::address;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::Section;
use jwt_gate_core::config::server::ServerTables;
use jwt_gate_core::net::aws_file::Filter;
use jwt_gate_core::net::list::{Format, NetworkList, compile};

fn aws(services: &[&str], regions: &[&str]) -> Format {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Format::Aws(Filter { services: owned(services), regions: owned(regions) })
}

fn list(source: &str, format: &Format) -> NetworkList {
    NetworkList::open(Arc::new(compile(source.as_bytes(), format).unwrap_or_else(|why| panic!("{why}")))).unwrap()
}

fn error(source: impl AsRef<[u8]>, format: &Format) -> String {
    let text = compile(source.as_ref(), format).unwrap_err();
    assert!(text.len() <= 400 && !text.contains(char::is_control), "{text:?}");
    text
}

fn holds(list: &NetworkList, address: &str) -> bool {
    list.set().contains(address.parse::<IpAddr>().unwrap())
}

/// As AWS writes it.
const RANGES: &str = r#"{
  "syncToken": "1700000000",
  "createDate": "2026-11-14-00-00-00",
  "prefixes": [
    {
      "ip_prefix": "3.4.12.4/32",
      "region": "eu-west-1",
      "service": "AMAZON",
      "network_border_group": "eu-west-1"
    },
    {
      "ip_prefix": "3.4.12.4/32",
      "region": "eu-west-1",
      "service": "EC2",
      "network_border_group": "eu-west-1"
    },
    {
      "ip_prefix": "52.95.110.0/24",
      "region": "GLOBAL",
      "service": "S3",
      "network_border_group": "GLOBAL"
    }
  ],
  "ipv6_prefixes": [
    {
      "ipv6_prefix": "2600:1f14::/35",
      "region": "us-west-2",
      "service": "EC2",
      "network_border_group": "us-west-2"
    }
  ]
}
"#;

#[test]
fn all_of_aws_or_what_is_asked_for() {
    for (services, regions, networks, inside) in [
        (&[][..], &[][..], 3, [true, true, true]),
        (&["EC2"], &[], 2, [true, false, true]),
        (&["ec2", "s3"], &[], 3, [true, true, true]),
        (&["S3"], &["global"], 1, [false, true, false]),
        (&[], &["GLOBAL", "us-west-2"], 2, [false, true, true]),
        (&["EC2"], &["EU-WEST-1"], 1, [true, false, false]),
    ] {
        let list = list(RANGES, &aws(services, regions));
        let found = ["3.4.12.4", "52.95.110.7", "2600:1f14::1"].map(|address| holds(&list, address));
        assert_eq!((list.len(), found), (networks, inside), "{services:?} {regions:?}");
        assert!(!holds(&list, "3.4.12.5"));
    }
}

#[test]
fn a_filter_that_finds_nothing_names_what_there_is() {
    assert_eq!(error(RANGES, &aws(&["EC3"], &[])), "no network has `service=EC3`: the file has `AMAZON`, `EC2`, `S3`");
    assert_eq!(
        error(RANGES, &aws(&["S3", "EC3"], &[])),
        "no network has `service=EC3`: the file has `AMAZON`, `EC2`, `S3`"
    );
    assert_eq!(
        error(RANGES, &aws(&[], &["eu-central-1"])),
        "no network has `region=eu-central-1`: the file has `GLOBAL`, `eu-west-1`, `us-west-2`"
    );
    let both = error(RANGES, &aws(&["S3"], &["us-west-2"]));
    assert!(both.starts_with("no network has both `service=S3` and `region=us-west-2`"), "{both}");
    let nameless = r#"{"prefixes":[{"ip_prefix":"10.0.0.0/8"}]}"#;
    assert_eq!(error(nameless, &aws(&["S3"], &[])), "no network has `service=S3`: the file has none");
    let many: Vec<_> = (10..30)
        .map(|n| format!(r#"{{"ip_prefix":"10.0.0.0/8","service":"s{n}{}"}}"#, "\\u0007\u{fc}".repeat(300)))
        .collect();
    let many = error(format!(r#"{{"prefixes":[{}]}}"#, many.join(",")), &aws(&["S3"], &[]));
    assert!(many.contains("`s10") && many.ends_with("and 12 more"), "{many}");
}

#[test]
fn what_aws_may_add_is_passed_over() {
    let source = r#"{"new":{"deep":[{}]},"ipv6_prefixes":[{"ipv6_prefix":"::/1","new":[1,{"a":null}]}]}"#;
    assert_eq!(list(source, &aws(&[], &[])).len(), 1);
}

#[test]
fn a_mistake_in_a_file_of_aws_has_a_line() {
    let entry = |text: &str| format!("{{\"prefixes\":[\n{{\"ip_prefix\":\"10.0.0.0/8\"}},\n{text}\n]}}");
    for (source, line, reason) in [
        (entry(r#"{"ip_prefix":"10.0.0.1/8"}"#), 3, "host bits set: write 10.0.0.0/8"),
        (entry(r#"{"ip_prefix":"10.0.0.0/33"}"#), 3, "prefix length"),
        (entry(r#"{"ip_prefix":""}"#), 3, "missing"),
        (entry(r#"{"ip_prefix":7}"#), 3, "\"ip_prefix\" as text in double quotes"),
        (entry(r#"{"ip_prefix":null}"#), 3, "\"ip_prefix\" as text in double quotes"),
        (entry(r#"{"ip_prefix":"10.0.0.0/8","service":["S3"]}"#), 3, "\"service\" as text in double quotes"),
        (entry(r#"{"ip_prefix":"10.0.0.0/8","region":false}"#), 3, "\"region\" as text in double quotes"),
        (entry(r#"{"ip_prefix":"10.0.0.0/8","ip_prefix":"10.0.0.0/8"}"#), 3, "\"ip_prefix\" stands twice"),
        (entry(r#"{"service":"S3"}"#), 3, "this entry has no \"ip_prefix\""),
        (entry(r#"{"ipv6_prefix":"::/1"}"#), 3, "this entry has no \"ip_prefix\""),
        (entry(r#"{"ip_prefix":"::/1"}"#), 3, "other family"),
        (entry(r#""10.0.0.0/8""#), 3, "an entry like {\"ip_prefix\":NETWORK"),
        (entry("[]"), 3, "an entry like"),
        (entry(r#"{"ip_prefix":"10.0.0.0/8"},"#), 4, "not JSON"),
        ("{\"ipv6_prefixes\":[\n{\"ipv6_prefix\":\"10.0.0.0/8\"}]}".to_owned(), 2, "other family"),
        ("{\"ipv6_prefixes\":[\n{\"ipv6_prefix\":\"::ffff:10.0.0.0/104\"}]}".to_owned(), 2, "other family"),
        ("{\"prefixes\":{}}".to_owned(), 1, "a list of entries: \"prefixes\":[…]"),
        ("{\"prefixes\":[],\n\"prefixes\":[]}".to_owned(), 2, "\"prefixes\" stands there twice"),
        ("{\"syncToken\":\"1\"}".to_owned(), 1, "not the ip-ranges.json of AWS"),
        ("[]".to_owned(), 1, "{\"prefixes\":[…],\"ipv6_prefixes\":[…]}"),
        (format!("{RANGES}{{}}"), 33, "not JSON"),
        (format!("{RANGES}# end"), 33, "not JSON"),
        (RANGES[..RANGES.len() - 3].to_owned(), 31, "not JSON"),
        (String::new(), 1, "not JSON"),
        ("<html>".to_owned(), 1, "not JSON"),
        ("10.0.0.0/8\n".to_owned(), 1, "expected {\"prefixes\":[…]"),
        ("[".repeat(100_000), 1, ""),
        ("{\"prefixes\":".to_owned() + &"[".repeat(100_000), 1, ""),
        ("{\"new\":".to_owned() + &"[".repeat(100_000), 1, ""),
    ] {
        let text = error(&source, &aws(&[], &[]));
        assert!(text.starts_with(&format!("line {line}: ")) && text.contains(reason), "{source}\n{text}");
    }
    assert!(error(b"{\"prefixes\":[{\"ip_prefix\":\"\xff\"}]}", &aws(&[], &[])).starts_with("line 1: "));
}

#[test]
fn an_empty_file_is_no_list() {
    for source in ["{\"prefixes\":[]}", "{\"prefixes\":[],\"ipv6_prefixes\":[]}"] {
        assert_eq!(error(source, &aws(&[], &[])), "the list holds no network");
    }
    assert_eq!(error("# nothing", &Format::Cidr), "the list holds no network");
}

#[test]
fn networks_are_counted_once_and_as_they_are_written() {
    let list = list("10.0.0.0/24\n10.0.1.0/24\n10.0.0.0/24\n10.0.0.0/23\n::1\n", &Format::Cidr);
    assert_eq!((list.len(), list.set().len()), (4, 2));
}

#[test]
fn less_than_half_is_too_little() {
    let of = |count: usize| list(&(0..count).map(|n| format!("10.0.{n}.0/25\n")).collect::<String>(), &Format::Cidr);
    for (before, now, accepted) in
        [(1, 1, true), (2, 1, true), (3, 1, false), (3, 2, true), (100, 50, true), (100, 49, false), (101, 50, false)]
    {
        let judged = of(now).check_shrinkage(&of(before));
        assert_eq!(judged.is_ok(), accepted, "{before} {now}");
        if let Err(why) = judged {
            assert!(why.contains(&format!("{now} networks")) && why.contains(&format!("{before} before")), "{why}");
            assert!(why.contains("shrink=allow"), "{why}");
        }
    }
    // Whatever addresses they have.
    assert!(list("10.0.0.0/8\n", &Format::Cidr).check_shrinkage(&of(100)).is_err());
}

#[test]
fn a_compiled_list_is_what_was_compiled() {
    let source: String =
        (0..100_000_u32).map(|n| format!("10.{}.{}.{}\n", n >> 15, n >> 7 & 0xff, n << 1 & 0xff)).collect();
    let bytes = compile(source.as_bytes(), &Format::Cidr).unwrap();
    assert!(bytes.len() < 900_000, "{} bytes", bytes.len());
    let list = NetworkList::open(Arc::new(bytes)).unwrap();
    assert_eq!((list.len(), list.set().len(), list.source_digest()), (100_000, 100_000, sha256(source.as_bytes())));
    for n in (0..100_000_u32).step_by(997) {
        let address = |low: u32| format!("10.{}.{}.{}", n >> 15, n >> 7 & 0xff, (n << 1 & 0xff) + low);
        assert!(holds(&list, &address(0)) && !holds(&list, &address(1)), "{n}");
    }
}

#[test]
fn damage_is_found() {
    let bytes = compile(b"10.0.0.0/8\n192.0.2.1\n2001:db8::/32\n", &Format::Cidr).unwrap();
    let open = |bytes: Vec<u8>| NetworkList::open(Arc::new(bytes));
    assert!(open(bytes.clone()).is_ok());
    for length in 0..bytes.len() {
        assert!(open(bytes[..length].to_vec()).is_err(), "{length} bytes");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(open(damaged).is_err(), "byte {at}");
    }
    assert!(open([&bytes[..], &[0]].concat()).is_err());
    let error = |bytes: Vec<u8>| open(bytes).unwrap_err();
    assert!(error(vec![]).contains("no compiled list of networks"));
    let revocations = jwt_gate_core::revocation::compile(b"{\"revoked\":[]}").unwrap().bytes;
    assert!(error(revocations).contains("no compiled list of networks"));
    let mut newer = bytes;
    newer[8] += 1;
    assert!(error(newer).contains("another version"));
}

/// An array with these ranges of IPv4 and a right checksum.
fn forged(v4: usize, v6: usize, ranges: &[u8]) -> Vec<u8> {
    let real = compile(b"10.0.0.0/8", &Format::Cidr).unwrap();
    let mut bytes = real[..16].to_vec();
    for count in [1, v4, v6] {
        bytes.extend((count as u64).to_le_bytes());
    }
    bytes.extend(sha256(b""));
    bytes.extend(ranges);
    let checksum = sha256(&bytes);
    bytes.extend(checksum);
    bytes
}

#[test]
fn ranges_that_nobody_wrote_are_damage_whatever_the_checksum_says() {
    let open = |v4, v6, ranges: &[u8]| NetworkList::open(Arc::new(forged(v4, v6, ranges)));
    assert_eq!(open(1, 0, &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap().set().len(), 1);
    assert!(open(2, 0, &[1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0]).is_ok());
    for (v4, v6, ranges) in [
        // The last before the first; overlapping; descending.
        (1, 0, &[2, 0, 0, 0, 1, 0, 0, 0][..]),
        (2, 0, &[1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]),
        (2, 0, &[3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]),
        // More or fewer than there are.
        (0, 0, &[1, 0, 0, 0, 2, 0, 0, 0]),
        (2, 0, &[1, 0, 0, 0, 2, 0, 0, 0]),
        (0, 1, &[1, 0, 0, 0, 2, 0, 0, 0]),
        (usize::MAX, 0, &[]),
        (0, usize::MAX, &[]),
        (usize::MAX / 8 + 1, 0, &[]),
        (0, usize::MAX / 32 + 1, &[]),
    ] {
        let error = open(v4, v6, ranges).unwrap_err();
        assert!(error.contains("damaged"), "{v4} {v6}: {error}");
    }
}

#[test]
fn places_that_use_a_network_share_it() {
    let list = list("10.0.0.0/8\n", &Format::Cidr);
    let tables = ServerTables {
        networks: [("office".to_owned(), Some(Arc::clone(list.set())))].into(),
        ..ServerTables::default()
    };
    let policies: Vec<_> = (0..100)
        .map(|_| {
            let mut section = Section::default();
            section.addresses.allow = address::parse(&["@office"]).unwrap().items;
            section.addresses.deny.add(address::parse(&["peer:@office"]).unwrap().items);
            Policy::resolve(&[&section], &tables, &|_, _, _, _| None).unwrap()
        })
        .collect();
    let rules = policies.iter().flat_map(|policy| policy.addresses.allow.iter().chain(&policy.addresses.deny));
    assert_eq!(rules.filter(|rule| Arc::ptr_eq(&rule.set, list.set())).count(), 200);
}
