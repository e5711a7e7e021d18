//! Whether a request that carries its credential in a cookie was meant by the user: browsers send cookies
//! along with what other sites ask them to send.

use crate::config::cors::CorsDef;
use crate::facts::{Facts, Found};

/// Whether the request needs no further proof, or has it: a method that changes nothing (RFC 9110 section
/// 9.2.1) without `Upgrade`, `Sec-Fetch-Site` of the own origin or of the user's own doing, or an `Origin`
/// that is ours, or that `cors` trusts with the user's cookies.
pub fn is_meant<'r>(facts: &impl Facts<'r>, cors: Option<&CorsDef>) -> bool {
    let harmless = matches!(facts.method(), b"GET" | b"HEAD" | b"OPTIONS") && facts.header("Upgrade") == Found::None;
    harmless
        || matches!(facts.header("Sec-Fetch-Site"), Found::One(b"same-origin" | b"none"))
        || is_own_origin(facts)
        || cors.is_some_and(|cors| cors.trusts(facts.header("Origin")))
}

/// `Origin` (RFC 6454 section 6.2) against scheme and Host.
fn is_own_origin<'r>(facts: &impl Facts<'r>) -> bool {
    let (Found::One(origin), Found::One(host)) = (facts.header("Origin"), facts.header("Host")) else { return false };
    let scheme = facts.own_scheme();
    let Some(rest) = strip_prefix_ignore_case(origin, scheme).and_then(|rest| rest.strip_prefix(b"://")) else {
        return false;
    };
    let default_port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") { b":443" } else { b":80" };
    let plain = |authority: &'r [u8]| authority.strip_suffix(default_port).unwrap_or(authority);
    let host = plain(host);
    !host.is_empty() && plain(rest).eq_ignore_ascii_case(host)
}

fn strip_prefix_ignore_case<'t>(text: &'t [u8], prefix: &[u8]) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::facts::PlainFacts;

    fn meant(method: &str, headers: &[(&str, &[u8])]) -> bool {
        meant_with(None, method, headers)
    }

    fn meant_with(cors: Option<&CorsDef>, method: &str, headers: &[(&str, &[u8])]) -> bool {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let method = method.as_bytes();
        let facts = PlainFacts { client: local, peer: local, method, query: None, headers, own_scheme: b"https" };
        is_meant(&facts, cors)
    }

    #[test]
    fn reading_needs_no_proof_but_an_upgrade_does() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(meant(method, &[]));
            assert!(!meant(method, &[("Upgrade", b"websocket")]));
        }
        assert!(meant("GET", &[("Upgrade", b"websocket"), ("Sec-Fetch-Site", b"same-origin")]));
        for method in ["POST", "PUT", "DELETE", "PATCH", "get", "PROPFIND", ""] {
            assert!(!meant(method, &[]), "{method}");
        }
    }

    #[test]
    fn what_the_browser_says_of_the_site() {
        assert!(meant("POST", &[("Sec-Fetch-Site", b"same-origin")]));
        assert!(meant("POST", &[("Sec-Fetch-Site", b"none")]));
        for site in [&b"cross-site"[..], b"same-site", b"", b"Same-Origin", b"same-origin, none"] {
            assert!(!meant("POST", &[("Sec-Fetch-Site", site)]));
        }
        assert!(!meant("POST", &[("Sec-Fetch-Site", b"none"), ("Sec-Fetch-Site", b"none")]));
    }

    #[test]
    fn origins_that_are_trusted_with_cookies() {
        let with = |cors: &[&str], origin: &[u8]| {
            let cors = crate::config::cors::parse(cors).unwrap().unwrap();
            meant_with(Some(&cors), "POST", &[("Origin", origin), ("Sec-Fetch-Site", b"cross-site")])
        };
        let trusted = ["https://app.example", "https://b.example:8443", "credentials=on"];
        assert!(with(&trusted, b"https://app.example") && with(&trusted, b"https://b.example:8443"));
        for origin in [&b"https://evil.example"[..], b"https://app.example.evil", b"HTTPS://app.example", b"null", b""]
        {
            assert!(!with(&trusted, origin), "{}", origin.escape_ascii());
        }
        assert!(!with(&["https://app.example"], b"https://app.example"), "without credentials=on");
        assert!(!with(&["*"], b"https://app.example") && !with(&["*"], b"*"));
    }

    #[test]
    fn the_own_origin() {
        let with =
            |origin: &str, host: &str| meant("POST", &[("Origin", origin.as_bytes()), ("Host", host.as_bytes())]);
        assert!(with("https://a.example", "a.example"));
        assert!(with("HTTPS://A.example", "a.EXAMPLE:443"));
        assert!(with("https://a.example:8443", "a.example:8443"));
        for (origin, host) in [
            ("http://a.example", "a.example"),
            ("https://b.example", "a.example"),
            ("https://a.example.evil", "a.example"),
            ("https://a.example:8443", "a.example"),
            ("https://a.example:80", "a.example"),
            ("https://a.example/", "a.example"),
            ("null", "a.example"),
            ("", "a.example"),
            ("https://", ""),
            ("https://:443", ":443"),
            ("https://:443", ""),
            ("https://", ":443"),
        ] {
            assert!(!with(origin, host), "{origin} {host}");
        }
        assert!(!meant("POST", &[("Origin", b"https://a.example")]));
    }
}
