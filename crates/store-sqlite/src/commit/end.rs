//! Endings: the row moves to the ended ones, frames and timers go.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use millrace_store::execution::frames_to_json;
use millrace_store::{Ending, ExecutionRecord, Outcome, StoreError, WriteDone, WriteRefused};
use millrace_types::{ExecutionId, Timestamp};
use sqlx::SqliteConnection;

use super::Batch;
use super::events::{self, Chunks};
use super::owned::Owned;
use crate::error::store_error;
use crate::execution::show;
use crate::row::Columns;
use crate::rows::{Part, Rows, json};

pub(super) const ENDED: &str = "
    SELECT id, epoch FROM executions_ended WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const MOVE: &str = "
    INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id,
        version, status, trigger_kind, trigger_id, epoch, created_at, started_at, ended_at,
        rerun_of, error, output, kept_frames, input)
    SELECT e.id,
        ifnull(iif(r.value ->> 1 = 'SUCCEEDED', e.keep_succeeded, e.keep_failed), r.value ->> 2),
        ?3, e.deployment_id, e.workflow_id,
        e.version, r.value ->> 1, e.trigger_kind, e.trigger_id, e.epoch, e.created_at,
        e.started_at, ?4, e.rerun_of,
        iif(r.value ->> 1 = 'SUCCEEDED', NULL,
            ifnull(substr(?2, r.value ->> '$[3][0]', r.value ->> '$[3][1]'), x'')),
        iif(r.value ->> 1 = 'SUCCEEDED',
            ifnull(substr(?2, r.value ->> '$[3][0]', r.value ->> '$[3][1]'), x''), NULL),
        substr(?2, r.value ->> '$[4][0]', r.value ->> '$[4][1]'),
        e.input
    FROM json_each(?1) r
    CROSS JOIN executions e ON e.id = r.value ->> 0";

pub(super) const READ: &str = "
    SELECT id, deployment_id, workflow_id, version, status, trigger_kind, trigger_id, created_at,
        started_at, ended_at, rerun_of, NULL AS error, input
    FROM executions_ended WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const CLEAR: [&str; 4] = [
    "DELETE FROM frames WHERE execution_id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM timers WHERE execution_id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM execution_listeners WHERE execution_id IN (SELECT value FROM json_each(?1))",
    "DELETE FROM executions WHERE id IN (SELECT value FROM json_each(?1))",
];

/// Answers the (deployment, key) of slots that are free now.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    owned: &Owned,
    events: &mut Chunks,
    now: i64,
) -> Result<BTreeSet<(String, String)>, StoreError> {
    let mut freed = BTreeSet::new();
    if batch.endings.is_empty() {
        return Ok(freed);
    }
    let ended = ended_before(connection, batch, owned).await?;
    let mut rows: Rows<(ExecutionId, &str, u16, Part, Option<Part>)> = Rows::new();
    let mut ids = Vec::new();
    let mut asked = HashMap::new();
    for (at, write) in std::mem::take(&mut batch.endings) {
        let outcome = judge(write, owned, &ended).map(|fresh| {
            if fresh {
                let payload = rows.payload(payload(&write.outcome));
                let status = write.outcome.status().as_str();
                let kept = frames_to_json(&write.keep_frames);
                let kept = kept.map(|kept| rows.payload(&Bytes::from(kept)));
                rows.push((write.id, status, write.retention_days, payload, kept));
                ids.push(write.id);
                if write.read_back {
                    asked.insert(write.id, (at, &write.outcome));
                }
                batch.emits.extend(&write.emits);
                freed.extend(owned.get(write.id).and_then(|live| live.slot.clone()));
                events.push(write.id, &write.events);
            }
            WriteDone::Ended(None)
        });
        batch.answer(at, outcome);
    }
    if rows.is_empty() {
        return Ok(freed);
    }
    let (rows, payloads) = rows.into_parameters();
    sqlx::query(MOVE)
        .bind(rows)
        .bind(payloads)
        .bind(Timestamp::from_micros(now).day())
        .bind(now)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    read_back(connection, batch, &asked).await?;
    let ids = json(&ids);
    for statement in CLEAR {
        sqlx::query(statement)
            .bind(&ids)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(freed)
}

/// Answers those who asked for it with what is stored now.
async fn read_back(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    asked: &HashMap<ExecutionId, (usize, &Outcome)>,
) -> Result<(), StoreError> {
    if asked.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(READ)
        .bind(json(&asked.keys().collect::<Vec<_>>()))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    for row in rows {
        let record = show::without_payloads(&row)?;
        if let Some((at, outcome)) = asked.get(&record.id) {
            let input = row.bytes("input")?;
            let record = ExecutionRecord { input, ..record }.ended_with(outcome);
            batch.answer(*at, Ok(WriteDone::Ended(Some(Box::new(record)))));
        }
    }
    Ok(())
}

/// The epochs with which those that are no longer live have ended.
async fn ended_before(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
    owned: &Owned,
) -> Result<HashMap<ExecutionId, u64>, StoreError> {
    let missing: Vec<_> = batch
        .endings
        .iter()
        .map(|(_, write)| write.id)
        .filter(|id| owned.get(*id).is_none())
        .collect();
    let mut ended = HashMap::new();
    if missing.is_empty() {
        return Ok(ended);
    }
    let rows = sqlx::query(ENDED)
        .bind(json(&missing))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    for row in rows {
        ended.insert(row.parsed("id")?, row.number("epoch")?);
    }
    Ok(ended)
}

/// Whether the end is to be written; `false` for a repeat.
fn judge(
    write: &Ending,
    owned: &Owned,
    ended: &HashMap<ExecutionId, u64>,
) -> Result<bool, WriteRefused> {
    if ended.get(&write.id) == Some(&write.epoch) {
        return Ok(false);
    }
    let live = owned.fenced(write.id, write.owner, write.epoch)?;
    events::check(live, &write.events)?;
    Ok(true)
}

const fn payload(outcome: &Outcome) -> &Bytes {
    match outcome {
        Outcome::Succeeded(payload)
        | Outcome::Failed(payload)
        | Outcome::Cancelled(payload)
        | Outcome::TimedOut(payload) => payload,
    }
}
