//! Lives of runtime processes. Each has one row with one lease; an execution
//! names the incarnation that owns it, and needs no renewal of its own.

use std::time::Duration;

use async_trait::async_trait;
use millrace_types::IncarnationId;

use crate::StoreError;

#[async_trait]
pub trait IncarnationStore: Send + Sync + 'static {
    /// Enters a new incarnation, alive for `ttl` by the database's clock.
    async fn register(&self, id: IncarnationId, ttl: Duration) -> Result<(), StoreError>;

    /// Makes the lease end `ttl` from now. `false` when it had run out: it
    /// can never be revived, and its process must start a new incarnation.
    async fn heartbeat(&self, id: IncarnationId, ttl: Duration) -> Result<bool, StoreError>;

    /// Ends an incarnation in order: what it still owns becomes PENDING with
    /// a raised epoch, for any instance to claim, and the lease is over.
    /// Answers how many executions were handed over.
    async fn retire(&self, id: IncarnationId) -> Result<u64, StoreError>;

    /// Takes up to `limit` executions away from incarnations whose lease has
    /// run out: they become PENDING with a raised epoch, so that the old
    /// owner's writes are refused. Answers how many. Rows of incarnations
    /// that ran out more than an hour ago, and own nothing, are deleted; not
    /// sooner, so that a transaction that was under way when the owner died
    /// cannot leave an execution behind that nobody looks for.
    async fn take_over_expired(&self, limit: u32) -> Result<u64, StoreError>;

    /// Ends every lease at once. Only for one that holds the whole database
    /// alone, such as `millrace dev` on its data directory at start.
    async fn void_all_leases(&self) -> Result<(), StoreError>;

    /// Cheap proof that the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
