//! C strings as byte slices. Null is none; nothing is assumed to be UTF-8.

use std::ffi::{CStr, c_char};

/// The bytes of a C string, without the NUL.
///
/// # Safety
/// `text` is null, or NUL-terminated and unchanged during `'a`.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, the rest is the caller's promise.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A C string for a message; what is not UTF-8 is replaced.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn lossy(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { bytes(text) }.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}
