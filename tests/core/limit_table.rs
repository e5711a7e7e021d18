//! The slot table as its users see it, one process at a time: whose bucket is charged, what a full or
//! damaged table does, and what outlives a restart.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::collections::HashMap;

use jwt_gate_core::limit::{
    self, Bank, Charge, Geometry, KeyHash, LimitId, Numbers, OVERFLOW_CELLS, Outcome, Part, SLOTS, SlotTable,
    TableKind, gcra,
};
use jwt_gate_core::sync::{AtomicU64, Ordering::Relaxed};
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const NOW: MonoNanos = MonoNanos(1_000 * SECOND);

/// As the layout says: a group's first slot is its word 2, and a slot's `tat` its word 1.
const BLOCK: usize = 16;
const FIRST_SLOT: usize = 2;
const MOVING: u64 = 1 << 63;
const CLAIMED: u64 = 3 << 62;

struct Memory {
    words: Vec<AtomicU64>,
    geometry: Geometry,
}

impl Memory {
    fn new(banks: usize, groups: usize) -> Self {
        let geometry = Geometry::new(banks, groups);
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        SlotTable::format(TableKind::Rates, &words, geometry, [3, 5]).unwrap();
        Self { words, geometry }
    }

    fn table(&self) -> SlotTable<'_> {
        SlotTable::open(TableKind::Rates, &self.words, self.geometry, at(NOW)).unwrap()
    }

    fn bank(&self, limit: &str) -> Bank {
        self.table().assign(LimitId::new(limit), at(NOW)).unwrap()
    }

    /// The words of the last group.
    fn group(&self) -> &[AtomicU64] {
        &self.words[self.geometry.words() - BLOCK..]
    }

    fn slot(&self, slot: usize) -> (&AtomicU64, &AtomicU64) {
        let first = FIRST_SLOT + 2 * slot;
        (&self.group()[first], &self.group()[first + 1])
    }

    fn image(&self) -> Vec<u64> {
        self.words.iter().map(|word| word.load(Relaxed)).collect()
    }
}

fn numbers(rate: &str, burst: u32) -> Numbers {
    Numbers::new(rate.parse().unwrap(), Some(burst)).unwrap()
}

/// A key of the last group.
fn key(number: u64) -> KeyHash {
    KeyHash::from_halves(u64::MAX, number)
}

fn at(now: MonoNanos) -> Now {
    Now { mono: now, wall: UnixMicros(0) }
}

