//! Several limits at once: all are charged, or none.

use super::bank::Bank;
use super::gcra::{self, Wait};
use super::group::{Receipt, Visit};
use super::key::KeyHash;
use super::rate::Numbers;
use super::slots::SlotTable;
use crate::time::MonoNanos;

/// One limit's part in a request: what to charge, and after [`SlotTable::charge_all`] how it stands.
#[derive(Clone, Debug)]
pub struct Charge {
    numbers: Numbers,
    bank: Bank,
    key: Option<KeyHash>,
    standing: Standing,
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
        Self { numbers, bank, key: None, standing: Standing { remaining: 0, secs_until_one_more: 0 }, receipt: None }
    }

    /// One request to the bucket of `key`, of the limit that has `bank`.
    pub const fn keyed(numbers: Numbers, bank: Bank, key: KeyHash) -> Self {
        Self { key: Some(key), ..Self::shared(numbers, bank) }
    }

    /// How the bucket stands: after the charge if it was made, else as it was found.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    fn stands_at(&mut self, tat: u64, now: MonoNanos) {
        self.standing = Standing {
            remaining: gcra::remaining(tat, now, self.numbers),
            secs_until_one_more: gcra::secs_until_one_more(tat, now, self.numbers),
        };
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
        // Shared buckets last: they are the most contended, and a charge to them then is seldom given back.
        for shared in [false, true] {
            for index in 0..charges.len() {
                if charges[index].key.is_none() != shared {
                    continue;
                }
                if let Err(wait) = self.charge(&mut charges[index], now) {
                    self.give_all_back(charges, now);
                    return Outcome::Refused { first: index, retry_after: wait.retry_after() };
                }
            }
        }
        Outcome::Admitted
    }

    /// Whether all of `charges` would be made, and how their buckets stand. Changes nothing.
    pub fn test_all(&self, charges: &mut [Charge], now: MonoNanos) -> Outcome {
        let now = sane(now);
        let mut outcome = Outcome::Admitted;
        for (index, charge) in charges.iter_mut().enumerate() {
            let tat = self.look(charge, now);
            charge.receipt = None;
            charge.stands_at(tat, now);
            if let Err(wait) = gcra::test(tat, now, charge.numbers) {
                outcome = outcome.and_refused(index, wait);
            }
        }
        outcome
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
        match result {
            Ok(receipt) => charge.stands_at(receipt.tat, now),
            Err(wait) => charge.standing = Standing { remaining: 0, secs_until_one_more: wait.retry_after() },
        }
        charge.receipt = result.ok();
        result.map(|_| ())
    }

    fn give_all_back(&self, charges: &mut [Charge], now: MonoNanos) {
        for charge in charges {
            if let Some(receipt) = charge.receipt.take() {
                self.give_back(receipt, charge.numbers);
                charge.stands_at(receipt.tat - charge.numbers.interval().get(), now);
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
