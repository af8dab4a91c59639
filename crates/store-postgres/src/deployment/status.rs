//! Pausing, resuming, archiving.

use millrace_store::{DeploymentRecord, StoreError};
use millrace_types::{DeploymentId, DeploymentStatus};

use super::{read, routes};
use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;
use crate::schedule;

pub(super) async fn set(
    store: &PostgresStore,
    id: DeploymentId,
    status: DeploymentStatus,
) -> Result<Option<DeploymentRecord>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let stored: Option<String> = sqlx::query_scalar(
        "SELECT deployment_status FROM workflows WHERE deployment_id = $1 FOR UPDATE",
    )
    .bind(id.to_string())
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let stored: DeploymentStatus = parsed(&stored)?;
    if stored == DeploymentStatus::Archived {
        return Ok(None);
    }
    if stored != status {
        sqlx::query(
            "UPDATE workflows SET deployment_status = $2, updated_at = now(), \
                 deployed_at = CASE WHEN $2 = 'DEPLOYED' THEN coalesce(deployed_at, now()) \
                               ELSE deployed_at END \
             WHERE deployment_id = $1",
        )
        .bind(id.to_string())
        .bind(status.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        sqlx::query(
            "UPDATE triggers SET revision = revision + 1, updated_at = now() \
             WHERE deployment_id = $1",
        )
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        if status == DeploymentStatus::Archived {
            routes::free(&mut transaction, id).await?;
        }
        schedule::status_changed(&mut transaction, id, status).await?;
    }
    let record = read::deployment(&mut transaction, id).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(record)
}
