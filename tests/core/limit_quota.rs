//! Quotas as their users see them: how many are admitted in each window, together with rates, whatever the clock does,
//! and what outlives crashes and changes of size.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::collections::HashMap;

use jwt_gate_core::limit::{
    Bank, Carried, Charge, Geometry, KeyHash, LimitId, MAX_COUNT, Mismatch, Numbers, OVERFLOW_CELLS, Outcome, Part,
    Period, Quota, SLOTS, SlotTable, Standing, TableKind, charge_all, charge_all_by_clock, test_all,
};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// 2026-08-05 00:00, a Wednesday, UTC; microseconds since 1970 and nanoseconds since 2020.
const MIDNIGHT: u64 = 1_785_888_000 * SECOND;
const MIDNIGHT_WORD: u64 = (1_785_888_000 - 1_577_836_800) * 1_000_000_000;
const DAY_WORD: u64 = DAY * 1_000;

/// As the layout says.
const BLOCK: usize = 16;
const HEADER: usize = 32;
const FIRST_SLOT: usize = 2;
const MOVING: u64 = 1 << 63;
const CLAIMED: u64 = 3 << 62;

struct Memory {
    words: Vec<AtomicU64>,
    geometry: Geometry,
}

impl Memory {
    fn new(banks: usize, groups: usize) -> Self {
        Self::of_kind(TableKind::Quotas, banks, groups)
    }

    fn of_kind(kind: TableKind, banks: usize, groups: usize) -> Self {
        let geometry = Geometry::new(banks, groups);
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        SlotTable::format(kind, &words, geometry, [3, 5]).unwrap();
        Self { words, geometry }
    }

    fn table(&self) -> SlotTable<'_> {
        SlotTable::open(TableKind::Quotas, &self.words, self.geometry, noon(0)).unwrap()
    }

    fn bank(&self, name: &str, period: Period) -> Bank {
        self.table().assign(LimitId::new(name).with_period(period), noon(0)).unwrap()
    }

    fn group(&self, group: usize) -> &[AtomicU64] {
        &self.words[self.geometry.words() - self.geometry.slots() / SLOTS * BLOCK..][group * BLOCK..][..BLOCK]
    }

    fn slot(&self, group: usize, slot: usize) -> (&AtomicU64, &AtomicU64) {
        let first = FIRST_SLOT + 2 * slot;
        (&self.group(group)[first], &self.group(group)[first + 1])
    }

    fn image(&self) -> Vec<u64> {
        self.words.iter().map(|word| word.load(Relaxed)).collect()
    }
}

/// Noon of the day that is `days` after the first.
fn noon(days: u64) -> Now {
    at(days * DAY + 12 * HOUR)
}

/// So many microseconds after the first midnight.
fn at(micros: u64) -> Now {
    Now { mono: MonoNanos(1_000_000_000_000 + micros * 1_000), wall: UnixMicros(MIDNIGHT + micros) }
}

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

fn numbers(rate: &str, burst: u32) -> Numbers {
    Numbers::new(rate.parse().unwrap(), Some(burst)).unwrap()
}

/// A key in the one group of a small table.
fn key(table: SlotTable<'_>, number: u64) -> KeyHash {
    table.hasher(LimitId::new("key")).part(Part::Subject, &number.to_be_bytes()).finish()
}

fn keyed<'m>(table: SlotTable<'m>, text: &str, bank: Bank, number: u64) -> Charge<'m> {
    Charge::keyed_quota(table, quota(text), bank, key(table, number))
}

/// How many of `tries` are admitted one after another.
fn admitted(charge: &Charge<'_>, now: Now, tries: usize) -> usize {
    (0..tries).filter(|_| charge_all(&mut [charge.clone()], now) == Outcome::Admitted).count()
}

fn remaining(charge: &Charge<'_>, now: Now) -> u32 {
    let mut one = [charge.clone()];
    test_all(&mut one, now);
    one[0].standing().remaining
}

/// Puts keys into all slots of a table of one group that are used up until the end of the month.
fn fill(table: SlotTable<'_>, bank: Bank) {
    for number in 0..SLOTS as u64 {
        let charge = Charge::keyed_quota(table, quota("1/month"), bank, key(table, 1_000 + number));
        assert_eq!(admitted(&charge, noon(0), 2), 1);
    }
}

/// How many slots are used, and how many are free.
fn occupied(table: &SlotTable<'_>, now: Now) -> (usize, usize) {
    let occupancy = table.occupancy(now);
    (occupancy.used, occupancy.free)
}

#[test]
fn each_window_admits_as_many_as_it_says() {
    let memory = Memory::new(3, 8);
    let table = memory.table();
    for (text, period, days) in [("3/day", Period::Day, 1), ("3/week", Period::Week, 5), ("3/month", Period::Month, 27)]
    {
        let bank = memory.bank("a", period);
        for charge in [
            Charge::shared_quota(table, quota(text), bank),
            Charge::keyed_quota(table, quota(text), bank, key(table, days)),
        ] {
            assert_eq!(admitted(&charge, at(0), 2), 2, "{text}");
            assert_eq!(admitted(&charge, at(days * DAY - 1), 5), 1, "{text}: up to the last microsecond");
            assert_eq!(admitted(&charge, at(days * DAY), 5), 3, "{text}: the next window");
        }
    }
    assert_eq!(table.overflows(), 0);
}

