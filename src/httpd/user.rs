//! The user that child processes run as.

use super::ffi;

/// A user of the system, with its group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Who child processes run as: `User` and `Group` if root started the server, else who did.
    pub(crate) fn of_children() -> Self {
        let own = Self::own();
        if own.uid != 0 {
            return own;
        }
        // SAFETY: mod_unixd wrote it when it read `User` and `Group`; nobody writes it now.
        unsafe {
            let config = &raw const ffi::ap_unixd_config;
            Self { uid: (*config).user_id, gid: (*config).group_id }
        }
    }

    /// Who this process runs as.
    pub(crate) fn own() -> Self {
        // SAFETY: these take nothing, touch nothing and cannot fail.
        unsafe { Self { uid: libc::geteuid(), gid: libc::getegid() } }
    }
}
