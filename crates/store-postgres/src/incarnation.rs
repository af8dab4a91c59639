//! Leases of processes.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{IncarnationStore, StoreError};
use millrace_types::IncarnationId;

use crate::PostgresStore;
use crate::error::store_error;

/// For interval arithmetic; PostgreSQL has no type for a plain duration.
pub(crate) fn micros(duration: Duration) -> i64 {
    // A thousand years: as good as for ever, and no overflow with `now()`.
    const LONGEST: i64 = 1000 * 365 * 86_400_000_000;
    i64::try_from(duration.as_micros()).map_or(LONGEST, |micros| micros.min(LONGEST))
}

#[async_trait]
impl IncarnationStore for PostgresStore {
    async fn register(&self, id: IncarnationId, ttl: Duration) -> Result<(), StoreError> {
        self.bounded(async {
            // Once more after an answer that was lost is fine, as long as it lives.
            let done = sqlx::query(
                "INSERT INTO incarnations AS i (id, expires_at) \
                 VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond') \
                 ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at \
                 WHERE i.expires_at > clock_timestamp()",
            )
            .bind(id.to_string())
            .bind(micros(ttl))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Rejected(format!("incarnation {id} is over")));
            }
            Ok(())
        })
        .await
    }

    async fn heartbeat(&self, id: IncarnationId, ttl: Duration) -> Result<bool, StoreError> {
        self.bounded(async {
            let done = sqlx::query(
                "UPDATE incarnations \
                 SET expires_at = clock_timestamp() + $2 * interval '1 microsecond' \
                 WHERE id = $1 AND expires_at > clock_timestamp()",
            )
            .bind(id.to_string())
            .bind(micros(ttl))
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    async fn retire(&self, id: IncarnationId) -> Result<u64, StoreError> {
        self.bounded(async {
            let mut transaction = self.pool.begin().await.map_err(store_error)?;
            // The row stays: an admission under way may still have seen the
            // lease alive, and what it leaves behind must be looked for.
            sqlx::query(
                "UPDATE incarnations SET expires_at = least(expires_at, clock_timestamp()) \
                 WHERE id = $1",
            )
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
            let handed = sqlx::query(
                "WITH owned AS MATERIALIZED ( \
                     SELECT id FROM executions WHERE owner = $1 ORDER BY id FOR UPDATE) \
                 UPDATE executions e \
                 SET owner = NULL, status = 'PENDING', wake_at = now(), epoch = epoch + 1 \
                 FROM owned WHERE e.id = owned.id",
            )
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
            transaction.commit().await.map_err(store_error)?;
            Ok(handed.rows_affected())
        })
        .await
    }

    async fn take_over_expired(&self, limit: u32) -> Result<u64, StoreError> {
        self.bounded(async {
            let mut transaction = self.pool.begin().await.map_err(store_error)?;
            // Locking the incarnations keeps a heartbeat from being granted
            // between the look at its lease and the takeover; one that is just
            // being granted is skipped.
            let taken = sqlx::query(
                "WITH dead AS MATERIALIZED ( \
                     SELECT id FROM incarnations WHERE expires_at <= clock_timestamp() \
                     ORDER BY id FOR UPDATE SKIP LOCKED), \
                 orphans AS MATERIALIZED ( \
                     SELECT e.id FROM executions e \
                     WHERE e.owner = ANY(ARRAY(SELECT id FROM dead)) \
                     ORDER BY e.id LIMIT $1 FOR UPDATE SKIP LOCKED) \
                 UPDATE executions e \
                 SET owner = NULL, status = 'PENDING', wake_at = now(), epoch = epoch + 1 \
                 FROM orphans WHERE e.id = orphans.id",
            )
            .bind(i64::from(limit))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
            sqlx::query(
                "DELETE FROM incarnations WHERE id IN ( \
                     SELECT i.id FROM incarnations i \
                     WHERE i.expires_at < clock_timestamp() - interval '1 hour' \
                       AND NOT EXISTS (SELECT FROM executions e WHERE e.owner = i.id) \
                     ORDER BY i.id LIMIT 100 FOR UPDATE SKIP LOCKED)",
            )
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
            transaction.commit().await.map_err(store_error)?;
            Ok(taken.rows_affected())
        })
        .await
    }

    async fn void_all_leases(&self) -> Result<(), StoreError> {
        self.bounded(async {
            sqlx::query(
                "UPDATE incarnations SET expires_at = clock_timestamp() \
                 WHERE expires_at > clock_timestamp()",
            )
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
            Ok(())
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.bounded(async {
            sqlx::query("SELECT 1")
                .execute(&self.pool)
                .await
                .map_err(store_error)?;
            Ok(())
        })
        .await
    }
}
