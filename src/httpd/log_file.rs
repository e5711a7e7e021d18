//! A log that child processes write together: a file, or a pipe into a program that httpd starts, and starts again if it
//! ends (`ap_open_piped_log_ex`, server/log.c).

use std::io::{self, ErrorKind};
use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jwt_gate_core::log_state::FileId;

use super::ffi;
use super::server::Server;

/// How long a process waits for a program that reads no more. Then lines are lost, without waiting, until it reads again.
const PATIENCE: Duration = Duration::from_secs(1);

/// An open log. The parent opens it, and children inherit it. It is closed with the configuration that named it.
#[derive(Debug)]
pub(crate) struct LogFile {
    descriptor: c_int,
    id: FileId,
    /// Nobody has read from the pipe for too long.
    is_stuck: AtomicBool,
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
        Ok(Self { descriptor, id, is_stuck: AtomicBool::new(false) })
    }

    /// What the system knows it by.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Writes a line with one call of the system. At the end of a file no other process can come in between; nor in a
    /// pipe, if the line has at most `PIPE_BUF` bytes (POSIX, write).
    ///
    /// # Errors
    /// Nothing of it was written; [`ErrorKind::WriteZero`] if a part was.
    pub(crate) fn write(&self, line: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the descriptor is open as long as the configuration; the line is readable for its length.
            let written = unsafe { libc::write(self.descriptor, line.as_ptr().cast(), line.len()) };
            let error = match usize::try_from(written) {
                Ok(all) if all == line.len() => {
                    self.is_stuck.store(false, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(_) => return Err(ErrorKind::WriteZero.into()),
                Err(_) => io::Error::last_os_error(),
            };
            match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock if self.has_room() => {}
                _ => return Err(error),
            }
        }
    }

    /// Waits until somebody has read from the pipe, unless that was in vain the last time.
    fn has_room(&self) -> bool {
        let begin = Instant::now();
        while !self.is_stuck.load(Ordering::Relaxed) {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let mut asked = libc::pollfd { fd: self.descriptor, events: libc::POLLOUT, revents: 0 };
            // SAFETY: one place for one answer.
            match unsafe { libc::poll(&raw mut asked, 1, c_int::try_from(left.as_millis()).unwrap_or(0)) } {
                0 => self.is_stuck.store(true, Ordering::Relaxed),
                1 => return true,
                // A signal.
                _ => {}
            }
        }
        false
    }
}
