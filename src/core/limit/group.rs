//! One key's bucket in its group, shared with all other processes.
//!
//! # States of a slot
//! A slot is two words, key and `tat`, and its state is in the upper bits of the second one:
//!
//! * *live*: a time. The key's bucket. Charged by compare-and-swap.
//! * *moving*: a mark. Belongs to the one process that put this mark there, and does not exist for others.
//! * *claimed*: a mark. The key is in place, its first charge is not. Whoever wants this key may
//!   complete it, and whoever wants another key and finds no other room may take it over.
//!
//! No mark is ever used twice (it contains the number of the claim). A new key takes a slot that
//! is at rest or was never used:
//!
//! 1. `tat` at rest -> moving (compare-and-swap). The slot is now this process's alone.
//! 2. The new key is written, then `tat` -> claimed.
//! 3. The group is searched for other slots of this key; there must be none.
//! 4. `tat` claimed -> live, with the first charge (compare-and-swap).
//!
//! Nobody waits for anybody, so a process that stops or dies anywhere hinders no other: in 2
//! it costs one slot, in 3 or 4 others complete its work. When it wakes up hours later, it finds
//! in 2 its own slot untouched, and in 4 a mark that is no longer its own.
//!
//! # Why a key has at most one live slot
//! Two processes that make one live each write *claimed* first and search second, with a sequentially consistent
//! fence in between. So one of them at least sees the other. It then takes the other's claim away (by
//! compare-and-swap, so that the other's step 4 fails) or gives up its own. Other processes
//! that complete a claim do the same search.
//!
//! # Why no debt is forgotten
//! A slot changes hands only when it is at rest by the clock of the process that takes it. That clock may be ahead of
//! another process's, so the `tat` that goes is first added to the group's word *forgotten*, a maximum. Keys
//! without slot start there at the earliest.
//!
//! A charge to a slot that has changed hands since it was read fails, since the `tat` of the next key
//! is beyond that of the key before; the key is compared once more afterwards in case a debt that was given back
//! makes the two equal to the nanosecond.
//!
//! When there is no room, the charge goes to the overflow cell of limit and group. A key that gets its slot later
//! starts with the debt of that cell, as far as this group can have caused it (word *overflowed*, a maximum).
//! The charge is made first and the group searched second; the claim is made first and the cell
//! read second, with fences in between. So the claim includes the charge, or the charge sees the claim, is given back
//! and made to the slot.
//!
//! # Two clocks in a table of quotas
//! Words of quotas are judged by a time that stands still within a window, and are at rest by the real one
//! ([`quota`](super::quota)). What is said above needs no more of these two than this:
//!
//! * A slot that is given away, and so *forgotten*, is at rest by the real time: its window is over. So the word of the
//!   next key is beyond it, and a key that lost its slot lost no count of a window that still runs, unless its own
//!   process reads a clock that is behind. Such a process finds *forgotten* beyond the end of its window
//!   and counts in the next one, where the key has what it had there, since *forgotten* would else be beyond
//!   that, too.
//! * Keys of several periods share a group, so *forgotten* and *overflowed* may be words of other periods. All are times
//!   of one clock, and a maximum says for each key which of its windows are over, or which of them this group can have
//!   charged to an overflow cell. What falls between two windows of a key counts as the beginning of the later one.
//! * A count is given back only within its window, by the word itself. So it is not taken from the next key of the slot
//!   either, which counts in a later one.
//!
//! # Buckets without an overflow cell
//! A key of a lock-out is charged to a slot of its own or not at all: *forgotten* and *overflowed* say nothing about it,
//! and nobody is refused for what others did. A slot is given away only when its debt is over, so the key has lost
//! nothing.

use std::ops::ControlFlow;

use super::gcra::Wait;
use super::geometry::{GROUP_FORGOTTEN, GROUP_OVERFLOWED, GROUP_SLOTS, SLOTS};
use super::rule::Rule;
use super::slots::SlotTable;
use crate::sync::{AtomicU64, Ordering, fence, spin_hint};

/// Set in every `tat` that is a mark.
const MARK: u64 = 1 << 63;
/// Set in the marks of claimed slots.
const CLAIMED: u64 = 1 << 62;

/// Tries before a request is refused for want of a quiet moment. Each failed one is another process's success, so
/// by then the bucket counts as just emptied.
const TRIES: u32 = 1_000;

/// A charge that was made, and can be given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    /// Where the `tat` is.
    word: usize,
    /// Whose it must be; the key is the word before.
    key: Option<u64>,
    /// The `tat` that the charge made.
    pub(super) tat: u64,
}

