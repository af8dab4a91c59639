//! One decision about one schedule.

use millrace_store::schedule::backfill::Progress;
use millrace_store::schedule::judge::{Queued, Standing, Started};
use millrace_store::{Decision, FireRecord, StoreError};
use millrace_types::{Timestamp, TriggerId};
use sqlx::SqliteConnection;

use super::ledger::Entries;
use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const CURRENT: &str = "
    SELECT t.kind, t.deployment_id, t.revision, s.anchor_at, s.last_execution, s.queued_nominal,
        s.queued_effective, s.queued_at, s.queued_input, s.queued_after, s.last_effective, s.last_started,
        s.drift, s.catch_up_to
    FROM schedules s CROSS JOIN triggers t ON t.id = s.trigger_id
    WHERE s.trigger_id = ?1 AND s.step = coalesce(?2, s.step)
        AND (SELECT running FROM scheduler WHERE one = 1)";

impl SqliteStore {
    pub(super) async fn decide_schedule(
        &self,
        decision: &Decision,
    ) -> Result<Option<Vec<FireRecord>>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        let (trigger, step) = (decision.trigger_id, Some(decision.step));
        let Some(mut standing) = current(connection, trigger, step, now).await? else {
            return Ok(None);
        };
        let mut ledger = Entries {
            connection,
            slots: &self.slots,
            now,
        };
        let (fires, progress) = standing.decide(&mut ledger, decision).await?;
        advance(&mut transaction, decision, &standing, progress).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(fires))
    }
}

/// The schedule, if it is at this step, and the scheduler runs.
pub(super) async fn current(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
    step: Option<u64>,
    now: i64,
) -> Result<Option<Standing>, StoreError> {
    let row = sqlx::query(CURRENT)
        .bind(trigger.to_string())
        .bind(step.map(u64::cast_signed))
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(|row| {
        let queued_after = row.time_option("queued_after")?;
        let queued = match (
            row.time_option("queued_nominal")?,
            row.time_option("queued_effective")?,
            row.time_option("queued_at")?,
            row.bytes_option("queued_input")?,
        ) {
            (Some(nominal_at), Some(effective_at), Some(queued_at), Some(input)) => Some(Queued {
                nominal_at,
                effective_at,
                after: queued_after,
                queued_at,
                input,
            }),
            _ => None,
        };
        let last_effective = row.time_option("last_effective")?;
        let last_started = row.time_option("last_started")?;
        let last_start = last_effective
            .zip(last_started)
            .map(|(effective_at, started_at)| Started {
                effective_at,
                started_at,
            });
        Ok(Standing {
            trigger_id: trigger,
            kind: row.parsed("kind")?,
            deployment_id: row.parsed("deployment_id")?,
            revision: row.number("revision")?,
            anchor_at: row.time("anchor_at")?,
            now: Timestamp::from_micros(now),
            catching_up: row.time_option("catch_up_to")?.is_some(),
            run: None,
            queued,
            last_execution: row.parsed_option("last_execution")?,
            last_start,
            made_up_at: last_started.filter(|_| last_effective.is_none()),
            drift: row.raw("drift")?,
        })
    })
    .transpose()
}

async fn advance(
    connection: &mut SqliteConnection,
    decision: &Decision,
    standing: &Standing,
    progress: Progress,
) -> Result<(), StoreError> {
    let time = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    let queued = standing.queued.as_ref();
    sqlx::query(
        "UPDATE schedules SET step = step + 1, decided_to = ?2, next_nominal = ?3,
             next_effective = ?4, due_at = ?5, last_execution = ?6, queued_nominal = ?7,
             queued_effective = ?8, queued_at = ?9, queued_input = ?10, last_effective = ?11,
             last_started = ?12, drift = ?13, catch_up_to = ?14,
             queued_after = ?15
         WHERE trigger_id = ?1",
    )
    .bind(decision.trigger_id.to_string())
    .bind(progress.position.as_micros())
    .bind(time(decision.next_nominal))
    .bind(time(decision.next_effective))
    .bind(time(progress.due_at))
    .bind(standing.last_execution.map(|id| id.to_string()))
    .bind(time(queued.map(|queued| queued.nominal_at)))
    .bind(time(queued.map(|queued| queued.effective_at)))
    .bind(time(queued.map(|queued| queued.queued_at)))
    .bind(queued.map(|queued| queued.input.as_ref()))
    .bind(time(standing.last_start.map(|start| start.effective_at)))
    .bind(time(standing.last_started()))
    .bind(standing.drift)
    .bind(time(decision.catch_up_to))
    .bind(time(queued.and_then(|queued| queued.after)))
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
    async fn a_schedule_is_found_by_its_trigger() {
        assert_searches(&[CURRENT]).await;
    }
}