#[test]
fn standings_say_what_is_left_and_when_the_window_ends() {
    let memory = Memory::new(1, 1);
    let table = memory.table();
    let mut one = [Charge::keyed_quota(table, quota("2/day"), memory.bank("a", Period::Day), key(table, 1))];
    assert!(one[0].is_quota());
    let standing = |remaining, secs_until_one_more| Standing { remaining, secs_until_one_more };
    assert_eq!(test_all(&mut one, noon(0)), Outcome::Admitted);
    assert_eq!(one[0].standing(), standing(2, 43_200));
    assert_eq!(charge_all(&mut one, noon(0)), Outcome::Admitted);
    assert_eq!(one[0].standing(), standing(1, 43_200));
    assert_eq!(charge_all(&mut one, at(12 * HOUR + 1)), Outcome::Admitted);
    assert_eq!(one[0].standing(), standing(0, 43_200), "rounded up");
    let refused = |retry_after| Outcome::Refused { first: 0, retry_after };
    assert_eq!(charge_all(&mut one, at(12 * HOUR + 1)), refused(43_200));
    assert_eq!(one[0].standing(), standing(0, 43_200));
    assert_eq!(charge_all(&mut one, at(DAY - 1)), refused(1));
    assert_eq!(test_all(&mut one, at(DAY - 1)), refused(1));
    assert_eq!(test_all(&mut one, at(DAY)), Outcome::Admitted);
    assert_eq!(one[0].standing(), standing(2, 86_400));
}

/// A caller whose plan changes, or an administrator who changes the number, keeps what is counted.
#[test]
fn another_number_counts_on_and_another_period_begins_anew() {
    let memory = Memory::new(2, 8);
    let table = memory.table();
    let limit = LimitId::new("a");
    let charge = |text: &str| {
        let (quota, bank) = (quota(text), memory.bank("a", quota(text).period()));
        let key = table.hasher(limit.with_period(quota.period())).part(Part::Subject, b"joe").finish();
        Charge::keyed_quota(table, quota, bank, key)
    };
    assert_eq!(admitted(&charge("5/day"), noon(0), 4), 4);
    assert_eq!(admitted(&charge("3/day"), noon(0), 5), 0);
    assert_eq!(admitted(&charge("10/day"), noon(0), 20), 6);
    assert_eq!(admitted(&charge("5/day"), noon(0), 5), 0);
    assert_eq!(admitted(&charge("5/week"), noon(0), 20), 5);
    assert_eq!(admitted(&charge("5/day"), noon(1), 20), 5);
}

#[test]
fn rates_and_quotas_are_charged_together_or_not_at_all() {
    let (rates, quotas) = (Memory::of_kind(TableKind::Rates, 2, 4), Memory::new(2, 4));
    let fast = SlotTable::open(TableKind::Rates, &rates.words, rates.geometry, noon(0)).unwrap();
    let slow = quotas.table();
    let rate_bank = fast.assign(LimitId::new("a"), noon(0)).unwrap();
    let bank = quotas.bank("a", Period::Day);
    let rate = Charge::keyed(fast, numbers("1/h", 2), rate_bank, key(fast, 1));
    let count = Charge::keyed_quota(slow, quota("3/day"), bank, key(slow, 1));
    assert_eq!(charge_all(&mut [count.clone(), rate.clone()], noon(0)), Outcome::Admitted);
    assert_eq!(charge_all(&mut [rate.clone(), count.clone()], noon(0)), Outcome::Admitted);
    let before = (rates.image(), quotas.image());
    let mut both = [count.clone(), rate.clone()];
    assert_eq!(charge_all(&mut both, noon(0)), Outcome::Refused { first: 1, retry_after: 3_600 });
    assert_eq!((both[0].standing().remaining, both[1].standing().remaining), (1, 0));
    assert_eq!((rates.image(), quotas.image()), before, "the quota is not charged");

    assert_eq!(admitted(&count, noon(0), 5), 1);
    let refused = |first, retry_after| Outcome::Refused { first, retry_after };
    // Both refuse: the quota is named, and the longest wait.
    assert_eq!(charge_all(&mut [rate.clone(), count.clone()], noon(0)), refused(1, 43_200));
    assert_eq!(charge_all(&mut [count.clone(), rate.clone()], noon(0)), refused(0, 43_200));
    let late = at(DAY - HOUR / 2);
    assert_eq!(admitted(&rate, late, 5), 2);
    assert_eq!(charge_all(&mut [rate.clone(), count.clone()], late), refused(1, 3_600));
    assert_eq!(charge_all(&mut [rate, count], at(2 * DAY)), Outcome::Admitted);
}

