//! One decision about one schedule.

use millrace_store::{
    Admission, AdmissionRefused, Decision, FireOutcome, FireRecord, Occurrence, StoreError,
    TriggerRef, Verdict, WriteRefused,
};
use millrace_types::{DeploymentId, ExecutionId, Timestamp, TriggerKind};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::commit;
use crate::error::store_error;
use crate::row::Columns;

/// The schedule as it is at its step.
struct Current {
    kind: TriggerKind,
    deployment_id: DeploymentId,
    revision: u64,
    last_execution: Option<ExecutionId>,
}

impl SqliteStore {
    pub(super) async fn decide_schedule(
        &self,
        decision: &Decision,
    ) -> Result<Option<Vec<FireRecord>>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        let Some(mut current) = current(&mut transaction, decision).await? else {
            return Ok(None);
        };
        let mut fires = Vec::with_capacity(decision.occurrences.len());
        for occurrence in &decision.occurrences {
            if is_entered(&mut transaction, decision, occurrence).await? {
                continue;
            }
            let fire = settle(&mut transaction, decision, occurrence, &mut current, now).await?;
            enter(&mut transaction, &fire, now).await?;
            fires.push(fire);
        }
        sqlx::query(
            "UPDATE schedules SET step = step + 1, decided_to = ?2, next_nominal = ?3,
                 next_effective = ?4, due_at = ?5, last_execution = ?6
             WHERE trigger_id = ?1",
        )
        .bind(decision.trigger_id.to_string())
        .bind(decision.decided_to.as_micros())
        .bind(decision.next_nominal.map(Timestamp::as_micros))
        .bind(decision.next_effective.map(Timestamp::as_micros))
        .bind(decision.due_at.map(Timestamp::as_micros))
        .bind(current.last_execution.map(|id| id.to_string()))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Some(fires))
    }
}

async fn current(
    connection: &mut SqliteConnection,
    decision: &Decision,
) -> Result<Option<Current>, StoreError> {
    let row = sqlx::query(
        "SELECT t.kind, t.deployment_id, t.revision, s.last_execution
         FROM schedules s JOIN triggers t ON t.id = s.trigger_id
         WHERE s.trigger_id = ?1 AND s.step = ?2",
    )
    .bind(decision.trigger_id.to_string())
    .bind(decision.step.cast_signed())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        Ok(Current {
            kind: row.parsed("kind")?,
            deployment_id: row.parsed("deployment_id")?,
            revision: row.number("revision")?,
            last_execution: row.parsed_option("last_execution")?,
        })
    })
    .transpose()
}

async fn is_entered(
    connection: &mut SqliteConnection,
    decision: &Decision,
    occurrence: &Occurrence,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM fires WHERE trigger_id = ?1 AND nominal_at = ?2)",
    )
    .bind(decision.trigger_id.to_string())
    .bind(occurrence.nominal_at.as_micros())
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

/// Starts the execution where one is to start; answers what goes into the
/// ledger.
async fn settle(
    connection: &mut SqliteConnection,
    decision: &Decision,
    occurrence: &Occurrence,
    current: &mut Current,
    now: i64,
) -> Result<FireRecord, StoreError> {
    let mut fire = FireRecord {
        trigger_id: decision.trigger_id,
        nominal_at: occurrence.nominal_at,
        until_at: occurrence.until_at,
        count: occurrence.count,
        effective_at: occurrence.effective_at,
        outcome: FireOutcome::Fired,
        reason: occurrence.reason.clone(),
        execution_id: None,
    };
    let (id, input) = match &occurrence.verdict {
        Verdict::Missed => {
            fire.outcome = FireOutcome::Missed;
            return Ok(fire);
        }
        Verdict::Paused => {
            fire.outcome = FireOutcome::Paused;
            return Ok(fire);
        }
        Verdict::Start { id, input } => (*id, input),
    };
    if decision.skip_overlap
        && let Some(last) = current.last_execution
        && is_live(connection, last).await?
    {
        fire.outcome = FireOutcome::Skipped;
        fire.reason = format!("execution {last} of this schedule was still running");
        return Ok(fire);
    }
    let admission = Admission {
        id,
        deployment_id: current.deployment_id,
        trigger: TriggerRef {
            kind: current.kind,
            id: Some((decision.trigger_id, current.revision)),
        },
        input: input.clone(),
        dedupe: None,
        owner: None,
        traceparent: None,
        rerun_of: None,
    };
    match commit::admit_one(connection, &admission, now).await? {
        Ok(()) => {
            fire.execution_id = Some(id);
            current.last_execution = Some(id);
        }
        Err(refused) => {
            fire.outcome = match refused {
                WriteRefused::Admission(AdmissionRefused::DeploymentNotLive(..)) => {
                    FireOutcome::Paused
                }
                _ => FireOutcome::Failed,
            };
            fire.reason = refused.to_string();
        }
    }
    Ok(fire)
}

async fn is_live(connection: &mut SqliteConnection, id: ExecutionId) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM executions WHERE id = ?1)")
        .bind(id.to_string())
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

async fn enter(
    connection: &mut SqliteConnection,
    fire: &FireRecord,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, decided_at,
             day, outcome, reason, execution_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(fire.trigger_id.to_string())
    .bind(fire.nominal_at.as_micros())
    .bind(fire.until_at.as_micros())
    .bind(i64::try_from(fire.count).unwrap_or(i64::MAX))
    .bind(fire.effective_at.as_micros())
    .bind(now)
    .bind(fire.until_at.day())
    .bind(fire.outcome.as_str())
    .bind(&fire.reason)
    .bind(fire.execution_id.map(|id| id.to_string()))
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}