fn charge_all(charges: &mut [Charge<'_>], now: MonoNanos) -> Outcome {
    limit::charge_all(charges, at(now))
}

fn test_all(charges: &mut [Charge<'_>], now: MonoNanos) -> Outcome {
    limit::test_all(charges, at(now))
}

fn charge_all_by_clock(charges: &mut [Charge<'_>], now: MonoNanos, clock: impl Fn(MonoNanos) -> MonoNanos) -> Outcome {
    limit::charge_all_by_clock(charges, at(now), clock)
}

fn later(seconds: u64) -> MonoNanos {
    MonoNanos(NOW.0 + seconds * SECOND)
}

/// How many of `tries` are admitted one after another.
fn admitted(charge: &Charge<'_>, now: MonoNanos, tries: usize) -> usize {
    (0..tries).filter(|_| charge_all(&mut [charge.clone()], now) == Outcome::Admitted).count()
}

/// Puts keys into all slots of the last group that stay in debt for an hour.
fn fill(memory: &Memory, bank: Bank) {
    for number in 0..SLOTS as u64 {
        let charge = Charge::keyed(memory.table(), numbers("1/h", 1), bank, key(1_000 + number));
        assert_eq!(admitted(&charge, NOW, 2), 1);
    }
}

#[test]
fn every_key_and_every_limit_has_its_own_burst() {
    let memory = Memory::new(3, 64);
    let table = memory.table();
    let (a, b, shared) = (memory.bank("a"), memory.bank("b"), memory.bank("shared"));
    let numbers = numbers("1/m", 3);
    for address in 0..50_u8 {
        for (name, bank) in [("a", a), ("b", b)] {
            let key = table.hasher(LimitId::new(name)).part(Part::Address, &[address]).finish();
            assert_eq!(admitted(&Charge::keyed(table, numbers, bank, key), NOW, 5), 3, "{name} {address}");
        }
    }
    assert_eq!(admitted(&Charge::shared(table, numbers, shared), NOW, 5), 3);
    assert_eq!(admitted(&Charge::shared(table, numbers, shared), later(60), 5), 1);
    assert_eq!(table.overflows(), 0);
}

#[test]
fn standings_say_what_is_left_and_when_one_more_is() {
    let memory = Memory::new(2, 1);
    let table = memory.table();
    let mut charges = [
        Charge::keyed(table, numbers("1/m", 2), memory.bank("a"), key(1)),
        Charge::shared(table, numbers("10/s", 100), memory.bank("b")),
    ];
    let standing = |charge: &Charge| (charge.standing().remaining, charge.standing().secs_until_one_more);
    assert_eq!(test_all(&mut charges, NOW), Outcome::Admitted);
    assert_eq!(charges.each_ref().map(standing), [(2, 0), (100, 0)]);
    assert_eq!(charge_all(&mut charges, NOW), Outcome::Admitted);
    assert_eq!(charges.each_ref().map(standing), [(1, 60), (99, 1)]);
    assert_eq!(charge_all(&mut charges, NOW), Outcome::Admitted);
    assert_eq!(charges.each_ref().map(standing), [(0, 60), (98, 1)]);
    assert_eq!(charge_all(&mut charges, later(1)), Outcome::Refused { first: 0, retry_after: 59 });
    assert_eq!(charges.each_ref().map(standing), [(0, 59), (100, 0)]);
}

/// A request that came at `NOW`, but not before others were charged that had read the clock a second later. It is
/// decided two seconds after it came.
#[test]
fn a_request_that_was_overtaken_is_refused_by_the_time_of_the_refusal() {
    let memory = Memory::new(2, 1);
    let (table, rate) = (memory.table(), numbers("5/m", 5));
    let (keyed, shared) =
        (Charge::keyed(table, rate, memory.bank("a"), key(1)), Charge::shared(table, rate, memory.bank("a")));
    for (charge, other) in [(keyed, key(2)), (shared, key(3))] {
        let late = |charges: &mut [Charge]| charge_all_by_clock(charges, NOW, |_| later(2));
        assert_eq!(admitted(&charge, later(1), 4), 4);
        let mut one = [charge.clone()];
        assert_eq!(late(&mut one), Outcome::Admitted, "there is room for one more");
        for _ in 0..3 {
            assert_eq!(late(&mut one), Outcome::Refused { first: 0, retry_after: 11 });
            assert_eq!((one[0].standing().remaining, one[0].standing().secs_until_one_more), (0, 11));
        }
        assert_eq!(late(&mut [charge.clone(), charge.clone()]), Outcome::Refused { first: 0, retry_after: 11 });
        // For a clock that stands still it is 13 seconds from when it came.
        let frozen = charge_all_by_clock(&mut one, NOW, |now| now);
        assert_eq!(frozen, Outcome::Refused { first: 0, retry_after: 13 });
        // What the others say goes by the same time.
        let other = Charge::keyed(table, numbers("1/m", 3), memory.bank("b"), other);
        assert_eq!(admitted(&other, later(1), 1), 1);
        let mut both = [other, charge];
        assert_eq!(late(&mut both), Outcome::Refused { first: 1, retry_after: 11 });
        assert_eq!((both[0].standing().remaining, both[0].standing().secs_until_one_more), (2, 59));
    }
}

#[test]
fn the_first_refusal_is_named_and_the_longest_wait() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    let minute = Charge::keyed(table, numbers("1/m", 1), bank, key(1));
    let hour = Charge::keyed(table, numbers("1/h", 1), bank, key(2));
    let free = Charge::keyed(table, numbers("1/s", 1), bank, key(3));
    assert_eq!(charge_all(&mut [minute.clone(), hour.clone()], NOW), Outcome::Admitted);
    let outcome = charge_all(&mut [free, minute, hour], later(10));
    assert_eq!(outcome, Outcome::Refused { first: 1, retry_after: 3_590 });
    assert_eq!(charge_all(&mut [], NOW), Outcome::Admitted);
}

#[test]
fn a_refused_request_changes_nothing() {
    let memory = Memory::new(2, 1);
    let (table, bank, shared) = (memory.table(), memory.bank("a"), memory.bank("b"));
    let once = numbers("1/m", 1);
    let used = Charge::keyed(table, once, bank, key(1));
    assert_eq!(admitted(&used, NOW, 1), 1);
    let before = memory.image();
    let others = [Charge::keyed(table, once, bank, key(2)), Charge::shared(table, once, shared)];
    for charges in [
        vec![used.clone()],
        vec![used.clone(), others[0].clone(), others[1].clone()],
        vec![others[0].clone(), others[1].clone(), used],
    ] {
        assert!(matches!(charge_all(&mut charges.clone(), NOW), Outcome::Refused { .. }));
        assert_eq!(memory.image(), before);
    }
}

#[test]
fn keys_without_room_share_one_bucket_of_their_limit() {
    let memory = Memory::new(2, OVERFLOW_CELLS + 1);
    let (table, a, b) = (memory.table(), memory.bank("a"), memory.bank("b"));
    fill(&memory, a);
    let numbers = numbers("1/m", 3);
    let over = |bank, number| Charge::keyed(table, numbers, bank, key(number));
    assert_eq!(table.overflows(), 0);
    assert_eq!(admitted(&over(a, 1), NOW, 2), 2);
    assert_eq!(admitted(&over(a, 2), NOW, 2), 1);
    assert_eq!(admitted(&over(a, 1), NOW, 2), 0);
    assert_eq!(table.overflows(), 6, "admitted and refused");
    assert_eq!(admitted(&over(b, 1), NOW, 5), 3, "another limit has its own");

    // The first group has the same overflow cell as the last, and room: its keys do not care.
    let elsewhere = Charge::keyed(table, numbers, a, KeyHash::from_halves(0, 3));
    assert_eq!(admitted(&elsewhere, NOW, 5), 3);
}

#[test]
fn a_key_that_gets_room_brings_its_debt() {
    let memory = Memory::new(2, 1);
    let (table, a, b) = (memory.table(), memory.bank("a"), memory.bank("b"));
    fill(&memory, a);
    let twice = numbers("2/d", 2);
    assert_eq!(admitted(&Charge::keyed(table, twice, a, key(1)), NOW, 5), 2);
    // After an hour there is room, but a request only every twelve.
    assert_eq!(admitted(&Charge::keyed(table, twice, a, key(1)), later(3_600), 5), 0);
    assert_eq!(admitted(&Charge::keyed(table, twice, b, key(2)), later(3_600), 5), 2, "another limit has no debt");
    let overflows = table.overflows();
    assert_eq!(admitted(&Charge::keyed(table, twice, a, key(1)), later(43_200), 5), 1);
    assert_eq!(table.overflows(), overflows, "it has its slot");
}

/// Who would know otherwise that a full table refuses everybody?
#[test]
fn refusals_by_what_is_shared_are_counted_and_no_others() {
    let memory = Memory::new(3, 1);
    let (table, [a, b, c]) = (memory.table(), ["a", "b", "c"].map(|limit| memory.bank(limit)));
    let once = numbers("1/d", 1);
    fill(&memory, a);
    assert_eq!(admitted(&Charge::keyed(table, numbers("1/h", 1), a, key(1_000)), NOW, 5), 0);
    assert_eq!(admitted(&Charge::shared(table, once, b), NOW, 5), 1);
    assert_eq!(table.overflows(), 0, "own buckets, and one that is everybody's");
    let over = |number| Charge::keyed(table, once, a, key(number));
    assert_eq!(admitted(&over(1), NOW, 1), 1);
    assert_eq!(table.overflows(), 1);

    // One request of several limits, which looks before it charges.
    let mut several = [Charge::keyed(table, numbers("5/d", 5), c, key(1)), over(2)];
    assert!(matches!(charge_all(&mut several, NOW), Outcome::Refused { first: 1, .. }));
    assert_eq!(table.overflows(), 2);

    // A refusal is tried again by a later clock, and is one refusal.
    assert!(matches!(charge_all_by_clock(&mut [over(3)], NOW, |_| NOW), Outcome::Refused { .. }));
    assert_eq!(table.overflows(), 3);

    // There is room again, and the newcomer begins with what the others have used.
    assert_eq!(admitted(&over(4), later(3_600), 1), 0);
    assert_eq!(table.overflows(), 4);
}

#[test]
fn a_slot_changes_hands_at_rest_and_no_sooner() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    fill(&memory, bank);
    let rest = later(3_600);
    let new = Charge::keyed(table, numbers("1/s", 1), bank, key(1));
    assert_eq!(admitted(&new, MonoNanos(rest.0 - 1), 1), 1);
    assert_eq!(table.overflows(), 1);
    assert_eq!(admitted(&Charge::keyed(table, numbers("1/s", 1), bank, key(2)), MonoNanos(rest.0 + SECOND), 1), 1);
    assert_eq!(table.overflows(), 1);
}

/// The clock of the process that gave the slot away was ahead.
#[test]
fn a_key_that_lost_its_slot_keeps_its_debt_on_a_clock_that_is_behind() {
    for full in [false, true] {
        let memory = Memory::new(1, 1);
        let (table, bank) = (memory.table(), memory.bank("a"));
        let twice = numbers("1/m", 2);
        let first = Charge::keyed(table, twice, bank, key(1));
        assert_eq!(admitted(&first, NOW, 2), 2);
        let taken = SLOTS as u64 - u64::from(!full);
        for number in 0..taken {
            let other = Charge::keyed(table, numbers("1/h", 1), bank, key(1_000 + number));
            assert_eq!(admitted(&other, later(120), 1), 1);
        }
        // In debt until 120, refused until 60.
        assert_eq!(admitted(&first, later(59), 5), 0, "full: {full}");
        assert_eq!(admitted(&first, later(60), 5), 1, "full: {full}");
    }
}

#[test]
fn what_a_dead_process_left_unfinished_is_finished() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    let (key_word, tat) = memory.slot(3);
    key_word.store(1, Relaxed);
    tat.store(CLAIMED | 5, Relaxed);
    assert_eq!(admitted(&Charge::keyed(table, numbers("1/m", 2), bank, key(1)), NOW, 5), 2);
    assert_eq!((key_word.load(Relaxed), tat.load(Relaxed)), (1, later(120).0), "in that slot");
    assert_eq!(table.overflows(), 0);
}

