//! String expressions of httpd (ap_expr), as in `JwtGateForward X-Path "expr=%{REQUEST_URI}"`.

use std::ffi::c_char;
use std::ptr::NonNull;

use super::command::Command;
use super::request::Request;
use super::{config, ffi, text};

/// A compiled expression. It lives on the pool of the configuration, as the sections that hold it do.
#[derive(Debug)]
pub(crate) struct Expression(NonNull<ffi::ap_expr_info_t>);

// SAFETY: httpd reads a compiled expression and never changes it; all its threads share theirs.
unsafe impl Send for Expression {}
// SAFETY: as above.
unsafe impl Sync for Expression {}

impl Expression {
    /// Compiles `source`.
    ///
    /// # Errors
    /// httpd's description of what does not parse.
    pub(crate) fn compile(command: &Command<'_>, source: &str) -> Result<Self, String> {
        let mut error: *const c_char = std::ptr::null();
        let source = command.pool().c_string(source.as_bytes());
        // SAFETY: the command's parameters are live, `source` and the result are on its pool, and `error`
        // is a valid place for a message.
        let info = unsafe {
            ffi::ap_expr_parse_cmd_mi(
                command.raw(),
                source,
                ffi::AP_EXPR_FLAG_STRING_RESULT,
                &raw mut error,
                None,
                config::module_index(),
            )
        };
        // SAFETY: on failure httpd sets a message.
        NonNull::new(info).map(Self).ok_or_else(|| unsafe { text::lossy(error) })
    }

    /// Evaluates it for a request; `None` if it fails.
    pub(crate) fn evaluate<'r>(&self, request: Request<'r>) -> Option<&'r [u8]> {
        let mut error: *const c_char = std::ptr::null();
        // SAFETY: the expression lives as long as the configuration, which outlives the request; the result
        // is on the request's pool.
        unsafe {
            let value = ffi::ap_expr_str_exec(request.raw(), self.0.as_ptr(), &raw mut error);
            if error.is_null() { text::bytes(value) } else { None }
        }
    }
}
