//! Requests whose token has a key that this process does not know.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jwt_gate_core::keys::store::{Asked, Source as Stored};
use jwt_gate_core::verdict::Reason;

use super::{Live, Runtime};
use crate::httpd::now;
use crate::sources::What;

/// Requests of one process that wait for the keys of one source, besides the one that asked for them.
pub(super) const MAX_WAITING: usize = 16;

/// How often a waiting request looks for the answer. It comes from another process; nothing could wake it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What comes of waiting for an issuer's keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waited {
    /// There are new ones: decide again.
    Again,
    /// Refuse for this reason, and say when to try again.
    Refuse(Reason, Option<u64>),
}

impl Runtime {
    /// What to do about a token whose key this process does not know: has new keys fetched, if the time for that
    /// has come, and waits for them, or for those that another request asked for.
    /// `live` is what the decision was made with.
    pub(crate) fn wait_for_keys(&self, live: &Live, issuer: u32) -> Waited {
        let unknown = Waited::Refuse(Reason::KeyUnknown, None);
        let remote = self.remote_source(issuer);
        let Some((index, stored, What::Remote { options, .. })) = remote else { return unknown };
        let is_new = || self.has_news(live, index);
        let ticket = match stored.ask(options.cooldown, now().mono) {
            Asked::Wait(ticket) => ticket,
            // The answer may have come after the decision.
            Asked::Unknown => return if is_new() { Waited::Again } else { unknown },
            Asked::Unavailable => return self.keys_unavailable(issuer),
        };
        // One more than may wait with it: the one that asked.
        let place = Place::take(&self.waiting[index], MAX_WAITING + 1);
        let (Some(_place), Some(_any)) = (place, Place::take(&self.all_waiting, self.most_waiting)) else {
            return self.keys_unavailable(issuer);
        };
        let begin = Instant::now();
        loop {
            match stored.answer(ticket) {
                Some(true) => return if is_new() { Waited::Again } else { unknown },
                Some(false) => return self.keys_unavailable(issuer),
                None if begin.elapsed() >= options.timeout || self.stopping.load(Ordering::Relaxed) => {
                    return self.keys_unavailable(issuer);
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Whether there are newer keys of an issuer than these; from now on they are in use.
    pub(crate) fn has_news_of(&self, live: &Live, issuer: u32) -> bool {
        let planned = usize::try_from(issuer).ok().and_then(|issuer| self.plan.issuers.get(issuer));
        planned.is_some_and(|planned| planned.sources.iter().any(|&index| self.has_news(live, index)))
    }

    fn has_news(&self, live: &Live, index: usize) -> bool {
        let before = live.versions[index];
        if self.store.source(index).is_none_or(|stored| stored.version() == before) {
            return false;
        }
        self.catch_up_with(index, now());
        self.live.load().versions[index] != before
    }

    /// `keys-unavailable`, to be tried again when the next fetch is due.
    pub(crate) fn keys_unavailable(&self, issuer: u32) -> Waited {
        let time = now().mono;
        let secs = self
            .remote_source(issuer)
            .map_or(30, |(_, stored, _)| stored.due(time).since(time).as_secs().saturating_add(1).min(60));
        Waited::Refuse(Reason::KeysUnavailable, Some(secs))
    }

    /// The provider that serves an issuer's keys.
    fn remote_source(&self, issuer: u32) -> Option<(usize, Stored<'static>, &What)> {
        let planned = self.plan.issuers.get(usize::try_from(issuer).ok()?)?;
        planned.sources.iter().find_map(|&index| match &self.plan.sources[index].what {
            what @ What::Remote { .. } => Some((index, self.store.source(index)?, what)),
            _ => None,
        })
    }
}

/// One of the places in which requests wait.
struct Place<'w>(&'w AtomicUsize);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicUsize, most: usize) -> Option<Self> {
        let take = |count: usize| (count < most).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok().then(|| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
