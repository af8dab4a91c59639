//! Certificates and keys from files, which are read again when they change:
//! connections that are open stay as they are, new ones use what is new. Files
//! that make no sense are said so and leave what was there before in use.
//!
//! Two places have them. `tls.cert`, `tls.key` and `tls.ca` are what a process
//! shows to other roles, on both sides of a call, and whom it believes there.
//! `gateway.tls_cert` and `gateway.tls_key` are what the gateway shows to the
//! public.

mod connect;
mod expiry;
mod files;
mod follow;
mod material;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::{ClientConfig, ServerConfig};

use crate::config::{GatewayConfig, TlsConfig};
use files::Files;
use follow::Stamp;
use material::Material;

pub(crate) use connect::Connector;
pub use files::TlsError;
pub use material::{provider, system_roots};

/// What a process shows and whom it believes, as the files have it now. Clones
/// share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    /// What the files were like when they were read first.
    first: Stamp,
    current: RwLock<Arc<Material>>,
}

impl Tls {
    /// For what roles say to each other. Without any file it shows nothing and
    /// believes those whom the system believes.
    pub fn of_roles(config: &TlsConfig) -> Result<Self, TlsError> {
        Self::new(Files::of_roles(config))
    }

    /// For the public listener of a gateway; `None` when that speaks plain
    /// HTTP.
    pub fn of_gateway(config: &GatewayConfig) -> Result<Option<Self>, TlsError> {
        let files = Files::of_gateway(config);
        if files.is_empty() {
            return Ok(None);
        }
        Self::new(files).map(Some)
    }

    fn new(files: Files) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen as a change.
        let first = files.stamp();
        let material = files.load()?;
        Ok(Self(Arc::new(Shared {
            files,
            first,
            current: RwLock::new(Arc::new(material)),
        })))
    }

    /// What a listener takes connections with; `None` without a certificate,
    /// where it speaks in plain. Those of roles ask callers for a certificate
    /// when there is a `tls.ca`: who has none is taken, who has a wrong one is
    /// not.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current().server()
    }

    /// What a caller opens connections with.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.current().client()
    }

    /// For roles that others call: refuses a `tls.ca` without a certificate to
    /// listen with. Nobody could show that authority anything there, and calls
    /// would come in plain.
    pub fn for_listener(self) -> Result<Self, TlsError> {
        if self.current().cannot_ask() {
            return Err(TlsError::Half {
                set: "tls.ca",
                missing: "tls.cert",
            });
        }
        Ok(self)
    }

    fn current(&self) -> Arc<Material> {
        let current = self.0.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, material: Material) {
        let current = self.0.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}
