//! The contract for deployments.

mod deploy;
mod list;
pub mod record;
mod status;
mod triggers;
mod versions;
mod webhooks;

use async_trait::async_trait;
use millrace_store::{
    DeployRefused, Deployed, DeploymentFilter, DeploymentRecord, DeploymentStore, NewDeployment,
    Page, PageRequest, StoreError, TriggerRecord, VersionRecord, VersionSummary, WebhookMatch,
};
use millrace_types::{DeploymentId, DeploymentStatus, TriggerId, WorkflowId};

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

#[async_trait]
impl DeploymentStore for SqliteStore {
    async fn deploy(&self, bundle: &NewDeployment) -> Result<Deployed, DeployRefused> {
        self.make_live(bundle, None).await
    }

    async fn redeploy(&self, bundle: &NewDeployment, live: u32) -> Result<Deployed, DeployRefused> {
        self.make_live(bundle, Some(live)).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentRecord>, StoreError> {
        let mut connection = self.read().await?;
        record::read(&mut connection, id).await
    }

    async fn trigger(
        &self,
        id: TriggerId,
    ) -> Result<Option<(DeploymentId, TriggerRecord)>, StoreError> {
        let mut connection = self.read().await?;
        record::trigger_by_id(&mut connection, id).await
    }

    async fn list_deployments(
        &self,
        filter: &DeploymentFilter,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRecord>, StoreError> {
        self.deployments_page(filter, page).await
    }

    async fn set_deployment_status(
        &self,
        id: DeploymentId,
        status: DeploymentStatus,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        self.change_status(id, status).await
    }

    async fn version(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRecord>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT workflow_version, digest, definition, source, created_at
             FROM workflow_versions WHERE workflow_id = ?1 AND version = ?2",
        )
        .bind(workflow_id.to_string())
        .bind(version)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
        row.map(|row| {
            Ok(VersionRecord {
                workflow_id,
                version,
                workflow_version: row.raw("workflow_version")?,
                digest: row.raw("digest")?,
                definition_json: row.text("definition")?,
                source: row.text("source")?,
                created_at: row.time("created_at")?,
            })
        })
        .transpose()
    }

    async fn list_versions(
        &self,
        workflow_id: WorkflowId,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError> {
        self.versions_page(workflow_id, page).await
    }

    async fn version_by_digest(
        &self,
        workflow_id: WorkflowId,
        digest: &str,
    ) -> Result<Option<u32>, StoreError> {
        let mut connection = self.read().await?;
        deploy::version_of(&mut connection, workflow_id, digest).await
    }

    async fn bundle(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<NewDeployment>, StoreError> {
        self.bundle_of(workflow_id, version).await
    }

    async fn webhooks(&self, shapes: &[String]) -> Result<Vec<WebhookMatch>, StoreError> {
        self.webhooks_by_shape(shapes).await
    }
}
