//! One decision about one schedule.

use millrace_store::{
    Admission, AdmissionRefused, Decision, FireOutcome, FireRecord, Occurrence, StoreError,
    TriggerRef, Verdict, WriteRefused,
};
use millrace_types::{DeploymentId, ExecutionId, TriggerKind};
use sqlx::{FromRow, PgConnection};

use crate::PostgresStore;
use crate::convert::{counter, parsed, parsed_option};
use crate::error::store_error;
use crate::execution::admit_one;
use crate::time::PgTime;

/// The schedule as it is at its step.
struct Current {
    kind: TriggerKind,
    deployment_id: DeploymentId,
    revision: u64,
    last_execution: Option<ExecutionId>,
}

pub(super) async fn decide(
    store: &PostgresStore,
    decision: &Decision,
) -> Result<Option<Vec<FireRecord>>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let Some(mut current) = lock(&mut transaction, decision).await? else {
        return Ok(None);
    };
    let mut fires = Vec::with_capacity(decision.occurrences.len());
    for occurrence in &decision.occurrences {
        if is_entered(&mut transaction, decision, occurrence).await? {
            continue;
        }
        let fire = settle(&mut transaction, decision, occurrence, &mut current).await?;
        enter(&mut transaction, &fire).await?;
        fires.push(fire);
    }
    sqlx::query(
        "UPDATE schedules SET step = step + 1, decided_to = $2, next_nominal = $3, \
             next_effective = $4, due_at = $5, last_execution = $6 \
         WHERE trigger_id = $1",
    )
    .bind(decision.trigger_id.to_string())
    .bind(PgTime(decision.decided_to))
    .bind(decision.next_nominal.map(PgTime))
    .bind(decision.next_effective.map(PgTime))
    .bind(decision.due_at.map(PgTime))
    .bind(current.last_execution.map(|id| id.to_string()))
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(fires))
}

async fn lock(
    connection: &mut PgConnection,
    decision: &Decision,
) -> Result<Option<Current>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        kind: String,
        deployment_id: String,
        revision: i64,
        last_execution: Option<String>,
    }
    // Locked first, and its trigger read by a statement of its own: a wait for
    // the lock would otherwise leave the trigger as it was before.
    let locked: Option<Option<String>> = sqlx::query_scalar(
        "SELECT last_execution FROM schedules WHERE trigger_id = $1 AND step = $2 FOR UPDATE",
    )
    .bind(decision.trigger_id.to_string())
    .bind(decision.step.cast_signed())
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if locked.is_none() {
        return Ok(None);
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT t.kind, t.deployment_id, t.revision, s.last_execution \
         FROM schedules s JOIN triggers t ON t.id = s.trigger_id WHERE s.trigger_id = $1",
    )
    .bind(decision.trigger_id.to_string())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        Ok(Current {
            kind: parsed(&row.kind)?,
            deployment_id: parsed(&row.deployment_id)?,
            revision: counter(row.revision),
            last_execution: parsed_option(row.last_execution.as_deref())?,
        })
    })
    .transpose()
}

async fn is_entered(
    connection: &mut PgConnection,
    decision: &Decision,
    occurrence: &Occurrence,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM fires WHERE trigger_id = $1 AND nominal_at = $2 \
             AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date)",
    )
    .bind(decision.trigger_id.to_string())
    .bind(PgTime(occurrence.nominal_at))
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

/// Starts the execution where one is to start; answers what goes into the
/// ledger.
async fn settle(
    connection: &mut PgConnection,
    decision: &Decision,
    occurrence: &Occurrence,
    current: &mut Current,
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
    match admit_one(connection, &admission).await? {
        Ok(_) => {
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

async fn is_live(connection: &mut PgConnection, id: ExecutionId) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM executions WHERE id = $1)")
        .bind(id.to_string())
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

async fn enter(connection: &mut PgConnection, fire: &FireRecord) -> Result<(), StoreError> {
    // What was missed long ago may belong to a day without a partition.
    sqlx::query(
        "SELECT millrace_make_fires_partitions(day, day) \
         FROM (SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date AS day) d",
    )
    .bind(PgTime(fire.until_at))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, decided_at, \
             day, outcome, reason, execution_id) \
         VALUES ($1, $2, $3, $4, $5, now(), ($3::timestamptz AT TIME ZONE 'UTC')::date, \
             $6, $7, $8)",
    )
    .bind(fire.trigger_id.to_string())
    .bind(PgTime(fire.nominal_at))
    .bind(PgTime(fire.until_at))
    .bind(i64::try_from(fire.count).unwrap_or(i64::MAX))
    .bind(PgTime(fire.effective_at))
    .bind(fire.outcome.as_str())
    .bind(&fire.reason)
    .bind(fire.execution_id.map(|id| id.to_string()))
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}
