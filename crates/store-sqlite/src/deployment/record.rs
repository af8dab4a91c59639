//! Reading deployments with their triggers.

use std::collections::{BTreeMap, HashMap};

use millrace_store::{DeploymentRecord, StoreError, TriggerRecord};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::{corrupt, store_error};
use crate::row::Columns;
use crate::rows::json;

/// What [`deployment`] reads; a condition follows.
pub const SELECT: &str = "
    SELECT w.deployment_id, w.workflow_id, w.namespace, w.name, w.current_version,
        v.workflow_version, w.deployment_status, w.deployed_at, w.deployment_config, w.labels,
        w.created_at, w.updated_at
    FROM workflows w
    JOIN workflow_versions v ON v.workflow_id = w.workflow_id AND v.version = w.current_version";

const SELECT_ONE: &str = "
    SELECT w.deployment_id, w.workflow_id, w.namespace, w.name, w.current_version,
        v.workflow_version, w.deployment_status, w.deployed_at, w.deployment_config, w.labels,
        w.created_at, w.updated_at
    FROM workflows w
    JOIN workflow_versions v ON v.workflow_id = w.workflow_id AND v.version = w.current_version
    WHERE w.deployment_id = ?1";

const TRIGGERS: &str = "
    SELECT deployment_id, id, kind, name, enabled, spec, revision FROM triggers
    WHERE deployment_id IN (SELECT value FROM json_each(?1))
    ORDER BY deployment_id, position";

pub async fn read(
    connection: &mut SqliteConnection,
    id: DeploymentId,
) -> Result<Option<DeploymentRecord>, StoreError> {
    let row = sqlx::query(SELECT_ONE)
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut records = vec![deployment(&row)?];
    add_triggers(connection, &mut records).await?;
    Ok(records.pop())
}

/// A deployment, its triggers left out.
pub fn deployment(row: &SqliteRow) -> Result<DeploymentRecord, StoreError> {
    Ok(DeploymentRecord {
        id: row.parsed("deployment_id")?,
        workflow_id: row.parsed("workflow_id")?,
        namespace: row.raw("namespace")?,
        name: row.raw("name")?,
        version: row.number("current_version")?,
        workflow_version: row.raw("workflow_version")?,
        status: row.parsed("deployment_status")?,
        deployed_at: row.time_option("deployed_at")?,
        config_json: row.text("deployment_config")?,
        labels: labels(row.raw("labels")?)?,
        triggers: Vec::new(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt("labels", error))
}

pub async fn add_triggers(
    connection: &mut SqliteConnection,
    records: &mut [DeploymentRecord],
) -> Result<(), StoreError> {
    let ids: Vec<_> = records.iter().map(|record| record.id).collect();
    let rows = sqlx::query(TRIGGERS)
        .bind(json(&ids))
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let mut by_id: HashMap<DeploymentId, Vec<TriggerRecord>> = HashMap::new();
    for row in &rows {
        by_id
            .entry(row.parsed("deployment_id")?)
            .or_default()
            .push(trigger(row)?);
    }
    for record in records {
        record.triggers = by_id.remove(&record.id).unwrap_or_default();
    }
    Ok(())
}

pub fn trigger(row: &SqliteRow) -> Result<TriggerRecord, StoreError> {
    Ok(TriggerRecord {
        id: row.parsed("id")?,
        kind: row.parsed("kind")?,
        name: row.raw("name")?,
        enabled: row.raw("enabled")?,
        spec_json: row.text("spec")?,
        revision: row.number("revision")?,
    })
}

pub async fn trigger_by_id(
    connection: &mut SqliteConnection,
    id: TriggerId,
) -> Result<Option<(DeploymentId, TriggerRecord)>, StoreError> {
    let row = sqlx::query(
        "SELECT deployment_id, id, kind, name, enabled, spec, revision FROM triggers
         WHERE id = ?1",
    )
    .bind(id.to_string())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(|row| Ok((row.parsed("deployment_id")?, trigger(&row)?)))
        .transpose()
}
