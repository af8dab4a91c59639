//! One execution, live or ended.

use millrace_store::{ExecutionRecord, StoreError};
use millrace_types::ExecutionId;
use sqlx::{AssertSqlSafe, FromRow, PgPool};

use crate::PostgresStore;
use crate::convert::{bytes, day, first_day, parsed, parsed_option, version};
use crate::error::store_error;
use crate::time::PgTime;

#[derive(FromRow)]
pub(super) struct Row {
    pub id: String,
    deployment_id: String,
    workflow_id: String,
    version: i32,
    status: String,
    trigger_kind: String,
    trigger_id: Option<String>,
    input: Vec<u8>,
    output: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    created_at: PgTime,
    started_at: Option<PgTime>,
    ended_at: Option<PgTime>,
    rerun_of: Option<String>,
}

impl Row {
    pub(super) fn record(self) -> Result<ExecutionRecord, StoreError> {
        Ok(ExecutionRecord {
            id: parsed(&self.id)?,
            deployment_id: parsed(&self.deployment_id)?,
            workflow_id: parsed(&self.workflow_id)?,
            version: version(self.version),
            status: parsed(&self.status)?,
            trigger_kind: parsed(&self.trigger_kind)?,
            trigger_id: parsed_option(self.trigger_id.as_deref())?,
            input: self.input.into(),
            output: bytes(self.output),
            error: bytes(self.error),
            created_at: self.created_at.0,
            started_at: self.started_at.map(|time| time.0),
            ended_at: self.ended_at.map(|time| time.0),
            rerun_of: parsed_option(self.rerun_of.as_deref())?,
        })
    }
}

/// Finds it, and tells whether it lies where its id says that it should (days
/// before its minting left out). If not, a clock was off by days when the id
/// was minted, and all days are searched: slower, but found.
pub(super) async fn find(
    store: &PostgresStore,
    id: ExecutionId,
) -> Result<Option<(Row, bool)>, StoreError> {
    let found = find_since(&store.kept, id, first_day(id.minted_at())).await?;
    if let Some(row) = found {
        return Ok(Some((row, true)));
    }
    // Over all partitions: such a plan is not worth being kept.
    Ok(find_since(&store.pool, id, 0)
        .await?
        .map(|row| (row, false)))
}

async fn find_since(
    pool: &PgPool,
    id: ExecutionId,
    first_day: i32,
) -> Result<Option<Row>, StoreError> {
    sqlx::query_as(AssertSqlSafe(format!(
        "SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, input, \
                NULL::bytea AS output, NULL::bytea AS error, created_at, started_at, \
                NULL::timestamptz AS ended_at, rerun_of \
         FROM executions WHERE id = $1 \
         UNION ALL \
         SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, input, \
                output, error, created_at, started_at, ended_at, rerun_of \
         FROM executions_ended WHERE id = $1 AND ended_day >= {} \
         LIMIT 1",
        day(first_day)
    )))
    .bind(id.to_string())
    .fetch_optional(pool)
    .await
    .map_err(store_error)
}
