//! What executions wait for, and the events that come for them.

use std::collections::{HashMap, HashSet};

use millrace_store::{Checkpoint, Delivery, EmittedEvent, Publication, ReceivedEvent, StoreError};
use sqlx::PgConnection;

use crate::convert::counter;
use crate::error::{Failure, store_error};
use crate::time::PgTime;

/// Events that one claim brings of one execution, and their bytes; at least
/// one of them comes, whatever its size.
const MOST: i64 = 100;
const MOST_BYTES: i64 = 4 << 20;

/// The listeners of checkpoints that are applied. Most have none.
pub(super) async fn write(
    connection: &mut PgConnection,
    applied: &[&Checkpoint],
) -> Result<(), Failure> {
    let concerned = |c: &&&Checkpoint| {
        !(c.set_listeners.is_empty()
            && c.clear_listeners.is_empty()
            && c.narrow_listeners.is_empty()
            && c.consumed.is_empty())
    };
    let concerned: Vec<_> = applied.iter().filter(concerned).collect();
    if concerned.is_empty() {
        return Ok(());
    }
    let (mut gone, mut gone_ids) = (Vec::new(), Vec::new());
    let (mut set, mut set_ids, mut since, mut once) = (vec![], vec![], vec![], vec![]);
    let (mut of, mut of_ids, mut positions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut types, mut filters) = (Vec::new(), Vec::new());
    let (mut narrowed, mut narrowed_ids) = (Vec::new(), Vec::new());
    let mut consumed = Vec::new();
    for checkpoint in concerned {
        let id = checkpoint.id.to_string();
        // What is set anew is not what was there before.
        let replaced = checkpoint.set_listeners.iter().map(|one| one.id);
        for listener in checkpoint.clear_listeners.iter().copied().chain(replaced) {
            gone.push(id.clone());
            gone_ids.push(listener.cast_signed());
        }
        for listener in &checkpoint.set_listeners {
            set.push(id.clone());
            set_ids.push(listener.id.cast_signed());
            since.push(checkpoint.seq.cast_signed());
            once.push(listener.once);
        }
        for listener in &checkpoint.narrow_listeners {
            narrowed.push(id.clone());
            narrowed_ids.push(listener.id.cast_signed());
        }
        let subscribing = checkpoint.set_listeners.iter();
        for listener in subscribing.chain(&checkpoint.narrow_listeners) {
            for (position, filter) in (0_i32..).zip(&listener.filters) {
                of.push(id.clone());
                of_ids.push(listener.id.cast_signed());
                positions.push(position);
                types.push(&*filter.event_type);
                filters.push(&filter.filter[..]);
            }
        }
        consumed.extend(checkpoint.consumed.iter().map(|n| n.cast_signed()));
    }
    if !consumed.is_empty() {
        sqlx::query(
            "UPDATE received_events SET event = NULL \
             WHERE number = ANY($1) AND execution_id = ANY($2) AND event IS NOT NULL",
        )
        .bind(consumed)
        .bind(applied.iter().map(|c| c.id.to_string()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    if !gone.is_empty() {
        sqlx::query(
            "DELETE FROM execution_listeners l \
             USING unnest($1::text[], $2::bigint[]) AS x(execution_id, id) \
             WHERE l.execution_id = x.execution_id AND l.id = x.id",
        )
        .bind(gone)
        .bind(gone_ids)
        .execute(&mut *connection)
        .await?;
    }
    if !set.is_empty() {
        sqlx::query(
            "INSERT INTO execution_listeners (execution_id, id, since, once) \
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bool[])",
        )
        .bind(set)
        .bind(set_ids)
        .bind(since)
        .bind(once)
        .execute(&mut *connection)
        .await?;
    }
    unsubscribe(connection, narrowed, narrowed_ids).await?;
    if of.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO execution_subscriptions \
             (event_type, execution_id, listener_id, position, filter) \
         SELECT x.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::bytea[]) \
              AS x(event_type, execution_id, listener_id, position, filter) \
         JOIN execution_listeners l ON l.execution_id = x.execution_id AND l.id = x.listener_id",
    )
    .bind(types)
    .bind(of)
    .bind(of_ids)
    .bind(positions)
    .bind(filters)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the filters of listeners away.
async fn unsubscribe(
    connection: &mut PgConnection,
    executions: Vec<String>,
    listeners: Vec<i64>,
) -> Result<(), Failure> {
    if executions.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM execution_subscriptions s \
         USING unnest($1::text[], $2::bigint[]) AS x(execution_id, id) \
         WHERE s.execution_id = x.execution_id AND s.listener_id = x.id",
    )
    .bind(executions)
    .bind(listeners)
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps what executions emit until it is published.
pub(super) async fn emit(
    connection: &mut PgConnection,
    emits: &[&EmittedEvent],
) -> Result<(), Failure> {
    if emits.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO emitted_events (id, emitted_at, traceparent, event) \
         SELECT x.id, clock_timestamp(), x.traceparent, x.event \
         FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY \
              AS x(id, traceparent, event, place) ORDER BY x.place",
    )
    .bind(emits.iter().map(|e| &*e.id).collect::<Vec<_>>())
    .bind(
        emits
            .iter()
            .map(|e| e.traceparent.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(emits.iter().map(|e| &e.event[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes emitted events away; answers those that were there.
pub(super) async fn take(
    connection: &mut PgConnection,
    publications: &[&Publication],
) -> Result<HashSet<String>, Failure> {
    if publications.is_empty() {
        return Ok(HashSet::new());
    }
    let mut ids: Vec<&str> = publications.iter().map(|p| &*p.id).collect();
    ids.sort_unstable();
    let rows: Vec<(String,)> = sqlx::query_as(
        "DELETE FROM emitted_events WHERE id IN ( \
             SELECT id FROM emitted_events WHERE id = ANY($1) ORDER BY id FOR UPDATE) \
         RETURNING id",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Gives events to listeners; the rows of their executions are locked. Answers
/// for each whether the listener has it.
pub(super) async fn deliver(
    connection: &mut PgConnection,
    deliveries: &[&Delivery],
) -> Result<Vec<bool>, Failure> {
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    let executions: Vec<String> = (deliveries.iter())
        .map(|d| d.execution_id.to_string())
        .collect();
    let listeners: Vec<i64> = deliveries
        .iter()
        .map(|d| d.listener.cast_signed())
        .collect();
    let since: Vec<i64> = deliveries.iter().map(|d| d.since.cast_signed()).collect();
    let keys: Vec<&str> = deliveries.iter().map(|d| &*d.key).collect();
    let events: Vec<&[u8]> = deliveries.iter().map(|d| &d.event[..]).collect();
    let fresh: Vec<(String,)> = sqlx::query_as(
        "INSERT INTO received_events (execution_id, listener_id, key, received_at, event) \
         SELECT w.execution_id, w.listener_id, w.key, clock_timestamp(), w.event \
         FROM (SELECT x.*, l.once, row_number() OVER ( \
                          PARTITION BY x.execution_id, x.listener_id ORDER BY x.place) AS nth \
               FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[]) \
                    WITH ORDINALITY AS x(execution_id, listener_id, since, key, event, place) \
               JOIN execution_listeners l ON l.execution_id = x.execution_id \
                    AND l.id = x.listener_id AND l.since = x.since) w \
         WHERE NOT w.once OR (w.nth = 1 AND NOT EXISTS ( \
             SELECT FROM received_events r \
             WHERE r.execution_id = w.execution_id AND r.listener_id = w.listener_id)) \
         ORDER BY w.place \
         ON CONFLICT (execution_id, listener_id, key) DO NOTHING \
         RETURNING execution_id",
    )
    .bind(&executions)
    .bind(&listeners)
    .bind(since)
    .bind(&keys)
    .bind(events)
    .fetch_all(&mut *connection)
    .await?;
    if !fresh.is_empty() {
        let fresh: HashSet<String> = fresh.into_iter().map(|(id,)| id).collect();
        sqlx::query(
            "UPDATE executions SET wake_at = now() \
             WHERE id = ANY($1) AND owner IS NULL AND status = 'WAITING' AND wake_at > now()",
        )
        .bind(Vec::from_iter(fresh))
        .execute(&mut *connection)
        .await?;
    }
    let known: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT r.execution_id, r.listener_id, r.key \
         FROM unnest($1::text[], $2::bigint[], $3::text[]) AS x(execution_id, listener_id, key) \
         JOIN received_events r ON r.execution_id = x.execution_id \
              AND r.listener_id = x.listener_id AND r.key = x.key",
    )
    .bind(&executions)
    .bind(&listeners)
    .bind(&keys)
    .fetch_all(connection)
    .await?;
    let known: HashSet<(String, i64, String)> = known.into_iter().collect();
    Ok((executions.into_iter().zip(listeners).zip(keys))
        .map(|((execution, listener), key)| known.contains(&(execution, listener, key.to_owned())))
        .collect())
}

/// What came for these executions and was not consumed.
pub(super) async fn received(
    connection: &mut PgConnection,
    ids: &[String],
) -> Result<HashMap<String, Vec<ReceivedEvent>>, StoreError> {
    type Row = (String, i64, i64, PgTime, Vec<u8>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT x.id, r.number, r.listener_id, r.received_at, r.event \
         FROM unnest($1::text[]) AS x(id) CROSS JOIN LATERAL ( \
             SELECT c.*, sum(octet_length(c.event)) OVER (ORDER BY c.number) AS upto FROM ( \
                 SELECT number, listener_id, received_at, event FROM received_events \
                 WHERE execution_id = x.id AND event IS NOT NULL \
                 ORDER BY number LIMIT $2) c) r \
         WHERE r.upto - octet_length(r.event) < $3 ORDER BY r.number",
    )
    .bind(ids)
    .bind(MOST)
    .bind(MOST_BYTES)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut received: HashMap<String, Vec<ReceivedEvent>> = HashMap::new();
    for (execution, number, listener, at, event) in rows {
        received.entry(execution).or_default().push(ReceivedEvent {
            number: counter(number),
            listener: listener.cast_unsigned(),
            received_at: at.0,
            event: event.into(),
        });
    }
    Ok(received)
}
