//! Words that several directives share: names, switches, times, sizes, `option=value` pairs.

use std::time::Duration;

/// A name given by the administrator (of an issuer, a network, a limit): 1 to 64 of `A-Z a-z 0-9 . _ -`.
///
/// # Errors
/// Text for the administrator.
pub fn name(what: &str, text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
        return Err(format!("`{text}` cannot be the name of {what}: use 1 to 64 letters, digits, `.`, `_` or `-`"));
    }
    Ok(text.to_owned())
}

/// The word that makes a directive tell what it would refuse, and refuse nothing.
pub const DRY_RUN: &str = "dry-run";

/// `on` or `off`.
///
/// # Errors
/// Text for the administrator.
pub fn switch(text: &str) -> Result<bool, String> {
    one_of(text, &[("on", true), ("off", false)])
}

/// The value that belongs to one of some words; case is ignored, as httpd does for its own.
///
/// # Errors
/// Text for the administrator that lists the words.
pub fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("`{text}` is not known: use {}", known.join(" or "))
    })
}

/// A span of time with its unit: `500ms`, `30s`, `5m`, `24h`, `7d`.
///
/// # Errors
/// Text for the administrator.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is not a time: write a whole number and a unit, like `500ms`, `30s`, `5m`, `24h` or `7d`");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    const YEARS_100: u64 = 100 * 366 * 86_400_000;
    match number.checked_mul(millis) {
        Some(total) if total <= YEARS_100 => Ok(Duration::from_millis(total)),
        _ => Err(format!("`{text}` is longer than 100 years: write a shorter time")),
    }
}

/// A size in bytes: `65536`, `64K`, `16M`, `1G`.
///
/// # Errors
/// Text for the administrator.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is not a size: write a whole number of bytes, or one with `K`, `M` or `G`, like `16M`");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than can be addressed: write a smaller size"))
}

/// A whole number without sign.
///
/// # Errors
/// Text for the administrator.
pub fn number(text: &str) -> Result<u64, String> {
    match split_unit(text) {
        Some((number, "")) => Ok(number),
        _ => Err(format!("`{text}` is not a whole number")),
    }
}

/// `key=value`, split at the first `=`.
///
/// # Errors
/// Text for the administrator.
pub fn option(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
        Some((key, _)) if !key.is_empty() => Err(format!("`{text}` has no value: write `{key}=VALUE` or leave it out")),
        _ => Err(format!("`{text}` is not an option: options are written `name=value`")),
    }
}

/// A comma-separated list without empty or repeated members.
///
/// # Errors
/// Text for the administrator.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let mut members: Vec<String> = Vec::new();
    for member in text.split(',') {
        if member.is_empty() {
            return Err(format!("`{text}` has an empty member: write a list like `a,b` without spaces"));
        }
        if members.iter().any(|m| m == member) {
            return Err(format!("`{text}` names `{member}` twice: leave one out"));
        }
        members.push(member.to_owned());
    }
    Ok(members)
}

/// Sets an option once.
///
/// # Errors
/// Text for the administrator if it was set before.
pub fn set_once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    if slot.replace(value).is_some() {
        return Err(format!("`{key}=` is given twice: leave one out"));
    }
    Ok(())
}

/// Leading decimal digits (at least one) and what follows them.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "s", "-5s", "+5s", "5 s", "5S", "1.5s", "5sec", "99999999999999999999s", "40000000000h"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_numbers() {
        assert_eq!((size("64K"), size("16M"), size("1"), number("42")), (Ok(65_536), Ok(16 << 20), Ok(1), Ok(42)));
        for wrong in ["", "K", "64KB", "-1", "0x10", "16777216G1", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(number("4K").is_err());
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(name("a limit", "per-user_1.x").is_ok());
        let long = "x".repeat(65);
        for wrong in ["", "a b", "ä", "a/b", "@a", "a\"", long.as_str()] {
            assert!(name("a limit", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_and_options() {
        assert_eq!(list("a,b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(option("claim.a=b=c"), Ok(("claim.a", "b=c")));
        for wrong in ["", ",", "a,", ",a", "a,a"] {
            assert!(list(wrong).is_err(), "{wrong}");
        }
        for wrong in ["a", "=b", "a=", "="] {
            assert!(option(wrong).is_err(), "{wrong}");
        }
    }
}
