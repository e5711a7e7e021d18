//! What requests of one configuration use: fixed for its lifetime, but for keys and lists, of which each
//! child process follows the newest that were announced in shared memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{Mode, Section};
use jwt_gate_core::config::server::ServerTables;
use jwt_gate_core::forward::ScrubList;
use jwt_gate_core::gate::Shared;
use jwt_gate_core::keys::KeySet;
use jwt_gate_core::keys::schedule;
use jwt_gate_core::keys::store::{Asked, KeyStore, Source as Stored};
use jwt_gate_core::limit::{Buckets, SlotTable};
use jwt_gate_core::net::network::NetworkSet;
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::time::{MonoNanos, Now};
use jwt_gate_core::token::cache::TokenCache;
use jwt_gate_core::token::issuer::Issuer;
use jwt_gate_core::verdict::Reason;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::httpd::{Level, Log, Mapping, Request, now, threads_per_child};
use crate::refresher::{Refresher, nanos};
use crate::resources::{Documents, open_section};
use crate::sources::{self, Plan, What};
use crate::state_dir::StateDir;

/// What requests of one configuration use.
pub(crate) struct Runtime {
    pub(crate) plan: Plan,
    networks: Vec<Option<Arc<NetworkSet>>>,
    /// Shared by all servers and child processes.
    limits: SlotTable<'static>,
    /// By name; a limit is one bucket wherever it is used.
    buckets: HashMap<String, Arc<Buckets>>,
    /// Names that no client may use.
    scrub: ScrubList,
    /// Of this child; a copy of the parent's empty one.
    tokens: TokenCache,
    /// For servers that remember no tokens.
    no_tokens: TokenCache,
    /// Which servers remember tokens.
    remembers: Vec<bool>,
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
    pub(crate) networks: Vec<Option<Arc<NetworkSet>>>,
    pub(crate) limits: SlotTable<'static>,
    pub(crate) buckets: HashMap<String, Arc<Buckets>>,
    pub(crate) scrub: ScrubList,
    pub(crate) token_cache: usize,
    pub(crate) remembers: Vec<bool>,
    pub(crate) store: KeyStore<'static>,
    pub(crate) state_dir: Option<StateDir>,
    /// Lists that the parent compiled, by source.
    pub(crate) lists: HashMap<usize, Arc<RevocationList>>,
    pub(crate) refresher: Refresher,
    /// By server.
    pub(crate) documents: Vec<Documents>,
}

/// Keys and lists as they are now, with the policies that were finished with them. Never changes: newer ones
/// take the place of the whole.
pub(crate) struct Live {
    /// Versions of the keys, by source.
    versions: Vec<u64>,
    servers: Vec<ServerTables>,
    /// By server.
    revocations: Vec<Option<Arc<RevocationList>>>,
    /// Finished policies, by server and sections.
    policies: RwLock<HashMap<Box<[usize]>, Resolved>>,
}

type Resolved = Result<Arc<Policy>, Arc<str>>;

/// What a process has of each source, and the issuers made of it.
struct Kept {
    sources: Vec<KeptSource>,
    issuers: Vec<KeptIssuer>,
}

struct KeptIssuer {
    issuer: Arc<Issuer>,
    /// The key sets of its sources that its keys are those of.
    made_of: Vec<Arc<KeySet>>,
}

#[derive(Clone, Default)]
struct KeptSource {
    /// Of the keys.
    version: u64,
    /// Not older than it may be.
    usable: bool,
    keys: Option<Arc<KeySet>>,
    list: Option<Arc<RevocationList>>,
}

/// More combinations of sections than this do not come from a configuration but from requests that play with
/// it; further ones are resolved each time.
const MAX_POLICIES: usize = 10_000;

/// How often a full table is spoken of.
const OVERFLOW_REPORTS: Duration = Duration::from_secs(60);

/// Requests of one process that wait for the keys of one source, besides the one that asked for them.
const MAX_WAITING: usize = 16;

/// How long after a list could not be had it is looked for again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How often a waiting request looks for the answer. It comes from another process; nothing could wake it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What comes of waiting for an issuer's keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waited {
    /// There are new ones: decide again.
    Again,
    /// Refuse for this reason, and say when to try again.
    Refuse(Reason, Option<u64>),
}

