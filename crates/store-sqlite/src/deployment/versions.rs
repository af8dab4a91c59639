//! Versions of a workflow, and what was deployed with each.

use millrace_store::{NewDeployment, Page, PageRequest, StoreError, VersionBundle, VersionSummary};
use millrace_types::WorkflowId;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

impl SqliteStore {
    pub(super) async fn versions_page(
        &self,
        workflow_id: WorkflowId,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError> {
        // A cursor that is no number is past the end, as any unknown one is.
        let before = match &page.cursor {
            Some(cursor) => cursor.parse().unwrap_or(0),
            None => i64::MAX,
        };
        let mut connection = self.read().await?;
        let rows = sqlx::query(
            "SELECT version, workflow_version, digest, created_at FROM workflow_versions
             WHERE workflow_id = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3",
        )
        .bind(workflow_id.to_string())
        .bind(before)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        let summaries = rows
            .iter()
            .map(|row| {
                Ok(VersionSummary {
                    version: row.number("version")?,
                    workflow_version: row.raw("workflow_version")?,
                    digest: row.raw("digest")?,
                    created_at: row.time("created_at")?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Page::from_rows(summaries, page.limit, |summary| {
            summary.version.to_string()
        }))
    }

    pub(super) async fn bundle_of(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<NewDeployment>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT w.namespace, w.name, v.workflow_version, v.digest, v.definition, v.source,
                 v.bundle
             FROM workflow_versions v JOIN workflows w ON w.workflow_id = v.workflow_id
             WHERE v.workflow_id = ?1 AND v.version = ?2 AND v.bundle IS NOT NULL",
        )
        .bind(workflow_id.to_string())
        .bind(version)
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
        row.map(|row| {
            let kept = VersionBundle::from_json(row.raw("bundle")?)?;
            Ok(NewDeployment {
                namespace: row.raw("namespace")?,
                name: row.raw("name")?,
                workflow_version: row.raw("workflow_version")?,
                digest: row.raw("digest")?,
                definition_json: row.text("definition")?,
                source: row.text("source")?,
                config_json: kept.config_json,
                labels: kept.labels,
                settings: kept.settings,
                triggers: kept.triggers,
            })
        })
        .transpose()
    }
}
