//! How to reach the Redis of the locks.

use std::fmt;
use std::time::Duration;

/// Settings of [`RedisLocks`](crate::RedisLocks).
#[derive(Clone)]
pub struct RedisLocksConfig {
    /// `redis://user:password@host:port/database`.
    pub url: String,
    /// First part of every key, so that several installations can share a
    /// server. `millrace` by default.
    pub prefix: String,
    /// How many connections at most. One serves thousands of calls a second;
    /// eight keep one slow call from holding up the others.
    pub connections: usize,
    /// The deadline of a whole call, with connecting. 2 s by default.
    pub timeout: Duration,
}

impl RedisLocksConfig {
    /// The defaults, for this server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "millrace".to_owned(),
            connections: 8,
            timeout: Duration::from_secs(2),
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for RedisLocksConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLocksConfig")
            .field("prefix", &self.prefix)
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot be used. Whether the server is there is not asked.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRedisConfig {
    #[error("the Redis URL is not valid: {0}")]
    Url(String),
    #[error("the number of Redis connections must not be zero")]
    NoConnections,
    #[error("the timeout of Redis calls must not be zero")]
    NoTimeout,
}
