//! Events that start something together.

use millrace_store::gather::{Waiting, input_of};
use millrace_store::{Admission, AdmissionRefused, Gathered, Gathering, StoreError};
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::convert::{counter, parsed};
use crate::error::store_error;
use crate::execution::admit_one;
use crate::incarnation::micros;

pub(crate) async fn gather(
    store: &PostgresStore,
    gathering: &Gathering,
) -> Result<Gathered, StoreError> {
    let entered = store.gathering.acquire().await;
    let _turn = entered.expect("nobody closes the semaphore");
    let mut transaction = store.kept.begin().await.map_err(store_error)?;
    let connection = &mut *transaction;
    let trigger = gathering.trigger.to_string();
    // One at a time for each trigger.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('millrace gather ' || $1, 0))")
        .bind(&trigger)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let revision: Option<i64> = sqlx::query_scalar("SELECT revision FROM triggers WHERE id = $1")
        .bind(&trigger)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    if revision.map(counter) != Some(gathering.revision) {
        let stale = AdmissionRefused::TriggerStale(gathering.trigger);
        return Ok(Gathered::Refused(stale));
    }
    forget(connection, gathering, &trigger).await?;
    let known: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT execution_id FROM gathered_events WHERE trigger_id = $1 AND key = $2",
    )
    .bind(&trigger)
    .bind(&gathering.key)
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if let Some((execution,)) = known {
        return Ok(match execution {
            Some(id) => Gathered::Started(parsed(&id)?),
            None => Gathered::Waits,
        });
    }
    let mut waiting = waiting(connection, &trigger).await?;
    if !gathering.has_room(&waiting) {
        return Ok(Gathered::Full);
    }
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO gathered_events (trigger_id, key, wants, fits, gathered_at, event) \
         VALUES ($1, $2, $3, $4, statement_timestamp(), $5) RETURNING number",
    )
    .bind(&trigger)
    .bind(&gathering.key)
    .bind(&gathering.wants)
    .bind(gathering.fits.cast_signed())
    .bind(&gathering.event[..])
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    waiting.push(gathering.waits_as(number));
    let gathered = match gathering.complete(&waiting) {
        None => Gathered::Waits,
        Some(numbers) => start(store, connection, gathering, &trigger, &numbers).await?,
    };
    if gathered.is_kept() {
        transaction.commit().await.map_err(store_error)?;
    }
    Ok(gathered)
}

/// Takes away what was gathered for other filters of the trigger, and what is
/// known of this event when that is no longer to be; the rest of what is not is
/// left to [`expire`].
async fn forget(
    connection: &mut PgConnection,
    gathering: &Gathering,
    trigger: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM gathered_events \
         WHERE trigger_id = $1 AND event IS NOT NULL AND wants <> $2",
    )
    .bind(trigger)
    .bind(&gathering.wants)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM gathered_events WHERE trigger_id = $1 AND key = $2 AND event IS NULL \
             AND expires_at <= statement_timestamp()",
    )
    .bind(trigger)
    .bind(&gathering.key)
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Deletes up to `limit` events that have started something and need not be
/// known any more; answers whether more are left.
pub(crate) async fn expire(store: &PostgresStore, limit: i64) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "DELETE FROM gathered_events g USING ( \
             SELECT trigger_id, key FROM gathered_events \
             WHERE event IS NULL AND expires_at <= now() \
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) x \
         WHERE g.trigger_id = x.trigger_id AND g.key = x.key",
    )
    .bind(limit)
    .execute(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() >= limit.unsigned_abs())
}

async fn waiting(connection: &mut PgConnection, trigger: &str) -> Result<Vec<Waiting>, StoreError> {
    let rows: Vec<(i64, i64, i32)> = sqlx::query_as(
        "SELECT number, fits, octet_length(event) FROM gathered_events \
         WHERE trigger_id = $1 AND event IS NOT NULL ORDER BY number",
    )
    .bind(trigger)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(number, fits, bytes)| Waiting {
            number,
            fits: fits.cast_unsigned(),
            bytes: u64::from(bytes.cast_unsigned()),
        })
        .collect())
}

/// Admits what these events start.
async fn start(
    store: &PostgresStore,
    connection: &mut PgConnection,
    gathering: &Gathering,
    trigger: &str,
    numbers: &[i64],
) -> Result<Gathered, StoreError> {
    let events: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT event FROM gathered_events \
         WHERE trigger_id = $1 AND number = ANY($2) AND event IS NOT NULL ORDER BY number",
    )
    .bind(trigger)
    .bind(numbers)
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let admission = Admission {
        input: input_of(&events),
        ..gathering.admission.clone()
    };
    let gathered = Gathered::by(admit_one(connection, &store.slots, &admission).await?)?;
    sqlx::query(
        "UPDATE gathered_events SET event = NULL, execution_id = $3, \
             expires_at = statement_timestamp() + $4 * interval '1 microsecond' \
         WHERE trigger_id = $1 AND number = ANY($2)",
    )
    .bind(trigger)
    .bind(numbers)
    .bind(gathered.execution().map(|id| id.to_string()))
    .bind(micros(gathering.keep))
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(gathered)
}
