//! One decision about one schedule.

use millrace_store::schedule::judge::{Judged, Queued, Standing, Started};
use millrace_store::{Admission, Decision, FireRecord, Occurrence, SlotRules, StoreError};
use millrace_types::{ExecutionId, Timestamp, TriggerId};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::commit;
use crate::error::store_error;
use crate::row::Columns;

const CURRENT: &str = "
    SELECT t.kind, t.deployment_id, t.revision, s.last_execution, s.queued_nominal,
        s.queued_effective, s.queued_at, s.queued_input, s.last_effective, s.last_started,
        s.drift
    FROM schedules s CROSS JOIN triggers t ON t.id = s.trigger_id
    WHERE s.trigger_id = ?1 AND s.step = coalesce(?2, s.step)
        AND (SELECT running FROM scheduler WHERE one = 1)";

const A_RUN: &str = "
    SELECT min(id) FROM executions
    WHERE trigger_id = ?1 AND trigger_kind IN ('cron', 'interval', 'once')";

/// One that nobody owns is due at once, so that whoever claims it ends it.
const CANCEL_RUNS: &str = "
    UPDATE executions SET cancel_reason = coalesce(cancel_reason, ?2),
        wake_at = CASE WHEN owner IS NULL THEN ?3 END
    WHERE trigger_id = ?1 AND trigger_kind IN ('cron', 'interval', 'once')";

impl SqliteStore {
    pub(super) async fn decide_schedule(
        &self,
        decision: &Decision,
    ) -> Result<Option<Vec<FireRecord>>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let connection = &mut *transaction;
        let Some(mut standing) =
            current(connection, decision.trigger_id, Some(decision.step), now).await?
        else {
            return Ok(None);
        };
        if standing.asks_for_runs(decision) {
            standing.run = a_run(connection, decision.trigger_id).await?;
        }
        let mut fires = Vec::with_capacity(decision.occurrences.len());
        if let Some((fire, admission)) = standing.turn(ExecutionId::new()) {
            let fire = start(connection, &self.slots, &mut standing, fire, &admission).await?;
            if !settle(connection, &fire).await? {
                enter(connection, &fire).await?;
            }
            fires.push(fire);
        }
        for occurrence in &decision.occurrences {
            if is_entered(connection, decision.trigger_id, occurrence).await? {
                continue;
            }
            let fire = match standing.judge(decision.overlap, occurrence) {
                Judged::Enter(fire) | Judged::Wait(fire) => fire,
                Judged::Start(fire, admission) => {
                    start(connection, &self.slots, &mut standing, fire, &admission).await?
                }
                Judged::Supersede {
                    reason,
                    replaced,
                    fire,
                } => {
                    cancel_runs(connection, decision.trigger_id, &reason, now).await?;
                    if let Some(replaced) = replaced {
                        settle(connection, &replaced).await?;
                        fires.push(replaced);
                    }
                    fire
                }
            };
            enter(connection, &fire).await?;
            fires.push(fire);
        }
        advance(connection, decision, &standing).await?;
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
        let queued = match (
            row.time_option("queued_nominal")?,
            row.time_option("queued_effective")?,
            row.time_option("queued_at")?,
            row.bytes_option("queued_input")?,
        ) {
            (Some(nominal_at), Some(effective_at), Some(queued_at), Some(input)) => Some(Queued {
                nominal_at,
                effective_at,
                queued_at,
                input,
            }),
            _ => None,
        };
        let last_start = row
            .time_option("last_effective")?
            .zip(row.time_option("last_started")?)
            .map(|(effective_at, started_at)| Started {
                effective_at,
                started_at,
            });
        Ok(Standing {
            trigger_id: trigger,
            kind: row.parsed("kind")?,
            deployment_id: row.parsed("deployment_id")?,
            revision: row.number("revision")?,
            now: Timestamp::from_micros(now),
            run: None,
            queued,
            last_execution: row.parsed_option("last_execution")?,
            last_start,
            drift: row.raw("drift")?,
        })
    })
    .transpose()
}

/// A live run of the schedule, the oldest.
pub(super) async fn a_run(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
) -> Result<Option<ExecutionId>, StoreError> {
    let id: Option<String> = sqlx::query_scalar(A_RUN)
        .bind(trigger.to_string())
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    id.map(|id| {
        id.parse()
            .map_err(|_| crate::error::corrupt("executions.id", id))
    })
    .transpose()
}

async fn cancel_runs(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
    reason: &str,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(CANCEL_RUNS)
        .bind(trigger.to_string())
        .bind(reason)
        .bind(now)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

async fn start(
    connection: &mut SqliteConnection,
    slots: &SlotRules,
    standing: &mut Standing,
    fire: FireRecord,
    admission: &Admission,
) -> Result<FireRecord, StoreError> {
    let now = standing.now.as_micros();
    let admitted = commit::admit_one(connection, admission, slots, now).await?;
    Ok(standing.started(fire, admission.id, admitted.as_ref()))
}

async fn is_entered(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
    occurrence: &Occurrence,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM fires WHERE trigger_id = ?1 AND nominal_at = ?2)",
    )
    .bind(trigger.to_string())
    .bind(occurrence.nominal_at.as_micros())
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

pub(super) async fn enter(
    connection: &mut SqliteConnection,
    fire: &FireRecord,
) -> Result<(), StoreError> {
    let (outcome, waiting) = fire.outcome.stored();
    sqlx::query(
        "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, decided_at,
             day, outcome, reason, execution_id, waiting, backfilled)
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
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

/// Changes the row of an occurrence that waited. `false` when retention has
/// taken it.
async fn settle(connection: &mut SqliteConnection, fire: &FireRecord) -> Result<bool, StoreError> {
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
    .execute(connection)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(store_error)
}

async fn advance(
    connection: &mut SqliteConnection,
    decision: &Decision,
    standing: &Standing,
) -> Result<(), StoreError> {
    let time = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    let queued = standing.queued.as_ref();
    sqlx::query(
        "UPDATE schedules SET step = step + 1, decided_to = ?2, next_nominal = ?3,
             next_effective = ?4, due_at = ?5, last_execution = ?6, queued_nominal = ?7,
             queued_effective = ?8, queued_at = ?9, queued_input = ?10, last_effective = ?11,
             last_started = ?12, drift = ?13
         WHERE trigger_id = ?1",
    )
    .bind(decision.trigger_id.to_string())
    .bind(decision.decided_to.as_micros())
    .bind(time(decision.next_nominal))
    .bind(time(decision.next_effective))
    .bind(time(standing.due_at(decision.due_at)))
    .bind(standing.last_execution.map(|id| id.to_string()))
    .bind(time(queued.map(|queued| queued.nominal_at)))
    .bind(time(queued.map(|queued| queued.effective_at)))
    .bind(time(queued.map(|queued| queued.queued_at)))
    .bind(queued.map(|queued| queued.input.as_ref()))
    .bind(time(standing.last_start.map(|start| start.effective_at)))
    .bind(time(standing.last_start.map(|start| start.started_at)))
    .bind(standing.drift)
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{assert_searches, plan};

    #[tokio::test]
    async fn the_runs_of_a_schedule_are_found_without_a_look_at_others() {
        assert_searches(&[CURRENT]).await;
        for statement in [A_RUN, CANCEL_RUNS] {
            let steps = plan(statement).await;
            assert!(steps[0].contains("executions_schedule_idx"), "{steps:#?}");
        }
    }
}
