//! Who creates what, and when.
//!
//! httpd reads its configuration twice at a start and once at each graceful restart, and checks it each time
//! (`check.rs`). [`post_config`] then builds the [`Runtime`] of a configuration, in the parent; children
//! inherit it. It is dropped with its configuration.

use jwt_gate_core::config::section::Mode;
use jwt_gate_core::config::server::DEFAULT_TOKEN_CACHE;
use jwt_gate_core::forward::ScrubList;
use jwt_gate_core::keys::store::KeyStore;

use crate::check::{report_audit, warn_of_settings};
use crate::counting::{Counting, has_quotas};
use crate::decision_log::DecisionLogs;
use crate::httpd::{Level, Log, Segment, SegmentName, Server, is_dry_pass, now, watch};
use crate::loading::{Loaded, load};
use crate::metrics::Metering;
use crate::names::{warn_of_list, warn_of_written_networks};
use crate::refresher::Refresher;
use crate::refusals::Refusals;
use crate::resources::documents;
use crate::runtime::{Parts, Runtime};
use crate::sources::{Plan, Source, What};
use crate::state_dir::StateDir;

/// Builds the runtime.
pub(crate) fn post_config(main: Server<'_>) -> Result<(), ()> {
    if is_dry_pass() {
        return Ok(());
    }
    warn_of_replaced_module(main);
    report_audit(main, true);
    warn_of_settings(main);
    let plan = Plan::of(main);
    let store = key_store(main, &plan)?;
    let state_dir = state_dir(main, &plan);
    let counting = Counting::open(main, &plan, state_dir.as_ref(), now())?;
    let metering = Metering::open(main, &plan)?;
    let refusals = Refusals::open(main, &plan);
    let logs = DecisionLogs::open(main)?;
    let Loaded { lists, files, fetchers, fresh } = load(main, &plan, store, state_dir.as_ref());
    let headers = main.iter().flat_map(Server::own_sections);
    let token_cache = |server: Server<'_>| server.config().settings.token_cache.unwrap_or(DEFAULT_TOKEN_CACHE);
    let has_background = !plan.sources.is_empty() || counting.tables.quotas.is_some();
    let runtime = Runtime::new(Parts {
        counting,
        metering,
        refusals,
        logs,
        scrub: ScrubList::new(headers.flat_map(|section| &section.forward.items).map(|forward| &forward.header)),
        token_cache: main.iter().map(token_cache).max().unwrap_or(DEFAULT_TOKEN_CACHE),
        gated: main.iter().map(|server| has_gate(main) || has_gate(server)).collect(),
        remembers: main.iter().map(|server| token_cache(server) > 0).collect(),
        store,
        state_dir,
        lists,
        refresher: Refresher::new(files, fetchers),
        documents: main.iter().map(|server| documents(main, server).0).collect(),
        plan,
    });
    for mistake in runtime.merge_mistakes() {
        main.log(Level::Error, || format!("JG2002 {mistake}: its tokens are answered with 503"));
    }
    warn_of_written_networks(main, &runtime.plan);
    for index in fresh {
        if let Some(list) = runtime.list(index) {
            warn_of_list(main, &runtime.plan, index, &list);
        }
    }
    main.set_runtime(runtime);
    if has_background && let Err(why) = watch(main) {
        main.log(Level::Warning, || format!("JG2206 changed files are read at a restart only: {why}"));
    }
    Ok(())
}

/// httpd loads a library anew only when it starts: after a graceful restart it goes on with the one that it has, whatever
/// has been installed in its place. Known from the system's map of the process (`proc_pid_maps(5)`), where there is one.
fn warn_of_replaced_module(main: Server<'_>) {
    let here = warn_of_replaced_module as fn(Server<'_>) as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let is_ours = |line: &&str| {
        let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
        ends.and_then(|(from, to)| Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?))
            .is_some_and(|range| range.contains(&here))
    };
    let Some(file) = maps.lines().find(is_ours).and_then(|line| line.strip_suffix(" (deleted)")) else { return };
    let file = file.find('/').map_or(file, |path| &file[path..]);
    main.log(Level::Warning, || {
        format!(
            "JG2214 {file} has been replaced or removed, and the server goes on with what it has loaded, version {}: stop and \
             start it to change over",
            env!("CARGO_PKG_VERSION")
        )
    });
}

/// The place where keys are handed from process to process: a new one for each configuration, with what the
/// last one knew.
fn key_store(main: Server<'_>, plan: &Plan) -> Result<KeyStore<'static>, ()> {
    let ids: Vec<_> = plan.sources.iter().map(|source| source.id).collect();
    let store = Segment::replace(main, SegmentName::KEYS, KeyStore::words(ids.len()), |new, old| {
        let store = KeyStore::format(new, &ids).map_err(|why| why.to_string())?;
        if let Some(earlier) = old.and_then(|old| KeyStore::open(old).ok()) {
            store.adopt(earlier);
            earlier.retire();
        }
        Ok(store)
    });
    store
        .and_then(|store| store)
        .map_err(|why| main.log(Level::Error, || format!("JG2003 shared memory for keys: {why}")))
}

/// The state folder, if there is anything to be kept in it.
fn state_dir(main: Server<'_>, plan: &Plan) -> Option<StateDir> {
    let keeps = |source: &Source| !matches!(source.what, What::KeyFile { .. });
    if !plan.sources.iter().any(keeps) && !has_quotas(main) && main.config().settings.state_dir.is_none() {
        return None;
    }
    match StateDir::open(main) {
        Ok(folder) => Some(folder),
        Err(why) => {
            main.log(Level::Warning, || {
                format!(
                    "JG2205 JwtGateStateDir: {why}; until then nothing outlives a restart: keys are fetched, lists read and quotas \
                     begun anew at each start"
                )
            });
            None
        }
    }
}

/// Whether the gate is on in a section of the server's own.
fn has_gate(server: Server<'_>) -> bool {
    server.own_sections().iter().any(|section| section.mode == Some(Mode::On))
}
