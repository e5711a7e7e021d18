//! What all compiled lists have in common: a magic number and a version at their beginning, and SHA-256 of
//! everything before at their end. Numbers are 64 bits, little endian.
//!
//! The checksum is there for damage. It is no signature: who can write the array can write the source.

use ring::digest;

/// Bytes of a SHA-256.
pub(crate) const HASH: usize = digest::SHA256_OUTPUT_LEN;
/// Bytes of a number.
pub(crate) const WORD: usize = size_of::<u64>();
/// Bytes before what differs from form to form.
pub(crate) const HEAD: usize = MAGIC + WORD;

const MAGIC: usize = 8;

/// A kind of list.
pub(crate) struct Form {
    pub(crate) magic: [u8; MAGIC],
    pub(crate) version: u64,
    /// What it is a list of, for errors.
    pub(crate) what: &'static str,
}

/// What is left of an array when its ends are found good.
pub(crate) struct Unsealed<'b> {
    /// What follows the version, to the end of the array.
    pub(crate) header: &'b [u8],
    /// The array without its checksum.
    pub(crate) content: &'b [u8],
    pub(crate) checksum: [u8; HASH],
}

impl Form {
    /// The beginning of an array that will have `length` bytes behind [`HEAD`].
    pub(crate) fn begin(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + length + HASH);
        bytes.extend(self.magic);
        bytes.extend(self.version.to_le_bytes());
        bytes
    }

    /// Checks both ends of an array.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn unseal<'b>(&self, bytes: &'b [u8]) -> Result<Unsealed<'b>, String> {
        let what = self.what;
        let Some(rest) = bytes.strip_prefix(&self.magic) else {
            return Err(format!("this is no compiled list of {what}"));
        };
        let (version, header) = word(rest).ok_or_else(|| self.damaged())?;
        if version != self.version {
            return Err(format!("the list of {what} was compiled by another version: it has to be compiled again"));
        }
        let sealed = bytes.split_last_chunk().filter(|(content, checksum)| sha256(content) == **checksum);
        let (content, checksum) = sealed.ok_or_else(|| self.damaged())?;
        Ok(Unsealed { header, content, checksum: *checksum })
    }

    /// What is said of an array that nobody can have compiled.
    pub(crate) fn damaged(&self) -> String {
        format!("the compiled list of {} is damaged: it has to be compiled again", self.what)
    }
}

/// Ends an array.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = sha256(&bytes);
    bytes.extend(checksum);
    bytes
}

/// The number at the beginning, and what follows it.
pub(crate) fn word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(word, rest)| (u64::from_le_bytes(*word), rest))
}

/// The digest by which the source of a list is known ([`source_digest`]).
///
/// [`source_digest`]: crate::net::list::NetworkList::source_digest
pub fn sha256(octets: &[u8]) -> [u8; HASH] {
    let mut out = [0; HASH];
    out.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    out
}
