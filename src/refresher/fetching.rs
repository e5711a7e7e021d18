//! Key sets of identity providers: when they are fetched, and what is said of it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jwt_gate_core::config::fetch::FetchOptions;
use jwt_gate_core::fetch::{Fetched, Fetcher, RemoteKeys};
use jwt_gate_core::keys::store::{Attempt, Source as Stored};
use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::keys::{Loaded, schedule};

use super::{Outcome, Refresher, caught, keys, shown};
use crate::httpd::{Level, Log, Server, now, random};
use crate::runtime::Runtime;
use crate::sources::{Source, What};
use crate::state_dir::StateDir;

/// What a fetch brings.
pub(super) struct FetchedKeys {
    set: StoredSet,
    loaded: Loaded,
    url: String,
    max_age: Option<Duration>,
    kept: Result<(), String>,
}

/// Threads that fetch at the same time. More issuers than this take turns.
const MAX_THREADS: usize = 64;

impl Refresher {
    /// Says when keys may not be used any more, and has new ones fetched.
    pub(super) fn speak_of_age(&mut self, main: Server<'_>, runtime: &Runtime, index: usize) {
        let source = &runtime.plan.sources[index];
        let (What::Remote { options, .. }, Some(stored)) = (&source.what, runtime.store.source(index)) else { return };
        let (Some(fetched), time) = (stored.fetched(), now()) else { return };
        if schedule::is_usable(fetched, options.stale, time.wall) {
            self.too_old.remove(&index);
        } else if self.too_old.insert(index) {
            if stored.failures() == 0 {
                stored.set_due(time.mono);
            }
            main.log(Level::Error, || {
                let why = if fetched > time.wall {
                    "the clock was set back to before its keys were fetched".to_owned()
                } else {
                    format!("its keys are older than stale={} allows", shown(options.stale))
                };
                format!(
                    "JG4003 {}: {why}: its tokens are answered with 503 until new ones are fetched",
                    source.named_by
                )
            });
        }
    }

    /// Begins a fetch that is due or asked for.
    pub(super) fn begin(&mut self, main: Server<'_>, runtime: &Runtime, index: usize) {
        let source = &runtime.plan.sources[index];
        let (What::Remote { from, options, .. }, Some(stored)) = (&source.what, runtime.store.source(index)) else {
            return;
        };
        if self.under_way.contains_key(&index) || self.under_way.len() >= MAX_THREADS {
            return;
        }
        let Some(attempt) = stored.begin(self.holder, now().mono) else { return };
        let spawned = self.fetcher(options).and_then(|fetcher| {
            let (from, timeout) = (from.clone(), options.timeout);
            let (what, folder, file) = (source.what.clone(), runtime.state_dir.clone(), source.state_file());
            self.spawn(move || {
                let fetched = caught(|| fetch(&fetcher, &from, timeout, &what, folder.as_ref(), &file));
                Outcome::Fetched(index, fetched)
            })
        });
        match spawned {
            Ok(()) => {
                self.under_way.insert(index, attempt);
            }
            Err(why) => {
                runtime.metering.fetched(&runtime.plan, index, false);
                failed(main, source, stored, attempt, &why);
            }
        }
    }

    fn fetcher(&mut self, options: &FetchOptions) -> Result<Arc<Fetcher>, String> {
        if let Some(fetcher) = self.fetchers.get(&options.ca) {
            return Ok(Arc::clone(fetcher));
        }
        if let Some(path) = &options.ca {
            return Err(format!("`ca={path}` could not be used at the start"));
        }
        let fetcher = Arc::new(Fetcher::new(None)?);
        self.fetchers.insert(None, Arc::clone(&fetcher));
        Ok(fetcher)
    }

    pub(super) fn conclude_fetch(
        &mut self,
        main: Server<'_>,
        runtime: &Runtime,
        stored: Stored<'_>,
        index: usize,
        result: Result<FetchedKeys, String>,
    ) {
        let source = &runtime.plan.sources[index];
        let (Some(attempt), What::Remote { options, .. }) = (self.under_way.remove(&index), &source.what) else {
            return;
        };
        let counted = |succeeded| runtime.metering.fetched(&runtime.plan, index, succeeded);
        // Another process has fetched since, and perhaps announced keys that are newer than these.
        if !stored.is_current(&attempt) {
            return;
        }
        let FetchedKeys { set, loaded, url, max_age, kept } = match result {
            Ok(fetched) => fetched,
            Err(why) => {
                counted(false);
                return failed(main, source, stored, attempt, &why);
            }
        };
        let again = stored.failures() > 0 || stored.fetched().is_none();
        let Ok(is_new) = stored.publish(&set.jwks, set.fetched) else {
            counted(false);
            return failed(main, source, stored, attempt, "more bytes than there is room for");
        };
        counted(true);
        let next = schedule::after_success(options.refresh, max_age, options.stale, random()[0]);
        stored.succeed(attempt, now().mono.saturating_add(next));
        for why in loaded.skipped.iter().filter(|_| is_new) {
            main.log(Level::Warning, || format!("JG2203 {}: {url}: {why}", source.named_by));
        }
        main.log(if is_new || again { Level::Notice } else { Level::Info }, || {
            let known = if is_new { "" } else { ", as before" };
            format!("JG4001 {}: {} from {url}{known}; next fetch in {}", source.named_by, keys(&loaded), shown(next))
        });
        self.speak_of_disk(main, &source.state_file(), kept);
    }
}

/// What threads do; see the head of `mod.rs` for what they may touch.
fn fetch(
    fetcher: &Fetcher,
    from: &RemoteKeys,
    timeout: Duration,
    what: &What,
    folder: Option<&StateDir>,
    file: &str,
) -> Result<FetchedKeys, String> {
    // The set is as old as the question.
    let asked = now().wall;
    let Fetched { jwks, url, max_age } = fetcher.fetch(from, timeout)?;
    let loaded = match what.keys(&jwks) {
        Some(Ok(loaded)) => loaded,
        Some(Err(why)) => return Err(format!("{url}: {why}")),
        None => return Err("holds no keys".to_owned()),
    };
    let set = StoredSet { from: from.to_string(), fetched: asked, jwks };
    let kept = folder.map_or(Ok(()), |folder| folder.write(file, &set.encode()));
    Ok(FetchedKeys { set, loaded, url, max_age, kept })
}

/// Counts a failed fetch, and tells what is used meanwhile and when the next one is.
fn failed(main: Server<'_>, source: &Source, stored: Stored<'_>, attempt: Attempt, why: &str) {
    let time = now();
    let failures = stored.failures().saturating_add(1);
    let next = schedule::after_failure(failures, random()[0]);
    stored.fail(attempt, time.mono.saturating_add(next), why);
    main.log(Level::Warning, || {
        let mut text = format!("JG4002 {}: no keys: {why}; ", source.named_by);
        let What::Remote { options, .. } = &source.what else { return text };
        let age = stored.fetched().map(|fetched| time.wall.since(fetched));
        let _ = match age {
            None => write!(text, "there are none from before, so its tokens are answered with 503"),
            Some(age) => match options.stale.checked_sub(age) {
                Some(left) => write!(text, "those fetched {} ago stay in use for {} more", shown(age), shown(left)),
                None => write!(
                    text,
                    "those fetched {} ago are older than stale={} allows, so its tokens are answered with 503",
                    shown(age),
                    shown(options.stale)
                ),
            },
        };
        let _ = write!(text, "; next fetch in {}", shown(next));
        text
    });
}
