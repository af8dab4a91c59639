//! The switch of the scheduler.

use async_trait::async_trait;
use millrace_store::{SchedulerCommand, SchedulerState, SchedulerStore, StoreError};
use sqlx::FromRow;

use crate::PostgresStore;
use crate::convert::counter;
use crate::error::store_error;
use crate::time::PgTime;

#[derive(FromRow)]
struct Row {
    running: bool,
    generation: i64,
    reason: String,
    changed_at: PgTime,
}

impl From<Row> for SchedulerState {
    fn from(row: Row) -> Self {
        Self {
            running: row.running,
            generation: counter(row.generation),
            reason: row.reason,
            changed_at: row.changed_at.0,
        }
    }
}

#[async_trait]
impl SchedulerStore for PostgresStore {
    async fn scheduler(&self) -> Result<SchedulerState, StoreError> {
        self.bounded(read(self)).await
    }

    async fn command_scheduler(
        &self,
        command: SchedulerCommand,
        reason: &str,
    ) -> Result<SchedulerState, StoreError> {
        self.bounded(async {
            let changed: Option<Row> = sqlx::query_as(
                "UPDATE scheduler SET running = $1, generation = generation + 1, reason = $2, \
                     changed_at = now() \
                 WHERE running <> $1 OR $3 \
                 RETURNING running, generation, reason, changed_at",
            )
            .bind(command.runs())
            .bind(reason)
            .bind(command == SchedulerCommand::Restart)
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
            match changed {
                Some(row) => Ok(row.into()),
                None => read(self).await,
            }
        })
        .await
    }
}

async fn read(store: &PostgresStore) -> Result<SchedulerState, StoreError> {
    let row: Row = sqlx::query_as("SELECT running, generation, reason, changed_at FROM scheduler")
        .fetch_one(&store.pool)
        .await
        .map_err(store_error)?;
    Ok(row.into())
}
