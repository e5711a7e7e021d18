//! A file that all processes have mapped and write: what is counted in it outlives every one of them, and a kill.
//!
//! The parent maps it, and children inherit the mapping. It hangs on the pool of the process, where the parent finds
//! it again at the next configuration.

use std::ffi::{CStr, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;

use jwt_gate_core::sync::AtomicU64;

use super::ffi;
use super::server::Server;

/// Name on the pool of the process. Whoever changes [`Record`] changes it: another build of this module looks there.
const NAME: &CStr = c"mod_jwt_gate.shared_file.1";

/// What hangs on the pool.
#[repr(C)]
struct Record {
    base: *mut c_void,
    bytes: usize,
    device: u64,
    inode: u64,
    descriptor: c_int,
}

/// A mapped file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedFile(NonNull<Record>);

impl SharedFile {
    /// The file that an earlier configuration of this process has mapped.
    pub(crate) fn existing(server: Server<'_>) -> Option<Self> {
        let mut found: *mut c_void = std::ptr::null_mut();
        // SAFETY: the pool lives as long as the process; under this name only a `Record` of this pool is stored.
        unsafe { ffi::apr_pool_userdata_get(&raw mut found, NAME.as_ptr(), server.process_pool().raw()) };
        NonNull::new(found.cast()).map(Self)
    }

    /// Maps the whole of `file`, which stays open for [`Self::hold`], in place of an earlier one, which the caller lets
    /// go of with [`Self::release`]. A file that somebody makes shorter ends the processes that count in it (SIGBUS):
    /// only the server's user may be able to write it.
    ///
    /// # Errors
    /// What the system says; an empty file cannot be mapped.
    pub(crate) fn map(server: Server<'_>, file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        let bytes = usize::try_from(found.len()).map_err(io::Error::other)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the system's choice; nothing else refers to it.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let (device, inode, descriptor) = (found.dev(), found.ino(), file.into_raw_fd());
        let pool = server.process_pool();
        let record = pool.place(Record { base, bytes, device, inode, descriptor });
        // SAFETY: the record is of this pool, and the name lives for ever. The mapping goes with the process.
        unsafe { ffi::apr_pool_userdata_setn(record.as_ptr().cast(), NAME.as_ptr(), None, pool.raw()) };
        Ok(Self(record))
    }

    /// Whether this is the file that was found there.
    pub(crate) fn is(self, file: &File) -> bool {
        let record = self.record();
        file.metadata().is_ok_and(|found| (found.dev(), found.ino()) == (record.device, record.inode))
    }

    /// Locks the file for this process alone, which fails if any other holds it, and lasts until [`Self::hold`].
    pub(crate) fn hold_alone(self) -> io::Result<()> {
        self.lock(libc::LOCK_EX)
    }

    /// Locks the file together with others, as long as this process or a child of it lives that has inherited the file.
    pub(crate) fn hold(self) -> io::Result<()> {
        self.lock(libc::LOCK_SH)
    }

    fn lock(self, operation: c_int) -> io::Result<()> {
        // SAFETY: the descriptor is open until `release`.
        match unsafe { libc::flock(self.record().descriptor, operation | libc::LOCK_NB) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether it is still as long as when it was mapped.
    pub(crate) fn is_whole(self) -> bool {
        let record = self.record();
        // SAFETY: the descriptor is open until `release`, and is not closed here: the file only borrows it.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(record.descriptor) });
        file.metadata().is_ok_and(|found| found.len() >= record.bytes as u64)
    }

    /// The open file once more, for a thread that puts on the disk what processes have counted.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open_again(self) -> io::Result<File> {
        // SAFETY: the descriptor is open until `release`, which only the parent calls.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.record().descriptor) };
        descriptor.try_clone_to_owned().map(File::from)
    }

    /// Lets go of a file that another took the place of, once nothing in this parent uses it any more.
    pub(crate) fn release(self) {
        let record = self.record();
        // SAFETY: only this parent's mapping goes; children of an older generation keep theirs. Nothing in the
        // parent refers to it: the configuration that did was destroyed before the present one was read, and
        // the caller is done with the words. The descriptor is closed once: this record is not found any more.
        unsafe {
            libc::munmap(record.base, record.bytes);
            drop(OwnedFd::from_raw_fd(record.descriptor));
        }
    }

    /// The file as atomics; none of a file that somebody has made shorter meanwhile, since to read what is no longer
    /// there would end the parent. They are mapped until the process ends (or until [`Self::release`], which is only
    /// called between two configurations, when nothing uses this slice).
    pub(crate) fn words(self) -> &'static [AtomicU64] {
        if !self.is_whole() {
            return &[];
        }
        let record = self.record();
        // SAFETY: a mapping begins at a page and is as long as the record says. Every access by every process is
        // through atomics of this width, for which any bit pattern is valid; Rust's atomics work between processes
        // as they do between threads.
        unsafe { std::slice::from_raw_parts(record.base.cast::<AtomicU64>(), record.bytes / size_of::<AtomicU64>()) }
    }

    fn record(&self) -> &Record {
        // SAFETY: it lives as long as the process, and nobody changes it.
        unsafe { self.0.as_ref() }
    }
}
