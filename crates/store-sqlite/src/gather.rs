//! Events that start something together.

use millrace_store::gather::{Waiting, input_of};
use millrace_store::{Admission, AdmissionRefused, Gathered, Gathering, StoreError};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::commit;
use crate::error::{corrupt, store_error};
use crate::incarnation::micros;
use crate::rows::json;

const REVISION: &str = "SELECT revision FROM triggers WHERE id = ?1";

const FORGET_OTHERS: &str = "
    DELETE FROM gathered_events
    WHERE trigger_id = ?1 AND event IS NOT NULL AND wants <> ?2";

const FORGET_IT: &str = "
    DELETE FROM gathered_events WHERE trigger_id = ?1 AND key = ?2 AND event IS NULL
        AND coalesce(expires_at, gathered_at + 86400000000) <= ?3";

const EXPIRE: &str = "
    DELETE FROM gathered_events WHERE number IN (
        SELECT number FROM gathered_events
        WHERE event IS NULL AND coalesce(expires_at, gathered_at + 86400000000) <= ?1 LIMIT ?2)";

const KNOWN: &str = "SELECT execution_id FROM gathered_events WHERE trigger_id = ?1 AND key = ?2";

const WAITING: &str = "
    SELECT number, fits, length(event) FROM gathered_events
    WHERE trigger_id = ?1 AND event IS NOT NULL ORDER BY number";

const KEEP: &str = "
    INSERT INTO gathered_events (trigger_id, key, wants, fits, gathered_at, event)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING number";

const EVENTS: &str = "
    SELECT event FROM gathered_events
    WHERE trigger_id = ?1 AND number IN (SELECT value FROM json_each(?2)) AND event IS NOT NULL
    ORDER BY number";

const STARTED: &str = "
    UPDATE gathered_events SET event = NULL, execution_id = ?3, expires_at = ?4
    WHERE trigger_id = ?1 AND number IN (SELECT value FROM json_each(?2))";

pub(crate) async fn gather(
    store: &SqliteStore,
    gathering: &Gathering,
) -> Result<Gathered, StoreError> {
    let (mut transaction, now) = store.write().await?;
    let connection = &mut *transaction;
    let trigger = gathering.trigger.to_string();
    let revision: Option<i64> = sqlx::query_scalar(REVISION)
        .bind(&trigger)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    if revision.map(i64::cast_unsigned) != Some(gathering.revision) {
        let stale = AdmissionRefused::TriggerStale(gathering.trigger);
        return Ok(Gathered::Refused(stale));
    }
    sqlx::query(FORGET_OTHERS)
        .bind(&trigger)
        .bind(&gathering.wants)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    sqlx::query(FORGET_IT)
        .bind(&trigger)
        .bind(&gathering.key)
        .bind(now)
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    let known: Option<(Option<String>,)> = sqlx::query_as(KNOWN)
        .bind(&trigger)
        .bind(&gathering.key)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    if let Some((execution,)) = known {
        return Ok(match execution {
            Some(id) => {
                let parsed = id.parse();
                Gathered::Started(parsed.map_err(|_| corrupt("gathered_events.execution_id", id))?)
            }
            None => Gathered::Waits,
        });
    }
    let mut waiting = waiting(connection, &trigger).await?;
    if !gathering.has_room(&waiting) {
        return Ok(Gathered::Full);
    }
    let number: i64 = sqlx::query_scalar(KEEP)
        .bind(&trigger)
        .bind(&gathering.key)
        .bind(&gathering.wants)
        .bind(gathering.fits.cast_signed())
        .bind(now)
        .bind(&gathering.event[..])
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    waiting.push(gathering.waits_as(number));
    let gathered = match gathering.complete(&waiting) {
        None => Gathered::Waits,
        Some(numbers) => start(store, connection, gathering, &numbers, now).await?,
    };
    if gathered.is_kept() {
        transaction.commit().await.map_err(store_error)?;
    }
    Ok(gathered)
}

/// Deletes up to `limit` events that have started something and need not be
/// known any more; answers whether more are left.
pub(crate) async fn expire(store: &SqliteStore, limit: i64) -> Result<bool, StoreError> {
    let (mut transaction, now) = store.write().await?;
    let done = sqlx::query(EXPIRE)
        .bind(now)
        .bind(limit)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(done.rows_affected() >= limit.unsigned_abs())
}

async fn waiting(
    connection: &mut SqliteConnection,
    trigger: &str,
) -> Result<Vec<Waiting>, StoreError> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(WAITING)
        .bind(trigger)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(number, fits, bytes)| Waiting {
            number,
            fits: fits.cast_unsigned(),
            bytes: bytes.cast_unsigned(),
        })
        .collect())
}

/// Admits what these events start.
async fn start(
    store: &SqliteStore,
    connection: &mut SqliteConnection,
    gathering: &Gathering,
    numbers: &[i64],
    now: i64,
) -> Result<Gathered, StoreError> {
    let trigger = gathering.trigger.to_string();
    let events: Vec<Vec<u8>> = sqlx::query_scalar(EVENTS)
        .bind(&trigger)
        .bind(json(numbers))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let admission = Admission {
        input: input_of(&events),
        ..gathering.admission.clone()
    };
    let gathered =
        Gathered::by(commit::admit_one(connection, &admission, &store.slots, now).await?)?;
    sqlx::query(STARTED)
        .bind(&trigger)
        .bind(json(numbers))
        .bind(gathered.execution().map(|id| id.to_string()))
        .bind(now.saturating_add(micros(gathering.keep)))
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn gathering_searches() {
        let all = [
            REVISION,
            FORGET_OTHERS,
            FORGET_IT,
            EXPIRE,
            KNOWN,
            WAITING,
            EVENTS,
            STARTED,
        ];
        assert_searches(&all).await;
    }
}
