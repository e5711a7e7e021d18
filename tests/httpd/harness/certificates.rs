//! Certificates for TLS on this machine, good ones and those that nobody may trust.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A certification authority of its own, new each time. All of them have the same name.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is wrong with a server's certificate, if anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Certificate {
    /// Valid for 127.0.0.1, ::1 and localhost.
    Good,
    Expired,
    /// Valid for `other.test` alone.
    OtherHost,
    /// As [`Self::Good`], signed by another authority of the same name.
    OtherAuthority,
}

impl Certificate {
    pub(crate) const ALL: [Self; 4] = [Self::Good, Self::Expired, Self::OtherHost, Self::OtherAuthority];
}

/// A certificate and its private key, in PEM.
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new key with a certificate.
    pub(crate) fn certify(&self, kind: Certificate) -> Certified {
        let hosts: &[&str] =
            if kind == Certificate::OtherHost { &["other.test"] } else { &["127.0.0.1", "::1", "localhost"] };
        self.certify_as(kind, hosts)
    }

    /// A new key with a good certificate for these hosts.
    pub(crate) fn certify_for(&self, hosts: &[&str]) -> Certified {
        self.certify_as(Certificate::Good, hosts)
    }

    fn certify_as(&self, kind: Certificate, hosts: &[&str]) -> Certified {
        let mut params = CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = name(hosts[0]);
        params.use_authority_key_identifier_extension = true;
        if kind == Certificate::Expired {
            params.not_after = date_time_ymd(2025, 1, 1);
        }
        let other;
        let authority = if kind == Certificate::OtherAuthority {
            other = Self::new();
            &other
        } else {
            self
        };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority.0).unwrap();
        Certified { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes `ca.pem`, and a good certificate and its key as `server.pem` and `server.key`.
    pub(crate) fn write(&self, folder: &Path) {
        let Certified { certificate, key } = self.certify(Certificate::Good);
        for (name, content) in [("ca.pem", self.pem()), ("server.pem", certificate), ("server.key", key)] {
            fs::write(folder.join(name), content).unwrap();
        }
    }
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}
