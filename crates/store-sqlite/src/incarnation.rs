//! Leases of processes.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{IncarnationStore, StoreError};
use millrace_types::IncarnationId;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::store_error;

/// How long the row of an incarnation that ran out is kept.
const KEPT: i64 = 3_600_000_000;

const HAND_OVER: &str = "
    UPDATE executions SET status = 'PENDING', owner = NULL, wake_at = ?2, epoch = epoch + 1
    WHERE owner = ?1";

/// Every owner has a row: it is kept for as long as it owns something.
const TAKE_OVER: &str = "
    UPDATE executions SET status = 'PENDING', owner = NULL, wake_at = ?1, epoch = epoch + 1
    WHERE id IN (
        SELECT e.id FROM incarnations i
        CROSS JOIN executions e ON e.owner = i.id
        WHERE i.expires_at <= ?1
        LIMIT ?2)";

const FORGET: &str = "
    DELETE FROM incarnations WHERE expires_at <= ?1
    AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.owner = incarnations.id)";

/// As SQLite keeps it.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 2)
}

/// Whether the lease still runs. Within a write transaction nothing can end
/// it but the clock.
pub async fn is_alive(
    connection: &mut SqliteConnection,
    id: IncarnationId,
    now: i64,
) -> Result<bool, StoreError> {
    sqlx::query_scalar::<_, bool>(
        "SELECT EXISTS (SELECT 1 FROM incarnations WHERE id = ?1 AND expires_at > ?2)",
    )
    .bind(id.to_string())
    .bind(now)
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

#[async_trait]
impl IncarnationStore for SqliteStore {
    async fn register(&self, id: IncarnationId, ttl: Duration) -> Result<(), StoreError> {
        let (mut transaction, now) = self.write().await?;
        // A repeat after a lost answer finds its own row, and leaves it.
        sqlx::query(
            "INSERT INTO incarnations (id, expires_at, created_at) VALUES (?1, ?2 + ?3, ?2)
             ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(now)
        .bind(micros(ttl))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    async fn heartbeat(&self, id: IncarnationId, ttl: Duration) -> Result<bool, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let done = sqlx::query(
            "UPDATE incarnations SET expires_at = ?2 + ?3 WHERE id = ?1 AND expires_at > ?2",
        )
        .bind(id.to_string())
        .bind(now)
        .bind(micros(ttl))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn retire(&self, id: IncarnationId) -> Result<u64, StoreError> {
        let (mut transaction, now) = self.write().await?;
        sqlx::query("UPDATE incarnations SET expires_at = min(expires_at, ?2) WHERE id = ?1")
            .bind(id.to_string())
            .bind(now)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let handed = sqlx::query(HAND_OVER)
            .bind(id.to_string())
            .bind(now)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(handed.rows_affected())
    }

    async fn take_over_expired(&self, limit: u32) -> Result<u64, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let taken = sqlx::query(TAKE_OVER)
            .bind(now)
            .bind(limit)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        sqlx::query(FORGET)
            .bind(now.saturating_sub(KEPT))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(taken.rows_affected())
    }

    async fn void_all_leases(&self) -> Result<(), StoreError> {
        let (mut transaction, now) = self.write().await?;
        sqlx::query("UPDATE incarnations SET expires_at = min(expires_at, ?1)")
            .bind(now)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.read().await?;
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM (SELECT 1 FROM workflows LIMIT 1)")
            .fetch_one(&mut *connection)
            .await
            .map(|_| ())
            .map_err(store_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    #[tokio::test]
    async fn takeover_looks_only_at_what_dead_owners_have() {
        for statement in [HAND_OVER, TAKE_OVER, FORGET] {
            let plan = plan(statement).await;
            let indexed = plan
                .iter()
                .any(|step| step.contains("executions_owner_idx"));
            assert!(indexed, "{plan:#?}");
            // Processes are few; executions are not.
            let scanned = plan.iter().any(|step| step.starts_with("SCAN e"));
            assert!(!scanned, "{plan:#?}");
        }
    }
}
