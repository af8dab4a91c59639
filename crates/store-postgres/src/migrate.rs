//! Applying the schema, and refusing to work on an old one.

use std::collections::HashMap;

use millrace_store::StoreError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions, Connection};
use tracing::info;

use crate::PostgresStore;
use crate::error::store_error;

/// The steps that this program was built with.
static STEPS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Number, whether it was finished, and its checksum.
type Applied = (i64, bool, Vec<u8>);

/// One numbered step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub description: String,
}

impl PostgresStore {
    /// Applies the steps that are missing, one after the other, each in a
    /// transaction of its own, and makes the partitions of the days ahead.
    /// Several processes may call it at once: one does it, the others wait.
    /// Steps of a newer program are left alone. Answers those that were
    /// missing.
    ///
    /// # Errors
    /// `Schema` when a step that is applied differs from the one built in.
    pub async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let applied = self.bounded(self.applied()).await?;
        let missing = STEPS
            .iter()
            .filter(|step| applied.iter().all(|(version, ..)| *version != step.version))
            .map(|step| Migration {
                version: step.version,
                description: step.description.to_string(),
            })
            .collect();
        // A connection of its own, without time limits: a step on a large
        // database takes as long as it takes.
        let mut connection = self.options.connect().await.map_err(store_error)?;
        let mut steps = Migrator {
            migrations: STEPS.migrations.clone(),
            ..Migrator::DEFAULT
        };
        steps.set_ignore_missing(true);
        steps
            .run_direct(None, &mut connection, false)
            .await
            .map_err(migrate_error)?;
        connection.close().await.map_err(store_error)?;
        let made = self.make_partitions(None).await?;
        info!(partitions = made, "the database schema is current");
        Ok(missing)
    }

    /// Checks that every step which this program knows has been applied.
    ///
    /// # Errors
    /// `Schema` when one is missing, is half done, or differs.
    pub async fn schema_is_current(&self) -> Result<(), StoreError> {
        judge(&self.bounded(self.applied()).await?)
    }

    async fn applied(&self) -> Result<Vec<Applied>, StoreError> {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)?;
        if !exists {
            return Ok(Vec::new());
        }
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations")
            .fetch_all(&self.pool)
            .await
            .map_err(store_error)
    }
}

fn judge(applied: &[Applied]) -> Result<(), StoreError> {
    let applied: HashMap<i64, (bool, &[u8])> = applied
        .iter()
        .map(|(version, success, checksum)| (*version, (*success, &checksum[..])))
        .collect();
    for step in STEPS.iter() {
        let wrong = match applied.get(&step.version) {
            None => "has not been applied; run `millrace migrate`",
            Some((false, _)) => "was left half done; run `millrace migrate` and look at its error",
            Some((true, checksum)) if *checksum != &*step.checksum => {
                "was applied with other contents than this program holds"
            }
            Some((true, _)) => continue,
        };
        return Err(StoreError::Schema(format!(
            "migration {:04} ({}) {wrong}",
            step.version, step.description
        )));
    }
    Ok(())
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) => store_error(error),
        other => StoreError::Schema(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_database_is_told_to_migrate() {
        let error = judge(&[]).unwrap_err().to_string();
        assert!(error.contains("migration 0001"), "{error}");
        assert!(error.contains("`millrace migrate`"), "{error}");
    }

    #[test]
    fn a_newer_schema_is_fine_and_an_edited_step_is_not() {
        let mut applied: Vec<_> = STEPS
            .iter()
            .map(|step| (step.version, true, step.checksum.to_vec()))
            .collect();
        applied.push((9999, true, vec![1]));
        judge(&applied).unwrap();
        applied[0].2[0] ^= 1;
        assert!(matches!(judge(&applied), Err(StoreError::Schema(_))));
    }
}
