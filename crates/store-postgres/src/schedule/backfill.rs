//! Backfills: asked for, claimed, and carried on part by part.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::schedule::backfill::Progress;
use millrace_store::{
    BackfillAsked, BackfillPart, BackfillRecord, BackfillStore, DueBackfills, FireRecord,
    StoreError,
};
use millrace_types::{Timestamp, TriggerId};
use sqlx::{FromRow, PgConnection};

use super::ledger::Entries;
use super::{claim, decide};
use crate::PostgresStore;
use crate::convert::counter;
use crate::error::store_error;
use crate::incarnation::micros;
use crate::time::PgTime;

/// $1 how many, $2 µs to hold them.
const CLAIM: &str = "
    WITH due AS (
        SELECT trigger_id FROM backfills WHERE due_at <= statement_timestamp()
          AND (SELECT running FROM scheduler)
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    UPDATE backfills b
    SET due_at = statement_timestamp() + $2 * interval '1 microsecond'
    FROM due, schedules s, triggers t, workflows w
    WHERE b.trigger_id = due.trigger_id AND s.trigger_id = due.trigger_id
      AND t.id = due.trigger_id AND w.deployment_id = s.deployment_id
    RETURNING s.trigger_id, t.kind, s.deployment_id, w.workflow_id, w.deployment_status, s.spec,
        s.anchor_at, s.decided_to, s.resumed_at, s.next_nominal, s.next_effective,
        s.last_execution, s.step, s.catch_up_to,
        statement_timestamp() AS now, b.from_at, b.to_at, b.position, b.step AS part";

#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    schedule: claim::Row,
    from_at: PgTime,
    to_at: PgTime,
    position: PgTime,
    part: i64,
}

#[async_trait]
impl BackfillStore for PostgresStore {
    async fn ask_backfill(
        &self,
        id: TriggerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BackfillAsked, StoreError> {
        self.bounded(ask(self, id, from, to)).await
    }

    async fn claim_backfills(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<DueBackfills, StoreError> {
        self.bounded(claim_due(self, limit, hold)).await
    }

    async fn advance_backfill(
        &self,
        part: &BackfillPart,
    ) -> Result<Option<Vec<FireRecord>>, StoreError> {
        self.bounded(advance(self, part)).await
    }
}

async fn ask(
    store: &PostgresStore,
    id: TriggerId,
    from: Timestamp,
    to: Timestamp,
) -> Result<BackfillAsked, StoreError> {
    let made = sqlx::query(
        "INSERT INTO backfills (trigger_id, from_at, to_at, position, due_at, asked_at) \
         SELECT trigger_id, $2, $3, $2 - interval '1 microsecond', now(), now() FROM schedules \
         WHERE trigger_id = $1 ON CONFLICT (trigger_id) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(PgTime(from))
    .bind(PgTime(to))
    .execute(&store.pool)
    .await
    .map_err(store_error)?;
    if made.rows_affected() > 0 {
        return Ok(BackfillAsked::Begun);
    }
    let other: Option<(PgTime, PgTime)> =
        sqlx::query_as("SELECT from_at, to_at FROM backfills WHERE trigger_id = $1")
            .bind(id.to_string())
            .fetch_optional(&store.pool)
            .await
            .map_err(store_error)?;
    Ok(other.map_or(BackfillAsked::Unknown, |(from, to)| {
        BackfillAsked::Busy(from.0, to.0)
    }))
}

async fn claim_due(
    store: &PostgresStore,
    limit: u32,
    hold: Duration,
) -> Result<DueBackfills, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(CLAIM)
        .bind(i64::from(limit))
        .bind(micros(hold))
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    let now = rows
        .first()
        .map_or_else(Timestamp::now, |row| row.schedule.now.0);
    let backfills = rows
        .into_iter()
        .map(|row| {
            Ok(BackfillRecord {
                schedule: row.schedule.record()?,
                from_at: row.from_at.0,
                to_at: row.to_at.0,
                position: row.position.0,
                step: counter(row.part),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(DueBackfills { now, backfills })
}

async fn advance(
    store: &PostgresStore,
    part: &BackfillPart,
) -> Result<Option<Vec<FireRecord>>, StoreError> {
    let mut transaction = store.kept.begin().await.map_err(store_error)?;
    let connection = &mut *transaction;
    // The schedule first, as everyone locks them.
    let Some(mut standing) = decide::lock(connection, part.trigger_id, None).await? else {
        return Ok(None);
    };
    let locked: Option<String> = sqlx::query_scalar(
        "SELECT trigger_id FROM backfills WHERE trigger_id = $1 AND step = $2 FOR UPDATE",
    )
    .bind(part.trigger_id.to_string())
    .bind(part.step.cast_signed())
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if locked.is_none() {
        return Ok(None);
    }
    let mut ledger = Entries {
        connection,
        slots: &store.slots,
    };
    let (fires, progress) = standing.carry_on(&mut ledger, part).await?;
    move_on(&mut transaction, part.trigger_id, progress).await?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(fires))
}

async fn move_on(
    connection: &mut PgConnection,
    trigger: TriggerId,
    progress: Progress,
) -> Result<(), StoreError> {
    let statement = match progress.due_at {
        Some(_) => {
            "UPDATE backfills SET position = $2, due_at = $3, step = step + 1 \
             WHERE trigger_id = $1"
        }
        None => {
            "DELETE FROM backfills WHERE trigger_id = $1 AND $2::timestamptz IS NOT NULL \
               AND $3::timestamptz IS NULL"
        }
    };
    sqlx::query(statement)
        .bind(trigger.to_string())
        .bind(PgTime(progress.position))
        .bind(progress.due_at.map(PgTime))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}
