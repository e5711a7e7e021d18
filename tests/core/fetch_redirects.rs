//! Where a server may send us, and where not.

use super::fetch_server::{Authority, KEYS, PLENTY, SHORT, Server, answer, fetch, fetch_plain, redirect};

/// A server that answers `/hops/N` with N redirects and then the keys.
fn hops(status: u16) -> Server {
    Server::http(move |path, wire| match path.strip_prefix("/hops/").map(|n| n.parse::<usize>().unwrap()) {
        Some(0) | None => wire.write_all(&answer("200 OK", "Cache-Control: max-age=7\r\n", KEYS)),
        Some(n) => wire.write_all(&redirect(status, &format!("/hops/{}", n - 1))),
    })
}

/// The error of fetching from a server that redirects with these header fields.
fn error_of(fields: impl Into<Vec<u8>>) -> String {
    let bytes = [b"HTTP/1.1 302 Found\r\n", fields.into().as_slice(), b"Content-Length: 0\r\n\r\n"].concat();
    let server = Server::http(move |_, wire| wire.write_all(&bytes));
    let error = fetch_plain(&server.keys("/jwks"), PLENTY).unwrap_err();
    error.strip_prefix(&format!("{}/jwks: ", server.origin)).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn three_redirects_of_every_kind_are_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = hops(status);
        for count in [1, 3] {
            let fetched = fetch_plain(&server.keys(&format!("/hops/{count}")), PLENTY).unwrap();
            assert_eq!((fetched.jwks.as_slice(), fetched.max_age.unwrap().as_secs()), (KEYS, 7));
            assert_eq!(fetched.url, format!("{}/hops/0", server.origin));
        }
    }
}

#[test]
fn a_fourth_redirect_is_not() {
    let server = hops(302);
    let error = fetch_plain(&server.keys("/hops/4"), PLENTY).unwrap_err();
    assert_eq!(error, format!("{}/hops/4: was redirected more than 3 times", server.origin));
    assert_eq!(server.paths(), ["/hops/4", "/hops/3", "/hops/2", "/hops/1"]);

    let endless = Server::http(|path, wire| wire.write_all(&redirect(302, path)));
    let error = fetch_plain(&endless.keys("/"), PLENTY).unwrap_err();
    assert!(error.ends_with("was redirected more than 3 times"), "{error}");
}

#[test]
fn relative_addresses_are_relative_to_where_they_are_found() {
    let server = Server::http(|path, wire| {
        wire.write_all(&match path {
            "/a/b/start?x" => redirect(302, "../c/next"),
            "/a/c/next" => redirect(302, "?v=2"),
            "/a/c/next?v=2" => answer("200 OK", "", KEYS),
            _ => answer("404 Not Found", "", b""),
        })
    });
    let fetched = fetch_plain(&server.keys("/a/b/start?x"), PLENTY).unwrap();
    assert_eq!(fetched.url, format!("{}/a/c/next?v=2", server.origin));
}

#[test]
fn an_error_behind_a_redirect_names_both_addresses() {
    let server = Server::http(|path, wire| {
        wire.write_all(&match path {
            "/jwks" => redirect(302, "/other"),
            _ => answer("500 Broken", "", b""),
        })
    });
    let error = fetch_plain(&server.keys("/jwks"), PLENTY).unwrap_err();
    let o = &server.origin;
    assert_eq!(error, format!("{o}/other (redirected from {o}/jwks): answered with status 500"));
}

#[test]
fn one_deadline_holds_for_all_of_them() {
    let server = Server::http(|path, wire| match path {
        "/jwks" => wire.write_all(&redirect(302, "/silence")),
        _ => wire.read_to_end(&mut Vec::new()).map(drop),
    });
    let error = fetch_plain(&server.keys("/jwks"), SHORT).unwrap_err();
    let o = &server.origin;
    assert_eq!(error, format!("{o}/silence (redirected from {o}/jwks): no answer within 300ms"));

    // Each takes less than the time, both together more.
    let server = Server::http(|path, wire| {
        std::thread::sleep(SHORT * 4);
        wire.write_all(&match path {
            "/jwks" => redirect(302, "/other"),
            _ => answer("200 OK", "", KEYS),
        })
    });
    let error = fetch_plain(&server.keys("/jwks"), SHORT * 7).unwrap_err();
    assert!(error.ends_with("no answer within 2100ms"), "{error}");
}

#[test]
fn plain_http_leads_to_this_machine_or_to_https() {
    let authority = Authority::new();
    let https = Server::https(authority.server("localhost"), |_, wire| wire.write_all(&answer("200 OK", "", KEYS)));
    let there = format!("{}/jwks", https.origin);
    let there_and = there.clone();
    let http = Server::http(move |_, wire| wire.write_all(&redirect(302, &there)));
    assert_eq!(fetch(&authority.fetcher(), &http.keys("/"), PLENTY).unwrap().url, there_and);

    for location in ["http://id.example/", "http://192.0.2.1/", "ftp://127.0.0.1/", "file:///etc/passwd"] {
        let error = error_of(format!("Location: {location}\r\n"));
        assert!(error.starts_with(&format!("was redirected to `{location}`; keys come over https only")), "{error}");
    }
}

#[test]
fn https_leads_to_https_alone() {
    let authority = Authority::new();
    let http = Server::http(|_, wire| wire.write_all(&answer("200 OK", "", KEYS)));
    let plain = http.origin.clone();
    let https = Server::https(authority.server("localhost"), move |path, wire| {
        wire.write_all(&match path {
            "/down" => redirect(302, &plain),
            "/on" => redirect(302, "/keys"),
            _ => answer("200 OK", "", KEYS),
        })
    });
    let fetcher = authority.fetcher();
    assert_eq!(fetch(&fetcher, &https.keys("/on"), PLENTY).unwrap().url, format!("{}/keys", https.origin));
    let error = fetch(&fetcher, &https.keys("/down"), PLENTY).unwrap_err();
    assert!(error.contains(&format!("was redirected to `{}`; keys come over https only", http.origin)), "{error}");
    assert_eq!(http.heads().len(), 0);
}

#[test]
fn hostile_addresses_lead_nowhere() {
    for (location, shown) in [
        (b"http://user:pass@127.0.0.1/".as_slice(), "`http://user:pass@127.0.0.1/`"),
        (b"http://127.0.0.1/#x", "`http://127.0.0.1/#x`"),
        (b"http://127.0.0.1\\@id.example/", "`http://127.0.0.1\\@id.example/`"),
        (b"/\xff\xfe", "`/\\xff\\xfe`"),
        (b"/\xc2\x85[error] forged", "`/\\xc2\\x85[error] forged`"),
        (b"/a\tb", "`/a\\x09b`"),
        (b"/\"<script>", "`/\"<script>`"),
    ] {
        let error = error_of([b"Location: ", location, b"\r\n"].concat());
        assert!(error.starts_with(&format!("was redirected to {shown}; ")), "{error}");
    }
    let error = error_of(format!("Location: https://id.example/{}\r\n", "a".repeat(20_000)));
    assert!(error.contains("aaa...`; ") && error.len() < 300, "{error}");
}

#[test]
fn nowhere_and_two_places_are_no_place() {
    for fields in ["", "Location: /a\r\nLocation: /b\r\n"] {
        assert_eq!(error_of(fields), "was redirected, but not to one address", "{fields:?}");
    }
}
