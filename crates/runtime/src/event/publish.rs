//! Publishing events that come from outside.

use std::collections::HashSet;
use std::sync::Arc;

use millrace_proto::{Failure, Finding};
use millrace_types::{ErrorKind, ExecutionId};

use super::EventService;
use super::cloud_event::CloudEvent;
use super::fan_out::{self, FanOutError, Reached};
use super::matching::MatchError;

/// Events in one batch at most.
const MAX_EVENTS: usize = 100;

/// Why not everything was published. What has been is known again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("the events have {} fault(s); nothing was published", .0.len())]
    Faults(Vec<Finding>),
    #[error("a batch has at most {MAX_EVENTS} events")]
    TooManyEvents,
    #[error(transparent)]
    FanOut(#[from] FanOutError),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        let error = match error {
            PublishError::Faults(findings) => {
                return Self::new(ErrorKind::Invalid, message).with_findings(findings);
            }
            PublishError::TooManyEvents => return Self::new(ErrorKind::Invalid, message),
            PublishError::FanOut(error) => error,
        };
        match error {
            FanOutError::Moved | FanOutError::Match(MatchError::CutOff) => {
                Self::new(ErrorKind::Unavailable, message)
            }
            FanOutError::Match(MatchError::Store(error)) => {
                crate::grpc::convert::store_failure(&error)
            }
            FanOutError::Mixed => Self::new(ErrorKind::Internal, message),
            FanOutError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
        }
    }
}

impl EventService {
    /// Starts an execution for each trigger that listens, once for each
    /// (source, id), and wakes each execution that does. Answers those that
    /// were started, by event and trigger, and then those that have an event
    /// now; in both cases those too that a former publication of the same
    /// event has reached. When it fails, a part may have been done, and a
    /// repeat does the rest.
    pub(crate) async fn publish(
        &self,
        events: Vec<(String, String)>,
        traceparent: Option<String>,
    ) -> Result<Vec<ExecutionId>, PublishError> {
        let mut reached = Reached::default();
        for event in read(events)? {
            let traceparent = traceparent.as_deref();
            let last = fan_out::reach(&self.coordinator, &event, traceparent, &mut reached).await?;
            fan_out::deliver(&self.coordinator, last, &mut reached.woken).await?;
        }
        let Reached { mut started, woken } = reached;
        started.extend(woken);
        let mut seen = HashSet::new();
        started.retain(|id| seen.insert(*id));
        Ok(started)
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
