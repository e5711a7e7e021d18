//! What a process made of the newest announcements, and how it follows them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jwt_gate_core::keys::KeySet;
use jwt_gate_core::keys::schedule;
use jwt_gate_core::time::{MonoNanos, Now};
use jwt_gate_core::token::issuer::Issuer;

use super::{Live, Runtime};
use crate::httpd::Mapping;
use crate::lists::{Announced, List};
use crate::sources::{Plan, What};

/// What a process has of each source, and the issuers made of it.
pub(super) struct Kept {
    pub(super) sources: Vec<KeptSource>,
    pub(super) issuers: Vec<KeptIssuer>,
}

pub(super) struct KeptIssuer {
    pub(super) issuer: Arc<Issuer>,
    /// The key sets of its sources that its keys are those of.
    made_of: Vec<Arc<KeySet>>,
}

#[derive(Clone, Default)]
pub(super) struct KeptSource {
    /// Of the keys.
    pub(super) version: u64,
    /// Not older than it may be.
    usable: bool,
    keys: Option<Arc<KeySet>>,
    pub(super) list: Option<List>,
}

/// How long after a list could not be had it is looked for again.
const TRY_AGAIN: Duration = Duration::from_secs(2);

impl Kept {
    /// Nothing but lists, by source.
    pub(super) fn new(plan: &Plan, lists: HashMap<usize, List>) -> Self {
        let issuers = plan.issuers.iter().enumerate().map(|(id, planned)| planned.def.policy(id));
        let mut kept = Self {
            issuers: issuers.map(|issuer| KeptIssuer { issuer: Arc::new(issuer), made_of: Vec::new() }).collect(),
            sources: vec![KeptSource::default(); plan.sources.len()],
        };
        for (index, list) in lists {
            kept.sources[index].list = Some(list);
        }
        kept
    }
}

impl Runtime {
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
            kept.sources[index].list = list;
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
    pub(super) fn catch_up_with(&self, index: usize, now: Now) {
        let mut kept = self.kept.lock();
        if self.follow_keys(index, &mut kept.sources[index], now) {
            self.renew(&mut kept);
        }
    }

    fn renew(&self, kept: &mut Kept) {
        self.renew_issuers(kept);
        self.live.store(Arc::new(Live::of(&self.plan, kept)));
    }

    /// Whether there is something new about the keys of a source.
    fn follow_keys(&self, index: usize, kept: &mut KeptSource, now: Now) -> bool {
        let (source, Some(stored)) = (&self.plan.sources[index], self.store.source(index)) else { return false };
        let usable = match &source.what {
            What::Remote { options, .. } => {
                stored.fetched().is_some_and(|fetched| schedule::is_usable(fetched, options.stale, now.wall))
            }
            What::KeyFile { .. } => true,
            What::List(_) => return false,
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
    fn new_lists(&self, now: Now) -> Vec<(usize, Option<List>)> {
        let mut lists = Vec::new();
        for (index, source) in self.plan.sources.iter().enumerate() {
            let (What::List(_), Some(stored)) = (&source.what, self.store.source(index)) else { continue };
            let again = MonoNanos(self.try_again[index].load(Ordering::Relaxed));
            if stored.version() == self.seen[index].load(Ordering::Relaxed) || now.mono < again {
                continue;
            }
            let Some(content) = stored.read() else { continue };
            let used = self.list(index);
            let Some(Announced { digest, .. }) = Announced::decode(&content.bytes) else { continue };
            let list = match &used {
                Some(used) if used.source_digest() == digest => None,
                _ => Some(self.find_list(index, digest)),
            };
            if let Some(None) = list {
                let again = now.mono.saturating_add(TRY_AGAIN).0;
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
    fn find_list(&self, index: usize, digest: [u8; 32]) -> Option<List> {
        let source = &self.plan.sources[index];
        let What::List(file) = &source.what else { return None };
        let kept = self.state_dir.as_ref().and_then(|folder| folder.file(&source.state_file()).ok()?);
        let mapped = kept.and_then(|kept| file.open(Arc::new(Mapping::new(&kept).ok()?)).ok());
        // Whether there is enough of it was judged before it was announced.
        let compiled = || Some(file.compile(&file.read().ok()?, None, |_| Ok(())).ok()?.list);
        let announced = |list: &List| list.source_digest() == digest;
        mapped.filter(announced).or_else(|| compiled().filter(announced))
    }

    /// The list of a source that is in use in this process.
    pub(crate) fn list(&self, index: usize) -> Option<List> {
        self.kept.lock().sources[index].list.clone()
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
}
