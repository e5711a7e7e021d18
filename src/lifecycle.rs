//! Who creates what, and when.
//!
//! httpd reads its configuration twice at a start and once at each graceful restart. [`check_config`] runs
//! in each of these passes and under `httpd -t`; it creates nothing. [`post_config`] builds the
//! [`Runtime`] of a configuration, in the parent; children inherit it and only read it, but for their own
//! caches and the shared memory. It is dropped with its configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::config::audit::{Severity, audit};
use jwt_gate_core::config::credentials::{Source, TokenMode};
use jwt_gate_core::config::forward::ForwardDef;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::policy::Policy;
use jwt_gate_core::config::section::{Mode, Origin, Section};
use jwt_gate_core::config::server::{DEFAULT_SHARED_MEMORY, DEFAULT_TOKEN_CACHE, ServerTables};
use jwt_gate_core::forward::{ScrubList, same_name};
use jwt_gate_core::gate::Shared;
use jwt_gate_core::limit::Buckets;
use jwt_gate_core::limit::Geometry;
use jwt_gate_core::limit::SlotTable;
use jwt_gate_core::time::MonoNanos;
use jwt_gate_core::token::cache::TokenCache;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::files::{Files, Inherited, load_tables, name_tables};
use crate::httpd::{
    Level, Log, Request, Segment, Server, configuration_tree, is_config_test, is_dry_pass, now, random,
};

/// What requests of one configuration use.
pub(crate) struct Runtime {
    servers: Vec<ServerRuntime>,
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
    /// Finished policies, by server and sections.
    policies: RwLock<HashMap<Box<[usize]>, Resolved>>,
}

struct ServerRuntime {
    tables: ServerTables,
    remembers_tokens: bool,
}

type Resolved = Result<Arc<Policy>, Arc<str>>;

/// More combinations of sections than this do not come from a configuration but from requests that play with
/// it; further ones are resolved each time.
const MAX_POLICIES: usize = 10_000;

/// How often a full table is spoken of.
const OVERFLOW_REPORTS: Duration = Duration::from_secs(60);

impl Runtime {
    /// The finished policy for some sections of a server.
    pub(crate) fn policy(&self, server: usize, sections: &[&Section]) -> Resolved {
        let mut key: SmallVec<[usize; 8]> = SmallVec::new();
        key.push(server);
        // A section keeps its place as long as this runtime lives, so its address names it.
        key.extend(sections.iter().map(|section| std::ptr::from_ref(*section).addr()));
        if let Some(resolved) = self.policies.read().get(key.as_slice()) {
            return resolved.clone();
        }
        let resolved = self.resolve(server, sections);
        let mut policies = self.policies.write();
        if policies.len() < MAX_POLICIES {
            return policies.entry(key.into_boxed_slice()).or_insert(resolved).clone();
        }
        resolved
    }

    fn resolve(&self, server: usize, sections: &[&Section]) -> Resolved {
        let tables = self.servers.get(server).map(|server| &server.tables).ok_or("the server is not known")?;
        let buckets = |def: &Arc<LimitDef>| self.buckets.get(&def.name).cloned();
        Policy::resolve(sections, tables, buckets).map(Arc::new).map_err(Arc::from)
    }

    /// What decisions of a server share.
    pub(crate) fn shared(&self, server: usize) -> Shared<'_> {
        let remembers = self.servers.get(server).is_some_and(|server| server.remembers_tokens);
        Shared { limits: self.limits, tokens: if remembers { &self.tokens } else { &self.no_tokens } }
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
}

/// Finds every mistake that can be found without the network.
pub(crate) fn check_config(main: Server<'_>) -> Result<(), ()> {
    let mut mistakes = Vec::new();
    check_limits(main, &mut mistakes);
    if is_config_test() {
        let (mut files, mut inherited) = (Files::default(), Inherited::default());
        for server in main.iter() {
            mistakes.extend(load_tables(server, &mut files, &mut inherited).1);
        }
    }
    for server in main.iter() {
        check_sections(main, server, &mut mistakes);
    }
    check_headers(main, &mut mistakes);
    check_shared_memory(main, &mut mistakes);
    for mistake in &mistakes {
        main.log(Level::Error, || format!("JG2001 {mistake}"));
    }
    let errors = report_audit(main, is_config_test());
    if is_config_test() {
        warn_of_settings(main);
    }
    if mistakes.is_empty() && !errors { Ok(()) } else { Err(()) }
}

/// Logs what the audit of the configuration finds; warnings only where they are read once. Tells whether
/// there are errors.
fn report_audit(main: Server<'_>, with_warnings: bool) -> bool {
    let mut errors = false;
    for finding in audit(&configuration_tree()) {
        let level = match finding.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        };
        errors |= level == Level::Error;
        if level == Level::Error || with_warnings {
            main.log(level, || format!("{} {} (line {} of {})", finding.id, finding.text, finding.line, finding.file));
        }
    }
    errors
}

/// All directives that define limits, over all servers.
fn limits<'s>(main: Server<'s>) -> impl Iterator<Item = &'s (Origin, Arc<LimitDef>)> {
    main.iter().flat_map(Server::own_sections).flat_map(|section| &section.limits.items)
}

