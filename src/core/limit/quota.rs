//! So many requests in each day, week or month: fixed windows of the calendar, in one word.
//!
//! The word is `E + c`: the end of the window, nanoseconds since 2020-01-01 UTC, and the requests counted in it. So
//! a quota is a bucket whose time stands still within a window: a request moves it by one nanosecond, and
//! is admitted if it then is at most `count` beyond the end. The next window begins beyond every count of the one
//! before, so that the word never falls, and the end of a window needs no writing. It is *at rest*, and
//! its slot may go to another key, when the real time has reached the word.
//!
//! The wall clock may be stepped, and one process may read it just before the end of a window and another one just
//! behind. So a word in the next window means that somebody's clock is there already: the request is counted there as
//! well, and never goes back. Words beyond that window come from a clock that was wrong, and count as rest.

use std::fmt;
use std::str::FromStr;

use super::gcra::Wait;
use super::period::{Period, Window};
use super::rate::{MAX_COUNT, NANOS};
use crate::time::UnixMicros;

/// So many requests in each period, such as `10000/month`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    count: u32,
    period: Period,
}

impl Quota {
    /// # Errors
    /// A text for the administrator if `count` is 0 or above [`MAX_COUNT`].
    pub fn new(count: u32, period: Period) -> Result<Self, String> {
        match count {
            0 => {
                Err(format!("quota 0/{period} lets nothing in: write at least 1/{period}, or refuse with JwtGateDeny"))
            }
            1..=MAX_COUNT => Ok(Self { count, period }),
            _ => Err(format!("quota {count}/{period} is above {MAX_COUNT}: write a smaller number")),
        }
    }

    /// How many requests are admitted in each window.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// How long a window is.
    pub const fn period(self) -> Period {
        self.period
    }
}

impl FromStr for Quota {
    type Err = String;

    /// Reads `N/day`, `N/week` or `N/month`.
    ///
    /// # Errors
    /// A text for the administrator if the form is another one, N is 0, or N is above [`MAX_COUNT`].
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!("quota '{text}' is not a number, '/' and one of day, week, month: write for example 10000/month")
        };
        let (count, period) = text.split_once('/').ok_or_else(form)?;
        let period = Period::named(period).ok_or_else(form)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        let count =
            count.parse().map_err(|_| format!("quota '{text}' is above {MAX_COUNT}: write a smaller number"))?;
        Self::new(count, period)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period)
    }
}

/// 2020-01-01 UTC, microseconds since 1970.
const EPOCH: u64 = 1_577_836_800_000_000;

/// Words stay below this, clear of the marks of slots, until 2093.
pub(super) const END: u64 = 1 << 61;

/// Nanoseconds in a day. Every window ends at a multiple of it.
pub(super) const DAY: u64 = 86_400 * NANOS;

/// How far ahead of the clock a word can be: at most the rest of a month, and the month after it with all its
/// requests.
pub(super) const MAX_AHEAD: u64 = 62 * DAY + MAX_COUNT as u64;

/// The time by which words of quotas are at rest: nanoseconds since 2020-01-01 UTC, from then to 2093.
pub(super) fn clock(wall: UnixMicros) -> u64 {
    wall.0.saturating_sub(EPOCH).saturating_mul(1_000).min(END)
}

/// A quota at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    most: u64,
    /// [`clock`]
    pub(super) now: u64,
    /// Where this window ends and the next one begins.
    pub(super) end: u64,
    /// Where the next one ends.
    next: u64,
}

impl Count {
    pub(super) fn new(quota: Quota, wall: UnixMicros) -> Self {
        let wall = UnixMicros(wall.0.clamp(EPOCH, EPOCH + END / 1_000));
        let Window { end, .. } = quota.period.window(wall);
        let next = quota.period.window(end).end;
        Self { most: quota.count.into(), now: clock(wall), end: nanos(end), next: nanos(next) }
    }

