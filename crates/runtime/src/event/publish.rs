//! Publishing: events become admissions, all of them in one transaction.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_proto::{Failure, Finding};
use millrace_store::{
    Admission, AdmissionRefused, Dedupe, EventListener, StoreError, TriggerRef, Write, WriteDone,
    WriteRefused,
};
use millrace_types::{ErrorKind, ExecutionId, TriggerKind};
use tokio::task::spawn_blocking;

use super::EventService;
use super::cloud_event::CloudEvent;
use super::filter::Filter;
use crate::trigger::dedupe;

/// Events in one batch at most.
const MAX_EVENTS: usize = 100;

/// What one call may start: it is one transaction.
const MAX_STARTS: usize = 1_000;

/// How often listeners are looked for again when some changed meanwhile, or
/// when the database was not there.
const ATTEMPTS: u32 = 5;

/// Why nothing was published. What has been, by an attempt whose answer was
/// lost, is known again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the events have {} fault(s); nothing was published", .0.len())]
    Faults(Vec<Finding>),
    #[error("a batch has at most {MAX_EVENTS} events")]
    TooManyEvents,
    #[error("the events match more than {MAX_STARTS} triggers at once")]
    TooManyStarts,
    #[error("what listens is being changed by others; try again")]
    Moved,
    #[error("matching the events was cut off")]
    CutOff,
    #[error(transparent)]
    Refused(WriteRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Faults(findings) => {
                Self::new(ErrorKind::Invalid, message).with_findings(findings)
            }
            PublishError::TooManyEvents => Self::new(ErrorKind::Invalid, message),
            PublishError::TooManyStarts => Self::new(ErrorKind::Exhausted, message),
            PublishError::Moved | PublishError::CutOff => {
                Self::new(ErrorKind::Unavailable, message)
            }
            PublishError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
            PublishError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

/// An event that a trigger listens to.
struct Match {
    event: Arc<CloudEvent>,
    listener: EventListener,
}

impl EventService {
    /// Starts an execution for each trigger that listens, once for each
    /// (source, id). Answers the executions by event and trigger, those too
    /// that a former publication of the same event has started.
    pub(crate) async fn publish(
        &self,
        events: Vec<(String, String)>,
        traceparent: Option<String>,
    ) -> Result<Vec<ExecutionId>, PublishError> {
        let events = read(events)?;
        let mut pause = Duration::from_millis(10);
        for attempt in 1..=ATTEMPTS {
            match self.attempt(&events, traceparent.as_deref()).await {
                Err(PublishError::Moved) if attempt < ATTEMPTS => {}
                Err(PublishError::Store(error)) if error.is_transient() && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        Err(PublishError::Moved)
    }

    async fn attempt(
        &self,
        events: &[Arc<CloudEvent>],
        traceparent: Option<&str>,
    ) -> Result<Vec<ExecutionId>, PublishError> {
        let matches = self.matching(events).await?;
        if matches.is_empty() {
            return Ok(Vec::new());
        }
        let keep = self.coordinator.config.dedupe_keep;
        let writes: Vec<_> = matches
            .into_iter()
            .map(|found| Write::Admit(admission(found, keep, traceparent)))
            .collect();
        let outcomes = self.coordinator.store.commit(&writes).await?;
        self.coordinator.due.notify_one();
        let mut ids = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome {
                Ok(WriteDone::Admitted(admitted)) => ids.push(admitted.id),
                Ok(_) => return Err(PublishError::CutOff),
                Err(WriteRefused::Admission(refused)) => match refused {
                    // What has been admitted is known again.
                    AdmissionRefused::TriggerStale(_) => return Err(PublishError::Moved),
                    AdmissionRefused::KeyFailed(deployment, why) => {
                        // The author's to mend, and no matter of the sender's.
                        tracing::warn!(
                            deployment.id = %deployment,
                            "an event starts nothing in deployment {deployment}: \
                             its concurrency key cannot be evaluated: {why}"
                        );
                    }
                    // It listens no more.
                    AdmissionRefused::DeploymentUnknown(_)
                    | AdmissionRefused::DeploymentNotLive(..)
                    | AdmissionRefused::TriggerDisabled(_) => {}
                },
                Err(refused) => return Err(PublishError::Refused(refused)),
            }
        }
        Ok(ids)
    }

    /// Who listens to which event, in the order of the events.
    async fn matching(&self, events: &[Arc<CloudEvent>]) -> Result<Vec<Match>, PublishError> {
        let mut matches = Vec::new();
        for event in events {
            let limit = u32::try_from(MAX_STARTS + 1).unwrap_or(u32::MAX);
            let listeners = self
                .coordinator
                .store
                .event_listeners(&event.kind, limit)
                .await?;
            if listeners.len() > MAX_STARTS {
                return Err(PublishError::TooManyStarts);
            }
            let asked: Vec<(EventListener, Option<Arc<Filter>>)> = listeners
                .into_iter()
                .map(|listener| {
                    let trigger = &listener.trigger;
                    let filter = self
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
                    .filter(|(_, filter)| filter.as_ref().is_some_and(|f| f.matches(&event)))
                    .map(|(listener, _)| Match {
                        event: Arc::clone(&event),
                        listener,
                    })
                    .collect::<Vec<_>>()
            });
            matches.extend(found.await.map_err(|_| PublishError::CutOff)?);
            if matches.len() > MAX_STARTS {
                return Err(PublishError::TooManyStarts);
            }
        }
        Ok(matches)
    }
}

fn read(events: Vec<(String, String)>) -> Result<Vec<Arc<CloudEvent>>, PublishError> {
    if events.len() > MAX_EVENTS {
        return Err(PublishError::TooManyEvents);
    }
    let mut read = Vec::with_capacity(events.len());
    let mut faults = Vec::new();
    for (pointer, text) in events {
        match CloudEvent::read(text, &pointer) {
            Ok(event) => read.push(Arc::new(event)),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() {
        Ok(read)
    } else {
        Err(PublishError::Faults(faults))
    }
}

fn admission(found: Match, keep: Duration, traceparent: Option<&str>) -> Admission {
    let Match { event, listener } = found;
    let trigger = listener.trigger;
    Admission {
        id: ExecutionId::new(),
        deployment_id: listener.deployment_id,
        trigger: TriggerRef {
            kind: TriggerKind::Event,
            id: Some((trigger.id, trigger.revision)),
        },
        input: Bytes::from(event.text.clone()),
        dedupe: Some(Dedupe {
            key: dedupe::of_event(&trigger.id, &event.source, &event.id),
            keep,
        }),
        owner: None,
        traceparent: traceparent.map(str::to_owned),
        rerun_of: None,
    }
}
