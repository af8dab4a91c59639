//! Which schedules are due.

use std::time::Duration;

use millrace_store::{DueSchedules, ScheduleRecord, StoreError};
use millrace_types::{Timestamp, TriggerId};
use sqlx::FromRow;

use crate::PostgresStore;
use crate::convert::{counter, parsed, parsed_option, text};
use crate::error::store_error;
use crate::incarnation::micros;
use crate::time::PgTime;

#[derive(FromRow)]
pub(super) struct Row {
    trigger_id: String,
    kind: String,
    deployment_id: String,
    workflow_id: String,
    deployment_status: String,
    spec: Vec<u8>,
    anchor_at: PgTime,
    decided_to: PgTime,
    resumed_at: Option<PgTime>,
    next_nominal: Option<PgTime>,
    next_effective: Option<PgTime>,
    last_execution: Option<String>,
    step: i64,
    catch_up_to: Option<PgTime>,
    pub now: PgTime,
}

impl Row {
    pub fn record(self) -> Result<ScheduleRecord, StoreError> {
        Ok(ScheduleRecord {
            trigger_id: parsed(&self.trigger_id)?,
            kind: parsed(&self.kind)?,
            deployment_id: parsed(&self.deployment_id)?,
            workflow_id: parsed(&self.workflow_id)?,
            deployment_status: parsed(&self.deployment_status)?,
            spec_json: text(self.spec)?,
            anchor_at: self.anchor_at.0,
            decided_to: self.decided_to.0,
            resumed_at: self.resumed_at.map(|at| at.0),
            next_nominal: self.next_nominal.map(|at| at.0),
            next_effective: self.next_effective.map(|at| at.0),
            last_execution: parsed_option(self.last_execution.as_deref())?,
            step: counter(self.step),
            catch_up_to: self.catch_up_to.map(|at| at.0),
        })
    }
}

/// $1 how many, $2 µs to hold them.
const CLAIM: &str = "
    WITH due AS (
        SELECT trigger_id FROM schedules WHERE due_at <= statement_timestamp()
          AND (SELECT running FROM scheduler)
        ORDER BY due_at, trigger_id LIMIT $1 FOR UPDATE SKIP LOCKED)
    UPDATE schedules s
    SET due_at = statement_timestamp() + $2 * interval '1 microsecond'
    FROM due, triggers t, workflows w
    WHERE s.trigger_id = due.trigger_id AND t.id = s.trigger_id
      AND w.deployment_id = s.deployment_id
    RETURNING s.trigger_id, t.kind, s.deployment_id, w.workflow_id, w.deployment_status, s.spec,
        s.anchor_at, s.decided_to, s.resumed_at, s.next_nominal, s.next_effective,
        s.last_execution, s.step, s.catch_up_to,
        statement_timestamp() AS now";

const FIND: &str = "
    SELECT s.trigger_id, t.kind, s.deployment_id, w.workflow_id, w.deployment_status, s.spec,
        s.anchor_at, s.decided_to, s.resumed_at, s.next_nominal, s.next_effective,
        s.last_execution, s.step, s.catch_up_to,
        statement_timestamp() AS now
    FROM schedules s JOIN triggers t ON t.id = s.trigger_id
    JOIN workflows w ON w.deployment_id = s.deployment_id
    WHERE s.trigger_id = $1";

pub(super) async fn claim(
    store: &PostgresStore,
    limit: u32,
    hold: Duration,
) -> Result<DueSchedules, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(CLAIM)
        .bind(i64::from(limit))
        .bind(micros(hold))
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    // Without rows, nobody asks for the time.
    let now = rows.first().map_or_else(Timestamp::now, |row| row.now.0);
    let schedules = rows
        .into_iter()
        .map(Row::record)
        .collect::<Result<_, _>>()?;
    Ok(DueSchedules { now, schedules })
}

pub(super) async fn next_due(store: &PostgresStore) -> Result<Option<Duration>, StoreError> {
    let row: Option<(PgTime, PgTime)> = sqlx::query_as(
        "SELECT due_at, clock_timestamp() FROM ( \
             (SELECT due_at FROM schedules WHERE due_at IS NOT NULL \
              ORDER BY due_at, trigger_id LIMIT 1) \
             UNION ALL (SELECT due_at FROM backfills ORDER BY due_at LIMIT 1)) d \
         WHERE (SELECT running FROM scheduler) ORDER BY due_at LIMIT 1",
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(row.map(|(due, now)| due.0.saturating_since(now.0)))
}

pub(super) async fn find(
    store: &PostgresStore,
    id: TriggerId,
) -> Result<Option<ScheduleRecord>, StoreError> {
    let row: Option<Row> = sqlx::query_as(FIND)
        .bind(id.to_string())
        .fetch_optional(&store.pool)
        .await
        .map_err(store_error)?;
    row.map(Row::record).transpose()
}
