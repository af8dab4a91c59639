//! Certificates for tests, and files that are replaced at once.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// An authority, which makes certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, which callers and servers are to trust.
    pub pem: String,
}

impl Authority {
    /// A new one, with a key of its own.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names are fine");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random numbers");
        let own = parameters.self_signed(&key).expect("the key can sign");
        let issuer = Issuer::new(parameters, key);
        Self {
            issuer,
            pem: own.pem(),
        }
    }

    /// A certificate for servers and clients with these names, and its key,
    /// as PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("names of hosts");
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("random numbers");
        let signed = parameters.signed_by(&key, &self.issuer);
        let certificate = signed.expect("the key can sign");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Puts `text` into the file at once, as whoever replaces certificates should.
pub fn replace_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, fresh) = (folder.join(name), folder.join(format!(".{name}")));
    std::fs::write(&fresh, text).expect("the folder can be written to");
    std::fs::rename(&fresh, &path).expect("the folder can be written to");
    path
}
