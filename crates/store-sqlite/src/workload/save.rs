//! Transitions of workloads.

use millrace_store::workload::{KEPT_INSTANCES, SaveRun};
use millrace_store::{Saved, StoreError, WorkloadSave};
use millrace_types::Timestamp;
use sqlx::SqliteConnection;

use super::instance;
use crate::SqliteStore;
use crate::error::store_error;

const UPDATE: &str = "
    UPDATE workloads SET revision = revision + ?14, updated_at = ?3, desired = ?4, stage = ?5,
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
        let mut outcomes = vec![Saved::Stale; saves.len()];
        for run in SaveRun::of(saves) {
            let written = match one(&mut transaction, &run, now).await? {
                None => Ok(Timestamp::from_micros(now)),
                Some(refused) => Err(refused),
            };
            run.tell(written, &mut outcomes);
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(outcomes)
    }
}

/// Why it is refused, if it is.
async fn one(
    connection: &mut SqliteConnection,
    run: &SaveRun,
    now: i64,
) -> Result<Option<Saved>, StoreError> {
    let save = &run.save;
    for record in &save.instances {
        if instance::port_is_taken(connection, record).await? {
            return Ok(Some(Saved::PortTaken));
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
        .bind(run.length())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if done.rows_affected() == 0 {
        return Ok(Some(Saved::Stale));
    }
    for record in &save.instances {
        instance::put(connection, record).await?;
    }
    if run.has_end() {
        sqlx::query(PRUNE)
            .bind(save.id.to_string())
            .bind(KEPT_INSTANCES)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(None)
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
