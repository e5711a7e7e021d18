//! Addresses that fail too often are refused for a while.
//!
//! A failing address has a history, the times of its last failures: one bucket of a single request for each
//! of them, in a table of lock-outs. A failure empties the first of them that is at rest, which is so again when the
//! failure no longer counts; so what a bucket's `tat` says, less that time, is when the failure was. If none is at rest,
//! the oldest failure gives way: no rule asks for more than there are. All rules share one history. Each
//! has one more bucket an address, which is in debt while the address is locked: to ask whether it is takes one
//! look and writes nothing.
//!
//! Two processes that record failures at once each write their own first and read the history second, with a
//! sequentially consistent fence in between. So the later of them sees both, and the failure that completes the
//! number locks, no other.
//!
//! Nobody is ever locked for what others did. Where the table has no room for a failure, it does not count, and
//! [`SlotTable::untold_overflows`] tells of it.

use std::time::Duration;

use smallvec::SmallVec;

use super::gcra::Wait;
use super::group::{Refused, Visit};
use super::key::{LimitId, Part};
use super::rate::{NANOS, Numbers};
use super::rule::{Rule, sane};
use super::slots::SlotTable;
use crate::sync::{Ordering, fence};
use crate::time::{MonoNanos, Now};

/// Most failures that a rule can wait for.
pub const MAX_FAILURES: u32 = 100;

/// Longest time that failures count, and longest time that an address is locked.
pub const MAX_LOCKOUT: Duration = Duration::from_secs(30 * 86_400);

/// Shortest of these times.
pub const MIN_LOCKOUT: Duration = Duration::from_secs(1);

/// How often a failure may find that others have failed in its place. Each time, the history holds theirs.
const TRIES: u32 = 100;

/// After so many failures within a time, an address is locked for another time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LockoutRule {
    /// 1 to [`MAX_FAILURES`].
    pub failures: u32,
    /// [`MIN_LOCKOUT`] to [`MAX_LOCKOUT`]. A failure that is exactly this old counts no more.
    pub within: Duration,
    /// [`MIN_LOCKOUT`] to [`MAX_LOCKOUT`].
    pub block: Duration,
}

/// All rules of a server, for one table of lock-outs.
#[derive(Clone, Debug)]
pub struct Lockouts {
    rules: Vec<Rules>,
    /// One for each failure that is remembered of an address.
    history: Vec<LimitId>,
    /// As long as a failure is remembered.
    memory: Numbers,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    rule: LockoutRule,
    within: u64,
    id: LimitId,
    block: Numbers,
}

impl Lockouts {
    /// Rules that are written twice are one. Numbers out of range count as the nearest within.
    ///
    /// Locks outlive a change of the other rules. Histories do as long as the longest [`within`](LockoutRule::within)
    /// stays the same.
    pub fn new(rules: impl IntoIterator<Item = LockoutRule>) -> Self {
        let mut found = Vec::<Rules>::new();
        for rule in rules {
            if found.iter().all(|other| other.rule != rule) {
                let (within, block) = (within_bounds(rule.within), Numbers::once_in(within_bounds(rule.block)));
                let failures = rule.failures.clamp(1, MAX_FAILURES);
                let within = Numbers::once_in(within).window();
                let id = LimitId::new("lock").with_index(failures.into(), within).with_numbers(block);
                found.push(Rules { rule, within, id, block });
            }
        }
        let longest = found.iter().map(|rule| rule.within).max().unwrap_or(NANOS);
        let most = found.iter().map(|rule| rule.rule.failures.clamp(1, MAX_FAILURES)).max().unwrap_or(0);
        let history = (0..most).map(|index| LimitId::new("failure").with_index(index.into(), longest)).collect();
        Self { rules: found, history, memory: Numbers::once_in(Duration::from_nanos(longest)) }
    }

    /// Whether there are no rules: then nothing need be recorded.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The index of a rule, for [`locked`](Self::locked).
    pub fn index(&self, rule: &LockoutRule) -> Option<usize> {
        self.rules.iter().position(|known| known.rule == *rule)
    }

    /// The rule of this index.
    pub fn rule(&self, index: usize) -> Option<&LockoutRule> {
        self.rules.get(index).map(|known| &known.rule)
    }

