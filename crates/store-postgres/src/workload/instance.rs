//! Instances.

use millrace_store::{InstanceRecord, StoreError};
use millrace_types::{InstanceId, WorkloadId};
use sqlx::{FromRow, PgConnection};

use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;
use crate::time::PgTime;

/// Most living instances in one answer.
const LIVING_LIMIT: i64 = 1000;

#[derive(FromRow)]
struct Row {
    id: String,
    workload_id: String,
    node_id: String,
    pid: Option<i64>,
    port: Option<i32>,
    socket: String,
    started_at: PgTime,
    ended_at: Option<PgTime>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    reason: String,
    limits: String,
}

impl Row {
    fn record(self) -> Result<InstanceRecord, StoreError> {
        Ok(InstanceRecord {
            id: parsed(&self.id)?,
            workload_id: parsed(&self.workload_id)?,
            node_id: self.node_id,
            pid: self.pid.and_then(|pid| u32::try_from(pid).ok()),
            port: self.port.and_then(|port| u16::try_from(port).ok()),
            socket: self.socket,
            started_at: self.started_at.0,
            ended_at: self.ended_at.map(|at| at.0),
            exit_code: self.exit_code,
            signal: self.signal,
            reason: self.reason,
            limits: self.limits,
        })
    }
}

/// Whether another living instance of the node has the port of this one.
pub(super) async fn port_is_taken(
    connection: &mut PgConnection,
    record: &InstanceRecord,
) -> Result<bool, StoreError> {
    if record.port.is_none() || record.ended_at.is_some() {
        return Ok(false);
    }
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM instances \
         WHERE node_id = $1 AND port = $2 AND ended_at IS NULL AND id <> $3)",
    )
    .bind(&record.node_id)
    .bind(record.port.map(i32::from))
    .bind(record.id.to_string())
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

pub(super) async fn put(
    connection: &mut PgConnection,
    record: &InstanceRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO instances (id, workload_id, node_id, pid, port, socket, started_at, \
             ended_at, exit_code, signal, reason, limits) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, port = excluded.port, \
             ended_at = excluded.ended_at, exit_code = excluded.exit_code, \
             signal = excluded.signal, reason = excluded.reason, limits = excluded.limits",
    )
    .bind(record.id.to_string())
    .bind(record.workload_id.to_string())
    .bind(&record.node_id)
    .bind(record.pid.map(i64::from))
    .bind(record.port.map(i32::from))
    .bind(&record.socket)
    .bind(PgTime(record.started_at))
    .bind(record.ended_at.map(PgTime))
    .bind(record.exit_code)
    .bind(record.signal)
    .bind(&record.reason)
    .bind(&record.limits)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

pub(super) async fn last(
    store: &PostgresStore,
    id: WorkloadId,
    limit: u32,
) -> Result<Vec<InstanceRecord>, StoreError> {
    let mut rows: Vec<Row> = sqlx::query_as(
        "SELECT id, workload_id, node_id, pid, port, socket, started_at, ended_at, exit_code, \
             signal, reason, limits \
         FROM instances WHERE workload_id = $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(id.to_string())
    .bind(i64::from(limit))
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.reverse();
    rows.into_iter().map(Row::record).collect()
}

pub(super) async fn living(
    store: &PostgresStore,
    node_id: &str,
    after: Option<InstanceId>,
) -> Result<Vec<InstanceRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, workload_id, node_id, pid, port, socket, started_at, ended_at, exit_code, \
             signal, reason, limits \
         FROM instances WHERE node_id = $1 AND ended_at IS NULL AND id > $2 \
         ORDER BY id LIMIT $3",
    )
    .bind(node_id)
    .bind(after.map_or_else(String::new, |id| id.to_string()))
    .bind(LIVING_LIMIT)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    rows.into_iter().map(Row::record).collect()
}
