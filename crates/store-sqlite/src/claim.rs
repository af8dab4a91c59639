//! Taking what is due, and giving it back.

use std::collections::HashMap;
use std::time::Duration;

use millrace_store::settings::back_off;
use millrace_store::{Claimed, FrameRecord, Limits, ReceivedEvent, StoreError};
use millrace_types::{ExecutionId, IncarnationId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::{corrupt, store_error};
use crate::fair;
use crate::incarnation::{is_alive, micros};
use crate::row::{Columns, duration};
use crate::rows::json;

const DUE: &str = "
    SELECT id FROM executions WHERE owner IS NULL AND wake_at <= ?1
    ORDER BY wake_at, id LIMIT ?2";

const NEXT_DUE: &str = "
    SELECT wake_at FROM executions WHERE owner IS NULL ORDER BY wake_at LIMIT 1";

const TAKE: &str = "
    UPDATE executions
    SET status = 'RUNNING', owner = ?1, wake_at = NULL, epoch = epoch + 1,
        started_at = coalesce(started_at, ?2)
    WHERE id IN (SELECT value FROM json_each(?3))
    RETURNING id, deployment_id, workflow_id, version, trigger_kind, trigger_id, epoch, input,
        started_at, checkpoint_seq, next_event_seq, traceparent, cancel_reason, start_by,
        deadline_at, idle_timeout, slot";

const BACK_OFF: &str = "
    UPDATE executions
    SET status = 'PENDING', owner = NULL, epoch = epoch + 1, failed_starts = failed_starts + 1,
        wake_at = iif(cancel_reason IS NOT NULL, ?4,
            min(?4 + (?5 ->> min(failed_starts, json_array_length(?5) - 1)),
                ifnull(deadline_at, 9223372036854775807)))
    WHERE id = ?1 AND owner = ?2 AND epoch = ?3";

/// Back-off grows no more after this many failures.
const PAUSES: u32 = 8;

const OWNED: &str = "SELECT id, epoch FROM executions WHERE owner = ?1 LIMIT 10000";

const FRAMES: &str = "
    SELECT execution_id, id, data FROM frames
    WHERE execution_id IN (SELECT value FROM json_each(?1))
    ORDER BY execution_id, id";

const DUE_TIMERS: &str = "
    SELECT execution_id, id FROM timers
    WHERE execution_id IN (SELECT value FROM json_each(?1)) AND due_at <= ?2
    ORDER BY execution_id, due_at, id";

/// Events of one execution that a claim brings, and their bytes; at least one
/// of them comes, whatever its size.
const RECEIVED: &str = "
    SELECT number, listener_id, received_at, event FROM (
        SELECT c.*, sum(length(c.event)) OVER (ORDER BY c.number) AS upto FROM (
            SELECT number, listener_id, received_at, event FROM received_events
            WHERE execution_id = ?1 AND event IS NOT NULL
            ORDER BY number LIMIT 100) c)
    WHERE upto - length(event) < ?2 ORDER BY number";
const MOST_BYTES: i64 = 4 << 20;

/// Those of the claimed that listen: most do not.
const LISTENING: &str = "
    SELECT DISTINCT execution_id FROM execution_listeners
    WHERE execution_id IN (SELECT value FROM json_each(?1))";

impl SqliteStore {
    pub(crate) async fn claim_due(
        &self,
        owner: IncarnationId,
        limit: u32,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        if !is_alive(connection, owner, now).await? {
            return Ok(Vec::new());
        }
        let mut due: Vec<String> = sqlx::query_scalar(DUE)
            .bind(now)
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        if due.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if due.len() > limit {
            let mut chosen = fair::choose(connection, &self.turn, limit, now).await?;
            // What no round looked at comes by its age.
            let rest = due.into_iter().filter(|id| !chosen.contains(id));
            let rest: Vec<_> = rest.take(limit - chosen.len()).collect();
            chosen.extend(rest);
            due = chosen;
        }
        let claimed = take(connection, owner, now, &due).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(claimed)
    }

    pub(crate) async fn until_next_due(&self) -> Result<Option<Duration>, StoreError> {
        let mut connection = self.read().await?;
        let due: Option<i64> = sqlx::query_scalar(NEXT_DUE)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        Ok(due.map(|due| Timestamp::from_micros(due).saturating_since(self.now())))
    }

    pub(crate) async fn owned_by(
        &self,
        owner: IncarnationId,
    ) -> Result<Vec<(ExecutionId, u64)>, StoreError> {
        let rows: Vec<SqliteRow> = sqlx::query(OWNED)
            .bind(owner.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| Ok((row.parsed("id")?, row.number("epoch")?)))
            .collect()
    }

    pub(crate) async fn give_back(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let done = sqlx::query(
            "UPDATE executions SET status = 'PENDING', owner = NULL, wake_at = ?4, epoch = epoch + 1
             WHERE id = ?1 AND owner = ?2 AND epoch = ?3",
        )
        .bind(id.to_string())
        .bind(owner.to_string())
        .bind(epoch.cast_signed())
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }
}

impl SqliteStore {
    pub(crate) async fn give_back_for_later(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        let pauses: Vec<i64> = (0..PAUSES).map(|n| micros(back_off(n))).collect();
        let (mut transaction, now) = self.write().await?;
        let done = sqlx::query(BACK_OFF)
            .bind(id.to_string())
            .bind(owner.to_string())
            .bind(epoch.cast_signed())
            .bind(now)
            .bind(json(&pauses))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }
}

/// Makes `owner` the owner of these, in their order.
async fn take(
    connection: &mut SqliteConnection,
    owner: IncarnationId,
    now: i64,
    due: &[String],
) -> Result<Vec<Claimed>, StoreError> {
    let ids = json(due);
    let taken = sqlx::query(TAKE)
        .bind(owner.to_string())
        .bind(now)
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let frames = sqlx::query(FRAMES)
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let timers = sqlx::query(DUE_TIMERS)
        .bind(&ids)
        .bind(now)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let mut by_id = HashMap::with_capacity(taken.len());
    for row in &taken {
        let claimed = claimed(row, now)?;
        by_id.insert(claimed.id, claimed);
    }
    for row in &frames {
        if let Some(claimed) = by_id.get_mut(&row.parsed("execution_id")?) {
            claimed.frames.push(FrameRecord {
                id: row.raw::<i64>("id")?.cast_unsigned(),
                data: row.bytes("data")?,
            });
        }
    }
    for row in &timers {
        if let Some(claimed) = by_id.get_mut(&row.parsed("execution_id")?) {
            claimed
                .due_timers
                .push(row.raw::<i64>("id")?.cast_unsigned());
        }
    }
    let listening: Vec<String> = sqlx::query_scalar(LISTENING)
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    for id in listening {
        let received = received(connection, &id).await?;
        if let Some(claimed) = by_id.get_mut(&id.parse().map_err(|_| corrupt("id", &id))?) {
            claimed.received = received;
        }
    }
    // RETURNING promises no order.
    Ok(due
        .iter()
        .filter_map(|id| by_id.remove(&id.parse().ok()?))
        .collect())
}

async fn received(
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Vec<ReceivedEvent>, StoreError> {
    let rows = sqlx::query(RECEIVED)
        .bind(id)
        .bind(MOST_BYTES)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(ReceivedEvent {
                number: row.number("number")?,
                listener: row.raw::<i64>("listener_id")?.cast_unsigned(),
                received_at: row.time("received_at")?,
                event: row.bytes("event")?,
            })
        })
        .collect()
}

