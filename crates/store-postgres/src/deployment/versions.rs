//! Versions of a workflow, and what was deployed with each.

use millrace_store::{NewDeployment, Page, PageRequest, StoreError, VersionBundle, VersionSummary};
use millrace_types::WorkflowId;
use sqlx::FromRow;

use crate::PostgresStore;
use crate::convert::{text, version as number};
use crate::error::store_error;
use crate::time::PgTime;

pub(super) async fn list(
    store: &PostgresStore,
    workflow_id: WorkflowId,
    page: &PageRequest,
) -> Result<Page<VersionSummary>, StoreError> {
    // A cursor that is no number is past the end, as any unknown one is.
    let before = match &page.cursor {
        Some(cursor) => cursor.parse().unwrap_or(0),
        None => i32::MAX,
    };
    let rows: Vec<(i32, String, String, PgTime)> = sqlx::query_as(
        "SELECT version, workflow_version, digest, created_at FROM workflow_versions \
         WHERE workflow_id = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
    )
    .bind(workflow_id.to_string())
    .bind(before)
    .bind(i64::from(page.limit) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let summaries = rows
        .into_iter()
        .map(
            |(version, workflow_version, digest, created_at)| VersionSummary {
                version: number(version),
                workflow_version,
                digest,
                created_at: created_at.0,
            },
        )
        .collect();
    Ok(Page::from_rows(summaries, page.limit, |summary| {
        summary.version.to_string()
    }))
}

pub(super) async fn by_digest(
    store: &PostgresStore,
    workflow_id: WorkflowId,
    digest: &str,
) -> Result<Option<u32>, StoreError> {
    let found: Option<i32> = sqlx::query_scalar(
        "SELECT version FROM workflow_versions WHERE workflow_id = $1 AND digest = $2",
    )
    .bind(workflow_id.to_string())
    .bind(digest)
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    Ok(found.map(number))
}

pub(super) async fn bundle(
    store: &PostgresStore,
    workflow_id: WorkflowId,
    version: u32,
) -> Result<Option<NewDeployment>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        namespace: String,
        name: String,
        workflow_version: String,
        digest: String,
        definition: Vec<u8>,
        source: Vec<u8>,
        bundle: Vec<u8>,
    }
    let row: Option<Row> = sqlx::query_as(
        "SELECT w.namespace, w.name, v.workflow_version, v.digest, v.definition, v.source, \
             v.bundle \
         FROM workflow_versions v JOIN workflows w ON w.workflow_id = v.workflow_id \
         WHERE v.workflow_id = $1 AND v.version = $2 AND v.bundle IS NOT NULL",
    )
    .bind(workflow_id.to_string())
    .bind(version.cast_signed())
    .fetch_optional(&store.pool)
    .await
    .map_err(store_error)?;
    row.map(|row| {
        let kept = VersionBundle::from_json(&row.bundle)?;
        Ok(NewDeployment {
            namespace: row.namespace,
            name: row.name,
            workflow_version: row.workflow_version,
            digest: row.digest,
            definition_json: text(row.definition)?,
            source: text(row.source)?,
            config_json: kept.config_json,
            labels: kept.labels,
            settings: kept.settings,
            triggers: kept.triggers,
        })
    })
    .transpose()
}
