//! What executions publish themselves.
//!
//! The step that brings an event is one transaction with its deliveries to
//! executions that listen. What it starts is admitted before: should the step
//! not come about after all, the execution comes by again, with the same id of
//! the event, and that admission is known.

use std::sync::Arc;
use std::time::Duration;

use millrace_store::{Delivery, WriteRefused};

use super::cloud_event::CloudEvent;
use super::matching::{MatchError, matching};
use super::publish::{PublishError, admissions, admitted};
use crate::execution::ExecutionCoordinator;

/// How often triggers are looked for again when some changed meanwhile.
const ATTEMPTS: u32 = 5;

/// Why what an execution publishes cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmitError {
    /// Never: the execution cannot go on.
    #[error("an event cannot be published: {0}")]
    Refused(String),
    /// Not now.
    #[error("events cannot be published now: {0}")]
    Unavailable(String),
}

impl From<PublishError> for EmitError {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Store(error) if error.is_transient() => Self::Unavailable(message),
            PublishError::Moved
            | PublishError::Match(MatchError::CutOff)
            | PublishError::Refused(WriteRefused::Unavailable(_)) => Self::Unavailable(message),
            _ => Self::Refused(message),
        }
    }
}

/// Starts what listens to these events, and answers what is to be delivered
/// with the step that brings them.
pub(crate) async fn publish(
    coordinator: &ExecutionCoordinator,
    events: Vec<String>,
    traceparent: Option<&str>,
) -> Result<Vec<Delivery>, EmitError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut read = Vec::with_capacity(events.len());
    for text in events {
        let event = CloudEvent::read(text, "").map_err(|faults| {
            let faults = faults.iter();
            let faults = faults.map(|fault| format!("{}: {}", fault.pointer, fault.message));
            EmitError::Refused(faults.collect::<Vec<_>>().join("; "))
        })?;
        read.push(Arc::new(event));
    }
    let mut left = ATTEMPTS;
    let mut pause = Duration::from_millis(10);
    loop {
        left -= 1;
        match attempt(coordinator, &read, traceparent).await {
            Err(EmitError::Unavailable(_)) if left > 0 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
}

async fn attempt(
    coordinator: &ExecutionCoordinator,
    events: &[Arc<CloudEvent>],
    traceparent: Option<&str>,
) -> Result<Vec<Delivery>, EmitError> {
    let matches = matching(coordinator, events)
        .await
        .map_err(PublishError::from)?;
    let writes = admissions(coordinator, matches.starts, traceparent);
    if !writes.is_empty() {
        let outcomes = coordinator.store.commit(&writes).await;
        admitted(outcomes.map_err(PublishError::from)?)?;
        coordinator.due.notify_one();
    }
    Ok(matches.deliveries)
}
