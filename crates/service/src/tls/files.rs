//! What is in the files, and what is wrong with them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::expiry::not_after;
use super::follow::Stamp;
use super::material::{Material, provider};
use crate::config::{GatewayConfig, TlsConfig};

/// Largest file that is read, in bytes: a bundle of all public authorities is
/// a quarter of it.
const LARGEST: u64 = 1 << 20;

/// A setting with its file.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    key: &'static str,
    path: PathBuf,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.key, self.path.display())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{file}: it cannot be read: {reason}")]
    Read { file: Source, reason: io::Error },
    #[error("{file}: {reason}")]
    Content { file: Source, reason: String },
    #[error("{key} does not belong to the certificate in {certificate}: their public keys differ")]
    Mismatch { key: Source, certificate: Source },
    #[error("`{set}` is set and `{missing}` is not: they are needed together")]
    Half {
        set: &'static str,
        missing: &'static str,
    },
}

/// Where certificates and keys are.
#[derive(Debug)]
pub(super) struct Files {
    names: Names,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authority: Option<PathBuf>,
    /// Whether roles speak there, rather than the public.
    of_roles: bool,
}

#[derive(Debug, Clone, Copy)]
struct Names {
    certificate: &'static str,
    key: &'static str,
    authority: &'static str,
}

impl Files {
    pub fn of_roles(config: &TlsConfig) -> Self {
        Self {
            names: Names {
                certificate: "tls.cert",
                key: "tls.key",
                authority: "tls.ca",
            },
            certificate: config.cert.clone(),
            key: config.key.clone(),
            authority: config.ca.clone(),
            of_roles: true,
        }
    }

    pub fn of_gateway(config: &GatewayConfig) -> Self {
        Self {
            names: Names {
                certificate: "gateway.tls_cert",
                key: "gateway.tls_key",
                authority: "",
            },
            certificate: config.tls_cert.clone(),
            key: config.tls_key.clone(),
            authority: None,
            of_roles: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    /// The setting that names the certificate.
    pub fn name(&self) -> &'static str {
        self.names.certificate
    }

    pub fn stamp(&self) -> Stamp {
        self.paths().collect()
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key, &self.authority]
            .into_iter()
            .flatten()
    }

    /// Reads all of them.
    pub fn load(&self) -> Result<Material, TlsError> {
        let identity = self.identity()?;
        let not_after = identity
            .as_ref()
            .and_then(|identity| not_after(identity.end_entity_cert().ok()?));
        Ok(Material::new(
            identity,
            self.roots()?,
            self.of_roles,
            not_after,
        ))
    }

    fn identity(&self) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
        let Names {
            certificate, key, ..
        } = self.names;
        let half = |set, missing| Err(TlsError::Half { set, missing });
        let (chain_in, key_in) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(None),
            (Some(_), None) => return half(certificate, key),
            (None, Some(_)) => return half(key, certificate),
            (Some(chain), Some(key_in)) => (source(certificate, chain), source(key, key_in)),
        };
        let chain = certificates(&chain_in)?;
        let key = private_key(&key_in)?;
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(identity) => Ok(Some(Arc::new(identity))),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::Mismatch {
                    key: key_in,
                    certificate: chain_in,
                })
            }
            Err(rustls::Error::InvalidCertificate(reason)) => Err(content(
                chain_in,
                format!("its first certificate cannot be used: {reason}"),
            )),
            Err(error) => Err(content(key_in, format!("the key cannot be used: {error}"))),
        }
    }

    fn roots(&self) -> Result<Option<Arc<RootCertStore>>, TlsError> {
        let Some(path) = &self.authority else {
            return Ok(None);
        };
        let file = source(self.names.authority, path);
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates(&file)?.into_iter().enumerate() {
            if let Err(error) = roots.add(certificate) {
                let reason = format!("certificate {} cannot be used: {error}", index + 1);
                return Err(content(file, reason));
            }
        }
        Ok(Some(Arc::new(roots)))
    }
}

fn source(key: &'static str, path: &Path) -> Source {
    Source {
        key,
        path: path.to_owned(),
    }
}

fn content(file: Source, reason: String) -> TlsError {
    TlsError::Content { file, reason }
}

fn read(file: &Source) -> Result<Vec<u8>, TlsError> {
    let reading = || {
        let mut bytes = Vec::new();
        File::open(&file.path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes: Vec<u8> = reading().map_err(|reason| TlsError::Read {
        file: file.clone(),
        reason,
    })?;
    if bytes.len() as u64 > LARGEST {
        let reason = format!("it is larger than {LARGEST} bytes");
        return Err(content(file.clone(), reason));
    }
    Ok(bytes)
}

/// All of them, at least one.
fn certificates(file: &Source) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(file)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(file, &error))?;
    if found.is_empty() {
        let reason = "there is no certificate in it: it has no `BEGIN CERTIFICATE` of PEM";
        return Err(content(file.clone(), reason.to_owned()));
    }
    Ok(found)
}

fn private_key(file: &Source) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = zeroize::Zeroizing::new(read(file)?);
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = b"ENCRYPTED PRIVATE KEY";
            let reason = if bytes.windows(encrypted.len()).any(|at| at == encrypted) {
                "its key is encrypted, which is not supported: protect the file instead"
            } else {
                "there is no private key in it: it has no `BEGIN PRIVATE KEY` of PEM"
            };
            Err(content(file.clone(), reason.to_owned()))
        }
        Err(error) => Err(broken(file, &error)),
    }
}

fn broken(file: &Source, error: &pem::Error) -> TlsError {
    content(file.clone(), format!("it is broken PEM: {error}"))
}