impl Runtime {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { plan, networks, limits, buckets, scrub, token_cache, remembers, store, state_dir, .. } = parts;
        let issuers = plan.issuers.iter().enumerate().map(|(id, planned)| sources::issuer(id, &planned.def));
        let mut kept = Kept {
            issuers: issuers.map(|issuer| KeptIssuer { issuer: Arc::new(issuer), made_of: Vec::new() }).collect(),
            sources: vec![KeptSource::default(); plan.sources.len()],
        };
        for (index, list) in parts.lists {
            kept.sources[index].list = Some(list);
        }
        let runtime = Self {
            waiting: plan.sources.iter().map(|_| AtomicUsize::new(0)).collect(),
            seen: plan.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            try_again: plan.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            all_waiting: AtomicUsize::new(0),
            most_waiting: (threads_per_child() / 4 * 3).max(MAX_WAITING + 1),
            live: ArcSwap::from_pointee(Live::of(&plan, &networks, &kept)),
            plan,
            networks,
            limits,
            buckets,
            scrub,
            tokens: TokenCache::new(token_cache),
            no_tokens: TokenCache::new(0),
            remembers,
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
        let buckets = |def: &Arc<LimitDef>| self.buckets.get(&def.name).cloned();
        Policy::resolve(sections, tables, buckets).map(Arc::new).map_err(Arc::from)
    }

    /// What decisions of a server share.
    pub(crate) fn shared<'s>(&'s self, live: &'s Live, server: usize) -> Shared<'s> {
        let remembers = self.remembers.get(server).is_some_and(|remembers| *remembers);
        Shared {
            limits: self.limits,
            tokens: if remembers { &self.tokens } else { &self.no_tokens },
            revocations: live.revocations.get(server).and_then(Option::as_deref),
        }
    }

    /// Names that no client may use.
    pub(crate) fn scrub(&self) -> &ScrubList {
        &self.scrub
    }

    /// Says, once a minute for the whole server, that requests had to share buckets because the table is full.
    pub(crate) fn report_overflows(&self, request: Request<'_>, now: MonoNanos) {
        if let Some(new) = self.limits.untold_overflows(now, OVERFLOW_REPORTS) {
            request.log(Level::Warning, || {
                format!(
                    "JG3001 the shared memory for limits is full in places: {new} requests were counted in buckets \
                     that several clients share: raise JwtGateSharedMemory"
                )
            });
        }
    }

    /// Makes what was announced since the last time part of what requests use. Cheap if nothing was. Tells which
    /// lists were announced and cannot be had: their servers are closed until they can.
    ///
    /// For the thread that starts a process and for the background; a request waits for no list.
    pub(crate) fn catch_up(&self, now: Now) -> Vec<usize> {
        let lists = self.new_lists(now);
        let mut kept = self.kept.lock();
        let (mut changed, mut lost) = (!lists.is_empty(), Vec::new());
        for (index, list) in lists {
            if list.is_none() {
                lost.push(index);
            }
            kept.sources[index].list = list.map(Arc::new);
        }
        for index in 0..self.plan.sources.len() {
            changed |= self.follow_keys(index, &mut kept.sources[index], now);
        }
        if changed {
            self.renew(&mut kept);
        }
        lost
    }

    /// The same for the keys of one source: in a request that needs them.
    fn catch_up_with(&self, index: usize, now: Now) {
        let mut kept = self.kept.lock();
        if self.follow_keys(index, &mut kept.sources[index], now) {
            self.renew(&mut kept);
        }
    }

    fn renew(&self, kept: &mut Kept) {
        self.renew_issuers(kept);
        self.live.store(Arc::new(Live::of(&self.plan, &self.networks, kept)));
    }

    /// Whether there is something new about the keys of a source.
    fn follow_keys(&self, index: usize, kept: &mut KeptSource, now: Now) -> bool {
        let (source, Some(stored)) = (&self.plan.sources[index], self.store.source(index)) else { return false };
        let usable = match &source.what {
            What::Remote { options, .. } => {
                stored.fetched().is_some_and(|fetched| schedule::is_usable(fetched, options.stale, now.wall))
            }
            What::KeyFile { .. } => true,
            What::Revocations { .. } => return false,
        };
        let changed = std::mem::replace(&mut kept.usable, usable) != usable;
        if stored.version() == kept.version {
            return changed;
        }
        // Torn or damaged, it is announced once more: until then what was there before stays.
        let Some(content) = stored.read() else { return changed };
        kept.version = content.version;
        // Whoever announced it has read it with the same rules.
        if let Some(Ok(loaded)) = source.what.keys(&content.bytes) {
            kept.keys = Some(Arc::new(loaded.keys));
        }
        true
    }

