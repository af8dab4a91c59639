//! Takes due executions from the database as long as there is room for them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::coordinator::ExecutionCoordinator;
use crate::metrics;

/// Executions taken in one transaction: enough to amortise it, few enough
/// that instances share a backlog evenly.
const BATCH: usize = 128;

/// Claims until `stop`: woken by hints, and looking by itself at every poll
/// interval, so that a lost hint delays work and never loses it.
pub(crate) async fn claim_loop(coordinator: Arc<ExecutionCoordinator>, stop: CancellationToken) {
    if !coordinator.config.dispatch || coordinator.config.max_running == 0 {
        return;
    }
    let poll = coordinator.config.poll;
    loop {
        let claimed = claim_once(&coordinator, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        let pause = match claimed {
            Ok(pause) => pause.min(poll),
            Err(error) => {
                warn!(%error, "due executions could not be claimed");
                poll
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = coordinator.due.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Claims what fits; answers when to look again. `stop` ends the wait for
/// room, but cuts off no claim: one that was cut off may have been committed,
/// or may not.
async fn claim_once(
    coordinator: &Arc<ExecutionCoordinator>,
    stop: &CancellationToken,
) -> Result<Duration, millrace_store::StoreError> {
    loop {
        // An engine and at least one slot, so that a claim never takes what it
        // cannot run.
        let first = async {
            coordinator.engine.ready().await;
            Arc::clone(&coordinator.slots).acquire_owned().await
        };
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(coordinator.config.poll),
            first = first => first,
        };
        let Ok(first) = first else {
            return Ok(coordinator.config.poll);
        };
        let mut slots = vec![first];
        while slots.len() < BATCH
            && let Ok(slot) = Arc::clone(&coordinator.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        let incarnation = coordinator.lease.current();
        let limit = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let claimed = coordinator.store.claim(incarnation.id, limit).await?;
        let full = claimed.len() == slots.len();
        if !claimed.is_empty() {
            metrics::claimed(claimed.len());
            debug!(executions = claimed.len(), "claimed due executions");
        }
        for (job, slot) in claimed.into_iter().zip(slots) {
            coordinator.start(job, incarnation.clone(), slot);
        }
        if !full {
            let due = coordinator.store.next_due().await?;
            return Ok(due.unwrap_or(coordinator.config.poll));
        }
    }
}
