//! Who listens to events: triggers, which they start, and live executions,
//! which they wake.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use millrace_engine::value::from_serde;
use millrace_store::{Delivery, EventListener, StoreError, Subscription};
use serde_json::Value as Json;
use tokio::task::spawn_blocking;

use super::cloud_event::CloudEvent;
use super::filter::TriggerFilter;
use crate::deployment::digest;
use crate::execution::ExecutionCoordinator;

/// What one call may start, and what it may wake: it is one transaction.
pub(super) const MOST: usize = 1_000;

/// Listeners of live executions that are asked about one event at most.
const ASKED: usize = 50_000;

/// How many of them are read at once.
const PAGE: u32 = 500;

/// An event that a trigger listens to.
pub(super) struct Match {
    pub event: Arc<CloudEvent>,
    pub listener: EventListener,
    /// Whether it wants an array of the event.
    pub as_array: bool,
}

/// Who listens to some events, in the order of the events.
#[derive(Default)]
pub(super) struct Matches {
    pub starts: Vec<Match>,
    pub deliveries: Vec<Delivery>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MatchError {
    #[error("the events match more than {MOST} triggers, or more than {MOST} listeners, at once")]
    TooMany,
    #[error(
        "more than {ASKED} executions wait for events of the type `{0}`; they cannot all be asked"
    )]
    TooManyAsked(String),
    #[error("matching the events was cut off")]
    CutOff,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn matching(
    coordinator: &ExecutionCoordinator,
    events: &[Arc<CloudEvent>],
) -> Result<Matches, MatchError> {
    let mut matches = Matches::default();
    for event in events {
        triggers(coordinator, event, &mut matches.starts).await?;
        let mut asked = 0;
        // Those for events of any type come under the empty one.
        for kind in [&*event.kind, ""] {
            listeners(coordinator, event, kind, &mut asked, &mut matches).await?;
        }
    }
    Ok(matches)
}

async fn triggers(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    starts: &mut Vec<Match>,
) -> Result<(), MatchError> {
    let limit = u32::try_from(MOST + 1).unwrap_or(u32::MAX);
    let listeners = coordinator
        .store
        .event_listeners(&event.kind, limit)
        .await?;
    if listeners.len() > MOST {
        return Err(MatchError::TooMany);
    }
    let asked: Vec<(EventListener, Option<Arc<TriggerFilter>>)> = listeners
        .into_iter()
        .map(|listener| {
            let trigger = &listener.trigger;
            let filter = coordinator
                .filters
                .get(trigger.id, trigger.revision, &trigger.spec_json);
            (listener, filter)
        })
        .collect();
    let event = Arc::clone(event);
    // Aside: an expression may take long, and must not hold up others.
    let found = spawn_blocking(move || {
        asked
            .into_iter()
            .filter_map(|(listener, filter)| {
                let filter = filter.filter(|filter| filter.matches(&event))?;
                Some(Match {
                    event: Arc::clone(&event),
                    listener,
                    as_array: filter.as_array,
                })
            })
            .collect::<Vec<_>>()
    });
    starts.extend(found.await.map_err(|_| MatchError::CutOff)?);
    if starts.len() > MOST {
        return Err(MatchError::TooMany);
    }
    Ok(())
}

/// Goes through the listeners for one type of events, page by page.
async fn listeners(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    kind: &str,
    asked: &mut usize,
    matches: &mut Matches,
) -> Result<(), MatchError> {
    let key = digest::parts(&[&event.source, &event.id]);
    let text = Bytes::from(event.text.clone());
    let mut whole = None;
    let mut after = None;
    let mut found = HashSet::new();
    loop {
        let page = coordinator.store.subscriptions(kind, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.place);
        *asked += page.len();
        if *asked > ASKED {
            return Err(MatchError::TooManyAsked(event.kind.clone()));
        }
        let is_last = page.len() < PAGE as usize;
        let value = whole.get_or_insert_with(|| {
            let members = Json::Object(event.members.clone());
            Arc::new(from_serde(&members))
        });
        let (value, event) = (Arc::clone(value), Arc::clone(event));
        let expressions = Arc::clone(&coordinator.expressions);
        let likes = move |one: &Subscription| expressions.likes(&one.filter, &event, &value);
        let liked = spawn_blocking(move || page.into_iter().filter(likes).collect::<Vec<_>>());
        for one in liked.await.map_err(|_| MatchError::CutOff)? {
            let place = one.place;
            // Once, whichever of its filters like it.
            if found.insert((place.execution_id, place.listener)) {
                matches.deliveries.push(Delivery {
                    execution_id: place.execution_id,
                    listener: place.listener,
                    since: one.since,
                    key: key.clone(),
                    event: text.clone(),
                });
            }
        }
        if matches.deliveries.len() > MOST {
            return Err(MatchError::TooMany);
        }
        if is_last {
            break;
        }
    }
    Ok(())
}
