//! Headers that tell the application who asks: which names may be used, what a client must not send
//! under them, and how a value is written.
//!
//! An application may read `X_User`, `X.User` and `x-user` as one header (CGI, WSGI and Rack do so), so
//! here `-`, `_` and `.` are the same character of a name, as are upper and lower case.

use std::fmt::Write;

use crate::{config::forward::ForwardValue, identity::Identity, token::json::Json};

/// A header name that the gate may set and take away (RFC 9110 section 5.1).
#[derive(Clone, Debug)]
pub struct HeaderName(String);

impl HeaderName {
    /// Reads the name in `JwtGateForward`.
    ///
    /// # Errors
    /// Not a token (RFC 9110 section 5.6.2), or, in any spelling, a header that HTTP, the proxy or the
    /// gate itself relies on. The error is a sentence for an administrator.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || !name.bytes().all(is_tchar) {
            return Err(format!("{name:?} is not a header name: write letters, digits and hyphens, such as X-User"));
        }
        let reserved = RESERVED.iter().find(|(names, _)| {
            names.iter().any(|reserved| match reserved.strip_suffix('*') {
                Some(prefix) => {
                    name.len() >= prefix.len() && same_name(&name.as_bytes()[..prefix.len()], prefix.as_bytes())
                }
                None => same_name(name.as_bytes(), reserved.as_bytes()),
            })
        });
        match reserved {
            Some((_, why)) => Err(format!("{name} {why}: choose a name of its own, such as X-User")),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names that are never an identity header; `*` stands for any ending.
const RESERVED: [(&[&str], &str); 6] = [
    (&["authorization", "proxy-authorization", "cookie", "cookie2"], "carries credentials"),
    (
        &[
            "host",
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect",
            "http2-settings",
        ],
        "is part of HTTP itself",
    ),
    (&["content-*"], "describes the body"),
    (&["origin", "sec-*", "access-control-*"], "is set by browsers and checked"),
    (&["x-forwarded-for", "x-forwarded-host", "x-forwarded-server", "via", "max-forwards"], "is set by mod_proxy"),
    (&["proxy"], "becomes HTTP_PROXY in a CGI environment"),
];

/// Whether two names are one to an application.
pub fn same_name(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| fold(*a) == fold(*b))
}

/// The names that no client may use, as they are asked for each header of each request.
#[derive(Clone, Debug, Default)]
pub struct ScrubList {
    names: Box<[Box<[u8]>]>,
    /// Bit n is set if a name of n bytes is listed; bit 63 stands for all longer ones. Most headers of a
    /// request are told apart by it alone.
    lengths: u64,
}

impl ScrubList {
    /// A list of these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        let mut names: Vec<Box<[u8]>> = names.into_iter().map(|name| name.0.bytes().map(fold).collect()).collect();
        names.sort_unstable();
        names.dedup();
        Self { lengths: names.iter().fold(0, |lengths, name| lengths | length_bit(name)), names: names.into() }
    }

    /// Whether a header of this name must go. Does not allocate.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name) != 0 && self.names.iter().any(|listed| same_name(listed, name))
    }
}

/// Takes the names that are ours out of the value of a `Connection` header (RFC 9110 section 7.6.1), since
/// mod_proxy removes every header that is named there. Gives the new value, or `None` if there is
/// nothing to take out; an empty new value means that no `Connection` header is left.
///
/// An element goes if one of the names is anywhere in it as a word, because some versions of httpd end a
/// name at a blank or semicolon too.
pub fn clean_connection(value: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let names_ours = |element: &&[u8]| element.split(|b| !is_tchar(*b)).any(&is_ours);
    let elements = || value.split(|b| *b == b',');
    if !elements().any(|element| names_ours(&element)) {
        return None;
    }
    let kept = elements().filter(|element| !names_ours(element)).map(<[u8]>::trim_ascii).filter(|e| !e.is_empty());
    Some(kept.collect::<Vec<_>>().join(&b", "[..]))
}

