//! Numbers, compared for what they are and not for how they are written.

use serde_json::Number;

/// From here on a double does not tell whole numbers apart.
const WHOLE_END: f64 = 9_007_199_254_740_992.0;

/// A number that is not taken for another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exact {
    /// A whole number, however it is written.
    Integer(i128),
    /// A number with a fraction, as the double that stands for it.
    Fraction(f64),
}

impl Exact {
    /// The number in a token. A whole number of 64 bits is exact. Of any other one a double is what is known, as it
    /// is to most readers of JSON (RFC 8259 section 6): from 2^53 on that could be one of several whole numbers,
    /// and is none.
    pub fn of(number: &Number) -> Option<Self> {
        if let Some(integer) = number.as_i128() {
            return Some(Self::Integer(integer));
        }
        let double = number.as_f64()?;
        if double.fract() != 0.0 {
            Some(Self::Fraction(double))
        } else if double.abs() < WHOLE_END {
            // Whole and small, so that the conversion loses nothing.
            Some(Self::Integer(double as i128))
        } else {
            None
        }
    }

    /// The number that `text` is in JSON. `None` if it is not one, or has more bits or digits than a token's number
    /// is known by, so that none could be said to be equal.
    pub fn parse(text: &str) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        if decimal.exponent >= 0 {
            let integer = decimal.integer()?;
            return (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer).then_some(Self::Integer(integer));
        }
        let double: f64 = text.parse().ok()?;
        let shortest = Decimal::parse(&Number::from_f64(double)?.to_string())?;
        (shortest == decimal).then_some(Self::Fraction(double))
    }
}

/// Digits without zeros around them, times a power of ten.
#[derive(Debug, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// A number of JSON (RFC 8259 section 6) without blanks around it.
    fn parse(text: &str) -> Option<Self> {
        if text.trim_ascii() != text || serde_json::from_str::<Number>(text).is_err() {
            return None;
        }
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let shift = i64::try_from(all.len() - digits.len()).ok()? - i64::try_from(fraction.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        Some(Self { negative, digits, exponent: exponent.parse::<i64>().ok()?.checked_add(shift)? })
    }

    /// A whole number of at most 20 digits.
    fn integer(&self) -> Option<i128> {
        let zeros = usize::try_from(self.exponent).ok().filter(|zeros| *zeros <= 20)?;
        if self.digits.len() + zeros > 20 {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}0{}{}", self.digits, "0".repeat(zeros)).parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::*;

    fn of(text: &str) -> Option<Exact> {
        let Ok(Json::Number(number)) = Json::parse(text.as_bytes()) else { panic!("{text} is not a number") };
        Exact::of(&number)
    }

    #[test]
    fn one_number_in_many_spellings() {
        for (number, spellings) in [
            (Exact::Integer(5), &["5", "5.0", "5e0", "5E+0", "50e-1", "0.5e1", "0.00005e5", "5.000"][..]),
            (Exact::Integer(-300), &["-300", "-3e2", "-300.0", "-30000e-2"]),
            (Exact::Integer(0), &["0", "-0", "0.0", "-0.0", "0e9", "0e-9"]),
            (Exact::Fraction(1.5), &["1.5", "1.50", "15e-1", "0.15E1"]),
            (Exact::Fraction(-0.1), &["-0.1", "-1e-1", "-0.10"]),
            (Exact::Integer(u64::MAX.into()), &["18446744073709551615"]),
            (Exact::Integer(i64::MIN.into()), &["-9223372036854775808"]),
            (Exact::Integer(9_007_199_254_740_993), &["9007199254740993"]),
        ] {
            for text in spellings {
                assert_eq!(Exact::parse(text), Some(number), "{text}");
                assert_eq!(of(text), Some(number), "{text}");
            }
        }
    }

    #[test]
    fn what_a_double_blurs_is_no_number_to_compare_with() {
        for text in ["18446744073709551616", "-9223372036854775809", "1e300", "100000000000000000000"] {
            assert_eq!((Exact::parse(text), of(text)), (None, None), "{text}");
        }
        for text in ["9007199254740992.0", "9007199254740993.0", "1e16", "-1e16", "1e19"] {
            assert_eq!(of(text), None, "{text}");
        }
        for text in
            ["0.1000000000000000055511151231257827", "5.0000000000000000000001", "1e-400", "0.30000000000000001"]
        {
            assert_eq!(Exact::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_json_does_not_call_a_number_is_none() {
        for text in [
            "",
            " 5",
            "5 ",
            "+5",
            "05",
            "-",
            ".5",
            "5.",
            "5e",
            "0x5",
            "1_000",
            "1,5",
            "Infinity",
            "NaN",
            "five",
            "1e99999999999999999999",
            "\u{665}",
        ] {
            assert_eq!(Exact::parse(text), None, "{text:?}");
        }
    }
}
