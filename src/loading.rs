//! What the parent reads for its children, at each start and graceful restart, as the user that started the server.
//!
//! Nothing here stops the server: of what has gone bad, that which was last read well stays in use.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::compiled::sha256;
use jwt_gate_core::fetch::Fetcher;
use jwt_gate_core::keys::schedule;
use jwt_gate_core::keys::set::MAX_BYTES;
use jwt_gate_core::keys::store::{KeyStore, Source as Stored};
use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::time::Now;

use crate::files::{self, Stamp};
use crate::httpd::{Level, Log, Server, User, now};
use crate::lists::{Announced, Compiled, List, ListFile};
use crate::refresher::Watched;
use crate::sources::{Plan, Source, What};
use crate::state_dir::StateDir;

/// What was read, by source.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) lists: HashMap<usize, List>,
    pub(crate) files: HashMap<usize, Watched>,
    /// By file of trusted certificates.
    pub(crate) fetchers: HashMap<Option<String>, Arc<Fetcher>>,
    /// Lists whose files are good.
    pub(crate) fresh: Vec<usize>,
}

/// Reads all that the configuration names, and puts into the store what is not there yet.
pub(crate) fn load(main: Server<'_>, plan: &Plan, store: KeyStore<'_>, state_dir: Option<&StateDir>) -> Loaded {
    let (time, mut loaded) = (now(), Loaded::default());
    for (index, source) in plan.sources.iter().enumerate() {
        let Some(stored) = store.source(index) else { continue };
        let stamp = source.what.path().and_then(Stamp::for_children);
        match &source.what {
            What::Remote { options, .. } => {
                if !loaded.fetchers.contains_key(&options.ca)
                    && let Some(fetcher) = load_authorities(main, source)
                {
                    speak_of_writers(main, source);
                    loaded.fetchers.insert(options.ca.clone(), Arc::new(fetcher));
                }
                recall(main, source, stored, state_dir, time);
            }
            What::KeyFile { .. } => {
                let wrong = load_keys(main, source, stored, time).err();
                loaded.files.insert(index, Watched::new(stamp, wrong));
            }
            What::List(file) => {
                let (list, wrong) = load_list(main, source, file, stored, state_dir, time);
                if wrong.is_none() {
                    loaded.fresh.push(index);
                }
                loaded.lists.extend(list.map(|list| (index, list)));
                loaded.files.insert(index, Watched::new(stamp, wrong));
            }
        }
    }
    loaded
}

/// The key set that was fetched last, from shared memory or from the state folder.
fn recall(main: Server<'_>, source: &Source, stored: Stored<'_>, state_dir: Option<&StateDir>, time: Now) {
    let What::Remote { from, options, .. } = &source.what else { return };
    let is_adopted = stored.version() > 0;
    if !is_adopted && let Some(folder) = state_dir {
        // The head of a file is far shorter than the set.
        let read = folder.read(&source.state_file(), 2 * MAX_BYTES as u64).and_then(|bytes| {
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
            let name = source.state_file();
            main.log(Level::Warning, || format!("JG2205 JwtGateStateDir: {name}: {why}; it is fetched anew"));
        }
    }
    // A set of the last configuration keeps its time; one from disk is used, and fetched anew at once.
    if !is_adopted {
        stored.set_due(time.mono);
    }
}

/// Reads the certificates to trust.
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

/// Reads a key file.
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
    speak_of_writers(main, source);
    Ok(())
}

/// Reads a list, or takes what its file held last; and tells what is wrong with the file.
fn load_list(
    main: Server<'_>,
    source: &Source,
    file: &ListFile,
    stored: Stored<'_>,
    state_dir: Option<&StateDir>,
    time: Now,
) -> (Option<List>, Option<String>) {
    let state_file = source.state_file();
    // The list that was in force until now, or at the end of an earlier run; an older one would let in who was shut out
    // since.
    let announced = Announced::of(stored);
    let recalled = state_dir.map_or(Ok(None), |folder| file.recall(folder, &state_file));
    let old = recalled
        .unwrap_or_else(|why| {
            main.log(Level::Warning, || format!("JG2205 JwtGateStateDir: {state_file}: {why}"));
            None
        })
        .filter(|list| announced.is_none_or(|announced| announced.digest == list.source_digest()));
    let modified = Stamp::of(&file.path).map(|stamp| stamp.modified());
    let read = file.read().and_then(|bytes| match &old {
        // Reading it again would give the same.
        Some(old) if old.source_digest() == sha256(&bytes) => Ok(old.clone()),
        _ => {
            let keep = |bytes: &[u8]| state_dir.map_or(Ok(()), |folder| folder.write(&state_file, bytes));
            let Compiled { list, kept } = file.compile(&bytes, old.as_ref(), keep)?;
            if let Err(why) = kept {
                main.log(Level::Warning, || format!("JG4004 JwtGateStateDir: {why}"));
            }
            Ok(list)
        }
    });
    match read {
        Ok(list) => {
            speak_of_readers(main, source);
            speak_of_writers(main, source);
            list.announce(stored, modified, time.wall);
            (Some(list), None)
        }
        Err(why) => {
            report_file(main, source, &why, old.is_some());
            if let (Some(list), None, Some(folder)) = (&old, announced, state_dir) {
                list.announce(stored, None, folder.written(&state_file).unwrap_or(time.wall));
            }
            (old, Some(why))
        }
    }
}

fn report_file(main: Server<'_>, source: &Source, why: &str, has_old: bool) {
    main.log(Level::Error, || {
        let then = if has_old {
            "its last good version stays in use".to_owned()
        } else {
            format!("until it can be read, {}", source.what.without())
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

/// Tells which files everybody may change. Of one that is not used, something else was told.
pub(crate) fn speak_of_writers(main: Server<'_>, source: &Source) {
    if let Some(why) = source.open_to_everybody() {
        main.log(Level::Warning, || format!("JG2111 {}: {why}", source.named_by));
    }
}
