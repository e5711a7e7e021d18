//! Tables of quotas that outlive the server: what a crash has left is put in order, and what a table of another size
//! holds is taken over.

use super::geometry::{
    BANK_CELLS, BANK_GENERATION, BANK_OWNER, GENERATION, GROUP_FORGOTTEN, GROUP_OVERFLOWED, Geometry, OVERFLOW_CELLS,
    OVERFLOWS, REPORTED, REPORTED_AT, SECRET, spread,
};
use super::group::is_mark;
use super::key::KeyHash;
use super::quota;
use super::rate::MAX_COUNT;
use super::slots::{Mismatch, SlotTable, TableKind};
use crate::sync::Ordering;
use crate::time::Now;

/// What became of the buckets of a table that were not at rest.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Keys and limits that are in the new table.
    pub kept: usize,
    /// Keys and limits for which the new table has no room: they begin anew.
    pub lost: usize,
}

impl SlotTable<'_> {
    /// Puts in order what a crash, a torn write or a stranger has left in a table out of a file: unfinished claims are
    /// given up, second slots of one key are merged, and what no bucket can be is emptied. How many words or slots
    /// were wrong; unfinished claims are not counted, they are what a killed process leaves.
    ///
    /// Words that lie in the future are left alone: they count as rest as long as they cannot be, and are right again
    /// if the clock was wrong.
    ///
    /// Only the parent process may call this, and only while no other process uses the memory: once, when
    /// the server starts, before [`begin_generation`](Self::begin_generation) and not at a graceful restart.
    pub fn repair(&self) -> usize {
        let mut wrong = 0;
        let generation = self.read(GENERATION);
        let mut check = |index: usize, is_right: bool| {
            if !is_right {
                self.write(index, 0);
                wrong += 1;
            }
        };
        // A generation that is about to wrap is no count of restarts. Banks of an unknown one are of the first.
        let generation_is_right = (1..1 << 62).contains(&generation);
        check(GENERATION, generation_is_right);
        let generation = if generation_is_right { generation } else { 1 };
        self.write(GENERATION, generation);
        check(REPORTED, self.read(REPORTED) <= self.read(OVERFLOWS));
        for bank in self.banks() {
            let used = self.geometry.bank(bank.index()) + BANK_GENERATION;
            check(used, self.read(used) <= generation);
            for cell in self.cells(bank) {
                check(cell, self.is_possible(self.read(cell)));
            }
        }
        for group in 0..self.geometry.groups() {
            for word in [GROUP_FORGOTTEN, GROUP_OVERFLOWED].map(|word| self.geometry.group(group) + word) {
                check(word, self.is_possible(self.read(word)));
            }
            for (word, tat) in self.slots(group) {
                let key = self.read(word - 1);
                if is_mark(tat) || key == 0 {
                    self.write(word - 1, 0);
                    self.write(word, 0);
                    continue;
                }
                let is_here = !self.kind.is_movable() || self.group_of(KeyHash::movable(key)) == group;
                let other = self.slots(group).find(|&(other, _)| other < word && self.read(other - 1) == key);
                if let Some((other, theirs)) = other {
                    self.write(other, theirs.max(if self.is_possible(tat) { tat } else { 0 }));
                }
                let is_right = is_here && other.is_none() && self.is_possible(tat);
                check(word, is_right);
                if !is_right {
                    self.write(word - 1, 0);
                }
            }
        }
        // The time of the last report is one of the log's, not of a bucket: it may be said once too often.
        self.write(REPORTED_AT, 0);
        wrong
    }

    /// Takes over what `old`, of another geometry, holds at `now`: its secret, its banks and its slots that are
    /// not at rest. `old` must have been repaired if it is out of a file; this table must have been formatted just before,
    /// and be used by nobody yet. Of processes that
    /// still use `old`, what they count there meanwhile is lost.
    ///
    /// No key gets more than its quota by it, unless there is no room for its slot: see [`Carried::lost`]. Keys that
    /// shared a cell may share one with a few others, since groups are divided anew.
    ///
    /// # Errors
    /// [`Mismatch::Layout`] if the tables are not of one kind, or of one whose slots do not say where they belong.
    pub fn carry_over(&self, old: SlotTable<'_>, now: Now) -> Result<Carried, Mismatch> {
        if self.kind != old.kind || !self.kind.is_movable() {
            return Err(Mismatch::Layout);
        }
        for word in [SECRET, SECRET + 1, GENERATION, OVERFLOWS, REPORTED, REPORTED_AT] {
            self.write(word, old.read(word));
        }
        let mut carried = Carried::default();
        let cells = self.carry_groups(old);
        for bank in old.banks() {
            let owner = old.bank_word(bank, BANK_OWNER).load(Ordering::Relaxed);
            if owner == 0 || old.is_out_of_use(bank, self.kind.clock(now)) {
                continue;
            }
            let Some(place) = self.assign_word(owner, now) else {
                carried.lost += 1;
                continue;
            };
            let used = old.bank_word(bank, BANK_GENERATION).load(Ordering::Relaxed);
            self.bank_word(place, BANK_GENERATION).store(used, Ordering::Relaxed);
            let first = self.geometry.bank(place.index()) + BANK_CELLS;
            for (from, cell) in old.cells(bank).enumerate() {
                for (to, is_heir) in cells[from].iter().enumerate() {
                    if *is_heir {
                        self.raise(first + to, old.read(cell));
                    }
                }
            }
            carried.kept += 1;
        }
        self.carry_slots(old, self.kind.clock(now), &mut carried);
        Ok(carried)
    }

    /// What groups have forgotten and overflowed, to those that have some of their keys. For each overflow cell of the
    /// old table, which cells of the new one its debtors are charged to.
    fn carry_groups(&self, old: SlotTable<'_>) -> [[bool; OVERFLOW_CELLS]; OVERFLOW_CELLS] {
        let mut cells = [[false; OVERFLOW_CELLS]; OVERFLOW_CELLS];
        // What everybody shares.
        cells[0][0] = true;
        for from in 0..old.geometry.groups() {
            let words = [GROUP_FORGOTTEN, GROUP_OVERFLOWED];
            let [forgotten, overflowed] = words.map(|word| old.read(old.geometry.group(from) + word));
            if forgotten == 0 && overflowed == 0 {
                continue;
            }
            for to in heirs(old.geometry, from, self.geometry) {
                self.raise(self.geometry.group(to) + GROUP_FORGOTTEN, forgotten);
                self.raise(self.geometry.group(to) + GROUP_OVERFLOWED, overflowed);
                cells[from % OVERFLOW_CELLS][to % OVERFLOW_CELLS] |= overflowed != 0;
            }
        }
        cells
    }

    fn carry_slots(&self, old: SlotTable<'_>, now: u64, carried: &mut Carried) {
        for (word, tat) in (0..old.geometry.groups()).flat_map(|group| old.slots(group)) {
            let key = old.read(word - 1);
            if key == 0 || is_mark(tat) || tat <= now || !self.is_possible(tat) {
                continue;
            }
            let group = self.group_of(KeyHash::movable(key));
            // A key that moved while it was copied was copied twice.
            let has_room = |&(word, tat): &(usize, u64)| tat == 0 || self.read(word - 1) == key;
            if let Some((place, _)) = self.slots(group).find(has_room) {
                self.write(place - 1, key);
                self.raise(place, tat);
                carried.kept += 1;
            } else {
                carried.lost += 1;
            }
        }
    }

    /// Whether `word` can be that of a bucket, at whatever time.
    fn is_possible(&self, word: u64) -> bool {
        match self.kind {
            TableKind::Quotas => word <= quota::END + quota::MAX_AHEAD && word % quota::DAY <= u64::from(MAX_COUNT),
            TableKind::Rates | TableKind::Lockouts => !is_mark(word),
        }
    }

    fn read(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Acquire)
    }

    fn write(&self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Release);
    }

    fn raise(&self, word: usize, value: u64) {
        self.words[word].fetch_max(value, Ordering::AcqRel);
    }
}

/// The groups of `new` that have keys of group `from` of `old`: places are mapped to groups in their order.
fn heirs(old: Geometry, from: usize, new: Geometry) -> std::ops::RangeInclusive<usize> {
    // The first place of a group; 2^64 is the first one behind the last group.
    let first = |group: usize| ((group as u128) << 64).div_ceil(old.groups() as u128);
    let group_of = |place: u128| spread(u64::try_from(place).unwrap_or(u64::MAX), new.groups());
    group_of(first(from))..=group_of(first(from + 1) - 1)
}