/// One request's business with one key's bucket.
#[derive(Clone, Copy)]
pub(super) struct Visit<'m> {
    pub(super) table: SlotTable<'m>,
    /// First word of the group.
    pub(super) group: usize,
    /// Word of the cell for charges that find no room. `None`: they are not made.
    pub(super) overflow: Option<usize>,
    pub(super) key: u64,
    pub(super) rule: Rule,
}

/// Why a charge is not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// By the key's own bucket.
    Wait(Wait),
    /// By what keys without a slot share: the overflow cell, or the debt of it that a new slot begins with.
    Shared(Wait),
    /// Neither the group has room nor is there an overflow cell.
    NoRoom,
}

/// What became of one try: the end, or another try.
type Try = ControlFlow<Result<Receipt, Refused>>;

/// What a group has of a key. Slots are given by the word of their `tat`.
enum Sight {
    Live { word: usize, tat: u64 },
    Claimed { word: usize, mark: u64 },
    Absent,
}

impl Visit<'_> {
    /// The `tat` on which a charge would be made, and whether it is what keys without a slot share. Changes nothing.
    pub(super) fn look(self) -> (u64, bool) {
        match self.find() {
            Sight::Live { tat, .. } => (self.rule.plausible(tat), false),
            Sight::Claimed { .. } => (self.start(), true),
            Sight::Absent => match self.overflow {
                Some(cell) if self.room().is_none() => (self.overflow_start(cell).max(self.begin()), true),
                _ => (self.start(), true),
            },
        }
    }

    /// Charges one request.
    ///
    /// # Errors
    /// [`Refused`] if the bucket has no room for it, or the table none for the bucket; nothing is charged then.
    pub(super) fn charge(self) -> Result<Receipt, Refused> {
        for _ in 0..TRIES {
            let outcome = match self.find() {
                Sight::Live { word, tat } => self.charge_live(word, tat),
                Sight::Claimed { word, mark } => self.complete(word, mark),
                Sight::Absent => match self.room() {
                    Some((word, tat)) => self.claim(word, tat),
                    None => match self.overflow {
                        Some(cell) => self.charge_overflow(cell),
                        None => return Err(Refused::NoRoom),
                    },
                },
            };
            if let ControlFlow::Break(result) = outcome {
                return result;
            }
            spin_hint();
        }
        Err(Refused::Wait(self.rule.busy()))
    }

    /// Puts `word` in the place of `tat`, if that is what the key's bucket still says.
    pub(super) fn replace(self, tat: u64, word: u64) -> bool {
        match self.find() {
            Sight::Live { word: place, tat: found } if found == tat => {
                self.swap(place, tat, word) && self.key_at(place) == self.key
            }
            _ => false,
        }
    }

    fn charge_live(self, word: usize, tat: u64) -> Try {
        let charged = self.test(tat, Refused::Wait)?;
        if self.swap(word, tat, charged) && self.key_at(word) == self.key {
            return ControlFlow::Break(Ok(Receipt { word, key: Some(self.key), tat: charged }));
        }
        ControlFlow::Continue(())
    }

    /// Steps 1 and 2.
    fn claim(self, word: usize, tat: u64) -> Try {
        // A request that would be refused takes no slot.
        self.test(self.start(), Refused::Shared)?;
        let mark = self.new_mark();
        if !is_mark(tat) {
            self.word(self.group + GROUP_FORGOTTEN).fetch_max(self.sane(tat), Ordering::AcqRel);
        }
        if !self.swap(word, tat, mark) {
            return ControlFlow::Continue(());
        }
        self.word(word - 1).store(self.key, Ordering::Release);
        self.word(word).store(mark | CLAIMED, Ordering::Release);
        self.complete(word, mark | CLAIMED)
    }

    /// Steps 3 and 4, for this process's claim or another's.
    fn complete(self, word: usize, mark: u64) -> Try {
        fence(Ordering::SeqCst);
        for other in self.slots().filter(|&other| other != word) {
            match self.own_tat(other) {
                // Of two claims the first in the group prevails.
                Some(tat) if is_claimed(tat) && other > word => {
                    self.withdraw(other, tat);
                    return ControlFlow::Continue(());
                }
                Some(tat) if is_claimed(tat) || !is_mark(tat) => {
                    self.withdraw(word, mark);
                    return ControlFlow::Continue(());
                }
                _ => {}
            }
        }
        match self.test(self.start(), Refused::Shared) {
            ControlFlow::Continue(charged) if self.swap(word, mark, charged) => {
                ControlFlow::Break(Ok(Receipt { word, key: Some(self.key), tat: charged }))
            }
            ControlFlow::Continue(_) => ControlFlow::Continue(()),
            ControlFlow::Break(refused) => {
                self.withdraw(word, mark);
                ControlFlow::Break(refused)
            }
        }
    }

    /// Makes a claimed slot one that nobody has.
    fn withdraw(self, word: usize, mark: u64) {
        if self.swap(word, mark, self.new_mark()) {
            self.word(word - 1).store(0, Ordering::Release);
            // Beyond every `tat` that the slot has had.
            self.word(word).store(self.forgotten() + 1, Ordering::Release);
        }
    }

    fn charge_overflow(self, cell: usize) -> Try {
        let forgotten = self.forgotten();
        let tat = self.tat_at(cell);
        let charged = self.test(self.rule.plausible(tat).max(self.rule.begin(forgotten)), Refused::Shared)?;
        self.word(self.group + GROUP_OVERFLOWED).fetch_max(charged, Ordering::AcqRel);
        if !self.swap(cell, tat, charged) {
            return ControlFlow::Continue(());
        }
        let receipt = Receipt { word: cell, key: None, tat: charged };
        fence(Ordering::SeqCst);
        // A slot may have come, or even have come and gone.
        if matches!(self.find(), Sight::Absent) && self.forgotten() == forgotten {
            self.table.count_overflow();
            return ControlFlow::Break(Ok(receipt));
        }
        self.table.give_back(receipt, self.rule);
        ControlFlow::Continue(())
    }

    fn find(self) -> Sight {
        for word in self.slots() {
            match self.own_tat(word) {
                Some(tat) if is_claimed(tat) => return Sight::Claimed { word, mark: tat },
                Some(tat) if !is_mark(tat) => return Sight::Live { word, tat },
                _ => {}
            }
        }
        Sight::Absent
    }

    /// The `tat` of a slot if it is the key's: if the key is there before and after.
    fn own_tat(self, word: usize) -> Option<u64> {
        if self.key_at(word) != self.key {
            return None;
        }
        let tat = self.tat_at(word);
        (self.key_at(word) == self.key).then_some(tat)
    }

    /// A slot for a new key, with its `tat`: the one longest at rest, else one that is claimed and not completed.
    fn room(self) -> Option<(usize, u64)> {
        let slots = self.slots().map(|word| (word, self.tat_at(word)));
        slots
            .filter(|&(_, tat)| is_claimed(tat) || !is_mark(tat) && self.sane(tat) <= self.rule.now())
            .min_by_key(|&(_, tat)| tat)
    }

    /// Where a key without slot begins.
    fn start(self) -> u64 {
        let Some(cell) = self.overflow else { return 0 };
        let overflow = self.overflow_start(cell);
        let overflowed = self.tat_at(self.group + GROUP_OVERFLOWED);
        overflow.min(overflowed).max(self.begin())
    }

    fn overflow_start(self, cell: usize) -> u64 {
        self.table.look_at_cell(cell, self.rule)
    }

    /// Where the key begins as far as slots are concerned that it may have had.
    fn begin(self) -> u64 {
        self.rule.begin(self.forgotten())
    }

    fn forgotten(self) -> u64 {
        self.sane(self.tat_at(self.group + GROUP_FORGOTTEN))
    }

    /// `word` of whatever key, or 0 if no key can have brought it about.
    fn sane(self, word: u64) -> u64 {
        self.table.kind.sane(word, self.rule.now())
    }

    /// The mark of a moving slot, which nothing else has been marked with.
    fn new_mark(self) -> u64 {
        MARK | (self.table.next_claim() & (CLAIMED - 1))
    }

    fn test(self, tat: u64, refused: fn(Wait) -> Refused) -> ControlFlow<Result<Receipt, Refused>, u64> {
        match self.rule.test(self.rule.plausible(tat)) {
            Ok(charged) => ControlFlow::Continue(charged),
            Err(wait) => ControlFlow::Break(Err(refused(wait))),
        }
    }

    fn slots(self) -> impl Iterator<Item = usize> {
        (0..SLOTS).map(move |slot| self.group + GROUP_SLOTS + 2 * slot + 1)
    }

    fn key_at(self, word: usize) -> u64 {
        self.word(word - 1).load(Ordering::Acquire)
    }

    fn tat_at(self, word: usize) -> u64 {
        self.word(word).load(Ordering::Acquire)
    }

    fn swap(self, word: usize, from: u64, to: u64) -> bool {
        self.word(word).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.table.words[index]
    }
}

