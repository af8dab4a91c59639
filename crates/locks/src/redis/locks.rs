//! The lock manager on Redis.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::Script;

use super::connection::Calls;
use super::{InvalidRedisConfig, RedisLocksConfig};
use crate::{
    AcquireError, DistributedLockManager, ExtendError, FencingToken, Lease, LeaseTtl, LockKey,
    LockUnavailable, ReleaseError,
};

/// Locks on a Redis server, for all processes that use it.
pub struct RedisLocks {
    calls: Calls,
    prefix: String,
    acquire: Script,
    extend: Script,
    release: Script,
    /// Tells this manager's leases from those of all others.
    manager: String,
    /// Numbers this manager's leases.
    leases: AtomicU64,
    /// The highest token seen, which the next one has to exceed.
    last_token: AtomicU64,
}

impl RedisLocks {
    /// Does not connect yet: the server may come later, and go again.
    pub fn new(config: &RedisLocksConfig) -> Result<Self, InvalidRedisConfig> {
        Ok(Self {
            calls: Calls::new(config)?,
            prefix: config.prefix.clone(),
            acquire: Script::new(include_str!("acquire.lua")),
            extend: Script::new(include_str!("extend.lua")),
            release: Script::new(include_str!("release.lua")),
            // Every `RandomState` has random keys, so the hash of nothing is random.
            manager: format!("{:016x}", RandomState::new().hash_one(())),
            leases: AtomicU64::new(0),
            last_token: AtomicU64::new(0),
        })
    }

    fn lock_name(&self, key: &LockKey) -> String {
        format!("{{{}}}:lock:{key}", self.prefix)
    }

    fn token_name(&self) -> String {
        format!("{{{}}}:token", self.prefix)
    }
}

/// What the lock's string holds for as long as this lease holds the lock.
fn owner(lease: &Lease) -> String {
    format!("{}:{}", lease.token, lease.holder)
}

#[async_trait]
impl DistributedLockManager for RedisLocks {
    async fn acquire(&self, key: &LockKey, ttl: LeaseTtl) -> Result<Lease, AcquireError> {
        let number = self.leases.fetch_add(1, Ordering::Relaxed);
        let holder = format!("{}-{number}", self.manager);
        let mut script = self.acquire.prepare_invoke();
        script
            .key(self.lock_name(key))
            .key(self.token_name())
            .arg(&holder)
            .arg(ttl.as_millis_up())
            .arg(self.last_token.load(Ordering::Acquire));
        // The server counts from later on, so it keeps the lock a little longer.
        let sent = Instant::now();
        let (taken, number): (bool, i64) =
            self.calls
                .invoke(&script)
                .await
                .map_err(|source| AcquireError::Unavailable {
                    key: key.clone(),
                    source,
                })?;
        // Negative is a lock without an end, which is not ours: held all the same.
        let number = u64::try_from(number).unwrap_or(0);
        if !taken {
            let remaining = Duration::from_millis(number);
            return Err(AcquireError::Held {
                key: key.clone(),
                remaining,
            });
        }
        self.last_token.fetch_max(number, Ordering::AcqRel);
        Ok(Lease {
            key: key.clone(),
            token: FencingToken::new(number),
            holder: holder.into(),
            expires_at: sent + ttl.get(),
        })
    }

    async fn extend(&self, lease: &mut Lease, ttl: LeaseTtl) -> Result<(), ExtendError> {
        let mut script = self.extend.prepare_invoke();
        script
            .key(self.lock_name(&lease.key))
            .arg(owner(lease))
            .arg(ttl.as_millis_up());
        let expires_at = Instant::now() + ttl.get();
        match self.calls.invoke::<bool>(&script).await {
            Ok(true) => {
                lease.expires_at = expires_at;
                Ok(())
            }
            Ok(false) => {
                lease.expires_at = lease.expires_at.min(Instant::now());
                Err(ExtendError::Lost {
                    key: lease.key.clone(),
                    token: lease.token,
                })
            }
            Err(source) => {
                // It may have been made shorter.
                lease.expires_at = lease.expires_at.min(expires_at);
                Err(ExtendError::Unavailable {
                    key: lease.key.clone(),
                    token: lease.token,
                    source,
                })
            }
        }
    }

    async fn release(&self, lease: Lease) -> Result<(), ReleaseError> {
        let mut script = self.release.prepare_invoke();
        script.key(self.lock_name(&lease.key)).arg(owner(&lease));
        match self.calls.invoke::<bool>(&script).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReleaseError::Lost {
                key: lease.key,
                token: lease.token,
            }),
            Err(source) => Err(ReleaseError::Unavailable {
                key: lease.key,
                token: lease.token,
                source,
            }),
        }
    }

    async fn health(&self) -> Result<Duration, LockUnavailable> {
        self.calls.ping().await
    }
}

/// Without the connections, which know the password.
impl fmt::Debug for RedisLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLocks")
            .field("prefix", &self.prefix)
            .field("manager", &self.manager)
            .field("last_token", &self.last_token)
            .finish_non_exhaustive()
    }
}
