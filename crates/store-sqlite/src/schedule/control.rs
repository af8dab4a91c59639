//! The switch of the scheduler.

use async_trait::async_trait;
use millrace_store::{SchedulerCommand, SchedulerState, SchedulerStore, StoreError};
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

#[async_trait]
impl SchedulerStore for SqliteStore {
    async fn scheduler(&self) -> Result<SchedulerState, StoreError> {
        let mut connection = self.read().await?;
        let row = sqlx::query(
            "SELECT running, generation, reason, changed_at FROM scheduler WHERE one = 1",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
        state(&row)
    }

    async fn command_scheduler(
        &self,
        command: SchedulerCommand,
        reason: &str,
    ) -> Result<SchedulerState, StoreError> {
        let (mut transaction, now) = self.write().await?;
        sqlx::query(
            "UPDATE scheduler SET running = ?1, generation = generation + 1, reason = ?2,
                 changed_at = ?4
             WHERE one = 1 AND (running <> ?1 OR ?3)",
        )
        .bind(command.runs())
        .bind(reason)
        .bind(command == SchedulerCommand::Restart)
        .bind(now)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        self.scheduler().await
    }
}

fn state(row: &SqliteRow) -> Result<SchedulerState, StoreError> {
    Ok(SchedulerState {
        running: row.raw("running")?,
        generation: row.number("generation")?,
        reason: row.raw("reason")?,
        changed_at: row.time("changed_at")?,
    })
}
