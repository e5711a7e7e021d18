//! The request target, as the client sent it (RFC 9112 section 3.2).

/// The path of `target`, not decoded: without query and fragment, and without scheme and authority, which may hold a
/// credential each. Of `CONNECT`, whose target has no path, host and port; `*` of OPTIONS stays what it is.
pub fn path<'t>(method: &[u8], target: &'t [u8]) -> &'t [u8] {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let path = &target[..end];
    match after_scheme(path) {
        _ if method == b"CONNECT" => after_user(path),
        // RFC 9112 section 3.2.2: a server reads this form from every client.
        Some(rest) => rest.iter().position(|byte| *byte == b'/').map_or(b"/", |begin| &rest[begin..]),
        None => path,
    }
}

/// What follows the `://` of a URL.
fn after_scheme(url: &[u8]) -> Option<&[u8]> {
    let length = url.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)))?;
    if length == 0 { None } else { url[length..].strip_prefix(b"://") }
}

/// An authority without the user, who may have a password in it.
fn after_user(authority: &[u8]) -> &[u8] {
    authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_asked_for() {
        for (method, target, expected) in [
            ("GET", "/", "/"),
            ("GET", "/v1/secret%20x?token=s", "/v1/secret%20x"),
            ("GET", "/a/../%2e%2e//b;c=d", "/a/../%2e%2e//b;c=d"),
            ("GET", "/?", "/"),
            ("GET", "/a#b?token=s", "/a"),
            ("GET", "/a?token=s#/b", "/a"),
            // A path may look like a URL, and an authority like a path.
            ("GET", "/http://a/b", "/http://a/b"),
            ("GET", "//host/a", "//host/a"),
            ("GET", "/a@b", "/a@b"),
            ("GET", "http://host/a%20b?token=s", "/a%20b"),
            ("GET", "HTTPS://user:secret@host:443/a@b", "/a@b"),
            ("GET", "http://host", "/"),
            ("GET", "http://user:secret@host?token=s", "/"),
            ("GET", "http://host?/a", "/"),
            ("GET", "http:///a", "/a"),
            ("OPTIONS", "*", "*"),
            ("CONNECT", "host:443", "host:443"),
            ("CONNECT", "user:secret@host:443", "host:443"),
            ("CONNECT", "http://user:secret@host", "host"),
            // What httpd refuses.
            ("GET", "", ""),
            ("GET", "a", "a"),
            ("GET", "://host/a", "://host/a"),
            ("GET", "\u{e9}://host/a", "\u{e9}://host/a"),
        ] {
            assert_eq!(path(method.as_bytes(), target.as_bytes()), expected.as_bytes(), "{method} {target}");
        }
    }
}
