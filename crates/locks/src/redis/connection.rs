//! Calls to Redis that always end.

use std::time::{Duration, Instant};

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::{AsyncConnectionConfig, FromRedisValue, RedisError, ScriptInvocation};
use tokio::time::timeout;

use super::{InvalidRedisConfig, RedisLocksConfig};
use crate::LockUnavailable;

/// A pool of connections that are tested before each use, and replaced when
/// they are broken: after a restart of the server the next call succeeds.
pub(super) struct Calls {
    pool: Pool,
    /// The deadline of a whole call.
    deadline: Duration,
}

impl Calls {
    pub(super) fn new(config: &RedisLocksConfig) -> Result<Self, InvalidRedisConfig> {
        if config.connections == 0 {
            return Err(InvalidRedisConfig::NoConnections);
        }
        if config.timeout.is_zero() {
            return Err(InvalidRedisConfig::NoTimeout);
        }
        // The deadline of the whole call bounds these too; they leave it time
        // for a second attempt with a fresh connection.
        let connection = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.timeout / 2))
            .set_response_timeout(Some(config.timeout));
        let manager = Manager::new_with_config(config.url.as_str(), connection)
            .map_err(|error| InvalidRedisConfig::Url(error.to_string()))?;
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .recycle_timeout(Some(config.timeout / 4))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| InvalidRedisConfig::Url(error.to_string()))?;
        Ok(Self {
            pool,
            deadline: config.timeout,
        })
    }

    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, LockUnavailable> {
        self.within_deadline(async |connection| script.invoke_async(connection).await)
            .await
    }

    /// How long the server takes to answer, on a connection that stands.
    pub(super) async fn ping(&self) -> Result<Duration, LockUnavailable> {
        self.within_deadline(async |connection| {
            let sent = Instant::now();
            let () = redis::cmd("PING").query_async(connection).await?;
            Ok(sent.elapsed())
        })
        .await
    }

    async fn within_deadline<T>(
        &self,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, LockUnavailable> {
        let whole = async {
            let mut connection = self
                .pool
                .get()
                .await
                .map_err(|error| self.no_connection(error))?;
            match call(&mut connection).await {
                Ok(value) => Ok(value),
                Err(error) => {
                    // What an error may have left on the wire is not for the next call.
                    drop(Connection::take(connection));
                    Err(self.failed(&error))
                }
            }
        };
        timeout(self.deadline, whole)
            .await
            .unwrap_or(Err(LockUnavailable::Timeout(self.deadline)))
    }

    fn no_connection(&self, error: PoolError) -> LockUnavailable {
        match error {
            PoolError::Backend(error) => self.failed(&error),
            PoolError::Timeout(_) => LockUnavailable::Timeout(self.deadline),
            other => LockUnavailable::Unreachable(other.to_string()),
        }
    }

    fn failed(&self, error: &RedisError) -> LockUnavailable {
        if error.is_timeout() {
            LockUnavailable::Timeout(self.deadline)
        } else if error.is_io_error() || error.is_connection_dropped() {
            LockUnavailable::Unreachable(error.to_string())
        } else {
            LockUnavailable::Refused(error.to_string())
        }
    }
}
