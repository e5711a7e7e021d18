//! A token that somebody gives to a command.

use std::io::{IsTerminal, stdin};

use jwt_gate_core::token::MAX_TOKEN;

use crate::failure::Failure;
use crate::file;
use crate::note;

/// More than is ever looked at: what is longer than [`MAX_TOKEN`] is refused.
const MOST: u64 = 8 * MAX_TOKEN as u64;

/// The token that an argument is, or that standard input has for the argument `-`. A copied `Bearer ` in front of it
/// is taken away, and white space around it.
pub(crate) fn token(argument: &str) -> Result<Vec<u8>, Failure> {
    let text = if argument == "-" {
        if stdin().is_terminal() {
            note("reading the token from standard input: paste it, then press Enter and Ctrl-D");
        }
        file::start(stdin().lock(), MOST)
            .map_err(|why| Failure::unusable(format!("standard input cannot be read: {why}")))?
    } else {
        note(
            "a token on the command line stays in the history of the shell, and others on this machine can see it: \
             give it on standard input instead, with `-`",
        );
        argument.as_bytes().to_vec()
    };
    let token = without_scheme(text.trim_ascii());
    if token.is_empty() {
        return Err(Failure::unusable("there is no token: give one on standard input, with `-`".to_owned()));
    }
    Ok(token.to_vec())
}

/// What follows the scheme of RFC 6750 section 2.1, if it is there.
fn without_scheme(text: &[u8]) -> &[u8] {
    match text.split_at_checked("Bearer ".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"Bearer ") => rest.trim_ascii_start(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_taken_away_once() {
        for (text, token) in [("a.b.c", "a.b.c"), ("Bearer a.b.c", "a.b.c"), ("bearer  a", "a"), ("Bearer", "Bearer")] {
            assert_eq!(without_scheme(text.as_bytes()), token.as_bytes(), "{text}");
        }
        assert_eq!(without_scheme(b"Bearer Bearer a"), b"Bearer a");
        assert_eq!(without_scheme("B\u{e9}arer a".as_bytes()), "B\u{e9}arer a".as_bytes());
    }
}
