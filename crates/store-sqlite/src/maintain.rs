//! Retention, in steps that are short enough to stand between two commits.

use millrace_store::StoreError;
use millrace_store::maintenance::all_parts;
use millrace_types::Timestamp;

use crate::SqliteStore;
use crate::error::store_error;
use crate::gather;
use crate::rows::json;

/// Rows that one step deletes at most. An ended execution has a few rows of
/// events, and some have very many; each step then takes a few milliseconds.
const KEYS: i64 = 1000;
const ENDED: i64 = 200;
const EVENTS: i64 = 2000;
/// Pages that one step gives back to the file system at most; the pragma
/// below names the same number.
const PAGES: i64 = 500;
/// Free pages that stay in the file, for the next rows: 4 MiB.
const SPARE_PAGES: i64 = 1024;

/// ?1 ids, ?2 how many rows.
const LET_EVENTS_GO: &str = "
    DELETE FROM execution_events WHERE rowid IN (
        SELECT rowid FROM execution_events
        WHERE execution_id IN (SELECT value FROM json_each(?1)) LIMIT ?2)";

/// Those of which no event is left.
const LET_ENDED_GO: &str = "
    DELETE FROM executions_ended
    WHERE id IN (SELECT value FROM json_each(?1))
      AND NOT EXISTS (SELECT 1 FROM execution_events WHERE execution_id = executions_ended.id)";

impl SqliteStore {
    /// One step of each kind. Answers whether more is left to do.
    pub(crate) async fn maintain_step(&self) -> Result<bool, StoreError> {
        all_parts([
            self.delete_expired_keys().await,
            gather::expire(self, KEYS).await,
            self.delete_ended().await,
            self.delete_old_fires().await,
            self.give_back_pages().await,
        ])
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

    /// Executions past their last day, after their events.
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
        let events = sqlx::query(LET_EVENTS_GO)
            .bind(&ids)
            .bind(EVENTS)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        sqlx::query(LET_ENDED_GO)
            .bind(&ids)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(past.len() as u64 >= ENDED.unsigned_abs()
            || events.rows_affected() >= EVENTS.unsigned_abs())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn what_retention_lets_go_is_found_by_keys() {
        assert_searches(&[LET_EVENTS_GO, LET_ENDED_GO]).await;
    }
}
