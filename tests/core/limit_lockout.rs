//! Lock-outs, one process at a time: when an address is locked and until when, and what a full table does.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use std::time::Duration;

use jwt_gate_core::limit::{Geometry, LockoutRule, Lockouts, SLOTS, SlotTable, TableKind};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

struct Memory {
    words: Vec<AtomicU64>,
    geometry: Geometry,
}

impl Memory {
    fn new(groups: usize) -> Self {
        let geometry = Geometry::new(0, groups);
        let words: Vec<_> = (0..geometry.words()).map(|_| AtomicU64::new(0)).collect();
        SlotTable::format(TableKind::Lockouts, &words, geometry, [3, 5]).unwrap();
        Self { words, geometry }
    }

    fn table(&self) -> SlotTable<'_> {
        SlotTable::open(TableKind::Lockouts, &self.words, self.geometry, at(0)).unwrap()
    }
}

fn at(seconds: u64) -> Now {
    nanos(seconds * SECOND)
}

fn nanos(nanos: u64) -> Now {
    Now { mono: MonoNanos(1_000_000 * SECOND + nanos), wall: UnixMicros(0) }
}

fn rule(failures: u32, within: u64, block: u64) -> LockoutRule {
    LockoutRule { failures, within: Duration::from_secs(within), block: Duration::from_secs(block) }
}

#[test]
fn the_last_failure_of_so_many_locks_for_the_time() {
    let memory = Memory::new(64);
    let (table, lockouts) = (memory.table(), Lockouts::new([rule(3, 300, 60)]));
    assert!(lockouts.record_failure(table, b"a", at(0)).is_empty());
    assert!(lockouts.record_failure(table, b"a", at(100)).is_empty());
    assert_eq!(lockouts.locked(table, 0, b"a", at(100)), None);
    assert_eq!(lockouts.record_failure(table, b"a", at(200)).as_slice(), [0]);
    assert_eq!(lockouts.locked(table, 0, b"a", at(200)), Some(60));
    assert_eq!(lockouts.locked(table, 0, b"a", nanos(200 * SECOND + 1)), Some(60), "rounded up");
    assert_eq!(lockouts.locked(table, 0, b"a", nanos(260 * SECOND - 1)), Some(1));
    assert_eq!(lockouts.locked(table, 0, b"a", at(260)), None);
    assert_eq!(lockouts.locked(table, 0, b"b", at(200)), None, "nobody else");
    assert_eq!(lockouts.locked(table, 1, b"a", at(200)), None, "no such rule");
}

#[test]
fn a_failure_counts_until_it_is_so_old() {
    for (third, locks) in [(at(300), false), (nanos(300 * SECOND - 1), true)] {
        let memory = Memory::new(64);
        let (table, lockouts) = (memory.table(), Lockouts::new([rule(3, 300, 60)]));
        lockouts.record_failure(table, b"a", at(0));
        lockouts.record_failure(table, b"a", at(0));
        assert_eq!(!lockouts.record_failure(table, b"a", third).is_empty(), locks, "{third:?}");
    }
}

/// Failures of requests that were under way already do not prolong it.
#[test]
fn a_lock_is_told_once_and_not_prolonged() {
    let memory = Memory::new(64);
    let (table, lockouts) = (memory.table(), Lockouts::new([rule(2, 300, 60)]));
    lockouts.record_failure(table, b"a", at(0));
    assert_eq!(lockouts.record_failure(table, b"a", at(1)).as_slice(), [0]);
    for second in 2..60 {
        assert!(lockouts.record_failure(table, b"a", at(second)).is_empty());
    }
    assert_eq!(lockouts.locked(table, 0, b"a", at(60)), Some(1));
    assert_eq!(lockouts.locked(table, 0, b"a", at(61)), None);
    // It has failed too often still, and once more.
    assert_eq!(lockouts.record_failure(table, b"a", at(62)).as_slice(), [0]);
}

#[test]
fn rules_share_one_history() {
    let memory = Memory::new(64);
    let rules = [rule(2, 10, 100), rule(4, 1_000, 5), rule(2, 10, 100), rule(1, 1, 1)];
    let (table, lockouts) = (memory.table(), Lockouts::new(rules));
    assert_eq!(rules.map(|rule| lockouts.index(&rule)), [Some(0), Some(1), Some(0), Some(2)]);
    assert_eq!(lockouts.rule(1), Some(&rules[1]));
    assert_eq!((lockouts.rule(3), lockouts.index(&rule(9, 9, 9))), (None, None));
    let failures = [0, 20, 40, 45].map(|second| lockouts.record_failure(table, b"a", at(second)).to_vec());
    assert_eq!(failures, [vec![2], vec![2], vec![2], vec![0, 1, 2]]);
    assert_eq!([0, 1, 2].map(|rule| lockouts.locked(table, rule, b"a", at(46))), [Some(99), Some(4), None]);
    assert!(Lockouts::new([]).is_empty());
    assert!(Lockouts::new([]).record_failure(table, b"a", at(46)).is_empty());
}

