//! From an issuer to its keys.

use std::io;

use jwt_gate_core::fetch::{Fetched, RemoteKeys, discovery::jwks_uri};

use super::fetch_server::{Authority, KEYS, PLENTY, SHORT, Server, Wire, answer, fetch, fetch_plain};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// What a provider answers at a path, in which `ORIGIN` stands for its own. Bodies, or whole answers.
type Pages = &'static [(&'static str, &'static str)];

fn script(pages: Pages, origin: String) -> impl Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync {
    move |path, wire| {
        let page = pages.iter().find(|(at, _)| *at == path).map(|(_, text)| text.replace("ORIGIN", &origin));
        wire.write_all(&match page {
            Some(text) if text.starts_with("HTTP/") => text.into_bytes(),
            Some(text) => answer("200 OK", "", text.as_bytes()),
            None => answer("404 Not Found", "", b""),
        })
    }
}

/// A provider with these pages; everything else is a 404.
fn provider(pages: Pages) -> Server {
    Server::http_at(|origin| script(pages, origin))
}

/// Fetches the keys of the issuer that is `server` with this path.
fn discover(server: &Server, path: &str) -> Result<Fetched, String> {
    fetch_plain(&issuer(server, path), PLENTY)
}

fn issuer(server: &Server, path: &str) -> RemoteKeys {
    RemoteKeys::discovery(&format!("{}{path}", server.origin)).unwrap()
}