impl SlotTable<'_> {
    /// The `tat` on which a charge to a cell would be made.
    pub(super) fn look_at_cell(&self, cell: usize, rule: Rule) -> u64 {
        rule.plausible(self.words[cell].load(Ordering::Acquire))
    }

    /// Charges one request to a cell.
    ///
    /// # Errors
    /// [`Wait`] if the bucket has no room for it; nothing is charged then.
    pub(super) fn charge_cell(&self, cell: usize, rule: Rule) -> Result<Receipt, Wait> {
        for _ in 0..TRIES {
            let tat = self.words[cell].load(Ordering::Acquire);
            let charged = rule.test(rule.plausible(tat))?;
            if self.words[cell].compare_exchange(tat, charged, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Receipt { word: cell, key: None, tat: charged });
            }
            spin_hint();
        }
        Err(rule.busy())
    }

    /// Takes a charge back, so that it is as if it had never been made: unless its bucket has gone on without it, see
    /// [`Rule::given_back`].
    pub(super) fn give_back(&self, receipt: Receipt, rule: Rule) {
        for _ in 0..TRIES {
            let tat = self.words[receipt.word].load(Ordering::Acquire);
            // The key is read last: a slot that has gone to the next key says so before it has a `tat` of it.
            if is_mark(tat)
                || receipt.key.is_some_and(|key| self.words[receipt.word - 1].load(Ordering::Acquire) != key)
            {
                return;
            }
            let Some(less) = rule.given_back(tat, receipt.tat) else { return };
            if self.words[receipt.word].compare_exchange(tat, less, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
            spin_hint();
        }
    }
}

