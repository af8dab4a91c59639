//! Transitions of workloads.

use millrace_store::workload::{KEPT_INSTANCES, SaveRun};
use millrace_store::{Saved, StoreError, WorkloadSave};
use millrace_types::Timestamp;
use sqlx::PgConnection;

use super::instance;
use crate::PostgresStore;
use crate::error::store_error;
use crate::time::PgTime;

pub(super) async fn all(
    store: &PostgresStore,
    saves: &[WorkloadSave],
) -> Result<Vec<Saved>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let mut outcomes = vec![Saved::Stale; saves.len()];
    for run in SaveRun::of(saves) {
        run.tell(one(&mut transaction, &run).await?, &mut outcomes);
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(outcomes)
}

/// When it was written, or why it is refused.
async fn one(
    connection: &mut PgConnection,
    run: &SaveRun,
) -> Result<Result<Timestamp, Saved>, StoreError> {
    let save = &run.save;
    for record in &save.instances {
        if instance::port_is_taken(connection, record).await? {
            return Ok(Err(Saved::PortTaken));
        }
    }
    let state = &save.state;
    let (reason, message) = state.error.clone().unzip();
    let at: Option<PgTime> = sqlx::query_scalar(
        "UPDATE workloads SET revision = revision + $13, updated_at = now(), desired = $3, \
             stage = $4, kind = $5, port = $6, pid = $7, error_reason = $8, error_message = $9, \
             restarts = $10, next_retry_at = $11, ready = $12 \
         WHERE id = $1 AND revision = $2 RETURNING updated_at",
    )
    .bind(save.id.to_string())
    .bind(save.revision.cast_signed())
    .bind(state.desired.as_str())
    .bind(state.stage.as_str())
    .bind(&state.kind)
    .bind(state.port.map(i32::from))
    .bind(state.pid.map(i64::from))
    .bind(reason)
    .bind(message)
    .bind(i64::from(state.restarts))
    .bind(state.next_retry_at.map(PgTime))
    .bind(state.ready)
    .bind(run.length())
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    let Some(at) = at else {
        return Ok(Err(Saved::Stale));
    };
    for record in &save.instances {
        instance::put(connection, record).await?;
    }
    if run.has_end() {
        sqlx::query(
            "DELETE FROM instances WHERE workload_id = $1 AND ended_at IS NOT NULL AND id <= ( \
                 SELECT id FROM instances WHERE workload_id = $1 AND ended_at IS NOT NULL \
                 ORDER BY id DESC LIMIT 1 OFFSET $2)",
        )
        .bind(save.id.to_string())
        .bind(i64::from(KEPT_INSTANCES))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    }
    Ok(Ok(at.0))
}
