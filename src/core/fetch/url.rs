//! Addresses that keys may be fetched from.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use rustls::pki_types::ServerName;
use ureq::http::Uri;

use super::quoted;

/// The longest address, in bytes.
pub const MAX_BYTES: usize = 2_000;

/// An address that keys may be fetched from (RFC 3986): https, or plain http to this machine, without user
/// and fragment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Url {
    text: String,
    uri: Uri,
}

impl Url {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// Text for the administrator that repeats the address and says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("`{}`: {why}", quoted(text)));
        if text.len() > MAX_BYTES {
            return refused(&format!("longer than {MAX_BYTES} bytes: use a shorter address"));
        }
        if !text.bytes().all(is_url_byte) {
            return refused("not a URL: encode other characters as %XX, and in host names as xn--");
        }
        if text.contains('#') {
            return refused("a fragment has no meaning here: leave out what begins with `#`");
        }
        let Ok(uri) = text.parse::<Uri>() else { return refused("not a URL: write `https://HOST/PATH`") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refused("not a whole URL: write `https://HOST/PATH`");
        };
        let is_http = match scheme {
            "https" => false,
            "http" => true,
            _ => return refused("keys must come over https: write `https://HOST/PATH`"),
        };
        if authority.as_str().contains('@') {
            return refused("names a user: leave out what stands before `@`");
        }
        let port = authority.as_str().strip_prefix(authority.host());
        if !port.is_some_and(is_port) {
            return refused("the port is a number from 1 to 65535: write `HOST:PORT`, or `HOST` alone");
        }
        if !is_host(authority.host()) {
            return refused("names no host: write `https://HOST/PATH`");
        }
        if is_http && !is_loopback(authority.host()) {
            return refused("keys must come over https: write `https://` (http is for 127.0.0.1, [::1] and localhost)");
        }
        Ok(Self { text: text.to_owned(), uri })
    }

    /// Whether this is plain http, which stays on this machine.
    pub fn is_plain(&self) -> bool {
        self.uri.scheme_str() == Some("http")
    }

    /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        self.uri.host().is_some_and(is_loopback)
    }

    /// Whether what came from here may name `target` as the address to go on with: nothing that came
    /// over https is continued in the clear.
    pub fn may_lead_to(&self, target: &Self) -> bool {
        self.is_plain() || !target.is_plain()
    }

    /// The address that `reference` means if it is found here (RFC 3986 section 5.2).
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn join(&self, reference: &str) -> Result<Self, String> {
        if has_scheme(reference) {
            return Self::parse(reference);
        }
        if reference.starts_with("//") {
            return Self::parse(&format!("{}:{reference}", self.scheme()));
        }
        let path = self.path();
        let (target, query) = match reference.split_once('?') {
            Some((target, query)) => (target, Some(query)),
            None => (reference, None),
        };
        let (path, query) = match target {
            "" => (path.to_owned(), query.or(self.uri.query())),
            _ if target.starts_with('/') => (without_dots(target), query),
            _ => {
                let folder = path.rfind('/').map_or("", |end| &path[..end]);
                (without_dots(&format!("{folder}/{target}")), query)
            }
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Self::parse(&format!("{}{path}{query}", self.origin()))
    }

    /// Scheme and authority, as `https://id.example.com:8443`.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.uri.authority().map_or("", |authority| authority.as_str()))
    }

    /// The path, `/` if there is none.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// Whether there is a query, be it empty.
    pub(super) fn has_query(&self) -> bool {
        self.text.contains('?')
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn scheme(&self) -> &str {
        if self.is_plain() { "http" } else { "https" }
    }
}

/// As it was written.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// RFC 3986 section 2, in any place.
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// What stands behind the host.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What a certificate can be checked for: an address, or a name whose last label is more than digits. Short
/// forms such as `127.1`, which resolvers take for addresses, are neither.
fn is_host(host: &str) -> bool {
    match ipv6(host) {
        Some(address) => address.is_some(),
        None => ServerName::try_from(host).is_ok(),
    }
}

fn is_loopback(host: &str) -> bool {
    match ipv6(host) {
        Some(address) => address.is_some_and(|address| address.is_loopback()),
        None => host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback()),
    }
}