/// One name is one limit.
fn check_limits(main: Server<'_>, mistakes: &mut Vec<String>) {
    let mut known: HashMap<&str, &(Origin, Arc<LimitDef>)> = HashMap::new();
    for limit in limits(main) {
        let (origin, def) = limit;
        let (first_origin, first) = known.entry(&def.name).or_insert(limit);
        if first != def {
            mistakes.push(format!(
                "JwtGateLimit {}: {origin} and {first_origin} give it different keys or numbers, but one name is one \
                 limit: make them equal, or give one another name",
                def.name
            ));
        }
    }
}

/// Whether there is room for all limits.
fn check_shared_memory(main: Server<'_>, mistakes: &mut Vec<String>) {
    let bytes = main.config().settings.shared_memory.unwrap_or(DEFAULT_SHARED_MEMORY);
    let Ok(geometry) = Geometry::for_bytes(bytes) else { return };
    let issuers =
        issuer_keys(main.iter().flat_map(|s| &s.config().settings.issuers).map(|(_, i)| (&i.issuer, &i.name)));
    let limits: HashMap<&str, &LimitDef> = limits(main).map(|(_, def)| (def.name.as_str(), &**def)).collect();
    let needed: usize = limits.values().map(|def| Buckets::reserved(def, issuers.len())).sum();
    if needed > geometry.banks() {
        mistakes.push(format!(
            "JwtGateSharedMemory: {bytes} bytes have room for {} limits, and {needed} are needed (one for each \
             JwtGateLimit, and with key=issuer one more for each issuer): write a larger size",
            geometry.banks()
        ));
    }
}

