//! Reserved cells: each limit has a bank of its own, which no number of keys can take from it.
//!
//! The first cell is the bucket of a limit that everybody shares; all of them together are where a limit's
//! keys are charged that find their group full. The parent process assigns banks when it starts;
//! requests then use them by index.

use super::geometry::{BANK_CELLS, BANK_GENERATION, BANK_OWNER, GENERATION, OVERFLOW_CELLS, spread};
use super::key::LimitId;
use super::slots::SlotTable;
use crate::sync::{AtomicU64, Ordering};
use crate::time::Now;

/// The place of a limit's reserved cells. Good for the table that assigned it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bank(usize);

impl Bank {
    pub(super) const fn index(self) -> usize {
        self.0
    }
}

impl SlotTable<'_> {
    /// Begins a start or graceful restart of the server: banks that this one and the one before do not ask for
    /// may be given to others. Call it after [`open`](Self::open), in the parent process.
    pub fn begin_generation(&self) {
        self.words[GENERATION].fetch_add(1, Ordering::Relaxed);
    }

    /// The bank of a limit: the one that it has, else one that nobody has had or that is out of use.
    /// `None` if all are in use; the segment is then too small.
    ///
    /// Only the parent process may call this, and only before it starts the children of this generation.
    pub fn assign(&self, owner: LimitId, now: Now) -> Option<Bank> {
        self.assign_word(owner.word(), now)
    }

    pub(super) fn assign_word(&self, owner: u64, now: Now) -> Option<Bank> {
        let now = self.kind.clock(now);
        let count = self.geometry.banks();
        let home = spread(owner, count);
        let mut free = None;
        // A bank that was assigned once never becomes empty, so the search may end at an empty one.
        for bank in (home..count).chain(0..home).map(Bank) {
            match self.bank_word(bank, BANK_OWNER).load(Ordering::Relaxed) {
                0 => {
                    free = free.or(Some(bank));
                    break;
                }
                found if found == owner => {
                    free = Some(bank);
                    break;
                }
                _ if free.is_none() && self.is_out_of_use(bank, now) => free = Some(bank),
                _ => {}
            }
        }
        let bank = free?;
        self.bank_word(bank, BANK_OWNER).store(owner, Ordering::Relaxed);
        self.bank_word(bank, BANK_GENERATION).store(self.generation(), Ordering::Relaxed);
        Some(bank)
    }

    /// The bucket that everybody shares.
    pub(super) fn shared_cell(&self, bank: Bank) -> usize {
        self.cell(bank, 0)
    }

    /// The bucket that the keys of a full group share.
    pub(super) fn overflow_cell(&self, bank: Bank, group: usize) -> usize {
        self.cell(bank, group % OVERFLOW_CELLS)
    }

    pub(super) fn banks_are_plausible(&self, now: u64) -> bool {
        self.banks().flat_map(|bank| self.cells(bank)).all(|cell| {
            let tat = self.words[cell].load(Ordering::Relaxed);
            self.kind.sane(tat, now) == tat
        })
    }

    /// All banks, whether or not they are assigned.
    pub(super) fn banks(&self) -> impl Iterator<Item = Bank> + use<> {
        (0..self.geometry.banks()).map(Bank)
    }

    /// Neither this generation nor the one before, whose children may still run, has it, and it is at rest.
    pub(super) fn is_out_of_use(&self, bank: Bank, now: u64) -> bool {
        let used = self.bank_word(bank, BANK_GENERATION).load(Ordering::Relaxed);
        used.saturating_add(1) < self.generation()
            && self.cells(bank).all(|cell| self.words[cell].load(Ordering::Relaxed) <= now)
    }

    pub(super) fn generation(&self) -> u64 {
        self.words[GENERATION].load(Ordering::Relaxed)
    }

    pub(super) fn bank_word(&self, bank: Bank, offset: usize) -> &AtomicU64 {
        &self.words[self.geometry.bank(bank.0) + offset]
    }

    fn cell(&self, bank: Bank, index: usize) -> usize {
        self.geometry.bank(bank.0) + BANK_CELLS + index
    }

    /// The words of a bank's cells.
    pub(super) fn cells(&self, bank: Bank) -> std::ops::Range<usize> {
        self.cell(bank, 0)..self.cell(bank, OVERFLOW_CELLS)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::geometry::Geometry;
    use super::super::slots::TableKind;
    use super::*;
    use crate::time::{MonoNanos, UnixMicros};

    const SECRET: [u64; 2] = [3, 5];

    fn words(geometry: Geometry) -> Vec<AtomicU64> {
        (0..geometry.words()).map(|_| AtomicU64::new(0)).collect()
    }

    fn at(mono: u64) -> Now {
        Now { mono: MonoNanos(mono), wall: UnixMicros(0) }
    }

    fn id(number: usize) -> LimitId {
        LimitId::new(&number.to_string())
    }

    #[test]
    fn a_limit_finds_its_bank_again_whatever_the_order() {
        let geometry = Geometry::new(50, 1);
        let words = words(geometry);
        let table = SlotTable::format(TableKind::Rates, &words, geometry, SECRET).unwrap();
        let first: Vec<_> = (0..50).map(|n| table.assign(id(n), at(0)).unwrap()).collect();
        let distinct: std::collections::HashSet<_> = first.iter().map(|bank| bank.0).collect();
        assert_eq!(distinct.len(), 50);
        assert_eq!(table.assign(id(50), at(0)), None, "all are in use");

        for _ in 0..3 {
            table.begin_generation();
            for number in (0..50).rev().step_by(3) {
                assert_eq!(table.assign(id(number), at(0)), Some(first[number]));
            }
        }
    }

    #[test]
    fn a_bank_is_given_away_after_two_generations_and_at_rest() {
        let geometry = Geometry::new(1, 1);
        let words = words(geometry);
        let table = SlotTable::format(TableKind::Rates, &words, geometry, SECRET).unwrap();
        let (old, new) = (id(0), id(1));
        let bank = table.assign(old, at(0)).unwrap();
        for cell in table.cells(bank) {
            table.words[cell].store(100, Ordering::Relaxed);
        }

        table.begin_generation();
        assert_eq!(table.assign(new, at(100)), None, "children of the generation before may use it");
        table.begin_generation();
        for cell in table.cells(bank) {
            table.words[cell].store(101, Ordering::Relaxed);
            assert_eq!(table.assign(new, at(100)), None, "cell {cell} is in debt");
            table.words[cell].store(100, Ordering::Relaxed);
        }
        assert_eq!(table.assign(new, at(100)), Some(bank));
        assert_eq!(table.assign(old, at(100)), None);
    }

    #[test]
    fn a_table_without_banks_has_none_to_give() {
        let geometry = Geometry::new(0, 1);
        let words = words(geometry);
        let table = SlotTable::format(TableKind::Rates, &words, geometry, SECRET).unwrap();
        assert_eq!(table.assign(id(0), at(0)), None);
    }
}
