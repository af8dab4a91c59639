//! `millrace runtime`.

use millrace_service::config::Config;

use super::RoleError;

/// Not composed yet.
#[expect(clippy::unused_async, reason = "has the form of the other roles")]
pub async fn run(_: &Config) -> Result<(), RoleError> {
    Err(RoleError::NotBuilt("runtime"))
}
