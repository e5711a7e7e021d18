//! Whom the gate has refused: noted when a client request is over, for the administrator.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::decision_log::SubjectHasher;
use jwt_gate_core::net::address::AddressPrefix;
use jwt_gate_core::refusals::{Caller, Entry, Geometry, NameId, RefusalTable};
use jwt_gate_core::status::{RefusalStatus, WaitStatus};
use jwt_gate_core::time::Now;
use jwt_gate_core::verdict::Ruling;

use crate::account::Account;
use crate::check::limits;
use crate::counting::rules;
use crate::decision_log::pseudonym;
use crate::httpd::{Level, Log, Request, Segment, SegmentName, Server, lasting_secret, now};
use crate::metrics::shard;
use crate::sources::Plan;

/// How many refusals are told.
const NEWEST: usize = 64;

/// Where refusals are noted, and what stands there for a name.
pub(crate) struct Refusals {
    /// `None`: there is no memory for it, and nothing is told.
    table: Option<RefusalTable<'static>>,
    /// By server.
    servers: Vec<(NameId, AddressPrefix)>,
    names: HashMap<NameId, String>,
    /// By the id of its name, with that of its terms.
    limits: HashMap<NameId, (Arc<LimitDef>, NameId)>,
    /// By its terms; `None`: lock-outs.
    terms: HashMap<NameId, Option<Arc<LimitDef>>>,
    lockouts: NameId,
    hasher: SubjectHasher,
}

impl Refusals {
    /// Opens or makes the memory.
    pub(crate) fn open(main: Server<'_>, plan: &Plan) -> Self {
        let plans = || plan.servers.iter().flat_map(|server| &server.plans).map(|plan| &**plan);
        let of_limits = limits(main).map(|(_, def)| (Arc::clone(def), NameId::of_limit(def, plans())));
        let limits: HashMap<_, _> = of_limits.map(|limit| (NameId::new(&limit.0.name), limit)).collect();
        let lockouts = NameId::of_lockouts(rules(main));
        let of_limits = limits.values().map(|(def, terms)| (*terms, Some(Arc::clone(def))));
        let terms: HashMap<_, _> = of_limits.chain([(lockouts, None)]).collect();
        let table = table(main);
        if let Some(table) = table {
            table.keep_waits(|id| terms.contains_key(&id));
        }
        let names = || main.iter().map(|server| (NameId::new(&server.name()), server.name()));
        Self {
            table,
            servers: names().zip(&plan.servers).map(|((id, _), server)| (id, server.prefix)).collect(),
            names: names().collect(),
            limits,
            terms,
            lockouts,
            hasher: SubjectHasher::new(lasting_secret(main)),
        }
    }

    /// Notes a client request that is over, if it was refused, or would have been.
    pub(crate) fn note(&self, server: usize, first: Request<'_>, account: &Account, status: u16) {
        let (Some(table), Some(reason)) = (self.table, account.ruling.reason()) else { return };
        let Some((server, prefix)) = self.servers.get(server) else { return };
        let (now, identity) = (now(), account.identity.as_ref());
        let caller = Caller {
            address: prefix.block(first.client_address()),
            peer: AddressPrefix::WHOLE.block(first.peer_address()),
            subject: identity.and_then(|identity| pseudonym(self.hasher, identity)),
            // As `pseudonym` of a caller without token.
            api_key: identity.and_then(|identity| identity.key()).map(|key| self.hasher.hash("", key.id())),
        };
        let entry = Entry {
            time: account.time,
            noted: now.mono,
            server: *server,
            reason,
            would_deny: matches!(account.ruling, Ruling::WouldDeny(_)),
            status,
            limit: account.limit.as_ref().map(|def| NameId::new(&def.name)),
            who: caller.who(),
            until: account.until,
        };
        table.note(shard(), &entry);
        if account.until.is_none() {
            return;
        }
        let (who, terms) = match entry.limit.map(|id| self.limits.get(&id)) {
            Some(Some((def, terms))) => (caller.counted_by(&def.key), *terms),
            // There is none that the configuration does not have.
            Some(None) => return,
            None => (caller.locked_out(), self.lockouts),
        };
        table.wait(&Entry { time: now.wall, limit: Some(terms), who, ..entry });
    }

    /// The last refusals, the newest first, unless there is no memory for them.
    pub(crate) fn newest(&self) -> Option<Vec<RefusalStatus<'_>>> {
        Some(self.table?.newest(NEWEST).into_iter().map(|entry| self.told(entry)).collect())
    }

    /// Who is at a limit, or locked out, on the terms that there are now.
    pub(crate) fn waiting(&self, now: Now) -> Option<Vec<WaitStatus<'_>>> {
        let told = |entry: Entry| Some(WaitStatus { limit: self.terms.get(&entry.limit?)?.as_deref(), entry });
        Some(self.table?.waiting(now).into_iter().filter_map(told).collect())
    }

    fn told(&self, entry: Entry) -> RefusalStatus<'_> {
        let limit = entry.limit.and_then(|id| self.limits.get(&id)).map(|(def, _)| &**def);
        RefusalStatus { entry, server: self.names.get(&entry.server).map(String::as_str), limit }
    }
}

/// The memory, old or new. The server does without if there is none: requests are decided as ever.
fn table(main: Server<'_>) -> Option<RefusalTable<'static>> {
    let failed = |why: String| {
        main.log(Level::Warning, || {
            format!(
                "JG2003 shared memory for refusals: {why}; until a restart the status page tells neither the last refusals nor \
                 who is at a limit"
            )
        });
    };
    existing(main).or_else(|| new(main).map_err(failed).ok())
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