/// Whether a word of a slot is no time.
pub(super) const fn is_mark(tat: u64) -> bool {
    tat & MARK != 0
}

const fn is_claimed(tat: u64) -> bool {
    tat & (MARK | CLAIMED) == MARK | CLAIMED
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::geometry::Geometry;
    use super::super::rate::Numbers;
    use super::super::slots::TableKind;
    use super::*;
    use crate::time::MonoNanos;

    const CELL: usize = 40;
    const NOW: MonoNanos = MonoNanos(1_000_000);

    /// Charges a cell at `NOW`, then at the `later` times, and gives the first charge back.
    fn tat_after_giving_back(later: &[u64]) -> u64 {
        let geometry = Geometry::new(1, 1);
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let table = SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
        let numbers = Numbers::new("1000000/s".parse().unwrap(), Some(5)).unwrap();
        let receipt = table.charge_cell(CELL, Rule::rate(numbers, NOW)).unwrap();
        for now in later {
            table.charge_cell(CELL, Rule::rate(numbers, MonoNanos(*now))).unwrap();
        }
        table.give_back(receipt, Rule::rate(numbers, NOW));
        table.look_at_cell(CELL, Rule::rate(numbers, NOW))
    }

    #[test]
    fn a_charge_is_given_back_from_among_others() {
        assert_eq!(tat_after_giving_back(&[]), NOW.0);
        assert_eq!(tat_after_giving_back(&[NOW.0]), NOW.0 + 1_000);
        assert_eq!(tat_after_giving_back(&[NOW.0, NOW.0 + 700]), NOW.0 + 2_000);
    }

    /// At 1,001 the bucket was full without the charge, too: one more would be one too many.
    #[test]
    fn a_charge_that_time_has_made_good_is_not_given_back() {
        assert_eq!(tat_after_giving_back(&[NOW.0 + 1_001]), NOW.0 + 2_001);
        assert_eq!(tat_after_giving_back(&[NOW.0 + 1_001, NOW.0 + 1_001]), NOW.0 + 3_001);
    }

    #[test]
    fn a_charge_is_not_taken_from_the_next_key_of_the_slot() {
        let geometry = Geometry::new(1, 1);
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        let table = SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
        let numbers = Numbers::new("1000000/s".parse().unwrap(), Some(5)).unwrap();
        let receipt = Receipt { word: CELL, key: Some(7), tat: NOW.0 + 1_000 };
        words[CELL].store(receipt.tat, Ordering::Relaxed);
        for (key, tat) in [(8, receipt.tat), (7, NOW.0)] {
            words[CELL - 1].store(key, Ordering::Relaxed);
            table.give_back(receipt, Rule::rate(numbers, NOW));
            assert_eq!(words[CELL].load(Ordering::Relaxed), tat);
        }
    }
}
