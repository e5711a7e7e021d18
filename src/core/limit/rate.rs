//! How fast and how much at once: the numbers of a limit.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// Largest count of a rate, and largest burst.
pub const MAX_COUNT: u32 = i32::MAX as u32;

/// Longest time that an empty bucket may take to fill (ten years), nanoseconds.
pub const MAX_WINDOW: u64 = 10 * 365 * 86_400 * NANOS;

/// Nanoseconds in a second.
pub(super) const NANOS: u64 = 1_000_000_000;

/// So many requests in a unit of time, such as `100/s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    count: u32,
    unit: Unit,
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `N/s`, `N/m`, `N/h` or `N/d`.
    ///
    /// # Errors
    /// A text for the administrator if the form is another one, N is 0, or N is above [`MAX_COUNT`].
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("rate '{text}' is not a number, '/' and one of s, m, h, d: write for example 100/s");
        let (count, unit) = text.split_once('/').ok_or_else(form)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            _ => return Err(form()),
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        match count.parse() {
            Ok(0) => Err(format!("rate '{text}' lets nothing in: write at least 1/d, or refuse with JwtGateDeny")),
            Ok(count @ 1..=MAX_COUNT) => Ok(Self { count, unit }),
            _ => Err(format!("rate '{text}' is above {MAX_COUNT}: write a smaller number, or a shorter unit of time")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
            Unit::Day => 'd',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// What the arithmetic of a limit needs to know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numbers {
    interval: NonZeroU64,
    burst: u32,
    window_secs: u64,
}

impl Numbers {
    /// A bucket of `burst` requests (default: the count of the rate), refilled at `rate`.
    ///
    /// # Errors
    /// A text for the administrator if `burst` is 0 or above [`MAX_COUNT`], or if the bucket would take more
    /// than [`MAX_WINDOW`] to fill.
    pub fn new(rate: Rate, burst: Option<u32>) -> Result<Self, String> {
        let burst = burst.unwrap_or(rate.count);
        if burst == 0 {
            return Err("burst=0 lets nothing in: write at least burst=1".to_owned());
        }
        if burst > MAX_COUNT {
            return Err(format!("burst={burst} is too large: write at most {MAX_COUNT}"));
        }
        let unit = rate.unit.seconds();
        let count = NonZeroU64::new(rate.count.into()).unwrap_or(NonZeroU64::MIN);
        // Rounded up, so that what is admitted is never faster than the rate.
        let interval = NonZeroU64::new((unit * NANOS).div_ceil(count.get())).unwrap_or(NonZeroU64::MIN);
        if interval.get().saturating_mul(burst.into()) > MAX_WINDOW {
            return Err(format!(
                "burst={burst} at rate={rate} takes more than ten years to refill: write a smaller burst or a higher rate"
            ));
        }
        let window_secs = (u64::from(burst) * unit).div_ceil(count.get());
        Ok(Self { interval, burst, window_secs })
    }

    /// A bucket of one request, which fills in `time` (at least a nanosecond, at most [`MAX_WINDOW`]).
    pub(super) fn once_in(time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(MAX_WINDOW);
        let interval = NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN);
        Self { interval, burst: 1, window_secs: nanos.div_ceil(NANOS) }
    }

    /// Nanoseconds from one request to the next at the rate.
    pub const fn interval(self) -> NonZeroU64 {
        self.interval
    }

    /// Requests that a bucket at rest admits at once.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// Nanoseconds that an empty bucket takes to fill. At most [`MAX_WINDOW`].
    pub const fn window(self) -> u64 {
        // No overflow: `new` has checked the product.
        self.interval.get() * self.burst as u64
    }

    /// `burst / rate` in whole seconds, rounded up: `w` of the `RateLimit-Policy` field.
    pub const fn window_secs(self) -> u64 {
        self.window_secs
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_read_and_written_the_same() {
        for text in ["1/s", "100/s", "5/m", "1000/h", "10000/d", "2147483647/d"] {
            assert_eq!(rate(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_its_text_and_a_remedy() {
        for text in
            ["", "/", "5", "5/", "/s", "5/x", "5/S", "+5/s", "-5/s", " 5/s", "5/s ", "5 /s", "5.5/s", "5/s/s", "٥/s"]
        {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains(&format!("'{text}'")) && error.contains("100/s"), "{error}");
        }
        assert!("0/s".parse::<Rate>().unwrap_err().contains("at least 1/d"));
        for text in ["2147483648/s", "4294967296/s", "99999999999999999999999/s"] {
            assert!(text.parse::<Rate>().unwrap_err().contains("above 2147483647"), "{text}");
        }
    }

    #[test]
    fn the_interval_is_rounded_up() {
        let interval = |text| Numbers::new(rate(text), Some(1)).unwrap().interval().get();
        assert_eq!(interval("100/s"), 10_000_000);
        assert_eq!(interval("3/s"), 333_333_334);
        assert_eq!(interval("1/d"), 86_400_000_000_000);
        assert_eq!(interval("1000000000/s"), 1);
        assert_eq!(interval("2147483647/s"), 1);
    }

    #[test]
    fn the_default_burst_is_the_count_of_the_rate() {
        assert_eq!(Numbers::new(rate("5/m"), None).unwrap().burst(), 5);
        assert_eq!(Numbers::new(rate("5/m"), Some(7)).unwrap().burst(), 7);
    }

    #[test]
    fn the_window_counts_the_rate_as_written() {
        let window = |text, burst| Numbers::new(rate(text), burst).unwrap().window_secs();
        assert_eq!(window("3/s", None), 1);
        assert_eq!(window("3/s", Some(4)), 2);
        assert_eq!(window("5/m", None), 60);
        assert_eq!(window("1000/s", Some(1)), 1);
        assert_eq!(window("10000/d", None), 86_400);
    }

    #[test]
    fn a_burst_has_two_edges() {
        assert!(Numbers::new(rate("1/s"), Some(0)).unwrap_err().contains("burst=1"));
        assert!(Numbers::new(rate("1000/s"), Some(MAX_COUNT)).is_ok());
        assert!(Numbers::new(rate("1000/s"), Some(MAX_COUNT + 1)).unwrap_err().contains("2147483647"));
    }

    #[test]
    fn a_bucket_fills_within_ten_years() {
        assert_eq!(Numbers::new(rate("1/d"), Some(3_650)).unwrap().window(), MAX_WINDOW);
        let error = Numbers::new(rate("1/d"), Some(3_651)).unwrap_err();
        assert!(error.contains("burst=3651") && error.contains("1/d"), "{error}");
    }
}
