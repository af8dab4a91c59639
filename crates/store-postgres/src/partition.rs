//! Partitions: made ahead of time and on demand, dropped past retention.

use millrace_store::StoreError;

use crate::PostgresStore;
use crate::error::store_error;

/// Days ahead of today for which partitions exist: a week without any
/// maintenance goes by unnoticed.
const DAYS_AHEAD: i32 = 7;

/// What is kept, in days, unless a deployment says otherwise. Whole days of
/// steps are kept for at least as long, and those of executions that go sooner
/// are deleted from them.
const DEFAULT_RETENTION_DAYS: i32 = 30;

/// Dropped in one transaction, which locks the parents meanwhile.
const DROPPED_AT_ONCE: i32 = 8;

/// Executions whose steps are deleted in one transaction, where their day is
/// kept for the sake of others.
const LET_GO_AT_ONCE: i32 = 1000;

/// Their steps: rows, whoever they belong to. An execution has a few, and some
/// have very many.
const STEPS_AT_ONCE: i32 = 5000;

impl PostgresStore {
    /// Makes the partitions that are missing, for `class` too when it is one
    /// not seen before. Answers how many it made.
    pub(crate) async fn make_partitions(&self, class: Option<u16>) -> Result<i32, StoreError> {
        sqlx::query_scalar(
            "SELECT millrace_make_partitions(today, today + $1, $2) \
                 + millrace_make_fires_partitions(today, today + $1) \
             FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t",
        )
        .bind(DAYS_AHEAD)
        .bind(class.map(i32::from))
        .fetch_one(&self.pool)
        .await
        .map_err(store_error)
    }

    /// Deletes the steps of some executions past their retention that have to
    /// go before others of their day; answers whether more may be left.
    pub(crate) async fn let_steps_go(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT millrace_let_some_steps_go($1, $2, $3)")
            .bind(DEFAULT_RETENTION_DAYS)
            .bind(LET_GO_AT_ONCE)
            .bind(STEPS_AT_ONCE)
            .fetch_one(&self.pool)
            .await
            .map_err(store_error)
    }

    /// Drops some of the partitions of executions and steps past retention;
    /// answers whether more may be left.
    pub(crate) async fn drop_partitions(&self) -> Result<bool, StoreError> {
        self.drop_by("SELECT millrace_drop_past_partitions($1, $2)")
            .await
    }

    /// The same of the ledger's.
    pub(crate) async fn drop_fires(&self) -> Result<bool, StoreError> {
        self.drop_by("SELECT millrace_drop_fires_partitions($1, $2)")
            .await
    }

    async fn drop_by(&self, statement: &'static str) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(store_error)?;
        // Dropping locks out readers and writers of the parent. It gives up
        // soon when it has to wait, since they queue up behind it.
        sqlx::query("SET LOCAL lock_timeout = '300ms'")
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let dropped: Result<i32, _> = sqlx::query_scalar(statement)
            .bind(DEFAULT_RETENTION_DAYS)
            .bind(DROPPED_AT_ONCE)
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error);
        match dropped {
            Ok(dropped) => {
                transaction.commit().await.map_err(store_error)?;
                Ok(dropped == DROPPED_AT_ONCE)
            }
            Err(StoreError::Contended(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
