//! TLS of outgoing calls.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// A configuration with the ring provider given to it: no provider for the
/// whole process is installed, so nothing else that does so can clash with us.
/// Roots are the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
pub(super) fn config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some trusted root certificates cannot be read");
    }
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!("there are no trusted root certificates: https calls will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
