//! Making, finding and deleting workloads.

use std::collections::HashMap;

use millrace_store::{
    CreateWorkloadRefused, Page, PageRequest, StoreError, WorkloadFilter, WorkloadRecord,
    WorkloadState,
};
use millrace_types::{ProjectId, WorkloadId};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};

use crate::PostgresStore;
use crate::convert::{counter, parsed};
use crate::error::store_error;
use crate::time::PgTime;

const COLUMNS: &str = "
    SELECT id, project_id, service, node_id, created_at, updated_at, revision, desired, stage,
        kind, port, pid, error_reason, error_message, restarts, next_retry_at, ready
    FROM workloads WHERE ";

#[derive(FromRow)]
struct Row {
    id: String,
    project_id: String,
    service: String,
    node_id: String,
    created_at: PgTime,
    updated_at: PgTime,
    revision: i64,
    desired: String,
    stage: String,
    kind: String,
    port: Option<i32>,
    pid: Option<i64>,
    error_reason: Option<String>,
    error_message: Option<String>,
    restarts: i64,
    next_retry_at: Option<PgTime>,
    ready: Option<bool>,
}

impl Row {
    fn record(self) -> Result<WorkloadRecord, StoreError> {
        Ok(WorkloadRecord {
            id: parsed(&self.id)?,
            project_id: parsed(&self.project_id)?,
            service: self.service,
            node_id: self.node_id,
            created_at: self.created_at.0,
            updated_at: self.updated_at.0,
            revision: counter(self.revision),
            state: WorkloadState {
                desired: parsed(&self.desired)?,
                stage: parsed(&self.stage)?,
                kind: self.kind,
                port: self.port.and_then(|port| u16::try_from(port).ok()),
                pid: self.pid.and_then(|pid| u32::try_from(pid).ok()),
                error: self
                    .error_reason
                    .map(|reason| (reason, self.error_message.unwrap_or_default())),
                restarts: u32::try_from(self.restarts).unwrap_or(u32::MAX),
                next_retry_at: self.next_retry_at.map(|at| at.0),
                ready: self.ready,
            },
        })
    }
}

pub(super) async fn insert(
    store: &PostgresStore,
    id: WorkloadId,
    project_id: ProjectId,
    service: &str,
    node_id: &str,
) -> Result<WorkloadRecord, CreateWorkloadRefused> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    if !is_there(&mut transaction, project_id).await? {
        return Err(CreateWorkloadRefused::NoProject(project_id));
    }
    let state = WorkloadState::new();
    sqlx::query(
        "INSERT INTO workloads (id, project_id, service, node_id, created_at, updated_at, \
             revision, desired, stage, kind, restarts) \
         VALUES ($1, $2, $3, $4, now(), now(), 1, $5, $6, '', 0) ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(project_id.to_string())
    .bind(service)
    .bind(node_id)
    .bind(state.desired.as_str())
    .bind(state.stage.as_str())
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    match of_service(store, project_id, service).await? {
        Some(there) if there.id == id => Ok(there),
        Some(there) => Err(CreateWorkloadRefused::Exists(there.id)),
        // Deleted again in the meantime.
        None => Err(CreateWorkloadRefused::NoProject(project_id)),
    }
}

pub(super) async fn insert_missing(
    store: &PostgresStore,
    project_id: ProjectId,
    services: &[(WorkloadId, String)],
    node_id: &str,
) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    if !is_there(&mut transaction, project_id).await? {
        return Err(CreateWorkloadRefused::NoProject(project_id));
    }
    let state = WorkloadState::new();
    let ids: Vec<String> = services.iter().map(|(id, _)| id.to_string()).collect();
    let names: Vec<&str> = services.iter().map(|(_, name)| name.as_str()).collect();
    sqlx::query(
        "INSERT INTO workloads (id, project_id, service, node_id, created_at, updated_at, \
             revision, desired, stage, kind, restarts) \
         SELECT x.id, $1, x.service, $2, now(), now(), 1, $3, $4, '', 0 \
         FROM unnest($5::text[], $6::text[]) AS x(id, service) ORDER BY x.service \
         ON CONFLICT DO NOTHING",
    )
    .bind(project_id.to_string())
    .bind(node_id)
    .bind(state.desired.as_str())
    .bind(state.stage.as_str())
    .bind(ids)
    .bind(&names)
    .execute(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    query
        .push("project_id = ")
        .push_bind(project_id.to_string())
        .push(" AND service = ANY(")
        .push_bind(names)
        .push(")");
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    let mut there = HashMap::with_capacity(rows.len());
    for row in rows {
        there.insert(row.service.clone(), row.record()?);
    }
    let of = |(_, service): &(WorkloadId, String)| there.get(service).cloned();
    // Deleted again in the meantime, with the project for all one knows.
    let all: Option<Vec<_>> = services.iter().map(of).collect();
    all.ok_or(CreateWorkloadRefused::NoProject(project_id))
}

/// Whether there is such a project, which then stays until the transaction ends.
async fn is_there(
    connection: &mut PgConnection,
    project_id: ProjectId,
) -> Result<bool, StoreError> {
    let project: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM projects WHERE id = $1 FOR KEY SHARE")
            .bind(project_id.to_string())
            .fetch_optional(connection)
            .await
            .map_err(store_error)?;
    Ok(project.is_some())
}

pub(super) async fn one(
    store: &PostgresStore,
    id: WorkloadId,
) -> Result<Option<WorkloadRecord>, StoreError> {
    let mut query = QueryBuilder::new(COLUMNS);
    query.push("id = ").push_bind(id.to_string());
    optional(store, query).await
}

pub(super) async fn of_service(
    store: &PostgresStore,
    project_id: ProjectId,
    service: &str,
) -> Result<Option<WorkloadRecord>, StoreError> {
    let mut query = QueryBuilder::new(COLUMNS);
    query
        .push("project_id = ")
        .push_bind(project_id.to_string())
        .push(" AND service = ")
        .push_bind(service.to_owned());
    optional(store, query).await
}

async fn optional(
    store: &PostgresStore,
    mut query: QueryBuilder<Postgres>,
) -> Result<Option<WorkloadRecord>, StoreError> {
    let row: Option<Row> = query
        .build_query_as()
        .fetch_optional(&store.pool)
        .await
        .map_err(store_error)?;
    row.map(Row::record).transpose()
}

pub(super) async fn page(
    store: &PostgresStore,
    filter: &WorkloadFilter,
    page: &PageRequest,
) -> Result<Page<WorkloadRecord>, StoreError> {
    let mut query = QueryBuilder::new(COLUMNS);
    query.push("true");
    if let Some(project) = filter.project_id {
        query
            .push(" AND project_id = ")
            .push_bind(project.to_string());
    }
    if let Some(node) = &filter.node_id {
        query.push(" AND node_id = ").push_bind(node.clone());
    }
    if let Some(cursor) = &page.cursor {
        query.push(" AND id < ").push_bind(cursor.clone());
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(page.limit) + 1);
    let rows: Vec<Row> = query
        .build_query_as()
        .fetch_all(&store.pool)
        .await
        .map_err(store_error)?;
    let records = rows
        .into_iter()
        .map(Row::record)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::from_rows(records, page.limit, |workload| {
        workload.id.to_string()
    }))
}

pub(super) async fn remove(store: &PostgresStore, id: WorkloadId) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM workloads WHERE id = $1")
        .bind(id.to_string())
        .execute(&store.pool)
        .await
        .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}
