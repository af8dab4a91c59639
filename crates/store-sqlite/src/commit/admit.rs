//! Admissions.

use std::collections::{HashMap, HashSet};

use millrace_store::{
    Admission, AdmissionRefused, Admitted, Dedupe, StoreError, WriteDone, WriteRefused,
};
use millrace_types::{
    DeploymentId, DeploymentStatus, ExecutionId, ExecutionStatus, IncarnationId, Timestamp,
    TriggerId, WorkflowId,
};
use serde::Serialize;
use sqlx::SqliteConnection;

use super::Batch;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::{Part, Rows, json};

const KEYS: &str = "
    SELECT d.deployment_id, d.key, d.execution_id, d.workflow_id, d.version, d.admitted_at
    FROM json_each(?1) r
    CROSS JOIN dedupe d ON d.deployment_id = r.value ->> 0 AND d.key = r.value ->> 1
    WHERE d.expires_at > ?2";

const EXECUTIONS: &str = "
    SELECT id, status, workflow_id, version, created_at, owner, epoch
    FROM executions WHERE id IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT id, status, workflow_id, version, created_at, NULL, epoch
    FROM executions_ended WHERE id IN (SELECT value FROM json_each(?1))";

const DEPLOYMENTS: &str = "
    SELECT deployment_id, workflow_id, current_version, deployment_status FROM workflows
    WHERE deployment_id IN (SELECT value FROM json_each(?1))";

const TRIGGERS: &str = "
    SELECT id, deployment_id, enabled, revision FROM triggers
    WHERE id IN (SELECT value FROM json_each(?1))";

const ALIVE: &str = "
    SELECT id FROM incarnations
    WHERE id IN (SELECT value FROM json_each(?1)) AND expires_at > ?2";

const INSERT: &str = "
    INSERT INTO executions (id, deployment_id, workflow_id, version, status, trigger_kind,
        trigger_id, owner, epoch, wake_at, created_at, started_at, traceparent, rerun_of, input)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3,
        iif(r.value ->> 6 IS NULL, 'PENDING', 'RUNNING'), r.value ->> 4, r.value ->> 5,
        r.value ->> 6, iif(r.value ->> 6 IS NULL, 0, 1), iif(r.value ->> 6 IS NULL, ?3, NULL),
        ?3, iif(r.value ->> 6 IS NULL, NULL, ?3), r.value ->> 7, r.value ->> 8,
        ifnull(substr(?2, r.value ->> '$[9][0]', r.value ->> '$[9][1]'), x'')
    FROM json_each(?1) r";

const INSERT_KEYS: &str = "
    INSERT INTO dedupe (deployment_id, key, execution_id, workflow_id, version, admitted_at,
        expires_at)
    SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, ?2,
        r.value ->> 5
    FROM json_each(?1) r
    WHERE true
    ON CONFLICT (deployment_id, key) DO UPDATE SET execution_id = excluded.execution_id,
        workflow_id = excluded.workflow_id, version = excluded.version,
        admitted_at = excluded.admitted_at, expires_at = excluded.expires_at";

/// The epoch of an execution that is owned from its admission on.
const FIRST_EPOCH: u64 = 1;

struct Live {
    workflow_id: WorkflowId,
    version: u32,
    status: DeploymentStatus,
}

struct Trigger {
    deployment_id: DeploymentId,
    enabled: bool,
    revision: u64,
}

/// An execution that was admitted before, in an earlier batch or in this one.
#[derive(Clone)]
struct Known {
    answer: Admitted,
    owner: Option<IncarnationId>,
    epoch: u64,
}

/// All that the judgement needs, as it is before the batch; `executions` and
/// `keys` grow with what the batch admits.
struct Facts {
    now: i64,
    deployments: HashMap<DeploymentId, Live>,
    triggers: HashMap<TriggerId, Trigger>,
    alive: HashSet<IncarnationId>,
    executions: HashMap<ExecutionId, Known>,
    keys: HashMap<(DeploymentId, String), Admitted>,
}

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
);

/// A new row of `dedupe`, in the order that [`INSERT_KEYS`] names.
#[derive(Serialize)]
struct NewKey<'a>(DeploymentId, &'a str, ExecutionId, WorkflowId, u32, i64);

