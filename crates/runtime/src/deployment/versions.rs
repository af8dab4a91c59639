//! The versions of a deployment's workflow.

use millrace_store::{Page, PageRequest, VersionSummary};
use millrace_types::DeploymentId;

use super::DeploymentService;
use super::status::StatusError;

impl DeploymentService {
    /// Newest first, with the number of the one that is live. Those of an
    /// archived deployment too.
    pub(crate) async fn versions(
        &self,
        id: DeploymentId,
        page: &PageRequest,
    ) -> Result<(u32, Page<VersionSummary>), StatusError> {
        let live = self.get(id).await?;
        let versions = self.store.list_versions(live.workflow_id, page).await?;
        Ok((live.version, versions))
    }
}
