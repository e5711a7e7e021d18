//! Finding mistakes in the configuration: in each of httpd's passes over it and under `httpd -t`. Nothing is
//! created here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jwt_gate_core::config::audit::{Severity, audit};
use jwt_gate_core::config::credentials::{Credentials, TokenMode};
use jwt_gate_core::config::forward::ForwardDef;
use jwt_gate_core::config::issuer::KeySource;
use jwt_gate_core::config::limit::LimitDef;
use jwt_gate_core::config::section::{Mode, Origin, Section, begins};
use jwt_gate_core::config::server::{DEFAULT_SHARED_MEMORY, ServerTables};
use jwt_gate_core::forward::same_name;
use jwt_gate_core::keys::store::MAX_SOURCES;
use jwt_gate_core::limit::Geometry;

use crate::counting::places;
use crate::decision_log;
use crate::httpd::{Level, Log, Server, configuration_tree, has_watchdog, is_config_test};
use crate::loading::speak_of_writers;
use crate::names::{warn_of_list, warn_of_written_networks};
use crate::resources::documents;
use crate::sources::{Plan, What};
use crate::state_dir::StateDir;

/// Finds every mistake that can be found without the network.
pub(crate) fn check_config(main: Server<'_>) -> Result<(), ()> {
    let mut mistakes = Vec::new();
    check_limits(main, &mut mistakes);
    let plan = Plan::of(main);
    check_watchdog(&plan, &mut mistakes);
    check_sources(&plan, &mut mistakes);
    if is_config_test() {
        check_files(main, &plan, &mut mistakes);
    }
    for server in main.iter() {
        check_sections(main, server, &mut mistakes);
    }
    for mistake in main.iter().flat_map(|server| documents(main, server).1) {
        // Virtual hosts inherit them.
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
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

/// Keys that are fetched need mod_watchdog.
fn check_watchdog(plan: &Plan, mistakes: &mut Vec<String>) {
    let fetched = plan.sources.iter().find(|source| matches!(source.what, What::Remote { .. }));
    if let (Some(source), false) = (fetched, has_watchdog()) {
        mistakes.push(format!(
            "{}: fetching keys needs mod_watchdog, which is not loaded: add `LoadModule watchdog_module \
             modules/mod_watchdog.so`",
            source.named_by
        ));
    }
}

/// What has no room in shared memory would end a restart.
fn check_sources(plan: &Plan, mistakes: &mut Vec<String>) {
    if plan.sources.len() > MAX_SOURCES {
        mistakes.push(format!(
            "{} identity providers, key files and lists are named; at most {MAX_SOURCES} can be: define fewer \
             JwtGateIssuer, or let them share one (options that are equal)",
            plan.sources.len()
        ));
    }
}

/// What the files hold that the configuration names.
fn check_files(main: Server<'_>, plan: &Plan, mistakes: &mut Vec<String>) {
    let mut keys = HashMap::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let wrong = match &source.what {
            What::Remote { .. } => source.what.read_authorities().err(),
            What::KeyFile { .. } => match source.what.read_keys() {
                Ok((_, loaded)) => {
                    keys.insert(index, loaded.keys);
                    None
                }
                Err(why) => Some(why),
            },
            What::List(file) => {
                let read = file.read().and_then(|bytes| file.compile(&bytes, None, |_| Ok(())));
                read.map(|compiled| warn_of_list(main, plan, index, &compiled.list)).err()
            }
        };
        match wrong {
            Some(why) => mistakes.push(format!("{}: {why}", source.named_by)),
            None => speak_of_writers(main, source),
        }
    }
    mistakes.extend(plan.merge_mistakes(|index| keys.get(&index)));
    mistakes.extend(decision_log::mistakes(main));
    if let Err(why) = StateDir::examine(main) {
        main.log(Level::Warning, || format!("JG2205 JwtGateStateDir: {why}"));
    }
    warn_of_written_networks(main, plan);
}

/// Logs what the audit of the configuration finds; warnings only where they are read once. Tells whether
/// there are errors.
pub(crate) fn report_audit(main: Server<'_>, with_warnings: bool) -> bool {
    let mut errors = false;
    for finding in audit(&configuration_tree()) {
        let level = match finding.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Notice => Level::Notice,
        };
        errors |= level == Level::Error;
        if level == Level::Error || with_warnings {
            main.log(level, || format!("{} {} (line {} of {})", finding.id, finding.text, finding.line, finding.file));
        }
    }
    errors
}

/// All directives that define limits, over all servers.
pub(crate) fn limits<'s>(main: Server<'s>) -> impl Iterator<Item = &'s (Origin, Arc<LimitDef>)> {
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
    let needed = places(main, issuers.len());
    if needed > geometry.banks() {
        mistakes.push(format!(
            "JwtGateSharedMemory: {bytes} bytes have room for {} limits, and {needed} are needed (one for each \
             JwtGateLimit, of those that follow plans one for each JwtGatePlan, and with key=issuer one more for each \
             issuer): write a larger size",
            geometry.banks()
        ));
    }
}

