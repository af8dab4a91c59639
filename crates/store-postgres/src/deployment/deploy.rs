//! Makes a bundle live, whole or not at all.

use millrace_store::{
    Concurrency, DeployRefused, Deployed, NewDeployment, StoreError, VersionBundle,
};
use millrace_types::{DeploymentId, DeploymentStatus, WorkflowId};
use sqlx::{FromRow, PgConnection};

use super::{read, routes, triggers};
use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;
use crate::incarnation::micros;

#[derive(FromRow)]
struct Workflow {
    workflow_id: String,
    deployment_id: String,
    deployment_status: String,
    current_version: i32,
}

/// No bundle has this version: its workflow has just been made.
const NO_VERSION: i32 = 0;

/// `expected` is the version that has to be live before.
pub(super) async fn deploy(
    store: &PostgresStore,
    bundle: &NewDeployment,
    expected: Option<u32>,
) -> Result<Deployed, DeployRefused> {
    // Classes of retention are few, and need partitions before the first end.
    let settings = &bundle.settings;
    for class in [settings.keep_succeeded, settings.keep_failed] {
        if class.is_some() {
            store.make_partitions(class).await?;
        }
    }
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let labels = serde_json::to_string(&bundle.labels)
        .map_err(|error| StoreError::Rejected(error.to_string()))?;
    let workflow = lock_workflow(&mut transaction, bundle, &labels).await?;
    let id: DeploymentId = parsed(&workflow.deployment_id)?;
    let status: DeploymentStatus = parsed(&workflow.deployment_status)?;
    if let Some(expected) = expected
        && (workflow.current_version != expected.cast_signed()
            || status == DeploymentStatus::Archived)
    {
        return Err(DeployRefused::Moved);
    }
    let version = version_of(&mut transaction, &workflow, bundle).await?;
    if version == workflow.current_version && status != DeploymentStatus::Archived {
        let deployment = stored(&mut transaction, id).await?;
        transaction.commit().await.map_err(store_error)?;
        return Ok(Deployed {
            deployment,
            changed: false,
        });
    }
    let next = match status {
        DeploymentStatus::Paused => DeploymentStatus::Paused,
        _ => DeploymentStatus::Deployed,
    };
    sqlx::query(
        "UPDATE workflows SET current_version = $2, deployment_status = $3, \
             deployment_config = $4, labels = $5::jsonb, deployed_at = now(), updated_at = now(), \
             priority = $6, concurrency = $7, start_timeout = $8, idle_timeout = $9, \
             total_timeout = $10, keep_succeeded = $11, keep_failed = $12 \
         WHERE workflow_id = $1",
    )
    .bind(&workflow.workflow_id)
    .bind(version)
    .bind(next.as_str())
    .bind(bundle.config_json.as_bytes())
    .bind(&labels)
    .bind(settings.priority)
    .bind(settings.concurrency.as_ref().map(Concurrency::to_json))
    .bind(settings.start_timeout.map(micros))
    .bind(settings.idle_timeout.map(micros))
    .bind(settings.total_timeout.map(micros))
    .bind(settings.keep_succeeded.map(i32::from))
    .bind(settings.keep_failed.map(i32::from))
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    let revived = workflow.current_version != NO_VERSION && status != next;
    let ids = triggers::replace(&mut transaction, id, bundle, revived).await?;
    routes::replace(&mut transaction, id, bundle, &ids).await?;
    let deployment = stored(&mut transaction, id).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Deployed {
        deployment,
        changed: true,
    })
}

/// Makes the workflow if it is missing, and locks it: concurrent deploys of
/// one workflow go one after the other.
async fn lock_workflow(
    connection: &mut PgConnection,
    bundle: &NewDeployment,
    labels: &str,
) -> Result<Workflow, StoreError> {
    sqlx::query(
        "INSERT INTO workflows (workflow_id, deployment_id, namespace, name, deployment_status, \
                                deployment_config, current_version, labels) \
         VALUES ($1, $2, $3, $4, 'DRAFT', $5, $6, $7::jsonb) \
         ON CONFLICT (namespace, name) DO NOTHING",
    )
    .bind(WorkflowId::new().to_string())
    .bind(DeploymentId::new().to_string())
    .bind(&bundle.namespace)
    .bind(&bundle.name)
    .bind(bundle.config_json.as_bytes())
    .bind(NO_VERSION)
    .bind(labels)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    sqlx::query_as(
        "SELECT workflow_id, deployment_id, deployment_status, current_version FROM workflows \
         WHERE namespace = $1 AND name = $2 FOR UPDATE",
    )
    .bind(&bundle.namespace)
    .bind(&bundle.name)
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

/// The version with the bundle's digest, or a new one.
async fn version_of(
    connection: &mut PgConnection,
    workflow: &Workflow,
    bundle: &NewDeployment,
) -> Result<i32, StoreError> {
    let known: Option<i32> = sqlx::query_scalar(
        "SELECT version FROM workflow_versions WHERE workflow_id = $1 AND digest = $2",
    )
    .bind(&workflow.workflow_id)
    .bind(&bundle.digest)
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if let Some(version) = known {
        return Ok(version);
    }
    sqlx::query_scalar(
        "INSERT INTO workflow_versions \
             (workflow_id, version, workflow_version, digest, definition, source, bundle) \
         SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6 \
         FROM workflow_versions WHERE workflow_id = $1 \
         RETURNING version",
    )
    .bind(&workflow.workflow_id)
    .bind(&bundle.workflow_version)
    .bind(&bundle.digest)
    .bind(bundle.definition_json.as_bytes())
    .bind(bundle.source.as_bytes())
    .bind(VersionBundle::to_json(bundle).into_bytes())
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

async fn stored(
    connection: &mut PgConnection,
    id: DeploymentId,
) -> Result<millrace_store::DeploymentRecord, StoreError> {
    read::deployment(connection, id)
        .await?
        .ok_or_else(|| StoreError::Rejected(format!("deployment {id} is gone while it is locked")))
}
