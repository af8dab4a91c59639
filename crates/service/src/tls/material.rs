//! Configurations made of what the files hold.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// No provider for the whole process is installed: nothing else that does so
/// can clash with this.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || Arc::new(rustls::crypto::ring::default_provider());
    Arc::clone(PROVIDER.get_or_init(make))
}

/// One reading of the files.
pub(super) struct Material {
    identity: Option<Arc<CertifiedKey>>,
    roots: Option<Arc<RootCertStore>>,
    server: Option<Arc<ServerConfig>>,
    /// Made when the first connection is opened: many processes open none.
    client: OnceLock<Arc<ClientConfig>>,
    /// When the certificate ends, if that can be told.
    pub not_after: Option<Timestamp>,
}

impl Material {
    pub fn new(
        identity: Option<Arc<CertifiedKey>>,
        roots: Option<Arc<RootCertStore>>,
        of_roles: bool,
        not_after: Option<Timestamp>,
    ) -> Self {
        let server = identity
            .as_ref()
            .map(|identity| Arc::new(server(identity, roots.as_ref(), of_roles)));
        Self {
            identity,
            roots,
            server,
            client: OnceLock::new(),
            not_after,
        }
    }

    pub fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    /// Whether callers would have to be asked for certificates that there is
    /// no listener with a certificate to ask for.
    pub fn cannot_ask(&self) -> bool {
        self.roots.is_some() && self.server.is_none()
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        let make = || {
            let roots = self.roots.clone().unwrap_or_else(system_roots);
            Arc::new(client(self.identity.as_ref(), roots))
        };
        Arc::clone(self.client.get_or_init(make))
    }
}

fn server(
    identity: &Arc<CertifiedKey>,
    roots: Option<&Arc<RootCertStore>>,
    of_roles: bool,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3");
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
                    // Those who have an API key have no certificate.
                    .allow_unauthenticated()
                    .build()
                    .expect("there is a root, and there are no lists of revoked certificates");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))));
    if of_roles {
        config.alpn_protocols = vec![H2.to_vec()];
        // Connections last long, and each new one is to be verified anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    }
    config
}

fn client(identity: Option<&Arc<CertifiedKey>>, roots: Arc<RootCertStore>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity)))),
    };
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// Those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Read once.
pub fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some trusted root certificates cannot be read");
        }
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(
                "there are no trusted root certificates: https calls will fail; those that \
                 roles trust in each other are named in `tls.ca`"
            );
        }
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}