/// What tells issuers apart in the keys of limits.
pub(crate) fn issuer_keys<'i>(issuers: impl Iterator<Item = (&'i Option<String>, &'i String)>) -> Vec<&'i str> {
    let mut keys: Vec<&str> = issuers.map(|(issuer, name)| issuer.as_ref().unwrap_or(name).as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A header that the gate writes is taken out of every request, so no credential can be looked for in it.
fn check_headers(main: Server<'_>, mistakes: &mut Vec<String>) {
    let sections = || main.iter().flat_map(Server::own_sections);
    let headers = sections().flat_map(|section| {
        section.credentials.iter().flat_map(Credentials::headers).map(|header| (header, &section.origin))
    });
    for ((kind, name), origin) in headers {
        let same = |forward: &&Arc<ForwardDef>| same_name(forward.header.as_str().as_bytes(), name.as_bytes());
        if sections().flat_map(|section| &section.forward.items).any(|forward| same(&forward)) {
            mistakes.push(format!(
                "JwtGateCredentials {kind}:{name} (section that begins in {origin}): JwtGateForward writes this header, \
                 and so it is removed from what clients send: choose another name for one of them"
            ));
        }
    }
}

/// Sections against the tables of a server: their own, or any that inherits them.
fn check_sections(main: Server<'_>, server: Server<'_>, mistakes: &mut Vec<String>) {
    let tables = named_tables(server);
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
    let takes_keys = |s: &&&Section| s.credentials.as_ref().is_some_and(Credentials::takes_api_keys);
    if let (Some(section), None) = (sections.iter().find(takes_keys), &server.config().settings.api_keys) {
        let mistake = format!(
            "section that begins in {}: JwtGateCredentials takes API keys, and this server has none: add `JwtGateApiKeys \
             PATH`",
            section.origin
        );
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
    // Without JwtGateIssuers all are accepted, which needs them to be told apart.
    let Err(why) = tables.accepted(None) else { return };
    let chosen = |gated: &Section| sections.iter().any(|s| s.issuers.is_some() && may_cover(s, gated));
    if let Some(gated) = sections.iter().find(|s| matches!(s.mode, Some(Mode::On | Mode::DryRun)) && !chosen(s)) {
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
    begins(above, path) || is_pattern(above) || is_pattern(path)
}

/// Speaks of settings that are allowed and dangerous.
pub(crate) fn warn_of_settings(main: Server<'_>) {
    warn_of_quotas(main);
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
            if matches!(&issuer.source, KeySource::Remote(from, _) if from.is_plain()) {
                warn("its keys are fetched over http, which is only for tests on this machine");
            }
            if issuer.issuer.is_none() {
                warn("`-` accepts tokens that do not say who made them; only its keys tell them apart");
            }
        }
        let sections = server.own_sections();
        let needs_none = |s: &Section| {
            s.token == Some(TokenMode::None) || s.credentials.as_ref().is_some_and(Credentials::takes_only_api_keys)
        };
        let asks = |gated: &Section| !sections.iter().any(|s| needs_none(s) && may_cover(s, gated));
        let gated = sections.iter().find(|s| s.mode == Some(Mode::On) && asks(s));
        if let (Some(gated), true) = (gated, server.config().settings.issuers.is_empty()) {
            main.log(Level::Warning, || {
                format!(
                    "JG2202 section that begins in {}: no JwtGateIssuer is defined, so every token is refused: add one, or \
                     `JwtGateToken none` where no token is needed",
                    gated.origin
                )
            });
        }
    }
}

/// Speaks of quotas by address. A place is kept until the day, week or month is over, and one attacker has addresses
/// enough to take them all.
fn warn_of_quotas(main: Server<'_>) {
    let plans = || main.iter().flat_map(|server| &server.config().settings.plans);
    let mut said = HashSet::new();
    for (origin, def) in limits(main) {
        let by_plan = || def.follows_plans() && plans().any(|(_, plan)| plan.quota.is_some());
        let Some(key) = def.client_part().filter(|_| def.quota.is_some() || by_plan()) else { continue };
        if said.insert(&def.name) {
            main.log(Level::Warning, || {
                format!(
                    "JG2211 JwtGateLimit {} ({origin}): with a quota and `key={key}`, each address has a place in \
                     JwtGateSharedMemory until the day, week or month is over, and whoever has many addresses (IPv6) takes \
                     the places of all quotas: limit addresses by a rate alone, and give the quota to a limit with \
                     `key=subject` or `key=api-key`",
                    def.name
                )
            });
        }
    }
}

/// Issuers and networks of a server by name, without what is in their files.
pub(crate) fn named_tables(server: Server<'_>) -> ServerTables {
    let settings = &server.config().settings;
    let issuers = settings.issuers.iter().enumerate().map(|(id, (_, def))| Arc::new(def.policy(id)));
    ServerTables {
        issuers: issuers.collect(),
        networks: settings.networks.iter().map(|(_, def)| (def.name.clone(), None)).collect(),
        plans: settings.plans.iter().map(|(_, def)| Arc::clone(def)).collect(),
        prefix: settings.prefix.unwrap_or_default(),
    }
}
