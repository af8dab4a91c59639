//! Deployments by filter, newest first.

use millrace_store::{DeploymentFilter, DeploymentRecord, Page, PageRequest, StoreError};
use millrace_types::DeploymentStatus;
use sqlx::QueryBuilder;

use super::read::{Row, SELECT, with_triggers};
use crate::PostgresStore;
use crate::error::store_error;

pub(super) async fn list(
    store: &PostgresStore,
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
    if let Some(namespace) = &filter.namespace {
        query.push(" AND w.namespace = ").push_bind(namespace);
    }
    if let Some(name) = &filter.name {
        query.push(" AND w.name = ").push_bind(name);
    }
    if let Some((key, value)) = &filter.label {
        query
            .push(" AND w.labels @> jsonb_build_object(")
            .push_bind(key)
            .push("::text, ")
            .push_bind(value)
            .push("::text)");
    }
    if let Some(cursor) = &page.cursor {
        query.push(" AND w.deployment_id < ").push_bind(cursor);
    }
    query
        .push(" ORDER BY w.deployment_id DESC LIMIT ")
        .push_bind(i64::from(page.limit) + 1);
    let mut connection = store.pool.acquire().await.map_err(store_error)?;
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let records = with_triggers(&mut connection, rows).await?;
    Ok(Page::from_rows(records, page.limit, |record| {
        record.id.to_string()
    }))
}
