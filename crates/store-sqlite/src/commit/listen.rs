//! What executions wait for, and the events that come for them.

use std::collections::{HashMap, HashSet};

use millrace_store::{Checkpoint, Delivery, ListenerRecord, StoreError, WriteDone};
use millrace_types::ExecutionId;
use sqlx::SqliteConnection;

use super::Batch;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

pub(super) const LISTENERS: &str = "
    SELECT execution_id, id FROM execution_listeners
    WHERE execution_id IN (SELECT value FROM json_each(?1))";

pub(super) const CONSUME: &str = "
    UPDATE received_events SET event = NULL
    WHERE number IN (SELECT value FROM json_each(?1)) AND execution_id = ?2";

pub(super) const CLEAR: &str = "
    DELETE FROM execution_listeners WHERE execution_id = ?1 AND id = ?2";

pub(super) const SET: &str = "
    INSERT INTO execution_listeners (execution_id, id, since, once) VALUES (?1, ?2, ?3, ?4)";

pub(super) const SUBSCRIBE: &str = "
    INSERT INTO execution_subscriptions (event_type, execution_id, listener_id, position, filter)
    SELECT ?1, execution_id, id, ?4, ?5 FROM execution_listeners
    WHERE execution_id = ?2 AND id = ?3";

pub(super) const UNSUBSCRIBE: &str = "
    DELETE FROM execution_subscriptions WHERE execution_id = ?1 AND listener_id = ?2";

/// A park that leaves an event unread is due at once.
pub(super) const UNREAD: &str = "
    UPDATE executions SET wake_at = min(wake_at, ?2)
    WHERE id IN (SELECT value FROM json_each(?1)) AND owner IS NULL AND EXISTS (
        SELECT 1 FROM received_events r WHERE r.execution_id = executions.id
            AND r.event IS NOT NULL)";

pub(super) const DELIVER: &str = "
    INSERT INTO received_events (execution_id, listener_id, key, received_at, event)
    SELECT l.execution_id, l.id, ?4, ?5, ?6 FROM execution_listeners l
    WHERE l.execution_id = ?1 AND l.id = ?2 AND l.since = ?3 AND (l.once = 0 OR NOT EXISTS (
        SELECT 1 FROM received_events r WHERE r.execution_id = ?1 AND r.listener_id = ?2))
    ON CONFLICT (execution_id, listener_id, key) DO NOTHING";

pub(super) const HAS: &str = "
    SELECT EXISTS (SELECT 1 FROM received_events
        WHERE execution_id = ?1 AND listener_id = ?2 AND key = ?3)";

pub(super) const WAKE: &str = "
    UPDATE executions SET wake_at = ?2
    WHERE id = ?1 AND owner IS NULL AND status = 'WAITING' AND wake_at > ?2";

pub(super) const EMIT: &str = "
    INSERT INTO emitted_events (id, emitted_at, traceparent, event) VALUES (?1, ?2, ?3, ?4)";

pub(super) const PUBLISH: &str = "DELETE FROM emitted_events WHERE id = ?1";

/// The listeners of each execution that is to be parked.
pub(super) type Listeners = HashMap<ExecutionId, HashSet<u64>>;

pub(super) async fn of_parks(
    connection: &mut SqliteConnection,
    parks: &[ExecutionId],
) -> Result<Listeners, StoreError> {
    let rows = sqlx::query(LISTENERS)
        .bind(json(parks))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let mut listeners = Listeners::new();
    for row in rows {
        let of: &mut HashSet<u64> = listeners.entry(row.parsed("execution_id")?).or_default();
        of.insert(row.raw::<i64>("id")?.cast_unsigned());
    }
    Ok(listeners)
}

/// Whether a listener is left after the checkpoint: it clears first and sets
/// then.
pub(super) fn is_left(write: &Checkpoint, stored: Option<&HashSet<u64>>) -> bool {
    let kept = |id: &u64| !write.clear_listeners.contains(id);
    !write.set_listeners.is_empty() || stored.is_some_and(|stored| stored.iter().any(kept))
}

