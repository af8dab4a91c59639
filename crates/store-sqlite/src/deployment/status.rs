//! Pausing, resuming and archiving.

use millrace_store::{DeploymentRecord, StoreError};
use millrace_types::{DeploymentId, DeploymentStatus};

use super::record;
use crate::SqliteStore;
use crate::error::store_error;
use crate::schedule;

impl SqliteStore {
    pub(super) async fn change_status(
        &self,
        id: DeploymentId,
        status: DeploymentStatus,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let Some(before) = record::read(&mut transaction, id).await? else {
            return Ok(None);
        };
        if before.status == DeploymentStatus::Archived {
            return Ok(None);
        }
        if before.status == status {
            return Ok(Some(before));
        }
        sqlx::query(
            "UPDATE workflows SET deployment_status = ?2, updated_at = ?3 WHERE deployment_id = ?1",
        )
        .bind(id.to_string())
        .bind(status.as_str())
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        sqlx::query(
            "UPDATE triggers SET revision = revision + 1, updated_at = ?2 WHERE deployment_id = ?1",
        )
        .bind(id.to_string())
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        if status == DeploymentStatus::Archived {
            sqlx::query(
                "DELETE FROM webhook_routes
                 WHERE trigger_id IN (SELECT id FROM triggers WHERE deployment_id = ?1)",
            )
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        }
        schedule::status_changed(&mut transaction, id, status, now).await?;
        let after = record::read(&mut transaction, id).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(after)
    }
}