    /// Lists that were announced and are not in use here; `None` for those that cannot be had.
    fn new_lists(&self, now: Now) -> Vec<(usize, Option<RevocationList>)> {
        let mut lists = Vec::new();
        for (index, source) in self.plan.sources.iter().enumerate() {
            let (What::Revocations { .. }, Some(stored)) = (&source.what, self.store.source(index)) else { continue };
            let again = MonoNanos(self.try_again[index].load(Ordering::Relaxed));
            if stored.version() == self.seen[index].load(Ordering::Relaxed) || now.mono < again {
                continue;
            }
            let Some(content) = stored.read() else { continue };
            let used = self.kept.lock().sources[index].list.clone();
            let list = match &used {
                Some(used) if used.source_digest()[..] == content.bytes[..] => None,
                _ => Some(self.find_list(index, &content.bytes)),
            };
            if let Some(None) = list {
                let again = now.mono.0.saturating_add(nanos(TRY_AGAIN));
                self.try_again[index].store(again, Ordering::Relaxed);
                if used.is_none() {
                    continue;
                }
            } else {
                self.seen[index].store(content.version, Ordering::Relaxed);
            }
            lists.extend(list.map(|list| (index, list)));
        }
        lists
    }

    /// The compiled list of this digest: as the process that announced it left it in the state folder, else
    /// compiled once more from its source.
    fn find_list(&self, index: usize, digest: &[u8]) -> Option<RevocationList> {
        let source = &self.plan.sources[index];
        let file = self.state_dir.as_ref().and_then(|folder| folder.file(&source.what.state_file()).ok()?);
        let mapped = file
            .and_then(|file| Mapping::new(&file).ok())
            .and_then(|mapping| RevocationList::open(Arc::new(mapping)).ok());
        let compiled = || {
            let compiled = source.what.compile_revocations().ok()?;
            RevocationList::open(Arc::new(compiled.bytes)).ok()
        };
        let announced = |list: &RevocationList| list.source_digest()[..] == *digest;
        mapped.filter(announced).or_else(|| compiled().filter(announced))
    }

    /// Issuers whose files cannot be used together, for the administrator.
    pub(crate) fn merge_mistakes(&self) -> Vec<String> {
        let kept = self.kept.lock();
        self.plan.merge_mistakes(|index| kept.sources[index].keys.as_deref())
    }

    /// Whether new keys of a file can be used together with those of the other files of its issuers.
    ///
    /// # Errors
    /// Text for the administrator.
    pub(crate) fn check_together(&self, index: usize, new: &KeySet) -> Result<(), String> {
        let kept = self.kept.lock();
        for planned in self.plan.issuers.iter().filter(|planned| planned.sources.contains(&index)) {
            let others = planned.sources.iter().filter(|other| **other != index);
            let others = others.filter_map(|other| kept.sources[*other].keys.as_deref());
            KeySet::merge(std::iter::once(new).chain(others))
                .map_err(|why| format!("together with the other files of issuer `{}`: {why}", planned.def.name))?;
        }
        Ok(())
    }

    /// New issuers in the place of those whose keys have changed. The others stay the same ones, so that their
    /// tokens stay in the cache.
    fn renew_issuers(&self, kept: &mut Kept) {
        for (known, planned) in kept.issuers.iter_mut().zip(&self.plan.issuers) {
            let sources = planned.sources.iter().map(|source| &kept.sources[*source]);
            let sets: Vec<Arc<KeySet>> = sources.filter(|kept| kept.usable).filter_map(|s| s.keys.clone()).collect();
            let same = |(new, old)| Arc::ptr_eq(new, old);
            if sets.len() == known.made_of.len() && sets.iter().zip(&known.made_of).all(same) {
                continue;
            }
            let keys = match sets.as_slice() {
                [] => None,
                [only] => Some(Arc::clone(only)),
                several => KeySet::merge(several.iter().map(|set| &**set)).ok().map(Arc::new),
            };
            known.issuer = Arc::new(Issuer { keys, ..Issuer::clone(&known.issuer) });
            known.made_of = sets;
        }
    }

