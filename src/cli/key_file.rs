//! The file of `JwtGateApiKeys`, and how it is edited: under a lock, so that no edit is lost, and by rename, so that
//! a reader and a power cut find the old file or the new one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use jwt_gate_core::apikey::{MAX_FILE_BYTES, compile};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::Failure;
use crate::file::read_regular;
use crate::note;

/// Mode of a file that is made: the server's group has to read it.
const MODE: u32 = 0o640;

/// What is in a file that is good.
pub(crate) struct Content {
    bytes: Vec<u8>,
    shown: String,
    metadata: Metadata,
}

/// An entry as it is written.
pub(crate) struct Entry<'f>(Cow<'f, str>);

impl Content {
    /// Reads a file and sees that all of it is good.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let (bytes, metadata) = read_regular(path, OFlags::empty(), MAX_FILE_BYTES as u64).map_err(|why| {
            let remedy = match why.kind() {
                ErrorKind::PermissionDenied => "; run this as a user who may read it, or as root",
                _ => "",
            };
            Failure::unusable(format!("{shown} cannot be read: {why}{remedy}"))
        })?;
        compile(&bytes).map_err(|why| Failure::unusable(format!("{shown}: {why}")))?;
        Ok(Self { bytes, shown, metadata })
    }

    /// The entries in their order.
    pub(crate) fn entries(&self) -> Result<Vec<Entry<'_>>, Failure> {
        let document: BTreeMap<String, Vec<&RawValue>> =
            serde_json::from_slice(&self.bytes).map_err(|why| Failure::unusable(format!("{}: {why}", self.shown)))?;
        Ok(document.into_values().flatten().map(|entry| Entry(entry.get().into())).collect())
    }
}

impl Entry<'_> {
    /// Whether it has this id.
    pub(crate) fn is(&self, id: &str) -> bool {
        self.value()["id"] == id
    }

    /// What it says.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl<'f> From<&'f str> for Entry<'f> {
    fn from(text: &'f str) -> Self {
        Self(text.into())
    }
}

/// A file that no other `jwt-gate` edits as long as this lives.
pub(crate) struct LockedFile {
    /// The file itself, if what was named is a link to it: the link stays what it is.
    path: PathBuf,
    content: Option<Content>,
    _lock: File,
}

impl LockedFile {
    /// Waits for its turn, then reads the file, which has to be there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let absent = || Failure::unusable(format!("{} does not exist", path.display()));
        if !is_there(path)? {
            return Err(absent());
        }
        let file = Self::open_or_new(path)?;
        // It may have gone in the meantime.
        if file.is_new() { Err(absent()) } else { Ok(file) }
    }

    /// Waits for its turn, then reads the file, if there is one.
    pub(crate) fn open_or_new(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let path = target(path).map_err(|why| Failure::unusable(format!("{shown} cannot be edited: {why}")))?;
        // The lock stays behind, so none is made beside what cannot be edited. What is edited is read under it.
        let read = || is_there(&path)?.then(|| Content::read(&path)).transpose();
        read()?;
        let lock = lock(&path).map_err(|why| {
            Failure::unusable(format!(
                "{} cannot be locked: {why}; run this as the user who owns {shown}, or as root",
                beside(&path, ".lock").display()
            ))
        })?;
        let content = read()?;
        Ok(Self { path, content, _lock: lock })
    }

    /// Whether there is no such file yet.
    pub(crate) fn is_new(&self) -> bool {
        self.content.is_none()
    }

    /// The entries in their order; none of a file that is new.
    pub(crate) fn entries(&self) -> Result<Vec<Entry<'_>>, Failure> {
        self.content.as_ref().map_or_else(|| Ok(Vec::new()), Content::entries)
    }

    /// Writes these entries into a draft beside the file. The file stays as it is.
    pub(crate) fn draft(&self, entries: &[Entry<'_>]) -> Result<Draft<'_>, Failure> {
        let lines: Vec<_> = entries.iter().map(|entry| format!("\n  {}", entry.0)).collect();
        let text = format!("{{\"keys\":[{}\n]}}\n", lines.join(","));
        let unchanged = |why: String| Failure::unusable(format!("{} stays as it was: {why}", self.path.display()));
        // It may have grown too large.
        compile(text.as_bytes()).map_err(unchanged)?;
        let draft = Draft { file: self, path: beside(&self.path, ".draft") };
        draft.write(text.as_bytes()).map_err(|why| unchanged(format!("{}: {why}", draft.path.display())))?;
        Ok(draft)
    }
}

/// The next content of a file, on disk. It is gone when it is dropped, unless it was put in place.
pub(crate) struct Draft<'f> {
    file: &'f LockedFile,
    path: PathBuf,
}

impl Draft<'_> {
    /// Replaces the file.
    pub(crate) fn put_in_place(self) -> Result<(), Failure> {
        let path = &self.file.path;
        let shown = path.display();
        fs::rename(&self.path, path).map_err(|why| Failure::unusable(format!("{shown} stays as it was: {why}")))?;
        File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(|why| {
            Failure::unusable(format!("{shown} was replaced, but a power cut may bring the old one back: {why}"))
        })
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        // What a run left that was cut short. All others wait for the lock.
        match fs::remove_file(&self.path) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut draft = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        draft.write_all(text)?;
        if let Some(Content { metadata: old, .. }) = &self.file.content {
            own_alike(&draft, old)?;
            draft.set_permissions(old.permissions())?;
        } else {
            draft.set_permissions(Permissions::from_mode(MODE))?;
        }
        draft.sync_all()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Nothing is left to be removed after a rename.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|why| Failure::unusable(format!("{} cannot be edited: {why}", path.display())))
}

/// The file that a path leads to, which need not exist; but a link has to lead somewhere.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(why) if why.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            let name = path.file_name().ok_or(why)?;
            let folder = folder(path);
            let real = fs::canonicalize(folder);
            let real =
                real.map_err(|why| io::Error::new(why.kind(), format!("its folder {}: {why}", folder.display())));
            Ok(real?.join(name))
        }
        found => found,
    }
}

/// Waits until nobody else has the lock. It stays behind: whoever removed it would let two in, one by the old file
/// and one by the new.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let lock = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(beside(path, ".lock"))?;
    let found = lock.metadata()?;
    // What has another name as well may be anybody's: it must not be given away.
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("it is no file of its own: remove it"));
    }
    if let Ok(old) = fs::metadata(path) {
        // If root was here first, the file's owner shall be able to edit it all the same.
        let _ = own_alike(&lock, &old);
    }
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            note(&format!("waiting until nobody else edits {}", path.display()));
            flock(&lock, FlockOperation::LockExclusive)?;
        }
        locked => locked?,
    }
    Ok(lock)
}

fn own_alike(file: &File, other: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (other.uid(), other.gid()) {
        return Ok(());
    }
    let (user, group) = (other.uid(), other.gid());
    fchown(file, Some(user), Some(group)).map_err(|why| {
        let text =
            format!("cannot be given to user {user} and group {group}: {why}; run this as that user, or as root");
        io::Error::new(why.kind(), text)
    })
}

/// A hidden file in the same folder: `.NAME` and what is added.
fn beside(path: &Path, added: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(added);
    path.with_file_name(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
