//! Taking executions that are due, waiting for them, and giving them back.

use std::collections::HashMap;
use std::time::Duration;

use millrace_store::settings;
use millrace_store::{Claimed, FrameRecord, Limits, StoreError};
use millrace_types::{ExecutionId, IncarnationId};
use sqlx::{FromRow, PgConnection};

use super::{fair, listen};
use crate::PostgresStore;
use crate::convert::{counter, duration, parsed, parsed_option, version};
use crate::error::store_error;
use crate::incarnation::micros;
use crate::time::PgTime;

/// Back-off grows no more after this many failures.
const PAUSES: u32 = 8;

#[derive(FromRow)]
struct Row {
    id: String,
    deployment_id: String,
    workflow_id: String,
    version: i32,
    trigger_kind: String,
    trigger_id: Option<String>,
    epoch: i64,
    input: Vec<u8>,
    started_at: PgTime,
    checkpoint_seq: i64,
    next_event_seq: i64,
    traceparent: Option<String>,
    cancel_reason: Option<String>,
    began: bool,
    start_by: Option<PgTime>,
    deadline_at: Option<PgTime>,
    idle_timeout: Option<i64>,
    has_slot: bool,
    is_rerun: bool,
    now: PgTime,
    /// Where it stands in the claim.
    place: i64,
}

/// A statement that makes the rows of `due` (id, started_at, place) $1's.
macro_rules! take {
    ($due:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (",
            $due,
            ") UPDATE executions e \
               SET owner = $1, status = 'RUNNING', wake_at = NULL, epoch = e.epoch + 1, \
                   started_at = coalesce(e.started_at, statement_timestamp()) \
               FROM due WHERE e.id = due.id \
               RETURNING e.id, e.deployment_id, e.workflow_id, e.version, e.trigger_kind, \
                         e.trigger_id, e.epoch, e.input, e.started_at, e.checkpoint_seq, \
                         e.next_event_seq, e.traceparent, e.cancel_reason, \
                         due.started_at IS NOT NULL AS began, e.start_by, e.deadline_at, \
                         e.idle_timeout, e.slot IS NOT NULL AS has_slot, \
                         e.rerun_of IS NOT NULL AS is_rerun, \
                         statement_timestamp() AS now, due.place"
        )
    };
}

