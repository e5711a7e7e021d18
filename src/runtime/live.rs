//! What requests use, as it is at a moment.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::apikey::ApiKeyList;
use jwt_gate_core::config::server::ServerTables;
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::token::issuer::Issuer;
use parking_lot::RwLock;

use super::Resolved;
use super::kept::Kept;
use crate::lists::List;
use crate::sources::{Addresses, Plan, PlannedNetwork};

/// Keys and lists as they are now, with the policies that were finished with them. Never changes: newer ones
/// take the place of the whole.
pub(crate) struct Live {
    /// Versions of the keys, by source.
    pub(super) versions: Vec<u64>,
    pub(super) servers: Vec<ServerTables>,
    /// By server.
    pub(super) revocations: Vec<Option<Arc<RevocationList>>>,
    /// By server.
    pub(super) api_keys: Vec<Option<Arc<ApiKeyList>>>,
    /// Finished policies, by server and sections.
    pub(super) policies: RwLock<HashMap<Box<[usize]>, Resolved>>,
}

impl Live {
    pub(super) fn of(plan: &Plan, kept: &Kept) -> Self {
        let list = |index: usize| kept.sources[index].list.as_ref();
        let set = |network: &PlannedNetwork| match &network.addresses {
            Addresses::Written(set) => Some(Arc::clone(set)),
            Addresses::Listed(index) => list(*index).and_then(List::network).cloned(),
        };
        let servers = plan.servers.iter().map(|server| {
            // Who is revoked cannot be told without the list.
            let closed = server.revocations.is_some_and(|index| list(index).is_none());
            let issuer = |&index: &usize| match &kept.issuers[index].issuer {
                issuer if closed => Arc::new(Issuer { keys: None, ..Issuer::clone(issuer) }),
                issuer => Arc::clone(issuer),
            };
            let networks = server.networks.iter().map(|&index| &plan.networks[index]);
            ServerTables {
                issuers: server.issuers.iter().map(issuer).collect(),
                networks: networks.map(|network| (network.def.name.clone(), set(network))).collect(),
                plans: server.plans.clone(),
                prefix: server.prefix,
            }
        });
        Self {
            versions: kept.sources.iter().map(|source| source.version).collect(),
            servers: servers.collect(),
            revocations: plan.servers.iter().map(|server| list(server.revocations?)?.revocations().cloned()).collect(),
            api_keys: plan.servers.iter().map(|server| list(server.api_keys?)?.api_keys().cloned()).collect(),
            policies: RwLock::default(),
        }
    }
}
