//! The two times that a decision looks at. Both are handed in; nothing here reads a clock.

use std::fmt;
use std::time::Duration;

/// Nanoseconds of a clock that never goes back and is the same for all processes of the machine
/// (`CLOCK_BOOTTIME`). Limits use it, so that a step of the wall clock changes no limit.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct MonoNanos(pub u64);

/// Microseconds since 1970-01-01 UTC, leap seconds not counted (RFC 7519 section 2, "NumericDate").
/// Tokens use it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixMicros(pub u64);

/// The time of one decision, read once at its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For limits.
    pub mono: MonoNanos,
    /// For tokens.
    pub wall: UnixMicros,
}

impl Now {
    /// The same moment plus what `mono` has gone on since: a decision that reads its clock once more goes on with one
    /// time, whatever is done to the wall clock meanwhile.
    #[must_use]
    pub fn at(self, mono: MonoNanos) -> Self {
        Self { mono, wall: self.wall.saturating_add(mono.since(self.mono)) }
    }
}

impl MonoNanos {
    /// The time from `earlier` to this; zero if that lies behind it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self + span`, at most the end of time.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl UnixMicros {
    /// Whole seconds since 1970.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Reads a time as in RFC 3339 section 5.6: `2026-08-05T14:30:00Z`, `2026-08-05t16:30:00.25+02:00`. What
    /// a fraction says below a microsecond is dropped. Second 60 is no time here, since leap seconds are not
    /// counted, and neither is a blank in place of `T`.
    ///
    /// # Errors
    /// Text for the administrator, also for what lies before 1970.
    pub fn from_rfc3339(text: &str) -> Result<Self, String> {
        rfc3339(text.as_bytes()).ok_or_else(|| {
            format!(
                "{text:?} is not a time from 1970 on: write one like \"2026-08-05T14:30:00Z\" or \
                 \"2026-08-05T16:30:00+02:00\" (RFC 3339)"
            )
        })
    }

    /// Writes the time as in RFC 3339 section 5.6, in UTC and with microseconds: `2026-08-05T14:30:00.000000Z`. What
    /// comes after the year 9999 is written as its end.
    pub fn rfc3339(self) -> impl fmt::Display {
        Rfc3339(self)
    }

