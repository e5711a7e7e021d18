//! The windows of quotas: days, weeks and months of the calendar, in UTC.

use std::fmt;

use crate::time::{UnixMicros, month_around};

/// How long a window of a quota is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday, midnight (ISO 8601).
    Week,
    /// From the first of a month to the first of the next, midnight.
    Month,
}

/// A stretch of time, the end not included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Its first microsecond.
    pub start: UnixMicros,
    /// The first microsecond of the next one.
    pub end: UnixMicros,
}

/// Microseconds in a day.
const DAY: u64 = 86_400_000_000;

impl Period {
    /// The period of this name: `day`, `week` or `month`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month].into_iter().find(|period| period.name() == name)
    }

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The window in which `wall` lies. Its end is at most the end of time.
    pub fn window(self, wall: UnixMicros) -> Window {
        // Below 2^63: even the end of time is a number of days.
        let day = (wall.0 / DAY).cast_signed();
        let (start, end) = match self {
            Self::Day => (day, day + 1),
            Self::Week => {
                // 1970-01-01 was a Thursday. The week in which time begins began before it.
                let monday = day - (day + 3) % 7;
                (monday.max(0), monday + 7)
            }
            Self::Month => month_around(day),
        };
        let micros = |day: i64| UnixMicros(day.cast_unsigned().saturating_mul(DAY));
        Window { start: micros(start), end: micros(end) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Window {
    /// Whole seconds from start to end: `w` of the `RateLimit-Policy` field.
    pub const fn secs(self) -> u64 {
        self.end.0.saturating_sub(self.start.0) / 1_000_000
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMicros {
        UnixMicros::from_rfc3339(text).unwrap()
    }

    /// What `date` and `cal` of coreutils and util-linux say.
    #[test]
    fn windows_of_known_dates() {
        for (period, wall, start, end) in [
            (Period::Day, "1970-01-01T00:00:00Z", "1970-01-01", "1970-01-02"),
            (Period::Day, "2026-12-31T23:59:59.999999Z", "2026-12-31", "2027-01-01"),
            (Period::Day, "2024-02-29T12:00:00Z", "2024-02-29", "2024-03-01"),
            (Period::Day, "2024-02-28T23:30:00-01:00", "2024-02-29", "2024-03-01"),
            (Period::Week, "1970-01-01T00:00:00Z", "1970-01-01", "1970-01-05"),
            (Period::Week, "1970-01-05T00:00:00Z", "1970-01-05", "1970-01-12"),
            (Period::Week, "2020-12-31T10:00:00Z", "2020-12-28", "2021-01-04"),
            (Period::Week, "2021-01-03T23:59:59.999999Z", "2020-12-28", "2021-01-04"),
            (Period::Week, "2021-01-04T00:00:00Z", "2021-01-04", "2021-01-11"),
            (Period::Week, "2024-02-29T00:00:00Z", "2024-02-26", "2024-03-04"),
            (Period::Week, "2026-08-05T14:30:00Z", "2026-08-03", "2026-08-10"),
            (Period::Month, "1970-01-31T00:00:00Z", "1970-01-01", "1970-02-01"),
            (Period::Month, "2023-02-28T23:59:59Z", "2023-02-01", "2023-03-01"),
            (Period::Month, "2024-02-29T23:59:59.999999Z", "2024-02-01", "2024-03-01"),
            (Period::Month, "2024-03-01T00:00:00Z", "2024-03-01", "2024-04-01"),
            (Period::Month, "2100-02-28T00:00:00Z", "2100-02-01", "2100-03-01"),
            (Period::Month, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"),
            (Period::Month, "2027-01-01T00:00:00Z", "2027-01-01", "2027-02-01"),
        ] {
            let expected = [start, end].map(|date| at(&format!("{date}T00:00:00Z")));
            let window = period.window(at(wall));
            assert_eq!([window.start, window.end], expected, "{period} of {wall}");
        }
    }

    /// Day by day through 400 years, after which the calendar repeats itself.
    #[test]
    fn windows_follow_one_another_and_begin_where_the_calendar_says() {
        let first_day = at("1970-01-01T00:00:00Z").0;
        let last_day = at("2371-12-31T00:00:00Z").0;
        for period in [Period::Day, Period::Week, Period::Month] {
            let mut window = period.window(UnixMicros(first_day));
            for day in (first_day..last_day).step_by(usize::try_from(DAY).unwrap()) {
                if window.end.0 <= day {
                    let next = period.window(window.end);
                    assert_eq!(next.start, window.end, "{period}");
                    window = next;
                }
                for micros in [day, day + 1, day + DAY - 1] {
                    assert_eq!(period.window(UnixMicros(micros)), window, "{period} of {micros}");
                }
            }
        }
        for year in 1970..2371 {
            for month in 1..=12 {
                let first = at(&format!("{year:04}-{month:02}-01T00:00:00Z"));
                assert_eq!(Period::Month.window(first).start, first, "{year}-{month}");
                assert!(first.0 == 0 || Period::Month.window(UnixMicros(first.0 - 1)).end == first, "{year}-{month}");
            }
        }
    }

    #[test]
    fn the_end_of_time_has_windows() {
        for period in [Period::Day, Period::Week, Period::Month] {
            let window = period.window(UnixMicros(u64::MAX));
            assert!(window.start.0 < u64::MAX && window.end == UnixMicros(u64::MAX), "{window:?}");
        }
    }

    #[test]
    fn names() {
        for period in [Period::Day, Period::Week, Period::Month] {
            assert_eq!(Period::named(&period.to_string()), Some(period));
        }
        assert_eq!(Period::named("year"), None);
        assert_eq!(Period::Week.window(at("2026-08-05T14:30:00Z")).secs(), 7 * 86_400);
    }
}
