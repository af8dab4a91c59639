//! The ends of executions: from the live ones to the ended ones.

use std::collections::{BTreeSet, HashMap, HashSet};

use millrace_store::execution::frames_to_json;
use millrace_store::{Ending, ExecutionRecord, Outcome as Ended, WriteDone, WriteRefused};
use millrace_types::ExecutionId;
use sqlx::postgres::PgRow;
use sqlx::{FromRow as _, PgConnection, Row as _};

use super::checkpoint::expect_all;
use super::commit::Outcomes;
use super::events::Chunks;
use super::lock::Held;
use super::read;
use crate::convert::first_day;
use crate::error::{Failure, NOT_ALL};

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
                match held.follow(&ending.events) {
                    Ok(()) => applied.push((*at, *ending)),
                    Err(refused) => outcomes.set(*at, Err(refused)),
                }
            }
            Some(_) => outcomes.set(*at, Err(WriteRefused::Fenced(ending.id))),
            None => gone.push((*at, *ending)),
        }
    }
    if !applied.is_empty() {
        let endings: Vec<_> = applied.iter().map(|(_, ending)| *ending).collect();
        let mut moved = move_rows(connection, &endings).await?;
        for (at, ending) in applied {
            outcomes.set(at, Ok(moved.answer(ending)));
        }
        freed = moved.freed;
    }
    if !gone.is_empty() {
        answer_repeats(connection, &gone, outcomes).await?;
    }
    Ok(freed)
}

/// What moving ended executions came to.
pub(super) struct Moved {
    /// Those that were to be read back.
    pub records: HashMap<ExecutionId, ExecutionRecord>,
    /// As [`end`] answers it.
    pub freed: BTreeSet<(String, String)>,
}

impl Moved {
    pub(super) fn answer(&mut self, ending: &Ending) -> WriteDone {
        WriteDone::Ended(self.records.remove(&ending.id).map(Box::new))
    }
}

/// All of them or, with [`Failure::NotAll`], none: each has to be owned as its
/// end says, and its events have to follow those that are stored. What is asked
/// for is read on the way: a look afterwards, for each of them, costs the
/// server as much as its share of the whole transaction.
pub(super) async fn move_rows(
    connection: &mut PgConnection,
    endings: &[&Ending],
) -> Result<Moved, Failure> {
    let mut ids = Vec::with_capacity(endings.len());
    let mut owners = Vec::with_capacity(endings.len());
    let mut epochs = Vec::with_capacity(endings.len());
    let mut first_events = Vec::with_capacity(endings.len());
    let mut classes = Vec::with_capacity(endings.len());
    let mut statuses = Vec::with_capacity(endings.len());
    let mut outputs: Vec<Option<&[u8]>> = Vec::with_capacity(endings.len());
    let mut errors: Vec<Option<&[u8]>> = Vec::with_capacity(endings.len());
    let mut kept = Vec::with_capacity(endings.len());
    let mut read_back = Vec::with_capacity(endings.len());
    let mut chunks = Chunks::default();
    for ending in endings {
        let id = ending.id.to_string();
        chunks.push(&id, &ending.events)?;
        ids.push(id);
        owners.push(ending.owner.to_string());
        epochs.push(ending.epoch.cast_signed());
        first_events.push(ending.events.first().map(|event| event.seq.cast_signed()));
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
             USING unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::int[], \
                          $6::text[], $7::bytea[], $8::bytea[], $9::bytea[], $10::bool[]) \
                   AS x(id, owner, epoch, first_event, class, outcome, output, error, kept, \
                        read_back) \
             WHERE e.id = x.id AND e.owner = x.owner AND e.epoch = x.epoch \
               AND e.next_event_seq = coalesce(x.first_event, e.next_event_seq) \
             RETURNING e.id, e.deployment_id, e.workflow_id, e.version, e.trigger_kind, \
                       e.trigger_id, e.epoch, e.created_at, e.started_at, e.rerun_of, e.input, \
                       coalesce(CASE x.outcome WHEN 'SUCCEEDED' THEN e.keep_succeeded \
                                ELSE e.keep_failed END, x.class) AS class, \
                       x.outcome, x.output, x.error, x.kept, x.read_back, \
                       CASE WHEN e.slot IS NOT NULL THEN e.slot_key END AS freed), \
         gone_frames AS (DELETE FROM frames WHERE execution_id = ANY($1)), \
         gone_timers AS (DELETE FROM timers WHERE execution_id = ANY($1)), \
         gone_listeners AS (DELETE FROM execution_listeners WHERE execution_id = ANY($1)), \
         events AS ( \
             INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events) \
             SELECT x.execution_id, x.first_seq, x.last_seq, \
                    (now() AT TIME ZONE 'UTC')::date, now(), x.events \
             FROM unnest($11::text[], $12::bigint[], $13::bigint[], $14::bytea[]) \
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
         SELECT judged.refused, g.id, g.read_back, g.deployment_id, g.workflow_id, g.version, \
                g.outcome AS status, g.trigger_kind, g.trigger_id, \
                CASE WHEN g.read_back THEN g.input ELSE '' END AS input, \
                NULL::bytea AS output, NULL::bytea AS error, g.created_at, g.started_at, \
                now() AS ended_at, g.rerun_of, g.freed \
         FROM (SELECT (CASE WHEN (SELECT count(*) FROM gone) = cardinality($1) THEN '0' \
                            ELSE $15 END)::int AS refused) judged \
         LEFT JOIN gone g ON true",
    )
    .bind(ids)
    .bind(owners)
    .bind(epochs)
    .bind(first_events)
    .bind(classes)
    .bind(statuses)
    .bind(outputs)
    .bind(errors)
    .bind(kept)
    .bind(read_back)
    .bind(chunks.executions)
    .bind(chunks.first)
    .bind(chunks.last)
    .bind(chunks.events)
    .bind(NOT_ALL)
    .fetch_all(connection)
    .await?;
    moved(&rows, endings)
}

fn moved(rows: &[PgRow], endings: &[&Ending]) -> Result<Moved, Failure> {
    expect_all(rows.len() as u64, endings.len())?;
    let outcomes: HashMap<_, _> = endings.iter().map(|e| (e.id, &e.outcome)).collect();
    let mut moved = Moved {
        records: HashMap::new(),
        freed: BTreeSet::new(),
    };
    for row in rows {
        if let Some(key) = row.try_get("freed")? {
            moved.freed.insert((row.try_get("deployment_id")?, key));
        }
        if row.try_get("read_back")? {
            let record = read::Row::from_row(row)?.record()?;
            if let Some(outcome) = outcomes.get(&record.id) {
                moved.records.insert(record.id, record.ended_with(outcome));
            }
        }
    }
    Ok(moved)
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
