//! Batches of one common kind: one statement, which is its own transaction.
//!
//! It applies to all of its executions or to none, and is right for nearly
//! every batch. When it does not apply, since one of the writes is late, is a
//! repeat or is wrong, the batch goes the way of mixtures, where each write is
//! judged by itself. That way has seven steps, and a committer waits for the
//! server at each of them.

use millrace_store::{Checkpoint, Ending, Lane, StoreError, Write, WriteDone};

use super::checkpoint::{Columns, frames, frames_of};
use super::commit::hand_out;
use super::events::{Chunks, are_contiguous};
use super::{Outcome, end};
use crate::PostgresStore;
use crate::error::{Failure, NOT_ALL, store_error};
use crate::metrics;

/// `None` when the batch has to go the other way; nothing is written then.
pub(super) async fn commit(
    store: &PostgresStore,
    writes: &[Write],
) -> Result<Option<Vec<Outcome>>, StoreError> {
    let mut checkpoints = Vec::new();
    let mut endings = Vec::new();
    for write in writes {
        match (write.lane(), write) {
            (Lane::Progress, Write::Checkpoint(checkpoint))
                if are_contiguous(&checkpoint.events) =>
            {
                checkpoints.push(checkpoint);
            }
            (Lane::Ends, Write::End(ending)) if are_contiguous(&ending.events) => {
                endings.push(ending);
            }
            _ => return Ok(None),
        }
    }
    let done = if endings.is_empty() {
        advance(store, checkpoints).await
    } else if checkpoints.is_empty() {
        end_all(store, &endings).await
    } else {
        return Ok(None);
    };
    match done {
        Ok(outcomes) => {
            metrics::plain(true);
            Ok(Some(outcomes))
        }
        Err(Failure::NotAll | Failure::NoPartition) => {
            metrics::plain(false);
            Ok(None)
        }
        Err(Failure::Store(error)) => Err(error),
    }
}

async fn end_all(store: &PostgresStore, endings: &[&Ending]) -> Result<Vec<Outcome>, Failure> {
    // Rows are locked in this order, which is everyone's.
    let mut sorted = endings.to_vec();
    sorted.sort_unstable_by_key(|ending| ending.id);
    let mut connection = store.kept.acquire().await.map_err(store_error)?;
    let mut moved = end::move_rows(&mut connection, &sorted).await?;
    drop(connection);
    hand_out(store, std::mem::take(&mut moved.freed)).await;
    let outcomes = endings.iter().map(|ending| Ok(moved.answer(ending)));
    Ok(outcomes.collect())
}

async fn advance(
    store: &PostgresStore,
    mut checkpoints: Vec<&Checkpoint>,
) -> Result<Vec<Outcome>, Failure> {
    let outcomes = vec![Ok(WriteDone::Checkpointed); checkpoints.len()];
    checkpoints.sort_unstable_by_key(|checkpoint| checkpoint.id);
    let mut ids = Vec::with_capacity(checkpoints.len());
    let mut owners = Vec::with_capacity(checkpoints.len());
    let mut epochs = Vec::with_capacity(checkpoints.len());
    let mut seqs = Vec::with_capacity(checkpoints.len());
    let mut first_events = Vec::with_capacity(checkpoints.len());
    let mut next_events = Vec::with_capacity(checkpoints.len());
    let mut frames = Columns::new();
    let mut gone_frames = Columns::new();
    let mut chunks = Chunks::default();
    for checkpoint in checkpoints {
        let id = checkpoint.id.to_string();
        frames_of(checkpoint, &id, &mut frames, &mut gone_frames);
        chunks.push(&id, &checkpoint.events)?;
        ids.push(id);
        owners.push(checkpoint.owner.to_string());
        epochs.push(checkpoint.epoch.cast_signed());
        seqs.push(checkpoint.seq.cast_signed());
        first_events.push(checkpoint.events.first().map(|e| e.seq.cast_signed()));
        next_events.push(checkpoint.events.last().map(|e| e.seq.cast_signed() + 1));
    }
    let mut connection = store.kept.acquire().await.map_err(store_error)?;
    sqlx::query(concat!(
        "WITH moved AS ( \
             UPDATE executions e \
             SET checkpoint_seq = x.seq, failed_starts = 0, \
                 next_event_seq = coalesce(x.next_event, e.next_event_seq) \
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], \
                         $6::bigint[]) AS x(id, owner, epoch, seq, first_event, next_event) \
             WHERE e.id = x.id AND e.owner = x.owner AND e.epoch = x.epoch \
               AND e.checkpoint_seq = x.seq - 1 \
               AND e.next_event_seq = coalesce(x.first_event, e.next_event_seq) \
             RETURNING e.id), ",
        frames!("$7", "$8", "$9", "$10", "$11"),
        ", events AS ( \
             INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events) \
             SELECT x.execution_id, x.first_seq, x.last_seq, \
                    (now() AT TIME ZONE 'UTC')::date, now(), x.events \
             FROM unnest($12::text[], $13::bigint[], $14::bigint[], $15::bytea[]) \
                  AS x(execution_id, first_seq, last_seq, events)) \
         SELECT (CASE WHEN (SELECT count(*) FROM moved) = cardinality($1) THEN '0' \
                      ELSE $16 END)::int"
    ))
    .bind(ids)
    .bind(owners)
    .bind(epochs)
    .bind(seqs)
    .bind(first_events)
    .bind(next_events)
    .bind(gone_frames.executions)
    .bind(gone_frames.ids)
    .bind(frames.executions)
    .bind(frames.ids)
    .bind(frames.values)
    .bind(chunks.executions)
    .bind(chunks.first)
    .bind(chunks.last)
    .bind(chunks.events)
    .bind(NOT_ALL)
    .fetch_one(&mut *connection)
    .await?;
    Ok(outcomes)
}