pub(super) async fn claim(
    store: &PostgresStore,
    owner: IncarnationId,
    limit: u32,
) -> Result<Vec<Claimed>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let mut rows = Vec::new();
    if fair::more_is_due(&mut transaction, limit).await? {
        let chosen = fair::choose(&mut transaction, &store.turn, limit).await?;
        rows = take_chosen(&mut transaction, owner, chosen).await?;
    }
    // As a rule all that is due fits. Otherwise what is left is what others
    // were faster with, or what a round did not look at.
    let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    if left > 0 {
        rows.extend(take_oldest(&mut transaction, owner, left).await?);
    }
    // Only a checkpoint leaves frames and timers behind; a rerun may begin
    // with those of its original.
    let advanced: Vec<String> = rows
        .iter()
        .filter(|row| row.checkpoint_seq > 0 || row.is_rerun)
        .map(|row| row.id.clone())
        .collect();
    let (mut frames, mut timers, mut received) = if advanced.is_empty() {
        (HashMap::new(), HashMap::new(), HashMap::new())
    } else {
        (
            frames_of(&mut transaction, &advanced).await?,
            due_timers_of(&mut transaction, &advanced).await?,
            listen::received(&mut transaction, &advanced).await?,
        )
    };
    let claimed = rows
        .into_iter()
        .map(|row| {
            Ok(Claimed {
                id: parsed(&row.id)?,
                deployment_id: parsed(&row.deployment_id)?,
                workflow_id: parsed(&row.workflow_id)?,
                version: version(row.version),
                trigger_kind: parsed(&row.trigger_kind)?,
                trigger_id: parsed_option(row.trigger_id.as_deref())?,
                epoch: counter(row.epoch),
                input: row.input.into(),
                started_at: row.started_at.0,
                checkpoint_seq: counter(row.checkpoint_seq),
                next_event_seq: counter(row.next_event_seq),
                frames: frames.remove(&row.id).unwrap_or_default(),
                due_timers: timers.remove(&row.id).unwrap_or_default(),
                received: received.remove(&row.id).unwrap_or_default(),
                traceparent: row.traceparent,
                cancel: row.cancel_reason,
                limits: Limits {
                    total: (row.deadline_at).map(|at| at.0.saturating_since(row.now.0)),
                    start: (row.start_by)
                        .filter(|_| !row.began)
                        .map(|by| by.0.saturating_since(row.now.0)),
                    idle: row.idle_timeout.map(duration),
                    slot: row.has_slot,
                },
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    transaction.commit().await.map_err(store_error)?;
    Ok(claimed)
}

/// `statement_timestamp()`, unlike `clock_timestamp()`, is constant within the
/// statement, so that the index on the due times can be used.
async fn take_oldest(
    connection: &mut PgConnection,
    owner: IncarnationId,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = sqlx::query_as(take!(
        "SELECT id, started_at, (extract(epoch FROM wake_at) * 1000000)::bigint AS place \
         FROM executions \
         WHERE owner IS NULL AND wake_at <= statement_timestamp() \
           AND EXISTS (SELECT FROM incarnations \
                       WHERE id = $1 AND expires_at > statement_timestamp()) \
         ORDER BY wake_at, id LIMIT $2 FOR UPDATE SKIP LOCKED"
    ))
    .bind(owner.to_string())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.sort_by(|a, b| (a.place, &a.id).cmp(&(b.place, &b.id)));
    Ok(rows)
}

async fn take_chosen(
    connection: &mut PgConnection,
    owner: IncarnationId,
    chosen: Vec<String>,
) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = sqlx::query_as(take!(
        "SELECT e.id, e.started_at, c.place \
         FROM unnest($2::text[]) WITH ORDINALITY AS c(id, place) \
         JOIN executions e ON e.id = c.id \
         WHERE e.owner IS NULL AND e.wake_at <= statement_timestamp() \
           AND EXISTS (SELECT FROM incarnations \
                       WHERE id = $1 AND expires_at > statement_timestamp()) \
         ORDER BY e.id FOR UPDATE OF e SKIP LOCKED"
    ))
    .bind(owner.to_string())
    .bind(chosen)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.sort_by_key(|row| row.place);
    Ok(rows)
}

async fn frames_of(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, Vec<FrameRecord>>, StoreError> {
    let rows: Vec<(String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT execution_id, id, data FROM frames WHERE execution_id = ANY($1) \
         ORDER BY execution_id, id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut frames: HashMap<String, Vec<FrameRecord>> = HashMap::new();
    for (execution, id, data) in rows {
        frames.entry(execution).or_default().push(FrameRecord {
            id: id.cast_unsigned(),
            data: data.into(),
        });
    }
    Ok(frames)
}

async fn due_timers_of(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, Vec<u64>>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT execution_id, id FROM timers \
         WHERE execution_id = ANY($1) AND due_at <= statement_timestamp() \
         ORDER BY execution_id, id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut timers: HashMap<String, Vec<u64>> = HashMap::new();
    for (execution, id) in rows {
        timers
            .entry(execution)
            .or_default()
            .push(id.cast_unsigned());
    }
    Ok(timers)
}

pub(super) async fn next_due(store: &PostgresStore) -> Result<Option<Duration>, StoreError> {
    let row: Option<(PgTime, PgTime)> = sqlx::query_as(
        "SELECT wake_at, clock_timestamp() FROM executions WHERE owner IS NULL \
         ORDER BY wake_at, id LIMIT 1",
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(row.map(|(due, now)| due.0.saturating_since(now.0)))
}

pub(super) async fn release(
    store: &PostgresStore,
    id: ExecutionId,
    owner: IncarnationId,
    epoch: u64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE executions \
         SET owner = NULL, status = 'PENDING', wake_at = now(), epoch = epoch + 1 \
         WHERE id = $1 AND owner = $2 AND epoch = $3",
    )
    .bind(id.to_string())
    .bind(owner.to_string())
    .bind(epoch.cast_signed())
    .execute(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn back_off(
    store: &PostgresStore,
    id: ExecutionId,
    owner: IncarnationId,
    epoch: u64,
) -> Result<bool, StoreError> {
    let pauses: Vec<i64> = (0..PAUSES).map(|n| micros(settings::back_off(n))).collect();
    let done = sqlx::query(
        "UPDATE executions \
         SET owner = NULL, status = 'PENDING', epoch = epoch + 1, \
             failed_starts = failed_starts + 1, \
             wake_at = least(deadline_at, CASE WHEN cancel_reason IS NOT NULL THEN now() \
                 ELSE now() + ($4::bigint[])[least(failed_starts + 1, cardinality($4))] \
                      * interval '1 microsecond' END) \
         WHERE id = $1 AND owner = $2 AND epoch = $3",
    )
    .bind(id.to_string())
    .bind(owner.to_string())
    .bind(epoch.cast_signed())
    .bind(pauses)
    .execute(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn owned(
    store: &PostgresStore,
    owner: IncarnationId,
) -> Result<Vec<(ExecutionId, u64)>, StoreError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT id, epoch FROM executions WHERE owner = $1 LIMIT 10000")
            .bind(owner.to_string())
            .fetch_all(&store.pool)
            .await
            .map_err(store_error)?;
    rows.into_iter()
        .map(|(id, epoch)| Ok((parsed(&id)?, counter(epoch))))
        .collect()
}
