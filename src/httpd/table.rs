//! APR tables: headers and environment, as bytes.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

use jwt_gate_core::facts::Found;

use super::pool::Pool;
use super::{ffi, text};

/// A table, borrowed for `'r`; strings put into it are copied to the pool of the request.
#[derive(Clone, Copy)]
pub(crate) struct Table<'r> {
    raw: NonNull<ffi::apr_table_t>,
    pool: Pool<'r>,
    life: PhantomData<&'r ffi::apr_table_t>,
}

impl<'r> Table<'r> {
    /// # Safety
    /// `raw` is a live table whose strings live as long as `pool`, used by this thread alone during `'r`.
    pub(super) unsafe fn from_raw(raw: *mut ffi::apr_table_t, pool: Pool<'r>) -> Self {
        Self { raw: NonNull::new(raw).expect("a request has its tables"), pool, life: PhantomData }
    }

    /// Sets one value, in place of all that had the name.
    pub(crate) fn set(self, name: &str, value: &[u8]) {
        let (name, value) = (self.pool.c_string(name.as_bytes()), self.pool.c_string(value));
        // SAFETY: the table is live; both strings are on the pool, as apr_table_setn demands.
        unsafe { ffi::apr_table_setn(self.raw.as_ptr(), name, value) };
    }

    /// Like [`Self::set`] with a name that needs no copy.
    pub(crate) fn set_static(self, name: &'static CStr, value: &[u8]) {
        let value = self.pool.c_string(value);
        // SAFETY: the table is live; the name lives for ever, the value on the pool.
        unsafe { ffi::apr_table_setn(self.raw.as_ptr(), name.as_ptr(), value) };
    }

    /// Like [`Self::set`] with strings that need no copy.
    pub(crate) fn set_constant(self, name: &'static CStr, value: &'static CStr) {
        // SAFETY: the table is live; both strings live for ever.
        unsafe { ffi::apr_table_setn(self.raw.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// Removes all entries whose name fits.
    pub(crate) fn remove(self, fits: impl Fn(&[u8]) -> bool) {
        // Each round removes at least the entry found, so this ends. The name outlives its entry: it is on
        // the pool.
        while let Some(entry) = self.entries().iter().find(|entry| {
            // SAFETY: keys of a table are NUL-terminated.
            unsafe { text::bytes(entry.key) }.is_some_and(&fits)
        }) {
            let name: *const c_char = entry.key;
            // SAFETY: the table is live and `name` NUL-terminated.
            unsafe { ffi::apr_table_unset(self.raw.as_ptr(), name) };
        }
    }

    /// Whether an entry of this name exists (ASCII case ignored).
    pub(crate) fn has(self, name: &str) -> bool {
        !matches!(self.header(name), Found::None)
    }

    /// The entries as they are now; do not keep the slice over a change of the table.
    fn entries(self) -> &'r [ffi::apr_table_entry_t] {
        // SAFETY: the table is live; its array holds `nelts` entries (perhaps none, then `elts` is not
        // looked at). No other thread changes it, and callers drop the slice before they do.
        unsafe {
            let array = &*ffi::apr_table_elts(self.raw.as_ptr());
            match usize::try_from(array.nelts) {
                Ok(count) if count > 0 => std::slice::from_raw_parts(array.elts.cast(), count),
                _ => &[],
            }
        }
    }
}

impl<'r> Table<'r> {
    /// The value of a name, compared without case.
    pub(crate) fn header(self, name: &str) -> Found<'r> {
        let mut found = Found::None;
        for entry in self.entries() {
            // SAFETY: keys are NUL-terminated.
            if !unsafe { same_name(entry.key, name.as_bytes()) } {
                continue;
            }
            // SAFETY: values are NUL-terminated and live as long as the pool of the request.
            match (unsafe { text::bytes(entry.val) }, found) {
                (Some(value), Found::None) => found = Found::One(value),
                _ => return Found::Many,
            }
        }
        found
    }
}

impl Table<'_> {
    /// All values of a name, joined as those of a list are (RFC 9110 section 5.2).
    pub(crate) fn list(self, name: &str) -> Vec<u8> {
        // SAFETY: as in `header`.
        let values = self.entries().iter().filter(|entry| unsafe { same_name(entry.key, name.as_bytes()) });
        // SAFETY: as in `header`.
        let values: Vec<&[u8]> = values.filter_map(|entry| unsafe { text::bytes(entry.val) }).collect();
        values.join(&b", "[..])
    }
}

/// Compares without measuring the key first: most differ in their first byte.
///
/// # Safety
/// `key` is null or NUL-terminated.
unsafe fn same_name(key: *const c_char, name: &[u8]) -> bool {
    if key.is_null() {
        return false;
    }
    for (at, expected) in name.iter().enumerate() {
        // SAFETY: all bytes before `at` equalled non-NUL bytes of `name`, so the string goes on to here.
        let byte = unsafe { *key.add(at) }.cast_unsigned();
        if !byte.eq_ignore_ascii_case(expected) || byte == 0 {
            return false;
        }
    }
    // SAFETY: the first `name.len()` bytes were not NUL.
    unsafe { *key.add(name.len()) == 0 }
}
