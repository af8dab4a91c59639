//! The schema's numbered steps.

use sqlx::migrate::{Migrate, Migrator};

use crate::SqliteStore;

/// Steps that this program does not know come from a newer one, which only
/// ever adds (see migrations/README.md): they are left alone.
static MIGRATOR: Migrator = Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("../../migrations/sqlite")
};

/// The schema could not be read or brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("migration of the SQLite schema failed: {0}")]
pub struct MigrateError(#[from] sqlx::migrate::MigrateError);

/// One numbered step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub description: String,
    pub applied: bool,
}

impl SqliteStore {
    /// Applies what is missing, each step in a transaction of its own, and
    /// answers with those that it applied. Repeating it changes nothing.
    pub async fn migrate(&self) -> Result<Vec<Migration>, MigrateError> {
        let pending: Vec<_> = self
            .migrations()
            .await?
            .into_iter()
            .filter(|step| !step.applied)
            .collect();
        MIGRATOR.run(&self.writer).await?;
        Ok(pending
            .into_iter()
            .map(|step| Migration {
                applied: true,
                ..step
            })
            .collect())
    }

    /// Every step that this program knows, in order.
    pub async fn migrations(&self) -> Result<Vec<Migration>, MigrateError> {
        let mut connection = self
            .writer
            .acquire()
            .await
            .map_err(sqlx::migrate::MigrateError::Execute)?;
        let table = MIGRATOR.table_name.as_ref();
        connection.ensure_migrations_table(table).await?;
        let applied = connection.list_applied_migrations(table).await?;
        Ok(MIGRATOR
            .iter()
            .filter(|step| !step.migration_type.is_down_migration())
            .map(|step| Migration {
                version: step.version,
                description: step.description.to_string(),
                applied: applied.iter().any(|done| done.version == step.version),
            })
            .collect())
    }

    /// Whether every step that this program knows has been applied.
    pub async fn schema_is_current(&self) -> Result<bool, MigrateError> {
        Ok(self.migrations().await?.iter().all(|step| step.applied))
    }
}
