//! Cancelling executions, wherever they are.
//!
//! The request is stored first, so that it outlives this process and the
//! owner. One that nobody owns is ended here. An owner in this process is told
//! at once; one elsewhere finds the request when it looks, twice a second.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_proto::Failure;
use millrace_store::{CancelRequested, EventRecord, ExecutionRecord, Outcome, StoreError};
use millrace_types::{ErrorKind, ExecutionId, ExecutionStatus, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::coordinator::ExecutionCoordinator;
use super::run::{end, ending};

/// How often an owner looks for requests that others have stored.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the answer waits for the end of what runs.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;

/// The error's type; it is none of the workflow language, in which nothing
/// can catch it.
const TYPE: &str = "urn:millrace:error:cancelled";

/// Why an execution was not cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelError {
    #[error("a reason has at most {MAX_REASON} bytes and no control characters")]
    Reason,
    #[error("there is no execution {0}")]
    NotFound(ExecutionId),
    #[error("execution {0} has ended: {1}")]
    Ended(ExecutionId, ExecutionStatus),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CancelError> for Failure {
    fn from(error: CancelError) -> Self {
        let message = error.to_string();
        match error {
            CancelError::Reason => crate::grpc::convert::invalid("reason", message),
            CancelError::NotFound(_) => Self::new(ErrorKind::NotFound, message),
            CancelError::Ended(..) => {
                Self::new(ErrorKind::Precondition, message).with_reason("ended")
            }
            CancelError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl ExecutionCoordinator {
    /// Cancels, and waits a little for the end. The answer may still be
    /// running: the request is stored then, and its owner will find it.
    pub(crate) async fn cancel(
        self: &Arc<Self>,
        id: ExecutionId,
        reason: &str,
    ) -> Result<ExecutionRecord, CancelError> {
        if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            return Err(CancelError::Reason);
        }
        let by = self.lease.current().id;
        let requested = self
            .store
            .request_cancel(id, by, reason)
            .await?
            .ok_or(CancelError::NotFound(id))?;
        match requested {
            CancelRequested::Ended(ExecutionStatus::Cancelled) => {}
            CancelRequested::Ended(status) => return Err(CancelError::Ended(id, status)),
            CancelRequested::Seized {
                epoch,
                next_event_seq,
                reason,
            } => {
                let (outcome, events) = outcome(next_event_seq, &reason);
                end(self, ending(self, id, by, epoch, outcome, events)).await;
            }
            CancelRequested::Asked { owner } => {
                if owner == Some(by) {
                    self.tell_to_cancel(id, None, reason);
                } else {
                    self.due.notify_one();
                }
                self.wait_for_end(id, END_WITHIN).await?;
            }
        }
        let record = self.store.execution(id).await?;
        let record = record.ok_or(CancelError::NotFound(id))?;
        // It may have come to its own end before the request reached it.
        if record.status.is_ended() && record.status != ExecutionStatus::Cancelled {
            return Err(CancelError::Ended(id, record.status));
        }
        Ok(record)
    }
}

/// Looks for requests that others have stored, until `stop`.
pub(crate) async fn cancel_loop(coordinator: Arc<ExecutionCoordinator>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if coordinator.is_idle() {
            continue;
        }
        let owner = coordinator.lease.current().id;
        match coordinator.store.cancel_requests(owner).await {
            Ok(requests) => {
                for request in requests {
                    coordinator.tell_to_cancel(request.id, Some(request.epoch), &request.reason);
                }
            }
            Err(error) => warn!(%error, "requests to cancel could not be looked for"),
        }
    }
}

/// The end of an execution that was cancelled.
pub(super) fn outcome(seq: u64, reason: &str) -> (Outcome, Vec<EventRecord>) {
    let error = serde_json::json!({
        "type": TYPE,
        "status": 499,
        "title": "Cancelled",
        "detail": reason,
        "instance": "",
    })
    .to_string();
    let event = EventRecord {
        seq,
        at: Timestamp::now(),
        kind: "executionCancelled".into(),
        task: String::new(),
        attempt: 0,
        detail: serde_json::json!({"reason": reason}).to_string(),
    };
    (Outcome::Cancelled(Bytes::from(error)), vec![event])
}
