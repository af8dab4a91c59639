//! Taking what is past a deadline, to be ended.

use millrace_store::{Deadline, Overdue, StoreError};
use millrace_types::IncarnationId;
use sqlx::FromRow;

use crate::PostgresStore;
use crate::convert::{counter, parsed};
use crate::error::store_error;

#[derive(FromRow)]
struct Row {
    id: String,
    epoch: i64,
    next_event_seq: i64,
    cancel_reason: Option<String>,
}

/// A statement that makes up to $2 of the unowned rows that fulfil a condition
/// $1's, those that wait longest first.
macro_rules! seize {
    ($condition:literal, $order:literal) => {
        concat!(
            "WITH overdue AS MATERIALIZED ( \
                 SELECT id FROM executions WHERE owner IS NULL AND ",
            $condition,
            " AND EXISTS (SELECT FROM incarnations \
                           WHERE id = $1 AND expires_at > statement_timestamp()) \
                 ORDER BY ",
            $order,
            ", id LIMIT $2 FOR UPDATE SKIP LOCKED) \
             UPDATE executions e \
             SET status = 'RUNNING', owner = $1, wake_at = NULL, epoch = e.epoch + 1 \
             FROM overdue WHERE e.id = overdue.id \
             RETURNING e.id, e.epoch, e.next_event_seq, e.cancel_reason"
        )
    };
}

const TOTAL: &str = seize!("deadline_at <= statement_timestamp()", "deadline_at");

const START: &str = seize!(
    "started_at IS NULL AND start_by <= statement_timestamp()",
    "start_by"
);

pub(super) async fn seize(
    store: &PostgresStore,
    by: IncarnationId,
    limit: u32,
) -> Result<Vec<Overdue>, StoreError> {
    let mut seized = Vec::new();
    for (deadline, statement) in [(Deadline::Total, TOTAL), (Deadline::Start, START)] {
        let left = i64::from(limit).saturating_sub(i64::try_from(seized.len()).unwrap_or(i64::MAX));
        if left <= 0 {
            break;
        }
        // Each by itself: what one has taken is ours though the other fails.
        let rows: Vec<Row> = sqlx::query_as(statement)
            .bind(by.to_string())
            .bind(left)
            .fetch_all(&store.pool)
            .await
            .map_err(store_error)?;
        for row in rows {
            seized.push(Overdue {
                id: parsed(&row.id)?,
                epoch: counter(row.epoch),
                next_event_seq: counter(row.next_event_seq),
                deadline,
                cancel: row.cancel_reason,
            });
        }
    }
    Ok(seized)
}
