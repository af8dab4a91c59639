//! Workflows, their versions, and the triggers that are live.

mod deploy;
mod list;
pub(crate) mod read;
mod routes;
mod status;
mod triggers;
mod versions;

use async_trait::async_trait;
use millrace_store::{
    DeployRefused, Deployed, DeploymentFilter, DeploymentRecord, DeploymentStore, NewDeployment,
    Page, PageRequest, StoreError, TriggerRecord, VersionRecord, VersionSummary, WebhookMatch,
};
use millrace_types::{DeploymentId, DeploymentStatus, TriggerId, WorkflowId};

use crate::PostgresStore;
use crate::error::store_error;

#[async_trait]
impl DeploymentStore for PostgresStore {
    async fn deploy(&self, bundle: &NewDeployment) -> Result<Deployed, DeployRefused> {
        self.bounded(deploy::deploy(self, bundle, None)).await
    }

    async fn redeploy(&self, bundle: &NewDeployment, live: u32) -> Result<Deployed, DeployRefused> {
        self.bounded(deploy::deploy(self, bundle, Some(live))).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentRecord>, StoreError> {
        self.bounded(async {
            let mut connection = self.pool.acquire().await.map_err(store_error)?;
            read::deployment(&mut connection, id).await
        })
        .await
    }

    async fn trigger(
        &self,
        id: TriggerId,
    ) -> Result<Option<(DeploymentId, TriggerRecord)>, StoreError> {
        self.bounded(read::trigger(self, id)).await
    }

    async fn list_deployments(
        &self,
        filter: &DeploymentFilter,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRecord>, StoreError> {
        self.bounded(list::list(self, filter, page)).await
    }

    async fn set_deployment_status(
        &self,
        id: DeploymentId,
        status: DeploymentStatus,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        self.bounded(status::set(self, id, status)).await
    }

    async fn version(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRecord>, StoreError> {
        self.bounded(read::version(self, workflow_id, version))
            .await
    }

    async fn list_versions(
        &self,
        workflow_id: WorkflowId,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError> {
        self.bounded(versions::list(self, workflow_id, page)).await
    }

    async fn version_by_digest(
        &self,
        workflow_id: WorkflowId,
        digest: &str,
    ) -> Result<Option<u32>, StoreError> {
        self.bounded(versions::by_digest(self, workflow_id, digest))
            .await
    }

    async fn bundle(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<NewDeployment>, StoreError> {
        self.bounded(versions::bundle(self, workflow_id, version))
            .await
    }

    async fn webhooks(&self, shapes: &[String]) -> Result<Vec<WebhookMatch>, StoreError> {
        self.bounded(routes::find(self, shapes)).await
    }
}
