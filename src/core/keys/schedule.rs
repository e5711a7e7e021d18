//! When keys are fetched, and how long they may be used. Pure arithmetic; randomness is handed in.

use std::time::Duration;

use crate::time::UnixMicros;

/// `refresh=`: from one fetch to the next.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(10 * 60);

/// `stale=`: how long a set of keys may be used after its fetch.
pub const DEFAULT_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// `cooldown=`: from one fetch for an unknown `kid` to the next.
pub const DEFAULT_COOLDOWN: Duration = Duration::from_secs(30);

/// `timeout=`: how long a request waits for a fetch.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The longest time from one fetch to the next, whatever is configured. What a damaged memory says beyond it is not
/// believed.
pub const MAX_REFRESH: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest one, so that no setting turns into a loop.
const MIN_REFRESH: Duration = Duration::from_secs(1);

/// The `max-age` of an answer that is followed (RFC 9111 section 5.2.2.1).
const FOLLOWED: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 60 * 60);

/// Between attempts after the first failure, and after many.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How far in the future the fetch of a stored set may lie: clocks of machines that share a disk differ, and are set.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// From a fetch that succeeded to the next one: `refresh` if it is written, else the answer's `max-age` if that is
/// between a minute and a day, else [`DEFAULT_REFRESH`]; 10 % more or less as `random` says, so that the servers of
/// a site do not fetch in step. Never more than three quarters of `stale`: a quarter is left for the next fetch to fail.
pub fn after_success(refresh: Option<Duration>, max_age: Option<Duration>, stale: Duration, random: u64) -> Duration {
    let followed = max_age.filter(|age| FOLLOWED.contains(age));
    let span = refresh.or(followed).unwrap_or(DEFAULT_REFRESH).clamp(MIN_REFRESH, MAX_REFRESH);
    between(span * 9 / 10, span * 11 / 10, random).clamp(MIN_REFRESH, MAX_REFRESH).min(stale / 4 * 3)
}

/// From a fetch that failed to the next attempt, after so many `failures` in a row: a second, doubled with each
/// up to a minute, less up to half of it as `random` says.
pub fn after_failure(failures: u64, random: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let span = FIRST_RETRY.saturating_mul(factor).min(LAST_RETRY);
    between(span / 2, span, random)
}

/// The last moment at which keys fetched then may be used.
pub fn usable_until(fetched: UnixMicros, stale: Duration) -> UnixMicros {
    fetched.saturating_add(stale)
}

/// Whether keys fetched then may be used. A fetch more than five minutes in the future is not believed, since
/// keys would outlive `stale` by as much as the clock was wrong.
pub fn is_usable(fetched: UnixMicros, stale: Duration, now: UnixMicros) -> bool {
    fetched <= now.saturating_add(CLOCK_TOLERANCE) && now <= usable_until(fetched, stale)
}

/// `low` to `high`, as `random` says.
fn between(low: Duration, high: Duration, random: u64) -> Duration {
    let width = high.saturating_sub(low).as_nanos();
    // A year of nanoseconds takes 55 bits; the product's upper part is below `width`.
    let part = u64::try_from((width * u128::from(random)) >> 64).unwrap_or(u64::MAX);
    low.saturating_add(Duration::from_nanos(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    /// Half of all numbers are smaller, so the jitter is none.
    const MIDDLE: u64 = 1 << 63;

    #[test]
    fn what_is_written_counts_before_what_the_answer_says() {
        let after = |refresh, max_age| after_success(refresh, max_age, DEFAULT_STALE, MIDDLE);
        assert_eq!(after(None, None), DEFAULT_REFRESH);
        assert_eq!(after(None, Some(2 * MINUTE)), 2 * MINUTE);
        assert_eq!(after(Some(5 * MINUTE), Some(2 * MINUTE)), 5 * MINUTE);
    }

    #[test]
    fn the_answer_is_followed_between_a_minute_and_a_day() {
        let after = |max_age| after_success(None, Some(max_age), 2 * DAY, MIDDLE);
        assert_eq!(after(MINUTE), MINUTE);
        assert_eq!(after(DAY), DAY);
        for ignored in [Duration::ZERO, MINUTE - Duration::from_nanos(1), DAY + Duration::from_nanos(1), Duration::MAX]
        {
            assert_eq!(after(ignored), DEFAULT_REFRESH, "{ignored:?}");
        }
    }

    #[test]
    fn refreshes_are_spread_by_a_tenth() {
        let after = |random| after_success(Some(10 * MINUTE), None, DEFAULT_STALE, random);
        assert_eq!(after(0), 9 * MINUTE);
        let latest = after(u64::MAX);
        assert!(latest <= 11 * MINUTE && latest > 11 * MINUTE - Duration::from_micros(1), "{latest:?}");
        assert!(after(1 << 62) < after(1 << 63));
    }

    #[test]
    fn keys_are_fetched_again_before_they_are_too_old() {
        for random in [0, MIDDLE, u64::MAX] {
            assert!(after_success(None, Some(DAY), DAY, random) <= DAY * 3 / 4);
            assert!(after_success(Some(99 * MINUTE), None, 100 * MINUTE, random) <= 75 * MINUTE);
        }
    }

    #[test]
    fn no_setting_fetches_without_pause_or_never() {
        for random in [0, MIDDLE, u64::MAX] {
            assert!(after_success(Some(Duration::ZERO), None, DEFAULT_STALE, random) >= MIN_REFRESH);
            assert!(after_success(Some(Duration::MAX), None, Duration::MAX / 4, random) <= MAX_REFRESH);
        }
    }

    #[test]
    fn failures_double_the_pause_up_to_a_minute() {
        let longest = |failures| after_failure(failures, u64::MAX).as_secs_f64().round();
        let pauses: Vec<_> = (1..=8).map(longest).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        for failures in [0, 1, 7, 32, 33, 1 << 32, u64::MAX] {
            let (least, most) = (after_failure(failures, 0), after_failure(failures, u64::MAX));
            assert!(most <= MINUTE && least >= FIRST_RETRY / 2, "{failures}: {least:?} {most:?}");
            assert!(2 * least >= most, "{failures}: {least:?} {most:?}");
        }
    }

    #[test]
    fn keys_may_be_used_until_they_are_stale() {
        let fetched = UnixMicros::from_secs(1_000_000);
        let usable = |now| is_usable(fetched, DAY, now);
        assert_eq!(usable_until(fetched, DAY), UnixMicros::from_secs(1_086_400));
        assert!(usable(fetched));
        assert!(usable(UnixMicros::from_secs(1_086_400)));
        assert!(!usable(UnixMicros(1_086_400_000_001)));
        assert!(is_usable(fetched, Duration::MAX, UnixMicros(u64::MAX)));
    }

    #[test]
    fn a_fetch_in_the_future_is_not_believed() {
        let now = UnixMicros::from_secs(1_000_000);
        assert!(is_usable(UnixMicros::from_secs(1_000_300), DAY, now));
        assert!(!is_usable(UnixMicros(1_000_300_000_001), DAY, now));
        assert!(!is_usable(UnixMicros(u64::MAX), DAY, now));
    }
}
