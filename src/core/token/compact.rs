//! The compact serialization (RFC 7515 section 7.1): `header.payload.signature`, each in base64url
//! without padding (RFC 7515 section 2).

use base64::{DecodeError, Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::verdict::Reason;

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 8192;

/// The longest header, in bytes of the token, that is before decoding.
pub const MAX_HEADER: usize = 4096;

/// The three segments, as they were sent.
pub(super) struct Compact<'t> {
    /// The first two segments and the dot between them: what is signed.
    pub(super) signing_input: &'t [u8],
    header: &'t str,
    pub(super) payload: &'t str,
    pub(super) signature: &'t str,
}

impl<'t> Compact<'t> {
    /// Finds the two dots; a third is refused, and with it every JWE.
    ///
    /// # Errors
    /// `token-too-large` over [`MAX_TOKEN`] or [`MAX_HEADER`], else `token-malformed`.
    pub(super) fn parse(token: &'t [u8]) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::TokenTooLarge);
        }
        let mut dots = memchr::memchr_iter(b'.', token);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Reason::TokenMalformed);
        };
        if first > MAX_HEADER {
            return Err(Reason::TokenTooLarge);
        }
        let signing_input = &token[..second];
        let token = std::str::from_utf8(token).map_err(|_| Reason::TokenMalformed)?;
        Ok(Self {
            signing_input,
            header: &token[..first],
            payload: &token[first + 1..second],
            signature: &token[second + 1..],
        })
    }

    /// The octets of the header.
    pub(super) fn header(&self) -> Result<Vec<u8>, Reason> {
        decode_object(self.header)
    }

    /// The octets of the payload.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode_object(self.payload)
    }

    /// Whether the signature is base64url at all. Whether it is empty, too long or wrong is for the key
    /// to say.
    pub(super) fn check_signature_form(&self) -> Result<(), Reason> {
        decode(self.signature).map(drop).map_err(|_| Reason::TokenMalformed)
    }
}

/// The octets of a segment that must hold a JSON object. What does not begin like one is not decoded, however long
/// it is.
fn decode_object(segment: &str) -> Result<Vec<u8>, Reason> {
    let mut start = [0; 3];
    let may_be_object = segment.as_bytes().get(..4).is_none_or(|quantum| {
        // White space or the brace (RFC 8259 section 2).
        BASE64_URL_SAFE_NO_PAD.decode_slice(quantum, &mut start).is_ok() && b" \t\n\r{".contains(&start[0])
    });
    if !may_be_object {
        return Err(Reason::TokenMalformed);
    }
    decode(segment).map_err(|_| Reason::TokenMalformed)
}

/// base64url (RFC 4648 section 5) in its one canonical spelling: no padding, no white space, no other
/// alphabet, no bits left over in the last character.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    BASE64_URL_SAFE_NO_PAD.decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_an_object_is_decoded() {
        for text in ["", "{", "{}", "{\"a\":1}", " {}", "\t\n\r {}", "{not json", " "] {
            assert_eq!(decode_object(&BASE64_URL_SAFE_NO_PAD.encode(text)).unwrap(), text.as_bytes());
        }
        for text in ["[{}]", "null", "\"{}\"", "\u{feff}{}", "123", "\u{b}{}"] {
            assert!(decode_object(&BASE64_URL_SAFE_NO_PAD.encode(text)).is_err(), "{text:?}");
        }
        for segment in ["eyJ", "eyJ9Q", "eyJ=", "eyJ9====", "eyJ9\u{e9}", "ey\u{20ac}J", "ey+9"] {
            assert_eq!(decode_object(segment).ok(), decode(segment).ok(), "{segment:?}");
        }
    }

    #[test]
    fn base64url_has_one_spelling() {
        assert_eq!(decode("").unwrap(), b"");
        assert_eq!(decode("-_8").unwrap(), [0xfb, 0xff]);
        for text in ["-_9", "QR", "QQ==", "QQ=", "Q", "QUJDR", "+/8", " QQ", "QQ\n", "Q Q", "QQ.", "Q\u{e9}"] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }
}
