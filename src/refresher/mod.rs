//! The background runner: fetches key sets, looks after files that change, and lets requests of its process
//! follow.
//!
//! Every child process has one, called by mod_watchdog. One of them holds the lease in shared memory, fetches
//! and reads for all, and announces what is new; if it dies, another takes its place within a second. What
//! may take long (a fetch, a list, the disk) runs in a thread of its own, so that nothing delays anything else;
//! these threads only bring their result back, and touch neither httpd nor shared memory, so that they may
//! outlast the process's end.

mod changes;
mod fetching;
mod watched;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jwt_gate_core::fetch::Fetcher;
use jwt_gate_core::keys::Loaded;
use jwt_gate_core::keys::store::Attempt;
use jwt_gate_core::time::MonoNanos;

use self::changes::Change;
use self::fetching::FetchedKeys;
pub(crate) use self::watched::Watched;
use crate::counting::QUOTAS_FILE;
use crate::httpd::{Level, Log, Server, SharedFile, now, random};
use crate::runtime::Runtime;

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
    /// When what is counted in the file with quotas is put on the disk again; `None` while that is under way.
    next_sync: Option<MonoNanos>,
    /// The file with quotas was found shorter than it was made.
    is_cut_off: bool,
    /// State files that could not be written the last time.
    unwritten: HashSet<String>,
    /// Key sets that may not be used any more, by source.
    too_old: HashSet<usize>,
}

/// What a thread brings back.
enum Outcome {
    /// The file with quotas was put on the disk.
    Synced(Result<(), String>),
    Fetched(usize, Result<FetchedKeys, String>),
    Read(usize, Result<Change, String>),
}

/// How often quotas are put on the disk: less than the two seconds of counting that may be lost.
const SYNC: Duration = Duration::from_secs(1);
/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

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
                "JG4008 {}: this process cannot get at the list that is in force: until it can, {}",
                source.named_by,
                source.what.without()
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
            next_sync: Some(MonoNanos(0)),
            is_cut_off: false,
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
            self.next_look = time.mono.saturating_add(LOOK);
            for index in 0..runtime.plan.sources.len() {
                self.look(runtime, index);
            }
        }
        if self.next_sync.is_some_and(|next| time.mono >= next) {
            self.sync(main, runtime);
        }
        follow(main, runtime);
    }

    /// Has quotas put on the disk. Processes share the file in memory, and no end of any of them loses a count; a power
    /// failure loses what was counted since.
    fn sync(&mut self, main: Server<'_>, runtime: &Runtime) {
        let Some(shared) = SharedFile::existing(main).filter(|_| runtime.has_quotas()) else { return };
        self.next_sync = None;
        if !shared.is_whole() && !std::mem::replace(&mut self.is_cut_off, true) {
            main.log(Level::Error, || {
                format!(
                    "JG4009 JwtGateStateDir: {QUOTAS_FILE} was made shorter while it is in use: child processes that count in \
                     what is missing end at once (SIGBUS): run `apachectl graceful`, with which quotas begin anew"
                )
            });
        }
        let failed = |error: std::io::Error| format!("{QUOTAS_FILE} cannot be written: {error}");
        let spawned = shared
            .open_again()
            .map_err(failed)
            .and_then(|file| self.spawn(move || Outcome::Synced(caught(|| file.sync_data().map_err(failed)))));
        if let Err(why) = spawned {
            self.conclude_sync(main, Err(why));
        }
    }

    fn conclude_sync(&mut self, main: Server<'_>, result: Result<(), String>) {
        self.next_sync = Some(now().mono.saturating_add(SYNC));
        self.speak_of_disk(main, QUOTAS_FILE, result);
    }

    fn spawn(&self, work: impl FnOnce() -> Outcome + Send + 'static) -> Result<(), String> {
        let sender = self.results.0.clone();
        // Nobody listens any more if the process ends.
        let work = move || drop(sender.send(work()));
        let builder = std::thread::Builder::new().name("jwt_gate".to_owned());
        builder.spawn(work).map(drop).map_err(|error| format!("no thread can be started: {error}"))
    }

    /// Announces what a thread brought.
    fn conclude(&mut self, main: Server<'_>, runtime: &Runtime, outcome: Outcome) {
        match outcome {
            Outcome::Synced(result) => self.conclude_sync(main, result),
            Outcome::Fetched(index, result) => {
                if let Some(stored) = runtime.store.source(index) {
                    self.conclude_fetch(main, runtime, stored, index, result);
                }
            }
            Outcome::Read(index, result) => {
                if let Some(stored) = runtime.store.source(index) {
                    self.conclude_change(main, runtime, stored, index, result);
                }
            }
        }
    }

    /// Speaks of the state folder when it cannot be written any more, and when it can be again.
    fn speak_of_disk(&mut self, main: Server<'_>, file: &str, kept: Result<(), String>) {
        match kept {
            Ok(()) if self.unwritten.remove(file) => {
                main.log(Level::Notice, || format!("JG4005 JwtGateStateDir: {file} is written again"));
            }
            Err(why) if self.unwritten.insert(file.to_owned()) => {
                main.log(Level::Warning, || {
                    format!("JG4004 JwtGateStateDir: {why}; until it can be, what would be in it is in memory only")
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
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