/// What a header of `JwtGateForward` holds for an identity. `None`: the identity lacks it, and there is no header.
///
/// A claim is written as [`claim_text`](crate::expression::claim_text) gives it, each part encoded. An expression is
/// evaluated by the host.
pub fn value(wanted: &ForwardValue, identity: &Identity) -> Option<String> {
    let mut out = String::new();
    match wanted {
        ForwardValue::Subject => encode_value(identity.subject()?, &mut out),
        ForwardValue::Issuer => encode_value(identity.issuer()?, &mut out),
        ForwardValue::Client => encode_value(identity.client()?, &mut out),
        ForwardValue::Scope => {
            let mut scopes = identity.scopes().peekable();
            scopes.peek()?;
            encode_words(scopes, &mut out);
        }
        ForwardValue::Claim(name) => match identity.claim(name)? {
            list @ Json::Array(_) => {
                let texts: Vec<_> = list.texts().collect();
                if texts.is_empty() {
                    return None;
                }
                encode_list(texts.iter().map(AsRef::as_ref), &mut out);
            }
            single => encode_value(&single.text()?, &mut out),
        },
        // Nothing but letters, digits, `-` and `_`.
        ForwardValue::Claims => out.push_str(identity.token()?.payload_base64url()),
        ForwardValue::Plan => encode_value(identity.plan()?, &mut out),
        ForwardValue::ApiKey => encode_value(identity.key()?.id(), &mut out),
        ForwardValue::Expression { .. } => return None,
    }
    Some(out)
}

/// Appends one value: visible ASCII except `%`, and spaces between such, as they are; all else
/// percent-encoded UTF-8 (RFC 3986 section 2.1). What is appended is a field value (RFC 9110 section
/// 5.5) whatever the input, and decodes to it.
pub fn encode_value(value: &str, out: &mut String) {
    encode(value, b'%', out);
}

/// Appends several values joined by `,`. A comma inside one is encoded.
pub fn encode_list<'a>(values: impl IntoIterator<Item = &'a str>, out: &mut String) {
    join(values, b',', out);
}

/// Appends several values joined by a space. A space inside one is encoded: the one scope `a b` of an array does not
/// become two.
pub fn encode_words<'a>(values: impl IntoIterator<Item = &'a str>, out: &mut String) {
    join(values, b' ', out);
}

fn join<'a>(values: impl IntoIterator<Item = &'a str>, separator: u8, out: &mut String) {
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            out.push(char::from(separator));
        }
        encode(value, separator, out);
    }
}

/// Encodes `separator` too.
fn encode(value: &str, separator: u8, out: &mut String) {
    if value.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'%' && byte != separator) {
        out.push_str(value);
        return;
    }
    let inner = value.trim_matches(' ');
    let begin = value.len() - value.trim_start_matches(' ').len();
    let inner = begin..begin + inner.len();
    out.reserve(value.len());
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b'%' => out.push_str("%25"),
            b' ' if separator != b' ' && inner.contains(&index) => out.push(' '),
            b'!'..=b'~' if byte != separator => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
}

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// One character for all that an application may take for the same.
const fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        _ => byte.to_ascii_lowercase(),
    }
}

