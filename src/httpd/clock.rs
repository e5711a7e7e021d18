//! The clocks of the machine.

use jwt_gate_core::time::{MonoNanos, Now, UnixMicros};

use super::ffi;

/// Both clocks, read now.
pub(crate) fn now() -> Now {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result. CLOCK_BOOTTIME exists since Linux 2.6.39 and is the
    // same for all processes of the machine, also over a suspension.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    debug_assert_eq!(failed, 0);
    let mono = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0);
    // SAFETY: apr_time_now takes nothing and touches nothing; it gives microseconds since 1970.
    let wall = unsafe { ffi::apr_time_now() };
    Now { mono: MonoNanos(mono), wall: UnixMicros(u64::try_from(wall).unwrap_or(0)) }
}
