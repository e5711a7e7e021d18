//! The background runner: fetches key sets, looks after files that change, and lets requests of its process
//! follow.
//!
//! Every child process has one, called by mod_watchdog. One of them holds the lease in shared memory, fetches
//! and reads for all, and announces what is new; if it dies, another takes its place within a second. What
//! may take long (a fetch, a list, the disk) runs in a thread of its own, so that nothing delays anything else;
//! these threads only bring their result back, and touch neither httpd nor shared memory, so that they may
//! outlast the process's end.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jwt_gate_core::config::fetch::FetchOptions;
use jwt_gate_core::fetch::{Fetched, Fetcher, RemoteKeys};
use jwt_gate_core::keys::store::{Attempt, Source as Stored};
use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::keys::{Loaded, schedule};
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::time::{MonoNanos, Now};

use crate::files::Stamp;
use crate::httpd::{Level, Log, Server, now, random};
use crate::runtime::Runtime;
use crate::sources::{Plan, Source, What};
use crate::state_dir::StateDir;

/// The state of the background work in one process.
pub(crate) struct Refresher {
    /// This process, among those that want the lease; 0 until it has begun.
    holder: u64,
    /// Fetches under way, by source.
    under_way: HashMap<usize, Attempt>,
    results: (Sender<Outcome>, Receiver<Outcome>),
    /// By file of trusted certificates; those of the parent, who read the files, and one with the system's.
    fetchers: HashMap<Option<String>, Arc<Fetcher>>,
    /// Files, by source.
    files: HashMap<usize, Watched>,
    /// When files are looked at again.
    next_look: MonoNanos,
    /// State files that could not be written the last time.
    unwritten: HashSet<String>,
    /// Key sets that may not be used any more, by source.
    too_old: HashSet<usize>,
}

/// A file, and what this process knows of it.
pub(crate) struct Watched {
    /// As it was when it was read last; `None` if it could not be seen.
    read: Option<Stamp>,
    /// As it was at the last look, and for how many looks it has been another than the one that was read.
    seen: Option<Stamp>,
    looks: u32,
    /// What was wrong with it when it was read last; it is then read again from time to time.
    wrong: Option<String>,
    again: MonoNanos,
    /// A thread reads it.
    is_being_read: bool,
    /// How it was read before, if it is read while it may still be written: what is wrong with it then is not told.
    in_haste: Option<Option<Stamp>>,
}

/// Whether a file should be read now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    NotNow,
    /// It may still be written.
    InHaste,
    Now,
}

impl Watched {
    /// A file as the parent has read it.
    pub(crate) fn new(read: Option<Stamp>, wrong: Option<String>) -> Self {
        Self { read, seen: read, looks: 0, wrong, again: MonoNanos(0), is_being_read: false, in_haste: None }
    }

    /// Whether it should be read now that it looks like this.
    ///
    /// A change is read when the file is the same at two looks, since it may be written in place. One that never is
    /// the same is read all the same if half of it could not be taken for the whole (`shows_its_end`).
    fn is_due(&mut self, stamp: Option<Stamp>, shows_its_end: bool, now: MonoNanos) -> Reading {
        if stamp == self.read {
            self.looks = 0;
            return if self.wrong.is_some() && now >= self.again { Reading::Now } else { Reading::NotNow };
        }
        self.looks += 1;
        if std::mem::replace(&mut self.seen, stamp) == stamp {
            Reading::Now
        } else if shows_its_end && self.looks >= MOST_LOOKS {
            Reading::InHaste
        } else {
            Reading::NotNow
        }
    }
}

/// What a thread brings back.
enum Outcome {
    Fetched(usize, Result<FetchedKeys, String>),
    Keys(usize, Result<(Vec<u8>, Loaded), String>),
    List(usize, Result<CompiledList, String>),
}

struct FetchedKeys {
    set: StoredSet,
    loaded: Loaded,
    url: String,
    max_age: Option<Duration>,
    kept: Result<(), String>,
}

