//! The two times that a decision looks at. Both are handed in; nothing here reads a clock.

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

impl UnixMicros {
    /// Whole seconds since 1970.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
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
