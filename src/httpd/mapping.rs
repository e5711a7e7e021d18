//! Files mapped into memory, read-only: one copy for all processes.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is only read, and unmapped by the one owner.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the whole of `file`, which must be one that is replaced by rename and never written in place: a
    /// file that becomes shorter would end the process that reads it (SIGBUS).
    ///
    /// # Errors
    /// What the system says; an empty file cannot be mapped.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: a new mapping at a place of the system's choice; nothing else refers to it.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(place) if base != libc::MAP_FAILED => Ok(Self { base: place, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: mapped for its whole length until dropped; see `new` for why nobody writes it.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this very mapping, once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
