//! What requests of one configuration use: fixed for its lifetime, but for keys and lists, of which each
//! child process follows the newest that were announced in shared memory.

mod kept;
mod live;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;
use jwt_gate_core::apikey::ApiKeyList;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::plan::PlanDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{Mode, Section};
use jwt_gate_core::config::server::Networks;
use jwt_gate_core::forward::ScrubList;
use jwt_gate_core::gate::{ApiKeys, Shared};
use jwt_gate_core::keys::store::KeyStore;
use jwt_gate_core::limit::{Occupancy, Tables};
use jwt_gate_core::metrics::Table;
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::time::{Now, UnixMicros};
use jwt_gate_core::token::cache::TokenCache;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::counting::Counting;
use crate::decision_log::DecisionLogs;
use crate::httpd::{Level, Log, Request, now, threads_per_child};
use crate::lists::{Announced, List};
use crate::metrics::Metering;
use crate::refresher::Refresher;
use crate::refusals::Refusals;
use crate::resources::{Documents, open_section};
use crate::sources::{Addresses, Plan};
use crate::state_dir::StateDir;

use self::kept::Kept;
pub(crate) use self::live::Live;
use self::waiting::MAX_WAITING;
pub(crate) use self::waiting::Waited;

/// What requests of one configuration use.
pub(crate) struct Runtime {
    pub(crate) plan: Plan,
    /// Shared by all servers and child processes.
    counting: Counting,
    pub(crate) metering: Metering,
    pub(crate) refusals: Refusals,
    pub(crate) logs: DecisionLogs,
    no_networks: Networks,
    /// Names that no client may use.
    scrub: ScrubList,
    /// Of this child; a copy of the parent's empty one.
    tokens: TokenCache,
    /// For servers that remember no tokens.
    no_tokens: TokenCache,
    /// Which servers remember tokens.
    remembers: Vec<bool>,
    /// Which servers have the gate on anywhere; what is on in the main server is for all.
    gated: Vec<bool>,
    /// Where keys and lists are announced to all child processes; its sources are those of the plan.
    pub(crate) store: KeyStore<'static>,
    pub(crate) state_dir: Option<StateDir>,
    /// How many requests of this process wait for each source.
    waiting: Vec<AtomicUsize>,
    /// What this process made of the newest announcements.
    kept: Mutex<Kept>,
    /// Versions of lists, by source: to be compared without a lock.
    seen: Vec<AtomicU64>,
    /// When a list that could not be had is looked for again, by source: nanoseconds of [`MonoNanos`].
    try_again: Vec<AtomicU64>,
    /// How many requests of this process wait for any source, and how many may.
    all_waiting: AtomicUsize,
    most_waiting: usize,
    live: ArcSwap<Live>,
    pub(crate) refresher: Mutex<Refresher>,
    /// By server.
    documents: Vec<Documents>,
    /// See [`open_section`]; it keeps its place.
    open: Box<Section>,
    /// This process ends.
    pub(crate) stopping: AtomicBool,
}

/// What a [`Runtime`] is made of.
pub(crate) struct Parts {
    pub(crate) plan: Plan,
    pub(crate) counting: Counting,
    pub(crate) metering: Metering,
    pub(crate) refusals: Refusals,
    pub(crate) logs: DecisionLogs,
    pub(crate) scrub: ScrubList,
    pub(crate) token_cache: usize,
    pub(crate) remembers: Vec<bool>,
    pub(crate) gated: Vec<bool>,
    pub(crate) store: KeyStore<'static>,
    pub(crate) state_dir: Option<StateDir>,
    /// Lists that the parent compiled, by source.
    pub(crate) lists: HashMap<usize, List>,
    pub(crate) refresher: Refresher,
    /// By server.
    pub(crate) documents: Vec<Documents>,
}

type Resolved = Result<Arc<Policy>, Arc<str>>;

