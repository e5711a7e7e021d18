//! What a key looks like.
//!
//! One that is made here is `jg_`, 256 random bits as 43 characters of base64url, and a check of 6 characters:
//! the first 36 bits of the SHA-256 of what stands before it, in base64url. So a scanner for leaked secrets can find
//! it (`jg_[A-Za-z0-9_-]{49}`) and tell it from a chance match, and whoever typed it wrong can be told so.
//!
//! A key that is presented need not look like that, since an administrator may list keys of another system by their
//! hashes. It is 16 to 256 visible ASCII characters; what is anything else is no key, and is not even hashed.

use std::fmt;
use std::ops::RangeInclusive;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::compiled::sha256;

/// How a key begins that was made here.
pub const PREFIX: &str = "jg_";

/// Characters of a key of any system.
const LENGTH: RangeInclusive<usize> = 16..=256;
/// Characters of the check.
const CHECK: usize = 6;
/// Random bytes of a key.
const RANDOM: usize = 32;
/// Characters of a key that was made here.
const OWN_LENGTH: usize = PREFIX.len() + (RANDOM * 8).div_ceil(6) + CHECK;

/// A new key. `Debug` does not show it.
pub struct ApiKeyText(String);

impl ApiKeyText {
    /// The key of these bytes, which must come from the system's source of random numbers.
    pub fn new(random: [u8; RANDOM]) -> Self {
        let mut text = String::with_capacity(OWN_LENGTH);
        text.push_str(PREFIX);
        BASE64_URL_SAFE_NO_PAD.encode_string(random, &mut text);
        let check = check(&text);
        text.push_str(&check);
        Self(text)
    }

    /// The key itself, to be shown once.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the file has of it: `sha256`, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        sha256(self.0.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyText(…)")
    }
}

/// Whether this can be a key at all, of whatever system: all that is asked of one before it is hashed.
pub fn looks_right(presented: &[u8]) -> bool {
    LENGTH.contains(&presented.len()) && presented.iter().all(u8::is_ascii_graphic)
}

/// Whether this is a key that was made here, without a typing mistake and with nothing missing. It says nothing
/// about whether the key is in any file.
pub fn is_whole(text: &str) -> bool {
    let Some((body, check_found)) = text.split_at_checked(OWN_LENGTH - CHECK) else { return false };
    let random = body.strip_prefix(PREFIX).map(|random| BASE64_URL_SAFE_NO_PAD.decode(random));
    matches!(random, Some(Ok(random)) if random.len() == RANDOM) && check_found == check(body)
}

/// The end of a key that begins like this.
fn check(body: &str) -> String {
    let mut check = BASE64_URL_SAFE_NO_PAD.encode(sha256(body.as_bytes()));
    check.truncate(CHECK);
    check
}
