//! Quotas: two processes whose clocks are on both sides of the end of a window.

use std::sync::Arc;

use jwt_gate_core::limit::{
    Bank, Charge, Geometry, KeyHash, LimitId, Outcome, Period, Quota, SlotTable, TableKind, charge_all,
};
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};
use loom::thread;

use super::explore;

/// Seconds from a noon on a Wednesday in the middle of a month to the end of that day.
const END: u64 = 43_200;
/// The time of a process that reads its clock just before the end, and of one that reads it just after.
const BEFORE: u64 = END - 1;
const BEHIND: u64 = END + 1;

const A: u64 = 0xa;
const B: u64 = 0xb;
const C: u64 = 0xc;

/// A key, or what everybody shares, and a quota.
type Asked = (Option<u64>, Quota);

/// The memory of one server, with one group, and the bank of one limit.
#[derive(Clone)]
struct Memory {
    words: Arc<Vec<AtomicU64>>,
    geometry: Geometry,
    bank: Bank,
}

impl Memory {
    fn new() -> Self {
        let geometry = Geometry::new(1, 1);
        let words: Arc<Vec<_>> = Arc::new((0..geometry.words()).map(|_| AtomicU64::new(0)).collect());
        let table = SlotTable::format(TableKind::Quotas, &words, geometry, [3, 5]).unwrap();
        let bank = table.assign(LimitId::new("limit"), at(0)).unwrap();
        Self { words, geometry, bank }
    }

    /// If all are charged, for each whether it was counted in the second day.
    fn all(&self, asked: &[Asked], now: u64) -> Option<Vec<bool>> {
        let table = SlotTable::open(TableKind::Quotas, &self.words, self.geometry, at(now)).unwrap();
        let charge = |&(key, quota): &Asked| match key {
            Some(key) => Charge::keyed_quota(table, quota, self.bank, KeyHash::from_halves(0, key)),
            None => Charge::shared_quota(table, quota, self.bank),
        };
        let mut charges: Vec<_> = asked.iter().map(charge).collect();
        let ends = |charge: &Charge<'_>| now + charge.standing().secs_until_one_more;
        (charge_all(&mut charges, at(now)) == Outcome::Admitted)
            .then(|| charges.iter().map(|charge| ends(charge) > END).collect())
    }

    /// How many of one request are counted in the first and second day.
    fn one(&self, key: u64, quota: Quota, now: u64) -> [u32; 2] {
        match self.all(&[(Some(key), quota)], now).as_deref() {
            Some([second]) => [u32::from(!second), u32::from(*second)],
            _ => [0, 0],
        }
    }

    fn spawn<T: 'static>(&self, process: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let memory = self.clone();
        thread::spawn(move || process(&memory))
    }
}

fn at(seconds: u64) -> Now {
    // 2026-08-05 12:00 UTC.
    Now { mono: MonoNanos(0), wall: UnixMicros((1_785_931_200 + seconds) * 1_000_000) }
}

fn daily(count: u32) -> Quota {
    Quota::new(count, Period::Day).unwrap()
}

fn monthly(count: u32) -> Quota {
    Quota::new(count, Period::Month).unwrap()
}

fn sum(counted: &[[u32; 2]]) -> [u32; 2] {
    [0, 1].map(|day| counted.iter().map(|counted| counted[day]).sum())
}

#[test]
fn a_new_key_gets_one_count() {
    explore(3, || {
        let memory = Memory::new();
        let other = memory.spawn(move |memory| memory.one(A, daily(2), 0));
        let admitted = sum(&[memory.one(A, daily(2), 0), other.join().unwrap()]);
        assert_eq!(admitted, [2, 0]);
        assert_eq!(memory.one(A, daily(2), BEFORE), [0, 0]);
    });
}

