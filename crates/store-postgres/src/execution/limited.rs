//! Admissions to deployments that limit concurrency.
//!
//! They go into a transaction of their own, behind that of the batch, so that
//! others do not wait for their locks: for each (deployment, key) one advisory
//! lock, in sorted order, before anything else. Whoever holds it may wait for
//! rows of executions; nobody waits for it who holds such a row. Under it,
//! what is free and who queues stays as it is seen, save for ends, each of
//! which looks for who queues once it has been committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millrace_store::settings::{skipped_error, skipped_reason};
use millrace_store::{
    Admission, AdmissionRefused, Concurrency, ConcurrencyPolicy, EventRecord, Limits, SlotRules,
    StoreError, WriteDone, WriteRefused,
};
use millrace_types::{DeploymentId, ExecutionId, ExecutionStatus, Timestamp};
use sqlx::{FromRow, PgConnection};

use super::commit::Outcomes;
use super::events::Chunks;
use super::{admit, slots};
use crate::PostgresStore;
use crate::convert::{counter, duration, parsed};
use crate::error::Failure;
use crate::time::PgTime;

/// Victims of one admission at most.
const MOST_VICTIMS: i64 = 1_000;

const DISPLACED: &str = "a newer execution of its deployment takes its place";

/// In a transaction of its own.
pub(super) async fn commit(
    store: &PostgresStore,
    admissions: &[(usize, &Admission)],
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let mut transaction = store.pool.begin().await?;
    admit(&mut transaction, &store.slots, admissions, outcomes).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn admit(
    connection: &mut PgConnection,
    rules: &SlotRules,
    admissions: &[(usize, &Admission)],
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let limits = limits_of(connection, admissions).await?;
    let mut keys = HashMap::new();
    let mut places: BTreeMap<(String, String), Vec<ExecutionId>> = BTreeMap::new();
    let mut open = Vec::with_capacity(admissions.len());
    for (at, admission) in admissions {
        match limits.get(&admission.deployment_id) {
            Some(limit) => match key_of(rules, limit, admission) {
                Ok(key) => {
                    places
                        .entry((admission.deployment_id.to_string(), key.clone()))
                        .or_default()
                        .push(admission.id);
                    keys.insert(admission.id, key);
                    open.push((*at, *admission));
                }
                Err(refused) => outcomes.set(*at, Err(refused.into())),
            },
            // The limit has been lifted meanwhile.
            None => open.push((*at, *admission)),
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    slots::lock(connection, places.keys()).await?;
    admit::admit_with(connection, &open, Some(&keys), outcomes).await?;
    for ((deployment, key), ids) in &places {
        let Some(limit) = limits.get(&parsed(deployment)?) else {
            continue;
        };
        settle(connection, rules, limit, (deployment, key), ids).await?;
    }
    answer(connection, &open, outcomes).await
}

async fn limits_of(
    connection: &mut PgConnection,
    admissions: &[(usize, &Admission)],
) -> Result<HashMap<DeploymentId, Concurrency>, Failure> {
    let ids: BTreeSet<String> = (admissions.iter())
        .map(|(_, a)| a.deployment_id.to_string())
        .collect();
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT deployment_id, concurrency FROM workflows \
         WHERE deployment_id = ANY($1) AND concurrency IS NOT NULL",
    )
    .bind(Vec::from_iter(ids))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(id, json)| Ok((parsed(&id)?, Concurrency::from_json(&json)?)))
        .collect()
}

fn key_of(
    rules: &SlotRules,
    limit: &Concurrency,
    admission: &Admission,
) -> Result<String, AdmissionRefused> {
    match &limit.key {
        None => Ok(String::new()),
        Some(expression) => rules
            .keys
            .key(expression, &admission.input)
            .map_err(|why| AdmissionRefused::KeyFailed(admission.deployment_id, why)),
    }
}

/// Gives out free slots in the order of the queue; what is left of `ids` goes
/// as the policy says.
async fn settle(
    connection: &mut PgConnection,
    rules: &SlotRules,
    limit: &Concurrency,
    place: (&str, &str),
    ids: &[ExecutionId],
) -> Result<(), Failure> {
    slots::give(connection, place, Some(limit.limit)).await?;
    match limit.policy {
        ConcurrencyPolicy::Queue => Ok(()),
        ConcurrencyPolicy::Skip => skip(connection, rules, limit, ids).await,
        ConcurrencyPolicy::CancelRunning => displace(connection, limit, place).await,
    }
}

/// Ends those that found no slot.
async fn skip(
    connection: &mut PgConnection,
    rules: &SlotRules,
    limit: &Concurrency,
    ids: &[ExecutionId],
) -> Result<(), Failure> {
    // Partitions of a class are made when it is first used, or deployed.
    sqlx::query(
        "SELECT millrace_make_partitions(today, today, $1) \
         FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t \
         WHERE to_regclass('executions_ended_r' || $1 || '_' || to_char(today, 'YYYYMMDD')) IS NULL",
    )
    .bind(i32::from(rules.retention_days))
    .execute(&mut *connection)
    .await?;
    let skipped: Vec<String> = sqlx::query_scalar(
        "WITH gone AS ( \
             DELETE FROM executions WHERE id = ANY($1) AND slot IS NULL AND owner IS NULL \
                 AND created_at = now() \
             RETURNING *), \
         frames_gone AS (DELETE FROM frames WHERE execution_id IN (SELECT id FROM gone)) \
         INSERT INTO executions_ended \
             (id, retention_days, ended_day, deployment_id, workflow_id, version, status, \
              trigger_kind, trigger_id, epoch, created_at, started_at, ended_at, rerun_of, \
              input, output, error) \
         SELECT id, coalesce(keep_failed, $2), (now() AT TIME ZONE 'UTC')::date, deployment_id, \
                workflow_id, version, 'CANCELLED', trigger_kind, trigger_id, epoch, created_at, \
                NULL, now(), rerun_of, input, NULL, $3 \
         FROM gone RETURNING id",
    )
    .bind(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(i32::from(rules.retention_days))
    .bind(skipped_error(limit).into_bytes())
    .fetch_all(&mut *connection)
    .await?;
    let detail = serde_json::json!({"reason": skipped_reason(limit)}).to_string();
    let mut chunks = Chunks::default();
    for id in &skipped {
        let event = EventRecord {
            seq: 1,
            at: Timestamp::now(),
            kind: "executionCancelled".into(),
            task: String::new(),
            attempt: 0,
            detail: detail.clone(),
        };
        chunks.push(id, &[event])?;
    }
    sqlx::query(
        "INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events) \
         SELECT x.execution_id, x.first_seq, x.last_seq, (now() AT TIME ZONE 'UTC')::date, now(), \
                x.events \
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) \
              AS x(execution_id, first_seq, last_seq, events)",
    )
    .bind(chunks.executions)
    .bind(chunks.first)
    .bind(chunks.last)
    .bind(chunks.events)
    .execute(connection)
    .await?;
    Ok(())
}

/// Asks the oldest to end, so that no more than the limit are left.
async fn displace(
    connection: &mut PgConnection,
    limit: &Concurrency,
    (deployment, key): (&str, &str),
) -> Result<(), Failure> {
    sqlx::query(
        "WITH live AS MATERIALIZED ( \
             SELECT id FROM ( \
                 SELECT id FROM executions \
                 WHERE deployment_id = $1 AND slot_key = $2 AND slot IS NOT NULL \
                   AND cancel_reason IS NULL \
                 UNION ALL \
                 (SELECT id FROM executions \
                  WHERE deployment_id = $1 AND slot_key = $2 AND slot IS NULL \
                    AND cancel_reason IS NULL \
                  ORDER BY id LIMIT $3 + $4)) x \
             ORDER BY id LIMIT $3 + $4), \
         victims AS MATERIALIZED ( \
             SELECT e.id FROM executions e JOIN ( \
                 SELECT id FROM live ORDER BY id \
                 LIMIT greatest(0, (SELECT count(*) FROM live) - $3)) v ON v.id = e.id \
             ORDER BY e.id FOR UPDATE OF e) \
         UPDATE executions e \
         SET cancel_reason = coalesce(e.cancel_reason, $5), \
             wake_at = CASE WHEN e.owner IS NULL THEN now() END \
         FROM victims WHERE e.id = victims.id",
    )
    .bind(deployment)
    .bind(key)
    .bind(i64::from(limit.limit))
    .bind(MOST_VICTIMS)
    .bind(DISPLACED)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Now {
    id: String,
    status: String,
    epoch: i64,
    owned: bool,
    created_at: PgTime,
    deadline_at: Option<PgTime>,
    idle_timeout: Option<i64>,
}

/// Starts those that have a slot and whose owner lives; says what became of
/// the fresh ones.
async fn answer(
    connection: &mut PgConnection,
    open: &[(usize, &Admission)],
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let fresh: Vec<(usize, &Admission)> = (open.iter())
        .filter(|(at, _)| {
            matches!(outcomes.get(*at), Some(Ok(WriteDone::Admitted(admitted))) if admitted.fresh)
        })
        .copied()
        .collect();
    let ids: Vec<String> = fresh.iter().map(|(_, a)| a.id.to_string()).collect();
    let owners: Vec<Option<String>> = (fresh.iter())
        .map(|(_, a)| a.owner.map(|owner| owner.to_string()))
        .collect();
    sqlx::query(
        "UPDATE executions e SET owner = i.id, status = 'RUNNING', wake_at = NULL, epoch = 1, \
             started_at = now() \
         FROM unnest($1::text[], $2::text[]) AS x(id, owner) \
         JOIN incarnations i ON i.id = x.owner AND i.expires_at > clock_timestamp() \
         WHERE e.id = x.id AND e.owner IS NULL AND e.slot IS NOT NULL \
           AND e.cancel_reason IS NULL",
    )
    .bind(&ids)
    .bind(owners)
    .execute(&mut *connection)
    .await?;
    let rows: Vec<Now> = sqlx::query_as(
        "SELECT id, status, epoch, owner IS NOT NULL AS owned, created_at, deadline_at, \
             idle_timeout \
         FROM executions WHERE id = ANY($1)",
    )
    .bind(&ids)
    .fetch_all(connection)
    .await?;
    let mut now = HashMap::with_capacity(rows.len());
    for row in rows {
        now.insert(parsed::<ExecutionId>(&row.id)?, row);
    }
    // Repeats within the batch have been answered before the slots were given.
    for (at, _) in open {
        if let Some(Ok(WriteDone::Admitted(repeat))) = outcomes.get_mut(*at)
            && !repeat.fresh
            && fresh.iter().any(|(_, admission)| admission.id == repeat.id)
        {
            repeat.status = match now.get(&repeat.id) {
                Some(row) => parsed(&row.status)?,
                None => ExecutionStatus::Cancelled,
            };
        }
    }
    for (at, admission) in fresh {
        let Some(Ok(WriteDone::Admitted(admitted))) = outcomes.get_mut(at) else {
            continue;
        };
        match now.get(&admission.id) {
            Some(row) => {
                admitted.status = parsed(&row.status)?;
                admitted.owned = row.owned.then(|| counter(row.epoch));
                admitted.limits = Limits {
                    total: (row.deadline_at).map(|at| at.0.saturating_since(row.created_at.0)),
                    start: None,
                    idle: row.idle_timeout.map(duration),
                    slot: true,
                };
            }
            // Skipped.
            None => admitted.status = ExecutionStatus::Cancelled,
        }
    }
    Ok(())
}

/// What those get whose transaction failed.
pub(super) fn failed(
    failure: Failure,
    admissions: &[(usize, &Admission)],
    outcomes: &mut Outcomes,
) {
    let error = StoreError::from(failure);
    let refused = if error.is_transient() {
        WriteRefused::Unavailable(error.to_string())
    } else {
        WriteRefused::Rejected(error.to_string())
    };
    for (at, _) in admissions {
        outcomes.set(*at, Err(refused.clone()));
    }
}