#[test]
fn a_refused_request_changes_nothing() {
    let memory = Memory::new(2, 1);
    let (table, bank, shared) = (memory.table(), memory.bank("a", Period::Day), memory.bank("b", Period::Day));
    let once = quota("1/day");
    let used = Charge::keyed_quota(table, once, bank, key(table, 1));
    assert_eq!(admitted(&used, noon(0), 1), 1);
    let before = memory.image();
    let other = Charge::keyed_quota(table, once, bank, key(table, 2));
    let all = Charge::shared_quota(table, once, shared);
    for charges in [vec![used.clone()], vec![used.clone(), other.clone(), all.clone()], vec![other, all, used]] {
        assert!(matches!(charge_all(&mut charges.clone(), noon(0)), Outcome::Refused { .. }));
        assert!(matches!(test_all(&mut charges.clone(), noon(0)), Outcome::Refused { .. }));
        assert_eq!(memory.image(), before);
    }
}

/// A request that names a bucket twice passes the test, is counted once and refuses itself.
#[test]
fn what_is_given_back_leaves_what_was_there() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let twice = Charge::keyed_quota(table, quota("2/day"), bank, key(table, 1));
    let shared = Charge::shared_quota(table, quota("2/day"), bank);
    for charge in [twice, shared] {
        let mut charges = [charge.clone(), charge.clone(), charge.clone()];
        assert!(matches!(charge_all(&mut charges, noon(0)), Outcome::Refused { .. }));
        assert_eq!(remaining(&charge, noon(0)), 2);
        assert_eq!(admitted(&charge, noon(0), 1), 1);
        assert!(matches!(charge_all(&mut charges[..2], noon(0)), Outcome::Refused { .. }));
        assert_eq!(remaining(&charge, noon(0)), 1);
    }
}

#[test]
fn keys_without_room_share_one_count_of_their_limit() {
    let memory = Memory::new(2, 1);
    let (table, a, b) = (memory.table(), memory.bank("a", Period::Day), memory.bank("b", Period::Day));
    fill(table, a);
    let over = |bank, number| Charge::keyed_quota(table, quota("3/day"), bank, key(table, number));
    assert_eq!(admitted(&over(a, 1), noon(0), 2), 2);
    assert_eq!(admitted(&over(a, 2), noon(0), 2), 1);
    assert_eq!(admitted(&over(a, 1), noon(0), 2), 0);
    assert_eq!(table.overflows(), 6, "admitted and refused");
    assert_eq!(admitted(&over(b, 1), noon(0), 5), 3, "another limit has its own");
    assert_eq!(admitted(&over(a, 3), noon(1), 5), 3, "so has another day");
}

/// Time that stands still for counting goes on for slots.
#[test]
fn a_slot_changes_hands_when_its_window_is_over_and_no_sooner() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    for number in 0..SLOTS as u64 {
        let charge = Charge::keyed_quota(table, quota("1/day"), bank, key(table, 1_000 + number));
        assert_eq!(admitted(&charge, noon(0), 2), 1);
    }
    let new = |number| Charge::keyed_quota(table, quota("1/day"), bank, key(table, number));
    assert_eq!(occupied(&table, at(DAY - 1)), (SLOTS, 0));
    assert_eq!(admitted(&new(1), at(DAY - 1), 2), 1);
    assert_eq!(table.overflows(), 2);
    assert_eq!(occupied(&table, at(DAY + 1)), (0, SLOTS));
    for number in 2..2 + SLOTS as u64 {
        assert_eq!(admitted(&new(number), at(DAY + 1), 2), 1);
    }
    assert_eq!(table.overflows(), 2);
    assert_eq!(occupied(&table, at(DAY + 1)), (SLOTS, 0));
}

/// A process that reads its clock just before midnight, after others are beyond it: its request belongs to the next
/// day, in the slot of its key, without slot and in what everybody shares.
#[test]
fn a_clock_behind_the_others_counts_in_their_window() {
    let (before, behind) = (at(DAY - 1), at(DAY + 1));
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let keyed = Charge::keyed_quota(table, quota("3/day"), bank, key(table, 1));
    for charge in [keyed.clone(), Charge::shared_quota(table, quota("3/day"), bank)] {
        assert_eq!(admitted(&charge, noon(0), 5), 3);
        assert_eq!(admitted(&charge, before, 5), 0);
        assert_eq!(admitted(&charge, behind, 1), 1);
        let mut late = [charge.clone()];
        assert_eq!(charge_all(&mut late, before), Outcome::Admitted);
        assert_eq!(late[0].standing(), Standing { remaining: 1, secs_until_one_more: 86_401 });
        assert_eq!(admitted(&charge, behind, 1), 1);
        assert_eq!(charge_all(&mut late, before), Outcome::Refused { first: 0, retry_after: 86_401 });
        assert_eq!(admitted(&charge, behind, 1), 0);
    }

    // Others take all slots: the key has lost its own.
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let keyed = Charge::keyed_quota(table, quota("3/day"), bank, key(table, 1));
    assert_eq!(admitted(&keyed, noon(0), 5), 3);
    for number in 0..SLOTS as u64 {
        let other = Charge::keyed_quota(table, quota("1/day"), bank, key(table, 1_000 + number));
        assert_eq!(admitted(&other, behind, 1), 1);
    }
    assert_eq!(remaining(&keyed, before), 3, "of the next day");
    assert_eq!(admitted(&keyed, before, 2), 2);
    assert_eq!(admitted(&keyed, behind, 5), 1);
}

