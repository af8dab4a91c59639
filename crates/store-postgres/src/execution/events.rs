//! History: stored in chunks, one for each commit that brought events.

use millrace_store::{EventRecord, Page, PageRequest, StoreError};
use millrace_types::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::read;
use crate::PostgresStore;
use crate::convert::{day, first_day};
use crate::error::store_error;

/// An event within a chunk. What is added later must be optional: chunks of
/// older releases stay as they are.
#[derive(Serialize, Deserialize)]
struct Stored {
    seq: u64,
    /// Microseconds since 1970-01-01.
    at: i64,
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    task: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    attempt: u32,
    /// Within a string, so that it comes back byte for byte.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    detail: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The chunks of a batch, as columns.
#[derive(Default)]
pub(super) struct Chunks {
    pub executions: Vec<String>,
    pub first: Vec<i64>,
    pub last: Vec<i64>,
    pub events: Vec<Vec<u8>>,
}

impl Chunks {
    pub(super) fn push(
        &mut self,
        execution: &str,
        events: &[EventRecord],
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(());
        };
        let stored: Vec<Stored> = events
            .iter()
            .map(|event| Stored {
                seq: event.seq,
                at: event.at.as_micros(),
                kind: event.kind.clone(),
                task: event.task.clone(),
                attempt: event.attempt,
                detail: event.detail.clone(),
            })
            .collect();
        let text =
            serde_json::to_vec(&stored).map_err(|error| StoreError::Rejected(error.to_string()))?;
        self.executions.push(execution.to_owned());
        self.first.push(first.seq.cast_signed());
        self.last.push(last.seq.cast_signed());
        self.events.push(text);
        Ok(())
    }
}

/// Whether each follows the one before it.
pub(super) fn are_contiguous(events: &[EventRecord]) -> bool {
    let following = events.iter().zip(events.iter().skip(1));
    following
        .into_iter()
        .all(|(one, next)| one.seq + 1 == next.seq)
}

pub(super) async fn page(
    store: &PostgresStore,
    id: ExecutionId,
    page: &PageRequest,
) -> Result<Option<Page<EventRecord>>, StoreError> {
    let after: i64 = match &page.cursor {
        None => 0,
        Some(cursor) => cursor
            .parse()
            .map_err(|_| StoreError::Rejected(format!("`{cursor}` is not a cursor of events")))?,
    };
    let Some((_, pruned)) = read::find(store, id).await? else {
        return Ok(None);
    };
    // Each chunk holds one event at least, so that this many suffice.
    let wanted = i64::from(page.limit) + 1;
    let (pool, since) = if pruned {
        (&store.kept, first_day(id.minted_at()))
    } else {
        (&store.pool, 0)
    };
    let chunks: Vec<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT events FROM execution_events \
         WHERE execution_id = $1 AND last_seq > $2 AND day >= {} \
         ORDER BY first_seq LIMIT $3",
        day(since)
    )))
    .bind(id.to_string())
    .bind(after)
    .bind(wanted)
    .fetch_all(pool)
    .await
    .map_err(store_error)?;
    let mut events = Vec::new();
    for chunk in chunks {
        let stored: Vec<Stored> = serde_json::from_slice(&chunk)
            .map_err(|error| StoreError::Rejected(format!("events of {id}: {error}")))?;
        events.extend(
            stored
                .into_iter()
                .filter(|event| event.seq.cast_signed() > after)
                .map(|event| EventRecord {
                    seq: event.seq,
                    at: Timestamp::from_micros(event.at),
                    kind: event.kind,
                    task: event.task,
                    attempt: event.attempt,
                    detail: event.detail,
                }),
        );
    }
    Ok(Some(Page::from_rows(events, page.limit, |event| {
        event.seq.to_string()
    })))
}
