//! The connections, how each is set up, and how long anything may take.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_store::fair::Turn;
use millrace_store::{SlotRules, StoreError};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Executor, PgConnection};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::PostgresConfig;
use crate::error::store_error;

/// A connection that has been idle for longer than this is tried before it
/// is used; a busy one has just answered.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Connections that keep their plans, at most: two committers, and readers of
/// single rows, which take a tenth of a millisecond each.
const MAX_KEEPING: u32 = 6;

/// Events that are gathered at once, at most: those of one trigger wait for
/// each other, and the connections that they wait on are not there for batches
/// of writes.
const MAX_GATHERING: u32 = 2;

/// Settings of the connections that keep their plans. A plan that is kept must
/// be right for tables of any size, and there is one that is: for each row that
/// was asked for, a look into an index. Planning took a third of the server's
/// time for a batch of admissions, and all but a twentieth for the read of one
/// execution, with its partitions.
const KEEP_PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; ";

/// The store on PostgreSQL. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(crate) pool: PgPool,
    /// Connections that plan a statement once and keep its plan: for what is
    /// asked thousands of times in a second, by keys alone.
    pub(crate) kept: PgPool,
    /// For operations that are allowed to take long: migrations.
    pub(crate) options: PgConnectOptions,
    operation_timeout: Duration,
    pub(crate) slots: SlotRules,
    /// The deployment that a fair claim has served last.
    pub(crate) turn: Arc<Mutex<Turn>>,
    /// Who gathers an event enters here first, and only then takes a
    /// connection.
    pub(crate) gathering: Arc<Semaphore>,
}

impl PostgresStore {
    /// Connects, and checks that the server is one that this program can work
    /// with. The schema is looked at by [`Self::schema_is_current`] only.
    ///
    /// # Errors
    /// `Rejected` for a URL that is none or a server older than 15;
    /// `Unavailable` when nobody answers within the acquire timeout.
    pub async fn connect(config: &PostgresConfig) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(&config.url)
            .map_err(|error| StoreError::Rejected(format!("the database URL: {error}")))?
            .application_name("millrace")
            // Days and limits stand in the texts of lists and reads by id,
            // which keep their plans: those of all filters and of a month.
            .statement_cache_capacity(500);
        let max = config.max_connections.max(2);
        let keeping = (max / 3).clamp(1, MAX_KEEPING);
        // One connection is left for others, unless there is but one.
        let gathering = (keeping - 1).clamp(1, MAX_GATHERING);
        let pool = pool(config, &options, max - keeping, "");
        let kept = self::pool(config, &options, keeping, KEEP_PLANS);
        let store = Self {
            pool,
            kept,
            options,
            operation_timeout: config.operation_timeout(),
            slots: SlotRules::default(),
            turn: Arc::default(),
            gathering: Arc::new(Semaphore::new(gathering as usize)),
        };
        crate::metrics::describe();
        store.bounded(store.check_server()).await?;
        Ok(store)
    }

    /// With rules for concurrency limits; without, keys cannot be evaluated.
    #[must_use]
    pub fn with_slot_rules(mut self, rules: SlotRules) -> Self {
        self.slots = rules;
        self
    }

    /// How many connections are open, how many of them idle, and how many may
    /// be open at once.
    pub fn connections(&self) -> (u32, u32, u32) {
        [&self.pool, &self.kept]
            .into_iter()
            .fold((0, 0, 0), |(open, idle, max), pool| {
                (
                    open + pool.size(),
                    idle.saturating_add(u32::try_from(pool.num_idle()).unwrap_or(u32::MAX)),
                    max + pool.options().get_max_connections(),
                )
            })
    }

    /// Closes the connections once they are idle.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.kept.close());
    }

    async fn check_server(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(store_error)?;
        let connection: &mut PgConnection = &mut connection;
        let (version, fsync, pages): (i32, String, String) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('fsync'), \
             current_setting('full_page_writes')",
        )
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
        if version < 150_000 {
            return Err(StoreError::Rejected(format!(
                "PostgreSQL 15 or newer is needed, this server is {}",
                version / 10_000
            )));
        }
        if fsync == "off" || pages == "off" {
            warn!(
                fsync,
                full_page_writes = pages,
                "the database server may lose commits in a crash: fsync or full_page_writes is off"
            );
        }
        Ok(())
    }

    /// Runs one operation with the time limit that holds for all of them.
    pub(crate) async fn bounded<T, E: From<StoreError>>(
        &self,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(self.operation_timeout, operation).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::Unavailable(format!(
                "no answer within {} s",
                self.operation_timeout.as_secs()
            ))
            .into()),
        }
    }
}

/// A pool of at most `max` connections, each of which is told `more` besides
/// what all are told.
fn pool(config: &PostgresConfig, options: &PgConnectOptions, max: u32, more: &str) -> PgPool {
    let session = session_settings(config) + more;
    PgPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(Duration::from_mins(5))
        .max_lifetime(Duration::from_hours(1))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE {
                    sqlx::Connection::ping(connection).await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                connection
                    .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session)))
                    .await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone())
}

/// What every connection is told first.
fn session_settings(config: &PostgresConfig) -> String {
    let statement = config.statement_timeout.as_millis().max(1);
    let lock = config.lock_timeout.as_millis().max(1);
    // - Acknowledged means durable: a server that commits asynchronously by
    //   default is overruled, one that waits for standbys is left as it is.
    // - Plans are made for the values at hand. Tables here grow from nothing
    //   to a million rows and back within minutes, and a plan made once, for
    //   an empty table, would be kept until the next analyze. It also lets
    //   partitions be pruned while planning. Batches make up for the cost.
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {idle}; \
         SET default_transaction_isolation = 'read committed'; \
         SET timezone = 'UTC'; SET jit = off; SET plan_cache_mode = force_custom_plan; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') = 'off'; ",
        idle = statement * 2,
    )
}
