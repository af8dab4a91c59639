//! Going back to a version, with all that was deployed as it.

use millrace_store::{DeployRefused, Deployed};
use millrace_types::DeploymentId;

use super::DeploymentService;
use super::deploy::{DeployError, log};

/// Attempts before a rollback gives way to others that change the same
/// deployment all the time.
pub(super) const ATTEMPTS: u32 = 5;

impl DeploymentService {
    /// Makes document, triggers and settings of `version` live again. Making
    /// live what is live changes nothing.
    pub(crate) async fn rollback(
        &self,
        id: DeploymentId,
        version: u32,
    ) -> Result<Deployed, DeployError> {
        for _ in 0..ATTEMPTS {
            let live = self.live(id).await?;
            let Some(bundle) = self.store.bundle(live.workflow_id, version).await? else {
                let known = self.store.version(live.workflow_id, version).await?;
                return Err(match known {
                    Some(_) => DeployError::NotKept(version),
                    None => DeployError::NoVersion(id, version),
                });
            };
            match self.store.redeploy(&bundle, live.version).await {
                Err(DeployRefused::Moved) => {}
                done => {
                    let deployed = done?;
                    log(&deployed);
                    return Ok(deployed);
                }
            }
        }
        Err(DeployError::Moved)
    }
}
