//! Files that change: how they are read, and what is said of it.

use jwt_gate_core::keys::Loaded;
use jwt_gate_core::keys::store::Source as Stored;

use super::{Outcome, Refresher, caught, keys};
use crate::files::Stamp;
use crate::httpd::{Level, Log, Server, now};
use crate::lists::{Compiled, List};
use crate::loading::speak_of_writers;
use crate::names::warn_of_list;
use crate::runtime::Runtime;
use crate::sources::What;
use crate::state_dir::StateDir;

/// What is in a file that has changed.
pub(super) enum Change {
    Keys(Vec<u8>, Loaded),
    List(Compiled),
    /// It has changed once more while it was read: what was read may be half of it.
    Moved,
}

impl Refresher {
    /// Has a file read that has changed.
    pub(super) fn look(&mut self, runtime: &Runtime, index: usize) {
        let source = &runtime.plan.sources[index];
        let (Some(path), Some(file)) = (source.what.path(), self.files.get_mut(&index)) else { return };
        let stamp = Stamp::of(path);
        if !file.begin(stamp, source.what.shows_its_end(), now().mono) {
            return;
        }
        let (what, folder, state_file) = (source.what.clone(), runtime.state_dir.clone(), source.state_file());
        let in_use = runtime.list(index);
        let spawned = self.spawn(move || {
            let keep = |bytes: &[u8]| folder.map_or(Ok(()), |folder: StateDir| folder.write(&state_file, bytes));
            Outcome::Read(index, caught(|| read(&what, stamp, in_use.as_ref(), keep)))
        });
        if let (Err(why), Some(file)) = (spawned, self.files.get_mut(&index)) {
            // Without a word: nothing is wrong with the file, and it is read again soon.
            file.is_bad(&why, now().mono);
        }
    }

    /// Announces what is in a file that has changed, and speaks of it.
    pub(super) fn conclude_change(
        &mut self,
        main: Server<'_>,
        runtime: &Runtime,
        stored: Stored<'_>,
        index: usize,
        result: Result<Change, String>,
    ) {
        let source = &runtime.plan.sources[index];
        let (Some(file), Some(path)) = (self.files.get_mut(&index), source.what.path()) else { return };
        let stamp = file.stamp();
        let is_new = match result {
            Ok(Change::Moved) => return file.has_moved(),
            Ok(Change::Keys(bytes, loaded)) => {
                let together = runtime.check_together(index, &loaded.keys).map_err(|why| format!("{path}: {why}"));
                together.map(|()| {
                    let is_new = stored.publish(&bytes, now().wall) == Ok(true);
                    for why in loaded.skipped.iter().filter(|_| is_new) {
                        main.log(Level::Warning, || format!("JG2203 {}: {why}", source.named_by));
                    }
                    is_new.then(|| format!("{} in use", keys(&loaded)))
                })
            }
            Ok(Change::List(Compiled { list, kept })) => {
                let is_new = list.announce(stored, stamp.map(|stamp| stamp.modified()), now().wall);
                self.speak_of_disk(main, &source.state_file(), kept);
                if is_new {
                    warn_of_list(main, &runtime.plan, index, &list);
                }
                Ok(is_new.then(|| format!("{list} in use")))
            }
            Err(why) => Err(why),
        };
        runtime.metering.file_read(&source.what, is_new.is_ok());
        let Some(file) = self.files.get_mut(&index) else { return };
        if is_new.is_ok() && file.has_changed() {
            speak_of_writers(main, source);
        }
        match is_new {
            Ok(what) => {
                let was_wrong = file.is_good();
                let what = what.or_else(|| was_wrong.then(|| "it is as good as before".to_owned()));
                if let Some(what) = what {
                    main.log(Level::Notice, || format!("JG4006 {}: {path} has changed: {what}", source.named_by));
                }
            }
            Err(why) if file.is_bad(&why, now().mono) => main.log(Level::Warning, || {
                let kept = match stored.version() {
                    0 => format!("until it can be read, {}", source.what.without()),
                    _ => "its last good version stays in use".to_owned(),
                };
                format!("JG4007 {}: {why}; {kept}", source.named_by)
            }),
            Err(_) => {}
        }
    }
}

/// What threads do; see the head of `mod.rs` for what they may touch. `stamp` is the file as it was before.
fn read(
    what: &What,
    stamp: Option<Stamp>,
    in_use: Option<&List>,
    keep: impl FnOnce(&[u8]) -> Result<(), String>,
) -> Result<Change, String> {
    let has_moved = || what.path().and_then(Stamp::of) != stamp;
    let read = match what {
        What::List(list) => match list.read() {
            Ok(_) if !what.shows_its_end() && has_moved() => Ok(Change::Moved),
            read => read.and_then(|bytes| list.compile(&bytes, in_use, keep)).map(Change::List),
        },
        _ => match what.read_keys() {
            Ok(_) if !what.shows_its_end() && has_moved() => Ok(Change::Moved),
            read => read.map(|(bytes, loaded)| Change::Keys(bytes, loaded)),
        },
    };
    read.or_else(|why| if has_moved() { Ok(Change::Moved) } else { Err(why) })
}
