//! One execution.

use bytes::Bytes;
use millrace_store::{ExecutionRecord, StoreError};
use millrace_types::ExecutionId;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

/// Live or ended, in one statement and so in one snapshot: an execution that
/// ends meanwhile is neither missed nor seen twice.
const SHOW: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, NULL AS ended_at, rerun_of, NULL AS error, NULL AS output, input
    FROM executions WHERE id = ?1
    UNION ALL
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, ended_at, rerun_of, error, output, input
    FROM executions_ended WHERE id = ?1";

impl SqliteStore {
    pub(crate) async fn show_execution(
        &self,
        id: ExecutionId,
    ) -> Result<Option<ExecutionRecord>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(SHOW)
            .bind(id.to_string())
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        row.map(|row| {
            Ok(ExecutionRecord {
                input: row.bytes("input")?,
                output: row.bytes_option("output")?,
                ..without_payloads(&row)?
            })
        })
        .transpose()
    }
}

/// The columns that lists show too.
pub(crate) fn without_payloads(row: &SqliteRow) -> Result<ExecutionRecord, StoreError> {
    Ok(ExecutionRecord {
        id: row.parsed("id")?,
        deployment_id: row.parsed("deployment_id")?,
        workflow_id: row.parsed("workflow_id")?,
        version: row.number("version")?,
        status: row.parsed("status")?,
        trigger_kind: row.parsed("trigger_kind")?,
        trigger_id: row.parsed_option("trigger_id")?,
        input: Bytes::new(),
        output: None,
        error: row.bytes_option("error")?,
        created_at: row.time("created_at")?,
        started_at: row.time_option("started_at")?,
        ended_at: row.time_option("ended_at")?,
        rerun_of: row.parsed_option("rerun_of")?,
    })
}
