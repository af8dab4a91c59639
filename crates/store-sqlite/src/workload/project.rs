//! Projects.

use millrace_store::{
    CreateProjectRefused, DeleteProjectRefused, Page, PageRequest, ProjectRecord, StoreError,
};
use millrace_types::ProjectId;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const COLUMNS: &str = "SELECT id, name, key, local_path, git, created_at FROM projects";

impl SqliteStore {
    pub(super) async fn insert_project(
        &self,
        project: &ProjectRecord,
    ) -> Result<(), CreateProjectRefused> {
        let (mut transaction, _) = self.write().await?;
        let holder: Option<String> = sqlx::query_scalar("SELECT id FROM projects WHERE key = ?1")
            .bind(&project.key)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        match holder {
            Some(holder) if holder == project.id.to_string() => return Ok(()),
            Some(_) => return Err(CreateProjectRefused::KeyTaken(project.key.clone())),
            None => {}
        }
        sqlx::query(
            "INSERT INTO projects (id, name, key, local_path, git, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(project.id.to_string())
        .bind(&project.name)
        .bind(&project.key)
        .bind(&project.local_path)
        .bind(&project.git_json)
        .bind(project.created_at.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(())
    }

    /// `condition` is a text of this crate.
    pub(super) async fn find_project(
        &self,
        condition: &'static str,
        value: &str,
    ) -> Result<Option<ProjectRecord>, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} {condition}")))
            .bind(value)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
        row.as_ref().map(record).transpose()
    }

    pub(super) async fn projects_page(
        &self,
        page: &PageRequest,
    ) -> Result<Page<ProjectRecord>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(AssertSqlSafe(format!(
            "{COLUMNS} WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2"
        )))
        .bind(&page.cursor)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_rows(records, page.limit, |project| {
            project.id.to_string()
        }))
    }

    pub(super) async fn set_project(&self, project: &ProjectRecord) -> Result<bool, StoreError> {
        let (mut transaction, _) = self.write().await?;
        let done =
            sqlx::query("UPDATE projects SET name = ?2, local_path = ?3, git = ?4 WHERE id = ?1")
                .bind(project.id.to_string())
                .bind(&project.name)
                .bind(&project.local_path)
                .bind(&project.git_json)
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(done.rows_affected() == 1)
    }

    pub(super) async fn remove_project(&self, id: ProjectId) -> Result<(), DeleteProjectRefused> {
        let (mut transaction, _) = self.write().await?;
        let used: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM workloads WHERE project_id = ?1)")
                .bind(id.to_string())
                .fetch_one(&mut *transaction)
                .await
                .map_err(store_error)?;
        if used {
            return Err(DeleteProjectRefused::HasWorkloads(id));
        }
        let done = sqlx::query("DELETE FROM projects WHERE id = ?1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        match done.rows_affected() {
            0 => Err(DeleteProjectRefused::NotFound(id)),
            _ => Ok(()),
        }
    }
}

fn record(row: &SqliteRow) -> Result<ProjectRecord, StoreError> {
    Ok(ProjectRecord {
        id: row.parsed("id")?,
        name: row.raw("name")?,
        key: row.raw("key")?,
        local_path: row.raw("local_path")?,
        git_json: row.raw("git")?,
        created_at: row.time("created_at")?,
    })
}
