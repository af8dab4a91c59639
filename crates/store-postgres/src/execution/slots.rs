//! Slots of concurrency: who holds one has its number in its own row, which
//! goes with the end. A unique index keeps two from holding the same.

use millrace_store::{Concurrency, QueuePlace, StoreError};
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::{Failure, store_error};

/// Slots given out to one queue at once, and executions that leave a queue
/// whose limit was lifted.
const BATCH: i64 = 500;

/// Queues that one look goes through.
const QUEUES: i64 = 100;

/// Takes the advisory locks of these queues, in one order everywhere.
pub(super) async fn lock<'a>(
    connection: &mut PgConnection,
    places: impl Iterator<Item = &'a (String, String)>,
) -> Result<(), Failure> {
    let names: Vec<String> = places
        .map(|(deployment, key)| format!("{deployment}/{key}"))
        .collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(h) FROM ( \
             SELECT DISTINCT hashtextextended(name, 0) AS h FROM unnest($1::text[]) AS name \
             ORDER BY h) x",
    )
    .bind(names)
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives the free slots of a locked queue to the first that wait there;
/// without a limit, all may go. Answers how many are due now.
pub(super) async fn give(
    connection: &mut PgConnection,
    (deployment, key): (&str, &str),
    limit: Option<u32>,
) -> Result<u64, Failure> {
    let done = match limit {
        Some(limit) => {
            sqlx::query(
                "WITH queued AS MATERIALIZED ( \
                     SELECT id FROM executions \
                     WHERE deployment_id = $1 AND slot_key = $2 AND slot IS NULL \
                       AND owner IS NULL AND cancel_reason IS NULL \
                     ORDER BY id LIMIT least($3, $4) FOR UPDATE SKIP LOCKED), \
                 free AS MATERIALIZED ( \
                     SELECT s FROM generate_series(1, $3::int) AS s \
                     WHERE NOT EXISTS (SELECT FROM executions h WHERE h.deployment_id = $1 \
                                           AND h.slot_key = $2 AND h.slot = s) \
                     ORDER BY s \
                     LIMIT least((SELECT count(*) FROM queued), \
                                 greatest(0, $3 - (SELECT count(*) FROM executions h \
                                                   WHERE h.deployment_id = $1 \
                                                     AND h.slot_key = $2 \
                                                     AND h.slot IS NOT NULL)))), \
                 given AS ( \
                     SELECT q.id, f.s \
                     FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM queued) q \
                     JOIN (SELECT s, row_number() OVER (ORDER BY s) AS n FROM free) f USING (n)) \
                 UPDATE executions e SET slot = given.s, wake_at = now() \
                 FROM given WHERE e.id = given.id",
            )
            .bind(deployment)
            .bind(key)
            .bind(i64::from(limit))
            .bind(BATCH)
            .execute(connection)
            .await?
        }
        None => {
            sqlx::query(
                "WITH queued AS MATERIALIZED ( \
                     SELECT id FROM executions \
                     WHERE deployment_id = $1 AND slot_key = $2 AND slot IS NULL \
                       AND owner IS NULL \
                     ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) \
                 UPDATE executions e SET slot_key = NULL, wake_at = now() \
                 FROM queued WHERE e.id = queued.id",
            )
            .bind(deployment)
            .bind(key)
            .bind(BATCH)
            .execute(connection)
            .await?
        }
    };
    Ok(done.rows_affected())
}

/// Hands out what is free in these queues. `places` is sorted.
pub(super) async fn fill(
    store: &PostgresStore,
    places: &[(String, String)],
) -> Result<u64, StoreError> {
    if places.is_empty() {
        return Ok(0);
    }
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    lock(&mut transaction, places.iter()).await?;
    let mut due = 0;
    for (deployment, key) in places {
        let limit: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT concurrency FROM workflows WHERE deployment_id = $1")
                .bind(deployment)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?
                .flatten();
        let limit = limit.as_deref().map(Concurrency::from_json).transpose()?;
        let limit = limit.map(|limit| limit.limit);
        due += give(&mut transaction, (deployment, key), limit).await?;
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(due)
}

/// Goes through the queues that there are, a bounded number at a time.
pub(super) async fn fill_all(
    store: &PostgresStore,
    after: Option<&QueuePlace>,
) -> Result<(u64, Option<QueuePlace>), StoreError> {
    let (deployment, key) = after.map_or_else(Default::default, |(deployment, key)| {
        (deployment.to_string(), key.clone())
    });
    let places: Vec<(String, String)> = sqlx::query_as(
        "WITH RECURSIVE queues AS ( \
             (SELECT deployment_id, slot_key FROM executions \
              WHERE slot_key IS NOT NULL AND slot IS NULL \
                AND (deployment_id, slot_key) > ($1, $2) \
              ORDER BY deployment_id, slot_key LIMIT 1) \
             UNION ALL \
             SELECT n.deployment_id, n.slot_key FROM queues q CROSS JOIN LATERAL ( \
                 SELECT e.deployment_id, e.slot_key FROM executions e \
                 WHERE e.slot_key IS NOT NULL AND e.slot IS NULL \
                   AND (e.deployment_id, e.slot_key) > (q.deployment_id, q.slot_key) \
                 ORDER BY e.deployment_id, e.slot_key LIMIT 1) n) \
         SELECT deployment_id, slot_key FROM queues LIMIT $3",
    )
    .bind(deployment)
    .bind(key)
    .bind(QUEUES)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let due = fill(store, &places).await?;
    let next = match places.last() {
        Some((deployment, key)) if i64::try_from(places.len()) == Ok(QUEUES) => {
            Some((parsed(deployment)?, key.clone()))
        }
        _ => None,
    };
    Ok((due, next))
}
