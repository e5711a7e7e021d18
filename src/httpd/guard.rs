//! The one way from httpd into Rust: a panic stops here.
//!
//! Unwinding into C is undefined (and aborts the child, with all its requests). Every callback therefore
//! runs in [`run`], which answers with the caller's closed value instead.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `callback`. After a panic calls `report` and gives `closed`.
///
/// Unwind safety: what a callback changes hangs on its request or on the configuration pass, both of which
/// end with the closed answer; shared state is atomics and short locks that recover from panics.
pub(super) fn run<T>(closed: T, report: impl FnOnce(&str), callback: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(value) => value,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("unknown cause");
            // Logging must not be able to unwind either.
            let _ = catch_unwind(AssertUnwindSafe(|| report(text)));
            // Dropping a foreign payload could panic again.
            std::mem::forget(payload);
            closed
        }
    }
}
