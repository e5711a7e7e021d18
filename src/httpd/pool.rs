//! APR pools: memory that lives as long as a request, a configuration or the process.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{ffi, guard};

/// A pool, borrowed for `'p`.
#[derive(Clone, Copy)]
pub(super) struct Pool<'p> {
    raw: NonNull<ffi::apr_pool_t>,
    life: PhantomData<&'p ffi::apr_pool_t>,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `raw` is a live pool that is not cleared during `'p`.
    pub(super) unsafe fn from_raw(raw: *mut ffi::apr_pool_t) -> Self {
        Self { raw: NonNull::new(raw).expect("httpd hands out pools, never null"), life: PhantomData }
    }

    pub(super) fn raw(self) -> *mut ffi::apr_pool_t {
        self.raw.as_ptr()
    }

    /// Puts a value on the pool; it is dropped when the pool is cleared.
    pub(super) fn place<T: 'static>(self, value: T) -> NonNull<T> {
        const { assert!(align_of::<T>() <= 8, "APR aligns to 8 bytes") };
        // SAFETY: apr_palloc gives memory of that size, aligned for every type of C (or ends the process); the
        // value fills it. `drop_value::<T>` gets back the very pointer registered here, once, before the memory
        // goes. A pre-cleanup runs before child pools go, so the value may still use what hangs on them.
        unsafe {
            let place: *mut T = ffi::apr_palloc(self.raw(), size_of::<T>()).cast();
            place.write(value);
            ffi::apr_pool_pre_cleanup_register(self.raw(), place.cast_const().cast(), Some(drop_value::<T>));
            NonNull::new_unchecked(place)
        }
    }

    /// A NUL-terminated copy of `bytes` on the pool. What follows a NUL inside of `bytes` is out of C's sight.
    pub(super) fn c_string(self, bytes: &[u8]) -> *const c_char {
        // SAFETY: the pool is live; `bytes` is readable for its whole length.
        unsafe { ffi::apr_pstrmemdup(self.raw(), bytes.as_ptr().cast(), bytes.len()) }
    }

    /// A copy of `values` on the pool.
    pub(super) fn copy<T: Copy>(self, values: &[T]) -> &'p [T] {
        if values.is_empty() {
            return &[];
        }
        // SAFETY: apr_palloc gives memory of that size aligned for every type of C (or ends the process),
        // which the copy fills; `T: Copy` needs no drop.
        unsafe {
            let place: *mut T = ffi::apr_palloc(self.raw(), size_of_val(values)).cast();
            debug_assert!(place.is_aligned());
            place.copy_from_nonoverlapping(values.as_ptr(), values.len());
            std::slice::from_raw_parts(place, values.len())
        }
    }
}

unsafe extern "C" fn drop_value<T>(place: *mut c_void) -> ffi::apr_status_t {
    guard::run(
        (),
        |_| (),
        || {
            // SAFETY: `Pool::place` wrote a `T` there, and the pool calls a cleanup once.
            unsafe { place.cast::<T>().drop_in_place() };
        },
    );
    0
}