/// The key has one left in the first day and one a day: what the late clock gets depends on who was first.
#[test]
fn a_window_ends_while_a_key_is_charged() {
    explore(3, || {
        let memory = Memory::new();
        assert_eq!(memory.one(A, daily(2), 0), [1, 0]);
        let other =
            memory.spawn(move |memory| sum(&[memory.one(A, daily(2), BEHIND), memory.one(A, daily(2), BEHIND)]));
        let late = sum(&[memory.one(A, daily(2), BEFORE), memory.one(A, daily(2), BEFORE)]);
        let [first, second] = sum(&[late, other.join().unwrap()]);
        assert!(first <= 1, "one was charged before");
        assert_eq!(second + memory.one(A, daily(2), BEHIND)[1], 2);
    });
}

/// The only slot that can be had goes from A to B when A's day is over, while A is charged by a process
/// whose clock says that it is not.
#[test]
fn a_slot_changes_hands_while_its_old_key_is_charged() {
    explore(3, || {
        let memory = Memory::new();
        assert_eq!(memory.one(A, daily(1), 0), [1, 0]);
        assert!(memory.all(&[(Some(C), monthly(1))], 0).is_some());
        let other = memory.spawn(move |memory| memory.one(B, daily(1), BEHIND));
        let late = memory.one(A, daily(1), BEFORE);
        assert_eq!(late[0], 0, "its first day is used up");
        let b = sum(&[other.join().unwrap(), memory.one(B, daily(1), BEHIND)]);
        let a = sum(&[late, memory.one(A, daily(1), BEHIND)]);
        assert!(a[1] <= 1 && b[1] <= 1 && a[1] + b[1] >= 1, "{a:?} {b:?}");
    });
}

/// One process sees no room for A and charges the overflow cell, the other one sees room behind the end.
#[test]
fn overflow_and_slot_together_admit_no_more_than_one_count() {
    explore(3, || {
        let memory = Memory::new();
        assert_eq!(memory.one(B, daily(1), 0), [1, 0]);
        assert!(memory.all(&[(Some(C), monthly(1))], 0).is_some());
        let other = memory.spawn(move |memory| memory.one(A, daily(1), BEHIND));
        let late = memory.one(A, daily(1), BEFORE);
        let counted = sum(&[late, other.join().unwrap()]);
        assert!(counted[0] <= 1);
        assert_eq!(counted[1] + memory.one(A, daily(1), BEHIND)[1], 1, "{late:?}");
    });
}

/// A count is given back while the window of its bucket ends: what was counted in the first day is not taken from the
/// second.
#[test]
fn what_is_given_back_is_what_was_counted_in_its_window() {
    explore(3, || {
        let memory = Memory::new();
        assert_eq!(memory.one(A, daily(3), 0), [1, 0]);
        assert!(memory.all(&[(Some(B), monthly(2))], 0).is_some());
        // One of the two has what is left of the month, and the other one gives its count of the day back.
        let both = |memory: &Memory, now| memory.all(&[(Some(A), daily(3)), (Some(B), monthly(2))], now);
        let other = memory.spawn(move |memory| both(memory, BEHIND));
        let (late, early) = (both(&memory, BEFORE), other.join().unwrap());
        assert_eq!(late.iter().chain(&early).count(), 1);
        let in_second = late.iter().chain(&early).filter(|counted| counted[0]).count();
        let left = (0..4).filter(|_| memory.one(A, daily(3), BEHIND)[1] == 1).count();
        assert_eq!(left, 3 - in_second);
    });
}

#[test]
fn what_everybody_shares_is_counted_once_a_request() {
    explore(3, || {
        let memory = Memory::new();
        let other = memory.spawn(move |memory| memory.all(&[(None, daily(1))], BEHIND));
        let late = memory.all(&[(None, daily(1))], BEFORE);
        let counted: Vec<_> = late.into_iter().chain(other.join().unwrap()).flatten().collect();
        assert!(counted.iter().filter(|second| !**second).count() <= 1);
        assert_eq!(counted.iter().filter(|second| **second).count(), 1);
        assert!(memory.all(&[(None, daily(1))], BEHIND).is_none());
    });
}