#[test]
fn what_a_dead_process_left_unfinished_is_room_where_there_is_no_other() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    fill(&memory, bank);
    let (key_word, tat) = memory.slot(3);
    key_word.store(1, Relaxed);
    tat.store(CLAIMED | 5, Relaxed);
    assert_eq!(admitted(&Charge::keyed(table, numbers("1/m", 2), bank, key(2)), NOW, 5), 2);
    assert_eq!((key_word.load(Relaxed), tat.load(Relaxed)), (2, later(120).0));
    assert_eq!(table.overflows(), 0);
}

/// A process that still lives may own it, and write there whenever it wakes up.
#[test]
fn a_slot_whose_process_stopped_halfway_is_left_alone() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    for slot in 0..SLOTS {
        let (key_word, tat) = memory.slot(slot);
        key_word.store(1 + slot as u64, Relaxed);
        tat.store(MOVING | slot as u64, Relaxed);
    }
    let before: Vec<u64> = memory.group()[FIRST_SLOT..].iter().map(|word| word.load(Relaxed)).collect();
    for number in 1..=9 {
        assert_eq!(admitted(&Charge::keyed(table, numbers("1/m", 1), bank, key(number)), later(60 * number), 5), 1);
    }
    let after: Vec<u64> = memory.group()[FIRST_SLOT..].iter().map(|word| word.load(Relaxed)).collect();
    assert_eq!(after, before);
    assert_eq!(table.overflows(), 9 * 5);
}

