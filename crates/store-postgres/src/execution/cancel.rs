//! Requests to cancel: stored with the execution, so that they outlive its
//! owner.

use millrace_store::{CancelRequest, CancelRequested, StoreError};
use millrace_types::{ExecutionId, IncarnationId};
use sqlx::FromRow;

use super::read;
use crate::PostgresStore;
use crate::convert::{counter, parsed, parsed_option};
use crate::error::store_error;

#[derive(FromRow)]
struct Live {
    owner: Option<String>,
    epoch: i64,
    next_event_seq: i64,
    cancel_reason: String,
    alive: bool,
}

pub(super) async fn request(
    store: &PostgresStore,
    id: ExecutionId,
    by: IncarnationId,
    reason: &str,
) -> Result<Option<CancelRequested>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    // The update locks the row: what is answered stays true until the commit.
    let live: Option<Live> = sqlx::query_as(
        "UPDATE executions e SET cancel_reason = coalesce(e.cancel_reason, $3) WHERE e.id = $1 \
         RETURNING e.owner, e.epoch, e.next_event_seq, e.cancel_reason, \
             EXISTS (SELECT FROM incarnations \
                     WHERE id = $2 AND expires_at > clock_timestamp()) AS alive",
    )
    .bind(id.to_string())
    .bind(by.to_string())
    .bind(reason)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?;
    let Some(live) = live else {
        transaction.rollback().await.map_err(store_error)?;
        // Ended meanwhile, or unknown; it cannot be live again.
        let found = read::find(store, id).await?;
        return found
            .map(|(row, _)| Ok(CancelRequested::Ended(row.record()?.status)))
            .transpose();
    };
    let owner = parsed_option(live.owner.as_deref())?;
    let statement = if owner.is_some() {
        None
    } else if live.alive {
        Some(
            "UPDATE executions SET status = 'RUNNING', owner = $2, wake_at = NULL, \
                 epoch = epoch + 1 \
             WHERE id = $1",
        )
    } else {
        Some("UPDATE executions SET wake_at = now() WHERE id = $1 AND $2::text IS NOT NULL")
    };
    if let Some(statement) = statement {
        sqlx::query(statement)
            .bind(id.to_string())
            .bind(by.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(if owner.is_none() && live.alive {
        CancelRequested::Seized {
            epoch: counter(live.epoch) + 1,
            next_event_seq: counter(live.next_event_seq),
            reason: live.cancel_reason,
        }
    } else {
        CancelRequested::Asked { owner }
    }))
}

pub(super) async fn requests(
    store: &PostgresStore,
    owner: IncarnationId,
) -> Result<Vec<CancelRequest>, StoreError> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT id, epoch, cancel_reason FROM executions \
         WHERE owner = $1 AND cancel_reason IS NOT NULL LIMIT 1000",
    )
    .bind(owner.to_string())
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter()
        .map(|(id, epoch, reason)| {
            Ok(CancelRequest {
                id: parsed(&id)?,
                epoch: counter(epoch),
                reason,
            })
        })
        .collect()
}
