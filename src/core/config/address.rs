//! `JwtGateAllow` and `JwtGateDeny`: which addresses may connect.

use std::fmt;

use super::parse::DRY_RUN;
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

/// As an argument.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.peer { "peer:" } else { "" })?;
        match &self.addresses {
            Addresses::Cidr(cidr) => write!(f, "{cidr}"),
            Addresses::Named(name) => write!(f, "@{name}"),
        }
    }
}

/// What one directive says.
#[derive(Clone, Debug)]
pub struct Directive {
    /// It only tells what it would refuse.
    pub dry_run: bool,
    /// Its items; `None` for the single word `none`.
    pub items: Option<Vec<Item>>,
}

/// `[dry-run] ITEM…`, or `[dry-run] none`.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Directive, String> {
    let (dry_run, words) = match words {
        [first, rest @ ..] if first.eq_ignore_ascii_case(DRY_RUN) => (true, rest),
        _ => (false, words),
    };
    items(words).map(|items| Directive { dry_run, items })
}

fn items(words: &[&str]) -> Result<Option<Vec<Item>>, String> {
    match words {
        [] => Err("names no address: write CIDRs, `@NETWORK` or `none`".to_owned()),
        [only] if only.eq_ignore_ascii_case("none") => Ok(None),
        _ => words.iter().map(|word| item(word)).collect::<Result<_, _>>().map(Some),
    }
}

fn item(word: &str) -> Result<Item, String> {
    if word.eq_ignore_ascii_case(DRY_RUN) {
        return Err("`dry-run` stands before all addresses of a directive: write it first".to_owned());
    }
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
    fn forms() {
        let items = parse(&["10.0.0.0/8", "peer:@office", "::1"]).unwrap().items.unwrap();
        assert!(items[1].peer && matches!(&items[1].addresses, Addresses::Named(n) if n == "office"));
        assert!(!items[2].peer);
        assert_eq!(items.iter().map(Item::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "peer:@office", "::1/128"]);
        assert!(parse(&["none"]).unwrap().items.is_none());
        let trial = parse(&["Dry-Run", "10.0.0.0/8"]).unwrap();
        assert!(trial.dry_run && trial.items.unwrap().len() == 1);
        assert!(parse(&["dry-run", "none"]).unwrap().items.is_none());
        for wrong in [
            &[][..],
            &["dry-run"],
            &["::1", "dry-run"],
            &["none", "::1"],
            &["@"],
            &["peer:"],
            &["10.0.0.1/8"],
            &["example.com"],
            &["@a b"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