struct CompiledList {
    digest: [u8; 32],
    entries: usize,
    issuers: Vec<String>,
    kept: Result<(), String>,
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A file that is never the same at two looks may be read after this many.
const MOST_LOOKS: u32 = 3;
/// How often a file is read again that could not be read well.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Threads that fetch at the same time. More issuers than this take turns.
const MAX_THREADS: usize = 64;

/// Called first in each new child process: it begins with what counts now, not with what the parent knew.
pub(crate) fn on_child_init(main: Server<'_>) {
    if let Some((runtime, _)) = main.runtime() {
        follow(main, runtime);
    }
}

/// Called ten times a second in each child process.
pub(crate) fn on_background(main: Server<'_>) {
    let Some((runtime, _)) = main.runtime() else { return };
    if runtime.stopping.load(Ordering::Relaxed) {
        return;
    }
    follow(main, runtime);
    // The one that calls is the one that would wait.
    if let Some(mut refresher) = runtime.refresher.try_lock() {
        refresher.run(main, runtime);
    }
}

/// The process ends: requests that wait do so no longer, and nothing new begins.
pub(crate) fn on_stop(main: Server<'_>) {
    if let Some((runtime, _)) = main.runtime() {
        runtime.stopping.store(true, Ordering::Relaxed);
    }
}

/// Takes up what was announced.
fn follow(main: Server<'_>, runtime: &Runtime) {
    for index in runtime.catch_up(now()) {
        let source = &runtime.plan.sources[index];
        main.log(Level::Error, || {
            format!(
                "JG4008 {}: this process cannot get at the list that is in force: it answers tokens with 503 until \
                 it can",
                source.named_by
            )
        });
    }
}

impl Refresher {
    /// What the parent makes for its children: files as it has read them, and who is trusted.
    pub(crate) fn new(files: HashMap<usize, Watched>, fetchers: HashMap<Option<String>, Arc<Fetcher>>) -> Self {
        Self {
            holder: 0,
            under_way: HashMap::new(),
            results: channel(),
            fetchers,
            files,
            next_look: MonoNanos(0),
            unwritten: HashSet::new(),
            too_old: HashSet::new(),
        }
    }

    fn run(&mut self, main: Server<'_>, runtime: &Runtime) {
        if self.holder == 0 {
            self.holder = random()[0] | 1;
        }
        let time = now();
        // Also without the lease, which slow work may have cost; what is newer by then counts.
        while let Ok(outcome) = self.results.1.try_recv() {
            self.conclude(main, runtime, outcome);
        }
        if !runtime.store.hold(self.holder, time.mono) {
            return;
        }
        for index in 0..runtime.plan.sources.len() {
            self.speak_of_age(main, runtime, index);
            self.begin(main, runtime, index);
        }
        if time.mono >= self.next_look {
            self.next_look = in_future(time, LOOK);
            for index in 0..runtime.plan.sources.len() {
                self.look(runtime, index);
            }
        }
        follow(main, runtime);
    }

