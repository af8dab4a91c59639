//! Backfills: asked for, claimed, and carried on part by part.

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::schedule::backfill::Progress;
use millrace_store::{
    BackfillAsked, BackfillPart, BackfillRecord, BackfillStore, DueBackfills, FireRecord,
    StoreError,
};
use millrace_types::{Timestamp, TriggerId};
use sqlx::SqliteConnection;

use super::claim::{Claim, NEXT_BACKFILL, record, record_columns};
use super::decide;
use super::ledger::Entries;
use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const DUE: &str = "SELECT trigger_id FROM backfills WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2";

const HOLD: &str = "
    UPDATE backfills SET due_at = ?2 WHERE trigger_id IN (SELECT value FROM json_each(?1))";

const READ: &str = concat!(
    "SELECT ",
    record_columns!(),
    ", b.from_at, b.to_at, b.position, b.step AS part
    FROM json_each(?1) r
    CROSS JOIN backfills b ON b.trigger_id = r.value
    CROSS JOIN schedules s ON s.trigger_id = r.value
    CROSS JOIN triggers t ON t.id = s.trigger_id
    CROSS JOIN workflows w ON w.deployment_id = s.deployment_id"
);

const BACKFILLS: Claim = Claim {
    next: NEXT_BACKFILL,
    due: DUE,
    read: READ,
    hold: HOLD,
};

#[async_trait]
impl BackfillStore for SqliteStore {
    async fn ask_backfill(
        &self,
        id: TriggerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BackfillAsked, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let made = sqlx::query(
            "INSERT INTO backfills (trigger_id, from_at, to_at, position, due_at, asked_at)
             SELECT trigger_id, ?2, ?3, ?2 - 1, ?4, ?4 FROM schedules WHERE trigger_id = ?1
             ON CONFLICT (trigger_id) DO NOTHING",
        )
        .bind(id.to_string())
        .bind(from.as_micros())
        .bind(to.as_micros())
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        if made.rows_affected() > 0 {
            transaction.commit().await.map_err(store_error)?;
            return Ok(BackfillAsked::Begun);
        }
        let other = sqlx::query("SELECT from_at, to_at FROM backfills WHERE trigger_id = ?1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        match other {
            Some(row) => Ok(BackfillAsked::Busy(
                row.time("from_at")?,
                row.time("to_at")?,
            )),
            None => Ok(BackfillAsked::Unknown),
        }
    }

    async fn claim_backfills(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<DueBackfills, StoreError> {
        let (now, rows) = self.take_due(&BACKFILLS, limit, hold).await?;
        let backfills = rows
            .iter()
            .map(|row| {
                Ok(BackfillRecord {
                    schedule: record(row)?,
                    from_at: row.time("from_at")?,
                    to_at: row.time("to_at")?,
                    position: row.time("position")?,
                    step: row.number("part")?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(DueBackfills { now, backfills })
    }

    async fn advance_backfill(
        &self,
        part: &BackfillPart,
    ) -> Result<Option<Vec<FireRecord>>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        let current = decide::current(connection, part.trigger_id, None, now).await?;
        let Some(mut standing) = current else {
            return Ok(None);
        };
        let at_step: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM backfills WHERE trigger_id = ?1 AND step = ?2)",
        )
        .bind(part.trigger_id.to_string())
        .bind(part.step.cast_signed())
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
        if !at_step {
            return Ok(None);
        }
        let mut ledger = Entries {
            connection,
            slots: &self.slots,
            now,
        };
        let (fires, progress) = standing.carry_on(&mut ledger, part).await?;
        move_on(&mut transaction, part.trigger_id, progress).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(fires))
    }
}

async fn move_on(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
    progress: Progress,
) -> Result<(), StoreError> {
    let query = match progress.due_at {
        Some(due_at) => sqlx::query(
            "UPDATE backfills SET position = ?2, due_at = ?3, step = step + 1
             WHERE trigger_id = ?1",
        )
        .bind(trigger.to_string())
        .bind(progress.position.as_micros())
        .bind(due_at.as_micros()),
        None => {
            sqlx::query("DELETE FROM backfills WHERE trigger_id = ?1").bind(trigger.to_string())
        }
    };
    query
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn due_backfills_are_found_through_their_index() {
        assert_searches(&[DUE, HOLD, READ]).await;
    }
}
