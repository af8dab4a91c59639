//! Lists of deployments.

use millrace_store::{DeploymentFilter, DeploymentRecord, Page, PageRequest, StoreError};
use millrace_types::DeploymentStatus;
use sqlx::{Connection, QueryBuilder};

use super::record::{SELECT, add_triggers, deployment};
use crate::SqliteStore;
use crate::error::store_error;

impl SqliteStore {
    pub(super) async fn deployments_page(
        &self,
        filter: &DeploymentFilter,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRecord>, StoreError> {
        let mut query = QueryBuilder::new(SELECT);
        match filter.status {
            Some(status) => query
                .push(" WHERE w.deployment_status = ")
                .push_bind(status.as_str()),
            None => query
                .push(" WHERE w.deployment_status <> ")
                .push_bind(DeploymentStatus::Archived.as_str()),
        };
        if let Some(cursor) = &page.cursor {
            query.push(" AND w.deployment_id < ").push_bind(cursor);
        }
        if let Some(namespace) = &filter.namespace {
            query.push(" AND w.namespace = ").push_bind(namespace);
        }
        if let Some(name) = &filter.name {
            query.push(" AND w.name = ").push_bind(name);
        }
        if let Some((key, value)) = &filter.label {
            // As rows, so that a key with quotes in it needs no escaping.
            query
                .push(" AND EXISTS (SELECT 1 FROM json_each(w.labels) l WHERE l.key = ")
                .push_bind(key)
                .push(" AND l.value = ")
                .push_bind(value)
                .push(")");
        }
        query
            .push(" ORDER BY w.deployment_id DESC LIMIT ")
            .push_bind(i64::from(page.limit) + 1);

        // One snapshot for the deployments and their triggers.
        let mut connection = self.read().await?;
        let mut snapshot = connection.begin().await.map_err(store_error)?;
        let rows = query
            .build()
            .fetch_all(&mut *snapshot)
            .await
            .map_err(store_error)?;
        let mut records = rows.iter().map(deployment).collect::<Result<Vec<_>, _>>()?;
        add_triggers(&mut snapshot, &mut records).await?;
        snapshot.commit().await.map_err(store_error)?;
        Ok(Page::from_rows(records, page.limit, |record| {
            record.id.to_string()
        }))
    }
}
