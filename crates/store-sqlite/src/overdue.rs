//! Taking what is past a deadline, to be ended.

use millrace_store::{Deadline, Overdue, StoreError};
use millrace_types::IncarnationId;

use crate::SqliteStore;
use crate::error::store_error;
use crate::incarnation::is_alive;
use crate::row::Columns;
use crate::rows::json;

const TOTAL: &str = "
    SELECT id FROM executions WHERE owner IS NULL AND deadline_at <= ?1
    ORDER BY deadline_at, id LIMIT ?2";

const START: &str = "
    SELECT id FROM executions
    WHERE owner IS NULL AND started_at IS NULL AND start_by <= ?1
    ORDER BY start_by, id LIMIT ?2";

const SEIZE: &str = "
    UPDATE executions SET status = 'RUNNING', owner = ?2, wake_at = NULL, epoch = epoch + 1
    WHERE id IN (SELECT value FROM json_each(?1)) AND owner IS NULL
    RETURNING id, epoch, next_event_seq, cancel_reason";

impl SqliteStore {
    pub(crate) async fn seize_past_deadline(
        &self,
        by: IncarnationId,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError> {
        // The one writer is not asked for what is hardly ever there.
        if !self.something_is_overdue().await? {
            return Ok(Vec::new());
        }
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        if !is_alive(connection, by, now).await? {
            return Ok(Vec::new());
        }
        let mut seized = Vec::new();
        for (deadline, statement) in [(Deadline::Total, TOTAL), (Deadline::Start, START)] {
            let left = usize::try_from(limit).unwrap_or(usize::MAX) - seized.len();
            let ids: Vec<String> = sqlx::query_scalar(statement)
                .bind(now)
                .bind(i64::try_from(left).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection)
                .await
                .map_err(store_error)?;
            if ids.is_empty() {
                continue;
            }
            let rows = sqlx::query(SEIZE)
                .bind(json(&ids))
                .bind(by.to_string())
                .fetch_all(&mut *connection)
                .await
                .map_err(store_error)?;
            for row in &rows {
                seized.push(Overdue {
                    id: row.parsed("id")?,
                    epoch: row.number("epoch")?,
                    next_event_seq: row.number("next_event_seq")?,
                    deadline,
                    cancel: row.raw("cancel_reason")?,
                });
            }
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(seized)
    }

    async fn something_is_overdue(&self) -> Result<bool, StoreError> {
        let mut connection = self.read().await?;
        let now = self.now().as_micros();
        for statement in [TOTAL, START] {
            let first: Option<String> = sqlx::query_scalar(statement)
                .bind(now)
                .bind(1)
                .fetch_optional(&mut *connection)
                .await
                .map_err(store_error)?;
            if first.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn only_what_has_deadlines_is_looked_at() {
        assert_searches(&[TOTAL, START, SEIZE]).await;
        let by_index = [
            (TOTAL, "executions_deadline_idx"),
            (START, "executions_start_by_idx"),
        ];
        for (statement, index) in by_index {
            let steps = plan(statement).await;
            assert!(steps.len() == 1 && steps[0].contains(index), "{steps:#?}");
        }
    }
}
