//! `millrace engine`.

use millrace_service::Transport;
use millrace_service::config::{Config, EngineConfig};

use super::RoleError;

/// Not composed yet.
#[expect(clippy::unused_async, reason = "has the form of the other roles")]
pub async fn run(_: &Config) -> Result<(), RoleError> {
    Err(RoleError::NotBuilt("engine"))
}

/// The built-in engine, called in this process. There is none yet.
pub const fn embedded(_: &EngineConfig) -> Vec<Transport> {
    Vec::new()
}