/// The same with room left in the group, so that the key begins anew in a slot.
#[test]
fn a_key_that_lost_its_slot_has_no_second_count_in_a_window() {
    let (before, behind) = (at(DAY - 1), at(DAY + 1));
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let keyed = Charge::keyed_quota(table, quota("3/day"), bank, key(table, 1));
    assert_eq!(admitted(&keyed, noon(0), 5), 3);
    for number in 0..SLOTS as u64 - 1 {
        let other = Charge::keyed_quota(table, quota("4/day"), bank, key(table, 1_000 + number));
        assert_eq!(admitted(&other, noon(0), 4), 4);
    }
    // The slot with the smallest count is the longest at rest.
    let other = Charge::keyed_quota(table, quota("1/day"), bank, key(table, 2_000));
    assert_eq!(admitted(&other, behind, 1), 1);
    let total = admitted(&keyed, before, 5) + admitted(&keyed, behind, 5);
    assert_eq!(total, 3, "what is left is the next day's");
}

/// Somebody sets the clock ahead and back again.
#[test]
fn a_stepped_clock_admits_no_more_and_heals() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let charge = Charge::keyed_quota(table, quota("3/day"), bank, key(table, 1));
    // A day ahead: what is counted there stays counted there.
    assert_eq!(admitted(&charge, noon(0), 2), 2);
    assert_eq!(admitted(&charge, noon(1), 1), 1);
    assert_eq!(admitted(&charge, noon(0), 5), 2);
    assert_eq!(admitted(&charge, noon(1), 5), 0);
    // A month ahead: nonsense, as soon as the clock is right.
    assert_eq!(admitted(&charge, noon(30), 5), 3);
    assert_eq!(admitted(&charge, noon(2), 5), 3);
    assert_eq!(admitted(&charge, noon(2), 5), 0);
    // A year behind.
    assert_eq!(admitted(&charge, Now { wall: UnixMicros(MIDNIGHT - 365 * DAY), ..noon(0) }, 5), 3);
    assert_eq!(admitted(&charge, noon(3), 5), 3);
}

/// The wall clock moves with the other one while a request is decided.
#[test]
fn a_refusal_goes_by_the_time_of_the_refusal() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let mut one = [Charge::shared_quota(table, quota("1/day"), bank)];
    let came = at(DAY - 10 * SECOND);
    assert_eq!(charge_all(&mut one, came), Outcome::Admitted);
    let after = |seconds: u64| move |now: MonoNanos| MonoNanos(now.0.max(came.mono.0 + seconds * 1_000_000_000));
    let outcome = charge_all_by_clock(&mut one, came, after(4));
    assert_eq!(outcome, Outcome::Refused { first: 0, retry_after: 6 });
    assert_eq!(one[0].standing(), Standing { remaining: 0, secs_until_one_more: 6 });
    assert_eq!(charge_all_by_clock(&mut one, came, after(10)), Outcome::Admitted, "the next day has begun");
    assert_eq!(one[0].standing(), Standing { remaining: 0, secs_until_one_more: 86_400 });
}

#[test]
fn a_bank_is_not_given_away_while_its_window_runs() {
    let memory = Memory::new(1, 1);
    let table = memory.table();
    let bank = memory.bank("a", Period::Day);
    assert_eq!(admitted(&Charge::shared_quota(table, quota("3/day"), bank), noon(0), 1), 1);
    let other = LimitId::new("b").with_period(Period::Day);
    for _ in 0..3 {
        table.begin_generation();
    }
    assert_eq!(table.assign(other, at(DAY)), None, "a count beyond the end is a nanosecond of real time");
    assert_eq!(table.assign(other, at(DAY + 1)), Some(bank));
    let charge = Charge::shared_quota(table, quota("3/day"), bank);
    assert_eq!(admitted(&charge, at(DAY + 1), 5), 3);
}