/// The listeners of checkpoints that are applied.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    applied: &[&Checkpoint],
) -> Result<(), StoreError> {
    for checkpoint in applied {
        let id = checkpoint.id.to_string();
        if !checkpoint.consumed.is_empty() {
            sqlx::query(CONSUME)
                .bind(json(&checkpoint.consumed))
                .bind(&id)
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
        }
        // What is set anew is not what was there before.
        let replaced = checkpoint.set_listeners.iter().map(|one| one.id);
        for listener in checkpoint.clear_listeners.iter().copied().chain(replaced) {
            sqlx::query(CLEAR)
                .bind(&id)
                .bind(listener.cast_signed())
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
        }
        for listener in &checkpoint.set_listeners {
            sqlx::query(SET)
                .bind(&id)
                .bind(listener.id.cast_signed())
                .bind(checkpoint.seq.cast_signed())
                .bind(listener.once)
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
            subscribe(connection, &id, listener).await?;
        }
        for listener in &checkpoint.narrow_listeners {
            sqlx::query(UNSUBSCRIBE)
                .bind(&id)
                .bind(listener.id.cast_signed())
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
            subscribe(connection, &id, listener).await?;
        }
    }
    Ok(())
}

/// Enters the filters of a listener, if it is there.
async fn subscribe(
    connection: &mut SqliteConnection,
    execution: &str,
    listener: &ListenerRecord,
) -> Result<(), StoreError> {
    for (position, filter) in (0_i64..).zip(&listener.filters) {
        sqlx::query(SUBSCRIBE)
            .bind(&filter.event_type)
            .bind(execution)
            .bind(listener.id.cast_signed())
            .bind(position)
            .bind(&filter.filter[..])
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Makes those due that were parked though events are there for them.
pub(super) async fn wake_unread(
    connection: &mut SqliteConnection,
    parked: &[ExecutionId],
    now: i64,
) -> Result<(), StoreError> {
    if parked.is_empty() {
        return Ok(());
    }
    sqlx::query(UNREAD)
        .bind(json(parked))
        .bind(now)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

/// What was emitted by the checkpoints and ends of this batch that were applied
/// now, what is published of that and of what was before, and what comes from
/// outside.
pub(super) async fn deliver(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    now: i64,
) -> Result<(), StoreError> {
    for emitted in std::mem::take(&mut batch.emits) {
        sqlx::query(EMIT)
            .bind(&emitted.id)
            .bind(now)
            .bind(&emitted.traceparent)
            .bind(&emitted.event[..])
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    for (at, publication) in std::mem::take(&mut batch.publications) {
        let taken = sqlx::query(PUBLISH)
            .bind(&publication.id)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        let is_fresh = taken.rows_affected() > 0;
        if is_fresh {
            for delivery in &publication.deliveries {
                deliver_one(connection, delivery, now).await?;
            }
        }
        batch.answer(at, Ok(WriteDone::Published(is_fresh)));
    }
    for (at, delivery) in std::mem::take(&mut batch.deliveries) {
        let has = deliver_one(connection, delivery, now).await?;
        batch.answer(at, Ok(WriteDone::Delivered(has)));
    }
    Ok(())
}

/// Gives an event to a listener; answers whether it has it.
async fn deliver_one(
    connection: &mut SqliteConnection,
    delivery: &Delivery,
    now: i64,
) -> Result<bool, StoreError> {
    let execution = delivery.execution_id.to_string();
    let listener = delivery.listener.cast_signed();
    let done = sqlx::query(DELIVER)
        .bind(&execution)
        .bind(listener)
        .bind(delivery.since.cast_signed())
        .bind(&delivery.key)
        .bind(now)
        .bind(&delivery.event[..])
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    if done.rows_affected() > 0 {
        sqlx::query(WAKE)
            .bind(&execution)
            .bind(now)
            .execute(connection)
            .await
            .map_err(store_error)?;
        return Ok(true);
    }
    sqlx::query_scalar(HAS)
        .bind(&execution)
        .bind(listener)
        .bind(&delivery.key)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}
