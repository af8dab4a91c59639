//! Progress of owned executions.

use std::collections::{HashMap, HashSet};

use millrace_store::{Checkpoint, StoreError, WriteDone, WriteRefused};
use millrace_types::ExecutionId;
use sqlx::PgConnection;

use super::Outcome;
use super::commit::Outcomes;
use super::events::Chunks;
use super::listen;
use super::lock::Held;
use crate::error::Failure;
use crate::time::PgTime;

/// What is to happen with one checkpoint.
enum Verdict {
    Apply,
    Answer(Outcome),
}

fn judge(checkpoint: &Checkpoint, held: Option<&Held>) -> Verdict {
    let fenced = Verdict::Answer(Err(WriteRefused::Fenced(checkpoint.id)));
    let repeated = Verdict::Answer(Ok(WriteDone::Checkpointed));
    let Some(held) = held else { return fenced };
    if held.is_owned_by(checkpoint.owner, checkpoint.epoch) {
        if checkpoint.seq == held.checkpoint_seq + 1 {
            match held.follow(&checkpoint.events) {
                Ok(()) => Verdict::Apply,
                Err(refused) => Verdict::Answer(Err(refused)),
            }
        } else if checkpoint.seq == held.checkpoint_seq {
            repeated
        } else {
            Verdict::Answer(Err(WriteRefused::Rejected(format!(
                "checkpoint {} of execution {} does not follow {}",
                checkpoint.seq, checkpoint.id, held.checkpoint_seq
            ))))
        }
    } else if checkpoint.park
        && held.owner.is_none()
        && held.epoch == checkpoint.epoch
        && held.checkpoint_seq == checkpoint.seq
    {
        // It was parked by this very checkpoint: whoever takes it, and
        // whoever gives it back, raises the epoch.
        repeated
    } else {
        fenced
    }
}

pub(super) async fn checkpoint(
    connection: &mut PgConnection,
    checkpoints: &[(usize, &Checkpoint)],
    held: &HashMap<ExecutionId, Held>,
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let mut applied = Vec::with_capacity(checkpoints.len());
    for (at, checkpoint) in checkpoints {
        match judge(checkpoint, held.get(&checkpoint.id)) {
            Verdict::Apply => {
                applied.push(*checkpoint);
                outcomes.set(*at, Ok(WriteDone::Checkpointed));
            }
            Verdict::Answer(outcome) => outcomes.set(*at, outcome),
        }
    }
    if applied.is_empty() {
        return Ok(());
    }
    write_parts(connection, &applied).await?;
    listen::write(connection, &applied).await?;
    advance(connection, &applied).await
}

/// (execution, id) pairs with a value each, as columns.
pub(super) struct Columns<T> {
    pub executions: Vec<String>,
    pub ids: Vec<i64>,
    pub values: Vec<T>,
}

impl<T> Columns<T> {
    pub(super) const fn new() -> Self {
        Self {
            executions: Vec::new(),
            ids: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, execution: &str, id: u64, value: T) {
        self.executions.push(execution.to_owned());
        self.ids.push(id.cast_signed());
        self.values.push(value);
    }
}

/// Deletes and sets frames: columns of executions and ids, and of executions,
/// ids and data.
macro_rules! frames {
    ($gone:literal, $gone_ids:literal, $set:literal, $set_ids:literal, $data:literal) => {
        concat!(
            "gone_frames AS ( \
                 DELETE FROM frames f \
                 USING unnest(",
            $gone,
            "::text[], ",
            $gone_ids,
            "::bigint[]) AS x(execution_id, id) \
                 WHERE f.execution_id = x.execution_id AND f.id = x.id), \
             set_frames AS ( \
                 INSERT INTO frames (execution_id, id, data) \
                 SELECT * FROM unnest(",
            $set,
            "::text[], ",
            $set_ids,
            "::bigint[], ",
            $data,
            "::bytea[]) \
                 ON CONFLICT (execution_id, id) DO UPDATE SET data = excluded.data)"
        )
    };
}
pub(super) use frames;

/// What a checkpoint both deletes and sets is set; what it sets twice is set
/// to the last.
pub(super) fn frames_of<'a>(
    checkpoint: &'a Checkpoint,
    id: &str,
    set: &mut Columns<&'a [u8]>,
    gone: &mut Columns<()>,
) {
    let mut seen = HashSet::new();
    for frame in checkpoint.upsert_frames.iter().rev() {
        if seen.insert(frame.id) {
            set.push(id, frame.id, &frame.data[..]);
        }
    }
    for frame in &checkpoint.delete_frames {
        if seen.insert(*frame) {
            gone.push(id, *frame, ());
        }
    }
}

