//! What a hook answers.

use std::os::raw::c_int;

use super::ffi;

/// `OK`, `DECLINED` or an HTTP status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Status(c_int);

impl Status {
    /// The hook did its work and has no objection.
    pub(crate) const OK: Self = Self(ffi::JWT_GATE_OK);
    /// The hook has nothing to say about the request.
    pub(crate) const DECLINED: Self = Self(ffi::JWT_GATE_DECLINED);

    /// The request is answered with this HTTP status.
    pub(crate) const fn http(status: u16) -> Self {
        Self(status as c_int)
    }

    /// The HTTP status, if it is one.
    pub(crate) fn code(self) -> Option<u16> {
        u16::try_from(self.0).ok().filter(|code| *code >= 100)
    }

    pub(super) const fn raw(self) -> c_int {
        self.0
    }
}
