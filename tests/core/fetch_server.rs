//! Identity providers as good and as bad as a test needs them, over plain TCP and over TLS.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::Duration,
};

use jwt_gate_core::fetch::{Fetched, Fetcher, RemoteKeys, Url};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// What is expected to succeed, or to fail for another reason, has this long.
pub(crate) const PLENTY: Duration = Duration::from_secs(30);

/// A timeout that is expected to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Looks like a JWK set.
pub(crate) const KEYS: &[u8] = br#"{"keys":[]}"#;

/// A connection that a script answers on.
pub(crate) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// What a server does with a request, given the path.
type Script = dyn Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync;

/// Serves for as long as the test runs.
pub(crate) struct Server {
    /// As `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn http(script: impl Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::http_at(|_| script)
    }

    /// As `https://localhost:PORT`.
    pub(crate) fn https(
        config: Arc<ServerConfig>,
        script: impl Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::https_at(config, |_| script)
    }

    /// With a script that knows where it is played.
    pub(crate) fn http_at<S>(script: impl FnOnce(String) -> S) -> Self
    where
        S: Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start("http://127.0.0.1", |origin| Arc::new(script(origin)), |mut stream, serve| serve(&mut stream))
    }

    pub(crate) fn https_at<S>(config: Arc<ServerConfig>, script: impl FnOnce(String) -> S) -> Self
    where
        S: Fn(&str, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start(
            "https://localhost",
            |origin| Arc::new(script(origin)),
            move |stream, serve| {
                let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
                serve(&mut stream)?;
                stream.conn.send_close_notify();
                stream.flush()
            },
        )
    }

    fn start(
        origin: &str,
        script: impl FnOnce(String) -> Arc<Script>,
        accept: impl Fn(TcpStream, &dyn Fn(&mut dyn Wire) -> io::Result<()>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let origin = format!("{origin}:{port}");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, accept, script) = (heads.clone(), Arc::new(accept), script(origin.clone()));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, accept, script) = (seen.clone(), accept.clone(), script.clone());
                thread::spawn(move || {
                    // Clients that leave early are what some tests are about.
                    let _ = accept(stream.unwrap(), &|wire| {
                        let head = read_head(wire)?;
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        seen.lock().unwrap().push(head);
                        script(&path, wire)?;
                        wire.flush()
                    });
                });
            }
        });
        Self { origin, port, heads }
    }

    /// The keys at this path.
    pub(crate) fn keys(&self, path: &str) -> RemoteKeys {
        keys(&format!("{}{path}", self.origin))
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The paths of the requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

pub(crate) fn keys(url: &str) -> RemoteKeys {
    RemoteKeys::JwkSet(Url::parse(url).unwrap())
}

/// Fetches with trust in whom the system trusts.
pub(crate) fn fetch_plain(from: &RemoteKeys, timeout: Duration) -> Result<Fetched, String> {
    static FETCHER: LazyLock<Fetcher> = LazyLock::new(|| Fetcher::new(None).unwrap());
    fetch(&FETCHER, from, timeout)
}

/// Fetches, and checks that an error is one short line.
pub(crate) fn fetch(fetcher: &Fetcher, from: &RemoteKeys, timeout: Duration) -> Result<Fetched, String> {
    let fetched = fetcher.fetch(from, timeout);
    if let Err(error) = &fetched {
        assert!((1..=600).contains(&error.len()), "{} bytes", error.len());
        assert!(error.bytes().all(|b| matches!(b, b' '..=b'~')), "{error:?}");
    }
    fetched
}

/// An answer with its length.
pub(crate) fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Sends the reader elsewhere.
pub(crate) fn redirect(status: u16, location: &str) -> Vec<u8> {
    answer(&format!("{status} Elsewhere"), &format!("Location: {location}\r\n"), b"<html>moved</html>")
}

fn read_head(wire: &mut dyn Wire) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        wire.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::with_key("Tests", KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa() -> Self {
        let key = include_bytes!("../data/keys/rsa.pkcs8").as_slice().into();
        Self::with_key("Tests with RSA", KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_RSA_SHA256).unwrap())
    }

    fn with_key(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A certificate for a name, or what `change` makes of it, and its key.
    pub(crate) fn sign(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().into(), key.into())
    }

    /// A server with a sound certificate for this name.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.server_with(name, |_| {})
    }

    pub(crate) fn server_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(name, change);
        tls_server(rustls::ALL_VERSIONS, certificate, key)
    }

    /// A fetcher that trusts this authority alone.
    pub(crate) fn fetcher(&self) -> Fetcher {
        Fetcher::new(Some(self.pem().as_bytes())).unwrap()
    }
}

pub(crate) fn tls_server(
    versions: &[&'static rustls::SupportedProtocolVersion],
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.unwrap())
}