pub(super) async fn admit(
    connection: &mut SqliteConnection,
    batch: &mut Batch<'_>,
    now: i64,
) -> Result<(), StoreError> {
    if batch.admissions.is_empty() {
        return Ok(());
    }
    let mut facts = Facts::read(connection, &batch.admissions, now).await?;
    let mut rows = Rows::new();
    let mut keys = Vec::new();
    for (at, admission) in std::mem::take(&mut batch.admissions) {
        let outcome = facts.judge(admission).map(|admitted| {
            if admitted.fresh {
                rows_of(admission, &admitted, now, &mut rows, &mut keys);
            }
            WriteDone::Admitted(admitted)
        });
        batch.answer(at, outcome);
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
            .execute(connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

fn rows_of<'a>(
    admission: &'a Admission,
    admitted: &Admitted,
    now: i64,
    rows: &mut Rows<New<'a>>,
    keys: &mut Vec<NewKey<'a>>,
) {
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
        admission.rerun_of,
        input,
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

impl Facts {
    async fn read(
        connection: &mut SqliteConnection,
        admissions: &[(usize, &Admission)],
        now: i64,
    ) -> Result<Self, StoreError> {
        let mut facts = Self {
            now,
            deployments: HashMap::new(),
            triggers: HashMap::new(),
            alive: HashSet::new(),
            executions: HashMap::new(),
            keys: HashMap::new(),
        };
        let of = || admissions.iter().map(|(_, admission)| *admission);
        let keys: Vec<_> = of()
            .filter_map(|a| Some((a.deployment_id, &a.dedupe.as_ref()?.key)))
            .collect();
        facts
            .read_keys(connection, &json(&keys), keys.is_empty())
            .await?;
        let firsts = facts.keys.values().map(|first| first.id);
        let ids: HashSet<_> = of().map(|a| a.id).chain(firsts).collect();
        facts
            .read_executions(connection, &json(&Vec::from_iter(ids)))
            .await?;
        let ids: HashSet<_> = of().map(|a| a.deployment_id).collect();
        facts
            .read_deployments(connection, &json(&Vec::from_iter(ids)))
            .await?;
        let ids: HashSet<_> = of().filter_map(|a| Some(a.trigger.id?.0)).collect();
        if !ids.is_empty() {
            facts
                .read_triggers(connection, &json(&Vec::from_iter(ids)))
                .await?;
        }
        let ids: HashSet<_> = of().filter_map(|a| a.owner).collect();
        if !ids.is_empty() {
            facts
                .read_alive(connection, &json(&Vec::from_iter(ids)))
                .await?;
        }
        Ok(facts)
    }

    async fn read_keys(
        &mut self,
        connection: &mut SqliteConnection,
        keys: &str,
        none: bool,
    ) -> Result<(), StoreError> {
        if none {
            return Ok(());
        }
        let rows = sqlx::query(KEYS)
            .bind(keys)
            .bind(self.now)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
        for row in rows {
            let first = Admitted {
                id: row.parsed("execution_id")?,
                fresh: false,
                // Only shown when the execution itself is gone by retention:
                // it had ended, and how is no longer known.
                status: ExecutionStatus::Succeeded,
                workflow_id: row.parsed("workflow_id")?,
                version: row.number("version")?,
                created_at: row.time("admitted_at")?,
                owned: None,
            };
            self.keys
                .insert((row.parsed("deployment_id")?, row.raw("key")?), first);
        }
        Ok(())
    }

    async fn read_executions(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query(EXECUTIONS)
            .bind(ids)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
        for row in rows {
            let id = row.parsed("id")?;
            let known = Known {
                answer: Admitted {
                    id,
                    fresh: false,
                    status: row.parsed("status")?,
                    workflow_id: row.parsed("workflow_id")?,
                    version: row.number("version")?,
                    created_at: row.time("created_at")?,
                    owned: None,
                },
                owner: row.parsed_option("owner")?,
                epoch: row.number("epoch")?,
            };
            self.executions.insert(id, known);
        }
        Ok(())
    }

    async fn read_deployments(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query(DEPLOYMENTS)
            .bind(ids)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
        for row in rows {
            let live = Live {
                workflow_id: row.parsed("workflow_id")?,
                version: row.number("current_version")?,
                status: row.parsed("deployment_status")?,
            };
            self.deployments.insert(row.parsed("deployment_id")?, live);
        }
        Ok(())
    }

    async fn read_triggers(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query(TRIGGERS)
            .bind(ids)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
        for row in rows {
            let trigger = Trigger {
                deployment_id: row.parsed("deployment_id")?,
                enabled: row.raw("enabled")?,
                revision: row.number("revision")?,
            };
            self.triggers.insert(row.parsed("id")?, trigger);
        }
        Ok(())
    }

    async fn read_alive(
        &mut self,
        connection: &mut SqliteConnection,
        ids: &str,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query(ALIVE)
            .bind(ids)
            .bind(self.now)
            .fetch_all(connection)
            .await
            .map_err(store_error)?;
        for row in rows {
            self.alive.insert(row.parsed("id")?);
        }
        Ok(())
    }

    /// Decides about one admission, and remembers it for those after it.
    fn judge(&mut self, admission: &Admission) -> Result<Admitted, WriteRefused> {
        // Repeats come first: whoever was answered once gets that answer
        // again, whatever has become of the deployment since.
        if let Some(known) = self.executions.get(&admission.id) {
            return Ok(repeat_by_id(known, admission));
        }
        let key = key_of(admission)?;
        if let Some(first) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let now = self.executions.get(&first.id).map(|known| &known.answer);
            return Ok(now.unwrap_or(first).clone());
        }
        let live = self
            .deployments
            .get(&admission.deployment_id)
            .ok_or(AdmissionRefused::DeploymentUnknown(admission.deployment_id))?;
        if live.status != DeploymentStatus::Deployed {
            let refused = AdmissionRefused::DeploymentNotLive(admission.deployment_id, live.status);
            return Err(refused.into());
        }
        self.check_trigger(admission)?;
        let owner = admission.owner.filter(|owner| self.alive.contains(owner));
        let fresh = Admitted {
            id: admission.id,
            fresh: true,
            status: owner.map_or(ExecutionStatus::Pending, |_| ExecutionStatus::Running),
            workflow_id: live.workflow_id,
            version: live.version,
            created_at: Timestamp::from_micros(self.now),
            owned: owner.map(|_| FIRST_EPOCH),
        };
        let answer = Admitted {
            fresh: false,
            owned: None,
            ..fresh.clone()
        };
        if let Some(key) = key {
            self.keys.insert(key, answer.clone());
        }
        let known = Known {
            answer,
            owner,
            epoch: FIRST_EPOCH,
        };
        self.executions.insert(admission.id, known);
        Ok(fresh)
    }

    fn check_trigger(&self, admission: &Admission) -> Result<(), AdmissionRefused> {
        let Some((id, revision)) = admission.trigger.id else {
            return Ok(());
        };
        let trigger = self
            .triggers
            .get(&id)
            .filter(|t| t.deployment_id == admission.deployment_id && t.revision == revision)
            .ok_or(AdmissionRefused::TriggerStale(id))?;
        if trigger.enabled {
            Ok(())
        } else {
            Err(AdmissionRefused::TriggerDisabled(id))
        }
    }
}

fn repeat_by_id(known: &Known, admission: &Admission) -> Admitted {
    let owned = known.owner.is_some() && known.owner == admission.owner;
    Admitted {
        owned: owned.then_some(known.epoch),
        ..known.answer.clone()
    }
}

/// The dedupe key, when it is one: SQLite would cut a text off at a NUL.
fn key_of(admission: &Admission) -> Result<Option<(DeploymentId, String)>, WriteRefused> {
    let refused = |what: &str| WriteRefused::Rejected(format!("{what} holds control characters"));
    if let Some(traceparent) = &admission.traceparent
        && traceparent.contains(char::is_control)
    {
        return Err(refused("traceparent"));
    }
    let Some(Dedupe { key, .. }) = &admission.dedupe else {
        return Ok(None);
    };
    if key.contains(char::is_control) {
        return Err(refused("the dedupe key"));
    }
    Ok(Some((admission.deployment_id, key.clone())))
}
