//! Opening the file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_store::fair::Turn;
use millrace_store::{SlotRules, StoreError};
use millrace_types::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite, SqlitePool, Transaction};

use crate::error::store_error;

/// How the file is used. The defaults suit a laptop and a small server.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// Connections that read at once; each is a thread, made when needed.
    pub readers: u32,
    /// How long a call waits for its connection, or for another process that
    /// holds the file.
    pub timeout: Duration,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            readers: 4,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the database {}: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: sqlx::Error,
}

/// The store on one SQLite file. Cloning is cheap, and shares connections.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) slots: SlotRules,
    /// Where fair claims stand.
    pub(crate) turn: Arc<Mutex<Turn>>,
    clock: Clock,
}

/// What time it is.
#[derive(Clone)]
struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// The writer's page cache: negative means KiB.
const WRITER_CACHE: &str = "-4096";
/// A reader's: small, since the operating system caches the file as well.
const READER_CACHE: &str = "-1024";
/// What remains of a WAL that a burst has made long.
const WAL_KEPT: &str = "16777216";

impl SqliteStore {
    /// Opens the file, and makes it when missing; its folder must be there.
    /// The schema is left as it is: see [`SqliteStore::migrate`].
    ///
    /// Only one process may have the file open: leases are judged by this
    /// process's clock. The caller holds a lock on the data directory.
    pub async fn open(path: &Path, config: &SqliteConfig) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            path: path.to_owned(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(config.timeout)
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", WAL_KEPT)
            // Rows of one answer that wait between the connection's thread
            // and its reader: enough to seldom switch between the two.
            .row_buffer_size(256)
            .disable_statement_logging();
        // What belongs to the file is set by the writer alone: to set
        // auto_vacuum, even to what it is, takes the write lock.
        let writing = options
            .clone()
            .create_if_missing(true)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("cache_size", WRITER_CACHE);
        let reading = options
            .pragma("query_only", "on")
            .pragma("cache_size", READER_CACHE);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(config.timeout)
            .connect_with(writing)
            .await
            .map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(config.readers.max(1))
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(config.timeout)
            .connect_lazy_with(reading);
        Ok(Self {
            writer,
            readers,
            slots: SlotRules::default(),
            turn: Arc::default(),
            clock: Clock(Arc::new(Timestamp::now)),
        })
    }

    /// With another clock than this host's: for tests that take hours.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Clock(Arc::new(clock));
        self
    }

    /// The time by which everything here is judged.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock.0)()
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
        let (mut open, mut idle, mut max) = (0, 0, 0);
        for pool in [&self.writer, &self.readers] {
            open += pool.size();
            idle += u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            max += pool.options().get_max_connections();
        }
        (open, idle, max)
    }

    /// Closes every connection; what is under way is finished first. The WAL
    /// is folded into the file, which is then all there is.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The one write transaction. It holds the write lock from here on, so
    /// that nothing it reads can change before it commits; and the time is
    /// read after that, so that it never runs backwards between transactions.
    pub(crate) async fn write(&self) -> Result<(Transaction<'static, Sqlite>, i64), StoreError> {
        let transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(store_error)?;
        Ok((transaction, self.now().as_micros()))
    }

    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(store_error)
    }
}
