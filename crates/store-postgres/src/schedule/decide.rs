//! One decision about one schedule.

use millrace_store::schedule::judge::{Judged, Queued, Standing, Started};
use millrace_store::{Admission, Decision, FireRecord, Occurrence, SlotRules, StoreError};
use millrace_types::{ExecutionId, Timestamp, TriggerId};
use sqlx::{FromRow, PgConnection};

use crate::PostgresStore;
use crate::convert::{bytes, counter, parsed, parsed_option};
use crate::error::store_error;
use crate::execution::admit_one;
use crate::time::PgTime;

pub(super) async fn decide(
    store: &PostgresStore,
    decision: &Decision,
) -> Result<Option<Vec<FireRecord>>, StoreError> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    let connection = &mut *transaction;
    let (trigger, step) = (decision.trigger_id, Some(decision.step));
    let Some(mut standing) = lock(connection, trigger, step).await? else {
        return Ok(None);
    };
    if standing.asks_for_runs(decision) {
        standing.run = a_run(connection, decision.trigger_id).await?;
    }
    let mut fires = Vec::with_capacity(decision.occurrences.len());
    if let Some((fire, admission)) = standing.turn(ExecutionId::new()) {
        let fire = start(connection, &store.slots, &mut standing, fire, &admission).await?;
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
                start(connection, &store.slots, &mut standing, fire, &admission).await?
            }
            Judged::Supersede {
                reason,
                replaced,
                fire,
            } => {
                cancel_runs(connection, decision.trigger_id, &reason).await?;
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

/// The schedule, locked, if it is at this step, and the scheduler runs.
pub(super) async fn lock(
    connection: &mut PgConnection,
    trigger: TriggerId,
    step: Option<u64>,
) -> Result<Option<Standing>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        kind: String,
        deployment_id: String,
        revision: i64,
        now: PgTime,
        last_execution: Option<String>,
        queued_nominal: Option<PgTime>,
        queued_effective: Option<PgTime>,
        queued_at: Option<PgTime>,
        queued_input: Option<Vec<u8>>,
        last_effective: Option<PgTime>,
        last_started: Option<PgTime>,
        drift: Option<i64>,
    }
    // Locked first, and its trigger read by a statement of its own: a wait for
    // the lock would otherwise leave the trigger as it was before.
    let locked: Option<String> = sqlx::query_scalar(
        "SELECT trigger_id FROM schedules WHERE trigger_id = $1 AND step = coalesce($2, step) \
           AND (SELECT running FROM scheduler) FOR UPDATE",
    )
    .bind(trigger.to_string())
    .bind(step.map(u64::cast_signed))
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if locked.is_none() {
        return Ok(None);
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT t.kind, t.deployment_id, t.revision, statement_timestamp() AS now, \
             s.last_execution, s.queued_nominal, s.queued_effective, s.queued_at, \
             s.queued_input, s.last_effective, s.last_started, s.drift \
         FROM schedules s JOIN triggers t ON t.id = s.trigger_id WHERE s.trigger_id = $1",
    )
    .bind(trigger.to_string())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        let queued = match (
            row.queued_nominal,
            row.queued_effective,
            row.queued_at,
            bytes(row.queued_input),
        ) {
            (Some(nominal), Some(effective), Some(queued), Some(input)) => Some(Queued {
                nominal_at: nominal.0,
                effective_at: effective.0,
                queued_at: queued.0,
                input,
            }),
            _ => None,
        };
        Ok(Standing {
            trigger_id: trigger,
            kind: parsed(&row.kind)?,
            deployment_id: parsed(&row.deployment_id)?,
            revision: counter(row.revision),
            now: row.now.0,
            run: None,
            queued,
            last_execution: parsed_option(row.last_execution.as_deref())?,
            last_start: row
                .last_effective
                .zip(row.last_started)
                .map(|(effective, started)| Started {
                    effective_at: effective.0,
                    started_at: started.0,
                }),
            drift: row.drift,
        })
    })
    .transpose()
}

/// A live run of the schedule, the oldest.
pub(super) async fn a_run(
    connection: &mut PgConnection,
    trigger: TriggerId,
) -> Result<Option<ExecutionId>, StoreError> {
    let id: Option<String> = sqlx::query_scalar(
        "SELECT min(id) FROM executions \
         WHERE trigger_id = $1 AND trigger_kind IN ('cron', 'interval', 'once')",
    )
    .bind(trigger.to_string())
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    parsed_option(id.as_deref())
}

/// Asks every live run of the schedule to end. One that nobody owns is due at
/// once, so that whoever claims it ends it.
async fn cancel_runs(
    connection: &mut PgConnection,
    trigger: TriggerId,
    reason: &str,
) -> Result<(), StoreError> {
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
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

async fn start(
    connection: &mut PgConnection,
    slots: &SlotRules,
    standing: &mut Standing,
    fire: FireRecord,
    admission: &Admission,
) -> Result<FireRecord, StoreError> {
    let admitted = admit_one(connection, slots, admission).await?;
    Ok(standing.started(fire, admission.id, admitted.as_ref()))
}

async fn is_entered(
    connection: &mut PgConnection,
    trigger: TriggerId,
    occurrence: &Occurrence,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM fires WHERE trigger_id = $1 AND nominal_at = $2 \
             AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date)",
    )
    .bind(trigger.to_string())
    .bind(PgTime(occurrence.nominal_at))
    .fetch_one(connection)
    .await
    .map_err(store_error)
}

pub(super) async fn enter(
    connection: &mut PgConnection,
    fire: &FireRecord,
) -> Result<(), StoreError> {
    // What was missed long ago may belong to a day without a partition.
    sqlx::query(
        "SELECT millrace_make_fires_partitions(day, day) \
         FROM (SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date AS day) d",
    )
    .bind(PgTime(fire.until_at))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    let (outcome, waiting) = fire.outcome.stored();
    sqlx::query(
        "INSERT INTO fires (trigger_id, nominal_at, until_at, count, effective_at, decided_at, \
             day, outcome, reason, execution_id, waiting, backfilled) \
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
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

/// Changes the row of an occurrence that waited. `false` when retention has
/// taken it.
async fn settle(connection: &mut PgConnection, fire: &FireRecord) -> Result<bool, StoreError> {
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
    .execute(connection)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(store_error)
}

async fn advance(
    connection: &mut PgConnection,
    decision: &Decision,
    standing: &Standing,
) -> Result<(), StoreError> {
    let time = |at: Option<Timestamp>| at.map(PgTime);
    let queued = standing.queued.as_ref();
    sqlx::query(
        "UPDATE schedules SET step = step + 1, decided_to = $2, next_nominal = $3, \
             next_effective = $4, due_at = $5, last_execution = $6, queued_nominal = $7, \
             queued_effective = $8, queued_at = $9, queued_input = $10, last_effective = $11, \
             last_started = $12, drift = $13 \
         WHERE trigger_id = $1",
    )
    .bind(decision.trigger_id.to_string())
    .bind(PgTime(decision.decided_to))
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
