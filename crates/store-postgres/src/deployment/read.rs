//! Deployments and versions as they are stored.

use std::collections::{BTreeMap, HashMap};

use millrace_store::{DeploymentRecord, StoreError, TriggerRecord, VersionRecord};
use millrace_types::{DeploymentId, TriggerId, WorkflowId};
use sqlx::{FromRow, PgConnection};

use crate::PostgresStore;
use crate::convert::{counter, parsed, text, version as number};
use crate::error::store_error;
use crate::time::PgTime;

/// The columns of a [`Row`], from `workflows w` and its version `v`.
pub(super) const SELECT: &str = "SELECT w.deployment_id, w.workflow_id, w.namespace, w.name, \
     w.current_version, v.workflow_version, w.deployment_status, w.deployed_at, \
     w.deployment_config, w.labels::text AS labels, w.created_at, w.updated_at \
     FROM workflows w \
     JOIN workflow_versions v \
         ON v.workflow_id = w.workflow_id AND v.version = w.current_version ";

#[derive(FromRow)]
pub(super) struct Row {
    deployment_id: String,
    workflow_id: String,
    namespace: String,
    name: String,
    current_version: i32,
    workflow_version: String,
    deployment_status: String,
    deployed_at: Option<PgTime>,
    deployment_config: Vec<u8>,
    labels: String,
    created_at: PgTime,
    updated_at: PgTime,
}

impl Row {
    fn record(self, triggers: Vec<TriggerRecord>) -> Result<DeploymentRecord, StoreError> {
        let labels: BTreeMap<String, String> = serde_json::from_str(&self.labels)
            .map_err(|error| StoreError::Rejected(format!("labels: {error}")))?;
        Ok(DeploymentRecord {
            id: parsed(&self.deployment_id)?,
            workflow_id: parsed(&self.workflow_id)?,
            namespace: self.namespace,
            name: self.name,
            version: number(self.current_version),
            workflow_version: self.workflow_version,
            status: parsed(&self.deployment_status)?,
            deployed_at: self.deployed_at.map(|time| time.0),
            config_json: text(self.deployment_config)?,
            labels,
            triggers,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct TriggerRow {
    pub deployment_id: String,
    pub id: String,
    pub kind: String,
    pub name: Option<String>,
    pub enabled: bool,
    pub spec: Vec<u8>,
    pub revision: i64,
}

impl TriggerRow {
    pub(crate) fn record(self) -> Result<TriggerRecord, StoreError> {
        Ok(TriggerRecord {
            id: parsed(&self.id)?,
            kind: parsed(&self.kind)?,
            name: self.name,
            enabled: self.enabled,
            spec_json: text(self.spec)?,
            revision: counter(self.revision),
        })
    }
}

pub(super) async fn deployment(
    connection: &mut PgConnection,
    id: DeploymentId,
) -> Result<Option<DeploymentRecord>, StoreError> {
    // One statement, so that the deployment and its triggers are of one time.
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{SELECT} WHERE w.deployment_id = $1"
    )))
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    let Some(row) = row else { return Ok(None) };
    Ok(with_triggers(connection, vec![row]).await?.pop())
}

/// Puts the triggers to their deployments, each list in its own order.
pub(super) async fn with_triggers(
    connection: &mut PgConnection,
    rows: Vec<Row>,
) -> Result<Vec<DeploymentRecord>, StoreError> {
    let ids: Vec<&str> = rows.iter().map(|row| row.deployment_id.as_str()).collect();
    let found: Vec<TriggerRow> = sqlx::query_as(
        "SELECT deployment_id, id, kind, name, enabled, spec, revision FROM triggers \
         WHERE deployment_id = ANY($1) ORDER BY deployment_id, position",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let mut triggers: HashMap<String, Vec<TriggerRecord>> = HashMap::new();
    for row in found {
        let list = triggers.entry(row.deployment_id.clone()).or_default();
        list.push(row.record()?);
    }
    rows.into_iter()
        .map(|row| {
            let triggers = triggers.remove(&row.deployment_id).unwrap_or_default();
            row.record(triggers)
        })
        .collect()
}

pub(super) async fn trigger(
    store: &PostgresStore,
    id: TriggerId,
) -> Result<Option<(DeploymentId, TriggerRecord)>, StoreError> {
    let row: Option<TriggerRow> = sqlx::query_as(
        "SELECT deployment_id, id, kind, name, enabled, spec, revision FROM triggers \
         WHERE id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    row.map(|row| Ok((parsed(&row.deployment_id)?, row.record()?)))
        .transpose()
}

pub(super) async fn version(
    store: &PostgresStore,
    workflow_id: WorkflowId,
    version: u32,
) -> Result<Option<VersionRecord>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        workflow_version: String,
        digest: String,
        definition: Vec<u8>,
        source: Vec<u8>,
        created_at: PgTime,
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT workflow_version, digest, definition, source, created_at FROM workflow_versions \
         WHERE workflow_id = $1 AND version = $2",
    )
    .bind(workflow_id.to_string())
    .bind(version.cast_signed())
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        Ok(VersionRecord {
            workflow_id,
            version,
            workflow_version: row.workflow_version,
            digest: row.digest,
            definition_json: text(row.definition)?,
            source: text(row.source)?,
            created_at: row.created_at.0,
        })
    })
    .transpose()
}
