//! What is stored of the executions that a batch wants to move on.

use std::collections::HashMap;

use millrace_store::{StoreError, WriteRefused};
use millrace_types::{ExecutionId, IncarnationId};
use sqlx::SqliteConnection;

use super::Batch;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

pub(super) const LIVE: &str = "
    SELECT id, owner, epoch, checkpoint_seq, next_event_seq, deployment_id, slot_key, slot
    FROM executions
    WHERE id IN (SELECT value FROM json_each(?1))";

/// A live execution.
pub(super) struct Live {
    pub owner: Option<IncarnationId>,
    pub epoch: u64,
    pub checkpoint_seq: u64,
    pub next_event_seq: u64,
    /// (deployment, key) whose slot its end frees.
    pub slot: Option<(String, String)>,
}

pub(super) struct Owned(HashMap<ExecutionId, Live>);

pub(super) async fn read(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<Owned, StoreError> {
    let checkpoints = batch.checkpoints.iter().map(|(_, write)| write.id);
    let endings = batch.endings.iter().map(|(_, write)| write.id);
    let ids: Vec<_> = checkpoints.chain(endings).collect();
    let rows = sqlx::query(LIVE)
        .bind(json(&ids))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let mut owned = HashMap::with_capacity(rows.len());
    for row in rows {
        let slot = match row.raw::<Option<i64>>("slot")? {
            Some(_) => Some((row.raw("deployment_id")?, row.raw("slot_key")?)),
            None => None,
        };
        let live = Live {
            slot,
            owner: row.parsed_option("owner")?,
            epoch: row.number("epoch")?,
            checkpoint_seq: row.number("checkpoint_seq")?,
            next_event_seq: row.number("next_event_seq")?,
        };
        owned.insert(row.parsed("id")?, live);
    }
    Ok(Owned(owned))
}

impl Owned {
    pub fn get(&self, id: ExecutionId) -> Option<&Live> {
        self.0.get(&id)
    }

    /// The execution, if the writer still owns it.
    pub fn fenced(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<&Live, WriteRefused> {
        self.get(id)
            .filter(|live| live.owner == Some(owner) && live.epoch == epoch)
            .ok_or(WriteRefused::Fenced(id))
    }
}
