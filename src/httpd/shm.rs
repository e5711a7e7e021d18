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

/// Name of a segment on the pool of the process. What is stored under it is APR's own structure, so that
/// another build of this module finds it, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentName(&'static CStr);

impl SegmentName {
    /// Where limits are counted.
    pub(crate) const LIMITS: Self = Self(c"mod_jwt_gate.segment");
    /// Where quotas are counted that no file could be had for.
    pub(crate) const QUOTAS: Self = Self(c"mod_jwt_gate.quotas");
    /// Where failed tries are counted.
    pub(crate) const LOCKOUTS: Self = Self(c"mod_jwt_gate.lockouts");
    /// Where it is counted what all processes do.
    pub(crate) const METRICS: Self = Self(c"mod_jwt_gate.metrics");
    /// Where the last refusals are.
    pub(crate) const REFUSALS: Self = Self(c"mod_jwt_gate.refusals");
    /// What is known of logs that all processes write.
    pub(crate) const LOGS: Self = Self(c"mod_jwt_gate.logs.1");
    /// Where keys are handed from process to process.
    pub(crate) const KEYS: Self = Self(c"mod_jwt_gate.keys");
}

/// A mapped segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment(NonNull<ffi::apr_shm_t>);

impl Segment {
    /// The segment of an earlier configuration of this process.
    pub(crate) fn existing(server: Server<'_>, name: SegmentName) -> Option<Self> {
        let mut found: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pool lives as long as the process; what is stored under the name is an apr_shm_t (below).
        unsafe { ffi::apr_pool_userdata_get(&raw mut found, name.0.as_ptr(), server.process_pool().raw()) };
        NonNull::new(found.cast()).map(Self)
    }

    /// A new segment of so many zeros in place of an earlier one. What `make` makes of it gets the words of both, and
    /// the earlier one is gone after that.
    ///
    /// # Errors
    /// There is no memory for it: a sentence. The earlier one stays.
    pub(crate) fn replace<T>(
        server: Server<'_>,
        name: SegmentName,
        words: usize,
        make: impl FnOnce(&'static [AtomicU64], Option<&[AtomicU64]>) -> T,
    ) -> Result<T, String> {
        let (old, pool) = (Self::existing(server, name), server.process_pool());
        let bytes = words * size_of::<u64>();
        let mut raw: *mut ffi::apr_shm_t = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the result; no file name makes the segment anonymous.
        let failed = unsafe { ffi::apr_shm_create(&raw mut raw, bytes, std::ptr::null(), pool.raw()) };
        let new = match NonNull::new(raw) {
            Some(new) if failed == 0 => Self(new),
            _ => return Err(format!("{bytes} bytes cannot be had (error {failed})")),
        };
        // SAFETY: names live for ever; APR frees the segment itself when the process pool goes.
        unsafe { ffi::apr_pool_userdata_setn(raw.cast(), name.0.as_ptr(), None, pool.raw()) };
        let made = make(new.words(), old.map(Self::words));
        if let Some(old) = old {
            // SAFETY: only this parent's mapping goes; children of an older generation keep theirs. Nothing in the
            // parent refers to it: the configuration that did was destroyed before the present one was read, and what
            // `make` makes cannot keep words that it was lent.
            unsafe { ffi::apr_shm_destroy(old.0.as_ptr()) };
        }
        Ok(made)
    }

    /// The segment as atomics. They are mapped until the process ends, or until [`Self::replace`] takes them away between
    /// two configurations, when nothing uses this slice.
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
