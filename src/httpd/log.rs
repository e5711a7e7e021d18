//! The error log. Each message begins with its id: `JG` and four digits.

use std::os::raw::c_int;

use super::ffi;
use super::request::Request;
use super::server::Server;

/// How serious a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// Something does not work.
    Error,
    /// Something works less well than it should.
    Warning,
    /// Something the operator should know after a start.
    Notice,
    /// What happens all the time.
    Info,
}

impl Level {
    fn raw(self) -> c_int {
        let level = match self {
            Self::Error => ffi::APLOG_ERR,
            Self::Warning => ffi::APLOG_WARNING,
            Self::Notice => ffi::APLOG_NOTICE,
            Self::Info => ffi::APLOG_INFO,
        };
        // The constants are 0 to 15.
        level.cast_signed()
    }
}

/// Where a message can be written to.
pub(crate) trait Log {
    /// Writes `text`, which is not made if the level is off.
    fn log(&self, level: Level, text: impl FnOnce() -> String);
}

impl Log for Request<'_> {
    fn log(&self, level: Level, text: impl FnOnce() -> String) {
        let raw = self.raw().cast_const();
        // SAFETY: the request is live.
        if unsafe { ffi::jwt_gate_log_enabled((*raw).server, raw, level.raw()) } != 0 {
            let text = text();
            // SAFETY: the request is live; the text is readable for its length.
            unsafe { ffi::jwt_gate_log_request(raw, level.raw(), text.as_ptr().cast(), length(&text)) };
        }
    }
}

impl Log for Server<'_> {
    fn log(&self, level: Level, text: impl FnOnce() -> String) {
        let raw = self.raw().cast_const();
        // SAFETY: the server is live.
        if unsafe { ffi::jwt_gate_log_enabled(raw, std::ptr::null(), level.raw()) } != 0 {
            let text = text();
            // SAFETY: the server is live; the text is readable for its length.
            unsafe { ffi::jwt_gate_log_server(raw, level.raw(), text.as_ptr().cast(), length(&text)) };
        }
    }
}

fn length(text: &str) -> c_int {
    c_int::try_from(text.len()).unwrap_or(c_int::MAX)
}
