//! Whose certificates are trusted.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

use jwt_gate_core::fetch::{Fetcher, check_ca};
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::ResolvesServerCertUsingSni,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::fetch_server::{Authority, KEYS, PLENTY, SHORT, Server, Wire, answer, fetch, keys, tls_server};

fn serve_keys(_: &str, wire: &mut dyn Wire) -> std::io::Result<()> {
    wire.write_all(&answer("200 OK", "", KEYS))
}

/// The error of fetching from a server with this configuration, with trust in `authority`.
fn error_of(authority: &Authority, config: Arc<ServerConfig>) -> String {
    let server = Server::https(config, serve_keys);
    let error = fetch(&authority.fetcher(), &server.keys("/"), PLENTY).unwrap_err();
    assert_eq!(server.heads().len(), 0, "nothing is asked of whom we do not trust");
    error.strip_prefix(&format!("{}/: ", server.origin)).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a_private_authority_is_trusted_if_it_is_named() {
    for authority in [Authority::new(), Authority::rsa()] {
        let server = Server::https(authority.server("localhost"), serve_keys);
        assert_eq!(fetch(&authority.fetcher(), &server.keys("/jwks"), PLENTY).unwrap().jwks, KEYS);
    }
    assert!(CryptoProvider::get_default().is_none(), "the process keeps its own idea of a provider");
}

#[test]
fn an_authority_that_nobody_named_is_not() {
    let stranger = Authority::new();
    let error = error_of(&Authority::rsa(), stranger.server("localhost"));
    assert!(error.starts_with("the certificate is not trusted (UnknownIssuer)") && error.contains("`ca="), "{error}");
    // One that was made anew under its old name.
    let error = error_of(&Authority::new(), stranger.server("localhost"));
    assert!(error.starts_with("the certificate is not trusted (BadSignature)") && error.contains("`ca="), "{error}");

    let server = Server::https(stranger.server("localhost"), serve_keys);
    let error = fetch(&Fetcher::new(None).unwrap(), &server.keys("/"), PLENTY).unwrap_err();
    assert!(error.contains("`ca=PATH`"), "{error}");
}

#[test]
fn both_versions_of_tls_that_are_still_good() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let (certificate, key) = authority.sign("localhost", |_| {});
        let server = Server::https(tls_server(&[version], certificate, key), serve_keys);
        assert_eq!(fetch(&authority.fetcher(), &server.keys("/"), PLENTY).unwrap().jwks, KEYS);
    }
}

#[test]
fn the_server_is_told_which_name_is_meant() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost", |_| {});
    let mut by_name = ResolvesServerCertUsingSni::new();
    let provider = Arc::new(ring::default_provider());
    by_name.add("localhost", CertifiedKey::from_der(vec![certificate], key, &provider).unwrap()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let server =
        Server::https(Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(by_name))), serve_keys);
    assert_eq!(fetch(&authority.fetcher(), &server.keys("/"), PLENTY).unwrap().jwks, KEYS);
}

#[test]
fn certificates_for_addresses() {
    let authority = Authority::new();
    let server = Server::https(authority.server("127.0.0.1"), serve_keys);
    let url = format!("https://127.0.0.1:{}/", server.port);
    assert_eq!(fetch(&authority.fetcher(), &keys(&url), PLENTY).unwrap().jwks, KEYS);
}