#[test]
fn tables_of_different_kinds_are_not_mixed_up() {
    let kinds = [TableKind::Rates, TableKind::Quotas, TableKind::Lockouts];
    for made in kinds {
        let memory = Memory::of_kind(made, 2, 2);
        for asked in kinds {
            let found = SlotTable::open(asked, &memory.words, memory.geometry, noon(0)).err();
            assert_eq!(found, (made != asked).then_some(Mismatch::Layout), "{made:?} {asked:?}");
            let found = SlotTable::open_any(asked, &memory.words, noon(0)).err();
            assert_eq!(found, (made != asked).then_some(Mismatch::Layout), "{made:?} {asked:?}");
        }
    }
    let (rates, other) = (Memory::of_kind(TableKind::Rates, 2, 2), Memory::of_kind(TableKind::Rates, 2, 3));
    let table = |memory: &Memory| {
        let words: &'static [AtomicU64] = Vec::leak(memory.image().into_iter().map(AtomicU64::new).collect());
        SlotTable::open(TableKind::Rates, words, memory.geometry, noon(0)).unwrap()
    };
    assert_eq!(table(&rates).carry_over(table(&other), noon(0)), Err(Mismatch::Layout), "keys of rates stay");
}

#[test]
fn a_truncated_file_or_an_impossible_header_is_no_table() {
    let memory = Memory::new(2, 3);
    let open = |words: &[AtomicU64]| SlotTable::open_any(TableKind::Quotas, words, noon(0)).err();
    assert_eq!(open(&memory.words), None);
    for length in [0, 1, 3, HEADER, memory.words.len() - 1] {
        let expected = if length < 4 { Mismatch::Layout } else { Mismatch::Geometry };
        assert_eq!(open(&memory.words[..length]), Some(expected), "{length} words");
    }
    // Words 0 to 3: magic, version, banks, groups.
    for (word, value) in [(0, 0), (1, 2), (2, u64::MAX), (3, 0), (3, u64::MAX), (3, 1 << 40)] {
        let memory = Memory::new(2, 3);
        memory.words[word].store(value, Relaxed);
        assert_eq!(open(&memory.words), Some(Mismatch::Layout), "word {word}: {value}");
    }
    memory.words[3].store(4, Relaxed);
    assert_eq!(open(&memory.words), Some(Mismatch::Geometry));
}

/// The process may be killed anywhere between the steps of a claim.
#[test]
fn repair_gives_up_what_a_killed_process_left_and_keeps_every_count() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let charges: Vec<_> =
        (0..3).map(|number| Charge::keyed_quota(table, quota("5/day"), bank, key(table, number))).collect();
    for (number, charge) in charges.iter().enumerate() {
        assert_eq!(admitted(charge, noon(0), number + 1), number + 1);
    }
    assert_eq!(admitted(&Charge::shared_quota(table, quota("5/day"), bank), noon(0), 4), 4);
    for (slot, tat) in [(3, MOVING | 7), (4, CLAIMED | 8), (5, MOVING)] {
        memory.slot(0, slot).0.store(99 + slot as u64, Relaxed);
        memory.slot(0, slot).1.store(tat, Relaxed);
    }
    assert_eq!(occupied(&table, noon(0)), (6, 1));
    assert_eq!(table.repair(), 0);
    assert_eq!(occupied(&table, noon(0)), (3, 4));
    for (charge, left) in charges.iter().zip([4, 3, 2]) {
        assert_eq!(remaining(charge, noon(0)), left);
    }
    assert_eq!(remaining(&Charge::shared_quota(table, quota("5/day"), bank), noon(0)), 1);
    let repaired = memory.image();
    assert_eq!(table.repair(), 0);
    assert_eq!(memory.image(), repaired);
}

#[test]
fn repair_empties_what_no_bucket_can_be() {
    let memory = Memory::new(1, 2);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let in_group = |group: usize| {
        (0..).map(|number| key(table, number)).find(|&key| {
            let before = memory.image();
            let charge = Charge::keyed_quota(table, quota("5/day"), bank, key);
            let changed = admitted(&charge, noon(0), 1) == 1 && memory.slot(group, 0).1.load(Relaxed) != 0;
            for (word, value) in memory.words.iter().zip(before) {
                word.store(value, Relaxed);
            }
            changed
        })
    };
    let (first, second) = (in_group(0).unwrap(), in_group(1).unwrap());
    let charge = |key| Charge::keyed_quota(table, quota("5/day"), bank, key);
    assert_eq!(admitted(&charge(first), noon(0), 2), 2);
    assert_eq!(admitted(&charge(second), noon(0), 3), 3);
    let (name, word) = (memory.slot(0, 0).0.load(Relaxed), memory.slot(0, 0).1.load(Relaxed));
    assert_eq!(word, MIDNIGHT_WORD + DAY_WORD + 2);

    // A second slot of the key, a slot of the other group, and words that are no end of a day with a count.
    let put = |slot: usize, key: u64, word: u64| {
        memory.slot(0, slot).0.store(key, Relaxed);
        memory.slot(0, slot).1.store(word, Relaxed);
    };
    put(1, name, word + 1);
    put(2, memory.slot(1, 0).0.load(Relaxed), word);
    put(3, 55, word + u64::from(MAX_COUNT));
    put(4, 56, 1 << 62);
    memory.group(0)[0].store(u64::MAX, Relaxed);
    memory.group(0)[1].store(MIDNIGHT_WORD - 1, Relaxed);
    memory.words[HEADER + 1].store(77, Relaxed);
    memory.words[HEADER + 2].store(MIDNIGHT_WORD - 1, Relaxed);
    memory.words[6].store(u64::MAX, Relaxed);
    memory.words[18].store(u64::MAX, Relaxed);
    assert_eq!(table.repair(), 10);
    assert_eq!(remaining(&charge(first), noon(0)), 2, "the larger count of its two slots");
    assert_eq!(remaining(&charge(second), noon(0)), 2);
    assert_eq!(occupied(&table, noon(0)), (2, 12));
    assert_eq!(table.repair(), 0);
    table.begin_generation();
    table.begin_generation();
    assert_eq!(memory.words[6].load(Relaxed), 3);
}

