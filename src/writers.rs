//! Who may write the files that administrators name. The command `jwt-gate` is built with this file as well.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Everybody may write: into a file, or names into a folder.
const BY_OTHERS: u32 = 0o002;
/// In a folder: names belong to the owners of what they name.
const STICKY: u32 = 0o1000;

/// A sentence for the administrator if everybody on this machine may change what is found at a path: because of the
/// file, or because of a folder on the way to it, in which another file can be put in its place. What this process may
/// not look at is passed over.
pub(crate) fn everybody(path: &Path) -> Option<String> {
    let shown = path.display();
    if let Some(mode) = mode(path).filter(|mode| mode & BY_OTHERS != 0) {
        return Some(format!("{shown} can be written by everybody (mode {mode:o}): run `chmod o-w {shown}`"));
    }
    let real = fs::canonicalize(path).ok();
    // A link can be replaced as well as what it leads to.
    let on_the_way = [Some(path), real.as_deref()].into_iter().flatten().flat_map(|path| path.ancestors().skip(1));
    let mut folders = on_the_way.filter(|folder| !folder.as_os_str().is_empty());
    folders.find_map(|folder| {
        let mode = mode(folder).filter(|mode| mode & BY_OTHERS != 0 && mode & STICKY == 0)?;
        let folder = folder.display();
        Some(format!(
            "{shown} can be replaced by everybody, because of the folder {folder} (mode {mode:o}): run `chmod o-w {folder}`"
        ))
    })
}

/// The mode of what a path leads to, without the kind of file.
fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.mode() & 0o7777)
}
