//! The end of an engine: no new conversations, time for those under way, and
//! the rest handed back as far as it is stored.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tracing::info;

/// How long conversations may take to notice that they are over. They do at
/// their next suspension.
const NOTICE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Drain {
    refusing: CancellationToken,
    over: CancellationToken,
    running: TaskTracker,
}

impl Drain {
    /// One more conversation, which lasts as long as the token; refused once
    /// the engine stops.
    pub fn admit(&self) -> Result<TaskTrackerToken, Status> {
        // Counted first: whoever drains after this waits for it.
        let token = self.running.token();
        if self.refusing.is_cancelled() {
            return Err(stopping());
        }
        Ok(token)
    }

    /// Returns when what is left of a conversation is to be handed back.
    pub async fn over(&self) -> Status {
        self.over.cancelled().await;
        stopping()
    }

    pub async fn run(&self, within: Duration) {
        self.refusing.cancel();
        self.running.close();
        let left = self.running.len();
        if left > 0 {
            info!(
                executions = left,
                "waiting for {left} executions, {within:?} at most"
            );
        }
        if tokio::time::timeout(within, self.running.wait())
            .await
            .is_ok()
        {
            info!("no execution is left here");
            return;
        }
        let left = self.running.len();
        self.over.cancel();
        info!(
            executions = left,
            "handing {left} executions back as far as they are stored"
        );
        let _ = tokio::time::timeout(NOTICE, self.running.wait()).await;
    }
}

/// Another engine takes the execution from its last checkpoint.
fn stopping() -> Status {
    Status::unavailable("this engine is stopping")
}