/// What stands in brackets, if it is an address.
fn ipv6(host: &str) -> Option<Option<Ipv6Addr>> {
    Some(host.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// Whether a reference begins as RFC 3986 section 3.1 has it.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// An absolute path without the segments `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if segments.peek().is_none() {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_to_this_machine() {
        for text in [
            "https://id.example.com",
            "https://id.example.com/",
            "HTTPS://ID.Example.com:8443/realms/a%20b/certs?kind=sig&v=1",
            "https://192.0.2.1/keys",
            "https://[2001:db8::1]:444/keys",
            "https://my_idp.internal/k?",
        ] {
            let url = Url::parse(text).unwrap();
            assert!(!url.is_plain() && !url.is_loopback(), "{text}");
            assert_eq!(url.to_string(), text);
        }
        for text in [
            "http://localhost/jwks",
            "http://LOCALHOST:8080",
            "http://127.0.0.1:80/",
            "http://127.255.3.4/",
            "http://[::1]:1/",
        ] {
            let url = Url::parse(text).unwrap();
            assert!(url.is_plain() && url.is_loopback(), "{text}");
        }
        assert!(Url::parse("https://localhost/").unwrap().is_loopback());
    }

    #[test]
    fn everything_else_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("http://id.example.com/jwks", "keys must come over https"),
            ("http://127.0.0.1.example.com/", "keys must come over https"),
            ("http://localhost.example.com/", "keys must come over https"),
            ("http://[::ffff:127.0.0.1]/", "keys must come over https"),
            ("http://128.0.0.1/", "keys must come over https"),
            ("http://0.0.0.0/", "keys must come over https"),
            ("ftp://id.example.com/", "keys must come over https"),
            ("file:///etc/passwd", "https://"),
            ("http://127.1/", "host"),
            ("https://2130706433/", "host"),
            ("https://0x7f.1/", "host"),
            ("https://-/", "host"),
            ("https://a..b/", "host"),
            ("https://[fe80::1%25eth0]/", "write `https://"),
            ("https://[::1/", "write `https://"),
            ("https://:443/", "write `https://"),
            ("https:///jwks", "write `https://"),
            ("https://", "write `https://"),
            ("id.example.com", "write `https://"),
            ("/jwks", "write `https://"),
            ("", "write `https://"),
            ("https://user@id.example.com/", "leave out"),
            ("https://user:pass@id.example.com/", "leave out"),
            ("https://a%40b/", "https://"),
            ("https://id.example.com/#frag", "leave out"),
            ("https://id.example.com#", "leave out"),
            ("https://id.example.com:/", "1 to 65535"),
            ("https://id.example.com:0/", "1 to 65535"),
            ("https://id.example.com:65536/", "1 to 65535"),
            ("https://id.example.com:+443/", "1 to 65535"),
            ("https://id.example.com:x/", "https://"),
            ("https://id.example.com/a b", "%XX"),
            ("https://id.example.com\\@evil.example/", "%XX"),
            ("https://id.example.com/\r\nX: y", "%XX"),
            ("https://bücher.example/", "xn--"),
            (" https://id.example.com/", "%XX"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
        let longest = format!("https://a/{}", "x".repeat(MAX_BYTES - 10));
        assert!(Url::parse(&longest).is_ok());
        let error = Url::parse(&format!("{longest}x")).unwrap_err();
        assert!(error.contains("longer than 2000 bytes") && error.len() < 300, "{error}");
    }

    /// RFC 3986 section 5.4, as far as it means addresses that keys may come from.
    #[test]
    fn references_are_resolved_as_in_the_rfc() {
        let base = Url::parse("https://a/b/c/d;p?q").unwrap();
        for (reference, target) in [
            ("g", "https://a/b/c/g"),
            ("./g", "https://a/b/c/g"),
            ("g/", "https://a/b/c/g/"),
            ("/g", "https://a/g"),
            ("//g", "https://g"),
            ("?y", "https://a/b/c/d;p?y"),
            ("g?y", "https://a/b/c/g?y"),
            (";x", "https://a/b/c/;x"),
            ("", "https://a/b/c/d;p?q"),
            (".", "https://a/b/c/"),
            ("./", "https://a/b/c/"),
            ("..", "https://a/b/"),
            ("../", "https://a/b/"),
            ("../g", "https://a/b/g"),
            ("../..", "https://a/"),
            ("../../g", "https://a/g"),
            ("../../../g", "https://a/g"),
            ("/./g", "https://a/g"),
            ("/../g", "https://a/g"),
            ("g.", "https://a/b/c/g."),
            ("..g", "https://a/b/c/..g"),
            ("./g/.", "https://a/b/c/g/"),
            ("g/../h", "https://a/b/c/h"),
            ("g?y/../x", "https://a/b/c/g?y/../x"),
            ("https://g/x", "https://g/x"),
            ("./a:b", "https://a/b/c/a:b"),
            ("?u=https://x", "https://a/b/c/d;p?u=https://x"),
        ] {
            assert_eq!(base.join(reference).map(|url| url.to_string()).as_deref(), Ok(target), "{reference}");
        }
        assert_eq!(Url::parse("https://a").unwrap().join("g").unwrap().to_string(), "https://a/g");
        for reference in ["g:h", "javascript:alert(1)", "http://g/", "g#s", "//user@g/", "//", "/a b", "https:g"] {
            assert!(base.join(reference).is_err(), "{reference}");
        }
    }

    #[test]
    fn https_never_leads_to_plain_http() {
        let https = Url::parse("https://localhost/").unwrap();
        let http = Url::parse("http://localhost/").unwrap();
        assert!(https.may_lead_to(&https) && http.may_lead_to(&https) && http.may_lead_to(&http));
        assert!(!https.may_lead_to(&http));
    }
}
