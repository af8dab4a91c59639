//! What executions publish themselves.
//!
//! A step stores the events that it brings; only then are they published: what
//! they start is admitted, known again by (trigger, source, id), and then one
//! transaction takes an event away and gives it to the executions that listen.
//! Cut off in between, any instance goes on with what is left.

use std::sync::Arc;
use std::time::Duration;

use millrace_store::{EmittedEvent, Publication, Write, WriteRefused};
use tracing::{error, warn};

use super::cloud_event::CloudEvent;
use super::matching::{MatchError, matching};
use super::publish::{PublishError, admissions, admitted};
use crate::execution::ExecutionCoordinator;

/// How often an event is tried again at once: triggers may have changed while
/// it was matched.
const ATTEMPTS: u32 = 5;

/// What is older was left by an instance that died, or could not reach the
/// database.
const LEFT_AFTER: Duration = Duration::from_secs(3);

/// Events that are taken up at once.
const LEFT: u32 = 100;

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmitError {
    /// It never can be.
    #[error("{0}")]
    Refused(String),
    /// Not now.
    #[error("{0}")]
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

/// Checks an event that an engine wants published.
pub(crate) fn check(text: &str) -> Result<(), String> {
    match CloudEvent::read(text.to_owned(), "") {
        Ok(_) => Ok(()),
        Err(faults) => {
            let faults = faults.iter();
            let faults = faults.map(|fault| format!("{}: {}", fault.pointer, fault.message));
            Err(faults.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Publishes events that are stored, in their order. What cannot be published
/// now stays for [`publish_left`].
pub(crate) async fn publish(coordinator: &ExecutionCoordinator, events: Vec<EmittedEvent>) {
    for event in events {
        let id = event.id.clone();
        match with_attempts(coordinator, event).await {
            Ok(()) => {}
            Err(EmitError::Unavailable(why)) => {
                warn!("event {id} is published later: {why}");
                return;
            }
            Err(EmitError::Refused(why)) => {
                error!("event {id} cannot be published, and is dropped: {why}");
                let deliveries = Vec::new();
                let drop = Write::Publish(Publication { id, deliveries });
                // Else it is tried again, and dropped then.
                let _ = coordinator.store.commit(&[drop]).await;
            }
        }
    }
}

/// Publishes what others have left.
pub(crate) async fn publish_left(coordinator: &ExecutionCoordinator) {
    match coordinator.store.unpublished(LEFT_AFTER, LEFT).await {
        Ok(left) => publish(coordinator, left).await,
        Err(error) => warn!(%error, "events that are left cannot be looked up"),
    }
}

async fn with_attempts(
    coordinator: &ExecutionCoordinator,
    event: EmittedEvent,
) -> Result<(), EmitError> {
    let text = String::from_utf8(event.event.to_vec())
        .map_err(|_| EmitError::Refused("it is not UTF-8".into()))?;
    let read = CloudEvent::read(text, "")
        .map_err(|faults| EmitError::Refused(format!("it has {} fault(s)", faults.len())))?;
    let read = [Arc::new(read)];
    let mut left = ATTEMPTS;
    let mut pause = Duration::from_millis(10);
    loop {
        left -= 1;
        match attempt(coordinator, &event, &read).await {
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
    event: &EmittedEvent,
    read: &[Arc<CloudEvent>],
) -> Result<(), EmitError> {
    let matches = matching(coordinator, read)
        .await
        .map_err(PublishError::from)?;
    let starts = admissions(coordinator, matches.starts, event.traceparent.as_deref());
    if !starts.is_empty() {
        let outcomes = coordinator.store.commit(&starts).await;
        admitted(outcomes.map_err(PublishError::from)?)?;
    }
    let publication = Write::Publish(Publication {
        id: event.id.clone(),
        deliveries: matches.deliveries,
    });
    let outcomes = coordinator.store.commit(&[publication]).await;
    for outcome in outcomes.map_err(PublishError::from)? {
        outcome.map_err(PublishError::Refused)?;
    }
    coordinator.due.notify_one();
    Ok(())
}