    /// Says when keys may not be used any more, and has new ones fetched.
    fn speak_of_age(&mut self, main: Server<'_>, runtime: &Runtime, index: usize) {
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
    fn begin(&mut self, main: Server<'_>, runtime: &Runtime, index: usize) {
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
            let (what, folder) = (source.what.clone(), runtime.state_dir.clone());
            self.spawn(move || {
                let fetched = caught(|| fetch(&fetcher, &from, timeout, &what, folder.as_ref()));
                Outcome::Fetched(index, fetched)
            })
        });
        match spawned {
            Ok(()) => {
                self.under_way.insert(index, attempt);
            }
            Err(why) => failed(main, source, stored, attempt, &why),
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

    fn spawn(&self, work: impl FnOnce() -> Outcome + Send + 'static) -> Result<(), String> {
        let sender = self.results.0.clone();
        // Nobody listens any more if the process ends.
        let work = move || drop(sender.send(work()));
        let builder = std::thread::Builder::new().name("jwt_gate".to_owned());
        builder.spawn(work).map(drop).map_err(|error| format!("no thread can be started: {error}"))
    }

    /// Has a file read that has changed.
    fn look(&mut self, runtime: &Runtime, index: usize) {
        let source = &runtime.plan.sources[index];
        let (Some(path), Some(file)) = (source.what.path(), self.files.get_mut(&index)) else { return };
        let stamp = Stamp::of(path);
        if file.is_being_read {
            return;
        }
        file.in_haste = match file.is_due(stamp, source.what.shows_its_end(), now().mono) {
            Reading::NotNow => return,
            Reading::InHaste => Some(file.read),
            Reading::Now => None,
        };
        (file.read, file.looks, file.is_being_read) = (stamp, 0, true);
        let (what, folder) = (source.what.clone(), runtime.state_dir.clone());
        let spawned = self.spawn(move || match &what {
            What::Revocations { .. } => Outcome::List(index, caught(|| compile(&what, folder.as_ref()))),
            _ => Outcome::Keys(index, caught(|| what.read_keys())),
        });
        if let (Err(why), Some(file)) = (spawned, self.files.get_mut(&index)) {
            (file.is_being_read, file.wrong) = (false, Some(why));
        }
    }

    /// Announces what a thread brought.
    fn conclude(&mut self, main: Server<'_>, runtime: &Runtime, outcome: Outcome) {
        let (Outcome::Fetched(index, _) | Outcome::Keys(index, _) | Outcome::List(index, _)) = outcome;
        let source = &runtime.plan.sources[index];
        let Some(stored) = runtime.store.source(index) else { return };
        match outcome {
            Outcome::Fetched(_, result) => self.conclude_fetch(main, source, stored, index, result),
            Outcome::Keys(_, result) => {
                let is_new = result.and_then(|(bytes, loaded)| {
                    let path = source.what.path().unwrap_or_default();
                    runtime.check_together(index, &loaded.keys).map_err(|why| format!("{path}: {why}"))?;
                    let is_new = stored.publish(&bytes, now().wall) == Ok(true);
                    for why in loaded.skipped.iter().filter(|_| is_new) {
                        main.log(Level::Warning, || format!("JG2203 {}: {why}", source.named_by));
                    }
                    Ok(is_new.then(|| format!("{} in use", keys(&loaded))))
                });
                self.conclude_file(main, source, stored, index, is_new);
            }
            Outcome::List(_, result) => {
                let is_new = result.map(|list| {
                    let is_new = stored.publish(&list.digest, now().wall) == Ok(true);
                    self.speak_of_disk(main, source, list.kept);
                    if is_new {
                        warn_of_names(main, &runtime.plan, source, &list.issuers);
                    }
                    is_new.then(|| format!("{} entries are in use", list.entries))
                });
                self.conclude_file(main, source, stored, index, is_new);
            }
        }
    }

    fn conclude_fetch(
        &mut self,
        main: Server<'_>,
        source: &Source,
        stored: Stored<'_>,
        index: usize,
        result: Result<FetchedKeys, String>,
    ) {
        let (Some(attempt), What::Remote { options, .. }) = (self.under_way.remove(&index), &source.what) else {
            return;
        };
        // Another process has fetched since, and perhaps announced keys that are newer than these.
        if !stored.is_current(&attempt) {
            return;
        }
        let FetchedKeys { set, loaded, url, max_age, kept } = match result {
            Ok(fetched) => fetched,
            Err(why) => return failed(main, source, stored, attempt, &why),
        };
        let again = stored.failures() > 0 || stored.fetched().is_none();
        let Ok(is_new) = stored.publish(&set.jwks, set.fetched) else {
            return failed(main, source, stored, attempt, "more bytes than there is room for");
        };
        let next = schedule::after_success(options.refresh, max_age, options.stale, random()[0]);
        stored.succeed(attempt, in_future(now(), next));
        for why in loaded.skipped.iter().filter(|_| is_new) {
            main.log(Level::Warning, || format!("JG2203 {}: {url}: {why}", source.named_by));
        }
        main.log(if is_new || again { Level::Notice } else { Level::Info }, || {
            let known = if is_new { "" } else { ", as before" };
            format!("JG4001 {}: {} from {url}{known}; next fetch in {}", source.named_by, keys(&loaded), shown(next))
        });
        self.speak_of_disk(main, source, kept);
    }

    /// Speaks of a file that has changed.
    fn conclude_file(
        &mut self,
        main: Server<'_>,
        source: &Source,
        stored: Stored<'_>,
        index: usize,
        is_new: Result<Option<String>, String>,
    ) {
        let (Some(file), Some(path)) = (self.files.get_mut(&index), source.what.path()) else { return };
        file.is_being_read = false;
        match is_new {
            Ok(what) => {
                let was_wrong = file.wrong.take().is_some();
                let what = what.or_else(|| was_wrong.then(|| "it is as good as before".to_owned()));
                if let Some(what) = what {
                    main.log(Level::Notice, || format!("JG4006 {}: {path} has changed: {what}", source.named_by));
                }
            }
            Err(why) => {
                if let Some(before) = file.in_haste.take() {
                    file.read = before;
                    return;
                }
                file.again = in_future(now(), READ_AGAIN);
                if file.wrong.as_ref() == Some(&why) {
                    return;
                }
                main.log(Level::Warning, || {
                    let kept = match stored.version() {
                        0 => "until it can be read, tokens that need it are answered with 503",
                        _ => "its last good version stays in use",
                    };
                    format!("JG4007 {}: {why}; {kept}", source.named_by)
                });
                file.wrong = Some(why);
            }
        }
    }

    /// Speaks of the state folder when it cannot be written any more, and when it can be again.
    fn speak_of_disk(&mut self, main: Server<'_>, source: &Source, kept: Result<(), String>) {
        let file = source.what.state_file();
        match kept {
            Ok(()) if self.unwritten.remove(&file) => {
                main.log(Level::Notice, || format!("JG4005 JwtGateStateDir: {file} is written again"));
            }
            Err(why) if self.unwritten.insert(file) => {
                main.log(Level::Warning, || {
                    format!("JG4004 JwtGateStateDir: {why}; until it can be, what would be in it is in memory only")
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// What threads do; see the head of this file for what they may touch.
fn fetch(
    fetcher: &Fetcher,
    from: &RemoteKeys,
    timeout: Duration,
    what: &What,
    folder: Option<&StateDir>,
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
    let kept = folder.map_or(Ok(()), |folder| folder.write(&what.state_file(), &set.encode()));
    Ok(FetchedKeys { set, loaded, url, max_age, kept })
}

fn compile(what: &What, folder: Option<&StateDir>) -> Result<CompiledList, String> {
    let compiled = what.compile_revocations()?;
    let kept = folder.map_or(Ok(()), |folder| folder.write(&what.state_file(), &compiled.bytes));
    let list = RevocationList::open(Arc::new(compiled.bytes))?;
    let issuers = compiled.issuers.into_iter().collect();
    Ok(CompiledList { digest: list.source_digest(), entries: compiled.entries, issuers, kept })
}

/// A panic ends the work, not the thread's word to those who wait for it.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("failed in a way that is a fault of the module; please report it".to_owned()))
}

fn keys(loaded: &Loaded) -> String {
    match loaded.keys.iter().count() {
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    }
}

/// Speaks of issuers that a list of revocations names and nobody has defined: such entries revoke nothing.
pub(crate) fn warn_of_names(main: Server<'_>, plan: &Plan, source: &Source, names: &[String]) {
    let is_known = |name: &&String| plan.issuers.iter().any(|issuer| issuer.def.name == **name);
    let unknown: Vec<_> = names.iter().filter(|name| !is_known(name)).map(|name| format!("`{name}`")).collect();
    if unknown.is_empty() {
        return;
    }
    main.log(Level::Warning, || {
        let path = source.what.path().unwrap_or_default();
        let (shown, more) = unknown.split_at(unknown.len().min(5));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        format!(
            "JG2207 {}: {path} names the issuer {}{more}, which no JwtGateIssuer defines: such entries revoke nothing",
            source.named_by,
            shown.join(", ")
        )
    });
}

/// Counts a failed fetch, and tells what is used meanwhile and when the next one is.
fn failed(main: Server<'_>, source: &Source, stored: Stored<'_>, attempt: Attempt, why: &str) {
    let time = now();
    let failures = stored.failures().saturating_add(1);
    let next = schedule::after_failure(failures, random()[0]);
    stored.fail(attempt, in_future(time, next), why);
    main.log(Level::Warning, || {
        let mut text = format!("JG4002 {}: no keys: {why}; ", source.named_by);
        let What::Remote { options, .. } = &source.what else { return text };
        let age = stored.fetched().map(|fetched| Duration::from_micros(time.wall.0.saturating_sub(fetched.0)));
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

fn in_future(now: Now, span: Duration) -> MonoNanos {
    MonoNanos(now.mono.0.saturating_add(nanos(span)))
}

/// As nanoseconds, for [`MonoNanos`].
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A span of time for people, in its two greatest units.
pub(crate) fn shown(span: Duration) -> String {
    let secs = span.as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, 0) => format!("{} ms", span.as_millis()),
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}
