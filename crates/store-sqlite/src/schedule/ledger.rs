//! The steps of a decision and of a backfill in the ledger.

use async_trait::async_trait;
use millrace_store::schedule::ledger::Ledger;
use millrace_store::{Admission, FireRecord, SlotRules, StoreError};
use millrace_types::{ExecutionId, Timestamp, TriggerId};
use sqlx::SqliteConnection;

use super::fires;
use crate::commit::{self, Outcome};
use crate::error::{corrupt, store_error};

const A_RUN: &str = "
    SELECT min(id) FROM executions
    WHERE trigger_id = ?1 AND trigger_kind IN ('cron', 'interval', 'once')";

/// One that nobody owns is due at once, so that whoever claims it ends it.
const CANCEL_RUNS: &str = "
    UPDATE executions SET cancel_reason = coalesce(cancel_reason, ?2),
        wake_at = CASE WHEN owner IS NULL THEN ?3 END
    WHERE trigger_id = ?1 AND trigger_kind IN ('cron', 'interval', 'once')";

const HOLDS: &str = "
    SELECT nominal_at, until_at FROM fires WHERE trigger_id = ?1 AND nominal_at <= ?2
    ORDER BY nominal_at DESC LIMIT 1";

const BEFORE: &str = "
    SELECT trigger_id, nominal_at, until_at, count, effective_at, decided_at, outcome, reason,
        execution_id, waiting, backfilled
    FROM fires WHERE trigger_id = ?1 AND nominal_at < ?2 AND nominal_at > ?3
    ORDER BY nominal_at DESC LIMIT ?4";

const TAKE_OUT: &str = "
    DELETE FROM fires WHERE trigger_id = ?1 AND nominal_at BETWEEN ?2 AND ?3";

/// The ledger in a transaction that began at `now`.
pub(super) struct Entries<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) slots: &'a SlotRules,
    pub(super) now: i64,
}

#[async_trait]
impl Ledger for Entries<'_> {
    async fn a_run(&mut self, trigger: TriggerId) -> Result<Option<ExecutionId>, StoreError> {
        let id: Option<String> = sqlx::query_scalar(A_RUN)
            .bind(trigger.to_string())
            .fetch_one(&mut *self.connection)
            .await
            .map_err(store_error)?;
        id.map(|id| id.parse().map_err(|_| corrupt("executions.id", id)))
            .transpose()
    }

    async fn cancel_runs(&mut self, trigger: TriggerId, reason: &str) -> Result<(), StoreError> {
        sqlx::query(CANCEL_RUNS)
            .bind(trigger.to_string())
            .bind(reason)
            .bind(self.now)
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(store_error)
    }

    async fn admit(&mut self, admission: &Admission) -> Result<Outcome, StoreError> {
        commit::admit_one(self.connection, admission, self.slots, self.now).await
    }

    async fn row_of(
        &mut self,
        trigger: TriggerId,
        nominal_at: Timestamp,
    ) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        let row: Option<(i64, i64)> = sqlx::query_as(HOLDS)
            .bind(trigger.to_string())
            .bind(nominal_at.as_micros())
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(store_error)?;
        let time = Timestamp::from_micros;
        let row = row.map(|(first, last)| (time(first), time(last)));
        Ok(row.filter(|(_, last)| *last >= nominal_at))
    }

    async fn enter(&mut self, fire: &FireRecord) -> Result<(), StoreError> {
        let (outcome, waiting) = fire.outcome.stored();
        sqlx::query(
            "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at,
                 decided_at, day, outcome, reason, execution_id, waiting, backfilled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .bind(fire.trigger_id.to_string())
        .bind(fire.nominal_at.as_micros())
        .bind(fire.until_at.as_micros())
        .bind(i64::try_from(fire.count).unwrap_or(i64::MAX))
        .bind(fire.effective_at.as_micros())
        .bind(fire.decided_at.as_micros())
        .bind(fire.until_at.day())
        .bind(outcome)
        .bind(&fire.reason)
        .bind(fire.execution_id.map(|id| id.to_string()))
        .bind(waiting)
        .bind(fire.backfilled)
        .execute(&mut *self.connection)
        .await
        .map(|_| ())
        .map_err(store_error)
    }

    async fn settle(&mut self, fire: &FireRecord) -> Result<bool, StoreError> {
        let (outcome, waiting) = fire.outcome.stored();
        sqlx::query(
            "UPDATE fires SET outcome = ?3, reason = ?4, execution_id = ?5, decided_at = ?6,
                 waiting = ?7
             WHERE trigger_id = ?1 AND nominal_at = ?2",
        )
        .bind(fire.trigger_id.to_string())
        .bind(fire.nominal_at.as_micros())
        .bind(outcome)
        .bind(&fire.reason)
        .bind(fire.execution_id.map(|id| id.to_string()))
        .bind(fire.decided_at.as_micros())
        .bind(waiting)
        .execute(&mut *self.connection)
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(store_error)
    }

    async fn before(
        &mut self,
        trigger: TriggerId,
        nominal_at: Timestamp,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<FireRecord>, StoreError> {
        let rows = sqlx::query(BEFORE)
            .bind(trigger.to_string())
            .bind(nominal_at.as_micros())
            .bind(since.as_micros())
            .bind(limit)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(store_error)?;
        rows.iter().map(fires::record).collect()
    }

    async fn take_out(
        &mut self,
        trigger: TriggerId,
        (first, last): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        sqlx::query(TAKE_OUT)
            .bind(trigger.to_string())
            .bind(first.as_micros())
            .bind(last.as_micros())
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
            .map_err(store_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    #[tokio::test]
    async fn the_runs_of_a_schedule_are_found_without_a_look_at_others() {
        for statement in [A_RUN, CANCEL_RUNS] {
            let steps = plan(statement).await;
            assert!(steps[0].contains("executions_schedule_idx"), "{steps:#?}");
        }
    }

    #[tokio::test]
    async fn the_ledger_of_a_schedule_is_read_and_sorted_by_its_key() {
        for statement in [HOLDS, BEFORE, TAKE_OUT] {
            let steps = plan(statement).await;
            assert_eq!(steps.len(), 1, "{steps:#?}");
            assert!(steps[0].contains("USING PRIMARY KEY"), "{steps:#?}");
        }
    }
}