fn claimed(row: &SqliteRow, now: i64) -> Result<Claimed, StoreError> {
    let left = |at: Option<i64>| at.map(|at| duration(at.saturating_sub(now)));
    // It has just been set, unless it was before.
    let starts = row.raw::<i64>("started_at")? == now;
    Ok(Claimed {
        id: row.parsed("id")?,
        deployment_id: row.parsed("deployment_id")?,
        workflow_id: row.parsed("workflow_id")?,
        version: row.number("version")?,
        trigger_kind: row.parsed("trigger_kind")?,
        trigger_id: row.parsed_option("trigger_id")?,
        epoch: row.number("epoch")?,
        input: row.bytes("input")?,
        started_at: row.time("started_at")?,
        checkpoint_seq: row.number("checkpoint_seq")?,
        next_event_seq: row.number("next_event_seq")?,
        frames: Vec::new(),
        due_timers: Vec::new(),
        received: Vec::new(),
        traceparent: row.raw("traceparent")?,
        cancel: row.raw("cancel_reason")?,
        limits: Limits {
            total: left(row.raw("deadline_at")?),
            start: left(row.raw("start_by")?).filter(|_| starts),
            idle: row.raw::<Option<i64>>("idle_timeout")?.map(duration),
            slot: row.raw::<Option<i64>>("slot")?.is_some(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn claiming_reads_only_what_is_due() {
        assert_searches(&[DUE, TAKE, FRAMES, DUE_TIMERS, BACK_OFF, LISTENING]).await;
        let received = plan(RECEIVED).await;
        let unread = |step: &String| step.contains("received_events_unread_idx");
        assert!(received.iter().any(unread), "{received:#?}");
        let due = plan(DUE).await;
        assert!(due[0].contains("executions_due_idx"), "{due:#?}");
        // The first entry of the index, not all of it.
        let next = plan(NEXT_DUE).await;
        assert_eq!(next.len(), 1, "{next:#?}");
        assert!(next[0].contains("executions_due_idx"), "{next:#?}");
    }
}