#[test]
fn certificates_that_do_not_hold() {
    let authority = Authority::new();
    let dated = |from, to| {
        authority.server_with("localhost", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    assert_eq!(error_of(&authority, dated(2000, 2001)), "the certificate has expired");
    assert!(error_of(&authority, dated(2190, 2191)).starts_with("the certificate is not valid yet"));
    let other = "the certificate is for another host name";
    assert_eq!(error_of(&authority, authority.server("id.example")), other);
    assert_eq!(error_of(&authority, authority.server("127.0.0.1")), other);
    let of_an_authority = authority.server_with("localhost", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert!(error_of(&authority, of_an_authority).contains("basicConstraints=CA:FALSE"));
}

#[test]
fn ports_on_which_the_other_protocol_is_spoken() {
    let plain = Server::http(serve_keys);
    let authority = Authority::new();
    let error = fetch(&authority.fetcher(), &keys(&format!("https://127.0.0.1:{}/", plain.port)), SHORT).unwrap_err();
    // The server waits for the end of a header that never comes.
    assert!(error.ends_with("no answer within 300ms"), "{error}");

    let greeting = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = greeting.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = greeting.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = fetch(&authority.fetcher(), &keys(&format!("https://127.0.0.1:{port}/")), PLENTY).unwrap_err();
    assert!(error.ends_with("the server does not speak TLS on this port"), "{error}");

    let tls = Server::https(authority.server("localhost"), serve_keys);
    let error = fetch(&authority.fetcher(), &keys(&format!("http://127.0.0.1:{}/", tls.port)), PLENTY).unwrap_err();
    assert!(error.contains("the answer is not HTTP/1.1") || error.contains("was closed before"), "{error}");
}

#[test]
fn a_handshake_has_no_time_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = thread::spawn(move || listener.accept().unwrap().0.read_to_end(&mut Vec::new()));
    let fetcher = Authority::new().fetcher();
    let error = fetch(&fetcher, &keys(&format!("https://127.0.0.1:{port}/")), SHORT).unwrap_err();
    assert!(error.ends_with("no answer within 300ms"), "{error}");
    assert!(silent.join().unwrap().unwrap() > 0, "the client said hello, and then hung up");
}

#[test]
fn an_answer_cut_off_inside_of_tls() {
    let authority = Authority::new();
    let server = Server::https(authority.server("localhost"), |_, wire| {
        wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"keys\":[]}")
    });
    let error = fetch(&authority.fetcher(), &server.keys("/"), PLENTY).unwrap_err();
    assert!(error.ends_with("the connection was closed before the answer was complete"), "{error}");
}

#[test]
fn files_of_several_authorities() {
    let (one, two) = (Authority::new(), Authority::rsa());
    let other = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let public = include_str!("../data/keys/rsa.pub.pem");
    let file = format!("# one\r\n{}{other}{public}Subject: two\n{}", one.pem().replace('\n', "\r\n"), two.pem());
    check_ca(file.as_bytes()).unwrap();
    let fetcher = Fetcher::new(Some(file.as_bytes())).unwrap();
    for authority in [one, two] {
        let server = Server::https(authority.server("localhost"), serve_keys);
        assert_eq!(fetch(&fetcher, &server.keys("/"), PLENTY).unwrap().jwks, KEYS);
    }
}

#[test]
fn files_that_are_not_for_this() {
    let authority = Authority::new();
    let (pem, key) = (authority.pem(), authority.key_pem());
    let (certificate, _) = authority.sign("localhost", |_| {});
    for (file, remedy) in [
        (format!("{pem}{key}"), "private key"),
        (
            format!("{pem}-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"),
            "private key",
        ),
        (format!("{pem}{}", include_str!("../data/keys/rsa.pem")), "private key"),
        (include_str!("../data/keys/rsa.pub.pem").to_owned(), "-----BEGIN CERTIFICATE-----"),
        (String::new(), "-----BEGIN CERTIFICATE-----"),
        ("\u{1b}[31m".to_owned(), "-----BEGIN CERTIFICATE-----"),
        (
            pem.replace("BEGIN CERT", "BEGIN TRUSTED CERT").replace("END CERT", "END TRUSTED CERT"),
            "-----BEGIN CERTIFICATE-----",
        ),
        (format!("{pem}{}", pem.replace("-----END CERTIFICATE-----", "")), "certificate 2"),
        (format!("{pem}{}", pem.replace("\nMII", "\n\u{1b}!!")), "certificate 2"),
        (format!("{pem}-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), "certificate 2"),
    ] {
        let error = check_ca(file.as_bytes()).unwrap_err();
        assert!(error.contains(remedy), "{file}: {error}");
        assert!(error.len() < 300 && error.bytes().all(|b| matches!(b, b' '..=b'~')), "{error:?}");
        assert_eq!(Fetcher::new(Some(file.as_bytes())).unwrap_err(), error);
    }
    assert!(check_ca(&certificate).unwrap_err().contains("openssl x509 -inform DER"));
}
