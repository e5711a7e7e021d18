//! What is said of lists that do not go together with the rest of the configuration.

use jwt_gate_core::apikey::ApiKeyList;
use jwt_gate_core::net::network::NetworkSet;
use jwt_gate_core::revocation::RevocationList;

use crate::httpd::{Level, Log, Server};
use crate::lists::List;
use crate::sources::{Addresses, Plan, PlannedNetwork, Source};

/// Speaks of a list that came into use.
pub(crate) fn warn_of_list(main: Server<'_>, plan: &Plan, index: usize, list: &List) {
    match list {
        List::Revocations(list) => warn_of_issuers(main, plan, &plan.sources[index], list),
        List::ApiKeys(list) => {
            warn_of_plans(main, plan, index, list);
            warn_of_networks(main, plan, index, list);
        }
        List::Network(list) => {
            let is_listed =
                |network: &&PlannedNetwork| matches!(network.addresses, Addresses::Listed(at) if at == index);
            for network in plan.networks.iter().filter(is_listed) {
                warn_of_everybody(main, network, list.set());
            }
        }
    }
}

/// Speaks of the networks that the configuration itself lists.
pub(crate) fn warn_of_written_networks(main: Server<'_>, plan: &Plan) {
    for network in &plan.networks {
        if let Addresses::Written(set) = &network.addresses {
            warn_of_everybody(main, network, set);
        }
    }
}

/// Speaks of a network in use that holds all addresses: what is asked with it has one answer only.
fn warn_of_everybody(main: Server<'_>, network: &PlannedNetwork, set: &NetworkSet) {
    let families = match (set.holds_all_v4(), set.holds_all_v6()) {
        (false, false) => return,
        (true, false) => "all of IPv4",
        (false, true) => "all of IPv6",
        (true, true) => "all of IPv4 and IPv6",
    };
    for directive in &network.used_by {
        main.log(Level::Warning, || {
            let name = &network.def.name;
            let then = match *directive {
                "JwtGateAllow" => format!("JwtGateAllow @{name} allows everybody there"),
                "JwtGateDeny" => format!("JwtGateDeny @{name} denies everybody there"),
                _ => format!("{directive} exempt=@{name} counts nobody there"),
            };
            format!("JG2210 {}: holds {families}: {then}", network.named_by)
        });
    }
}

/// Speaks of issuers that a list of revocations names and nobody has defined.
fn warn_of_issuers(main: Server<'_>, plan: &Plan, source: &Source, list: &RevocationList) {
    let is_known = |name: &str| plan.issuers.iter().any(|issuer| issuer.def.name == name);
    if let Some(names) = strangers(list.issuers(), is_known) {
        main.log(Level::Warning, || {
            let path = source.what.path().unwrap_or_default();
            format!(
                "JG2207 {}: {path} names the issuer {names}, which no JwtGateIssuer defines: such entries revoke nothing",
                source.named_by
            )
        });
    }
}

/// Speaks of plans that API keys name and nobody has defined. `api_keys` is the source of the list.
fn warn_of_plans(main: Server<'_>, plan: &Plan, api_keys: usize, list: &ApiKeyList) {
    let users = || plan.servers.iter().filter(|server| server.api_keys == Some(api_keys));
    let is_known = |name: &str| users().all(|server| server.plans.iter().any(|known| known.name == name));
    if let Some(names) = strangers(list.plans(), is_known) {
        main.log(Level::Warning, || {
            let source = &plan.sources[api_keys];
            let path = source.what.path().unwrap_or_default();
            format!(
                "JG2208 {}: {path} names the plan {names}, which no JwtGatePlan defines where the keys are used: they \
                 count as keys without a plan",
                source.named_by
            )
        });
    }
}

/// Speaks of networks that API keys name and that are not defined where the list is used. `api_keys` is its source.
fn warn_of_networks(main: Server<'_>, plan: &Plan, api_keys: usize, list: &ApiKeyList) {
    let users = || plan.servers.iter().filter(|server| server.api_keys == Some(api_keys));
    let is_known = |name: &str| {
        users().all(|server| server.networks.iter().any(|&network| plan.networks[network].def.name == name))
    };
    if let Some(names) = strangers(list.network_names(), is_known) {
        main.log(Level::Warning, || {
            let source = &plan.sources[api_keys];
            let path = source.what.path().unwrap_or_default();
            format!(
                "JG2209 {}: {path} names the network {names}, which no JwtGateNetwork defines where the keys are used: it \
                 lets nobody use them",
                source.named_by
            )
        });
    }
}

/// Those names that are not known, for a log line.
fn strangers<'n>(names: impl Iterator<Item = &'n str>, is_known: impl Fn(&str) -> bool) -> Option<String> {
    let unknown: Vec<_> = names.filter(|name| !is_known(name)).map(|name| format!("`{name}`")).collect();
    let (shown, more) = unknown.split_at(unknown.len().min(5));
    match (shown, more.len()) {
        ([], _) => None,
        (shown, 0) => Some(shown.join(", ")),
        (shown, more) => Some(format!("{} and {more} more", shown.join(", "))),
    }
}
