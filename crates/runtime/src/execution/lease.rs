//! This process' life as the database sees it: one heartbeat row. When the
//! lease has run out, or may have, everything that was owned under it is
//! dropped here, whatever the database says later, and a new life begins.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_store::{IncarnationStore, StoreError};
use millrace_types::IncarnationId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics;

/// One life. Work started under it ends when `over` is cancelled.
#[derive(Debug, Clone)]
pub(crate) struct Incarnation {
    pub id: IncarnationId,
    pub over: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Lease {
    ttl: Duration,
    current: Mutex<Incarnation>,
}

impl Lease {
    /// Enters this process into the database.
    pub async fn begin(store: &dyn IncarnationStore, ttl: Duration) -> Result<Self, StoreError> {
        let incarnation = enter(store, ttl).await?;
        Ok(Self {
            ttl,
            current: Mutex::new(incarnation),
        })
    }

    pub fn current(&self) -> Incarnation {
        self.lock().clone()
    }

    /// Keeps the lease until `stop`. The monotonic clock of this host only
    /// ever shortens the life: should no heartbeat succeed for a whole TTL,
    /// others may own the work by now.
    pub async fn keep(&self, store: &dyn IncarnationStore, stop: CancellationToken) {
        let beat = self.ttl / 3;
        let mut confirmed = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(beat) => {}
            }
            let incarnation = self.current();
            let asked = Instant::now();
            let deadline = confirmed + self.ttl;
            let answer =
                tokio::time::timeout_at(deadline, store.heartbeat(incarnation.id, self.ttl)).await;
            match answer {
                Ok(Ok(true)) => {
                    confirmed = asked;
                    metrics::lease_renewed(true);
                    continue;
                }
                // Handed over while it was asked: this process is going.
                Ok(_) if incarnation.over.is_cancelled() => return,
                Ok(Ok(false)) => {
                    warn!(incarnation.id = %incarnation.id, "the lease ran out; starting anew");
                }
                Ok(Err(error)) if Instant::now() < deadline => {
                    metrics::lease_renewed(false);
                    warn!(%error, "a heartbeat failed; trying again");
                    continue;
                }
                Ok(Err(_)) | Err(_) => {
                    warn!(
                        incarnation.id = %incarnation.id,
                        "no heartbeat got through for {:?}; dropping what this process owns",
                        self.ttl
                    );
                }
            }
            metrics::lease_lost();
            incarnation.over.cancel();
            if !self.begin_again(store, &stop).await {
                return;
            }
            confirmed = Instant::now();
        }
    }

    /// Tries until the database takes a new incarnation; `false` on `stop`.
    async fn begin_again(&self, store: &dyn IncarnationStore, stop: &CancellationToken) -> bool {
        loop {
            match enter(store, self.ttl).await {
                Ok(incarnation) => {
                    *self.lock() = incarnation;
                    return true;
                }
                Err(error) => warn!(%error, "cannot enter a new incarnation yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Incarnation> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn enter(store: &dyn IncarnationStore, ttl: Duration) -> Result<Incarnation, StoreError> {
    let id = IncarnationId::new();
    store.register(id, ttl).await?;
    info!(incarnation.id = %id, "incarnation {id} registered");
    Ok(Incarnation {
        id,
        over: CancellationToken::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// Knows every incarnation for so many heartbeats.
    #[derive(Default)]
    struct Beats {
        left: AtomicU32,
        registered: AtomicU32,
    }

    #[async_trait]
    impl IncarnationStore for Beats {
        async fn register(&self, _: IncarnationId, _: Duration) -> Result<(), StoreError> {
            self.registered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        async fn heartbeat(&self, _: IncarnationId, _: Duration) -> Result<bool, StoreError> {
            let left = self.left.load(Ordering::Relaxed);
            self.left.store(left.saturating_sub(1), Ordering::Relaxed);
            Ok(left > 0)
        }
        async fn retire(&self, _: IncarnationId) -> Result<u64, StoreError> {
            unreachable!("nobody retires here")
        }
        async fn take_over_expired(&self, _: u32) -> Result<u64, StoreError> {
            unreachable!("nobody takes over here")
        }
        async fn void_all_leases(&self) -> Result<(), StoreError> {
            unreachable!("nobody voids leases here")
        }
        async fn ping(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ran_out_is_followed_by_a_new_life() {
        let store = Beats::default();
        store.left.store(2, Ordering::Relaxed);
        let lease = Lease::begin(&store, Duration::from_secs(9)).await.unwrap();
        let first = lease.current();
        let begun = async {
            first.over.cancelled().await;
            while lease.current().id == first.id {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = lease.keep(&store, CancellationToken::new()) => panic!("it keeps"),
            () = begun => {}
        }
        assert_eq!(store.registered.load(Ordering::Relaxed), 2);
        assert!(!lease.current().over.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_has_handed_over_does_not_begin_anew() {
        let store = Beats::default();
        let lease = Lease::begin(&store, Duration::from_secs(9)).await.unwrap();
        lease.current().over.cancel();
        lease.keep(&store, CancellationToken::new()).await;
        assert_eq!(store.registered.load(Ordering::Relaxed), 1);
    }
}