/// A clock that is wrong when the server starts costs no count.
#[test]
fn repair_keeps_what_lies_in_the_future() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
    let charge = Charge::keyed_quota(table, quota("5/day"), bank, key(table, 1));
    let shared = Charge::shared_quota(table, quota("5/day"), bank);
    assert_eq!((admitted(&charge, noon(0), 3), admitted(&shared, noon(0), 2)), (3, 2));
    let epoch = Now::default();
    let opened = SlotTable::open(TableKind::Quotas, &memory.words, memory.geometry, epoch).unwrap();
    assert_eq!(opened.repair(), 0);
    assert_eq!((remaining(&charge, epoch), remaining(&shared, epoch)), (5, 5));
    assert_eq!((remaining(&charge, noon(0)), remaining(&shared, noon(0))), (2, 3));
}

/// A table whose keys and limits are carried over to a larger one and back to its own size.
#[test]
fn counts_go_to_a_table_of_another_size() {
    let old = Memory::new(3, 40);
    let (a, b) = (old.bank("a", Period::Day), old.bank("b", Period::Month));
    let text = |number: u64| if number.is_multiple_of(2) { "9/day" } else { "9/month" };
    for number in 0..100 {
        assert_eq!(
            admitted(&keyed(old.table(), text(number), a, number), noon(0), 1 + number as usize % 8),
            1 + number as usize % 8
        );
    }
    assert_eq!(admitted(&Charge::shared_quota(old.table(), quota("9/month"), b), noon(0), 4), 4);
    assert_eq!(old.table().overflows(), 0);
    let slots: Vec<_> =
        (0..100).map(|number| remaining(&keyed(old.table(), text(number), a, number), noon(0))).collect();
    for (banks, groups) in [(2, 400), (3, 40), (7, 41), (64, 39)] {
        let words: Vec<_> = (0..Geometry::new(banks, groups).words()).map(|_| AtomicU64::new(0)).collect();
        let new = SlotTable::format(TableKind::Quotas, &words, Geometry::new(banks, groups), [8, 9]).unwrap();
        let used = old.table().occupancy(noon(0)).used;
        let carried = new.carry_over(old.table(), noon(0)).unwrap();
        assert_eq!(carried, Carried { kept: used + 2, lost: 0 }, "{groups} groups");
        assert_eq!(new.occupancy(noon(0)).used, used);
        let a = new.assign(LimitId::new("a").with_period(Period::Day), noon(0)).unwrap();
        let b = new.assign(LimitId::new("b").with_period(Period::Month), noon(0)).unwrap();
        let found: Vec<_> = (0..100).map(|number| remaining(&keyed(new, text(number), a, number), noon(0))).collect();
        assert_eq!(found, slots, "{groups} groups");
        assert_eq!(remaining(&Charge::shared_quota(new, quota("9/month"), b), noon(0)), 5);
        assert_eq!(new.repair(), 0, "all are where they belong");
    }
    // Only what is not at rest.
    let words: Vec<_> = (0..Geometry::new(3, 40).words()).map(|_| AtomicU64::new(0)).collect();
    let new = SlotTable::format(TableKind::Quotas, &words, Geometry::new(3, 40), [8, 9]).unwrap();
    assert_eq!(new.carry_over(old.table(), noon(1)), Ok(Carried { kept: 52, lost: 0 }));
}

#[test]
fn what_does_not_fit_into_a_smaller_table_is_told() {
    let old = Memory::new(3, 40);
    for name in ["a", "b", "c"] {
        old.bank(name, Period::Day);
    }
    let bank = old.bank("a", Period::Day);
    for number in 0..50 {
        let charge = Charge::keyed_quota(old.table(), quota("9/day"), bank, key(old.table(), number));
        assert_eq!(admitted(&charge, noon(0), 1), 1);
    }
    let words: Vec<_> = (0..Geometry::new(2, 1).words()).map(|_| AtomicU64::new(0)).collect();
    let new = SlotTable::format(TableKind::Quotas, &words, Geometry::new(2, 1), [8, 9]).unwrap();
    let carried = new.carry_over(old.table(), noon(0)).unwrap();
    assert_eq!(carried, Carried { kept: SLOTS + 2, lost: 50 - SLOTS + 1 });
}

