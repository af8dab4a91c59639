//! Admissions to deployments that limit concurrency: they are written without
//! a slot first, and get one here, in the order of their queue, or go as the
//! policy says.

use std::collections::BTreeMap;

use millrace_store::settings::{skipped_error, skipped_reason};
use millrace_store::{
    Admission, Admitted, Concurrency, ConcurrencyPolicy, EventRecord, StoreError, WriteDone,
};
use millrace_types::{ExecutionId, ExecutionStatus, IncarnationId, Timestamp};
use sqlx::SqliteConnection;

use super::Batch;
use super::events::Chunks;
use super::facts::Facts;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;
use crate::slots;

/// Victims of one admission at most.
const MOST_VICTIMS: u32 = 1_000;

const DISPLACED: &str = "a newer execution of its deployment takes its place";

pub(super) const WITHOUT_SLOT: &str = "
    SELECT id FROM executions
    WHERE id IN (SELECT value FROM json_each(?1)) AND slot IS NULL";

pub(super) const END: &str = "
    INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id,
        version, status, trigger_kind, trigger_id, epoch, created_at, started_at, ended_at,
        rerun_of, error, output, input)
    SELECT id, ifnull(keep_failed, ?2), ?3, deployment_id, workflow_id, version, 'CANCELLED',
        trigger_kind, trigger_id, epoch, created_at, NULL, ?4, rerun_of, ?5, NULL, input
    FROM executions WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const DELETE: &str =
    "DELETE FROM executions WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const FRAMES: &str =
    "DELETE FROM frames WHERE execution_id IN (SELECT value FROM json_each(?1))";

pub(super) const HOLDERS: &str = "
    SELECT id FROM executions
    WHERE deployment_id = ?1 AND slot_key = ?2 AND slot IS NOT NULL AND cancel_reason IS NULL";

pub(super) const QUEUED: &str = "
    SELECT id FROM executions
    WHERE deployment_id = ?1 AND slot_key = ?2 AND slot IS NULL AND cancel_reason IS NULL
    ORDER BY id LIMIT ?3";

pub(super) const ASK: &str = "
    UPDATE executions
    SET cancel_reason = ?2, wake_at = iif(owner IS NULL, ?3, NULL)
    WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const START: &str = "
    UPDATE executions
    SET owner = r.value ->> 1, status = 'RUNNING', wake_at = NULL, epoch = 1, started_at = ?2
    FROM json_each(?1) r
    WHERE executions.id = r.value ->> 0 AND owner IS NULL AND slot IS NOT NULL
        AND cancel_reason IS NULL";

pub(super) const NOW: &str = "
    SELECT id, status, owner, epoch FROM executions
    WHERE id IN (SELECT value FROM json_each(?1))";