const fn length_bit(name: &[u8]) -> u64 {
    1 << if name.len() < 63 { name.len() } else { 63 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(names: &[&str]) -> ScrubList {
        ScrubList::new(&names.iter().map(|name| HeaderName::parse(name).unwrap()).collect::<Vec<_>>())
    }

    fn cleaned(value: &str) -> Option<String> {
        let scrub = scrub(&["X-User", "X-Scope"]);
        clean_connection(value.as_bytes(), |name| scrub.matches(name)).map(|value| String::from_utf8(value).unwrap())
    }

    fn encoded(value: &str) -> String {
        let mut out = String::new();
        encode_value(value, &mut out);
        out
    }

    fn listed(values: &[&str]) -> String {
        let mut out = String::new();
        encode_list(values.iter().copied(), &mut out);
        out
    }

    #[test]
    fn a_name_is_a_token() {
        for name in [
            "X-User",
            "x_user",
            "X.User",
            "Remote-User",
            "X-Forwarded-User",
            "a",
            "!#$%&'*+^`|~",
            "Contents",
            "Section",
        ] {
            assert_eq!(HeaderName::parse(name).map(|n| n.as_str().to_owned()), Ok(name.to_owned()));
        }
        for name in
            ["", " ", "X User", "X-User:", ":path", "X-User\r\n", "X-User\0", "X-Üser", "X/User", "\"X\"", "(X)", "X,Y"]
        {
            assert!(HeaderName::parse(name).unwrap_err().contains("not a header name"), "{name:?}");
        }
    }

    #[test]
    fn names_that_others_rely_on_are_refused_in_any_spelling() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "proxy_authorization",
            "Cookie",
            "COOKIE",
            "Cookie2",
            "Host",
            "Connection",
            "Keep-Alive",
            "Keep.Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "transfer_encoding",
            "Content-Length",
            "CONTENT_LENGTH",
            "content.type",
            "Content-Encoding",
            "Upgrade",
            "Expect",
            "HTTP2-Settings",
            "Sec-WebSocket-Key",
            "sec_websocket_protocol",
            "Sec-Fetch-Site",
            "Origin",
            "Access-Control-Request-Method",
            "X-Forwarded-For",
            "x_forwarded_host",
            "Via",
            "Max_Forwards",
            "Proxy",
        ] {
            let error = HeaderName::parse(name).expect_err(name);
            assert!(error.starts_with(name) && error.contains("choose"), "{error}");
        }
    }

    #[test]
    fn every_spelling_of_a_listed_name_matches() {
        let list = scrub(&["X-User", "x.user", "X-Scope", "Y"]);
        for name in ["X-User", "x-user", "X_USER", "x.user", "x_scope", "y"] {
            assert!(list.matches(name.as_bytes()), "{name}");
        }
        for name in ["", "XUser", "X-Use", "X-Users", "X--User", "X-User ", "X-Uset", "X~User", "Z", "X\u{1f}User"] {
            assert!(!list.matches(name.as_bytes()), "{name}");
        }
        assert!(!ScrubList::default().matches(b"") && !ScrubList::default().matches(b"X-User"));
    }

    #[test]
    fn long_names_are_told_apart() {
        let (at, above) = ("x".repeat(63), "x".repeat(200));
        let list = scrub(&[&above]);
        assert!(list.matches(above.to_uppercase().as_bytes()));
        assert!(!list.matches(at.as_bytes()) && !list.matches("x".repeat(199).as_bytes()));
        assert!(scrub(&[&at]).matches(at.as_bytes()));
    }

    #[test]
    fn a_connection_header_that_names_nothing_of_ours_stays_as_it_is() {
        for value in ["", "close", "keep-alive, Upgrade", "X-User-Agent", "xX-User", " , ,", "X-Users,user", "\u{e9}"] {
            assert_eq!(cleaned(value), None, "{value:?}");
        }
    }

    #[test]
    fn our_names_are_taken_out_of_a_connection_header() {
        for (value, expected) in [
            ("X-User", ""),
            ("x-user,X_SCOPE , x.user", ""),
            ("close, X-User", "close"),
            ("X-User ,close", "close"),
            ("keep-alive,\tx_user,, Upgrade ", "keep-alive, Upgrade"),
            ("close, \"X-User\"", "close"),
            ("close, a;X-User", "close"),
            ("close, a X-User, Upgrade", "close, Upgrade"),
        ] {
            assert_eq!(cleaned(value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn ordinary_values_stay_readable() {
        for value in
            ["", "alice", "auth0|5f7c", "Alice B. Example", "a,b;c=\"d\"", "https://issuer.example/?a=b#c", "~!"]
        {
            assert_eq!(encoded(value), value);
        }
    }

    #[test]
    fn all_else_is_percent_encoded() {
        for (value, expected) in [
            ("100%", "100%25"),
            ("%41", "%2541"),
            ("J\u{fc}rgen", "J%C3%BCrgen"),
            ("\u{1f600}", "%F0%9F%98%80"),
            (" a  b ", "%20a  b%20"),
            (" ", "%20"),
            ("   ", "%20%20%20"),
            ("a\r\nX-Admin: 1", "a%0D%0AX-Admin: 1"),
            ("\t\0\x7f\u{85}\u{2028}", "%09%00%7F%C2%85%E2%80%A8"),
            ("a\u{a0}", "a%C2%A0"),
        ] {
            assert_eq!(encoded(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_comma_in_a_list_separates_and_does_nothing_else() {
        assert_eq!(listed(&[]), "");
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b c", ""]), "a,b c,");
        assert_eq!(listed(&["a,b", "%2C"]), "a%2Cb,%252C");
        assert_eq!(listed(&[" a", "b\n"]), "%20a,b%0A");
    }

    #[test]
    fn a_space_among_words_separates_and_does_nothing_else() {
        let mut out = String::new();
        encode_words(["read", "a b", "c,d", "%20", "\t"], &mut out);
        assert_eq!(out, "read a%20b c,d %2520 %09");
    }

    #[test]
    fn values_are_appended() {
        let mut out = "x=".to_owned();
        encode_value("1", &mut out);
        encode_list(["2", "3"], &mut out);
        assert_eq!(out, "x=12,3");
    }
}
