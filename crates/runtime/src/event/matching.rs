//! Who listens to an event: triggers, which it starts, and live executions,
//! which it wakes. Both are gone through page by page, however many there are.

use std::sync::Arc;

use millrace_engine::value::{Value, from_serde};
use millrace_store::{Delivery, EventListener, StoreError, Subscription, SubscriptionPlace};
use millrace_types::TriggerId;
use serde_json::Value as Json;
use tokio::task::spawn_blocking;

use super::cloud_event::CloudEvent;
use super::filter::{Fits, TriggerFilter};
use crate::deployment::digest;
use crate::execution::ExecutionCoordinator;

/// How many are read at once.
const PAGE: u32 = 500;

/// A trigger that an event starts.
pub(super) struct Match {
    pub listener: EventListener,
    /// Whether it wants an array of the event.
    pub as_array: bool,
    pub fits: Fits,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MatchError {
    #[error("matching the event was cut off")]
    CutOff,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Goes through the triggers that an event may start.
pub(super) struct Triggers<'a> {
    coordinator: &'a ExecutionCoordinator,
    event: Arc<CloudEvent>,
    after: Option<TriggerId>,
    is_last: bool,
}

impl<'a> Triggers<'a> {
    pub fn of(coordinator: &'a ExecutionCoordinator, event: &Arc<CloudEvent>) -> Self {
        Self {
            coordinator,
            event: Arc::clone(event),
            after: None,
            is_last: false,
        }
    }

    /// Those of the next page that like the event, perhaps none; `None` when
    /// all have been asked.
    pub async fn next(&mut self) -> Result<Option<Vec<Match>>, MatchError> {
        if self.is_last {
            return Ok(None);
        }
        let store = &self.coordinator.store;
        let page = store
            .event_listeners(&self.event.kind, self.after, PAGE)
            .await?;
        self.is_last = page.len() < PAGE as usize;
        self.after = page.last().map(|last| last.trigger.id);
        let filters = &self.coordinator.filters;
        let asked: Vec<(EventListener, Option<Arc<TriggerFilter>>)> = page
            .into_iter()
            .map(|listener| {
                let trigger = &listener.trigger;
                let filter = filters.get(trigger.id, trigger.revision, &trigger.spec_json);
                (listener, filter)
            })
            .collect();
        let event = Arc::clone(&self.event);
        // Aside: an expression may take long, and must not hold up others.
        let found = spawn_blocking(move || {
            let liked = asked.into_iter().filter_map(|(listener, filter)| {
                let filter = filter?;
                Some(Match {
                    listener,
                    as_array: filter.as_array,
                    fits: filter.fits(&event)?,
                })
            });
            liked.collect()
        });
        Ok(Some(found.await.map_err(|_| MatchError::CutOff)?))
    }
}

/// Goes through the listeners of live executions.
pub(super) struct Hearers<'a> {
    coordinator: &'a ExecutionCoordinator,
    event: Arc<CloudEvent>,
    /// What tells the event from others.
    key: String,
    /// The event as expressions see it, once one is asked.
    whole: Option<Arc<Value>>,
    /// The types that are still to be gone through. Those who listen to events
    /// of any type come under the empty one.
    kinds: Vec<String>,
    after: Option<SubscriptionPlace>,
}

impl<'a> Hearers<'a> {
    pub fn of(coordinator: &'a ExecutionCoordinator, event: &Arc<CloudEvent>) -> Self {
        Self {
            coordinator,
            event: Arc::clone(event),
            key: digest::parts(&[&event.source, &event.id]),
            whole: None,
            kinds: vec![String::new(), event.kind.clone()],
            after: None,
        }
    }

    /// What those of the next page get that like the event, perhaps nothing;
    /// `None` when all have been asked. A listener may come up twice, for two
    /// of its filters; it takes the event once.
    pub async fn next(&mut self) -> Result<Option<Vec<Delivery>>, MatchError> {
        let Some(kind) = self.kinds.last() else {
            return Ok(None);
        };
        let store = &self.coordinator.store;
        let page = store.subscriptions(kind, self.after, PAGE).await?;
        self.after = page.last().map(|last| last.place);
        if page.len() < PAGE as usize {
            self.kinds.pop();
            self.after = None;
        }
        if page.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let members = &self.event.members;
        let whole = self
            .whole
            .get_or_insert_with(|| Arc::new(from_serde(&Json::Object(members.clone()))));
        let (whole, event) = (Arc::clone(whole), Arc::clone(&self.event));
        let expressions = Arc::clone(&self.coordinator.expressions);
        let likes = move |one: &Subscription| expressions.likes(&one.filter, &event, &whole);
        let liked = spawn_blocking(move || page.into_iter().filter(likes).collect::<Vec<_>>());
        let liked = liked.await.map_err(|_| MatchError::CutOff)?;
        let deliveries = liked.into_iter().map(|one| Delivery {
            execution_id: one.place.execution_id,
            listener: one.place.listener,
            since: one.since,
            key: self.key.clone(),
            event: self.event.text.clone(),
        });
        Ok(Some(deliveries.collect()))
    }
}