/// `fresh` are those just written, limited or not.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    facts: &Facts,
    fresh: &[(usize, &Admission, Admitted)],
) -> Result<(), StoreError> {
    let mut queues: BTreeMap<(String, &str), (&Concurrency, Vec<ExecutionId>)> = BTreeMap::new();
    let mut owners: Vec<(ExecutionId, IncarnationId)> = Vec::new();
    let mut limited = Vec::new();
    for (at, admission, _) in fresh {
        let limit = facts.deployments.get(&admission.deployment_id);
        let (Some(key), Some(limit)) = (
            facts.queued.get(&admission.id),
            limit.and_then(|live| live.concurrency.as_ref()),
        ) else {
            continue;
        };
        let place = (admission.deployment_id.to_string(), key.as_str());
        let queue = queues.entry(place).or_insert((limit, Vec::new()));
        queue.1.push(admission.id);
        limited.push((*at, admission.id));
        let owner = admission.owner.filter(|owner| facts.alive.contains(owner));
        owners.extend(owner.map(|owner| (admission.id, owner)));
    }
    for ((deployment, key), (limit, ids)) in &queues {
        slots::give(connection, (deployment, key), Some(limit.limit), facts.now).await?;
        match limit.policy {
            ConcurrencyPolicy::Queue => {}
            ConcurrencyPolicy::Skip => skip(connection, facts, limit, ids).await?,
            ConcurrencyPolicy::CancelRunning => {
                displace(connection, facts.now, limit, (deployment, key)).await?;
            }
        }
    }
    if !owners.is_empty() {
        sqlx::query(START)
            .bind(json(&owners))
            .bind(facts.now)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    answer(connection, batch, &limited).await
}

/// Ends those that found no slot.
async fn skip(
    connection: &mut SqliteConnection,
    facts: &Facts,
    limit: &Concurrency,
    ids: &[ExecutionId],
) -> Result<(), StoreError> {
    let skipped: Vec<String> = sqlx::query_scalar(WITHOUT_SLOT)
        .bind(json(ids))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    if skipped.is_empty() {
        return Ok(());
    }
    let at = Timestamp::from_micros(facts.now);
    sqlx::query(END)
        .bind(json(&skipped))
        .bind(facts.rules.retention_days)
        .bind(at.day())
        .bind(facts.now)
        .bind(skipped_error(limit).into_bytes())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    // A rerun has brought its frames.
    for statement in [DELETE, FRAMES] {
        sqlx::query(statement)
            .bind(json(&skipped))
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    let detail = serde_json::json!({"reason": skipped_reason(limit)}).to_string();
    let mut events = Chunks::new(facts.now);
    for id in ids.iter().filter(|id| skipped.contains(&id.to_string())) {
        let event = EventRecord {
            seq: 1,
            at,
            kind: "executionCancelled".into(),
            task: String::new(),
            attempt: 0,
            detail: detail.clone(),
        };
        events.push(*id, &[event]);
    }
    events.insert(connection).await
}

/// Asks the oldest to end, so that no more than the limit are left.
async fn displace(
    connection: &mut SqliteConnection,
    now: i64,
    limit: &Concurrency,
    (deployment, key): (&str, &str),
) -> Result<(), StoreError> {
    let mut live: Vec<String> = sqlx::query_scalar(HOLDERS)
        .bind(deployment)
        .bind(key)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let queued: Vec<String> = sqlx::query_scalar(QUEUED)
        .bind(deployment)
        .bind(key)
        .bind(limit.limit.saturating_add(MOST_VICTIMS))
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    live.extend(queued);
    live.sort_unstable();
    let victims = live
        .len()
        .saturating_sub(usize::try_from(limit.limit).unwrap_or(usize::MAX));
    if victims == 0 {
        return Ok(());
    }
    sqlx::query(ASK)
        .bind(json(&live[..victims]))
        .bind(DISPLACED)
        .bind(now)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

/// Says what became of them.
async fn answer(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    limited: &[(usize, ExecutionId)],
) -> Result<(), StoreError> {
    let ids: Vec<ExecutionId> = limited.iter().map(|(_, id)| *id).collect();
    let rows = sqlx::query(NOW)
        .bind(json(&ids))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let mut now = BTreeMap::new();
    for row in &rows {
        now.insert(row.parsed::<ExecutionId>("id")?, row);
    }
    // Repeats within the batch have been answered before the slots were given.
    for repeat in &mut batch.outcomes {
        if let Some(Ok(WriteDone::Admitted(repeat))) = repeat
            && !repeat.fresh
            && ids.contains(&repeat.id)
        {
            repeat.status = match now.get(&repeat.id) {
                Some(row) => row.parsed("status")?,
                None => ExecutionStatus::Cancelled,
            };
        }
    }
    for (at, id) in limited {
        let Some(Ok(WriteDone::Admitted(admitted))) = batch.outcomes[*at].as_mut() else {
            continue;
        };
        if let Some(row) = now.get(id) {
            admitted.status = row.parsed("status")?;
            if row.raw::<Option<&str>>("owner")?.is_some() {
                admitted.owned = Some(row.number("epoch")?);
            }
            admitted.limits.slot = true;
        } else {
            // Skipped.
            admitted.status = ExecutionStatus::Cancelled;
        }
    }
    Ok(())
}
