//! `JwtGateStateDir`: the folder for what must outlive a restart. It belongs to the user of the child
//! processes, and nobody else may write to it; what lies there is believed no more than that.
//!
//! Files are replaced as a whole, by rename, so that a reader finds the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, IntoInnerError, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jwt_gate_core::time::UnixMicros;

use crate::httpd::{Server, User, random};

/// Where Debian keeps what its httpd writes.
const SYSTEM_PARENT: &str = "/var/lib/apache2";
/// Below the system's folder, or below `state` in the ServerRoot.
const NAME: &str = "jwt_gate";

/// The folder, found good.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    user: User,
}

impl StateDir {
    /// Finds the folder, or makes it.
    ///
    /// # Errors
    /// Text for the administrator: what is wrong with it, and the remedy.
    pub(crate) fn open(main: Server<'_>) -> Result<Self, String> {
        let folder = Self::named(main);
        if !folder.exists() {
            let made = make(&folder.path, folder.user);
            made.map_err(|error| format!("{} cannot be made: {error}", folder.path.display()))?;
        }
        folder.check()?;
        folder.remove_drafts();
        Ok(folder)
    }

    /// Looks at the folder without making or changing anything.
    ///
    /// # Errors
    /// As [`Self::open`], but for what only making it would show.
    pub(crate) fn examine(main: Server<'_>) -> Result<(), String> {
        let folder = Self::named(main);
        if folder.exists() { folder.check() } else { Ok(()) }
    }

    fn named(main: Server<'_>) -> Self {
        let user = User::of_children();
        let path = match &main.config().settings.state_dir {
            Some(path) => PathBuf::from(main.file_path(path)),
            None => default_path(main, user),
        };
        Self { path, user }
    }

    fn exists(&self) -> bool {
        !fs::symlink_metadata(&self.path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    fn check(&self) -> Result<(), String> {
        let (user, shown) = (self.user, self.path.display());
        let found = fs::symlink_metadata(&self.path).map_err(|error| format!("{shown} cannot be used: {error}"))?;
        if !found.is_dir() {
            return Err(format!("{shown} is not a folder: name one that is, or that does not exist yet"));
        }
        if found.uid() != user.uid {
            return Err(format!(
                "{shown} belongs to the user with number {}, not to the server's, {}: run `chown {}:{} {shown}`",
                found.uid(),
                user.uid,
                user.uid,
                user.gid
            ));
        }
        if found.mode() & 0o022 != 0 {
            return Err(format!(
                "{shown} can be written by others (mode {:o}): run `chmod 700 {shown}`",
                found.mode() & 0o7777
            ));
        }
        Ok(())
    }

    /// Opens a file; `None` if there is none.
    ///
    /// # Errors
    /// Text for the log.
    pub(crate) fn file(&self, name: &str) -> Result<Option<File>, String> {
        let path = self.path.join(name);
        let shown = path.display();
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
        let file = match open {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| format!("{shown} cannot be read: {error}"))?,
        };
        let found = file.metadata().map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if !found.is_file() || found.mode() & 0o022 != 0 || ![self.user.uid, 0].contains(&found.uid()) {
            return Err(format!("{shown} is not a file that only the server can write: it is not used"));
        }
        Ok(Some(file))
    }

    /// Opens a file that all processes write; `None` if there is none.
    ///
    /// # Errors
    /// Text for the log; also for a file that somebody else made, or that is known by another name as well.
    pub(crate) fn file_to_write(&self, name: &str) -> Result<Option<File>, String> {
        let path = self.path.join(name);
        let shown = path.display();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| format!("{shown} cannot be written: {error}"))?,
        };
        let found = file.metadata().map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if !found.is_file() || found.nlink() != 1 || found.mode() & 0o022 != 0 || found.uid() != self.user.uid {
            return Err(format!("{shown} is not a file that only the server's user can write: remove it"));
        }
        Ok(Some(file))
    }

    /// Gives a file another name, for the administrator to look at; an earlier one that was put there goes.
    ///
    /// # Errors
    /// Text for the log.
    pub(crate) fn set_aside(&self, name: &str) -> Result<String, String> {
        let kept = format!("{name}.bad");
        fs::rename(self.path.join(name), self.path.join(&kept))
            .map_err(|error| format!("{} cannot be renamed: {error}", self.path.join(name).display()))?;
        Ok(kept)
    }

    /// The bytes of a file, if there is one and it is not longer than this.
    ///
    /// # Errors
    /// Text for the log.
    pub(crate) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let shown = || self.path.join(name).display().to_string();
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| format!("{} cannot be read: {error}", shown()))?;
        if bytes.len() as u64 > most {
            return Err(format!("{} is longer than {most} bytes", shown()));
        }
        Ok(Some(bytes))
    }

    /// When a file was written; `None` if there is none that may be used.
    pub(crate) fn written(&self, name: &str) -> Option<UnixMicros> {
        let written = self.file(name).ok()??.metadata().ok()?.modified().ok()?;
        let age = written.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(age.as_micros()).ok().map(UnixMicros)
    }

    /// Puts a file in the place of an earlier one.
    ///
    /// # Errors
    /// Text for the log; what was there before stays.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.write_with(name, |draft| draft.write_all(bytes))
    }

    /// Puts a file in the place of an earlier one, of which not all is in memory at once.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_with(
        &self,
        name: &str,
        content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), String> {
        let draft = self.path.join(format!("{name}.{:016x}.draft", random()[0]));
        let written = self.write_draft(&draft, content).and_then(|()| fs::rename(&draft, self.path.join(name)));
        written.map_err(|error| {
            // It may be there or not.
            let _ = fs::remove_file(&draft);
            format!("{} cannot be written: {error}", self.path.join(name).display())
        })
    }

    fn write_draft(
        &self,
        draft: &Path,
        content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
        if User::own() != self.user {
            fchown(&file, Some(self.user.uid), Some(self.user.gid))?;
        }
        let mut buffered = BufWriter::new(file);
        content(&mut buffered)?;
        // Renamed before it is on the disk, it could be empty after a power failure.
        buffered.into_inner().map_err(IntoInnerError::into_error)?.sync_all()
    }

    /// Drafts of processes that died over them.
    fn remove_drafts(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let is_old = |entry: &fs::DirEntry| {
            let age = entry.metadata().ok().and_then(|m| SystemTime::now().duration_since(m.modified().ok()?).ok());
            age.is_some_and(|age| age > Duration::from_secs(60))
        };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().ends_with(b".draft") && is_old(&entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The system's place if this server may use it, else one in its own ServerRoot.
fn default_path(main: Server<'_>, user: User) -> PathBuf {
    let parent = Path::new(SYSTEM_PARENT);
    let path = parent.join(NAME);
    let usable = match fs::symlink_metadata(&path) {
        Ok(found) => found.uid() == user.uid,
        Err(_) => User::own().uid == 0 && parent.is_dir(),
    };
    if usable { path } else { PathBuf::from(main.file_path("state")).join(NAME) }
}

fn make(path: &Path, user: User) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)?;
    if User::own() == user {
        return Ok(());
    }
    // What others put in its place in the meantime is not given away.
    let made = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    if made.metadata()?.uid() != User::own().uid {
        return Err(io::Error::other("somebody else made it at the same time"));
    }
    fchown(&made, Some(user.uid), Some(user.gid))
}
