//! Where a configured limit is counted with certain numbers: its own, or those of a plan.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{Bank, Charge, KeyHash, KeyHasher, LimitId, Numbers, Part, Quota, SlotTable};
use crate::config::limit::KeyPart;
use crate::identity::Identity;
use crate::net::address::AddressPrefix;
use crate::time::{Now, UnixMicros};
use crate::token::Verified;
use crate::token::json::Json;

/// The tables of a server.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'m> {
    /// Of rates.
    pub rates: SlotTable<'m>,
    /// Of quotas, if there are any.
    pub quotas: Option<SlotTable<'m>>,
}

/// What the name of a limit's quota ends in.
pub const QUOTA_SUFFIX: &str = "-quota";

/// By what is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// A bucket that is refilled.
    Rate(Numbers),
    /// A number of requests in a window of the calendar.
    Quota {
        /// How many.
        count: u32,
        /// The length of the window.
        window_secs: u64,
    },
}

impl Measure {
    /// `q` of the RateLimit-Policy field.
    pub const fn quantity(self) -> u32 {
        match self {
            Self::Rate(numbers) => numbers.burst(),
            Self::Quota { count, .. } => count,
        }
    }

    /// `w` of the RateLimit-Policy field.
    pub const fn window_secs(self) -> u64 {
        match self {
            Self::Rate(numbers) => numbers.window_secs(),
            Self::Quota { window_secs, .. } => window_secs,
        }
    }

    /// What is put behind the limit's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Rate(_) => "",
            Self::Quota { .. } => QUOTA_SUFFIX,
        }
    }
}

/// The reserved places of one limit with certain numbers.
#[derive(Debug)]
pub struct Meter {
    numbers: Numbers,
    rate: Places,
    quota: Option<(Quota, Places)>,
}

/// Reserved places in one table.
#[derive(Debug)]
struct Places {
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
    /// Who sent the request; always there for limits that need it.
    pub identity: Option<&'s Identity>,
}

impl Meter {
    /// Reserves places for a limit. Only in the parent, before children are started. `id` is that of the limit,
    /// `issuers` are all that a token of this server can have. `None` if a table has no room for another limit.
    pub fn reserve(
        tables: Tables<'_>,
        id: LimitId,
        key: &[KeyPart],
        (numbers, quota): (Numbers, Option<Quota>),
        issuers: &[&str],
        now: Now,
    ) -> Option<Self> {
        let issuers = if *key == [KeyPart::Issuer] { issuers } else { &[] };
        let rate = Places::reserve(id.with_numbers(numbers), issuers, |id| tables.rates.assign(id, now))?;
        let quota = match quota {
            Some(quota) => {
                let table = tables.quotas?;
                // Not by its number: who changes to another plan has used what was used.
                let id = id.with_period(quota.period());
                Some((quota, Places::reserve(id, issuers, |id| table.assign(id, now))?))
            }
            None => None,
        };
        Some(Self { numbers, rate, quota })
    }

    /// How many banks [`Meter::reserve`] takes of each table.
    pub fn reserved(key: &[KeyPart], issuers: usize) -> usize {
        if *key == [KeyPart::Issuer] { 1 + issuers } else { 1 }
    }

    /// The charges for one request. Does not allocate.
    pub fn charges<'m>(
        &self,
        tables: Tables<'m>,
        key: &[KeyPart],
        subject: &Subject<'_>,
        wall: UnixMicros,
    ) -> SmallVec<[(Measure, Charge<'m>); 2]> {
        let mut charges = SmallVec::new();
        let charge = match self.rate.place(tables.rates, key, subject) {
            (bank, None) => Charge::shared(tables.rates, self.numbers, bank),
            (bank, Some(key)) => Charge::keyed(tables.rates, self.numbers, bank, key),
        };
        charges.push((Measure::Rate(self.numbers), charge));
        if let (Some((quota, places)), Some(table)) = (&self.quota, tables.quotas) {
            let measure = Measure::Quota { count: quota.count(), window_secs: quota.period().window(wall).secs() };
            let charge = match places.place(table, key, subject) {
                (bank, None) => Charge::shared_quota(table, *quota, bank),
                (bank, Some(key)) => Charge::keyed_quota(table, *quota, bank, key),
            };
            charges.push((measure, charge));
        }
        charges
    }
}

impl Places {
    fn reserve(id: LimitId, issuers: &[&str], assign: impl Fn(LimitId) -> Option<Bank>) -> Option<Self> {
        let of_issuer = |issuer: &&str| Some(((*issuer).to_owned(), assign(id.with_member(issuer))?));
        Some(Self { id, bank: assign(id)?, issuers: issuers.iter().map(of_issuer).collect::<Option<_>>()? })
    }

    /// The bank, and the bucket if it is not the one that everybody shares.
    fn place(&self, table: SlotTable<'_>, key: &[KeyPart], subject: &Subject<'_>) -> (Bank, Option<KeyHash>) {
        match key {
            [KeyPart::Global] => (self.bank, None),
            [KeyPart::Issuer] => {
                let issuer = subject.identity.and_then(Identity::token).map(|token| issuer(token));
                (*issuer.and_then(|issuer| self.issuers.get(issuer)).unwrap_or(&self.bank), None)
            }
            _ => (self.bank, Some(hash(table.hasher(self.id), key, subject).finish())),
        }
    }
}

fn hash(hasher: KeyHasher, key: &[KeyPart], subject: &Subject<'_>) -> KeyHasher {
    let identity = subject.identity;
    let token = identity.and_then(Identity::token);
    key.iter().fold(hasher, |hasher, part| {
        let text = |kind, value: Option<&str>| match value {
            Some(value) => hasher.clone().part(kind, value.as_bytes()),
            None => hasher.clone().missing(kind),
        };
        let api_key = || identity.and_then(|identity| identity.key()).map(|key| key.id());
        match part {
            KeyPart::Global => hasher,
            KeyPart::Address => hasher.part(Part::Address, &subject.prefix.group(subject.client)),
            KeyPart::Peer => hasher.part(Part::Peer, &AddressPrefix::WHOLE.group(subject.peer)),
            KeyPart::Issuer => text(Part::Issuer, token.map(|token| issuer(token))),
            KeyPart::Subject => match token {
                Some(token) => {
                    let hasher = hasher.part(Part::Issuer, issuer(token).as_bytes());
                    match token.subject() {
                        Some(subject) => hasher.part(Part::Subject, subject.as_bytes()),
                        None => hasher.missing(Part::Subject),
                    }
                }
                // A key that is called like somebody is somebody else.
                None => text(Part::ApiKey, api_key()),
            },
            KeyPart::Client => text(Part::Client, identity.and_then(Identity::client)),
            KeyPart::ApiKey => text(Part::ApiKey, api_key()),
            KeyPart::Claim(name) => {
                let value = identity.and_then(|identity| identity.claim(name)).and_then(Json::scalar_text);
                text(Part::Claim, value.as_deref())
            }
        }
    })
}

/// What tells issuers apart in keys: `iss`, so that two definitions for one issuer count together; for
/// tokens without `iss` the administrator's name.
pub fn issuer(token: &Verified) -> &str {
    let issuer = token.issuer();
    issuer.issuer.as_deref().unwrap_or(&issuer.name)
}
