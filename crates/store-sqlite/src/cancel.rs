//! Requests to cancel: stored with the execution, so that they outlive its
//! owner.

use millrace_store::{CancelRequest, CancelRequested, StoreError};
use millrace_types::{ExecutionId, IncarnationId};

use crate::SqliteStore;
use crate::error::store_error;
use crate::incarnation::is_alive;
use crate::row::Columns;

const ASK: &str = "
    UPDATE executions SET cancel_reason = coalesce(cancel_reason, ?2) WHERE id = ?1
    RETURNING owner, epoch, next_event_seq, cancel_reason";

const SEIZE: &str = "
    UPDATE executions SET status = 'RUNNING', owner = ?2, wake_at = NULL, epoch = epoch + 1
    WHERE id = ?1";

const ENDED: &str = "SELECT status FROM executions_ended WHERE id = ?1";

const REQUESTS: &str = "
    SELECT id, epoch, cancel_reason FROM executions
    WHERE owner = ?1 AND cancel_reason IS NOT NULL LIMIT 1000";

impl SqliteStore {
    pub(crate) async fn ask_to_cancel(
        &self,
        id: ExecutionId,
        by: IncarnationId,
        reason: &str,
    ) -> Result<Option<CancelRequested>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        let live = sqlx::query(ASK)
            .bind(id.to_string())
            .bind(reason)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        let Some(live) = live else {
            let ended = sqlx::query(ENDED)
                .bind(id.to_string())
                .fetch_optional(&mut *connection)
                .await
                .map_err(store_error)?;
            return ended
                .map(|row| Ok(CancelRequested::Ended(row.parsed("status")?)))
                .transpose();
        };
        let owner = live.parsed_option("owner")?;
        let requested = if owner.is_some() {
            CancelRequested::Asked { owner }
        } else if is_alive(connection, by, now).await? {
            sqlx::query(SEIZE)
                .bind(id.to_string())
                .bind(by.to_string())
                .execute(connection)
                .await
                .map_err(store_error)?;
            CancelRequested::Seized {
                epoch: live.number::<u64>("epoch")? + 1,
                next_event_seq: live.number("next_event_seq")?,
                reason: live.raw("cancel_reason")?,
            }
        } else {
            sqlx::query("UPDATE executions SET wake_at = 0 WHERE id = ?1")
                .bind(id.to_string())
                .execute(connection)
                .await
                .map_err(store_error)?;
            CancelRequested::Asked { owner: None }
        };
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(requested))
    }

    pub(crate) async fn asked_to_cancel(
        &self,
        owner: IncarnationId,
    ) -> Result<Vec<CancelRequest>, StoreError> {
        let rows = sqlx::query(REQUESTS)
            .bind(owner.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(CancelRequest {
                    id: row.parsed("id")?,
                    epoch: row.number("epoch")?,
                    reason: row.raw("cancel_reason")?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn requests_are_found_without_a_look_at_the_rest() {
        assert_searches(&[ASK, SEIZE, ENDED]).await;
        let requests = plan(REQUESTS).await;
        assert!(
            requests[0].contains("executions_cancel_idx"),
            "{requests:#?}"
        );
    }
}
