//! Times as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use jwt_gate_core::time::UnixMicros;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400;
/// 10000-01-01T00:00:00Z, which RFC 3339 cannot write, in seconds.
const YEAR_10000: u64 = 253_402_300_800;

/// The time of the system.
pub(crate) fn now() -> UnixMicros {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(0).saturating_add(since_1970)
}

/// A time of the system.
pub(crate) fn of(time: SystemTime) -> UnixMicros {
    UnixMicros(0).saturating_add(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// As in RFC 3339, in whole seconds: `2026-08-05T14:30:00Z`.
pub(crate) fn rfc3339(time: UnixMicros) -> String {
    let seconds = time.0 / SECOND;
    if seconds >= YEAR_10000 {
        return "after the year 9999".to_owned();
    }
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// How far a time is from `now`: `3h 20m ago`, `in 15s`.
pub(crate) fn distance(time: UnixMicros, now: UnixMicros) -> String {
    match (time.0 / SECOND).cmp(&(now.0 / SECOND)) {
        std::cmp::Ordering::Equal => "just now".to_owned(),
        std::cmp::Ordering::Less => format!("{} ago", span(now.0 / SECOND - time.0 / SECOND)),
        std::cmp::Ordering::Greater => format!("in {}", span(time.0 / SECOND - now.0 / SECOND)),
    }
}

/// A time, and how far it is from `now`.
pub(crate) fn both(time: UnixMicros, now: UnixMicros) -> String {
    format!("{}, {}", rfc3339(time), distance(time, now))
}

/// The two largest units of so many seconds.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(DAY, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
        }
        rest %= unit;
    }
    parts.truncate(2);
    parts.join(" ")
}

/// Year, month and day of so many days since 1970-01-01, in the Gregorian calendar. Years are counted from March, so
/// that the day that not every year has is the last of one, and days from 0000-03-01.
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_read_as_it_is_written() {
        for day in (0..YEAR_10000 / DAY).step_by(17).chain([YEAR_10000 / DAY - 1]) {
            let time = UnixMicros::from_secs(day * DAY + day % DAY);
            let text = rfc3339(time);
            assert_eq!(UnixMicros::from_rfc3339(&text), Ok(time), "{text}");
        }
        assert_eq!(rfc3339(UnixMicros(u64::MAX)), "after the year 9999");
    }

    #[test]
    fn distances_have_two_units() {
        let now = UnixMicros::from_secs(1_700_000_000);
        let at =
            |difference: i64| distance(UnixMicros::from_secs(1_700_000_000_u64.saturating_add_signed(difference)), now);
        assert_eq!([at(0), at(-59), at(60)], ["just now", "59s ago", "in 1m"]);
        assert_eq!([at(-3_661), at(90_061), at(86_405)], ["1h 1m ago", "in 1d 1h", "in 1d 5s"]);
    }
}