/// A key that was charged to an overflow cell brings what is counted there into a table of any size, in which other
/// groups have other cells.
#[test]
fn what_was_counted_in_overflow_cells_is_carried_over() {
    let old = Memory::new(1, OVERFLOW_CELLS + 3);
    let (table, bank) = (old.table(), old.bank("a", Period::Day));
    for slot in 0..old.geometry.slots() {
        // All slots are taken by keys that are nobody's.
        let (name, word) = old.slot(slot / SLOTS, slot % SLOTS);
        name.store(1 + slot as u64, Relaxed);
        word.store(MIDNIGHT_WORD + 20 * DAY_WORD, Relaxed);
    }
    let mut used = HashMap::new();
    for number in 0..12 {
        used.insert(number, admitted(&keyed(table, "50/day", bank, number), noon(0), 3));
    }
    assert_eq!(table.overflows(), 36);
    for groups in [1, 5, OVERFLOW_CELLS + 3, 100, 1_000] {
        let words: Vec<_> = (0..Geometry::new(1, groups).words()).map(|_| AtomicU64::new(0)).collect();
        let new = SlotTable::format(TableKind::Quotas, &words, Geometry::new(1, groups), [8, 9]).unwrap();
        new.carry_over(old.table(), noon(0)).unwrap();
        let bank = new.assign(LimitId::new("a").with_period(Period::Day), noon(0)).unwrap();
        for number in 0..12 {
            assert!(remaining(&keyed(new, "50/day", bank, number), noon(0)) <= 47, "{groups} groups: key {number}");
        }
        if groups == 1_000 {
            // Groups with none of these keys have none of their counts.
            let free =
                (100..200).filter(|&number| remaining(&keyed(new, "50/day", bank, number), noon(0)) == 50).count();
            assert!(free > 20, "{free} of 100");
        }
    }
}

/// What each bucket must be, by the simplest means: counts by window, tokens of a rate by time.
#[derive(Clone, Default)]
struct Model {
    counts: HashMap<(u64, Period, u64), u32>,
    /// When the rate's bucket of a key is full again, nanoseconds.
    full_at: HashMap<u64, u64>,
}

/// One part of a request: a key of the rate, or of a quota.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Rate(u64),
    Quota(u64, Period, u32),
}

const INTERVAL: u64 = 3_600 * 1_000_000_000;
const BURST: u64 = 4;

impl Model {
    fn charge(&mut self, ask: Ask, now: Now) -> bool {
        match ask {
            Ask::Rate(key) => {
                let full_at = self.full_at.entry(key).or_default();
                let next = (*full_at).max(now.mono.0) + INTERVAL;
                let admitted = next <= now.mono.0 + BURST * INTERVAL;
                *full_at = if admitted { next } else { *full_at };
                admitted
            }
            Ask::Quota(key, period, most) => {
                let count = self.counts.entry((key, period, period.window(now.wall).start.0)).or_default();
                let admitted = *count < most;
                *count += u32::from(admitted);
                admitted
            }
        }
    }

    fn left(&self, ask: Ask, now: Now) -> u32 {
        match ask {
            Ask::Rate(_) => {
                std::iter::successors(Some(self.clone()), |model| {
                    let mut next = model.clone();
                    next.charge(ask, now).then_some(next)
                })
                .count() as u32
                    - 1
            }
            Ask::Quota(key, period, most) => {
                let used = self.counts.get(&(key, period, period.window(now.wall).start.0)).copied().unwrap_or(0);
                most.saturating_sub(used)
            }
        }
    }
}

fn asks() -> impl Strategy<Value = Ask> {
    let period = prop::sample::select(vec![Period::Day, Period::Week, Period::Month]);
    prop_oneof![
        (0..3_u64).prop_map(Ask::Rate),
        // Several plans use one bucket.
        (0..3_u64, period, 1..5_u32).prop_map(|(key, period, most)| Ask::Quota(key, period, most)),
    ]
}