/// What is known of a network that is in a file.
#[derive(Clone, Copy)]
pub(crate) struct NetworkFileState<'r> {
    /// As in `@NAME`. Virtual hosts may have different networks of one name.
    pub(crate) name: &'r str,
    /// How many networks are in use; `None` if the file could never be read.
    pub(crate) networks: Option<usize>,
    /// When the file was last read and found good.
    pub(crate) read: Option<UnixMicros>,
    /// When what was found good was written; `None` also if that was before the server was started and the file has
    /// been bad since.
    pub(crate) modified: Option<UnixMicros>,
}

/// More combinations of sections than this do not come from a configuration but from requests that play with
/// it; further ones are resolved each time.
const MAX_POLICIES: usize = 10_000;

/// How often a full table is spoken of.
const OVERFLOW_REPORTS: Duration = Duration::from_secs(60);

impl Runtime {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            plan,
            counting,
            metering,
            refusals,
            logs,
            scrub,
            token_cache,
            remembers,
            gated,
            store,
            state_dir,
            ..
        } = parts;
        let kept = Kept::new(&plan, parts.lists);
        let runtime = Self {
            waiting: plan.sources.iter().map(|_| AtomicUsize::new(0)).collect(),
            seen: plan.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            try_again: plan.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            all_waiting: AtomicUsize::new(0),
            most_waiting: (threads_per_child() / 4 * 3).max(MAX_WAITING + 1),
            live: ArcSwap::from_pointee(Live::of(&plan, &kept)),
            plan,
            counting,
            metering,
            refusals,
            logs,
            no_networks: Networks::new(),
            scrub,
            tokens: TokenCache::new(token_cache),
            no_tokens: TokenCache::new(0),
            remembers,
            gated,
            store,
            state_dir,
            kept: Mutex::new(kept),
            refresher: Mutex::new(parts.refresher),
            documents: parts.documents,
            open: Box::new(open_section()),
            stopping: AtomicBool::new(false),
        };
        runtime.catch_up(now());
        runtime
    }

    /// Keys and lists as they are now.
    pub(crate) fn live(&self) -> arc_swap::Guard<Arc<Live>> {
        self.live.load()
    }

    /// The finished policy for some sections of a server.
    pub(crate) fn policy(&self, live: &Live, server: usize, sections: &[&Section]) -> Resolved {
        let mut key: SmallVec<[usize; 8]> = SmallVec::new();
        key.push(server);
        // A section keeps its place as long as this runtime lives, so its address names it.
        key.extend(sections.iter().map(|section| std::ptr::from_ref(*section).addr()));
        if let Some(resolved) = live.policies.read().get(key.as_slice()) {
            return resolved.clone();
        }
        let resolved = self.resolve(live, server, sections);
        let mut policies = live.policies.write();
        if policies.len() < MAX_POLICIES {
            return policies.entry(key.into_boxed_slice()).or_insert(resolved).clone();
        }
        resolved
    }

    /// The policy for a document about a resource where these sections apply. Where the gate is off, so are its
    /// addresses and limits.
    pub(crate) fn policy_for_document(&self, live: &Live, server: usize, sections: &[&Section]) -> Resolved {
        let outside = if self.policy(live, server, sections)?.mode == Mode::Off { &[] } else { sections };
        self.policy(live, server, &[outside, &[&*self.open]].concat())
    }

    /// What a server tells of a protected resource under this path.
    pub(crate) fn document(&self, server: usize, path: &[u8]) -> Option<&str> {
        let documents = self.documents.get(server).filter(|documents| !documents.is_empty())?;
        documents.get(std::str::from_utf8(path).ok()?).map(String::as_str)
    }

    fn resolve(&self, live: &Live, server: usize, sections: &[&Section]) -> Resolved {
        let tables = live.servers.get(server).ok_or("the server is not known")?;
        let meter = |def: &LimitDef, numbers, quota, dry_run| self.counting.meter(def, numbers, quota, dry_run);
        Policy::resolve(sections, tables, &meter).map(Arc::new).map_err(Arc::from)
    }

    /// What decisions of a server share.
    pub(crate) fn shared<'s>(&'s self, live: &'s Live, server: usize) -> Shared<'s> {
        let remembers = self.remembers.get(server).is_some_and(|remembers| *remembers);
        Shared {
            limits: self.counting.tables,
            lockouts: self.counting.failures(),
            networks: live.servers.get(server).map_or(&self.no_networks, |tables| &tables.networks),
            tokens: if remembers { &self.tokens } else { &self.no_tokens },
            revocations: live.revocations.get(server).and_then(Option::as_deref),
            api_keys: match live.api_keys.get(server).and_then(Option::as_deref) {
                Some(list) => ApiKeys::List(list),
                None if self.plan.servers.get(server).is_some_and(|server| server.api_keys.is_some()) => {
                    ApiKeys::Unavailable
                }
                None => ApiKeys::None,
            },
        }
    }

    /// Whether quotas are counted.
    pub(crate) fn has_quotas(&self) -> bool {
        self.counting.tables.quotas.is_some()
    }

    /// Whether the gate is on somewhere in a server.
    pub(crate) fn has_gate(&self, server: usize) -> bool {
        self.gated.get(server).is_none_or(|gated| *gated)
    }

    /// The networks that are in files, for those who look after them.
    pub(crate) fn network_files(&self) -> impl Iterator<Item = NetworkFileState<'_>> {
        self.plan.networks.iter().filter_map(|network| {
            let Addresses::Listed(index) = network.addresses else { return None };
            let (list, stored) = (self.list(index), self.store.source(index));
            Some(NetworkFileState {
                name: &network.def.name,
                networks: list.as_ref().map(List::len),
                read: stored.and_then(|stored| stored.fetched()),
                modified: stored.and_then(Announced::of).and_then(|announced| announced.modified),
            })
        })
    }

    /// Issuers whose keys are fetched, and when they were. Virtual hosts may have different issuers of one name.
    pub(crate) fn fetched_issuers(&self) -> impl Iterator<Item = (&str, Option<UnixMicros>)> {
        self.plan.fetched_issuers().map(|(issuer, index)| {
            let stored = self.store.source(index);
            (issuer.def.name.as_str(), stored.and_then(|stored| stored.fetched()))
        })
    }

    /// In how long the keys of each of these issuers are fetched again.
    pub(crate) fn dues(&self, now: Now) -> impl Iterator<Item = Duration> {
        self.plan.fetched_issuers().map(move |(_, index)| {
            let due = self.store.source(index).map_or(now.mono, |stored| stored.due(now.mono));
            due.since(now.mono)
        })
    }

    /// How full each table is. Reads all of them.
    pub(crate) fn occupancies(&self, now: Now) -> Vec<(Table, Occupancy)> {
        let Tables { rates, quotas } = self.counting.tables;
        let lockouts = self.counting.failures().map(|failures| failures.table);
        let tables = [(Table::Rates, Some(rates)), (Table::Quotas, quotas), (Table::Lockouts, lockouts)];
        tables.into_iter().filter_map(|(name, table)| Some((name, table?.occupancy(now)))).collect()
    }

    /// The API keys and revocations of a server, how many there are, and its plans.
    pub(crate) fn lists(&self, server: usize) -> (Option<usize>, Option<usize>, &[Arc<PlanDef>]) {
        let live = self.live();
        let api_keys = live.api_keys.get(server).and_then(Option::as_deref).map(ApiKeyList::len);
        let revocations = live.revocations.get(server).and_then(Option::as_deref).map(RevocationList::len);
        (api_keys, revocations, self.plan.servers.get(server).map_or(&[], |server| &server.plans))
    }

    /// Names that no client may use.
    pub(crate) fn scrub(&self) -> &ScrubList {
        &self.scrub
    }

    /// Says, once a minute for the whole server, that a table is full in places.
    pub(crate) fn report_overflows(&self, request: Request<'_>, now: Now) {
        for what in self.counting.untold_overflows(now, OVERFLOW_REPORTS) {
            request.log(Level::Warning, || {
                format!("JG3001 the shared memory is full in places: {what}: raise JwtGateSharedMemory")
            });
        }
    }
}
