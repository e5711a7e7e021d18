//! Properties of the arithmetic of limits, for all rates, bursts and arrivals.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, missing_docs)] // a test: a panic is a failure

use jwt_gate_core::limit::Numbers;
use jwt_gate_core::limit::gcra::{remaining, secs_until_one_more, test};
use jwt_gate_core::time::MonoNanos;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

/// Numbers, with the rate as count and unit in nanoseconds.
fn numbers() -> impl Strategy<Value = (Numbers, u64, u64)> {
    (1..5_000_u32, prop::sample::select(vec![("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)]), 1..200_u32).prop_map(
        |(count, (unit, seconds), burst)| {
            let rate = format!("{count}/{unit}").parse().unwrap();
            (Numbers::new(rate, Some(burst)).unwrap(), count.into(), seconds * SECOND)
        },
    )
}

/// Steps between arrivals, from none to several intervals.
fn arrivals() -> impl Strategy<Value = Vec<f64>> {
    let step = prop_oneof![3 => Just(0.0), 2 => 0.0..1.5, 1 => Just(1.0), 1 => 0.0..300.0];
    prop::collection::vec(step, 1..300)
}

/// The arrivals, with for each the bucket before and after.
fn run(numbers: Numbers, steps: &[f64]) -> Vec<(MonoNanos, u64, u64)> {
    let (mut now, mut tat) = (7 * SECOND, 0);
    let mut run = Vec::new();
    for step in steps {
        now += (step * numbers.interval().get() as f64) as u64;
        let next = test(tat, MonoNanos(now), numbers).unwrap_or(tat);
        run.push((MonoNanos(now), tat, next));
        tat = next;
    }
    run
}

proptest! {
    #[test]
    fn over_any_time_no_more_than_burst_and_rate((numbers, count, unit) in numbers(), steps in arrivals()) {
        let admitted: Vec<u64> =
            run(numbers, &steps).iter().filter(|(_, before, after)| before != after).map(|(now, _, _)| now.0).collect();
        prop_assert!(!admitted.is_empty());
        for (first, from) in admitted.iter().enumerate() {
            for (last, to) in admitted.iter().enumerate().skip(first) {
                let beyond = (last - first + 1).saturating_sub(numbers.burst() as usize);
                // beyond <= rate * t, without rounding
                prop_assert!(beyond as u128 * u128::from(unit) <= u128::from(to - from) * u128::from(count));
            }
        }
    }

    #[test]
    fn denied_until_exactly_then((numbers, _, _) in numbers(), steps in arrivals()) {
        for (now, tat, _) in run(numbers, &steps) {
            if let Err(wait) = test(tat, now, numbers) {
                prop_assert!(wait.0 > 0);
                prop_assert!(test(tat, MonoNanos(now.0 + wait.0 - 1), numbers).is_err());
                prop_assert!(test(tat, MonoNanos(now.0 + wait.0), numbers).is_ok());
                prop_assert!(test(tat, MonoNanos(now.0 + wait.retry_after() * SECOND), numbers).is_ok());
            }
        }
    }

    #[test]
    fn as_many_are_admitted_as_remain((numbers, _, _) in numbers(), steps in arrivals()) {
        for (now, tat, after) in run(numbers, &steps) {
            let left = remaining(tat, now, numbers);
            prop_assert_eq!(remaining(after, now, numbers), left.saturating_sub(1));
            let admitted = std::iter::successors(Some(tat), |&tat| test(tat, now, numbers).ok()).skip(1).count();
            prop_assert_eq!(admitted, left as usize);
        }
    }

    #[test]
    fn one_more_remains_after_so_many_seconds((numbers, _, _) in numbers(), steps in arrivals()) {
        for (now, _, tat) in run(numbers, &steps) {
            let left = remaining(tat, now, numbers);
            let seconds = secs_until_one_more(tat, now, numbers);
            let at = |seconds: u64| remaining(tat, MonoNanos(now.0 + seconds * SECOND), numbers);
            if left == numbers.burst() {
                prop_assert_eq!(seconds, 0);
            } else {
                prop_assert!(at(seconds) > left);
                prop_assert_eq!(at(seconds - 1), left);
            }
        }
    }

    /// A process that read the clock earlier than another one admits no more because of it.
    #[test]
    fn a_clock_that_is_behind_gains_nothing((numbers, _, _) in numbers(), steps in arrivals(), behind in 0..100 * SECOND) {
        for (now, tat, _) in run(numbers, &steps) {
            let late = MonoNanos(now.0.saturating_sub(behind));
            prop_assert!(remaining(tat, late, numbers) <= remaining(tat, now, numbers));
            if let Ok(next) = test(tat, late, numbers) {
                prop_assert!(next >= tat + numbers.interval().get());
            }
        }
    }
}
