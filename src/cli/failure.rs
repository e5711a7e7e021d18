//! Why a command was not carried out.

/// A sentence for standard error, and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    /// All is well, but the answer is no.
    pub(crate) fn no(text: String) -> Self {
        Self { code: 1, text }
    }

    /// The command or a file cannot be used.
    pub(crate) fn unusable(text: String) -> Self {
        Self { code: 2, text }
    }
}
