//! An origin of the web, `scheme://host[:port]` (RFC 6454), as an administrator writes it and as browsers do.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Scheme, host and port. Displayed as browsers serialize it (WHATWG HTML, "serialization of an origin"):
/// scheme and host in lower case, an IPv6 address in its shortest form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebOrigin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl WebOrigin {
    /// Reads the origin at the beginning of `text`, and gives what stands behind it: nothing, or a path, query
    /// or fragment with the character that it begins with.
    ///
    /// # Errors
    /// Text for the administrator, to be put behind the value: no scheme or host, a user, a host that no
    /// browser writes so, a port that is none or the default one.
    pub fn split(text: &str) -> Result<(Self, &str), String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("has no scheme: write `https://HOST` or `https://HOST:PORT`".to_owned());
        };
        if !is_scheme(scheme) {
            return Err("does not begin with a scheme: write `https://HOST`".to_owned());
        }
        let scheme = scheme.to_ascii_lowercase();
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("names a user: leave out what stands before `@`".to_owned());
        }
        if authority.contains('*') {
            return Err("`*` is not a part of a name here: name each host in full".to_owned());
        }
        let host_end = match authority.strip_prefix('[') {
            Some(address) => address.find(']').map(|end| end + 2),
            None => authority.find(':'),
        };
        let (host, port) = authority.split_at(host_end.unwrap_or(authority.len()));
        let (host, port) = (host_of(host)?, port_of(port)?);
        if matches!((scheme.as_str(), port), ("https", Some(443)) | ("http", Some(80))) {
            return Err(format!("the default port is never named by a browser: write `{scheme}://{host}{behind}`"));
        }
        Ok((Self { scheme, host, port }, behind))
    }

    /// Scheme in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "[::1]")
            || self.host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// What stands behind the host.
fn port_of(text: &str) -> Result<Option<u16>, String> {
    let Some(digits) = text.strip_prefix(':') else {
        return if text.is_empty() { Ok(None) } else { Err("is not `https://HOST:PORT`".to_owned()) };
    };
    match digits.parse::<u16>() {
        // A sign or a leading zero is not how a port is written.
        Ok(port) if port > 0 && port.to_string() == digits => Ok(Some(port)),
        _ => Err("the port is a number from 1 to 65535: write `HOST:PORT`, or `HOST` alone".to_owned()),
    }
}

/// The host as browsers write it (WHATWG URL, "host serializing").
fn host_of(text: &str) -> Result<String, String> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        let address = address.ok_or("the IPv6 address is malformed: write one like `[2001:db8::1]`")?;
        // Browsers know no dotted part in an IPv6 address.
        return Ok(match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
            (None, _) => format!("[{address}]"),
        });
    }
    if text.is_empty() {
        return Err("names no host: write `https://HOST`".to_owned());
    }
    if !text.is_ascii() {
        return Err("the host is not ASCII: write it as browsers send it, with `xn--`".to_owned());
    }
    let host = text.to_ascii_lowercase();
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(fits);
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err("the host is malformed: write a name like `app.example.com`, or an address".to_owned());
    }
    // What ends in a number is an address to a browser, which writes it in one way only.
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if (hex || last.bytes().all(|b| b.is_ascii_digit())) && host.parse::<Ipv4Addr>().is_err() {
        return Err("the IPv4 address is malformed: write four decimal numbers, like `192.0.2.1`".to_owned());
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let (origin, behind) = WebOrigin::split(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(behind, "", "{text}");
        origin.to_string()
    }

    #[test]
    fn written_as_browsers_do() {
        for text in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:5173",
            "http://a_b.internal",
            "https://192.0.2.1",
            "https://[2001:db8::1]:444",
            "https://xn--bcher-kva.example",
            "http://app.example.com:443",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert_eq!(written(text), text);
        }
        assert_eq!(written("HTTPS://App.Example.COM"), "https://app.example.com");
        assert_eq!(written("https://[2001:DB8:0:0::1]"), "https://[2001:db8::1]");
        assert_eq!(written("https://[::ffff:192.0.2.1]"), "https://[::ffff:c000:201]");
    }

    #[test]
    fn what_stands_behind() {
        for (text, expected) in [
            ("https://a.example/", "/"),
            ("https://a.example:1/b?c#d", "/b?c#d"),
            ("https://a.example?c", "?c"),
            ("https://a.example#d", "#d"),
        ] {
            assert_eq!(WebOrigin::split(text).unwrap().1, expected);
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("http://localhost:1", true),
            ("http://LOCALHOST", true),
            ("http://127.8.9.10", true),
            ("http://[::1]", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://[::ffff:127.0.0.1]", false),
        ] {
            assert_eq!(WebOrigin::split(text).unwrap().0.is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_name_the_remedy() {
        for (text, remedy) in [
            ("app.example.com", "https://HOST"),
            ("localhost:5173", "https://HOST"),
            ("//app.example.com", "https://HOST"),
            ("://app.example.com", "https://HOST"),
            ("1https://a.example", "https://HOST"),
            ("", "https://HOST"),
            ("https://", "names no host"),
            ("https:///path", "names no host"),
            ("https://:8443", "names no host"),
            ("file:///etc", "names no host"),
            ("https://user@a.example", "before `@`"),
            ("https://user:pass@a.example", "before `@`"),
            ("https://*.example.com", "each host in full"),
            ("https://a.example:443", "write `https://a.example`"),
            ("https://A.example:443/x", "write `https://a.example/x`"),
            ("http://a.example:80", "write `http://a.example`"),
            ("https://a.example:", "1 to 65535"),
            ("https://a.example:0", "1 to 65535"),
            ("https://a.example:08443", "1 to 65535"),
            ("https://a.example:+8443", "1 to 65535"),
            ("https://a.example:65536", "1 to 65535"),
            ("https://a.example:1:2", "1 to 65535"),
            ("https://[::1]x", "HOST:PORT"),
            ("https://[::1", "[2001:db8::1]"),
            ("https://[::1%25eth0]", "[2001:db8::1]"),
            ("https://::1", "names no host"),
            ("https://b\u{fc}cher.example", "xn--"),
            ("https://a..example", "malformed"),
            ("https://a.example.", "malformed"),
            ("https://a b.example", "malformed"),
            ("https://a%2eexample", "malformed"),
            ("https://a\\b", "malformed"),
            ("https://127.1", "four decimal numbers"),
            ("https://2130706433", "four decimal numbers"),
            ("https://0x7f.0x1", "four decimal numbers"),
            ("https://192.0.2.01", "four decimal numbers"),
        ] {
            let why = WebOrigin::split(text).unwrap_err();
            assert!(why.contains(remedy), "{text}: {why}");
        }
    }
}
