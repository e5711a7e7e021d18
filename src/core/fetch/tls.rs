//! Whose certificates are trusted, and why one was not. TLS 1.2 and 1.3 over ring, always verified.

use std::sync::Arc;

use rustls::{
    CertificateError, Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::quoted;

/// Checks a file of trusted certificates (PEM): at least one, each of them readable. Other blocks and text
/// between them are passed over.
///
/// # Errors
/// No certificate, one that cannot be read, or a private key, which should not lie where this file lies. Text
/// for the administrator.
pub fn check_ca(pem: &[u8]) -> Result<(), String> {
    only(pem).map(drop)
}

/// These certificates and no others.
///
/// # Errors
/// As [`check_ca`].
pub(super) fn only(pem: &[u8]) -> Result<RootCerts, String> {
    const PRIVATE: &[u8] = b"PRIVATE KEY-----";
    if pem.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        return Err("there is a private key in it, which has no business here: leave only certificates".into());
    }
    let mut store = RootCertStore::empty();
    let mut trusted = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let broken = |e: String| format!("certificate {} cannot be read ({}): copy it again", index + 1, quoted(&e));
        let certificate = certificate.map_err(|e| broken(e.to_string()))?;
        store.add(certificate.clone()).map_err(|e| broken(e.to_string()))?;
        trusted.push(certificate);
    }
    match (trusted.as_slice(), pem) {
        ([], [0x30, ..]) => Err("no certificate in PEM form; if it is in DER: openssl x509 -inform DER -in FILE -out \
                                 CA.pem"
            .into()),
        ([], _) => Err("no certificate in it: it needs at least one -----BEGIN CERTIFICATE-----".into()),
        _ => Ok(roots(&trusted)),
    }
}

/// The certificates that the system trusts.
///
/// # Errors
/// There are none. Text for the log.
pub(super) fn system() -> Result<RootCerts, String> {
    let found = rustls_native_certs::load_native_certs();
    if !found.certs.is_empty() {
        return Ok(roots(&found.certs));
    }
    let why = found.errors.first().map(|e| format!(" ({})", quoted(&e.to_string()))).unwrap_or_default();
    Err(format!("the system has no trusted certificates{why}: install ca-certificates, or name a file with `ca=PATH`"))
}

fn roots(certificates: &[CertificateDer<'_>]) -> RootCerts {
    let owned = certificates.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    RootCerts::Specific(Arc::new(owned.collect()))
}

/// How a client has to do TLS that trusts the certificates in `ca` (PEM) and no others; without it, those of the
/// system.
///
/// # Errors
/// As [`check_ca`]; a system without certificates. Text for the administrator.
pub fn trusting(ca: Option<&[u8]>) -> Result<TlsConfig, String> {
    ca.map_or_else(system, only).map(config)
}

/// The provider is named here, since httpd's process may hold other code with another idea of the default.
pub(super) fn config(trusted: RootCerts) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(trusted)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

/// What went wrong, for the log.
pub(super) fn reason(error: &Error) -> String {
    use CertificateError as Bad;
    let text = match error {
        Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => {
                return format!(
                    "the certificate is not trusted ({bad:?}): if the authority that signed it is your own, name \
                     that with `ca=PATH`"
                );
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "the certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the certificate is not valid yet: is the clock of this machine right?"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "the certificate is for another host name",
            // webpki keeps certificates that sign others apart from those of servers.
            Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the server shows the certificate of an authority as its own: make one with \
                 basicConstraints=CA:FALSE"
            }
            other => return format!("the certificate is not accepted ({})", quoted(&other.to_string())),
        },
        Error::InvalidMessage(_) => "the server does not speak TLS on this port",
        other => return format!("no TLS connection: {}", quoted(&other.to_string())),
    };
    text.to_owned()
}
