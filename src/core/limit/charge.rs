//! Several limits at once: all are charged, or none.

use smallvec::SmallVec;

use super::bank::Bank;
use super::gcra::Wait;
use super::group::{Receipt, Refused, Visit};
use super::key::KeyHash;
use super::quota::Quota;
use super::rate::Numbers;
use super::rule::{Measure, Rule};
use super::slots::SlotTable;
use crate::time::{MonoNanos, Now};

/// How often a request may find that its wait is over already, and try again. Each time others were charged
/// since it had read the clock.
const OVERTAKEN: u32 = 8;

/// One limit's part in a request: what to charge, and after [`charge_all`] how it stands.
#[derive(Clone, Debug)]
pub struct Charge<'m> {
    table: SlotTable<'m>,
    measure: Measure,
    bank: Bank,
    key: Option<KeyHash>,
    /// The bucket's word: as the charge made it, else as it was found.
    tat: u64,
    /// What the bucket was judged by.
    rule: Rule,
    /// The word is what keys without a slot share, not the key's own.
    is_shared: bool,
    receipt: Option<Receipt>,
}

/// How a bucket stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Requests that would be admitted at once.
    pub remaining: u32,
    /// Seconds, rounded up, until `remaining` is one more; 0 at rest. Of a quota: until its window ends.
    pub secs_until_one_more: u64,
}

/// Whether the request is admitted by all its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All are charged.
    Admitted,
    /// None is charged.
    Refused {
        /// Index of the first quota that refuses, or if none does, of the first charge that refuses.
        first: usize,
        /// Seconds until none of the refusing ones does: the `Retry-After` field. At least 1.
        retry_after: u64,
    },
}

impl<'m> Charge<'m> {
    /// One request to the bucket that everybody shares in `bank`, a place in `table`, of rates.
    pub fn shared(table: SlotTable<'m>, numbers: Numbers, bank: Bank) -> Self {
        Self::new(table, Measure::Rate(numbers), bank, None)
    }

    /// One request to the bucket of `key`, of the limit that has `bank`. Both are of `table`, of rates.
    pub fn keyed(table: SlotTable<'m>, numbers: Numbers, bank: Bank, key: KeyHash) -> Self {
        Self::new(table, Measure::Rate(numbers), bank, Some(key))
    }

    /// As [`shared`](Self::shared), for a quota and a table of quotas.
    pub fn shared_quota(table: SlotTable<'m>, quota: Quota, bank: Bank) -> Self {
        Self::new(table, Measure::Quota(quota), bank, None)
    }

    /// As [`keyed`](Self::keyed), for a quota and a table of quotas.
    pub fn keyed_quota(table: SlotTable<'m>, quota: Quota, bank: Bank, key: KeyHash) -> Self {
        Self::new(table, Measure::Quota(quota), bank, Some(key))
    }

    fn new(table: SlotTable<'m>, measure: Measure, bank: Bank, key: Option<KeyHash>) -> Self {
        Self { table, measure, bank, key, tat: 0, rule: measure.at(Now::default()), is_shared: false, receipt: None }
    }

    /// Whether a quota is charged.
    pub const fn is_quota(&self) -> bool {
        matches!(self.measure, Measure::Quota(_))
    }

    /// How the bucket stands: after the charge if it was made, else as it was found.
    pub fn standing(&self) -> Standing {
        Standing {
            remaining: self.rule.remaining(self.tat),
            secs_until_one_more: self.rule.secs_until_one_more(self.tat),
        }
    }

    fn look(&mut self) {
        self.receipt = None;
        (self.tat, self.is_shared) = match self.key {
            Some(key) => self.visit(key).look(),
            None => (self.table.look_at_cell(self.table.shared_cell(self.bank), self.rule), false),
        };
    }

    fn make(&mut self) -> Result<(), Wait> {
        let result = match self.key {
            Some(key) => self.visit(key).charge(),
            None => self.table.charge_cell(self.table.shared_cell(self.bank), self.rule).map_err(Refused::Wait),
        };
        self.is_shared = matches!(result, Err(Refused::Shared(_)));
        let result = result.map_err(|refused| match refused {
            Refused::Wait(wait) | Refused::Shared(wait) => wait,
            // There is an overflow cell.
            Refused::NoRoom => self.rule.busy(),
        });
        self.tat = match result {
            Ok(receipt) => receipt.tat,
            Err(wait) => self.rule.refusing(wait),
        };
        self.receipt = result.ok();
        result.map(|_| ())
    }

