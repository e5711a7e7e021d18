//! `JwtGateAllow` and `JwtGateDeny` of one place, ready to be asked.

use std::net::IpAddr;
use std::sync::Arc;

use super::network::NetworkSet;

/// One item of an Allow or a Deny.
#[derive(Clone, Debug)]
pub struct AddressRule {
    /// Test the connection's peer (`peer:` before the item) rather than the client's address.
    pub peer: bool,
    /// The networks of the item.
    pub set: Arc<NetworkSet>,
    /// As the directives name them.
    pub items: Vec<String>,
}

/// All that applies to the addresses of one place, inheritance done: an own Allow in place of the
/// inherited one, own and inherited Deny together, nothing of a kind after its `none`.
#[derive(Clone, Debug, Default)]
pub struct AddressRules {
    /// Empty: no Allow was written, everyone is allowed. An item with an empty set is not the same: it
    /// allows nobody.
    pub allow: Vec<AddressRule>,
    /// Wins over `allow`.
    pub deny: Vec<AddressRule>,
}

impl AddressRules {
    /// Whether a request of this client over this peer may go on. `client` is what mod_remoteip found,
    /// `peer` the other end of the connection. Does not allocate.
    pub fn permits(&self, client: IpAddr, peer: IpAddr) -> bool {
        let names = |rule: &AddressRule| rule.set.contains(if rule.peer { peer } else { client });
        !self.deny.iter().any(names) && (self.allow.is_empty() || self.allow.iter().any(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `peer:` before a network is understood as in the directive.
    fn rules(items: &[&str]) -> Vec<AddressRule> {
        items
            .iter()
            .map(|item| {
                let (peer, network) = item.strip_prefix("peer:").map_or((false, *item), |network| (true, network));
                AddressRule {
                    peer,
                    set: Arc::new([network.parse().unwrap()].into_iter().collect()),
                    items: vec![(*item).to_owned()],
                }
            })
            .collect()
    }

    fn permits(allow: &[&str], deny: &[&str], client: &str, peer: &str) -> bool {
        let rules = AddressRules { allow: rules(allow), deny: rules(deny) };
        rules.permits(client.parse().unwrap(), peer.parse().unwrap())
    }

    const PROXY: &str = "127.0.0.1";

    #[test]
    fn without_rules_everyone_passes() {
        assert!(AddressRules::default().permits("192.0.2.1".parse().unwrap(), "::1".parse().unwrap()));
    }

    #[test]
    fn with_an_allow_all_others_are_denied() {
        for (client, expected) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.0", false), ("::1", true), ("::2", false)]
        {
            assert_eq!(permits(&["10.0.0.0/8", "::1"], &[], client, PROXY), expected, "{client}");
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        assert!(!permits(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", PROXY));
        assert!(permits(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.2.3", PROXY));
        assert!(!permits(&["10.1.2.3"], &["0.0.0.0/0"], "10.1.2.3", PROXY));
        assert!(permits(&[], &["10.1.0.0/16"], "192.0.2.1", PROXY), "Deny alone denies no others");
    }

    #[test]
    fn denies_add_up() {
        for client in ["10.1.2.3", "10.2.2.3"] {
            assert!(!permits(&[], &["10.1.0.0/16", "10.2.0.0/16"], client, PROXY));
        }
    }

    #[test]
    fn a_peer_item_looks_at_the_peer_and_at_nothing_else() {
        assert!(permits(&["peer:127.0.0.0/8"], &[], "192.0.2.1", "127.0.0.1"));
        assert!(!permits(&["peer:127.0.0.0/8"], &[], "127.0.0.1", "192.0.2.1"));
        assert!(!permits(&["127.0.0.0/8"], &[], "192.0.2.1", "127.0.0.1"));
        assert!(!permits(&[], &["peer:192.0.2.1"], "10.1.2.3", "::ffff:192.0.2.1"));
        assert!(permits(&[], &["peer:192.0.2.1"], "192.0.2.1", "10.1.2.3"));
    }

    #[test]
    fn allow_items_are_alternatives() {
        assert!(permits(&["10.0.0.0/8", "peer:127.0.0.1"], &[], "192.0.2.1", "127.0.0.1"));
        assert!(permits(&["10.0.0.0/8", "peer:127.0.0.1"], &[], "10.1.2.3", "192.0.2.1"));
        assert!(!permits(&["10.0.0.0/8", "peer:127.0.0.1"], &[], "192.0.2.1", "192.0.2.1"));
    }

    #[test]
    fn an_allow_of_nothing_allows_nobody() {
        let nobody = AddressRules {
            allow: vec![AddressRule { peer: false, set: Arc::new(NetworkSet::default()), items: Vec::new() }],
            deny: Vec::new(),
        };
        assert!(!nobody.permits("192.0.2.1".parse().unwrap(), PROXY.parse().unwrap()));
    }
}
