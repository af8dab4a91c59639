//! The ends of executions: from the live ones to the ended ones.

use std::collections::{BTreeSet, HashMap, HashSet};

use millrace_store::execution::frames_to_json;
use millrace_store::{Ending, Outcome as Ended, WriteDone, WriteRefused};
use millrace_types::ExecutionId;
use sqlx::{FromRow as _, PgConnection, Row as _};

use super::checkpoint::expect_all;
use super::commit::Outcomes;
use super::events::Chunks;
use super::lock::Held;
use super::read;
use crate::convert::first_day;
use crate::error::Failure;

/// Answers the (deployment, key) of slots that are free now.
pub(super) async fn end(
    connection: &mut PgConnection,
    endings: &[(usize, &Ending)],
    held: &HashMap<ExecutionId, Held>,
    outcomes: &mut Outcomes,
) -> Result<BTreeSet<(String, String)>, Failure> {
    let mut freed = BTreeSet::new();
    let mut applied = Vec::with_capacity(endings.len());
    let mut gone = Vec::new();
    for (at, ending) in endings {
        match held.get(&ending.id) {
            Some(held) if held.is_owned_by(ending.owner, ending.epoch) => {
                let outcome = held.follow(&ending.events);
                if outcome.is_ok() {
                    applied.push((*at, *ending));
                    freed.extend(held.slot.clone());
                }
                outcomes.set(*at, outcome.map(|()| WriteDone::Ended(None)));
            }
            Some(_) => outcomes.set(*at, Err(WriteRefused::Fenced(ending.id))),
            None => gone.push((*at, *ending)),
        }
    }
    if !applied.is_empty() {
        move_rows(connection, &applied, outcomes).await?;
    }
    if !gone.is_empty() {
        answer_repeats(connection, &gone, outcomes).await?;
    }
    Ok(freed)
}