    /// Seconds, rounded up and at least 1, that the addresses of `group` are locked by a rule. `None`: they are not.
    /// Writes nothing.
    pub fn locked(&self, table: SlotTable<'_>, rule: usize, group: &[u8], now: Now) -> Option<u64> {
        let now = sane(now.mono);
        let rule = self.rules.get(rule)?;
        let until = visit(table, rule.id, rule.block, group, now).look().0;
        (until > now.0).then(|| (until - now.0).div_ceil(NANOS))
    }

    /// Counts one failure of the addresses of `group`, as
    /// [`AddressPrefix::group`](crate::net::address::AddressPrefix::group) gives them.
    /// The indices of the rules by which they are locked from now on, and were not before.
    pub fn record_failure(&self, table: SlotTable<'_>, group: &[u8], now: Now) -> SmallVec<[usize; 2]> {
        let now = sane(now.mono);
        let mut newly = SmallVec::new();
        if self.rules.is_empty() {
            return newly;
        }
        if !self.remember(table, group, now) {
            return newly;
        }
        fence(Ordering::SeqCst);
        let failures = self.failures(table, group, now);
        for (index, known) in self.rules.iter().enumerate() {
            if known.is_broken_by(&failures, now) {
                match visit(table, known.id, known.block, group, now).charge() {
                    Ok(_) => newly.push(index),
                    Err(Refused::Wait(_) | Refused::Shared(_)) => {}
                    Err(Refused::NoRoom) => table.count_overflow(),
                }
            }
        }
        newly
    }

    /// Writes a failure into the history. `false` if there is no room for it.
    fn remember(&self, table: SlotTable<'_>, group: &[u8], now: MonoNanos) -> bool {
        let expiry = now.0 + self.memory.window();
        for _ in 0..TRIES {
            let mut oldest: Option<(LimitId, Wait)> = None;
            let mut is_short = false;
            for &id in &self.history {
                match visit(table, id, self.memory, group, now).charge() {
                    Ok(_) => return true,
                    Err(Refused::NoRoom) => is_short = true,
                    Err(Refused::Wait(wait) | Refused::Shared(wait)) => {
                        oldest = Some(oldest.filter(|&(_, least)| least <= wait).unwrap_or((id, wait)));
                    }
                }
            }
            let end = oldest.is_none_or(|(id, wait)| {
                let tat = now.0 + wait.0;
                // Later failures than this one fill the history, or this one takes the place of one.
                tat >= expiry || visit(table, id, self.memory, group, now).replace(tat, expiry)
            });
            if end {
                if is_short {
                    table.count_overflow();
                }
                return oldest.is_some();
            }
        }
        // So many others fail that theirs are enough for any rule.
        true
    }

    /// The times of the failures that are remembered, the first one first.
    fn failures(&self, table: SlotTable<'_>, group: &[u8], now: MonoNanos) -> SmallVec<[u64; 16]> {
        let tats = self.history.iter().map(|&id| visit(table, id, self.memory, group, now).look().0);
        let mut times: SmallVec<[u64; 16]> =
            tats.filter(|&tat| tat > now.0).map(|tat| tat - self.memory.window()).collect();
        times.sort_unstable();
        times
    }
}

impl Rules {
    /// Whether there are too many failures within the time that ends with this one, of `now`, or with a later one, of
    /// another process that may not have seen this one.
    fn is_broken_by(&self, failures: &[u64], now: MonoNanos) -> bool {
        let count = self.rule.failures.clamp(1, MAX_FAILURES) as usize;
        let too_many = |group: &[u64]| match group {
            [first, .., last] => *last >= now.0 && last - first < self.within,
            [only] => *only >= now.0,
            [] => false,
        };
        failures.windows(count).any(too_many)
    }
}

fn within_bounds(time: Duration) -> Duration {
    time.clamp(MIN_LOCKOUT, MAX_LOCKOUT)
}

/// A bucket of one request of `group`, which has a slot of its own or none.
fn visit<'m>(table: SlotTable<'m>, id: LimitId, numbers: Numbers, group: &[u8], now: MonoNanos) -> Visit<'m> {
    let key = table.hasher(id).part(Part::Address, group).finish();
    Visit {
        table,
        group: table.geometry.group(table.group_of(key)),
        overflow: None,
        key: key.key,
        rule: Rule::rate(numbers, now),
    }
}
