//! `JwtGateLockout failures=N/TIME [block=TIME] [count=backend]`.

use std::time::Duration;

use super::parse;
use crate::limit::LockoutRule;

/// What a directive said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockoutDef {
    /// How many failures, in which time, block an address for how long.
    pub rule: LockoutRule,
    /// Answers of the application with 401 and 403 count as well.
    pub count_backend: bool,
}

/// The word `off`, or the arguments.
///
/// # Errors
/// Text for the administrator.
pub fn parse(words: &[&str]) -> Result<Option<LockoutDef>, String> {
    if let [only] = words
        && only.eq_ignore_ascii_case("off")
    {
        return Ok(None);
    }
    let (mut failures, mut block, mut count) = (None, None, None);
    for word in words {
        let (option, value) =
            parse::option(word).map_err(|why| format!("{why}: write for example `failures=10/5m`, or `off` alone"))?;
        match option {
            "failures" => parse::set_once(&mut failures, option, parse_failures(value)?)?,
            "block" => parse::set_once(&mut block, option, span(option, value)?)?,
            "count" if value.eq_ignore_ascii_case("backend") => parse::set_once(&mut count, option, ())?,
            "count" => return Err(format!("`{word}` is not known: write `count=backend` or leave it out")),
            _ => return Err(format!("`{option}=` is not an option: use `failures=`, `block=` and `count=`")),
        }
    }
    let (failures, within) =
        failures.ok_or("says not how many failures are too many: write `failures=10/5m`, or `off`")?;
    let rule = LockoutRule { failures, within, block: block.unwrap_or(within) };
    Ok(Some(LockoutDef { rule, count_backend: count.is_some() }))
}

/// Most failures that are remembered of an address.
const MAX_FAILURES: u64 = 100;

fn parse_failures(text: &str) -> Result<(u32, Duration), String> {
    let wrong = || {
        format!(
            "`failures={text}` is not a number from 1 to {MAX_FAILURES}, `/` and a time: write for example \
             `failures=10/5m`"
        )
    };
    let (count, within) = text.split_once('/').ok_or_else(wrong)?;
    let count = parse::number(count).ok().filter(|count| (1..=MAX_FAILURES).contains(count)).ok_or_else(wrong)?;
    Ok((u32::try_from(count).map_err(|_| wrong())?, span("failures", within)?))
}

fn span(option: &str, text: &str) -> Result<Duration, String> {
    let span = parse::duration(text).map_err(|why| format!("`{option}=`: {why}"))?;
    const LONGEST: Duration = Duration::from_secs(30 * 86_400);
    if (Duration::from_secs(1)..=LONGEST).contains(&span) {
        Ok(span)
    } else {
        Err(format!("`{option}=`: `{text}` is not between `1s` and `30d`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let secs = Duration::from_secs;
        let rule = |failures, within, block| LockoutRule { failures, within: secs(within), block: secs(block) };
        for (line, expected, count_backend) in [
            ("failures=10/5m", rule(10, 300, 300), false),
            ("failures=1/1s block=30d", rule(1, 1, 30 * 86_400), false),
            ("count=backend failures=100/1h block=5m", rule(100, 3600, 300), true),
        ] {
            let expected = LockoutDef { rule: expected, count_backend };
            assert_eq!(parse(&line.split(' ').collect::<Vec<_>>()), Ok(Some(expected)), "{line}");
        }
        assert_eq!(parse(&["Off"]), Ok(None));
    }

    #[test]
    fn mistakes() {
        for line in [
            "",
            "on",
            "off failures=1/1s",
            "failures=5",
            "failures=0/5m",
            "failures=101/5m",
            "failures=-1/5m",
            "failures=5/",
            "failures=5/5",
            "failures=5/500ms",
            "failures=5/31d",
            "failures=5/5m block=0s",
            "failures=5/5m block=60d",
            "failures=5/5m count=all",
            "failures=5/5m failures=6/5m",
            "block=5m",
        ] {
            assert!(parse(&line.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
