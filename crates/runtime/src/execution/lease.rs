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