/// Two claims of one key, both left unfinished: one bucket comes of them.
#[test]
fn two_unfinished_claims_of_one_key_become_one_bucket() {
    for tats in [[CLAIMED | 1, CLAIMED | 2], [later(60).0, CLAIMED | 2], [CLAIMED | 1, later(60).0]] {
        let memory = Memory::new(1, 1);
        let (table, bank) = (memory.table(), memory.bank("a"));
        for (slot, value) in tats.into_iter().enumerate() {
            let (key_word, tat) = memory.slot(slot);
            key_word.store(1, Relaxed);
            tat.store(value, Relaxed);
        }
        let live = tats.iter().any(|&tat| tat < MOVING);
        let charge = Charge::keyed(table, numbers("1/m", 2), bank, key(1));
        assert_eq!(admitted(&charge, NOW, 5), if live { 1 } else { 2 }, "{tats:x?}");
        assert_eq!(admitted(&charge, later(60), 5), 1, "{tats:x?}");
    }
}

#[test]
fn state_outlives_a_restart_that_adds_removes_and_reorders_limits() {
    let memory = Memory::new(8, 16);
    fn charge<'m>(table: SlotTable<'m>, name: &str) -> [Charge<'m>; 2] {
        let (limit, numbers) = (LimitId::new(name), numbers("1/h", 2));
        let bank = table.assign(limit, at(NOW)).unwrap();
        let key = table.hasher(limit).part(Part::Subject, b"joe").finish();
        [Charge::keyed(table, numbers, bank, key), Charge::shared(table, numbers, bank)]
    }
    for name in ["a", "b", "c"] {
        for charge in charge(memory.table(), name) {
            assert_eq!(admitted(&charge, NOW, 1), 1);
        }
    }
    for order in [["d", "c", "a"], ["a", "e", "c"]] {
        let table = memory.table();
        table.begin_generation();
        let charges = order.map(|name| (name, charge(table, name)));
        for (name, [keyed, shared]) in charges {
            let left = if matches!(name, "a" | "c") { 1 } else { 2 };
            for mut one in [keyed, shared] {
                test_all(std::slice::from_mut(&mut one), NOW);
                assert_eq!(one.standing().remaining, left, "{name} in {order:?}");
            }
        }
    }
}