/// What tells issuers apart in the keys of limits.
fn issuer_keys<'i>(issuers: impl Iterator<Item = (&'i Option<String>, &'i String)>) -> Vec<&'i str> {
    let mut keys: Vec<&str> = issuers.map(|(issuer, name)| issuer.as_ref().unwrap_or(name).as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A header that the gate writes is taken out of every request, so no credential can be looked for in it.
fn check_headers(main: Server<'_>, mistakes: &mut Vec<String>) {
    let sections = || main.iter().flat_map(Server::own_sections);
    let sources =
        sections().flat_map(|section| section.credentials.iter().flatten().map(move |s| (s, &section.origin)));
    for (source, origin) in sources {
        let Source::Header(name) = source else { continue };
        let same = |forward: &&Arc<ForwardDef>| same_name(forward.header.as_str().as_bytes(), name.as_bytes());
        if sections().flat_map(|section| &section.forward.items).any(|forward| same(&forward)) {
            mistakes.push(format!(
                "JwtGateCredentials header:{name} (section that begins in {origin}): JwtGateForward writes this header, \
                 and so it is removed from what clients send: choose another name for one of them"
            ));
        }
    }
}

/// Sections against the tables of a server: their own, or any that inherits them.
fn check_sections(main: Server<'_>, server: Server<'_>, mistakes: &mut Vec<String>) {
    let tables = name_tables(server);
    let inherited = if server.is_virtual() { main.own_sections() } else { Vec::new() };
    let sections: Vec<_> = inherited.into_iter().chain(server.own_sections()).collect();
    for section in &sections {
        if let Err(why) = tables.check(section) {
            let mistake = format!("section that begins in {}: {why}", section.origin);
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        }
    }
    // Without JwtGateIssuers all are accepted, which needs them to be told apart.
    let Err(why) = tables.accepted(None) else { return };
    let chosen = |gated: &Section| sections.iter().any(|s| s.issuers.is_some() && may_cover(s, gated));
    if let Some(gated) = sections.iter().find(|s| s.mode == Some(Mode::On) && !chosen(s)) {
        mistakes.push(format!(
            "section that begins in {}: {why}: choose with JwtGateIssuers which one is accepted there",
            gated.origin
        ));
    }
}

/// Whether what `outer` says may apply to requests of `inner`, as far as their paths show. What a pattern
/// covers cannot be known.
fn may_cover(outer: &Section, inner: &Section) -> bool {
    let (Some(above), Some(path)) = (outer.path.as_deref(), inner.path.as_deref()) else { return outer.path.is_none() };
    let is_pattern = |path: &str| path.contains(['^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\']);
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with('/') || above.ends_with('/');
    path.strip_prefix(above).is_some_and(is_below) || is_pattern(above) || is_pattern(path)
}

/// Speaks of settings that are allowed and dangerous.
fn warn_of_settings(main: Server<'_>) {
    let mut said = Vec::new();
    for server in main.iter() {
        for (origin, issuer) in &server.config().settings.issuers {
            let mut warn = |what: &str| {
                let text = format!("JwtGateIssuer {} ({origin}): {what}", issuer.name);
                if !said.contains(&text) {
                    main.log(Level::Warning, || format!("JG2201 {text}"));
                    said.push(text);
                }
            };
            if issuer.audiences.is_none() {
                warn("`audience=*` accepts tokens that were made for other services: name this one's audience");
            }
            if !issuer.require_exp {
                warn("`require-exp=off` accepts tokens that never expire");
            }
            if issuer.issuer.is_none() {
                warn("`-` accepts tokens that do not say who made them; only its keys tell them apart");
            }
        }
        let sections = server.own_sections();
        let asks = |gated: &Section| !sections.iter().any(|s| s.token == Some(TokenMode::None) && may_cover(s, gated));
        let gated = sections.iter().find(|s| s.mode == Some(Mode::On) && asks(s));
        if let (Some(gated), true) = (gated, server.config().settings.issuers.is_empty()) {
            main.log(Level::Warning, || {
                format!(
                    "JG2202 section that begins in {}: no JwtGateIssuer is defined, so every request is refused: add one, or \
                     `JwtGateToken none` where no token is needed",
                    gated.origin
                )
            });
        }
    }
}

/// Builds the runtime.
pub(crate) fn post_config(main: Server<'_>) -> Result<(), ()> {
    if is_dry_pass() {
        return Ok(());
    }
    report_audit(main, true);
    warn_of_settings(main);
    let mut files = main.kept::<Files>();
    let mut servers = Vec::new();
    let mut inherited = Inherited::default();
    for server in main.iter() {
        let (tables, failures) = load_tables(server, &mut files, &mut inherited);
        for failure in failures {
            main.log(Level::Error, || format!("JG2002 {failure}"));
        }
        let remembers_tokens = server.config().settings.token_cache.unwrap_or(DEFAULT_TOKEN_CACHE) > 0;
        servers.push(ServerRuntime { tables, remembers_tokens });
    }
    files.end_generation();
    let (limits, buckets) = shared_memory(main, &servers)?;
    let all = main.iter().flat_map(Server::own_sections);
    let scrub = ScrubList::new(all.flat_map(|section| &section.forward.items).map(|forward| &forward.header));
    let entries = main.iter().map(|s| s.config().settings.token_cache.unwrap_or(DEFAULT_TOKEN_CACHE)).max();
    main.set_runtime(Runtime {
        servers,
        limits,
        buckets,
        scrub,
        tokens: TokenCache::new(entries.unwrap_or(DEFAULT_TOKEN_CACHE)),
        no_tokens: TokenCache::new(0),
        policies: RwLock::default(),
    });
    Ok(())
}

type Counting = (SlotTable<'static>, HashMap<String, Arc<Buckets>>);

/// The table of limits: the one of the last generation if it fits, else a new one.
fn shared_memory(main: Server<'_>, servers: &[ServerRuntime]) -> Result<Counting, ()> {
    let bytes = main.config().settings.shared_memory.unwrap_or(DEFAULT_SHARED_MEMORY);
    let geometry = Geometry::for_bytes(bytes)
        .map_err(|why| main.log(Level::Error, || format!("JG2003 JwtGateSharedMemory: {why}")))?;
    let now = now().mono;
    if let Some(segment) = Segment::existing(main) {
        match SlotTable::open(segment.words(), geometry, now) {
            Ok(table) => {
                table.begin_generation();
                if let Some(buckets) = reserve(main, servers, table, now) {
                    return Ok((table, buckets));
                }
                main.log(Level::Notice, || {
                    "JG2004 limits start anew: there is no room for so many changed ones".to_owned()
                });
            }
            Err(why) => main.log(Level::Notice, || format!("JG2004 limits start anew with other shared memory: {why}")),
        }
    }
    let failed = |what: &str| main.log(Level::Error, || format!("JG2003 JwtGateSharedMemory: {what}"));
    let bytes_needed = geometry.words() * size_of::<u64>();
    let table = match Segment::create(main, bytes_needed) {
        Ok(segment) => SlotTable::format(segment.words(), geometry, random()),
        Err(code) => {
            failed(&format!("{bytes_needed} bytes cannot be had (error {code}): write a smaller size"));
            // A restart that asks for too much goes on with what the server has.
            let old = Segment::existing(main).ok_or(())?.words();
            let geometry = Geometry::for_bytes(size_of_val(old) as u64).map_err(|why| failed(&why))?;
            SlotTable::open(old, geometry, now)
        }
    }
    .map_err(|why| failed(&why.to_string()))?;
    match reserve(main, servers, table, now) {
        Some(buckets) => Ok((table, buckets)),
        None => {
            failed(&format!("{bytes} bytes are too few for so many limits: write a larger size"));
            Err(())
        }
    }
}

fn reserve(
    main: Server<'_>,
    servers: &[ServerRuntime],
    table: SlotTable<'_>,
    now: MonoNanos,
) -> Option<HashMap<String, Arc<Buckets>>> {
    let issuers = issuer_keys(servers.iter().flat_map(|s| &s.tables.issuers).map(|i| (&i.issuer, &i.name)));
    let mut buckets = HashMap::new();
    for (_, def) in limits(main) {
        if !buckets.contains_key(&def.name) {
            let reserved = Buckets::reserve(table, def, issuers.iter().copied(), now)?;
            buckets.insert(def.name.clone(), Arc::new(reserved));
        }
    }
    Some(buckets)
}