    fn give_back(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.table.give_back(receipt, self.rule);
            self.tat = receipt.tat - self.rule.interval();
        }
    }

    /// Counts a refusal for [`SlotTable::overflows`], if it comes of what several keys share.
    fn count_refusal(&self) {
        if self.is_shared && self.rule.test(self.rule.plausible(self.tat)).is_err() {
            self.table.count_overflow();
        }
    }

    fn visit(&self, key: KeyHash) -> Visit<'m> {
        let group = self.table.group_of(key);
        Visit {
            table: self.table,
            group: self.table.geometry.group(group),
            overflow: Some(self.table.overflow_cell(self.bank, group)),
            key: key.key,
            rule: self.rule,
        }
    }
}

/// Charges one request to each of `charges`, or to none of them.
///
/// A request that some bucket refuses changes no bucket. Only if one refuses that had room a
/// moment before, charges are made and given back; others may then be refused that would
/// have been admitted, never the other way round.
pub fn charge_all(charges: &mut [Charge<'_>], now: Now) -> Outcome {
    counted(try_all(charges, now), charges)
}

/// The same outcome. What refuses is counted once for each request, however often that has tried.
fn counted(outcome: Outcome, charges: &[Charge<'_>]) -> Outcome {
    if outcome != Outcome::Admitted {
        charges.iter().for_each(Charge::count_refusal);
    }
    outcome
}

fn try_all(charges: &mut [Charge<'_>], now: Now) -> Outcome {
    if let [charge] = charges {
        charge.rule = charge.measure.at(now);
        return match charge.make() {
            Ok(()) => Outcome::Admitted,
            Err(wait) => Outcome::Refused { first: 0, retry_after: wait.retry_after() },
        };
    }
    if let refused @ Outcome::Refused { .. } = test_all(charges, now) {
        return refused;
    }
    // The longest interval last: whoever meets a charge that is then given back is told to wait for one of a
    // shorter interval, and for the end of a quota's window only by another quota. Of equal ones shared buckets last:
    // they are the most contended.
    let mut order: SmallVec<[usize; 4]> = (0..charges.len()).collect();
    order.sort_by_key(|&index| {
        let charge = &charges[index];
        (charge.is_quota(), charge.rule.patience(), charge.key.is_none())
    });
    for index in order {
        if let Err(wait) = charges[index].make() {
            charges.iter_mut().for_each(Charge::give_back);
            return Outcome::Refused { first: index, retry_after: wait.retry_after() };
        }
    }
    Outcome::Admitted
}

/// As [`charge_all`], for a request that came at `now`, while time goes on. `clock` gives the
/// time by now (or `now` again if it stands still), and is asked only before a refusal.
///
/// Others may have read the clock later and yet been charged sooner. By `now` their charges lie in the
/// future: the wait comes out too long, and a bucket that has room for one more seems to have none. So a refusal
/// goes by a time read after the buckets, and stands only if there is still a wait then.
pub fn charge_all_by_clock(charges: &mut [Charge<'_>], now: Now, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome {
    let mut now = now;
    for _ in 0..OVERTAKEN {
        if try_all(charges, now) == Outcome::Admitted {
            return Outcome::Admitted;
        }
        now = now.at(now.mono.max(clock(now.mono)));
        if let refused @ Outcome::Refused { .. } = Outcome::of(charges, now) {
            return counted(refused, charges);
        }
    }
    charge_all(charges, now)
}

/// Whether all of `charges` would be made, and how their buckets stand. Changes nothing.
pub fn test_all(charges: &mut [Charge<'_>], now: Now) -> Outcome {
    for charge in &mut *charges {
        charge.rule = charge.measure.at(now);
        charge.look();
    }
    Outcome::of(charges, now)
}

impl Outcome {
    /// What buckets say at `now` that stand as they were found.
    fn of(charges: &mut [Charge<'_>], now: Now) -> Self {
        let mut refused: Option<(usize, Wait)> = None;
        for index in 0..charges.len() {
            let charge = &mut charges[index];
            charge.rule = charge.measure.at(now);
            let Err(wait) = charge.rule.test(charge.rule.plausible(charge.tat)) else { continue };
            let is_quota = charge.is_quota();
            refused = Some(match refused {
                None => (index, wait),
                Some((first, longest)) => {
                    let first = if is_quota && !charges[first].is_quota() { index } else { first };
                    (first, longest.max(wait))
                }
            });
        }
        refused.map_or(Self::Admitted, |(first, wait)| Self::Refused { first, retry_after: wait.retry_after() })
    }
}