const JWKS: (&str, &str) = ("/jwks", r#"{"keys":[]}"#);

#[test]
fn openid_connect_has_the_first_word() {
    let server = provider(&[
        (OPENID, r#"{"issuer":"ORIGIN","jwks_uri":"ORIGIN/jwks","scopes_supported":["openid"]}"#),
        ("/jwks", "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\n\r\n{\"keys\":[]}"),
    ]);
    let fetched = discover(&server, "").unwrap();
    assert_eq!((fetched.jwks.as_slice(), fetched.max_age.unwrap().as_secs()), (KEYS, 60));
    assert_eq!(fetched.url, format!("{}/jwks", server.origin));
    assert_eq!(server.paths(), [OPENID, "/jwks"]);
}

#[test]
fn the_issuers_path_comes_before_the_well_known_one() {
    let server = provider(&[
        ("/realms/one/.well-known/openid-configuration", r#"{"issuer":"ORIGIN/realms/one/","jwks_uri":"ORIGIN/jwks"}"#),
        JWKS,
    ]);
    assert_eq!(discover(&server, "/realms/one/").unwrap().jwks, KEYS);
}

#[test]
fn oauth_servers_have_the_well_known_path_before_theirs() {
    let server = provider(&[
        (
            "/.well-known/oauth-authorization-server/realms/one",
            r#"{"issuer":"ORIGIN/realms/one","jwks_uri":"ORIGIN/jwks"}"#,
        ),
        JWKS,
    ]);
    assert_eq!(discover(&server, "/realms/one").unwrap().jwks, KEYS);
    let openid = "/realms/one/.well-known/openid-configuration";
    assert_eq!(server.paths(), [openid, "/.well-known/oauth-authorization-server/realms/one", "/jwks"]);

    let server = provider(&[(OAUTH, r#"{"issuer":"ORIGIN/","jwks_uri":"ORIGIN/jwks"}"#), JWKS]);
    assert_eq!(discover(&server, "/").unwrap().jwks, KEYS);
    assert_eq!(server.paths(), [OPENID, OAUTH, "/jwks"]);
}

#[test]
fn only_a_clients_error_leads_to_oauth() {
    for (status, asked) in [("400", 2), ("401", 2), ("403", 2), ("410", 2), ("499", 2), ("500", 1), ("503", 1)] {
        let server = Server::http(move |_, wire| wire.write_all(&answer(status, "", b"")));
        let error = discover(&server, "").unwrap_err();
        assert_eq!(server.paths().len(), asked, "{status}: {error}");
        assert!(error.contains(&format!("{OPENID}: answered with status {status}")), "{error}");
        assert_eq!(error.contains(&format!("{OAUTH}: answered with status {status}")), asked == 2, "{error}");
    }
    for silence in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
        let server = Server::http(move |_, wire| wire.write_all(silence.as_bytes()));
        assert!(discover(&server, "").is_err());
        assert_eq!(server.paths(), [OPENID]);
    }
    let server = Server::http(|_, wire| wire.read_to_end(&mut Vec::new()).map(drop));
    let error = fetch_plain(&issuer(&server, ""), SHORT).unwrap_err();
    assert!(error.ends_with("no answer within 300ms") && server.paths() == [OPENID], "{error}");
}

#[test]
fn each_exchange_has_the_whole_time() {
    // Each takes less than the time, both together more.
    let server = Server::http_at(|origin| {
        let pages = script(&[(OPENID, r#"{"issuer":"ORIGIN","jwks_uri":"ORIGIN/jwks"}"#), JWKS], origin);
        move |path, wire| {
            std::thread::sleep(SHORT * 4);
            pages(path, wire)
        }
    });
    assert_eq!(fetch_plain(&issuer(&server, ""), SHORT * 7).unwrap().jwks, KEYS);
}

#[test]
fn metadata_may_be_moved_and_so_may_the_keys() {
    let server = provider(&[
        (OPENID, "HTTP/1.1 301 Moved\r\nLocation: /metadata\r\nContent-Length: 0\r\n\r\n"),
        ("/metadata", r#"{"issuer":"ORIGIN","jwks_uri":"ORIGIN/old"}"#),
        ("/old", "HTTP/1.1 307 Moved\r\nLocation: /jwks\r\nContent-Length: 0\r\n\r\n"),
        JWKS,
    ]);
    assert_eq!(discover(&server, "").unwrap().url, format!("{}/jwks", server.origin));
}

#[test]
fn another_issuer_is_named_with_the_expected_one() {
    let server = provider(&[(OPENID, r#"{"issuer":"https://other.example","jwks_uri":"ORIGIN/jwks"}"#), JWKS]);
    let error = discover(&server, "").unwrap_err();
    let origin = &server.origin;
    let says = format!(
        "{origin}{OPENID}: the document says issuer `https://other.example`, the configuration and tokens `{origin}`"
    );
    assert_eq!(error, says);
    assert_eq!(server.paths(), [OPENID]);
}

#[test]
fn the_final_slash_is_hinted_at() {
    let document = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://id.example/jwks"}}"#);
    let error = |named: &str, issuer: &str| jwks_uri(document(named).as_bytes(), issuer).unwrap_err();
    assert!(error("https://id.example/", "https://id.example").contains("write it with `/`"));
    assert!(error("https://id.example", "https://id.example/").contains("write it without `/`"));
    assert!(!error("https://id.example", "https://id.example//").contains("write it"));
    assert!(!error("https://ID.example", "https://id.example").contains("write it"));
    let error = error(&format!("https://id.example/{}", "\\u001b\\n\u{e9}".repeat(1000)), "https://id.example");
    assert!(error.len() < 300 && error.bytes().all(|b| matches!(b, b' '..=b'~')), "{error:?}");
    assert!(error.contains("`https://id.example/\\x1b\\x0a\\xc3\\xa9\\x1b"), "{error}");
}

#[test]
fn keys_come_from_where_keys_may_come_from() {
    let target = |issuer: &str, uri: &str| {
        jwks_uri(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#).as_bytes(), issuer).map(|url| url.to_string())
    };
    let (https, local) = ("https://id.example", "http://localhost:8080");
    for (issuer, uri) in [
        (https, "https://id.example/jwks?v=1"),
        (https, "https://keys.example/jwks"),
        (local, "http://127.0.0.1/jwks"),
        (local, "https://keys.example/jwks"),
    ] {
        assert_eq!(target(issuer, uri).as_deref(), Ok(uri));
    }
    for (issuer, uri) in [
        (https, "http://localhost/jwks"),
        (https, "http://id.example/jwks"),
        (local, "http://id.example/jwks"),
        (https, "https://user@id.example/jwks"),
        (https, "https://id.example/jwks#x"),
        (https, "file:///etc/passwd"),
        (https, "/jwks"),
        (https, ""),
    ] {
        let error = target(issuer, uri).unwrap_err();
        assert!(error.starts_with(&format!("its `jwks_uri` is `{uri}`; keys come over https only")), "{error}");
    }
}

#[test]
fn documents_that_are_no_metadata() {
    for (document, problem) in [
        (r#"{"issuer":"https://a"}"#, "it has no `jwks_uri`"),
        (r#"{"jwks_uri":"https://a/jwks"}"#, "it has no `issuer`"),
        (r#"{"issuer":"https://a","jwks_uri":["https://a/jwks"]}"#, "its `jwks_uri` is no text"),
        (r#"{"issuer":"https://a","jwks_uri":null}"#, "its `jwks_uri` is no text"),
        (r#"{"issuer":7,"jwks_uri":"https://a/jwks"}"#, "its `issuer` is no text"),
        (r#"{"issuer":"https://a","jwks_uri":"https://a/1","jwks_uri":"https://a/2"}"#, "twice"),
        (r#"{"issuer":"https://b","\u0069ssuer":"https://a","jwks_uri":"https://a/1"}"#, "twice"),
        (r#"{"issuer":"https://a","jwks_uri":"https://a/1"}}"#, "trailing"),
        (r#"[{"issuer":"https://a","jwks_uri":"https://a/1"}]"#, "it has no `issuer`"),
        ("<!DOCTYPE html>", "expected value"),
        ("", "EOF"),
        ("\u{feff}{}", "expected value"),
    ] {
        let error = jwks_uri(document.as_bytes(), "https://a").unwrap_err();
        assert!(error.starts_with("not the metadata of an issuer: ") && error.contains(problem), "{document}: {error}");
    }
}

#[test]
fn an_https_issuer_from_end_to_end() {
    let authority = Authority::new();
    let pages: Pages =
        &[("/tenant/.well-known/openid-configuration", r#"{"issuer":"ORIGIN/tenant","jwks_uri":"ORIGIN/jwks"}"#), JWKS];
    let server = Server::https_at(authority.server("localhost"), |origin| script(pages, origin));
    assert_eq!(fetch(&authority.fetcher(), &issuer(&server, "/tenant"), PLENTY).unwrap().jwks, KEYS);
}

#[test]
fn what_is_no_address_is_no_issuer_to_discover() {
    for issuer in ["https://id.example/?a=b", "https://id.example?", "https://id.example/#", "http://id.example", "id"]
    {
        assert!(RemoteKeys::discovery(issuer).is_err(), "{issuer}");
        let error = fetch_plain(&RemoteKeys::Discovery(issuer.to_owned()), PLENTY).unwrap_err();
        assert_eq!(error, RemoteKeys::discovery(issuer).unwrap_err());
    }
    assert!(RemoteKeys::discovery("https://id.example/?").unwrap_err().contains("`jwks=https://...`"));
}

#[test]
fn where_keys_come_from_is_said_in_the_log() {
    let issuer = RemoteKeys::discovery("https://id.example/").unwrap();
    assert_eq!((issuer.to_string().as_str(), issuer.is_plain()), ("discovery of https://id.example/", false));
    let set = super::fetch_server::keys("http://localhost:8080/jwks");
    assert_eq!((set.to_string().as_str(), set.is_plain()), ("http://localhost:8080/jwks", true));
    assert!(RemoteKeys::discovery("http://[::1]/").unwrap().is_plain());
    assert!(!RemoteKeys::Discovery("urn:x".to_owned()).is_plain());
}