    /// What to do about a token whose key this process does not know: has new keys fetched, if the time for that
    /// has come, and waits for them, or for those that another request asked for.
    /// `live` is what the decision was made with.
    pub(crate) fn wait_for_keys(&self, live: &Live, issuer: u32) -> Waited {
        let unknown = Waited::Refuse(Reason::KeyUnknown, None);
        let remote = self.remote_source(issuer);
        let Some((index, stored, What::Remote { options, .. })) = remote else { return unknown };
        let is_new = || self.has_news(live, index);
        let ticket = match stored.ask(options.cooldown, now().mono) {
            Asked::Wait(ticket) => ticket,
            // The answer may have come after the decision.
            Asked::Unknown => return if is_new() { Waited::Again } else { unknown },
            Asked::Unavailable => return self.keys_unavailable(issuer),
        };
        // One more than may wait with it: the one that asked.
        let place = Place::take(&self.waiting[index], MAX_WAITING + 1);
        let (Some(_place), Some(_any)) = (place, Place::take(&self.all_waiting, self.most_waiting)) else {
            return self.keys_unavailable(issuer);
        };
        let begin = Instant::now();
        loop {
            match stored.answer(ticket) {
                Some(true) => return if is_new() { Waited::Again } else { unknown },
                Some(false) => return self.keys_unavailable(issuer),
                None if begin.elapsed() >= options.timeout || self.stopping.load(Ordering::Relaxed) => {
                    return self.keys_unavailable(issuer);
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Whether there are newer keys of an issuer than these; from now on they are in use.
    pub(crate) fn has_news_of(&self, live: &Live, issuer: u32) -> bool {
        let planned = usize::try_from(issuer).ok().and_then(|issuer| self.plan.issuers.get(issuer));
        planned.is_some_and(|planned| planned.sources.iter().any(|&index| self.has_news(live, index)))
    }

    fn has_news(&self, live: &Live, index: usize) -> bool {
        let before = live.versions[index];
        if self.store.source(index).is_none_or(|stored| stored.version() == before) {
            return false;
        }
        self.catch_up_with(index, now());
        self.live.load().versions[index] != before
    }

    /// `keys-unavailable`, to be tried again when the next fetch is due.
    pub(crate) fn keys_unavailable(&self, issuer: u32) -> Waited {
        let time = now().mono;
        let secs = self.remote_source(issuer).map_or(30, |(_, stored, _)| {
            let wait = Duration::from_nanos(stored.due(time).0.saturating_sub(time.0));
            wait.as_secs().saturating_add(1).min(60)
        });
        Waited::Refuse(Reason::KeysUnavailable, Some(secs))
    }

    /// The provider that serves an issuer's keys.
    fn remote_source(&self, issuer: u32) -> Option<(usize, Stored<'static>, &What)> {
        let planned = self.plan.issuers.get(usize::try_from(issuer).ok()?)?;
        planned.sources.iter().find_map(|&index| match &self.plan.sources[index].what {
            what @ What::Remote { .. } => Some((index, self.store.source(index)?, what)),
            _ => None,
        })
    }
}

/// One of the places in which requests wait.
struct Place<'w>(&'w AtomicUsize);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicUsize, most: usize) -> Option<Self> {
        let take = |count: usize| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok().then(|| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    fn of(plan: &Plan, networks: &[Option<Arc<NetworkSet>>], kept: &Kept) -> Self {
        let list = |index: usize| kept.sources[index].list.clone();
        let servers = plan.servers.iter().map(|server| {
            // Who is revoked cannot be told without the list.
            let closed = server.revocations.is_some_and(|index| list(index).is_none());
            let issuer = |&index: &usize| match &kept.issuers[index].issuer {
                issuer if closed => Arc::new(Issuer { keys: None, ..Issuer::clone(issuer) }),
                issuer => Arc::clone(issuer),
            };
            let named =
                server.networks.iter().map(|&index| (plan.networks[index].1.name.clone(), networks[index].clone()));
            ServerTables {
                issuers: server.issuers.iter().map(issuer).collect(),
                networks: named.collect(),
                prefix: server.prefix,
            }
        });
        Self {
            versions: kept.sources.iter().map(|source| source.version).collect(),
            servers: servers.collect(),
            revocations: plan.servers.iter().map(|server| server.revocations.and_then(list)).collect(),
            policies: RwLock::default(),
        }
    }
}
