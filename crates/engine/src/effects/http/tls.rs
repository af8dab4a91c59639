//! TLS of outgoing calls.

use millrace_service::tls::{provider, system_roots};
use rustls::ClientConfig;

/// Trusts the roots of the system, or those of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`.
pub(super) fn config() -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(system_roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
