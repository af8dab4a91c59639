//! What executions publish themselves.
//!
//! A step stores the events that it brings; only then are they published: what
//! they start is admitted, known again by (trigger, source, id), and then the
//! transaction that gives an event to the last who listen takes it away. Cut
//! off in between, any instance goes on with what is left.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_store::{Delivery, EmittedEvent, Publication, Write};
use tracing::{error, warn};

use super::cloud_event::CloudEvent;
use super::fan_out::{self, FanOutError};
use crate::execution::ExecutionCoordinator;

/// How often an event is tried again at once: triggers may have changed while
/// it was matched.
const ATTEMPTS: u32 = 5;

/// What is older was left by an instance that died, or could not publish it.
const LEFT_AFTER: Duration = Duration::from_secs(3);

/// Events that are taken up at once, and for how long nobody else takes them
/// up: those that fail wait for that long.
const LEFT: u32 = 100;
const HOLD: Duration = Duration::from_secs(30);

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
        if let Err(why) = with_attempts(coordinator, event).await {
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

async fn with_attempts(
    coordinator: &ExecutionCoordinator,
    event: EmittedEvent,
) -> Result<(), FanOutError> {
    let read = match read(&event) {
        Ok(read) => Arc::new(read),
        Err(why) => {
            // It was checked before it was stored. Nobody could ever read it.
            error!("event {} is no event, and is dropped: {why}", event.id);
            return take_away(coordinator, event.id, Vec::new()).await;
        }
    };
    let mut left = ATTEMPTS;
    let mut pause = Duration::from_millis(10);
    loop {
        left -= 1;
        match attempt(coordinator, &event, &read).await {
            Err(_) if left > 0 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
}

fn read(event: &EmittedEvent) -> Result<CloudEvent, String> {
    let text = String::from_utf8(event.event.to_vec()).map_err(|error| error.to_string())?;
    CloudEvent::read(text, "").map_err(|faults| format!("it has {} fault(s)", faults.len()))
}

async fn attempt(
    coordinator: &ExecutionCoordinator,
    event: &EmittedEvent,
    read: &Arc<CloudEvent>,
) -> Result<(), FanOutError> {
    let mut reached = Vec::new();
    let traceparent = event.traceparent.as_deref();
    fan_out::start(coordinator, read, traceparent, &mut reached).await?;
    let last = fan_out::wake(coordinator, read, &mut reached).await?;
    take_away(coordinator, event.id.clone(), last).await
}

/// Gives the event to the last who listen, and takes it away.
async fn take_away(
    coordinator: &ExecutionCoordinator,
    id: String,
    deliveries: Vec<Delivery>,
) -> Result<(), FanOutError> {
    let publication = Write::Publish(Publication { id, deliveries });
    coordinator.writes.submit(publication).await?;
    coordinator.due.notify_one();
    Ok(())
}
