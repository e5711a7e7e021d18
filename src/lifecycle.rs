//! Who creates what, and when.
//!
//! httpd reads its configuration twice at a start and once at each graceful restart, and checks it each time
//! (`check.rs`). [`post_config`] then builds the [`Runtime`] of a configuration, in the parent; children
//! inherit it. It is dropped with its configuration.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::config::server::{DEFAULT_SHARED_MEMORY, DEFAULT_TOKEN_CACHE};
use jwt_gate_core::fetch::Fetcher;
use jwt_gate_core::forward::ScrubList;
use jwt_gate_core::keys::schedule;
use jwt_gate_core::keys::set::MAX_BYTES;
use jwt_gate_core::keys::store::{KeyStore, Source as Stored};
use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::limit::{Buckets, Geometry, SlotTable};
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::time::{MonoNanos, Now};

use crate::check::{issuer_keys, limits, report_audit, warn_of_settings};
use crate::files::{self, Stamp};
use crate::httpd::{Level, Log, Segment, SegmentName, Server, User, is_dry_pass, now, random, watch};
use crate::networks::{self, LastGood};
use crate::refresher::{Refresher, Watched, warn_of_names};
use crate::resources::documents;
use crate::runtime::{Parts, Runtime};
use crate::sources::{Plan, Source, What};
use crate::state_dir::StateDir;

