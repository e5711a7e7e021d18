//! Reading files without waiting for ever, and without an end.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// What a regular file holds, and one byte more than `most` if it is longer, so that this is seen.
pub(crate) fn read_regular(path: &Path, flags: OFlags, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    // Opening a pipe would wait for somebody to write into it.
    let flags = (OFlags::NONBLOCK | flags).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((start(&file, most)?, metadata))
}

/// The same of anything that can be read, such as the pipe that a shell makes of `<(COMMAND)`.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let file = File::open(path)?;
    Ok((start(&file, most)?, file.metadata()?))
}

/// The beginning of what can be read, one byte more than `most` at the longest.
pub(crate) fn start(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
