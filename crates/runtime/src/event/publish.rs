//! Publishing: events become admissions and deliveries to executions that
//! listen, all of them in one transaction.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_proto::{Failure, Finding};
use millrace_store::{
    Admission, AdmissionRefused, Dedupe, StoreError, TriggerRef, Write, WriteDone, WriteRefused,
};
use millrace_types::{ErrorKind, ExecutionId, TriggerKind};

use super::EventService;
use super::cloud_event::CloudEvent;
use super::matching::{Match, MatchError, matching};
use crate::execution::ExecutionCoordinator;
use crate::trigger::dedupe;

/// Events in one batch at most.
const MAX_EVENTS: usize = 100;

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
    #[error(transparent)]
    Match(MatchError),
    #[error("what listens is being changed by others; try again")]
    Moved,
    #[error("the store gave an answer to another question")]
    Mixed,
    #[error(transparent)]
    Refused(WriteRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<MatchError> for PublishError {
    fn from(error: MatchError) -> Self {
        match error {
            MatchError::Store(error) => Self::Store(error),
            other => Self::Match(other),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Faults(findings) => {
                Self::new(ErrorKind::Invalid, message).with_findings(findings)
            }
            PublishError::TooManyEvents => Self::new(ErrorKind::Invalid, message),
            PublishError::Match(MatchError::TooMany | MatchError::TooManyAsked(_)) => {
                Self::new(ErrorKind::Exhausted, message)
            }
            PublishError::Moved | PublishError::Match(_) => {
                Self::new(ErrorKind::Unavailable, message)
            }
            PublishError::Mixed => Self::new(ErrorKind::Internal, message),
            PublishError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
            PublishError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl EventService {
    /// Starts an execution for each trigger that listens, once for each
    /// (source, id), and wakes each execution that does. Answers those that
    /// were started, by event and trigger, and then those that have the event
    /// now; in both cases those too that a former publication of the same
    /// event has reached.
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
        let matches = matching(&self.coordinator, events).await?;
        if matches.starts.is_empty() && matches.deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let mut writes = admissions(&self.coordinator, matches.starts, traceparent);
        let woken: Vec<_> = matches.deliveries.iter().map(|d| d.execution_id).collect();
        let started = writes.len();
        writes.extend(matches.deliveries.into_iter().map(Write::Deliver));
        let mut outcomes = self.coordinator.store.commit(&writes).await?;
        self.coordinator.due.notify_one();
        let deliveries = outcomes.split_off(started);
        let mut ids = admitted(outcomes)?;
        for (id, outcome) in woken.into_iter().zip(deliveries) {
            match outcome {
                Ok(WriteDone::Delivered(has)) => {
                    if has && !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                Ok(_) => return Err(PublishError::Mixed),
                Err(refused) => return Err(PublishError::Refused(refused)),
            }
        }
        Ok(ids)
    }
}

/// What came of admissions that events ask for. [`PublishError::Moved`] when a
/// trigger has changed since it was matched.
pub(super) fn admitted(
    outcomes: Vec<Result<WriteDone, WriteRefused>>,
) -> Result<Vec<ExecutionId>, PublishError> {
    let mut ids = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        match outcome {
            Ok(WriteDone::Admitted(admitted)) => ids.push(admitted.id),
            Ok(_) => return Err(PublishError::Mixed),
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

/// What events start, as writes of one transaction.
pub(super) fn admissions(
    coordinator: &ExecutionCoordinator,
    starts: Vec<Match>,
    traceparent: Option<&str>,
) -> Vec<Write> {
    let keep = coordinator.config.dedupe_keep;
    starts
        .into_iter()
        .map(|found| Write::Admit(admission(found, keep, traceparent)))
        .collect()
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
    let Match {
        event,
        listener,
        as_array,
    } = found;
    let input = if as_array {
        format!("[{}]", event.text)
    } else {
        event.text.clone()
    };
    let trigger = listener.trigger;
    Admission {
        id: ExecutionId::new(),
        deployment_id: listener.deployment_id,
        trigger: TriggerRef {
            kind: TriggerKind::Event,
            id: Some((trigger.id, trigger.revision)),
        },
        input: Bytes::from(input),
        dedupe: Some(Dedupe {
            key: dedupe::of_event(&trigger.id, &event.source, &event.id),
            keep,
        }),
        owner: None,
        traceparent: traceparent.map(str::to_owned),
        rerun_of: None,
    }
}