/// The rows are locked and their owners judged, so that the epoch suffices.
/// What is asked for is read on the way: a look afterwards, for each of them,
/// costs the server as much as its share of the whole transaction.
async fn move_rows(
    connection: &mut PgConnection,
    applied: &[(usize, &Ending)],
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let mut ids = Vec::with_capacity(applied.len());
    let mut epochs = Vec::with_capacity(applied.len());
    let mut classes = Vec::with_capacity(applied.len());
    let mut statuses = Vec::with_capacity(applied.len());
    let mut outputs: Vec<Option<&[u8]>> = Vec::with_capacity(applied.len());
    let mut errors: Vec<Option<&[u8]>> = Vec::with_capacity(applied.len());
    let mut kept = Vec::with_capacity(applied.len());
    let mut read_back = Vec::with_capacity(applied.len());
    let mut chunks = Chunks::default();
    for (_, ending) in applied {
        let id = ending.id.to_string();
        chunks.push(&id, &ending.events)?;
        ids.push(id);
        epochs.push(ending.epoch.cast_signed());
        classes.push(i32::from(ending.retention_days));
        statuses.push(ending.outcome.status().as_str());
        let (output, error) = match &ending.outcome {
            Ended::Succeeded(output) => (Some(&output[..]), None),
            Ended::Failed(error) | Ended::Cancelled(error) | Ended::TimedOut(error) => {
                (None, Some(&error[..]))
            }
        };
        outputs.push(output);
        errors.push(error);
        kept.push(frames_to_json(&ending.keep_frames));
        read_back.push(ending.read_back);
    }
    let rows = sqlx::query(
        "WITH gone AS ( \
             DELETE FROM executions e \
             USING unnest($1::text[], $2::bigint[], $3::int[], $4::text[], \
                          $5::bytea[], $6::bytea[], $11::bytea[], $12::bool[]) \
                   AS x(id, epoch, class, outcome, output, error, kept, read_back) \
             WHERE e.id = x.id AND e.epoch = x.epoch \
             RETURNING e.id, e.deployment_id, e.workflow_id, e.version, e.trigger_kind, \
                       e.trigger_id, e.epoch, e.created_at, e.started_at, e.rerun_of, e.input, \
                       coalesce(CASE x.outcome WHEN 'SUCCEEDED' THEN e.keep_succeeded \
                                ELSE e.keep_failed END, x.class) AS class, \
                       x.outcome, x.output, x.error, x.kept, x.read_back), \
         gone_frames AS (DELETE FROM frames WHERE execution_id = ANY($1)), \
         gone_timers AS (DELETE FROM timers WHERE execution_id = ANY($1)), \
         gone_listeners AS (DELETE FROM execution_listeners WHERE execution_id = ANY($1)), \
         events AS ( \
             INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events) \
             SELECT x.execution_id, x.first_seq, x.last_seq, \
                    (now() AT TIME ZONE 'UTC')::date, now(), x.events \
             FROM unnest($7::text[], $8::bigint[], $9::bigint[], $10::bytea[]) \
                  AS x(execution_id, first_seq, last_seq, events)), \
         ended AS ( \
             INSERT INTO executions_ended \
                 (id, retention_days, ended_day, deployment_id, workflow_id, version, status, \
                  trigger_kind, trigger_id, epoch, created_at, started_at, ended_at, rerun_of, \
                  input, output, error, kept_frames) \
             SELECT id, class, (now() AT TIME ZONE 'UTC')::date, deployment_id, workflow_id, \
                    version, outcome, trigger_kind, trigger_id, epoch, created_at, started_at, \
                    now(), rerun_of, input, output, error, kept \
             FROM gone) \
         SELECT id, read_back, deployment_id, workflow_id, version, outcome AS status, \
                trigger_kind, trigger_id, CASE WHEN read_back THEN input ELSE '' END AS input, \
                NULL::bytea AS output, NULL::bytea AS error, created_at, started_at, \
                now() AS ended_at, rerun_of \
         FROM gone",
    )
    .bind(ids)
    .bind(epochs)
    .bind(classes)
    .bind(statuses)
    .bind(outputs)
    .bind(errors)
    .bind(chunks.executions)
    .bind(chunks.first)
    .bind(chunks.last)
    .bind(chunks.events)
    .bind(kept)
    .bind(read_back)
    .fetch_all(connection)
    .await?;
    let mut records = HashMap::new();
    for row in &rows {
        if row.try_get("read_back")? {
            let record = read::Row::from_row(row)?.record()?;
            records.insert(record.id, record);
        }
    }
    for (at, ending) in applied {
        if let Some(record) = records.remove(&ending.id) {
            let record = record.ended_with(&ending.outcome);
            outcomes.set(*at, Ok(WriteDone::Ended(Some(Box::new(record)))));
        }
    }
    expect_all(rows.len() as u64, applied.len())
}

/// Those that are not live any more: ended by this same write before, or
/// fenced.
async fn answer_repeats(
    connection: &mut PgConnection,
    gone: &[(usize, &Ending)],
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let first = gone.iter().map(|(_, e)| first_day(e.id.minted_at())).min();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT id, epoch FROM executions_ended \
         WHERE id = ANY($1) AND ended_day >= date '1970-01-01' + $2",
    )
    .bind(
        gone.iter()
            .map(|(_, e)| e.id.to_string())
            .collect::<Vec<_>>(),
    )
    .bind(first.unwrap_or(0))
    .fetch_all(connection)
    .await?;
    let ended: HashSet<(String, i64)> = rows.into_iter().collect();
    for (at, ending) in gone {
        let key = (ending.id.to_string(), ending.epoch.cast_signed());
        let outcome = if ended.contains(&key) {
            Ok(WriteDone::Ended(None))
        } else {
            Err(WriteRefused::Fenced(ending.id))
        };
        outcomes.set(*at, outcome);
    }
    Ok(())
}
