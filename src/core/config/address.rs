//! `JwtGateAllow` and `JwtGateDeny`: which addresses may connect.

use crate::net::address::Cidr;

/// One argument: `[peer:]CIDR` or `[peer:]@NETWORK`.
#[derive(Clone, Debug)]
pub struct Item {
    /// Test the connection's peer instead of the client address that mod_remoteip found.
    pub peer: bool,
    /// The addresses meant.
    pub addresses: Addresses,
}

/// Addresses of an item.
#[derive(Clone, Debug)]
pub enum Addresses {
    /// A network written out.
    Cidr(Cidr),
    /// A `JwtGateNetwork` by name.
    Named(String),
}

/// The items of one directive; `None` for the single word `none`.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<Vec<Item>>, String> {
    match words {
        [] => Err("names no address: write CIDRs, `@NETWORK` or `none`".to_owned()),
        [only] if only.eq_ignore_ascii_case("none") => Ok(None),
        _ => words.iter().map(|word| item(word)).collect::<Result<_, _>>().map(Some),
    }
}

fn item(word: &str) -> Result<Item, String> {
    if word.eq_ignore_ascii_case("none") {
        return Err(
            "`none` stands alone: leave the other addresses out, or write them in a directive of their own".to_owned()
        );
    }
    let (peer, rest) = word.strip_prefix("peer:").map_or((false, word), |rest| (true, rest));
    let addresses = match network_name(rest) {
        Some(name) => name.map(Addresses::Named),
        None => rest.parse().map(Addresses::Cidr),
    };
    addresses.map(|addresses| Item { peer, addresses }).map_err(|why| format!("`{word}`: {why}"))
}

/// The name in `@NAME`; `None` if `word` does not begin with `@`.
pub fn network_name(word: &str) -> Option<Result<String, String>> {
    word.strip_prefix('@').map(|name| super::parse::name("a network", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items() {
        let items = parse(&["10.0.0.0/8", "peer:@office", "::1"]).unwrap().unwrap();
        assert!(items[1].peer && matches!(&items[1].addresses, Addresses::Named(n) if n == "office"));
        assert!(!items[2].peer);
        assert!(parse(&["none"]).unwrap().is_none());
        for wrong in [&[][..], &["none", "::1"], &["@"], &["peer:"], &["10.0.0.1/8"], &["example.com"], &["@a b"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
