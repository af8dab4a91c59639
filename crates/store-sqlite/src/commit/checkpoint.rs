//! Checkpoints.

use std::collections::{HashMap, HashSet};

use millrace_store::{Checkpoint, StoreError, WriteDone, WriteRefused};
use millrace_types::{ExecutionId, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::events::{self, Chunks};
use super::listen::{self, Listeners};
use super::owned::{Live, Owned};
use super::{Batch, Outcome};
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::{Part, Rows, json};
use crate::slots::NEVER;

pub(super) const TIMERS: &str = "
    SELECT execution_id, id, due_at FROM timers
    WHERE execution_id IN (SELECT value FROM json_each(?1))";

pub(super) const DELETE_FRAMES: &str = "
    DELETE FROM frames WHERE (execution_id, id) IN
        (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";

pub(super) const UPSERT_FRAMES: &str = "
    INSERT INTO frames (execution_id, id, data)
    SELECT r.value ->> 0, r.value ->> 1,
        ifnull(substr(?2, r.value ->> '$[2][0]', r.value ->> '$[2][1]'), x'')
    FROM json_each(?1) r
    WHERE true
    ON CONFLICT (execution_id, id) DO UPDATE SET data = excluded.data";

pub(super) const DELETE_TIMERS: &str = "
    DELETE FROM timers WHERE (execution_id, id) IN
        (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";

pub(super) const UPSERT_TIMERS: &str = "
    INSERT INTO timers (execution_id, id, due_at)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2
    FROM json_each(?1) r
    WHERE true
    ON CONFLICT (execution_id, id) DO UPDATE SET due_at = excluded.due_at";

/// Null for `wake_at` means that the owner keeps it. One that is to be
/// cancelled is due before all others.
pub(super) const UPDATE: &str = "
    UPDATE executions
    SET checkpoint_seq = r.value ->> 1, next_event_seq = r.value ->> 2, failed_starts = 0,
        wake_at = iif(r.value ->> 3 IS NULL OR cancel_reason IS NULL,
            min(r.value ->> 3, ifnull(deadline_at, r.value ->> 3)), 0),
        status = iif(r.value ->> 3 IS NULL, status, 'WAITING'),
        owner = iif(r.value ->> 3 IS NULL, owner, NULL)
    FROM json_each(?1) r
    WHERE executions.id = r.value ->> 0";

/// Numbers of frames and timers are the engine's own; all 64 bits are kept.
type Place = (ExecutionId, i64);

/// What the accepted checkpoints change.
struct Changes {
    delete_frames: Vec<Place>,
    upsert_frames: Rows<(ExecutionId, i64, Part)>,
    delete_timers: Vec<Place>,
    upsert_timers: Vec<(ExecutionId, i64, i64)>,
    update: Vec<(ExecutionId, u64, u64, Option<i64>)>,
}

pub(super) async fn checkpoint(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    owned: &Owned,
    events: &mut Chunks,
    now: i64,
) -> Result<(), StoreError> {
    if batch.checkpoints.is_empty() {
        return Ok(());
    }
    let (timers, listeners) = wakers_of_parks(connection, batch).await?;
    let mut changes = Changes::new();
    let mut listening = Vec::new();
    let mut parked = Vec::new();
    for (at, write) in std::mem::take(&mut batch.checkpoints) {
        let of_write = (timers.get(&write.id), listeners.get(&write.id));
        let outcome = judge(write, owned, of_write).map(|accepted| {
            if let Some((next_event_seq, wake_at)) = accepted {
                listening.push(write);
                if write.park && listen::is_left(write, of_write.1) {
                    parked.push(write.id);
                }
                batch.emits.extend(&write.emits);
                changes.take(write, next_event_seq, wake_at);
                events.push(write.id, &write.events);
            }
            WriteDone::Checkpointed
        });
        batch.answer(at, outcome as Outcome);
    }
    listen::write(connection, &listening).await?;
    changes.write(connection).await?;
    listen::wake_unread(connection, &parked, now).await
}

type TimersOf = HashMap<u64, Timestamp>;
type Timers = HashMap<ExecutionId, TimersOf>;

/// What may wake those that are to be parked.
async fn wakers_of_parks(
    connection: &mut SqliteConnection,
    batch: &Batch<'_>,
) -> Result<(Timers, Listeners), StoreError> {
    let parks: Vec<_> = batch
        .checkpoints
        .iter()
        .filter(|(_, write)| write.park)
        .map(|(_, write)| write.id)
        .collect();
    let mut timers = Timers::new();
    if parks.is_empty() {
        return Ok((timers, Listeners::new()));
    }
    let rows = sqlx::query(TIMERS)
        .bind(json(&parks))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    for row in rows {
        timers
            .entry(row.parsed("execution_id")?)
            .or_default()
            .insert(row.raw::<i64>("id")?.cast_unsigned(), row.time("due_at")?);
    }
    let listeners = listen::of_parks(connection, &parks).await?;
    Ok((timers, listeners))
}

/// What an accepted checkpoint leaves: the number of the next event, and when
/// the execution is to wake if it was parked. `None` for a repeat.
type Accepted = Option<(u64, Option<i64>)>;

fn judge(
    write: &Checkpoint,
    owned: &Owned,
    (timers, listeners): (Option<&TimersOf>, Option<&HashSet<u64>>),
) -> Result<Accepted, WriteRefused> {
    if let Some(live) = owned.get(write.id)
        && is_repeat(write, live)
    {
        return Ok(None);
    }
    let live = owned.fenced(write.id, write.owner, write.epoch)?;
    if write.seq != live.checkpoint_seq + 1 {
        return Err(WriteRefused::Rejected(format!(
            "checkpoint {} came where {} was due",
            write.seq,
            live.checkpoint_seq + 1
        )));
    }
    let next_event_seq = events::check(live, &write.events)?;
    if !write.park {
        return Ok(Some((next_event_seq, None)));
    }
    let due = earliest_timer(write, timers).map(Timestamp::as_micros);
    // Due by an event alone; a deadline of the execution comes before.
    let wake_at = due.or_else(|| listen::is_left(write, listeners).then_some(NEVER));
    let wake_at = wake_at.ok_or_else(|| {
        let why = "an execution without a timer or a listener would never wake";
        WriteRefused::Rejected(why.into())
    })?;
    Ok(Some((next_event_seq, Some(wake_at))))
}

/// Whether this checkpoint is the last one committed. Parking lets go of the
/// execution but leaves the epoch, so that the one who parked is still known.
fn is_repeat(write: &Checkpoint, live: &Live) -> bool {
    let same_owner = match live.owner {
        Some(owner) => owner == write.owner,
        None => write.park,
    };
    same_owner && live.epoch == write.epoch && live.checkpoint_seq == write.seq
}

/// The earliest timer that is left after the checkpoint: it clears first and
/// sets then.
fn earliest_timer(write: &Checkpoint, stored: Option<&TimersOf>) -> Option<Timestamp> {
    let replaced = |id: &u64| {
        write.clear_timers.contains(id) || write.set_timers.iter().any(|timer| timer.id == *id)
    };
    let kept = stored
        .into_iter()
        .flatten()
        .filter(|(id, _)| !replaced(id))
        .map(|(_, due_at)| *due_at);
    let set = write.set_timers.iter().map(|timer| timer.due_at);
    kept.chain(set).min()
}

impl Changes {
    const fn new() -> Self {
        Self {
            delete_frames: Vec::new(),
            upsert_frames: Rows::new(),
            delete_timers: Vec::new(),
            upsert_timers: Vec::new(),
            update: Vec::new(),
        }
    }

    fn take(&mut self, write: &Checkpoint, next_event_seq: u64, wake_at: Option<i64>) {
        let place = |id: &u64| (write.id, id.cast_signed());
        self.delete_frames
            .extend(write.delete_frames.iter().map(place));
        for frame in &write.upsert_frames {
            let data = self.upsert_frames.payload(&frame.data);
            self.upsert_frames
                .push((write.id, frame.id.cast_signed(), data));
        }
        self.delete_timers
            .extend(write.clear_timers.iter().map(place));
        for timer in &write.set_timers {
            let due_at = timer.due_at.as_micros();
            self.upsert_timers
                .push((write.id, timer.id.cast_signed(), due_at));
        }
        self.update
            .push((write.id, write.seq, next_event_seq, wake_at));
    }

    async fn write(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.update.is_empty() {
            return Ok(());
        }
        run(connection, DELETE_FRAMES, &self.delete_frames).await?;
        if !self.upsert_frames.is_empty() {
            let (rows, data) = self.upsert_frames.into_parameters();
            sqlx::query(UPSERT_FRAMES)
                .bind(rows)
                .bind(data)
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
        }
        run(connection, DELETE_TIMERS, &self.delete_timers).await?;
        run(connection, UPSERT_TIMERS, &self.upsert_timers).await?;
        run(connection, UPDATE, &self.update).await
    }
}

async fn run<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(json(rows))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}
