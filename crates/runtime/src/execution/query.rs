//! Reading executions, and waiting for their end.

use std::sync::Arc;
use std::time::Duration;

use millrace_store::{ExecutionRecord, StoreError};
use millrace_types::ExecutionId;
use tokio::time::Instant;

use super::coordinator::ExecutionCoordinator;

impl ExecutionCoordinator {
    /// Waits until the execution has ended, `within` at most, and no longer
    /// once the process stops. `None` when it has not, or does not exist.
    pub(crate) async fn wait_for_end(
        &self,
        id: ExecutionId,
        within: Duration,
    ) -> Result<Option<Arc<ExecutionRecord>>, StoreError> {
        // Ends in other processes give no hint here.
        const LOOK_EVERY: Duration = Duration::from_millis(250);
        let deadline = Instant::now() + within;
        let waiter = self.waiters.enter(id);
        // Most executions are short, and their end wakes us before the first
        // look; one that runs here wakes us all the same, unless it is taken over.
        let first = if self.runs_here(id) {
            LOOK_EVERY
        } else {
            Duration::from_millis(50)
        };
        let mut look_at = Instant::now() + first;
        loop {
            let stops = tokio::select! {
                ended = waiter.woken() => {
                    if ended.is_some() {
                        return Ok(ended);
                    }
                    false
                }
                () = tokio::time::sleep_until(look_at.min(deadline)) => false,
                () = self.config.stop.cancelled() => true,
            };
            let record = self.store.execution(id).await?;
            match record {
                Some(record) if record.status.is_ended() => return Ok(Some(Arc::new(record))),
                None => return Ok(None),
                Some(_) if stops || Instant::now() >= deadline => return Ok(None),
                Some(_) => look_at = Instant::now() + LOOK_EVERY,
            }
        }
    }
}
