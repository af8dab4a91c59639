//! Projects.

use millrace_store::{
    CreateProjectRefused, DeleteProjectRefused, Page, PageRequest, ProjectRecord, StoreError,
};
use millrace_types::ProjectId;
use sqlx::{AssertSqlSafe, FromRow};

use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;
use crate::time::PgTime;

const COLUMNS: &str = "SELECT id, name, key, local_path, git, created_at FROM projects";

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    key: String,
    local_path: String,
    git: Option<String>,
    created_at: PgTime,
}

impl Row {
    fn record(self) -> Result<ProjectRecord, StoreError> {
        Ok(ProjectRecord {
            id: parsed(&self.id)?,
            name: self.name,
            key: self.key,
            local_path: self.local_path,
            git_json: self.git,
            created_at: self.created_at.0,
        })
    }
}

pub(super) async fn insert(
    store: &PostgresStore,
    project: &ProjectRecord,
) -> Result<(), CreateProjectRefused> {
    sqlx::query(
        "INSERT INTO projects (id, name, key, local_path, git, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(project.id.to_string())
    .bind(&project.name)
    .bind(&project.key)
    .bind(&project.local_path)
    .bind(&project.git_json)
    .bind(PgTime(project.created_at))
    .execute(&store.pool)
    .await
    .map_err(store_error)?;
    // Whoever has the key now was there before, or is this one.
    match find(store, "WHERE key = $1", &project.key).await? {
        Some(holder) if holder.id == project.id => Ok(()),
        _ => Err(CreateProjectRefused::KeyTaken(project.key.clone())),
    }
}

/// `condition` is a text of this crate.
pub(super) async fn find(
    store: &PostgresStore,
    condition: &'static str,
    value: &str,
) -> Result<Option<ProjectRecord>, StoreError> {
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} {condition}")))
        .bind(value)
        .fetch_optional(&store.pool)
        .await
        .map_err(store_error)?;
    row.map(Row::record).transpose()
}

pub(super) async fn page(
    store: &PostgresStore,
    page: &PageRequest,
) -> Result<Page<ProjectRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE $1::text IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
    )))
    .bind(&page.cursor)
    .bind(i64::from(page.limit) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let records = rows
        .into_iter()
        .map(Row::record)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::from_rows(records, page.limit, |project| {
        project.id.to_string()
    }))
}

pub(super) async fn set(
    store: &PostgresStore,
    project: &ProjectRecord,
) -> Result<bool, StoreError> {
    let done =
        sqlx::query("UPDATE projects SET name = $2, local_path = $3, git = $4 WHERE id = $1")
            .bind(project.id.to_string())
            .bind(&project.name)
            .bind(&project.local_path)
            .bind(&project.git_json)
            .execute(&store.pool)
            .await
            .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn remove(
    store: &PostgresStore,
    id: ProjectId,
) -> Result<(), DeleteProjectRefused> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    // The lock keeps workloads from being entered: their reference needs it.
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM projects WHERE id = $1 FOR UPDATE")
        .bind(id.to_string())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
    if there.is_none() {
        return Err(DeleteProjectRefused::NotFound(id));
    }
    let used: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM workloads WHERE project_id = $1)")
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
    if used {
        return Err(DeleteProjectRefused::HasWorkloads(id));
    }
    sqlx::query("DELETE FROM projects WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(())
}