proptest! {
    /// Lists that name a bucket twice may pass the test and fail at the second charge: all is then given back, to the
    /// last request.
    #[test]
    fn rates_and_quotas_never_leak(
        requests in prop::collection::vec((prop::collection::vec(asks(), 0..6), 0..40 * HOUR), 1..60),
    ) {
        let (rates, quotas) = (Memory::of_kind(TableKind::Rates, 1, 8), Memory::new(3, 16));
        let fast = SlotTable::open(TableKind::Rates, &rates.words, rates.geometry, noon(0)).unwrap();
        let slow = quotas.table();
        let rate_bank = fast.assign(LimitId::new("a"), noon(0)).unwrap();
        let numbers = numbers("1/h", BURST as u32);
        let charge = |ask: &Ask| match *ask {
            // Key 0 is the bucket that everybody shares.
            Ask::Rate(0) => Charge::shared(fast, numbers, rate_bank),
            Ask::Rate(number) => Charge::keyed(fast, numbers, rate_bank, key(fast, number)),
            Ask::Quota(number, period, most) => {
                let (bank, quota) = (quotas.bank("a", period), Quota::new(most, period).unwrap());
                let key = slow.hasher(LimitId::new("a").with_period(period)).part(Part::Subject, &[number as u8]).finish();
                if number == 0 {
                    Charge::shared_quota(slow, quota, bank)
                } else {
                    Charge::keyed_quota(slow, quota, bank, key)
                }
            }
        };
        let (mut model, mut now) = (Model::default(), at(0));
        for (asked, micros) in requests {
            now = now.at(MonoNanos(now.mono.0 + micros * 1_000));
            let mut charges: Vec<_> = asked.iter().map(charge).collect();
            let mut next = model.clone();
            let expected = asked.iter().all(|&ask| next.charge(ask, now));
            prop_assert_eq!(charge_all(&mut charges, now) == Outcome::Admitted, expected, "{:?}", asked);
            if expected {
                model = next;
            }
            for ask in asked {
                prop_assert_eq!(remaining(&charge(&ask), now), model.left(ask, now), "{:?}", ask);
            }
        }
        prop_assert_eq!(quotas.table().overflows(), 0);
        prop_assert_eq!(slow.repair(), 0);
    }

    /// Many keys in little memory, a clock that is read a little late or early, restarts with repair and
    /// changes of size: nobody gets more than his quota in any window.
    #[test]
    fn a_crowded_table_admits_nobody_too_often(
        requests in prop::collection::vec((0..24_u64, 0..2 * HOUR, -HOUR.cast_signed()..HOUR.cast_signed()), 1..400),
        most in 1..4_u32,
        sizes in prop::collection::vec((0..400_usize, 2..9_usize), 0..3),
    ) {
        let mut memory = Memory::new(1, 2);
        let mut counted = HashMap::<(u64, u64), u32>::new();
        let mut time = 0;
        for (index, (number, micros, skew)) in requests.into_iter().enumerate() {
            if let Some(&(_, groups)) = sizes.iter().find(|(when, _)| *when == index) {
                let old = std::mem::replace(&mut memory, Memory::new(1, groups));
                prop_assert_eq!(old.table().repair(), 0);
                let lost = memory.table().carry_over(old.table(), at(time)).unwrap().lost;
                if lost > 0 {
                    break;
                }
            }
            let (table, bank) = (memory.table(), memory.bank("a", Period::Day));
            time += micros;
            let now = at((DAY + time).saturating_add_signed(skew));
            let mut one = [Charge::keyed_quota(table, Quota::new(most, Period::Day).unwrap(), bank, key(table, number))];
            if charge_all(&mut one, now) == Outcome::Admitted {
                // Which window it was counted in.
                let seconds = one[0].standing().secs_until_one_more;
                let end = (now.wall.0 + seconds * SECOND) / DAY;
                *counted.entry((number, end)).or_default() += 1;
            }
        }
        for ((number, end), count) in counted {
            prop_assert!(count <= most, "key {} in the window until {}: {}", number, end, count);
        }
    }

    /// Whatever is in the file, an answer comes, before and after the repair.
    #[test]
    fn garbage_neither_panics_nor_hangs(
        words in prop::collection::vec(prop_oneof![
            any::<u64>(),
            0..8_u64,
            (0..8_u64).prop_map(|low| MOVING | low),
            (0..8_u64).prop_map(|low| CLAIMED | low),
            (0..8_u64).prop_map(|low| MIDNIGHT_WORD + DAY_WORD + low),
            Just(u64::MAX),
        ], HEADER + 4 * BLOCK),
        now in prop_oneof![Just(0), Just(MIDNIGHT), Just(u64::MAX), any::<u64>()],
    ) {
        let memory = Memory::new(2, 2);
        let (a, b) = (memory.bank("a", Period::Day), memory.bank("b", Period::Month));
        let table = memory.table();
        for (word, value) in memory.words.iter().zip(words) {
            word.store(value, Relaxed);
        }
        let now = Now { wall: UnixMicros(now), mono: MonoNanos(now) };
        let _ = SlotTable::open(TableKind::Quotas, &memory.words, memory.geometry, now);
        let _ = SlotTable::open_any(TableKind::Quotas, &memory.words, now);
        for _ in 0..2 {
            table.begin_generation();
            let _ = (table.assign(LimitId::new("c"), now), table.occupancy(now));
            for number in 0..8 {
                let mut charges = [
                    Charge::keyed_quota(table, quota("2/day"), a, key(table, number)),
                    Charge::keyed_quota(table, quota("2/month"), b, key(table, number)),
                    Charge::shared_quota(table, quota("2/month"), b),
                ];
                let _ = charge_all(&mut charges, now);
                let _ = charge_all(&mut charges[..1], now);
            }
            let _ = Memory::new(3, 5).table().carry_over(table, now);
            table.repair();
            let larger = Memory::new(3, 5);
            let _ = larger.table().carry_over(table, now);
            prop_assert_eq!(larger.table().repair(), 0);
            prop_assert_eq!(table.repair(), 0);
        }
    }
}
