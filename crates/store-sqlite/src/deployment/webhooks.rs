//! Finding webhooks by the shape of their path.

use millrace_store::{StoreError, WebhookMatch};

use super::record::trigger;
use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

const MATCH: &str = "
    SELECT r.shape, r.method, r.path, t.id, t.kind, t.name, t.enabled, t.spec, t.revision,
        t.sealed_secrets,
        w.deployment_id, w.workflow_id, w.deployment_status
    FROM webhook_routes r
    JOIN triggers t ON t.id = r.trigger_id
    JOIN workflows w ON w.deployment_id = t.deployment_id
    WHERE r.shape IN (SELECT value FROM json_each(?1))";

impl SqliteStore {
    pub(super) async fn webhooks_by_shape(
        &self,
        shapes: &[String],
    ) -> Result<Vec<WebhookMatch>, StoreError> {
        if shapes.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.read().await?;
        let rows = sqlx::query(MATCH)
            .bind(json(shapes))
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok(WebhookMatch {
                    trigger: trigger(row)?,
                    sealed_secrets: row.raw("sealed_secrets")?,
                    deployment_id: row.parsed("deployment_id")?,
                    workflow_id: row.parsed("workflow_id")?,
                    deployment_status: row.parsed("deployment_status")?,
                    path: row.raw("path")?,
                    shape: row.raw("shape")?,
                    method: row.raw("method")?,
                })
            })
            .collect()
    }
}
