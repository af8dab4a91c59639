//! Instances.

use millrace_store::{InstanceRecord, StoreError};
use millrace_types::{InstanceId, Timestamp, WorkloadId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

/// Most living instances in one answer.
const LIVING_LIMIT: i64 = 1000;

pub(super) const HOLDER: &str = "
    SELECT 1 FROM instances
    WHERE node_id = ?1 AND port = ?2 AND ended_at IS NULL AND id <> ?3";

const PUT: &str = "
    INSERT INTO instances (id, workload_id, node_id, pid, port, socket, started_at, ended_at,
        exit_code, signal, reason, limits)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, port = excluded.port,
        ended_at = excluded.ended_at, exit_code = excluded.exit_code, signal = excluded.signal,
        reason = excluded.reason, limits = excluded.limits";

pub(super) const LIVING: &str = "
    SELECT id, workload_id, node_id, pid, port, socket, started_at, ended_at, exit_code, signal,
        reason, limits
    FROM instances WHERE node_id = ?1 AND ended_at IS NULL AND id > ?2 ORDER BY id LIMIT ?3";

/// Whether another living instance of the node has the port of this one.
pub(super) async fn port_is_taken(
    connection: &mut SqliteConnection,
    record: &InstanceRecord,
) -> Result<bool, StoreError> {
    if record.port.is_none() || record.ended_at.is_some() {
        return Ok(false);
    }
    let holder: Option<i64> = sqlx::query_scalar(HOLDER)
        .bind(&record.node_id)
        .bind(record.port)
        .bind(record.id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    Ok(holder.is_some())
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    record: &InstanceRecord,
) -> Result<(), StoreError> {
    sqlx::query(PUT)
        .bind(record.id.to_string())
        .bind(record.workload_id.to_string())
        .bind(&record.node_id)
        .bind(record.pid)
        .bind(record.port)
        .bind(&record.socket)
        .bind(record.started_at.as_micros())
        .bind(record.ended_at.map(Timestamp::as_micros))
        .bind(record.exit_code)
        .bind(record.signal)
        .bind(&record.reason)
        .bind(&record.limits)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

impl SqliteStore {
    pub(super) async fn last_instances(
        &self,
        id: WorkloadId,
        limit: u32,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let mut connection = self.read().await?;
        let mut rows = sqlx::query(
            "SELECT id, workload_id, node_id, pid, port, socket, started_at, ended_at, exit_code,
                 signal, reason, limits
             FROM instances WHERE workload_id = ?1 ORDER BY id DESC LIMIT ?2",
        )
        .bind(id.to_string())
        .bind(limit)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        rows.reverse();
        rows.iter().map(record).collect()
    }

    pub(super) async fn living_of_node(
        &self,
        node_id: &str,
        after: Option<InstanceId>,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(LIVING)
            .bind(node_id)
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(LIVING_LIMIT)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        rows.iter().map(record).collect()
    }
}

fn record(row: &SqliteRow) -> Result<InstanceRecord, StoreError> {
    Ok(InstanceRecord {
        id: row.parsed("id")?,
        workload_id: row.parsed("workload_id")?,
        node_id: row.raw("node_id")?,
        pid: row.raw("pid")?,
        port: row.raw("port")?,
        socket: row.raw("socket")?,
        started_at: row.time("started_at")?,
        ended_at: row.time_option("ended_at")?,
        exit_code: row.raw("exit_code")?,
        signal: row.raw("signal")?,
        reason: row.raw("reason")?,
        limits: row.raw("limits")?,
    })
}
