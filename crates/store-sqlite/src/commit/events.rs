//! The history: one row for the events that one write brings.

use bytes::Bytes;
use millrace_store::{EventRecord, StoreError, WriteRefused};
use millrace_types::{ExecutionId, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::owned::Live;
use crate::error::store_error;
use crate::execution::events::encode;
use crate::rows::{Part, Rows};

pub(super) const INSERT: &str = "
    INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, ?3, ?4,
        substr(?2, r.value ->> '$[3][0]', r.value ->> '$[3][1]')
    FROM json_each(?1) r";

/// A new row, in the order that [`INSERT`] names.
#[derive(Serialize)]
struct Chunk(ExecutionId, u64, u64, Part);

/// The new rows of one batch.
pub(super) struct Chunks {
    now: Timestamp,
    rows: Rows<Chunk>,
}

impl Chunks {
    pub fn new(now: i64) -> Self {
        Self {
            now: Timestamp::from_micros(now),
            rows: Rows::new(),
        }
    }

    /// Takes the events of one write.
    pub fn push(&mut self, id: ExecutionId, events: &[EventRecord]) {
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            let part = self.rows.payload(&Bytes::from(encode(events)));
            self.rows.push(Chunk(id, first.seq, last.seq, part));
        }
    }

    pub async fn insert(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (rows, events) = self.rows.into_parameters();
        sqlx::query(INSERT)
            .bind(rows)
            .bind(events)
            .bind(self.now.day())
            .bind(self.now.as_micros())
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(store_error)
    }
}

/// Refuses events that would leave a gap in the history, or fill a place
/// twice. Answers with the number of the event after them.
pub(super) fn check(live: &Live, events: &[EventRecord]) -> Result<u64, WriteRefused> {
    let mut next = live.next_event_seq;
    for event in events {
        if event.seq != next {
            return Err(WriteRefused::Rejected(format!(
                "event {} came where {next} was due",
                event.seq
            )));
        }
        next += 1;
    }
    Ok(next)
}
