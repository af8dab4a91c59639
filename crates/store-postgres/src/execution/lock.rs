//! Locks the executions that a batch writes to, and learns who owns them.

use std::collections::HashMap;

use millrace_store::{EventRecord, WriteRefused};
use millrace_types::{ExecutionId, IncarnationId};
use sqlx::PgConnection;

use crate::convert::{counter, parsed, parsed_option};
use crate::error::Failure;

/// A live execution, locked until the transaction ends.
pub(super) struct Held {
    pub owner: Option<IncarnationId>,
    pub epoch: u64,
    pub checkpoint_seq: u64,
    pub next_event_seq: u64,
}

impl Held {
    pub fn is_owned_by(&self, owner: IncarnationId, epoch: u64) -> bool {
        self.owner == Some(owner) && self.epoch == epoch
    }

    /// Refuses events that would leave a gap in the history, or fill a place
    /// twice.
    pub fn follow(&self, events: &[EventRecord]) -> Result<(), WriteRefused> {
        for (due, event) in (self.next_event_seq..).zip(events) {
            if event.seq != due {
                return Err(WriteRefused::Rejected(format!(
                    "event {} came where {due} was due",
                    event.seq
                )));
            }
        }
        Ok(())
    }
}

/// In the order of their ids, as everyone locks them who does not skip what
/// is locked.
pub(super) async fn lock(
    connection: &mut PgConnection,
    ids: &[ExecutionId],
) -> Result<HashMap<ExecutionId, Held>, Failure> {
    type Row = (String, Option<String>, i64, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, owner, epoch, checkpoint_seq, next_event_seq FROM executions \
         WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    )
    .bind(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, owner, epoch, checkpoint_seq, next_event_seq)| {
            let held = Held {
                owner: parsed_option(owner.as_deref())?,
                epoch: counter(epoch),
                checkpoint_seq: counter(checkpoint_seq),
                next_event_seq: counter(next_event_seq),
            };
            Ok((parsed(&id)?, held))
        })
        .collect()
}
