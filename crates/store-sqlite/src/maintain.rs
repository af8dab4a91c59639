//! Retention, in steps that are short enough to stand between two commits.

use millrace_store::StoreError;
use millrace_types::Timestamp;

use crate::SqliteStore;
use crate::error::store_error;
use crate::rows::json;

/// Rows that one step deletes at most. An ended execution has a few rows of
/// events; each step then takes a few milliseconds.
const KEYS: i64 = 1000;
const ENDED: i64 = 200;
/// Pages that one step gives back to the file system at most; the pragma
/// below names the same number.
const PAGES: i64 = 500;
/// Free pages that stay in the file, for the next rows: 4 MiB.
const SPARE_PAGES: i64 = 1024;

impl SqliteStore {
    /// One step of each kind. Answers whether more is left to do.
    pub(crate) async fn maintain_step(&self) -> Result<bool, StoreError> {
        let keys = self.delete_expired_keys().await?;
        let ended = self.delete_ended().await?;
        let fires = self.delete_old_fires().await?;
        let free = self.give_back_pages().await?;
        Ok(keys || ended || fires || free)
    }

    async fn delete_expired_keys(&self) -> Result<bool, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let done = sqlx::query(
            "DELETE FROM dedupe WHERE (deployment_id, key) IN (
                 SELECT deployment_id, key FROM dedupe WHERE expires_at <= ?1 LIMIT ?2)",
        )
        .bind(now)
        .bind(KEYS)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() >= KEYS.unsigned_abs())
    }

    /// Executions past their last day, together with their events.
    async fn delete_ended(&self) -> Result<bool, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let past: Vec<String> =
            sqlx::query_scalar("SELECT id FROM executions_ended WHERE last_day < ?1 LIMIT ?2")
                .bind(Timestamp::from_micros(now).day())
                .bind(ENDED)
                .fetch_all(&mut *transaction)
                .await
                .map_err(store_error)?;
        if past.is_empty() {
            return Ok(false);
        }
        let ids = json(&past);
        for statement in [
            "DELETE FROM execution_events
             WHERE execution_id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM executions_ended WHERE id IN (SELECT value FROM json_each(?1))",
        ] {
            sqlx::query(statement)
                .bind(&ids)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(past.len() as u64 >= ENDED.unsigned_abs())
    }

    async fn give_back_pages(&self) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(store_error)?;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count")
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        if free <= SPARE_PAGES {
            return Ok(false);
        }
        // Fetched, since each row that this pragma steps to frees one page.
        sqlx::query("PRAGMA incremental_vacuum(500)")
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        Ok(free - PAGES > SPARE_PAGES)
    }
}
