//! Shared memory that outlives graceful restarts.
//!
//! The segment is anonymous and hangs on the pool of the process: every child inherits the mapping, and the
//! parent finds it again at the next configuration by its name on that pool. Children of an older
//! generation keep their mapping even if the parent replaces it.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use jwt_gate_core::sync::AtomicU64;

use super::ffi;
use super::server::Server;

/// Name of the segment on the pool of the process. What is stored under it is APR's own structure, so that
/// another build of this module finds it, too.
const KEY: &CStr = c"mod_jwt_gate.segment";

/// A mapped segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment(NonNull<ffi::apr_shm_t>);

impl Segment {
    /// The segment of an earlier configuration of this process.
    pub(crate) fn existing(server: Server<'_>) -> Option<Self> {
        let mut found: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pool lives as long as the process; what is stored under KEY is an apr_shm_t (below).
        unsafe { ffi::apr_pool_userdata_get(&raw mut found, KEY.as_ptr(), server.process_pool().raw()) };
        NonNull::new(found.cast()).map(Self)
    }

    /// A new segment of zeros in place of an earlier one.
    ///
    /// # Errors
    /// The system's number for what went wrong.
    pub(crate) fn create(server: Server<'_>, bytes: usize) -> Result<Self, i32> {
        let pool = server.process_pool();
        let mut raw: *mut ffi::apr_shm_t = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the result; no file name makes the segment anonymous.
        let failed = unsafe { ffi::apr_shm_create(&raw mut raw, bytes, std::ptr::null(), pool.raw()) };
        let new = match NonNull::new(raw) {
            Some(new) if failed == 0 => new,
            _ => return Err(failed),
        };
        let old = Self::existing(server);
        // SAFETY: KEY lives for ever; APR frees the segment itself when the process pool goes.
        unsafe { ffi::apr_pool_userdata_setn(new.as_ptr().cast(), KEY.as_ptr(), None, pool.raw()) };
        if let Some(old) = old {
            // SAFETY: only this parent's mapping goes. Nothing in the parent refers to it any more: the
            // configuration that did was destroyed before this one was read.
            unsafe { ffi::apr_shm_destroy(old.0.as_ptr()) };
        }
        Ok(Self(new))
    }

    /// The segment as atomics. They are mapped until the process ends (or until [`Self::create`] replaces
    /// the segment, which happens only between two configurations, when nothing uses this slice).
    pub(crate) fn words(self) -> &'static [AtomicU64] {
        // SAFETY: the base is page-aligned and the size is that of the mapping. Every access by every process
        // is through atomics of this width, for which any bit pattern is valid; Rust's atomics work between
        // processes as they do between threads.
        unsafe {
            let base = ffi::apr_shm_baseaddr_get(self.0.as_ptr()).cast::<AtomicU64>();
            let bytes = ffi::apr_shm_size_get(self.0.as_ptr());
            if base.is_null() || !base.is_aligned() {
                return &[];
            }
            std::slice::from_raw_parts(base, bytes / size_of::<AtomicU64>())
        }
    }
}
