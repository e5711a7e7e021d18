//! A log that child processes write together: a file, or a pipe into a program that httpd starts, and starts again if it
//! ends (`ap_open_piped_log_ex`, server/log.c).

use std::io::{self, ErrorKind};
use std::os::raw::c_int;

use jwt_gate_core::log_patience::Patience;
use jwt_gate_core::log_state::FileId;
use jwt_gate_core::time::MonoNanos;

use super::clock::now;
use super::ffi;
use super::server::Server;

/// An open log. The parent opens it, and children inherit it. It is closed with the configuration that named it.
#[derive(Debug)]
pub(crate) struct LogFile {
    descriptor: c_int,
    id: FileId,
    /// That of this process.
    patience: Patience,
}

impl LogFile {
    /// Opens a file to write at its end, and makes it if need be, for the server's administrator and group to read. Does
    /// not wait for who reads a pipe.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(server: Server<'_>, path: &str) -> io::Result<Self> {
        let pool = server.config_pool();
        let flags = ffi::APR_FOPEN_WRITE
            | ffi::APR_FOPEN_APPEND
            | ffi::APR_FOPEN_CREATE
            | ffi::APR_FOPEN_LARGEFILE
            | ffi::APR_FOPEN_NONBLOCK;
        let permissions = ffi::APR_FPROT_UREAD | ffi::APR_FPROT_UWRITE | ffi::APR_FPROT_GREAD;
        let mut file = std::ptr::null_mut();
        // SAFETY: `file` is a place for the result; the path is on a live pool, and the file lives as long as it.
        let status = unsafe {
            let path = pool.c_string(path.as_bytes());
            ffi::apr_file_open(&raw mut file, path, flags.cast_signed(), permissions.cast_signed(), pool.raw())
        };
        // APR's numbers for what the system says are the system's.
        if status == 0 { Self::of(file) } else { Err(io::Error::from_raw_os_error(status)) }
    }

    /// Starts a program, which reads what is written.
    ///
    /// # Errors
    /// It cannot be started; httpd has logged why.
    pub(crate) fn start(server: Server<'_>, command: &str, shell: bool) -> io::Result<Self> {
        let pool = server.config_pool();
        let kind = if shell { ffi::APR_SHELLCMD_ENV } else { ffi::APR_PROGRAM_ENV };
        // SAFETY: the command is on the configuration's pool, on which the program is known until it is ended.
        let program = unsafe { ffi::ap_open_piped_log_ex(pool.raw(), pool.c_string(command.as_bytes()), kind) };
        if program.is_null() {
            return Err(io::Error::other("the program cannot be started"));
        }
        // SAFETY: not null, so the program was started and has a pipe.
        Self::of(unsafe { ffi::ap_piped_log_write_fd(program) })
    }

    fn of(file: *mut ffi::apr_file_t) -> io::Result<Self> {
        let mut descriptor: ffi::apr_os_file_t = -1;
        // SAFETY: the file is open. Both ends of a pipe are opened apart, and so whoever reads does not notice that
        // this end does not wait.
        let found = unsafe {
            if ffi::apr_os_file_get(&raw mut descriptor, file) != 0 {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            let mut found: libc::stat = std::mem::zeroed();
            if libc::fstat(descriptor, &raw mut found) != 0 {
                return Err(io::Error::last_os_error());
            }
            if found.st_mode & libc::S_IFMT == libc::S_IFIFO {
                let flags = libc::fcntl(descriptor, libc::F_GETFL);
                if flags < 0 || libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            found
        };
        let id = FileId { device: found.st_dev, inode: found.st_ino };
        Ok(Self { descriptor, id, patience: Patience::new() })
    }

    /// What the system knows it by.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Writes a line with one call of the system. At the end of a file no other process can come in between; nor in a
    /// pipe, if the line has at most `PIPE_BUF` bytes (POSIX, write). For room in a pipe it waits as long as [`Patience`]
    /// says.
    ///
    /// # Errors
    /// Nothing of it was written; [`ErrorKind::WriteZero`] if a part was.
    pub(crate) fn write(&self, line: &[u8]) -> io::Result<()> {
        let mut written = self.write_at_once(line);
        if !is_full(&written) {
            if written.is_ok() {
                self.patience.flows(|| now().mono);
            }
            return written;
        }
        let Some(wait) = self.patience.wait(now().mono) else { return written };
        while is_full(&written) && self.has_room(wait.deadline) {
            written = self.write_at_once(line);
        }
        self.patience.waited(wait, now().mono, is_full(&written));
        written
    }

    fn write_at_once(&self, line: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the descriptor is open as long as the configuration; the line is readable for its length.
            let written = unsafe { libc::write(self.descriptor, line.as_ptr().cast(), line.len()) };
            let error = match usize::try_from(written) {
                Ok(all) if all == line.len() => return Ok(()),
                Ok(_) => return Err(ErrorKind::WriteZero.into()),
                Err(_) => io::Error::last_os_error(),
            };
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Waits until somebody has read from the pipe, also if a signal comes in between; `false` if nobody has.
    fn has_room(&self, deadline: MonoNanos) -> bool {
        loop {
            let left = deadline.since(now().mono);
            if left.is_zero() {
                return false;
            }
            // Whole milliseconds, and not too few of them.
            let left = c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
            let mut asked = libc::pollfd { fd: self.descriptor, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one place for one answer.
            if unsafe { libc::poll(&raw mut asked, 1, left) } == 1 {
                return true;
            }
        }
    }
}

fn is_full(written: &io::Result<()>) -> bool {
    written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
