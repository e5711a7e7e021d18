//! Where a configured limit is counted.

use std::collections::HashMap;

use super::{Bank, Charge, LimitId, Part, SlotTable};
use crate::config::limit::{KeyPart, LimitDef};
use crate::net::address::AddressPrefix;
use crate::time::MonoNanos;
use crate::token::Verified;
use crate::token::json::Json;

/// The reserved places of one limit in shared memory.
#[derive(Debug)]
pub struct Buckets {
    id: LimitId,
    bank: Bank,
    /// One for each issuer, of a limit with `key=issuer`.
    issuers: HashMap<String, Bank>,
}

/// What a key is made of.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// The client's address.
    pub client: std::net::IpAddr,
    /// The connection's peer.
    pub peer: std::net::IpAddr,
    /// How client addresses are grouped.
    pub prefix: AddressPrefix,
    /// Whose token it is; always there for limits that need it.
    pub identity: Option<&'s Verified>,
}

impl Buckets {
    /// Reserves the places of `def`. Only in the parent, before children are started. `issuers` are all that
    /// a token of this server can have. `None` if the table has no room for another limit.
    pub fn reserve<'i>(
        table: SlotTable<'_>,
        def: &LimitDef,
        issuers: impl IntoIterator<Item = &'i str>,
        now: MonoNanos,
    ) -> Option<Self> {
        let id = LimitId::new(&def.name).with_numbers(def.numbers);
        let bank = table.assign(id, now)?;
        let issuers: Option<HashMap<String, Bank>> = if def.key == [KeyPart::Issuer] {
            issuers
                .into_iter()
                .map(|issuer| Some((issuer.to_owned(), table.assign(id.with_member(issuer), now)?)))
                .collect()
        } else {
            Some(HashMap::new())
        };
        Some(Self { id, bank, issuers: issuers? })
    }

    /// How many banks [`Buckets::reserve`] takes.
    pub fn reserved(def: &LimitDef, issuers: usize) -> usize {
        if def.key == [KeyPart::Issuer] { 1 + issuers } else { 1 }
    }

    /// The limit's id.
    pub const fn id(&self) -> LimitId {
        self.id
    }

    /// The charge for one request. Does not allocate.
    pub fn charge(&self, table: SlotTable<'_>, def: &LimitDef, subject: &Subject<'_>) -> Charge {
        match def.key.as_slice() {
            [KeyPart::Global] => return Charge::shared(def.numbers, self.bank),
            [KeyPart::Issuer] => {
                let bank = subject.identity.and_then(|identity| self.issuers.get(issuer(identity)));
                return Charge::shared(def.numbers, *bank.unwrap_or(&self.bank));
            }
            _ => {}
        }
        let hasher = def.key.iter().fold(table.hasher(self.id), |hasher, part| {
            let text = |kind, value: Option<&str>| match value {
                Some(value) => hasher.clone().part(kind, value.as_bytes()),
                None => hasher.clone().missing(kind),
            };
            let identity = subject.identity;
            match part {
                KeyPart::Global => hasher,
                KeyPart::Address => hasher.part(Part::Address, &subject.prefix.group(subject.client)),
                KeyPart::Peer => hasher.part(Part::Peer, &AddressPrefix::WHOLE.group(subject.peer)),
                KeyPart::Issuer => text(Part::Issuer, identity.map(issuer)),
                KeyPart::Subject => {
                    let hasher = text(Part::Issuer, identity.map(issuer));
                    match identity.and_then(Verified::subject) {
                        Some(subject) => hasher.part(Part::Subject, subject.as_bytes()),
                        None => hasher.missing(Part::Subject),
                    }
                }
                KeyPart::Client => text(Part::Client, identity.and_then(Verified::client)),
                // There are no API keys yet: all requests are alike.
                KeyPart::ApiKey => hasher.missing(Part::ApiKey),
                KeyPart::Claim(name) => {
                    let value = identity.and_then(|identity| identity.claim(name)).and_then(Json::scalar_text);
                    text(Part::Claim, value.as_deref())
                }
            }
        });
        Charge::keyed(def.numbers, self.bank, hasher.finish())
    }
}

/// What tells issuers apart in keys: `iss`, so that two definitions for one issuer count together; for
/// tokens without `iss` the administrator's name.
pub fn issuer(identity: &Verified) -> &str {
    let issuer = identity.issuer();
    issuer.issuer.as_deref().unwrap_or(&issuer.name)
}
