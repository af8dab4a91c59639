//! One decision about one schedule.

use millrace_store::schedule::backfill::Progress;
use millrace_store::schedule::judge::{Queued, Standing, Started};
use millrace_store::{Decision, FireRecord, StoreError};
use millrace_types::{Timestamp, TriggerId};
use sqlx::{FromRow, PgConnection};

use super::ledger::Entries;
use crate::PostgresStore;
use crate::convert::{bytes, counter, parsed, parsed_option};
use crate::error::store_error;
use crate::time::PgTime;

pub(super) async fn decide(
    store: &PostgresStore,
    decision: &Decision,
) -> Result<Option<Vec<FireRecord>>, StoreError> {
    let mut transaction = store.kept.begin().await.map_err(store_error)?;
    let connection = &mut *transaction;
    let (trigger, step) = (decision.trigger_id, Some(decision.step));
    let Some(mut standing) = lock(connection, trigger, step).await? else {
        return Ok(None);
    };
    let mut ledger = Entries {
        connection,
        slots: &store.slots,
    };
    let (fires, progress) = standing.decide(&mut ledger, decision).await?;
    advance(&mut transaction, decision, &standing, progress).await?;
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
        anchor_at: PgTime,
        now: PgTime,
        last_execution: Option<String>,
        queued_nominal: Option<PgTime>,
        queued_effective: Option<PgTime>,
        queued_at: Option<PgTime>,
        queued_input: Option<Vec<u8>>,
        queued_after: Option<PgTime>,
        last_effective: Option<PgTime>,
        last_started: Option<PgTime>,
        catching_up: bool,
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
        "SELECT t.kind, t.deployment_id, t.revision, s.anchor_at, statement_timestamp() AS now, \
             s.last_execution, s.queued_nominal, s.queued_effective, s.queued_at, \
             s.queued_input, s.queued_after, s.last_effective, s.last_started, s.drift, \
             s.catch_up_to IS NOT NULL AS catching_up \
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
                after: row.queued_after.map(|at| at.0),
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
            anchor_at: row.anchor_at.0,
            now: row.now.0,
            catching_up: row.catching_up,
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
            made_up_at: row
                .last_started
                .filter(|_| row.last_effective.is_none())
                .map(|at| at.0),
            drift: row.drift,
        })
    })
    .transpose()
}

async fn advance(
    connection: &mut PgConnection,
    decision: &Decision,
    standing: &Standing,
    progress: Progress,
) -> Result<(), StoreError> {
    let time = |at: Option<Timestamp>| at.map(PgTime);
    let queued = standing.queued.as_ref();
    sqlx::query(
        "UPDATE schedules SET step = step + 1, decided_to = $2, next_nominal = $3, \
             next_effective = $4, due_at = $5, last_execution = $6, queued_nominal = $7, \
             queued_effective = $8, queued_at = $9, queued_input = $10, last_effective = $11, \
             last_started = $12, drift = $13, catch_up_to = $14, \
             queued_after = $15 \
         WHERE trigger_id = $1",
    )
    .bind(decision.trigger_id.to_string())
    .bind(PgTime(progress.position))
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
