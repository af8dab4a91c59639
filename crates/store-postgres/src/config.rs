//! How to reach the database, and how long to wait for it.

use std::time::Duration;

/// Settings of a [`crate::PostgresStore`].
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?…`
    pub url: String,
    /// Connections at most, 2 at least. A third of them, 6 at most, keep their
    /// plans, for batches of writes, gathered events, decisions about schedules,
    /// lists and reads of single executions; the rest serve claims and
    /// heartbeats.
    pub max_connections: u32,
    /// For a free connection, or a new one.
    pub acquire_timeout: Duration,
    /// For one statement, enforced by the server.
    pub statement_timeout: Duration,
    /// For one lock, enforced by the server.
    pub lock_timeout: Duration,
}

impl PostgresConfig {
    /// The defaults for a database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(3),
        }
    }

    /// For one operation of the store, all its statements together: what the
    /// server's own limits miss, such as a network that swallows answers.
    pub(crate) fn operation_timeout(&self) -> Duration {
        self.acquire_timeout + self.statement_timeout * 2
    }
}

// The URL holds a password.
impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .finish_non_exhaustive()
    }
}