/// Builds the runtime.
pub(crate) fn post_config(main: Server<'_>) -> Result<(), ()> {
    if is_dry_pass() {
        return Ok(());
    }
    report_audit(main, true);
    warn_of_settings(main);
    let plan = Plan::of(main);
    let (networks, failures) = networks::load(main, &plan, &mut main.kept::<LastGood>());
    for failure in failures {
        main.log(Level::Error, || format!("JG2002 {failure}"));
    }
    let (limits, buckets) = counting(main, &plan)?;
    let store = key_store(main, &plan)?;
    let state_dir = state_dir(main, &plan);
    let time = now();
    let (mut lists, mut files, mut fetchers) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut named = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let Some(stored) = store.source(index) else { continue };
        let stamp = source.what.path().and_then(Stamp::for_children);
        match &source.what {
            What::Remote { options, .. } => {
                if !fetchers.contains_key(&options.ca)
                    && let Some(fetcher) = load_authorities(main, source)
                {
                    fetchers.insert(options.ca.clone(), Arc::new(fetcher));
                }
                recall(main, source, stored, state_dir.as_ref(), time);
            }
            What::KeyFile { .. } => {
                let wrong = load_keys(main, source, stored, time).err();
                files.insert(index, Watched::new(stamp, wrong));
            }
            What::Revocations { .. } => {
                let (list, wrong) = load_revocations(main, source, stored, state_dir.as_ref(), time);
                files.insert(index, Watched::new(stamp, wrong));
                if let Some((list, names)) = list {
                    lists.insert(index, Arc::new(list));
                    named.push((index, names));
                }
            }
        }
    }
    let headers = main.iter().flat_map(Server::own_sections);
    let token_cache = |server: Server<'_>| server.config().settings.token_cache.unwrap_or(DEFAULT_TOKEN_CACHE);
    let has_sources = !plan.sources.is_empty();
    let runtime = Runtime::new(Parts {
        networks,
        limits,
        buckets,
        scrub: ScrubList::new(headers.flat_map(|section| &section.forward.items).map(|forward| &forward.header)),
        token_cache: main.iter().map(token_cache).max().unwrap_or(DEFAULT_TOKEN_CACHE),
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
    for (index, names) in &named {
        warn_of_names(main, &runtime.plan, &runtime.plan.sources[*index], names);
    }
    main.set_runtime(runtime);
    if has_sources && let Err(why) = watch(main) {
        main.log(Level::Warning, || format!("JG2206 changed files are read at a restart only: {why}"));
    }
    Ok(())
}

/// The place where keys are handed from process to process: a new one for each configuration, with what the
/// last one knew.
fn key_store(main: Server<'_>, plan: &Plan) -> Result<KeyStore<'static>, ()> {
    let failed = |why: String| main.log(Level::Error, || format!("JG2003 shared memory for keys: {why}"));
    let old = Segment::existing(main, SegmentName::KEYS);
    let ids: Vec<_> = plan.sources.iter().map(|source| source.id).collect();
    let bytes = KeyStore::words(ids.len()) * size_of::<u64>();
    let segment = Segment::create(main, SegmentName::KEYS, bytes)
        .map_err(|code| failed(format!("{bytes} bytes cannot be had (error {code})")))?;
    let store = KeyStore::format(segment.words(), &ids).map_err(|why| failed(why.to_string()))?;
    if let Some(old) = old {
        if let Ok(earlier) = KeyStore::open(old.words()) {
            store.adopt(earlier);
            earlier.retire();
        }
        old.release();
    }
    Ok(store)
}

/// The state folder, if there is anything to be kept in it.
fn state_dir(main: Server<'_>, plan: &Plan) -> Option<StateDir> {
    let keeps = |source: &Source| !matches!(source.what, What::KeyFile { .. });
    if !plan.sources.iter().any(keeps) && main.config().settings.state_dir.is_none() {
        return None;
    }
    match StateDir::open(main) {
        Ok(folder) => Some(folder),
        Err(why) => {
            main.log(Level::Warning, || {
                format!(
                    "JG2205 JwtGateStateDir: {why}; until then keys are kept in memory only, and fetched at each start"
                )
            });
            None
        }
    }
}

/// The key set that was fetched last, from shared memory or from the state folder.
fn recall(main: Server<'_>, source: &Source, stored: Stored<'_>, state_dir: Option<&StateDir>, time: Now) {
    let What::Remote { from, options, .. } = &source.what else { return };
    let is_adopted = stored.version() > 0;
    if !is_adopted && let Some(folder) = state_dir {
        // The head of a file is far shorter than the set.
        let read = folder.read(&source.what.state_file(), 2 * MAX_BYTES as u64).and_then(|bytes| {
            let Some(bytes) = bytes else { return Ok(()) };
            let set = StoredSet::decode(&bytes, &from.to_string())?;
            if !schedule::is_usable(set.fetched, options.stale, time.wall) {
                return Err("was fetched longer ago than stale= allows, or in the future".to_owned());
            }
            if let Some(read) = source.what.keys(&set.jwks) {
                read?;
            }
            stored.publish(&set.jwks, set.fetched).map(drop).map_err(|_| "is too long".to_owned())
        });
        if let Err(why) = read {
            let name = source.what.state_file();
            main.log(Level::Warning, || format!("JG2205 JwtGateStateDir: {name}: {why}; it is fetched anew"));
        }
    }
    // A set of the last configuration keeps its time; one from disk is used, and fetched anew at once.
    if !is_adopted {
        stored.set_due(time.mono);
    }
}

/// Reads the certificates to trust, as the user that started the server.
fn load_authorities(main: Server<'_>, source: &Source) -> Option<Fetcher> {
    source.what.read_authorities().unwrap_or_else(|why| {
        main.log(Level::Error, || {
            format!(
                "JG2002 {}: {why}; no keys are fetched until the server is restarted with a good one",
                source.named_by
            )
        });
        None
    })
}

/// Reads a key file, as the user that started the server.
fn load_keys(main: Server<'_>, source: &Source, stored: Stored<'_>, time: Now) -> Result<(), String> {
    let read = source.what.read_keys();
    let (bytes, loaded) = read.inspect_err(|why| report_file(main, source, why, stored.version() > 0))?;
    for why in loaded.skipped {
        let path = source.what.path().unwrap_or_default();
        main.log(Level::Warning, || format!("JG2203 {}: {path}: {why}", source.named_by));
    }
    // What has been read as keys is not too long.
    let _ = stored.publish(&bytes, time.wall);
    speak_of_readers(main, source);
    Ok(())
}

/// A list, and the issuers that it names.
type Named = (RevocationList, Vec<String>);

/// Reads a file with revocations, or takes what it held last; and tells what is wrong with it.
fn load_revocations(
    main: Server<'_>,
    source: &Source,
    stored: Stored<'_>,
    state_dir: Option<&StateDir>,
    time: Now,
) -> (Option<Named>, Option<String>) {
    let file = source.what.state_file();
    let opened = source.what.compile_revocations().and_then(|compiled| {
        if let Some(Err(why)) = state_dir.map(|folder| folder.write(&file, &compiled.bytes)) {
            main.log(Level::Warning, || format!("JG4004 JwtGateStateDir: {why}"));
        }
        Ok((RevocationList::open(Arc::new(compiled.bytes))?, compiled.issuers.into_iter().collect()))
    });
    let (read, wrong) = match opened {
        Ok(read) => {
            speak_of_readers(main, source);
            (Some(read), None)
        }
        Err(why) => {
            // The list that was in force until now, or at the end of an earlier run; an older one would let in who
            // was revoked since.
            let announced = stored.read().map(|content| content.bytes);
            let old = state_dir
                .and_then(|folder| folder.read(&file, files::MAX_LIST).ok()?)
                .and_then(|bytes| RevocationList::open(Arc::new(bytes)).ok())
                .filter(|list| announced.is_none_or(|digest| list.source_digest()[..] == digest[..]));
            report_file(main, source, &why, old.is_some());
            (old.map(|list| (list, Vec::new())), Some(why))
        }
    };
    if let Some((list, _)) = &read {
        // A digest always fits.
        let _ = stored.publish(&list.source_digest(), time.wall);
    }
    (read, wrong)
}

fn report_file(main: Server<'_>, source: &Source, why: &str, has_old: bool) {
    main.log(Level::Error, || {
        let then = if has_old {
            "its last good version stays in use"
        } else {
            "until it can be read, tokens that need it are answered with 503"
        };
        format!("JG2002 {}: {why}; {then}", source.named_by)
    });
}

/// Tells which files only root can read, so that they are not picked up when they change.
fn speak_of_readers(main: Server<'_>, source: &Source) {
    if let Some(path) = source.what.path().filter(|path| !files::is_readable_by(User::of_children(), path)) {
        main.log(Level::Notice, || {
            format!(
                "JG2204 {}: {path} cannot be read by the server's user: when it changes, restart the server \
                 (apachectl graceful)",
                source.named_by
            )
        });
    }
}

type Counting = (SlotTable<'static>, HashMap<String, Arc<Buckets>>);

/// The table of limits: the one of the last generation if it fits, else a new one.
fn counting(main: Server<'_>, plan: &Plan) -> Result<Counting, ()> {
    let bytes = main.config().settings.shared_memory.unwrap_or(DEFAULT_SHARED_MEMORY);
    let geometry = Geometry::for_bytes(bytes)
        .map_err(|why| main.log(Level::Error, || format!("JG2003 JwtGateSharedMemory: {why}")))?;
    let now = now().mono;
    if let Some(segment) = Segment::existing(main, SegmentName::LIMITS) {
        match SlotTable::open(segment.words(), geometry, now) {
            Ok(table) => {
                table.begin_generation();
                if let Some(buckets) = reserve(main, plan, table, now) {
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
    let old = Segment::existing(main, SegmentName::LIMITS);
    let bytes_needed = geometry.words() * size_of::<u64>();
    let table = match Segment::create(main, SegmentName::LIMITS, bytes_needed) {
        Ok(segment) => {
            if let Some(old) = old {
                old.release();
            }
            SlotTable::format(segment.words(), geometry, random())
        }
        Err(code) => {
            failed(&format!("{bytes_needed} bytes cannot be had (error {code}): write a smaller size"));
            // A restart that asks for too much goes on with what the server has.
            let old = old.ok_or(())?.words();
            let geometry = Geometry::for_bytes(size_of_val(old) as u64).map_err(|why| failed(&why))?;
            SlotTable::open(old, geometry, now)
        }
    }
    .map_err(|why| failed(&why.to_string()))?;
    match reserve(main, plan, table, now) {
        Some(buckets) => Ok((table, buckets)),
        None => {
            failed(&format!("{bytes} bytes are too few for so many limits: write a larger size"));
            Err(())
        }
    }
}

fn reserve(
    main: Server<'_>,
    plan: &Plan,
    table: SlotTable<'_>,
    now: MonoNanos,
) -> Option<HashMap<String, Arc<Buckets>>> {
    let issuers = issuer_keys(plan.issuers.iter().map(|planned| (&planned.def.issuer, &planned.def.name)));
    let mut buckets = HashMap::new();
    for (_, def) in limits(main) {
        if !buckets.contains_key(&def.name) {
            let reserved = Buckets::reserve(table, def, issuers.iter().copied(), now)?;
            buckets.insert(def.name.clone(), Arc::new(reserved));
        }
    }
    Some(buckets)
}
