//! Whom the gate has refused: noted when a client request is over, for the administrator.

use std::collections::HashMap;

use jwt_gate_core::decision_log::SubjectHasher;
use jwt_gate_core::limit::QUOTA_SUFFIX;
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::refusals::{Entry, Geometry, NameId, RefusalTable, Who};
use jwt_gate_core::status::RefusalStatus;
use jwt_gate_core::time::UnixMicros;
use jwt_gate_core::verdict::{Reason, Ruling};

use crate::account::Account;
use crate::check::limits;
use crate::decision_log::pseudonym;
use crate::httpd::{Level, Log, Request, Segment, SegmentName, Server, lasting_secret};
use crate::metrics::shard;
use crate::sources::Plan;

/// How many refusals are told.
const NEWEST: usize = 64;

/// Where refusals are noted, and what stands there for a name.
pub(crate) struct Refusals {
    table: RefusalTable<'static>,
    /// By server.
    servers: Vec<(NameId, AddressPrefix)>,
    names: HashMap<NameId, String>,
    limits: HashMap<NameId, String>,
    hasher: SubjectHasher,
}

impl Refusals {
    /// Opens or makes the memory.
    pub(crate) fn open(main: Server<'_>, plan: &Plan) -> Result<Self, ()> {
        let table = match existing(main) {
            Some(table) => table,
            None => new(main)
                .map_err(|why| main.log(Level::Error, || format!("JG2003 shared memory for refusals: {why}")))?,
        };
        let named = |name: String| (NameId::new(&name), name);
        let names = || main.iter().map(|server| named(server.name()));
        Ok(Self {
            table,
            servers: names().zip(&plan.servers).map(|((id, _), server)| (id, server.prefix)).collect(),
            names: names().collect(),
            limits: limits(main).map(|(_, def)| named(def.name.clone())).collect(),
            hasher: SubjectHasher::new(lasting_secret(main)),
        })
    }

    /// Notes a client request that is over, if it was refused, or would have been.
    pub(crate) fn note(&self, server: usize, first: Request<'_>, account: &Account, status: u16) {
        let (Some(reason), Some((server, prefix))) = (account.ruling.reason(), self.servers.get(server)) else {
            return;
        };
        let entry = Entry {
            time: account.time,
            server: *server,
            reason,
            would_deny: matches!(account.ruling, Ruling::WouldDeny(_)),
            status,
            limit: account.limit.as_ref().map(|def| NameId::new(&def.name)),
            who: Who {
                address: Some(prefix.block(first.client_address())),
                subject: account.identity.as_ref().and_then(|identity| pseudonym(self.hasher, identity)),
            },
            until: account.until,
        };
        self.table.note(shard(), &entry);
        let who = match &account.limit {
            Some(def) => entry.who.counted_by(def),
            // A lock-out.
            None => Who { subject: None, ..entry.who },
        };
        self.table.wait(&Entry { who, ..entry }, account.time);
    }

    /// The last refusals, the newest first.
    pub(crate) fn newest(&self) -> Vec<RefusalStatus<'_>> {
        self.table.newest(NEWEST).into_iter().map(|entry| self.told(entry)).collect()
    }

    /// Who is at a limit that there still is, or locked out.
    pub(crate) fn waiting(&self, now: UnixMicros) -> Vec<RefusalStatus<'_>> {
        let told = self.table.waiting(now).into_iter().map(|entry| self.told(entry));
        told.filter(|told| told.entry.limit.is_none() || told.limit.is_some()).collect()
    }

    fn told(&self, entry: Entry) -> RefusalStatus<'_> {
        let suffix = if entry.reason == Reason::QuotaExceeded { QUOTA_SUFFIX } else { "" };
        let limit = entry.limit.and_then(|id| self.limits.get(&id)).map(|name| format!("{name}{suffix}"));
        RefusalStatus { entry, server: self.names.get(&entry.server).map(String::as_str), limit }
    }
}

/// The memory of the last configuration, unless another build of the module made it.
fn existing(main: Server<'_>) -> Option<RefusalTable<'static>> {
    let segment = Segment::existing(main, SegmentName::REFUSALS)?;
    match RefusalTable::open(segment.words(), Geometry::DEFAULT) {
        Ok(table) => Some(table),
        Err(why) => {
            main.log(Level::Notice, || {
                format!("JG2004 the last refusals are forgotten with other shared memory: {why}")
            });
            None
        }
    }
}

fn new(main: Server<'_>) -> Result<RefusalTable<'static>, String> {
    let geometry = Geometry::DEFAULT;
    let table = Segment::replace(main, SegmentName::REFUSALS, geometry.words(), |words, _| {
        RefusalTable::format(words, geometry)
    });
    table?.map_err(|why| why.to_string())
}