#[test]
fn an_impossible_debt_heals() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    fill(&memory, bank);
    let twice = numbers("1/m", 2);
    let (key_word, tat) = memory.slot(6);
    key_word.store(1, Relaxed);
    tat.store(MOVING - 1, Relaxed);
    assert_eq!(admitted(&Charge::keyed(table, twice, bank, key(1)), NOW, 5), 2, "as the key's own");
    tat.store(MOVING - 1, Relaxed);
    assert_eq!(admitted(&Charge::keyed(table, twice, bank, key(2)), NOW, 5), 2, "as room for another");
    memory.group()[0].store(u64::MAX, Relaxed);
    memory.group()[1].store(u64::MAX, Relaxed);
    tat.store(0, Relaxed);
    assert_eq!(admitted(&Charge::keyed(table, twice, bank, key(3)), NOW, 5), 2, "as the group's");
}

/// A list that names a bucket twice refuses itself, whatever the time: it asks no more often than is sensible.
#[test]
fn a_request_that_is_overtaken_again_and_again_is_refused() {
    let memory = Memory::new(1, 1);
    let (table, bank) = (memory.table(), memory.bank("a"));
    let clock = AtomicU64::new(NOW.0);
    let charge = Charge::shared(table, numbers("1000000000/s", 1), bank);
    let outcome =
        charge_all_by_clock(&mut [charge.clone(), charge], NOW, |_| MonoNanos(clock.fetch_add(1_000, Relaxed) + 1_000));
    assert_eq!(outcome, Outcome::Refused { first: 1, retry_after: 1 });
    assert!(clock.load(Relaxed) < NOW.0 + 100_000);
}

/// What each bucket must be, by the simplest means.
#[derive(Clone, Default)]
struct Model(HashMap<u64, u64>);

impl Model {
    fn charge_all(&mut self, keys: &[u64], now: MonoNanos, numbers: Numbers) -> bool {
        let mut next = self.clone();
        let admitted = keys.iter().all(|key| {
            let tat = next.0.entry(*key).or_default();
            gcra::test(*tat, now, numbers).map(|charged| *tat = charged).is_ok()
        });
        if admitted {
            *self = next;
        }
        admitted
    }
}