    /// The word on which a request is counted: what was counted in this window or in the next one, or the
    /// beginning of one of them.
    pub(super) const fn plausible(self, word: u64) -> u64 {
        if word <= self.end {
            self.end
        } else if self.is_within(self.end, word) {
            word
        } else if word <= self.next {
            // No count goes that far: a word of another period, out of a maximum over several keys. This window is over.
            self.next
        } else if self.is_within(self.next, word) {
            word
        } else {
            self.end
        }
    }

    /// The word on which a key without slot begins. Words are forgotten only at rest: if one of them is beyond this
    /// window, somebody's clock was, too, and what the key had in this window may be among them.
    pub(super) fn begin(self, forgotten: u64) -> u64 {
        let word = self.plausible(forgotten);
        if word > self.end { word.max(self.next) } else { word }
    }

    pub(super) fn test(self, word: u64) -> Result<u64, Wait> {
        let word = self.plausible(word);
        let end = self.end_of(word);
        if word - end < self.most { Ok(word + 1) } else { Err(Wait(end - self.now)) }
    }

    /// The word of a bucket that asks for this `wait`.
    pub(super) fn refusing(self, wait: Wait) -> u64 {
        self.now + wait.0 + self.most
    }

    pub(super) fn remaining(self, word: u64) -> u32 {
        let word = self.plausible(word);
        let left = self.most.saturating_sub(word - self.end_of(word));
        // At most `most`, which was a u32.
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Seconds, rounded up, until the window ends in which a request would be counted.
    pub(super) fn secs_until_end(self, word: u64) -> u64 {
        (self.end_of(self.plausible(word)) - self.now).div_ceil(NANOS)
    }

    /// The word that was `found` without the request that made it `made`. `None` if the window has changed: then the
    /// request is in no count any more.
    pub(super) fn given_back(self, found: u64, made: u64) -> Option<u64> {
        self.is_within(self.end_of(made), found).then(|| found - 1)
    }

    /// The end of the window that a plausible word counts in.
    const fn end_of(self, word: u64) -> u64 {
        if word < self.next { self.end } else { self.next }
    }

    /// By the largest count there is, since plans count differently in one bucket.
    const fn is_within(self, end: u64, word: u64) -> bool {
        end < word && word <= end + MAX_COUNT as u64
    }
}

fn nanos(end: UnixMicros) -> u64 {
    end.0.saturating_sub(EPOCH).saturating_mul(1_000)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn count(quota: &str, wall: &str) -> Count {
        Count::new(quota.parse().unwrap(), UnixMicros::from_rfc3339(wall).unwrap())
    }

    fn end(wall: &str) -> u64 {
        nanos(UnixMicros::from_rfc3339(wall).unwrap())
    }

    #[test]
    fn a_quota_is_read_and_written_the_same() {
        for text in ["1/day", "10000/week", "2147483647/month"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_quota_is_refused_with_its_text_and_a_remedy() {
        for text in ["", "/", "5", "5/", "/day", "5/year", "5/Day", "+5/day", "-5/day", " 5/day", "5/day ", "5.5/day"] {
            let error = text.parse::<Quota>().unwrap_err();
            assert!(error.contains(&format!("'{text}'")) && error.contains("10000/month"), "{error}");
        }
        assert!("0/day".parse::<Quota>().unwrap_err().contains("at least 1/day"));
        for text in ["2147483648/day", "4294967296/day", "99999999999999999999999/day"] {
            assert!(text.parse::<Quota>().unwrap_err().contains("above 2147483647"), "{text}");
        }
    }

    #[test]
    fn as_many_as_it_says_until_the_window_ends() {
        let quota = count("3/day", "2026-08-05T14:30:00Z");
        let mut word = 0;
        for left in (0..3).rev() {
            word = quota.test(word).unwrap();
            assert_eq!((quota.remaining(word), quota.secs_until_end(word)), (left, 34_200));
        }
        assert_eq!(word, end("2026-08-06T00:00:00Z") + 3);
        assert_eq!(quota.test(word), Err(Wait(34_200 * NANOS)));
        assert_eq!(quota.refusing(Wait(34_200 * NANOS)), word);
        let last = count("3/day", "2026-08-05T23:59:59.999999Z");
        assert_eq!(last.test(word), Err(Wait(1_000)));
        let next = count("3/day", "2026-08-06T00:00:00Z");
        assert_eq!(next.test(word), Ok(end("2026-08-07T00:00:00Z") + 1));
    }

    /// The word of a caller whose plan changes counts against the new number.
    #[test]
    fn another_number_counts_on() {
        let word = end("2026-08-06T00:00:00Z") + 5;
        for (quota, left) in [("4/day", 0), ("5/day", 0), ("6/day", 1), ("100/day", 95)] {
            let quota = count(quota, "2026-08-05T14:30:00Z");
            assert_eq!(quota.remaining(word), left);
            assert_eq!(quota.test(word).is_ok(), left > 0);
        }
    }

    #[test]
    fn what_is_in_the_next_window_is_counted_there_and_beyond_it_is_none() {
        let quota = count("3/day", "2026-08-05T14:30:00Z");
        let next = end("2026-08-07T00:00:00Z");
        assert_eq!(quota.test(next + 1), Ok(next + 2));
        assert_eq!(quota.test(next + 3), Err(Wait((34_200 + 86_400) * NANOS)));
        assert_eq!((quota.remaining(next + 1), quota.secs_until_end(next + 1)), (2, 34_200 + 86_400));
        let this = end("2026-08-06T00:00:00Z");
        for nonsense in [next + DAY, next + DAY + 1, next + u64::from(MAX_COUNT) + 1, END, u64::MAX] {
            assert_eq!(quota.test(nonsense), Ok(this + 1));
        }
        assert_eq!(quota.test(this + u64::from(MAX_COUNT) + 1), Ok(next + 1), "of another period");
    }

    #[test]
    fn a_key_begins_behind_what_was_forgotten() {
        let quota = count("3/day", "2026-08-05T14:30:00Z");
        let (this, next) = (end("2026-08-06T00:00:00Z"), end("2026-08-07T00:00:00Z"));
        assert_eq!(quota.begin(0), this);
        assert_eq!(quota.begin(this), this);
        assert_eq!(quota.begin(this + 1), next, "somebody's clock is beyond this window");
        assert_eq!(quota.begin(next + 2), next + 2);
        assert_eq!(quota.begin(next + DAY), this);
    }

    #[test]
    fn only_what_is_in_the_same_window_is_given_back() {
        let quota = count("3/day", "2026-08-05T14:30:00Z");
        let (this, next) = (end("2026-08-06T00:00:00Z"), end("2026-08-07T00:00:00Z"));
        assert_eq!(quota.given_back(this + 1, this + 1), Some(this));
        assert_eq!(quota.given_back(this + 3, this + 2), Some(this + 2));
        assert_eq!(quota.given_back(next + 1, this + 2), None);
        assert_eq!(quota.given_back(this, this + 2), None);
        assert_eq!(quota.given_back(0, this + 2), None);
        assert_eq!(quota.given_back(next + 2, next + 1), Some(next + 1));
        assert_eq!(quota.given_back(next, next + 1), None);
        assert_eq!(quota.given_back(this + 2, next + 1), None);
    }

    #[test]
    fn no_clock_wraps() {
        for wall in [0, EPOCH - 1, EPOCH, EPOCH + END / 1_000, u64::MAX] {
            for period in [Period::Day, Period::Week, Period::Month] {
                let quota = Count::new(Quota::new(MAX_COUNT, period).unwrap(), UnixMicros(wall));
                assert!(quota.now < quota.end && quota.end < quota.next && quota.next < 1 << 62, "{quota:?}");
                for word in [0, END, u64::MAX >> 1, u64::MAX] {
                    let _ = (quota.test(word), quota.remaining(word), quota.secs_until_end(word), quota.begin(word));
                }
            }
        }
    }
}
