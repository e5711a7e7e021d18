//! What one server (the main one or a `<VirtualHost>`) said, and the tables that come of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::issuer::IssuerDef;
use super::log::LogDef;
use super::network::NetworkDef;
use super::plan::PlanDef;
use super::section::{Origin, Section};
use crate::net::address::AddressPrefix;
use crate::net::network::NetworkSet;
use crate::token::issuer::{Issuer, IssuerSet};

/// What one server said.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// `JwtGateIssuer`.
    pub issuers: Vec<(Origin, Arc<IssuerDef>)>,
    /// `JwtGateNetwork`.
    pub networks: Vec<(Origin, Arc<NetworkDef>)>,
    /// `JwtGatePlan`.
    pub plans: Vec<(Origin, Arc<PlanDef>)>,
    /// `JwtGateAddressPrefix`.
    pub prefix: Option<AddressPrefix>,
    /// `JwtGateTokenCache`.
    pub token_cache: Option<usize>,
    /// `JwtGateSharedMemory`, in bytes.
    pub shared_memory: Option<u64>,
    /// `JwtGateStateDir`.
    pub state_dir: Option<String>,
    /// `JwtGateRevocations`.
    pub revocations: Option<String>,
    /// `JwtGateApiKeys`.
    pub api_keys: Option<String>,
    /// `JwtGateLog`; `Some(None)` after `off`.
    pub log: Option<Option<Arc<LogDef>>>,
}

impl ServerSettings {
    /// Adds an issuer.
    ///
    /// # Errors
    /// Text for the administrator if the name is taken in this server.
    pub fn add_issuer(&mut self, origin: Origin, issuer: IssuerDef) -> Result<(), String> {
        if let Some((first, _)) = self.issuers.iter().find(|(_, known)| known.name == issuer.name) {
            return Err(format!("the issuer `{}` is defined already in {first}: give it another name", issuer.name));
        }
        self.issuers.push((origin, Arc::new(issuer)));
        Ok(())
    }

    /// Adds a network.
    ///
    /// # Errors
    /// Text for the administrator if the name is taken in this server.
    pub fn add_network(&mut self, origin: Origin, network: NetworkDef) -> Result<(), String> {
        if let Some((first, _)) = self.networks.iter().find(|(_, known)| known.name == network.name) {
            return Err(format!("the network `{}` is defined already in {first}: give it another name", network.name));
        }
        self.networks.push((origin, Arc::new(network)));
        Ok(())
    }

    /// Adds a plan.
    ///
    /// # Errors
    /// Text for the administrator if the name is taken in this server.
    pub fn add_plan(&mut self, origin: Origin, plan: PlanDef) -> Result<(), String> {
        if let Some((first, _)) = self.plans.iter().find(|(_, known)| known.name == plan.name) {
            return Err(format!("the plan `{}` is defined already in {first}: give it another name", plan.name));
        }
        self.plans.push((origin, Arc::new(plan)));
        Ok(())
    }

    /// A virtual host on top of the main server: it knows the issuers, networks and plans of both; its own
    /// take the place of those with the same name.
    #[must_use]
    pub fn merge(&self, host: &Self) -> Self {
        fn names<T>(
            base: &[(Origin, Arc<T>)],
            own: &[(Origin, Arc<T>)],
            name: fn(&T) -> &str,
        ) -> Vec<(Origin, Arc<T>)> {
            let inherited = base.iter().filter(|(_, b)| !own.iter().any(|(_, o)| name(o) == name(b)));
            inherited.chain(own).cloned().collect()
        }
        Self {
            issuers: names(&self.issuers, &host.issuers, |i| &i.name),
            networks: names(&self.networks, &host.networks, |n| &n.name),
            plans: names(&self.plans, &host.plans, |p| &p.name),
            prefix: host.prefix.or(self.prefix),
            token_cache: host.token_cache.or(self.token_cache),
            shared_memory: self.shared_memory,
            state_dir: self.state_dir.clone(),
            revocations: host.revocations.clone().or_else(|| self.revocations.clone()),
            api_keys: host.api_keys.clone().or_else(|| self.api_keys.clone()),
            log: host.log.clone().or_else(|| self.log.clone()),
        }
    }
}

/// `JwtGateTokenCache`: entries that a child process remembers where nothing else is said.
pub const DEFAULT_TOKEN_CACHE: usize = 4096;
/// `JwtGateTokenCache`: more than a million tokens are no longer a cache.
pub const MAX_TOKEN_CACHE: usize = 1 << 20;
/// `JwtGateSharedMemory`: bytes, where nothing else is said.
pub const DEFAULT_SHARED_MEMORY: u64 = 16 << 20;

/// The networks of a server by name; `None` for one whose file could never be read.
pub type Networks = HashMap<String, Option<Arc<NetworkSet>>>;

/// A server's issuers and networks, loaded.
#[derive(Debug, Default)]
pub struct ServerTables {
    /// In the order of the configuration.
    pub issuers: Vec<Arc<Issuer>>,
    /// By name.
    pub networks: Networks,
    /// In the order of the configuration.
    pub plans: Vec<Arc<PlanDef>>,
    /// How addresses are grouped in limits.
    pub prefix: AddressPrefix,
}

impl ServerTables {
    /// The issuers that a section accepts: those named, or all.
    ///
    /// # Errors
    /// Text for the administrator: a name that is not defined, or two issuers with one `iss`.
    pub fn accepted(&self, names: Option<&[String]>) -> Result<IssuerSet, String> {
        let chosen = match names {
            None => self.issuers.clone(),
            Some(names) => names
                .iter()
                .map(|name| {
                    self.issuers.iter().find(|issuer| issuer.name == *name).cloned().ok_or_else(|| {
                        format!("the issuer `{name}` is not defined in this server: add `JwtGateIssuer {name} ...`")
                    })
                })
                .collect::<Result<_, _>>()?,
        };
        IssuerSet::new(chosen)
    }

    /// Checks the names that a section uses.
    ///
    /// # Errors
    /// Text for the administrator.
    pub fn check(&self, section: &Section) -> Result<(), String> {
        let known = |(_, name): &(&str, &str)| self.networks.contains_key(*name);
        if let Some((directive, name)) = section.network_names().find(|network| !known(network)) {
            return Err(format!(
                "{directive} names the network `@{name}`, which is not defined in this server: \
                 add `JwtGateNetwork {name} ...`"
            ));
        }
        let defaults = section.limits.items.iter().filter_map(|(_, def)| Some((def, def.default_plan.as_ref()?)));
        for (def, plan) in defaults {
            if !self.plans.iter().any(|known| known.name == *plan) {
                return Err(format!(
                    "JwtGateLimit {}: `default-plan={plan}`: the plan is not defined in this server: add \
                     `JwtGatePlan {plan} ...`",
                    def.name
                ));
            }
        }
        match &section.issuers {
            Some(names) => {
                let wrong = |why| format!("JwtGateIssuers {}: {why}", names.join(" "));
                self.accepted(Some(names)).map(drop).map_err(wrong)
            }
            None => Ok(()),
        }
    }
}
