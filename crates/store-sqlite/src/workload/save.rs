//! Transitions of workloads.

use millrace_store::workload::KEPT_INSTANCES;
use millrace_store::{Saved, StoreError, WorkloadSave};
use millrace_types::Timestamp;
use sqlx::SqliteConnection;

use super::instance;
use crate::SqliteStore;
use crate::error::store_error;

const UPDATE: &str = "
    UPDATE workloads SET revision = revision + 1, updated_at = ?3, desired = ?4, stage = ?5,
        kind = ?6, port = ?7, pid = ?8, error_reason = ?9, error_message = ?10, restarts = ?11,
        next_retry_at = ?12, ready = ?13
    WHERE id = ?1 AND revision = ?2";

/// The ended ones beyond those that are kept.
const PRUNE: &str = "
    DELETE FROM instances WHERE workload_id = ?1 AND ended_at IS NOT NULL AND id <= (
        SELECT id FROM instances WHERE workload_id = ?1 AND ended_at IS NOT NULL
        ORDER BY id DESC LIMIT 1 OFFSET ?2)";

impl SqliteStore {
    pub(super) async fn save_all(&self, saves: &[WorkloadSave]) -> Result<Vec<Saved>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let mut outcomes = Vec::with_capacity(saves.len());
        for save in saves {
            outcomes.push(one(&mut transaction, save, now).await?);
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(outcomes)
    }
}

async fn one(
    connection: &mut SqliteConnection,
    save: &WorkloadSave,
    now: i64,
) -> Result<Saved, StoreError> {
    for record in &save.instances {
        if instance::port_is_taken(connection, record).await? {
            return Ok(Saved::PortTaken);
        }
    }
    let state = &save.state;
    let (reason, message) = state.error.clone().unzip();
    let done = sqlx::query(UPDATE)
        .bind(save.id.to_string())
        .bind(save.revision.cast_signed())
        .bind(now)
        .bind(state.desired.as_str())
        .bind(state.stage.as_str())
        .bind(&state.kind)
        .bind(state.port)
        .bind(state.pid)
        .bind(reason)
        .bind(message)
        .bind(state.restarts)
        .bind(state.next_retry_at.map(Timestamp::as_micros))
        .bind(state.ready)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if done.rows_affected() == 0 {
        return Ok(Saved::Stale);
    }
    for record in &save.instances {
        instance::put(connection, record).await?;
    }
    if !save.instances.is_empty() {
        sqlx::query(PRUNE)
            .bind(save.id.to_string())
            .bind(KEPT_INSTANCES)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(Saved::Done {
        revision: save.revision + 1,
        at: Timestamp::from_micros(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn a_transition_reads_only_its_own_rows() {
        assert_searches(&[UPDATE, PRUNE, instance::HOLDER, instance::LIVING]).await;
    }
}
