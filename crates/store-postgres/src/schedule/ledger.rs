//! The steps of a decision and of a backfill in the ledger.

use async_trait::async_trait;
use millrace_store::schedule::ledger::Ledger;
use millrace_store::{Admission, FireRecord, SlotRules, StoreError};
use millrace_types::{ExecutionId, Timestamp, TriggerId};
use sqlx::PgConnection;

use super::fires;
use crate::convert::parsed_option;
use crate::error::store_error;
use crate::execution::{Outcome, admit_one};
use crate::time::PgTime;

/// The ledger in a transaction.
pub(super) struct Entries<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) slots: &'a SlotRules,
}

#[async_trait]
impl Ledger for Entries<'_> {
    async fn a_run(&mut self, trigger: TriggerId) -> Result<Option<ExecutionId>, StoreError> {
        // In two parts, lest the first one in the order of ids is looked for
        // among all that live.
        let id: Option<String> = sqlx::query_scalar(
            "WITH runs AS MATERIALIZED ( \
                 SELECT id FROM executions \
                 WHERE trigger_id = $1 AND trigger_kind IN ('cron', 'interval', 'once')) \
             SELECT min(id) FROM runs",
        )
        .bind(trigger.to_string())
        .fetch_one(&mut *self.connection)
        .await
        .map_err(store_error)?;
        parsed_option(id.as_deref())
    }

    async fn cancel_runs(&mut self, trigger: TriggerId, reason: &str) -> Result<(), StoreError> {
        // Locked in the order in which everyone locks executions.
        sqlx::query(
            "WITH runs AS MATERIALIZED ( \
                 SELECT id FROM executions \
                 WHERE trigger_id = $1 AND trigger_kind IN ('cron', 'interval', 'once') \
                 ORDER BY id FOR UPDATE) \
             UPDATE executions e SET cancel_reason = coalesce(e.cancel_reason, $2), \
                 wake_at = CASE WHEN e.owner IS NULL THEN now() END \
             FROM runs WHERE e.id = runs.id",
        )
        .bind(trigger.to_string())
        .bind(reason)
        .execute(&mut *self.connection)
        .await
        .map(|_| ())
        .map_err(store_error)
    }

    async fn admit(&mut self, admission: &Admission) -> Result<Outcome, StoreError> {
        admit_one(self.connection, self.slots, admission).await
    }

    async fn row_of(
        &mut self,
        trigger: TriggerId,
        nominal_at: Timestamp,
    ) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
        // A row is in the partition of its last day.
        let row: Option<(PgTime, PgTime)> = sqlx::query_as(
            "SELECT nominal_at, until_at FROM fires WHERE trigger_id = $1 AND nominal_at <= $2 \
                 AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date \
             ORDER BY nominal_at DESC LIMIT 1",
        )
        .bind(trigger.to_string())
        .bind(PgTime(nominal_at))
        .fetch_optional(&mut *self.connection)
        .await
        .map_err(store_error)?;
        let row = row.map(|(first, last)| (first.0, last.0));
        Ok(row.filter(|(_, last)| *last >= nominal_at))
    }

    async fn enter(&mut self, fire: &FireRecord) -> Result<(), StoreError> {
        // What was missed long ago may belong to a day without a partition.
        sqlx::query(
            "SELECT millrace_make_fires_partitions(day, day) \
             FROM (SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date AS day) d",
        )
        .bind(PgTime(fire.until_at))
        .execute(&mut *self.connection)
        .await
        .map_err(store_error)?;
        let (outcome, waiting) = fire.outcome.stored();
        sqlx::query(
            "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, \
                 decided_at, day, outcome, reason, execution_id, waiting, backfilled) \
             VALUES ($1, $2, $3, $4, $5, $9, ($3::timestamptz AT TIME ZONE 'UTC')::date, \
                 $6, $7, $8, $10, $11)",
        )
        .bind(fire.trigger_id.to_string())
        .bind(PgTime(fire.nominal_at))
        .bind(PgTime(fire.until_at))
        .bind(i64::try_from(fire.count).unwrap_or(i64::MAX))
        .bind(PgTime(fire.effective_at))
        .bind(outcome)
        .bind(&fire.reason)
        .bind(fire.execution_id.map(|id| id.to_string()))
        .bind(PgTime(fire.decided_at))
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
            "UPDATE fires SET outcome = $3, reason = $4, execution_id = $5, decided_at = $6, \
                 waiting = $7 \
             WHERE trigger_id = $1 AND nominal_at = $2 \
               AND day = ($2::timestamptz AT TIME ZONE 'UTC')::date",
        )
        .bind(fire.trigger_id.to_string())
        .bind(PgTime(fire.nominal_at))
        .bind(outcome)
        .bind(&fire.reason)
        .bind(fire.execution_id.map(|id| id.to_string()))
        .bind(PgTime(fire.decided_at))
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
        // They end before the occurrence comes.
        let rows: Vec<fires::Row> = sqlx::query_as(
            "SELECT trigger_id, nominal_at, until_at, count, effective_at, decided_at, outcome, \
                 reason, execution_id, waiting, backfilled \
             FROM fires WHERE trigger_id = $1 AND nominal_at < $2 AND nominal_at > $3 \
                 AND day <= ($2::timestamptz AT TIME ZONE 'UTC')::date \
                 AND day >= ($3::timestamptz AT TIME ZONE 'UTC')::date \
             ORDER BY nominal_at DESC LIMIT $4",
        )
        .bind(trigger.to_string())
        .bind(PgTime(nominal_at))
        .bind(PgTime(since))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.connection)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(fires::Row::record).collect()
    }

    async fn take_out(
        &mut self,
        trigger: TriggerId,
        (first, last): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM fires WHERE trigger_id = $1 AND nominal_at BETWEEN $2 AND $3 \
               AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date \
               AND day <= ($3::timestamptz AT TIME ZONE 'UTC')::date",
        )
        .bind(trigger.to_string())
        .bind(PgTime(first))
        .bind(PgTime(last))
        .execute(&mut *self.connection)
        .await
        .map(|_| ())
        .map_err(store_error)
    }
}
