//! Rates that several processes take from together.

use std::fmt;
use std::time::Duration;

use redis::Script;

use super::connection::Calls;
use super::{InvalidRedisConfig, RedisLocksConfig};
use crate::LockUnavailable;

/// Counts on a Redis server how often something happens, by the server's
/// clock. What is forgotten with the server's data makes a rate whole.
pub struct RedisRates {
    calls: Calls,
    prefix: String,
    take: Script,
}

impl RedisRates {
    /// Does not connect yet: the server may come later, and go again.
    pub fn new(config: &RedisLocksConfig) -> Result<Self, InvalidRedisConfig> {
        Ok(Self {
            calls: Calls::new(config)?,
            prefix: config.prefix.clone(),
            take: Script::new(include_str!("take.lua")),
        })
    }

    /// Takes one of `key`, of which `burst` may come at once and then one each
    /// `interval`. `Some`: none is left, and the next one comes after this
    /// time.
    pub async fn take(
        &self,
        key: &str,
        interval: Duration,
        burst: u32,
    ) -> Result<Option<Duration>, LockUnavailable> {
        let mut script = self.take.prepare_invoke();
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        script
            .key(format!("{{{}}}:rate:{key}", self.prefix))
            .arg(interval.max(1))
            .arg(burst.max(1));
        let wait: u64 = self.calls.invoke(&script).await?;
        Ok((wait > 0).then(|| Duration::from_micros(wait)))
    }
}

/// Without the connections, which know the password.
impl fmt::Debug for RedisRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRates")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
