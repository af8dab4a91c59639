//! The contract.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::{AcquireError, ExtendError, Lease, LeaseTtl, LockKey, LockUnavailable, ReleaseError};

/// Hands out leases. Every call ends within the deadline of the implementation.
///
/// A call whose future is dropped half-way may or may not have had its effect,
/// as after [`AcquireError::Unavailable`].
#[async_trait]
pub trait DistributedLockManager: Debug + Send + Sync {
    /// Takes the lock if it is free. Does not wait for it.
    async fn acquire(&self, key: &LockKey, ttl: LeaseTtl) -> Result<Lease, AcquireError>;

    /// Lets the lease last `ttl` from now, which may be shorter than before.
    /// Its token stays.
    async fn extend(&self, lease: &mut Lease, ttl: LeaseTtl) -> Result<(), ExtendError>;

    /// Gives the lock back before its time.
    async fn release(&self, lease: Lease) -> Result<(), ReleaseError>;

    /// Whether locks can be had at all, and how long the server took to say so.
    async fn health(&self) -> Result<Duration, LockUnavailable>;
}
