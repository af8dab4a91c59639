//! Events: who listens to them, and those that executions publish.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_types::{DeploymentId, ExecutionId, Timestamp, TriggerId};

use crate::{Gathered, Gathering, StoreError, TriggerRecord};

/// An enabled trigger of the type `event`, of a deployment that takes
/// triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventListener {
    pub deployment_id: DeploymentId,
    pub trigger: TriggerRecord,
}

/// What a live execution waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerRecord {
    /// The engine's own number; one that was cleared may come again.
    pub id: u64,
    /// Whether it takes one event only.
    pub once: bool,
    /// It takes an event that one of them likes.
    pub filters: Vec<ListenerFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFilter {
    /// At most 1,024 bytes; empty for events of any type.
    pub event_type: String,
    /// JSON text, which the store does not read.
    pub filter: Bytes,
}

/// A filter of a listener, found by the type of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub place: SubscriptionPlace,
    /// The checkpoint that set the listener.
    pub since: u64,
    pub filter: Bytes,
}

/// Where a subscription stands among those of one type of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionPlace {
    pub execution_id: ExecutionId,
    pub listener: u64,
    /// Among the listener's filters.
    pub position: u32,
}

/// An event for a listener that was found by it. The listener gets it unless
/// it is gone, or is another one by now, or had this event before, or takes
/// one event only and has it. Its execution is due at once if it waits; if it
/// runs, its next park leaves it due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub execution_id: ExecutionId,
    pub listener: u64,
    pub since: u64,
    /// What tells the event from all others; 255 bytes at most.
    pub key: String,
    /// JSON text.
    pub event: Bytes,
}

/// An event that came for a listener of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Grows in the order of arrival.
    pub number: u64,
    pub listener: u64,
    pub received_at: Timestamp,
    pub event: Bytes,
}

/// An event that an execution publishes. It is stored with the step that made
/// it, and stays until a [`Publication`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedEvent {
    /// Chosen by the writer, unique over all executions.
    pub id: String,
    /// W3C `traceparent` of the execution.
    pub traceparent: Option<String>,
    /// JSON text.
    pub event: Bytes,
}

/// Gives an emitted event to the listeners that it was found to be for, and
/// takes it away: what was published before is not delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Of the [`EmittedEvent`].
    pub id: String,
    pub deliveries: Vec<Delivery>,
}

/// Finds triggers and listeners by what they listen to, and events that are
/// left to be published. What an event starts are admissions like any other.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Those that listen to events of this type, or of any, behind `after`;
    /// `limit` at most, by id.
    async fn event_listeners(
        &self,
        event_type: &str,
        after: Option<TriggerId>,
        limit: u32,
    ) -> Result<Vec<EventListener>, StoreError>;

    /// Filters of live executions' listeners for events of this very type
    /// (those for events of any type under the empty one), behind `after`;
    /// `limit` at most, in the order of their places. What is registered when
    /// this is asked is found; see [`Delivery`] for what becomes of it
    /// meanwhile.
    async fn subscriptions(
        &self,
        event_type: &str,
        after: Option<SubscriptionPlace>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError>;

    /// Takes up emitted events that are older than this, were not published
    /// and are not held, the oldest first; `limit` at most. They are held from
    /// now on for as long as `hold` says: nobody else takes them up meanwhile.
    async fn unpublished(
        &self,
        older_than: Duration,
        hold: Duration,
        limit: u32,
    ) -> Result<Vec<EmittedEvent>, StoreError>;

    /// Takes an event in for a trigger that wants one for each of its filters,
    /// and starts what they start once all are there, in one transaction.
    async fn gather(&self, gathering: &Gathering) -> Result<Gathered, StoreError>;
}
