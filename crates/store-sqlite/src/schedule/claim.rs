//! Which schedules are due.

use std::time::Duration;

use millrace_store::{DueSchedules, ScheduleRecord, StoreError};
use millrace_types::{Timestamp, TriggerId};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

/// What a [`ScheduleRecord`] is made of, in a join of `schedules s`,
/// `triggers t` and `workflows w`.
macro_rules! record_columns {
    () => {
        "s.trigger_id, t.kind, s.deployment_id, w.workflow_id, w.deployment_status, s.spec,
         s.anchor_at, s.decided_to, s.resumed_at, s.next_nominal, s.next_effective,
         s.last_execution, s.step, s.catch_up_to"
    };
}
pub(super) use record_columns;

const DUE: &str = "
    SELECT trigger_id FROM schedules WHERE due_at IS NOT NULL AND due_at <= ?1
        AND (SELECT running FROM scheduler WHERE one = 1)
    ORDER BY due_at, trigger_id LIMIT ?2";

const HOLD: &str = "
    UPDATE schedules SET due_at = ?2 WHERE trigger_id IN (SELECT value FROM json_each(?1))";

pub(super) const READ: &str = concat!(
    "SELECT ",
    record_columns!(),
    "
    FROM json_each(?1) r
    CROSS JOIN schedules s ON s.trigger_id = r.value
    CROSS JOIN triggers t ON t.id = s.trigger_id
    CROSS JOIN workflows w ON w.deployment_id = s.deployment_id"
);

const NEXT: &str = "
    SELECT due_at FROM schedules WHERE due_at IS NOT NULL ORDER BY due_at, trigger_id LIMIT 1";

pub(super) const NEXT_BACKFILL: &str = "SELECT due_at FROM backfills ORDER BY due_at LIMIT 1";

const RUNNING: &str = "SELECT running FROM scheduler WHERE one = 1";

/// The statements of one kind of claim.
pub(super) struct Claim {
    /// When the next one is due.
    pub(super) next: &'static str,
    /// The triggers that are due at ?1, ?2 of them at most.
    pub(super) due: &'static str,
    /// What is there of the triggers ?1.
    pub(super) read: &'static str,
    /// Makes the triggers ?1 due at ?2.
    pub(super) hold: &'static str,
}

const SCHEDULES: Claim = Claim {
    next: NEXT,
    due: DUE,
    read: READ,
    hold: HOLD,
};

impl SqliteStore {
    pub(super) async fn due_schedules(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<DueSchedules, StoreError> {
        let (now, rows) = self.take_due(&SCHEDULES, limit, hold).await?;
        let schedules = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(DueSchedules { now, schedules })
    }

    /// Takes what is due, and holds it back from others for `hold`.
    pub(super) async fn take_due(
        &self,
        claim: &Claim,
        limit: u32,
        hold: Duration,
    ) -> Result<(Timestamp, Vec<SqliteRow>), StoreError> {
        // Most looks find nothing: they do not take the write lock.
        if self.until_due(claim.next).await? != Some(Duration::ZERO) {
            return Ok((self.now(), Vec::new()));
        }
        let (mut transaction, now) = self.write().await?;
        let due: Vec<String> = sqlx::query_scalar(claim.due)
            .bind(now)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let ids = json(&due);
        let rows = sqlx::query(claim.read)
            .bind(&ids)
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let now = Timestamp::from_micros(now);
        sqlx::query(claim.hold)
            .bind(&ids)
            .bind(now.saturating_add(hold).as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok((now, rows))
    }

    pub(super) async fn until_next_schedule(&self) -> Result<Option<Duration>, StoreError> {
        let schedule = self.until_due(NEXT).await?;
        let backfill = self.until_due(NEXT_BACKFILL).await?;
        Ok(schedule.into_iter().chain(backfill).min())
    }

    /// `None` while the scheduler is stopped, too.
    async fn until_due(&self, next: &'static str) -> Result<Option<Duration>, StoreError> {
        let mut connection = self.read().await?;
        let running: bool = sqlx::query_scalar(RUNNING)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
        if !running {
            return Ok(None);
        }
        let due: Option<i64> = sqlx::query_scalar(next)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        Ok(due.map(|due| Timestamp::from_micros(due).saturating_since(self.now())))
    }

    pub(super) async fn one_schedule(
        &self,
        id: TriggerId,
    ) -> Result<Option<ScheduleRecord>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(READ)
            .bind(json(&[id]))
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        row.as_ref().map(record).transpose()
    }
}

pub(super) fn record(row: &SqliteRow) -> Result<ScheduleRecord, StoreError> {
    Ok(ScheduleRecord {
        trigger_id: row.parsed("trigger_id")?,
        kind: row.parsed("kind")?,
        deployment_id: row.parsed("deployment_id")?,
        workflow_id: row.parsed("workflow_id")?,
        deployment_status: row.parsed("deployment_status")?,
        spec_json: row.text("spec")?,
        anchor_at: row.time("anchor_at")?,
        decided_to: row.time("decided_to")?,
        resumed_at: row.time_option("resumed_at")?,
        next_nominal: row.time_option("next_nominal")?,
        next_effective: row.time_option("next_effective")?,
        last_execution: row.parsed_option("last_execution")?,
        step: row.number("step")?,
        catch_up_to: row.time_option("catch_up_to")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn a_tick_reads_only_what_is_due() {
        assert_searches(&[DUE, HOLD, READ]).await;
        for (statement, index) in [
            (NEXT, "schedules_due_idx"),
            (NEXT_BACKFILL, "backfills_due"),
        ] {
            let next = plan(statement).await;
            assert!(next[0].contains(index), "{next:#?}");
            assert_eq!(next.len(), 1, "{next:#?}");
        }
    }
}
