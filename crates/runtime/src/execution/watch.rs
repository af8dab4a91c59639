//! Looking on while an execution goes its way, on whichever instance it does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use millrace_store::{EventRecord, ExecutionRecord, PageRequest, StoreError};
use millrace_types::ExecutionId;

use super::coordinator::ExecutionCoordinator;

/// How often to look for steps that were taken by other instances.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks without anything new after which the execution itself is read: it
/// may have ended without an event.
const LOOKS: u32 = 10;
/// Events read at once, and held for one who looks on at most.
const EVENTS: u32 = 100;

/// What one who looks on sees.
#[derive(Debug)]
pub(crate) enum Seen {
    Event(EventRecord),
    /// The last.
    Ended(Box<ExecutionRecord>),
}

struct Watch {
    coordinator: Arc<ExecutionCoordinator>,
    id: ExecutionId,
    after: u64,
    unseen: VecDeque<EventRecord>,
    /// Whether the execution is to be read: at the beginning, after an event
    /// that tells of an end, and now and then.
    look_at_execution: bool,
    looks: u32,
    over: bool,
}

/// Every event after `after`, as it is committed; last, once, the ended
/// execution. Reads only when it is asked for the next item, so that one who
/// does not read delays nobody. Ends early when the process stops or the
/// execution is gone.
pub(crate) fn watch(
    coordinator: Arc<ExecutionCoordinator>,
    id: ExecutionId,
    after: u64,
) -> impl Stream<Item = Result<Seen, StoreError>> + Send {
    let watch = Watch {
        coordinator,
        id,
        after,
        unseen: VecDeque::new(),
        look_at_execution: true,
        looks: 0,
        over: false,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let stop = watch.coordinator.config.stop.clone();
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            next = watch.next() => next,
        };
        next.map(|seen| (seen, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Seen, StoreError>> {
        if self.over {
            return None;
        }
        loop {
            if let Some(event) = self.unseen.pop_front() {
                self.after = event.seq;
                return Some(Ok(Seen::Event(event)));
            }
            match self.look().await {
                Ok(Some(Some(ended))) => {
                    self.over = true;
                    return Some(Ok(Seen::Ended(Box::new(ended))));
                }
                Ok(Some(None)) => {}
                Ok(None) => return None,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Fills the events, or waits for some; `Some(Some(…))` when all were seen
    /// and it has ended, `None` when it is gone.
    async fn look(&mut self) -> Result<Option<Option<ExecutionRecord>>, StoreError> {
        let coordinator = Arc::clone(&self.coordinator);
        // Entered before anything is read, so that no step is missed between
        // the look and the wait.
        let waiter = coordinator.watchers.enter(self.id);
        // The execution before its events: those of its end are then there.
        let mut ended = None;
        if self.look_at_execution {
            let Some(record) = coordinator.store.execution(self.id).await? else {
                return Ok(None);
            };
            ended = Some(record).filter(|record| record.status.is_ended());
        }
        let page = PageRequest {
            cursor: Some(self.after.to_string()),
            limit: EVENTS,
        };
        let Some(events) = coordinator.store.execution_events(self.id, &page).await? else {
            return Ok(None);
        };
        self.unseen.extend(events.items);
        if let Some(newest) = self.unseen.back() {
            // Kinds of the execution as a whole: its start, or an end.
            self.look_at_execution = newest.kind.starts_with("execution");
            self.looks = 0;
            return Ok(Some(None));
        }
        if ended.is_some() {
            return Ok(Some(ended));
        }
        self.looks += 1;
        self.look_at_execution = self.looks.is_multiple_of(LOOKS);
        tokio::select! {
            _ = waiter.woken() => {
                // Perhaps by an end without an event.
                self.look_at_execution = true;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        Ok(Some(None))
    }
}
