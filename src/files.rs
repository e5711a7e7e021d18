//! Reading files that the configuration names.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use jwt_gate_core::time::UnixMicros;

use crate::httpd::User;

/// Larger key files are refused without being read to their end; the core has the exact limit.
pub(crate) const MAX_KEYS: u64 = 1 << 20;
/// Larger lists are refused.
pub(crate) const MAX_LIST: u64 = 256 << 20;

/// Reads a file of at most this many bytes.
///
/// # Errors
/// Text for the administrator, to stand behind the file's path.
pub(crate) fn read(path: &str, most: u64) -> Result<Vec<u8>, String> {
    let wrong = |error: std::io::Error| format!("cannot be read: {error}");
    read_opened(path, most).map_err(wrong)?.0
}

/// What is in a file and what its mode is, at one look.
fn read_opened(path: &str, most: u64) -> std::io::Result<(Result<Vec<u8>, String>, u32)> {
    // Opening a pipe or a device could wait for ever.
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    let mode = found.permissions().mode();
    if !found.is_file() {
        return Ok((Err("is not a regular file: name a file".to_owned()), mode));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    let fits = bytes.len() as u64 <= most;
    Ok((if fits { Ok(bytes) } else { Err(format!("is larger than {most} bytes")) }, mode))
}

/// Reads a secret. One that others can read is none.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_secret(path: &str) -> Result<Vec<u8>, String> {
    let (bytes, mode) = read_opened(path, MAX_KEYS).map_err(|error| format!("cannot be read: {error}"))?;
    if mode & 0o007 != 0 {
        return Err(format!("can be read or written by everybody (mode {:o}): run `chmod 640 {path}`", mode & 0o777));
    }
    bytes
}

/// What tells versions of a file apart without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// As child processes will see it; `None` if it is not for them to see.
    pub(crate) fn for_children(path: &str) -> Option<Self> {
        Self::of(path).filter(|_| is_visible_to(User::of_children(), path))
    }

    /// When its content was changed last.
    pub(crate) fn modified(&self) -> UnixMicros {
        let (secs, nanos) = self.modified;
        let micros = secs.saturating_mul(1_000_000).saturating_add(nanos / 1000);
        UnixMicros(u64::try_from(micros).unwrap_or(0))
    }

    /// `None` if it is not there, or not for this process to see.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            place: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Whether a user will be able to read a file, as far as its mode and the folders above it tell.
pub(crate) fn is_readable_by(user: User, path: &str) -> bool {
    allows(user, Path::new(path), 4) && is_visible_to(user, path)
}

/// Whether a user may enter the folders above a file.
fn is_visible_to(user: User, path: &str) -> bool {
    let above = Path::new(path).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    above.into_iter().all(|folder| allows(user, folder, 1))
}

fn allows(user: User, path: &Path, bit: u32) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        let shift = if found.uid() == user.uid {
            6
        } else if found.gid() == user.gid {
            3
        } else {
            0
        };
        user.uid == 0 || found.mode() >> shift & bit != 0
    })
}
