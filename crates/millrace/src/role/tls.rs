//! What a role shows to others, from files that are read again when they
//! change.

use millrace_service::config::{Config, GatewayConfig};
use millrace_service::tls::{Tls, TlsError};
use millrace_service::transport::Identity;

use super::process::Process;

/// For a role that calls others.
pub fn of_caller(config: &Config, process: &Process) -> Result<Tls, TlsError> {
    let tls = Tls::of_roles(&config.tls)?;
    process.follow_tls(&tls);
    Ok(tls)
}

/// For a role that others call, and which may call others itself.
pub fn of_listener(config: &Config, process: &Process) -> Result<Tls, TlsError> {
    of_caller(config, process)?.for_listener()
}

/// As whom a role calls others.
pub fn identity(config: &Config, tls: &Tls) -> Identity {
    Identity::new(config.auth.internal_token.as_ref()).with_tls(tls)
}

/// For the public listener, if that speaks HTTPS.
pub fn https(config: &GatewayConfig, process: &Process) -> Result<Option<Tls>, TlsError> {
    let tls = Tls::of_gateway(config)?;
    if let Some(tls) = &tls {
        process.follow_tls(tls);
    }
    Ok(tls)
}
