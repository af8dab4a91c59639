//! Making, finding and deleting workloads.

use std::collections::HashMap;

use millrace_store::{
    CreateWorkloadRefused, Page, PageRequest, StoreError, WorkloadFilter, WorkloadRecord,
    WorkloadState,
};
use millrace_types::{ProjectId, Timestamp, WorkloadId};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;
use crate::rows::json;

const COLUMNS: &str = "
    SELECT id, project_id, service, node_id, created_at, updated_at, revision, desired, stage,
        kind, port, pid, error_reason, error_message, restarts, next_retry_at, ready
    FROM workloads WHERE ";

const OF_SERVICES: &str = "
    SELECT id, project_id, service, node_id, created_at, updated_at, revision, desired, stage,
        kind, port, pid, error_reason, error_message, restarts, next_retry_at, ready
    FROM workloads
    WHERE project_id = ?1 AND service IN (SELECT value FROM json_each(?2))";

async fn is_there(
    connection: &mut SqliteConnection,
    project_id: ProjectId,
) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM projects WHERE id = ?1)")
        .bind(project_id.to_string())
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

fn new_workload(
    id: WorkloadId,
    project_id: ProjectId,
    service: &str,
    node_id: &str,
    now: i64,
) -> WorkloadRecord {
    WorkloadRecord {
        id,
        project_id,
        service: service.to_owned(),
        node_id: node_id.to_owned(),
        created_at: Timestamp::from_micros(now),
        updated_at: Timestamp::from_micros(now),
        revision: 1,
        state: WorkloadState::new(),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    record: &WorkloadRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO workloads (id, project_id, service, node_id, created_at, updated_at,
             revision, desired, stage, kind, restarts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1, ?6, ?7, '', 0)",
    )
    .bind(record.id.to_string())
    .bind(record.project_id.to_string())
    .bind(&record.service)
    .bind(&record.node_id)
    .bind(record.created_at.as_micros())
    .bind(record.state.desired.as_str())
    .bind(record.state.stage.as_str())
    .execute(connection)
    .await
    .map(|_| ())
    .map_err(store_error)
}

impl SqliteStore {
    pub(super) async fn insert_workload(
        &self,
        id: WorkloadId,
        project_id: ProjectId,
        service: &str,
        node_id: &str,
    ) -> Result<WorkloadRecord, CreateWorkloadRefused> {
        let (mut transaction, now) = self.write().await?;
        if !is_there(&mut transaction, project_id).await? {
            return Err(CreateWorkloadRefused::NoProject(project_id));
        }
        let mut query = QueryBuilder::new(COLUMNS);
        query
            .push("project_id = ")
            .push_bind(project_id.to_string())
            .push(" AND service = ")
            .push_bind(service);
        let there = query
            .build()
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        if let Some(row) = there {
            let there = record(&row)?;
            if there.id == id {
                return Ok(there);
            }
            return Err(CreateWorkloadRefused::Exists(there.id));
        }
        let record = new_workload(id, project_id, service, node_id, now);
        insert(&mut transaction, &record).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(record)
    }

    pub(super) async fn insert_missing(
        &self,
        project_id: ProjectId,
        services: &[(WorkloadId, String)],
        node_id: &str,
    ) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused> {
        let (mut transaction, now) = self.write().await?;
        if !is_there(&mut transaction, project_id).await? {
            return Err(CreateWorkloadRefused::NoProject(project_id));
        }
        let names: Vec<&str> = services.iter().map(|(_, name)| name.as_str()).collect();
        let rows = sqlx::query(OF_SERVICES)
            .bind(project_id.to_string())
            .bind(json(&names))
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let mut there = HashMap::with_capacity(services.len());
        for row in &rows {
            let record = record(row)?;
            there.insert(record.service.clone(), record);
        }
        let mut records = Vec::with_capacity(services.len());
        for (id, service) in services {
            records.push(match there.get(service) {
                Some(record) => record.clone(),
                None => {
                    let record = new_workload(*id, project_id, service, node_id, now);
                    insert(&mut transaction, &record).await?;
                    there.insert(service.clone(), record.clone());
                    record
                }
            });
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(records)
    }

    pub(super) async fn one_workload(
        &self,
        id: WorkloadId,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        let mut query = QueryBuilder::new(COLUMNS);
        query.push("id = ").push_bind(id.to_string());
        self.optional_workload(query).await
    }

    pub(super) async fn workload_of_service(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        let mut query = QueryBuilder::new(COLUMNS);
        query
            .push("project_id = ")
            .push_bind(project_id.to_string())
            .push(" AND service = ")
            .push_bind(service.to_owned());
        self.optional_workload(query).await
    }

    async fn optional_workload(
        &self,
        mut query: QueryBuilder<sqlx::Sqlite>,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        let mut connection = self.read().await?;
        let row = query
            .build()
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        row.as_ref().map(record).transpose()
    }

    pub(super) async fn workloads_page(
        &self,
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
        let mut connection = self.read().await?;
        let rows = query
            .build()
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_rows(records, page.limit, |workload| {
            workload.id.to_string()
        }))
    }

    pub(super) async fn remove_workload(&self, id: WorkloadId) -> Result<bool, StoreError> {
        let (mut transaction, _) = self.write().await?;
        let done = sqlx::query("DELETE FROM workloads WHERE id = ?1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }
}

fn record(row: &SqliteRow) -> Result<WorkloadRecord, StoreError> {
    let reason: Option<String> = row.raw("error_reason")?;
    let message: Option<String> = row.raw("error_message")?;
    Ok(WorkloadRecord {
        id: row.parsed("id")?,
        project_id: row.parsed("project_id")?,
        service: row.raw("service")?,
        node_id: row.raw("node_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
        state: WorkloadState {
            desired: row.parsed("desired")?,
            stage: row.parsed("stage")?,
            kind: row.raw("kind")?,
            port: row.raw("port")?,
            pid: row.raw("pid")?,
            error: reason.map(|reason| (reason, message.unwrap_or_default())),
            restarts: row.number("restarts")?,
            next_retry_at: row.time_option("next_retry_at")?,
            ready: row.raw("ready")?,
        },
    })
}
