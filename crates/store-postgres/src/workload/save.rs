//! Transitions of workloads.

use millrace_store::workload::KEPT_INSTANCES;
use millrace_store::{Saved, StoreError, WorkloadSave};
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
    let mut outcomes = Vec::with_capacity(saves.len());
    for save in saves {
        outcomes.push(one(&mut transaction, save).await?);
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(outcomes)
}

async fn one(connection: &mut PgConnection, save: &WorkloadSave) -> Result<Saved, StoreError> {
    for record in &save.instances {
        if instance::port_is_taken(connection, record).await? {
            return Ok(Saved::PortTaken);
        }
    }
    let state = &save.state;
    let (reason, message) = state.error.clone().unzip();
    let at: Option<PgTime> = sqlx::query_scalar(
        "UPDATE workloads SET revision = revision + 1, updated_at = now(), desired = $3, \
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
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    let Some(at) = at else {
        return Ok(Saved::Stale);
    };
    for record in &save.instances {
        instance::put(connection, record).await?;
    }
    if !save.instances.is_empty() {
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
    Ok(Saved::Done {
        revision: save.revision + 1,
        at: at.0,
    })
}
