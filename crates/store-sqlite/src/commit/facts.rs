//! What the admissions of a batch are judged by.

use std::collections::{HashMap, HashSet};

use millrace_store::{Admission, Admitted, Concurrency, Limits, SlotRules, StoreError};
use millrace_types::{
    DeploymentId, DeploymentStatus, ExecutionId, ExecutionStatus, IncarnationId, TriggerId,
    WorkflowId,
};
use sqlx::SqliteConnection;

use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

pub(super) const KEYS: &str = "
    SELECT d.deployment_id, d.key, d.execution_id, d.workflow_id, d.version, d.admitted_at
    FROM json_each(?1) r
    CROSS JOIN dedupe d ON d.deployment_id = r.value ->> 0 AND d.key = r.value ->> 1
    WHERE d.expires_at > ?2";

pub(super) const EXECUTIONS: &str = "
    SELECT id, iif(started_at = created_at, 'RUNNING', 'PENDING') AS status, workflow_id, version,
        created_at, owner, epoch
    FROM executions WHERE id IN (SELECT value FROM json_each(?1))
    UNION ALL
    SELECT id, CASE WHEN status = 'CANCELLED' AND ended_at = created_at THEN 'CANCELLED'
            WHEN started_at = created_at THEN 'RUNNING' ELSE 'PENDING' END,
        workflow_id, version, created_at, NULL, epoch
    FROM executions_ended WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const DEPLOYMENTS: &str = "
    SELECT deployment_id, workflow_id, current_version, deployment_status, concurrency,
        start_timeout, total_timeout, idle_timeout, keep_succeeded, keep_failed
    FROM workflows
    WHERE deployment_id IN (SELECT value FROM json_each(?1))";

pub(super) const TRIGGERS: &str = "
    SELECT id, deployment_id, enabled, revision FROM triggers
    WHERE id IN (SELECT value FROM json_each(?1))";

pub(super) const ALIVE: &str = "
    SELECT id FROM incarnations
    WHERE id IN (SELECT value FROM json_each(?1)) AND expires_at > ?2";

pub(super) struct Live {
    pub workflow_id: WorkflowId,
    pub version: u32,
    pub status: DeploymentStatus,
    pub concurrency: Option<Concurrency>,
    /// In microseconds, as the others.
    pub start_timeout: Option<i64>,
    pub total_timeout: Option<i64>,
    pub idle_timeout: Option<i64>,
    pub keep_succeeded: Option<u16>,
    pub keep_failed: Option<u16>,
}

pub(super) struct Trigger {
    pub deployment_id: DeploymentId,
    pub enabled: bool,
    pub revision: u64,
}

/// An execution that was admitted before, in an earlier batch or in this one.
/// The status of the answer is that of its admission: it was RUNNING when it
/// was started in the same transaction.
#[derive(Clone)]
pub(super) struct Known {
    pub answer: Admitted,
    pub owner: Option<IncarnationId>,
    pub epoch: u64,
}

/// All that the judgement needs, as it is before the batch; `executions` and
/// `keys` grow with what the batch admits.
pub(super) struct Facts {
    pub now: i64,
    pub deployments: HashMap<DeploymentId, Live>,
    pub triggers: HashMap<TriggerId, Trigger>,
    pub alive: HashSet<IncarnationId>,
    pub executions: HashMap<ExecutionId, Known>,
    pub keys: HashMap<(DeploymentId, String), Admitted>,
    pub rules: SlotRules,
    /// Of those that were found fresh: where they queue.
    pub queued: HashMap<ExecutionId, String>,
}

impl Facts {
    pub async fn read(
        connection: &mut SqliteConnection,
        admissions: &[(usize, &Admission)],
        rules: &SlotRules,
        now: i64,
    ) -> Result<Self, StoreError> {
        let mut facts = Self {
            now,
            rules: rules.clone(),
            queued: HashMap::new(),
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
                // Only shown when the execution itself is gone by retention.
                status: ExecutionStatus::Pending,
                workflow_id: row.parsed("workflow_id")?,
                version: row.number("version")?,
                created_at: row.time("admitted_at")?,
                owned: None,
                limits: Limits::default(),
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
                    limits: Limits::default(),
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
            let concurrency: Option<&[u8]> = row.raw("concurrency")?;
            let live = Live {
                workflow_id: row.parsed("workflow_id")?,
                version: row.number("current_version")?,
                status: row.parsed("deployment_status")?,
                concurrency: concurrency.map(Concurrency::from_json).transpose()?,
                start_timeout: row.raw("start_timeout")?,
                total_timeout: row.raw("total_timeout")?,
                idle_timeout: row.raw("idle_timeout")?,
                keep_succeeded: row.raw("keep_succeeded")?,
                keep_failed: row.raw("keep_failed")?,
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
}
