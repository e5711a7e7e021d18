//! Several limits at once: all are charged, or none.

use smallvec::SmallVec;

use super::bank::Bank;
use super::gcra::{self, Wait};
use super::group::{Receipt, Visit};
use super::key::KeyHash;
use super::rate::Numbers;
use super::slots::SlotTable;
use crate::time::MonoNanos;

/// How often a request may find that its wait is over already, and try again. Each time others were charged
/// since it had read the clock.
const OVERTAKEN: u32 = 8;

/// One limit's part in a request: what to charge, and after [`SlotTable::charge_all`] how it stands.
#[derive(Clone, Debug)]
pub struct Charge {
    numbers: Numbers,
    bank: Bank,
    key: Option<KeyHash>,
    /// The bucket's `tat`: as the charge made it, else as it was found.
    tat: u64,
    /// The time by which the bucket was judged.
    now: MonoNanos,
    receipt: Option<Receipt>,
}

/// How a bucket stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Requests that would be admitted at once.
    pub remaining: u32,
    /// Seconds, rounded up, until `remaining` is one more; 0 at rest.
    pub secs_until_one_more: u64,
}

/// Whether the request is admitted by all its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All are charged.
    Admitted,
    /// None is charged.
    Refused {
        /// Index of the first charge that refuses.
        first: usize,
        /// Seconds until none of the refusing ones does: the `Retry-After` field. At least 1.
        retry_after: u64,
    },
}

impl Charge {
    /// One request to the bucket that everybody shares in `bank`.
    pub const fn shared(numbers: Numbers, bank: Bank) -> Self {
        Self { numbers, bank, key: None, tat: 0, now: MonoNanos(0), receipt: None }
    }

    /// One request to the bucket of `key`, of the limit that has `bank`.
    pub const fn keyed(numbers: Numbers, bank: Bank, key: KeyHash) -> Self {
        Self { key: Some(key), ..Self::shared(numbers, bank) }
    }

    /// How the bucket stands: after the charge if it was made, else as it was found.
    pub fn standing(&self) -> Standing {
        Standing {
            remaining: gcra::remaining(self.tat, self.now, self.numbers),
            secs_until_one_more: gcra::secs_until_one_more(self.tat, self.now, self.numbers),
        }
    }
}

impl SlotTable<'_> {
    /// Charges one request to each of `charges`, or to none of them.
    ///
    /// A request that some bucket refuses changes no bucket. Only if one refuses that had room a
    /// moment before, charges are made and given back; others may then be refused that would
    /// have been admitted, never the other way round.
    pub fn charge_all(&self, charges: &mut [Charge], now: MonoNanos) -> Outcome {
        let now = sane(now);
        if let [charge] = charges {
            return match self.charge(charge, now) {
                Ok(()) => Outcome::Admitted,
                Err(wait) => Outcome::Refused { first: 0, retry_after: wait.retry_after() },
            };
        }
        if let refused @ Outcome::Refused { .. } = self.test_all(charges, now) {
            return refused;
        }
        // The longest interval last: whoever meets a charge that is then given back is told to wait for one of a
        // shorter interval. Of equal ones shared buckets last: they are the most contended.
        let mut order: SmallVec<[usize; 4]> = (0..charges.len()).collect();
        order.sort_by_key(|&index| (charges[index].numbers.interval(), charges[index].key.is_none()));
        for index in order {
            if let Err(wait) = self.charge(&mut charges[index], now) {
                self.give_all_back(charges);
                return Outcome::Refused { first: index, retry_after: wait.retry_after() };
            }
        }
        Outcome::Admitted
    }

    /// As [`charge_all`](Self::charge_all), for a request that came at `now`, while time goes on. `clock` gives the
    /// time by now (or `now` again if it stands still), and is asked only before a refusal.
    ///
    /// Others may have read the clock later and yet been charged sooner. By `now` their charges lie in the
    /// future: the wait comes out too long, and a bucket that has room for one more seems to have none. So a refusal
    /// goes by a time read after the buckets, and stands only if there is still a wait then.
    pub fn charge_all_by_clock(
        &self,
        charges: &mut [Charge],
        mut now: MonoNanos,
        clock: impl Fn(MonoNanos) -> MonoNanos,
    ) -> Outcome {
        for _ in 0..OVERTAKEN {
            if self.charge_all(charges, now) == Outcome::Admitted {
                return Outcome::Admitted;
            }
            now = now.max(clock(now));
            if let refused @ Outcome::Refused { .. } = Outcome::of(charges, sane(now)) {
                return refused;
            }
        }
        self.charge_all(charges, now)
    }

    /// Whether all of `charges` would be made, and how their buckets stand. Changes nothing.
    pub fn test_all(&self, charges: &mut [Charge], now: MonoNanos) -> Outcome {
        let now = sane(now);
        for charge in &mut *charges {
            charge.tat = self.look(charge, now);
            charge.receipt = None;
        }
        Outcome::of(charges, now)
    }

    fn look(&self, charge: &Charge, now: MonoNanos) -> u64 {
        match charge.key {
            Some(key) => self.visit(charge, key, now).look(),
            None => self.look_at_cell(self.shared_cell(charge.bank), now),
        }
    }

    fn charge(&self, charge: &mut Charge, now: MonoNanos) -> Result<(), Wait> {
        let result = match charge.key {
            Some(key) => self.visit(charge, key, now).charge(),
            None => self.charge_cell(self.shared_cell(charge.bank), charge.numbers, now),
        };
        charge.now = now;
        charge.tat = match result {
            Ok(receipt) => receipt.tat,
            Err(wait) => gcra::refusing(wait, now, charge.numbers),
        };
        charge.receipt = result.ok();
        result.map(|_| ())
    }

    fn give_all_back(&self, charges: &mut [Charge]) {
        for charge in charges {
            if let Some(receipt) = charge.receipt.take() {
                self.give_back(receipt, charge.numbers);
                charge.tat = receipt.tat - charge.numbers.interval().get();
            }
        }
    }

    fn visit(&self, charge: &Charge, key: KeyHash, now: MonoNanos) -> Visit<'_> {
        let group = self.group_of(key);
        Visit {
            table: *self,
            group: self.geometry.group(group),
            overflow: self.overflow_cell(charge.bank, group),
            key: key.key,
            numbers: charge.numbers,
            now,
        }
    }
}

impl Outcome {
    /// What buckets say at `now` that stand as they were found.
    fn of(charges: &mut [Charge], now: MonoNanos) -> Self {
        let mut outcome = Self::Admitted;
        for (index, charge) in charges.iter_mut().enumerate() {
            charge.now = now;
            if let Err(wait) = gcra::test(charge.tat, now, charge.numbers) {
                outcome = outcome.and_refused(index, wait);
            }
        }
        outcome
    }

    fn and_refused(self, index: usize, wait: Wait) -> Self {
        let retry_after = wait.retry_after();
        match self {
            Self::Admitted => Self::Refused { first: index, retry_after },
            Self::Refused { first, retry_after: other } => Self::Refused { first, retry_after: other.max(retry_after) },
        }
    }
}

/// The clock of a machine that has run for less than seventy years: times stay clear of the marks of slots.
fn sane(now: MonoNanos) -> MonoNanos {
    now.min(MonoNanos(1 << 61))
}
