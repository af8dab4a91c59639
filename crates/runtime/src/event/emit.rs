//! What executions publish themselves.
//!
//! A step stores the events that it brings; only then are they published: what
//! they start is admitted, known again by (trigger, source, id), and then the
//! transaction that gives an event to the last who listen takes it away. Cut
//! off in between, any instance goes on with what is left.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_store::{EmittedEvent, Publication, Write};
use tracing::{error, warn};

use super::cloud_event::CloudEvent;
use super::fan_out::{self, FanOutError, Reached};
use crate::execution::ExecutionCoordinator;

/// What is older was left by an instance that died, or could not publish it.
const LEFT_AFTER: Duration = Duration::from_secs(3);

/// Events that are taken up at once, and for how long nobody else takes them
/// up: those that fail wait for that long.
const LEFT: u32 = 100;
const HOLD: Duration = Duration::from_secs(30);

/// Reads an event that an engine made; its faults as one text.
pub(crate) fn read(text: &Bytes) -> Result<CloudEvent, String> {
    CloudEvent::read(text.clone(), "").map_err(|faults| {
        let faults = faults.iter();
        let faults = faults.map(|fault| format!("{}: {}", fault.pointer, fault.message));
        faults.collect::<Vec<_>>().join("; ")
    })
}

/// Publishes events that are stored, those of one execution in their order.
/// What cannot be published now stays for [`publish_left`].
pub(crate) async fn publish(coordinator: &ExecutionCoordinator, events: Vec<EmittedEvent>) {
    let mut waiting = HashSet::new();
    for event in events {
        let sender = sender(&event.id).to_owned();
        if waiting.contains(&sender) {
            continue;
        }
        let id = event.id.clone();
        if let Err(why) = publish_one(coordinator, event).await {
            warn!("event {id} is published later: {why}");
            waiting.insert(sender);
        }
    }
}

/// Publishes what others have left.
pub(crate) async fn publish_left(coordinator: &ExecutionCoordinator) {
    let left = coordinator.store.unpublished(LEFT_AFTER, HOLD, LEFT);
    match left.await {
        Ok(left) => publish(coordinator, left).await,
        Err(error) => warn!(%error, "events that are left cannot be looked up"),
    }
}

/// The execution that an event is of: the first part of its name.
fn sender(id: &str) -> &str {
    id.split('-').next().unwrap_or(id)
}

async fn publish_one(
    coordinator: &ExecutionCoordinator,
    event: EmittedEvent,
) -> Result<(), FanOutError> {
    let deliveries = match read(&event.event) {
        Ok(read) => {
            let traceparent = event.traceparent.as_deref();
            let mut reached = Reached::default();
            fan_out::reach(coordinator, &Arc::new(read), traceparent, &mut reached).await?
        }
        Err(why) => {
            // It was checked before it was stored. Nobody could ever read it.
            error!("event {} is no event, and is dropped: {why}", event.id);
            Vec::new()
        }
    };
    // The last who listen get it, and it is taken away.
    let id = event.id;
    let publication = Write::Publish(Publication { id, deliveries });
    coordinator.writes.submit(publication).await?;
    coordinator.due.notify_one();
    Ok(())
}
