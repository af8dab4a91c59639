//! The history of one execution: rows that each hold the events of a commit.

use millrace_store::{EventRecord, Page, PageRequest, StoreError};
use millrace_types::{ExecutionId, Timestamp};

use crate::SqliteStore;
use crate::error::{corrupt, store_error};

/// From the row that holds the first event wanted. Every row holds at least
/// one event, so that as many rows as events are always enough.
const PAGE: &str = "
    SELECT events FROM execution_events
    WHERE execution_id = ?1 AND first_seq >= coalesce(
        (SELECT max(first_seq) FROM execution_events WHERE execution_id = ?1 AND first_seq <= ?2),
        0)
    ORDER BY first_seq LIMIT ?3";

const EXISTS: &str = "
    SELECT EXISTS (SELECT 1 FROM executions WHERE id = ?1)
        OR EXISTS (SELECT 1 FROM executions_ended WHERE id = ?1)";

/// One event as it is stored: sequence, microseconds, kind, task, attempt and
/// detail. The detail is a text here, and so kept as it was given.
type Stored = (u64, i64, String, String, u32, String);

/// Events as the JSON text of one row.
pub fn encode(events: &[EventRecord]) -> Vec<u8> {
    let stored: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e.seq,
                e.at.as_micros(),
                &e.kind,
                &e.task,
                e.attempt,
                &e.detail,
            )
        })
        .collect();
    serde_json::to_vec(&stored).expect("numbers and texts always serialise")
}

fn decode(text: &[u8]) -> Result<Vec<EventRecord>, StoreError> {
    let stored: Vec<Stored> =
        serde_json::from_slice(text).map_err(|error| corrupt("events", error))?;
    let event = |(seq, at, kind, task, attempt, detail)| EventRecord {
        seq,
        at: Timestamp::from_micros(at),
        kind,
        task,
        attempt,
        detail,
    };
    Ok(stored.into_iter().map(event).collect())
}

impl SqliteStore {
    pub(crate) async fn events_page(
        &self,
        id: ExecutionId,
        page: &PageRequest,
    ) -> Result<Option<Page<EventRecord>>, StoreError> {
        let after: u64 = match &page.cursor {
            None => 0,
            Some(cursor) => cursor
                .parse()
                .map_err(|_| StoreError::Rejected(format!("`{cursor}` is not a cursor")))?,
        };
        let wanted = page.limit as usize + 1;
        let mut connection = self.read().await?;
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(PAGE)
            .bind(id.to_string())
            .bind(after.saturating_add(1).cast_signed())
            .bind(i64::from(page.limit) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        if rows.is_empty() {
            // Nothing happened yet, or there is no such execution.
            let exists: bool = sqlx::query_scalar(EXISTS)
                .bind(id.to_string())
                .fetch_one(&mut *connection)
                .await
                .map_err(store_error)?;
            let empty = Page {
                items: Vec::new(),
                next: None,
            };
            return Ok(exists.then_some(empty));
        }
        let mut events = Vec::new();
        for row in rows {
            events.extend(decode(&row)?.into_iter().filter(|event| event.seq > after));
            if events.len() >= wanted {
                break;
            }
        }
        events.truncate(wanted);
        Ok(Some(Page::from_rows(events, page.limit, |event| {
            event.seq.to_string()
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn history_is_read_from_where_the_page_begins() {
        assert_searches(&[PAGE, EXISTS]).await;
    }
}
