//! Making a bundle live.

use millrace_store::{
    Concurrency, DeployRefused, Deployed, DeploymentRecord, NewDeployment, StoreError,
    VersionBundle,
};
use millrace_types::{DeploymentId, DeploymentStatus, WorkflowId};
use sqlx::SqliteConnection;

use super::{record, triggers};
use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::incarnation::micros;
use crate::row::Columns;

/// The workflow as it is before the deploy.
struct Before {
    workflow_id: WorkflowId,
    deployment_id: DeploymentId,
    status: DeploymentStatus,
    version: u32,
}

impl SqliteStore {
    /// `expected` is the version that has to be live before.
    pub(super) async fn make_live(
        &self,
        bundle: &NewDeployment,
        expected: Option<u32>,
    ) -> Result<Deployed, DeployRefused> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        let before = find(connection, bundle).await?;
        if let Some(expected) = expected
            && !before.as_ref().is_some_and(|before| {
                before.version == expected && before.status != DeploymentStatus::Archived
            })
        {
            return Err(DeployRefused::Moved);
        }
        let same = match &before {
            Some(before) => version_of(connection, before.workflow_id, &bundle.digest).await?,
            None => None,
        };
        if let Some(before) = &before
            && same == Some(before.version)
            && matches!(
                before.status,
                DeploymentStatus::Deployed | DeploymentStatus::Paused
            )
        {
            let deployment = read(connection, before.deployment_id).await?;
            return Ok(Deployed {
                deployment,
                changed: false,
            });
        }

        let workflow_id = before
            .as_ref()
            .map_or_else(WorkflowId::new, |b| b.workflow_id);
        let deployment_id = before
            .as_ref()
            .map_or_else(DeploymentId::new, |b| b.deployment_id);
        // An error from here on drops the transaction, and so takes back
        // what was written.
        triggers::check_routes(connection, deployment_id, &bundle.triggers).await?;
        let status = match &before {
            Some(before) if before.status == DeploymentStatus::Paused => DeploymentStatus::Paused,
            _ => DeploymentStatus::Deployed,
        };
        if before.is_none() {
            insert_workflow(connection, bundle, workflow_id, deployment_id, now).await?;
        }
        let version = match same {
            Some(version) => version,
            None => insert_version(connection, bundle, workflow_id, now).await?,
        };
        update_workflow(connection, bundle, workflow_id, version, status, now).await?;
        let raise = before.is_some_and(|before| before.status != status);
        triggers::replace(connection, deployment_id, &bundle.triggers, raise, now).await?;
        let deployment = read(connection, deployment_id).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Deployed {
            deployment,
            changed: true,
        })
    }
}

async fn read(
    connection: &mut SqliteConnection,
    id: DeploymentId,
) -> Result<DeploymentRecord, StoreError> {
    record::read(connection, id)
        .await?
        .ok_or_else(|| corrupt("workflows.current_version", "a version that is not there"))
}

async fn find(
    connection: &mut SqliteConnection,
    bundle: &NewDeployment,
) -> Result<Option<Before>, StoreError> {
    let row = sqlx::query(
        "SELECT workflow_id, deployment_id, deployment_status, current_version FROM workflows
         WHERE namespace = ?1 AND name = ?2",
    )
    .bind(&bundle.namespace)
    .bind(&bundle.name)
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        Ok(Before {
            workflow_id: row.parsed("workflow_id")?,
            deployment_id: row.parsed("deployment_id")?,
            status: row.parsed("deployment_status")?,
            version: row.number("current_version")?,
        })
    })
    .transpose()
}

pub async fn version_of(
    connection: &mut SqliteConnection,
    workflow_id: WorkflowId,
    digest: &str,
) -> Result<Option<u32>, StoreError> {
    sqlx::query_scalar(
        "SELECT version FROM workflow_versions WHERE workflow_id = ?1 AND digest = ?2",
    )
    .bind(workflow_id.to_string())
    .bind(digest)
    .fetch_optional(connection)
    .await
    .map_err(store_error)
}

async fn insert_workflow(
    connection: &mut SqliteConnection,
    bundle: &NewDeployment,
    workflow_id: WorkflowId,
    deployment_id: DeploymentId,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO workflows (workflow_id, deployment_id, namespace, name, deployment_status,
             deployment_config, current_version, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, 'DRAFT', x'', 0, ?5, ?5)",
    )
    .bind(workflow_id.to_string())
    .bind(deployment_id.to_string())
    .bind(&bundle.namespace)
    .bind(&bundle.name)
    .bind(now)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

/// Answers with the number of the new version.
async fn insert_version(
    connection: &mut SqliteConnection,
    bundle: &NewDeployment,
    workflow_id: WorkflowId,
    now: i64,
) -> Result<u32, StoreError> {
    sqlx::query_scalar(
        "INSERT INTO workflow_versions (workflow_id, version, workflow_version, digest,
             definition, source, created_at, bundle)
         SELECT ?1, 1 + coalesce(max(version), 0), ?2, ?3, ?4, ?5, ?6, ?7
         FROM workflow_versions WHERE workflow_id = ?1
         RETURNING version",
    )
    .bind(workflow_id.to_string())
    .bind(&bundle.workflow_version)
    .bind(&bundle.digest)
    .bind(bundle.definition_json.as_bytes())
    .bind(bundle.source.as_bytes())
    .bind(now)
    .bind(VersionBundle::to_json(bundle).into_bytes())
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

async fn update_workflow(
    connection: &mut SqliteConnection,
    bundle: &NewDeployment,
    workflow_id: WorkflowId,
    version: u32,
    status: DeploymentStatus,
    now: i64,
) -> Result<(), StoreError> {
    let labels = serde_json::to_string(&bundle.labels).expect("texts always serialise");
    let settings = &bundle.settings;
    sqlx::query(
        "UPDATE workflows SET current_version = ?2, deployment_status = ?3, deployed_at = ?4,
             deployment_config = ?5, labels = ?6, updated_at = ?4, priority = ?7,
             concurrency = ?8, start_timeout = ?9, idle_timeout = ?10, total_timeout = ?11,
             keep_succeeded = ?12, keep_failed = ?13
         WHERE workflow_id = ?1",
    )
    .bind(workflow_id.to_string())
    .bind(version)
    .bind(status.as_str())
    .bind(now)
    .bind(bundle.config_json.as_bytes())
    .bind(labels)
    .bind(settings.priority)
    .bind(settings.concurrency.as_ref().map(Concurrency::to_json))
    .bind(settings.start_timeout.map(micros))
    .bind(settings.idle_timeout.map(micros))
    .bind(settings.total_timeout.map(micros))
    .bind(settings.keep_succeeded)
    .bind(settings.keep_failed)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}