/// Frames, timers and events. What a checkpoint both deletes and sets is set;
/// what it sets twice is set to the last.
async fn write_parts(
    connection: &mut PgConnection,
    applied: &[&Checkpoint],
) -> Result<(), Failure> {
    let mut frames = Columns::new();
    let mut gone_frames = Columns::new();
    let mut timers = Columns::new();
    let mut gone_timers = Columns::new();
    let mut chunks = Chunks::default();
    for checkpoint in applied {
        let id = checkpoint.id.to_string();
        frames_of(checkpoint, &id, &mut frames, &mut gone_frames);
        let mut set = HashSet::new();
        for timer in checkpoint.set_timers.iter().rev() {
            if set.insert(timer.id) {
                timers.push(&id, timer.id, PgTime(timer.due_at));
            }
        }
        for timer in &checkpoint.clear_timers {
            if set.insert(*timer) {
                gone_timers.push(&id, *timer, ());
            }
        }
        chunks.push(&id, &checkpoint.events)?;
    }
    sqlx::query(concat!(
        "WITH ",
        frames!("$1", "$2", "$3", "$4", "$5"),
        ", gone_timers AS ( \
             DELETE FROM timers t USING unnest($6::text[], $7::bigint[]) AS x(execution_id, id) \
             WHERE t.execution_id = x.execution_id AND t.id = x.id), \
         set_timers AS ( \
             INSERT INTO timers (execution_id, id, due_at) \
             SELECT * FROM unnest($8::text[], $9::bigint[], $10::timestamptz[]) \
             ON CONFLICT (execution_id, id) DO UPDATE SET due_at = excluded.due_at) \
         INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events) \
         SELECT x.execution_id, x.first_seq, x.last_seq, (now() AT TIME ZONE 'UTC')::date, now(), \
                x.events \
         FROM unnest($11::text[], $12::bigint[], $13::bigint[], $14::bytea[]) \
              AS x(execution_id, first_seq, last_seq, events)"
    ))
    .bind(gone_frames.executions)
    .bind(gone_frames.ids)
    .bind(frames.executions)
    .bind(frames.ids)
    .bind(frames.values)
    .bind(gone_timers.executions)
    .bind(gone_timers.ids)
    .bind(timers.executions)
    .bind(timers.ids)
    .bind(timers.values)
    .bind(chunks.executions)
    .bind(chunks.first)
    .bind(chunks.last)
    .bind(chunks.events)
    .execute(connection)
    .await?;
    Ok(())
}

/// The executions themselves, once their timers are stored. The rows are
/// locked and their owners judged, so that the epoch suffices.
async fn advance(connection: &mut PgConnection, applied: &[&Checkpoint]) -> Result<(), Failure> {
    let ids: Vec<String> = applied.iter().map(|c| c.id.to_string()).collect();
    let epochs: Vec<i64> = applied.iter().map(|c| c.epoch.cast_signed()).collect();
    let seqs: Vec<i64> = applied.iter().map(|c| c.seq.cast_signed()).collect();
    let next_events: Vec<i64> = applied
        .iter()
        .map(|c| c.events.last().map_or(0, |e| e.seq.cast_signed() + 1))
        .collect();
    let parks: Vec<bool> = applied.iter().map(|c| c.park).collect();
    let done = sqlx::query(
        "UPDATE executions e \
         SET checkpoint_seq = x.seq, failed_starts = 0, \
             next_event_seq = greatest(e.next_event_seq, x.next_event), \
             status = CASE WHEN x.park THEN 'WAITING' ELSE e.status END, \
             owner = CASE WHEN x.park THEN NULL ELSE e.owner END, \
             wake_at = CASE \
                 WHEN x.park AND e.cancel_reason IS NOT NULL THEN now() \
                 WHEN x.park AND EXISTS (SELECT FROM received_events r \
                      WHERE r.execution_id = e.id AND r.event IS NOT NULL) THEN now() \
                 WHEN x.park THEN coalesce( \
                     (SELECT least(min(t.due_at), e.deadline_at) FROM timers t \
                      WHERE t.execution_id = e.id HAVING count(*) > 0), \
                     (SELECT least(timestamptz '9999-01-01 00:00:00+00', e.deadline_at) \
                      FROM execution_listeners l WHERE l.execution_id = e.id LIMIT 1)) END \
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bool[]) \
              AS x(id, epoch, seq, next_event, park) \
         WHERE e.id = x.id AND e.epoch = x.epoch",
    )
    .bind(ids)
    .bind(epochs)
    .bind(seqs)
    .bind(next_events)
    .bind(parks)
    .execute(connection)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(db) if db.constraint() == Some("executions_owner_check") => {
            Failure::Store(StoreError::Rejected(
                "an execution that waits needs a timer or a listener to wake it".into(),
            ))
        }
        _ => Failure::from(error),
    })?;
    expect_all(done.rows_affected(), applied.len())
}

/// The rows were locked and judged before, so that all of them must be there.
pub(super) fn expect_all(rows: u64, expected: usize) -> Result<(), Failure> {
    if rows == expected as u64 {
        Ok(())
    } else {
        Err(StoreError::Rejected(format!("{rows} rows were written instead of {expected}")).into())
    }
}