proptest! {
    /// A list that names a bucket twice may pass the test and fail at the second charge: it is
    /// then given back, to the last request.
    #[test]
    fn all_are_charged_or_none(
        requests in prop::collection::vec((prop::collection::vec(0..8_u64, 0..5), 0..40_u64), 1..60),
        burst in 1..5_u32,
    ) {
        let memory = Memory::new(1, 8);
        let (table, bank) = (memory.table(), memory.bank("a"));
        let numbers = numbers("1/m", burst);
        // Key 0 is the bucket that everybody shares.
        let charge = |key: &u64| match *key {
            0 => Charge::shared(table, numbers, bank),
            key => Charge::keyed(table, numbers, bank, KeyHash::from_halves(key << 61, key)),
        };
        let (mut model, mut now) = (Model::default(), NOW);
        for (keys, seconds) in requests {
            now.0 += seconds * SECOND;
            let mut charges: Vec<_> = keys.iter().map(charge).collect();
            let admitted = charge_all(&mut charges, now) == Outcome::Admitted;
            prop_assert_eq!(admitted, model.charge_all(&keys, now, numbers));
            for key in 0..8 {
                let mut one = charge(&key);
                test_all(std::slice::from_mut(&mut one), now);
                let tat = model.0.get(&key).copied().unwrap_or_default();
                prop_assert_eq!(one.standing().remaining, gcra::remaining(tat, now, numbers));
            }
        }
        prop_assert_eq!(table.overflows(), 0);
    }

    /// Many keys in little memory: whoever is charged where, nobody gets more than his burst and rate.
    #[test]
    fn a_crowded_table_admits_nobody_too_often(
        requests in prop::collection::vec((1..24_u64, 0..3 * SECOND), 1..400),
        burst in 1..4_u32,
    ) {
        let memory = Memory::new(1, 2);
        let (table, bank) = (memory.table(), memory.bank("a"));
        let numbers = numbers("10/m", burst);
        let (mut admitted, mut now) = (HashMap::<u64, Vec<u64>>::new(), NOW);
        for (key, nanos) in requests {
            now.0 += nanos;
            let charge = Charge::keyed(table, numbers, bank, KeyHash::from_halves(key << 63, key));
            if charge_all(&mut [charge], now) == Outcome::Admitted {
                admitted.entry(key).or_default().push(now.0);
            }
        }
        for times in admitted.values() {
            for window in times.windows(burst as usize + 1) {
                prop_assert!(window[burst as usize] - window[0] >= numbers.interval().get());
            }
        }
    }

    /// Whatever is in memory, an answer comes.
    #[test]
    fn garbage_neither_panics_nor_hangs(
        words in prop::collection::vec(prop_oneof![
            any::<u64>(),
            0..8_u64,
            (0..8_u64).prop_map(|low| MOVING | low),
            (0..8_u64).prop_map(|low| CLAIMED | low),
            (0..8_u64).prop_map(|low| NOW.0 + low),
            Just(u64::MAX),
        ], 32 + 4 * BLOCK),
        now in prop_oneof![Just(0), Just(NOW.0), Just(u64::MAX), any::<u64>()],
    ) {
        let memory = Memory::new(2, 2);
        let (table, a, b) = (memory.table(), memory.bank("a"), memory.bank("b"));
        for (word, value) in memory.words.iter().zip(words) {
            word.store(value, Relaxed);
        }
        let now = MonoNanos(now);
        let _ = SlotTable::open(TableKind::Rates, &memory.words, memory.geometry, at(now));
        table.begin_generation();
        let _ = table.assign(LimitId::new("c"), at(now));
        let numbers = numbers("1/m", 2);
        for number in 0..8 {
            let mut charges = [
                Charge::keyed(table, numbers, a, KeyHash::from_halves(number << 63, number)),
                Charge::keyed(table, numbers, b, KeyHash::from_halves(number << 63, number)),
                Charge::shared(table, numbers, b),
            ];
            let _ = charge_all(&mut charges, now);
            let _ = charge_all(&mut charges[..1], now);
        }
    }
}
