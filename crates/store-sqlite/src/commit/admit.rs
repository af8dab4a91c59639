//! Admissions: judged against what is stored, and written.

use millrace_store::{Admission, Admitted, Dedupe, SlotRules, StoreError, WriteDone};
use millrace_types::{DeploymentId, ExecutionId, IncarnationId, Timestamp, TriggerId, WorkflowId};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::facts::Facts;
use super::{Batch, limited};
use crate::error::store_error;
use crate::kept;
use crate::rows::{Part, Rows, json};
use crate::slots;

pub(super) const INSERT: &str = "
    INSERT INTO executions (id, deployment_id, workflow_id, version, status, trigger_kind,
        trigger_id, owner, epoch, wake_at, created_at, started_at, traceparent, rerun_of,
        start_by, deadline_at, idle_timeout, keep_succeeded, keep_failed, slot_key, input)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3,
        iif(r.value ->> 6 IS NULL, 'PENDING', 'RUNNING'), r.value ->> 4, r.value ->> 5,
        r.value ->> 6, iif(r.value ->> 6 IS NULL, 0, 1),
        iif(r.value ->> 6 IS NULL, ifnull(r.value ->> 10, ?3), NULL),
        ?3, iif(r.value ->> 6 IS NULL, NULL, ?3), r.value ->> 7, r.value ->> 8,
        r.value ->> 11, r.value ->> 12, r.value ->> 13, r.value ->> 14, r.value ->> 15,
        r.value ->> 16,
        ifnull(substr(?2, r.value ->> '$[9][0]', r.value ->> '$[9][1]'), x'')
    FROM json_each(?1) r";

pub(super) const INSERT_KEYS: &str = "
    INSERT INTO dedupe (deployment_id, key, execution_id, workflow_id, version, admitted_at,
        expires_at)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, ?2,
        r.value ->> 5
    FROM json_each(?1) r
    WHERE true
    ON CONFLICT (deployment_id, key) DO UPDATE SET execution_id = excluded.execution_id,
        workflow_id = excluded.workflow_id, version = excluded.version,
        admitted_at = excluded.admitted_at, expires_at = excluded.expires_at";

/// A new row of `executions`, in the order that [`INSERT`] names.
#[derive(Serialize)]
struct New<'a>(
    ExecutionId,
    DeploymentId,
    WorkflowId,
    u32,
    &'static str,
    Option<TriggerId>,
    Option<IncarnationId>,
    Option<&'a str>,
    Option<ExecutionId>,
    Part,
    /// When it is due, if not at once.
    Option<i64>,
    /// By when it has to start, and its deadline.
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<u16>,
    Option<u16>,
    Option<&'a str>,
);

/// A new row of `dedupe`, in the order that [`INSERT_KEYS`] names.
#[derive(Serialize)]
struct NewKey<'a>(DeploymentId, &'a str, ExecutionId, WorkflowId, u32, i64);

pub(super) async fn admit(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    rules: &SlotRules,
    now: i64,
) -> Result<(), StoreError> {
    if batch.admissions.is_empty() {
        return Ok(());
    }
    let mut facts = Facts::read(connection, &batch.admissions, rules, now).await?;
    let mut fresh = Vec::with_capacity(batch.admissions.len());
    for (at, admission) in std::mem::take(&mut batch.admissions) {
        let outcome = facts.judge(admission).map(|admitted| {
            if admitted.fresh {
                fresh.push((at, admission, admitted.clone()));
            }
            WriteDone::Admitted(admitted)
        });
        batch.answer(at, outcome);
    }
    let mut rows = Rows::new();
    let mut keys = Vec::new();
    for (_, admission, admitted) in &fresh {
        rows_of(admission, admitted, &facts, &mut rows, &mut keys);
    }
    if !rows.is_empty() {
        let (rows, inputs) = rows.into_parameters();
        sqlx::query(INSERT)
            .bind(rows)
            .bind(inputs)
            .bind(now)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    if !keys.is_empty() {
        sqlx::query(INSERT_KEYS)
            .bind(json(&keys))
            .bind(now)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    for (_, admission, _) in &fresh {
        kept::copy(connection, admission).await?;
    }
    if facts.queued.is_empty() {
        return Ok(());
    }
    limited::settle(connection, batch, &facts, &fresh).await
}

fn rows_of<'a>(
    admission: &'a Admission,
    admitted: &Admitted,
    facts: &'a Facts,
    rows: &mut Rows<New<'a>>,
    keys: &mut Vec<NewKey<'a>>,
) {
    let now = facts.now;
    let live = facts.deployments.get(&admission.deployment_id);
    let after = |timeout: Option<i64>| timeout.map(|timeout| now.saturating_add(timeout));
    let start_by = after(live.and_then(|live| live.start_timeout));
    let deadline = after(live.and_then(|live| live.total_timeout));
    let slot_key = facts.queued.get(&admission.id).map(String::as_str);
    let input = rows.payload(&admission.input);
    rows.push(New(
        admission.id,
        admission.deployment_id,
        admitted.workflow_id,
        admitted.version,
        admission.trigger.kind.as_str(),
        admission.trigger.id.map(|(id, _)| id),
        admitted.owned.and(admission.owner),
        admission.traceparent.as_deref(),
        admission.rerun_of.map(|original| original.id),
        input,
        slot_key.map(|_| {
            let first = start_by.into_iter().chain(deadline).min();
            first.unwrap_or(slots::NEVER)
        }),
        start_by,
        deadline,
        live.and_then(|live| live.idle_timeout),
        live.and_then(|live| live.keep_succeeded),
        live.and_then(|live| live.keep_failed),
        slot_key,
    ));
    if let Some(Dedupe { key, keep }) = &admission.dedupe {
        keys.push(NewKey(
            admission.deployment_id,
            key,
            admission.id,
            admitted.workflow_id,
            admitted.version,
            Timestamp::from_micros(now)
                .saturating_add(*keep)
                .as_micros(),
        ));
    }
}
