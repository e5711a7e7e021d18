//! The generic cell rate algorithm, as arithmetic on one word.
//!
//! The word is the bucket's *theoretical arrival time* (`tat`): when it will be at rest (full) again,
//! nanoseconds of the clock of [`MonoNanos`]. A request moves it by one interval, and is admitted if it then
//! is at most one window (burst times interval) ahead. So over any time t at most `burst + t / interval` requests
//! are admitted, and time that passes needs no writing. A `now` that is a little behind the others' is
//! charged as if it were later, never earlier.

use super::rate::{MAX_WINDOW, NANOS, Numbers};
use crate::time::MonoNanos;

/// Why a request is not admitted: the bucket is empty for so many nanoseconds more.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Wait(pub u64);

impl Wait {
    /// Value of the `Retry-After` field: whole seconds, rounded up, at least 1.
    pub fn retry_after(self) -> u64 {
        self.0.div_ceil(NANOS).max(1)
    }
}

/// One request at `now`: the bucket's next `tat` if it is admitted.
///
/// # Errors
/// [`Wait`]: after exactly that time the request is admitted, if no other one is before.
pub fn test(tat: u64, now: MonoNanos, numbers: Numbers) -> Result<u64, Wait> {
    let next = tat.max(now.0).saturating_add(numbers.interval().get());
    let full = now.0.saturating_add(numbers.window());
    if next <= full { Ok(next) } else { Err(Wait(next - full)) }
}

/// The `tat` of a bucket that at `now` asks for this `wait`.
pub(super) fn refusing(wait: Wait, now: MonoNanos, numbers: Numbers) -> u64 {
    // No overflow below: a window is at least an interval.
    now.0.saturating_add(numbers.window() - numbers.interval().get()).saturating_add(wait.0)
}

/// How many requests would be admitted at once.
pub fn remaining(tat: u64, now: MonoNanos, numbers: Numbers) -> u32 {
    let room = numbers.window().saturating_sub(tat.saturating_sub(now.0));
    // At most burst, which is a u32.
    u32::try_from(room / numbers.interval()).unwrap_or(numbers.burst())
}

/// Seconds, rounded up, until [`remaining`] is one more; 0 at rest.
pub fn secs_until_one_more(tat: u64, now: MonoNanos, numbers: Numbers) -> u64 {
    let more = u64::from(remaining(tat, now, numbers)) + 1;
    let debt_then = numbers.window().saturating_sub(more * numbers.interval().get());
    if more > numbers.burst().into() { 0 } else { (tat.saturating_sub(now.0) - debt_then).div_ceil(NANOS) }
}

/// `tat` as read from shared memory: one that no limit can have brought about counts as rest.
pub(super) fn plausible(tat: u64, now: MonoNanos) -> u64 {
    if tat.saturating_sub(now.0) > MAX_DEBT { 0 } else { tat }
}

/// Twice the longest window: room for callers whose `now` differs.
pub(super) const MAX_DEBT: u64 = 2 * MAX_WINDOW;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonoNanos = MonoNanos(1_000 * NANOS);

    fn numbers(rate: &str, burst: u32) -> Numbers {
        Numbers::new(rate.parse().unwrap(), Some(burst)).unwrap()
    }

    #[test]
    fn from_rest_exactly_burst_are_admitted() {
        for burst in [1, 2, 5, 100] {
            let numbers = numbers("10/s", burst);
            let mut tat = 0;
            for left in (0..burst).rev() {
                tat = test(tat, NOW, numbers).unwrap();
                assert_eq!(remaining(tat, NOW, numbers), left);
            }
            assert_eq!(test(tat, NOW, numbers), Err(Wait(100_000_000)));
        }
    }

    #[test]
    fn the_seconds_until_one_more_are_rounded_up_and_zero_at_rest() {
        let numbers = numbers("2/m", 2);
        assert_eq!(secs_until_one_more(0, NOW, numbers), 0);
        assert_eq!(secs_until_one_more(NOW.0, NOW, numbers), 0);
        assert_eq!(secs_until_one_more(NOW.0 + 1, NOW, numbers), 1);
        assert_eq!(secs_until_one_more(NOW.0 + 30 * NANOS, NOW, numbers), 30);
        assert_eq!(secs_until_one_more(NOW.0 + 30 * NANOS + 1, NOW, numbers), 1);
        assert_eq!(secs_until_one_more(NOW.0 + 60 * NANOS, NOW, numbers), 30);
        assert_eq!(secs_until_one_more(NOW.0 + 90 * NANOS, NOW, numbers), 60);
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_one() {
        let seconds = [0, 1, NANOS, NANOS + 1, 59 * NANOS].map(|wait| Wait(wait).retry_after());
        assert_eq!(seconds, [1, 1, 1, 2, 59]);
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        let numbers = numbers("1/d", 3_650);
        for tat in [0, NOW.0, u64::MAX] {
            for now in [0, NOW.0, u64::MAX] {
                let now = MonoNanos(now);
                let admitted = test(tat, now, numbers).is_ok();
                assert_eq!(admitted, remaining(tat, now, numbers) > 0 || now.0 == u64::MAX, "{tat} {now:?}");
                let _ = secs_until_one_more(tat, now, numbers);
            }
        }
    }

    #[test]
    fn a_debt_that_no_limit_allows_counts_as_rest() {
        assert_eq!(plausible(NOW.0 + MAX_WINDOW, NOW), NOW.0 + MAX_WINDOW);
        assert_eq!(plausible(NOW.0 + MAX_DEBT, NOW), NOW.0 + MAX_DEBT);
        assert_eq!(plausible(NOW.0 + MAX_DEBT + 1, NOW), 0);
        assert_eq!(plausible(u64::MAX, NOW), 0);
    }
}
