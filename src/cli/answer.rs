//! What a command that was carried out ends with.

/// Whether the answer to what was asked is yes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It was done, or it is so.
    Yes,
    /// It is not so, and why has been shown.
    No,
}

impl Answer {
    /// The code to end with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
        }
    }
}