#[test]
fn locks_outlive_a_change_of_the_other_rules() {
    let memory = Memory::new(64);
    let table = memory.table();
    Lockouts::new([rule(1, 10, 100)]).record_failure(table, b"a", at(0));
    let changed = Lockouts::new([rule(7, 70, 700), rule(1, 10, 100), rule(1, 10, 101), rule(1, 11, 100)]);
    assert_eq!([0, 1, 2, 3].map(|rule| changed.locked(table, rule, b"a", at(1))), [None, Some(99), None, None]);
}

/// Numbers that the configuration does not admit.
#[test]
fn numbers_out_of_range_count_as_the_nearest() {
    let memory = Memory::new(64);
    let table = memory.table();
    let lockouts = Lockouts::new([rule(0, 0, 0), rule(u32::MAX, u64::MAX, u64::MAX)]);
    assert_eq!(lockouts.record_failure(table, b"a", at(0)).as_slice(), [0]);
    assert_eq!(lockouts.locked(table, 0, b"a", at(0)), Some(1));
    let newly: Vec<_> = (1..=100).flat_map(|second| lockouts.record_failure(table, b"a", at(2 * second))).collect();
    assert_eq!(newly.iter().filter(|&&rule| rule == 1).count(), 1);
    assert_eq!(lockouts.locked(table, 1, b"a", at(198)), Some(30 * 86_400));
}

/// Attackers can fill the table, but nobody is locked for it, and failures that have room still count.
#[test]
fn without_room_nobody_is_locked_and_losses_are_told() {
    let memory = Memory::new(1);
    let (table, lockouts) = (memory.table(), Lockouts::new([rule(1, 1_000, 10)]));
    for address in 0..100_u8 {
        lockouts.record_failure(table, &[address], at(0));
    }
    let locked = (0..100_u8).filter(|&address| lockouts.locked(table, 0, &[address], at(1)).is_some()).count();
    assert!((1..SLOTS).contains(&locked), "{locked}");
    assert!(table.overflows() >= 100 - SLOTS as u64, "{}", table.overflows());
    assert_eq!(table.untold_overflows(at(1), Duration::from_secs(60)), Some(table.overflows()));
    // Slots change hands at 1,000: what the group has forgotten locks nobody, even on a clock that is behind.
    assert_eq!(lockouts.record_failure(table, b"late", at(1_000)).as_slice(), [0]);
    for address in 100..110_u8 {
        lockouts.record_failure(table, &[address], at(1_000));
    }
    for address in 0..100_u8 {
        assert_eq!(lockouts.locked(table, 0, &[address], at(999)), None);
    }
}

proptest! {
    /// A list of all failures says when an address must be locked.
    #[test]
    fn locks_are_those_of_a_list_of_all_failures(
        steps in prop::collection::vec((0..2_u8, prop_oneof![Just(0), 0..4 * SECOND, 0..40 * SECOND]), 1..150),
        rules in prop::collection::vec((1..6_u32, 1..30_u64, 1..30_u64), 1..4),
    ) {
        let memory = Memory::new(256);
        let rules: Vec<_> = rules.into_iter().map(|(failures, within, block)| rule(failures, within, block)).collect();
        let (table, lockouts) = (memory.table(), Lockouts::new(rules.iter().copied()));
        let (mut time, mut failures) = (0, [vec![], vec![]]);
        let mut until = vec![[0; 2]; rules.len()];
        for (address, nanos_later) in steps {
            time += nanos_later;
            let group = [address];
            let list = &mut failures[usize::from(address)];
            list.push(time);
            let newly = lockouts.record_failure(table, &group, nanos(time));
            for (number, rule) in rules.iter().enumerate() {
                let (within, block) = (rule.within.as_nanos() as u64, rule.block.as_nanos() as u64);
                let count = list.iter().filter(|&&failure| failure + within > time).count();
                let until = &mut until[number][usize::from(address)];
                let locks = count >= rule.failures as usize && *until <= time;
                if locks {
                    *until = time + block;
                }
                let index = lockouts.index(rule).unwrap();
                prop_assert_eq!(newly.contains(&index), locks, "{:?} at {}", rule, time);
                let left = until.saturating_sub(time).div_ceil(SECOND);
                prop_assert_eq!(lockouts.locked(table, index, &group, nanos(time)).unwrap_or(0), left);
            }
        }
        prop_assert_eq!(table.overflows(), 0);
    }
}