    /// The time from `earlier` to this; zero if that lies behind it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `self + span`, at most the end of time.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// `self - span`, at least 1970.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

struct Rfc3339(UnixMicros);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const END: u64 = 253_402_300_799_999_999; // 9999-12-31T23:59:59.999999Z
        let time = self.0.0.min(END);
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let (year, month, day) = date_of((seconds / 86_400).cast_signed());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

fn rfc3339(text: &[u8]) -> Option<UnixMicros> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', h1, h2, b':', i1, i2, b':', s1, s2] = date_time
    else {
        return None;
    };
    let (year, month, day) = (number([y1, y2, y3, y4])?, number([m1, m2])?, number([d1, d2])?);
    let (hour, minute, second) = (number([h1, h2])?, number([i1, i2])?, number([s1, s2])?);
    let (fraction, zone) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().take_while(|b| b.is_ascii_digit()).count()),
        None => (&b"0"[..], rest),
    };
    let (ahead, offset_hour, offset_minute) = match *zone {
        [b'Z' | b'z'] => (1, 0, 0),
        [b'+', h1, h2, b':', m1, m2] => (1, number([h1, h2])?, number([m1, m2])?),
        [b'-', h1, h2, b':', m1, m2] => (-1, number([h1, h2])?, number([m1, m2])?),
        _ => return None,
    };
    let exists = (1..=12).contains(&month) && (1..=days_of(month, year)).contains(&day);
    if !exists || hour.max(offset_hour) > 23 || minute.max(second).max(offset_minute) > 59 || fraction.is_empty() {
        return None;
    }
    let seconds = (days_to(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    let seconds = seconds - ahead * (offset_hour * 3600 + offset_minute * 60);
    let micros = fraction.iter().chain(b"00000").take(6).fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(UnixMicros(u64::try_from(seconds).ok()? * 1_000_000 + micros))
}

/// Decimal digits and nothing else.
fn number<const N: usize>(digits: [u8; N]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// The month in which day `day` since 1970-01-01 lies: its first day, and that of the next one, counted alike.
pub(crate) const fn month_around(day: i64) -> (i64, i64) {
    let (year, month, day_of_month) = date_of(day);
    let first = day - (day_of_month - 1);
    (first, first + days_of(month, year))
}

/// Year, month and day of day `day` since 1970-01-01, in the Gregorian calendar.
const fn date_of(day: i64) -> (i64, i64, i64) {
    // At most a day too early or too late, since a year has 365.2425 days on average.
    let mut year = 1970 + day * 400 / 146_097;
    if days_to(year + 1, 1, 1) <= day {
        year += 1;
    } else if day < days_to(year, 1, 1) {
        year -= 1;
    }
    let (mut month, mut first) = (1, days_to(year, 1, 1));
    while first + days_of(month, year) <= day {
        first += days_of(month, year);
        month += 1;
    }
    (year, month, day - first + 1)
}

const fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to this one, in the Gregorian calendar. Years are counted from March here, so that
/// the day that not every year has is the last of one.
const fn days_to(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_1970: i64 = 719_468; // from 0000-03-01
    let year = if month < 3 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros_of(text: &str) -> Option<u64> {
        UnixMicros::from_rfc3339(text).ok().map(|time| time.0)
    }

    /// RFC 3339 section 5.8, and what `date` of coreutils says.
    #[test]
    fn times_of_rfc_3339() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000_000),
            ("2000-02-29T23:59:59Z", 951_868_799_000_000),
            ("2023-11-14T22:13:20z", 1_700_000_000_000_000),
            ("2023-11-14t22:13:20.0000009Z", 1_700_000_000_000_000),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456),
            ("2023-11-15T22:12:20+23:59", 1_700_000_000_000_000),
            ("2023-11-13T22:14:20-23:59", 1_700_000_000_000_000),
            ("2023-11-14T22:13:20-00:00", 1_700_000_000_000_000),
            ("1969-12-31T23:00:00-01:00", 0),
            ("9999-12-31T23:59:59.999999-23:59", 253_402_387_139_999_999),
        ] {
            assert_eq!(micros_of(text), Some(micros), "{text}");
        }
    }

    /// The calendar repeats itself after 400 years.
    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..=2401 {
            for (month, day) in (1..=12).flat_map(|month| (1..=31).map(move |day| (month, day))) {
                let found = micros_of(&format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
                let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                let exists = day <= [31, 28 + i32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
                assert_eq!(found, exists.then_some(expected), "{year}-{month}-{day}");
                expected += if exists { 86_400_000_000 } else { 0 };
            }
        }
    }

    #[test]
    fn a_time_that_is_written_is_read_as_itself() {
        let written = |micros| UnixMicros(micros).rfc3339().to_string();
        assert_eq!(written(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(written(951_868_799_000_001), "2000-02-29T23:59:59.000001Z");
        assert_eq!(written(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59.999999Z");
        for day in 0..160_000 {
            for micros in [day * 86_400_000_000, (day + 1) * 86_400_000_000 - 1] {
                assert_eq!(micros_of(&written(micros)), Some(micros));
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2023-11-14",
            "22:13:20Z",
            "1700000000",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20Z",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20,5Z",
            "2023-11-14T22:13:20.5",
            "2023-11-14T22:13:20.5+02",
            "2023-11-14T22:13:20+0200",
            "2023-11-14T22:13:20+02:00Z",
            "2023-11-14T22:13:20+24:00",
            "2023-11-14T22:13:20+02:60",
            "2023-11-14T22:13:20\u{2212}02:00",
            "2023-11-14T22:13:20 Z",
            " 2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Z\n",
            "2023-11-14T22:13:20Z\0",
            "2023-00-14T22:13:20Z",
            "2023-13-14T22:13:20Z",
            "2023-11-00T22:13:20Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:60:20Z",
            "2016-12-31T23:59:60Z",
            "+023-11-14T22:13:20Z",
            "-023-11-14T22:13:20Z",
            "12023-11-14T22:13:20Z",
            "2023-W46-2T22:13:20Z",
            "2023-318T22:13:20Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00+00:01",
            "２０23-11-14T22:13:20Z",
        ] {
            let error = UnixMicros::from_rfc3339(text).unwrap_err();
            assert!(error.contains("2026-08-05T14:30:00Z") && !error.contains(char::is_control), "{error}");
        }
    }
}
