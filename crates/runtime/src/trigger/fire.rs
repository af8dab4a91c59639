//! Firing: one request becomes one admitted execution.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_proto::Failure;
use millrace_store::{
    Admission, AdmissionRefused, Admitted, AnswerKey, Dedupe, ExecutionRecord, StoreError,
    TriggerRef, WriteRefused,
};
use millrace_types::{DeploymentId, ErrorKind, ExecutionId, TriggerId, TriggerKind};
use serde::de::IgnoredAny;

use super::webhook::answer::{Made, NoAnswer};
use super::webhook::delivery::{Delivery, DeliveryError, Target};
use super::{WebhookTriggerService, dedupe};
use crate::execution::ExecutionCoordinator;

/// Longest that a caller may wait for the end.
pub(crate) const MAX_WAIT: Duration = Duration::from_mins(5);

/// A request to start an execution, decoded.
#[derive(Debug)]
pub(crate) struct Fire {
    pub id: ExecutionId,
    pub deployment_id: DeploymentId,
    /// With the revision that the caller resolved.
    pub trigger: Option<(TriggerId, u64)>,
    /// JSON text; empty means `null`.
    pub input: String,
    pub dedupe_key: Option<String>,
    /// The whole delivery as JSON text; empty where nothing is evaluated
    /// over it.
    pub request: String,
    pub wait: Duration,
    pub traceparent: Option<String>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FireError {
    #[error("the input is not JSON: {0}")]
    Input(serde_json::Error),
    #[error("a dedupe key has 1 to 255 bytes and no control characters")]
    DedupeKey,
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error(transparent)]
    Refused(WriteRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FireError> for Failure {
    fn from(error: FireError) -> Self {
        let message = error.to_string();
        match error {
            FireError::Input(_) | FireError::DedupeKey => Self::new(ErrorKind::Invalid, message),
            FireError::Refused(WriteRefused::Admission(refused)) => {
                Self::new(refused.kind(), message).with_reason(reason(&refused))
            }
            FireError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
            FireError::Delivery(error) => error.into(),
            FireError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

/// Names the rule that refused an admission.
pub(crate) const fn reason(refused: &AdmissionRefused) -> &'static str {
    match refused {
        AdmissionRefused::DeploymentUnknown(_) => "",
        AdmissionRefused::DeploymentNotLive(..) => "not-live",
        AdmissionRefused::TriggerStale(_) => "stale-trigger",
        AdmissionRefused::TriggerDisabled(_) => "trigger-disabled",
        AdmissionRefused::KeyFailed(..) => "concurrency-key",
    }
}

/// An execution that is durable.
#[derive(Debug)]
pub(crate) struct Fired {
    pub admitted: Admitted,
    /// Set when it ended in time.
    pub ended: Option<Arc<ExecutionRecord>>,
    /// What the webhook's sender is answered, when it ended in time and the
    /// webhook's author says it.
    pub answer: Option<Result<Made, NoAnswer>>,
    /// The wait was cut short, as this process stops.
    pub stopping: bool,
}

/// Admits the execution, and waits for its end when asked to.
pub(crate) async fn fire(
    coordinator: &Arc<ExecutionCoordinator>,
    webhooks: &WebhookTriggerService,
    fire: Fire,
) -> Result<Fired, FireError> {
    let input = if fire.input.is_empty() {
        Bytes::from_static(b"null")
    } else {
        serde_json::from_str::<IgnoredAny>(&fire.input).map_err(FireError::Input)?;
        Bytes::from(fire.input)
    };
    if let Some(key) = &fire.dedupe_key
        && (key.is_empty() || key.len() > 255 || key.chars().any(char::is_control))
    {
        return Err(FireError::DedupeKey);
    }
    let delivery = match fire.trigger {
        Some((trigger_id, revision)) => {
            let target = Target {
                deployment_id: fire.deployment_id,
                trigger_id,
                revision,
            };
            let named = webhooks.deliver(target, fire.request, fire.dedupe_key);
            named.await?
        }
        None => Delivery::named(fire.dedupe_key),
    };
    let dedupe = delivery.name.as_deref().map(|name| Dedupe {
        key: dedupe::key(fire.trigger.as_ref().map(|(id, _)| id), name),
        keep: delivery.keep.unwrap_or(coordinator.config.dedupe_keep),
    });
    let kept_at = dedupe
        .as_ref()
        .filter(|_| delivery.sees_request())
        .map(|dedupe| dedupe.key.clone());
    let kind = if fire.trigger.is_some() {
        TriggerKind::Webhook
    } else {
        TriggerKind::Manual
    };
    let admission = Admission {
        id: fire.id,
        deployment_id: fire.deployment_id,
        trigger: TriggerRef {
            kind,
            id: fire.trigger,
        },
        input,
        dedupe,
        owner: None,
        traceparent: fire.traceparent,
        rerun_of: None,
    };
    let wait = fire.wait.min(MAX_WAIT);
    // Before the admission: the end may follow at once.
    let _place = (!wait.is_zero()).then(|| coordinator.waiters.enter(fire.id));
    let admitted = coordinator
        .admit(admission)
        .await
        .map_err(FireError::Refused)?;
    let begun = Instant::now();
    let ended = if wait.is_zero() {
        None
    } else {
        coordinator.wait_for_end(admitted.id, wait).await?
    };
    let answer = match (&ended, kept_at) {
        (Some(record), Some(key)) => {
            let key = AnswerKey {
                deployment_id: fire.deployment_id,
                key,
                execution_id: admitted.id,
            };
            first_answer(coordinator, delivery, record, &key).await?
        }
        (Some(record), None) => delivery.answer(record).await,
        (None, _) => None,
    };
    let stopping =
        ended.is_none() && begun.elapsed() < wait && coordinator.config.stop.is_cancelled();
    Ok(Fired {
        admitted,
        ended,
        answer,
        stopping,
    })
}

/// The answer to the first delivery of a message, for a repeat that brings
/// another request too; so is that none could be made.
async fn first_answer(
    coordinator: &ExecutionCoordinator,
    delivery: Delivery,
    ended: &ExecutionRecord,
    key: &AnswerKey,
) -> Result<Option<Result<Made, NoAnswer>>, StoreError> {
    let read = |kept: Option<Bytes>| {
        let made: Option<Made> = serde_json::from_slice(&kept?).ok()?;
        Some(made.ok_or(NoAnswer::Faulty))
    };
    let first = read(coordinator.store.first_answer(key, None).await?);
    if first.is_some() {
        return Ok(first);
    }
    let answer = delivery.answer(ended).await;
    let made = match &answer {
        Some(Ok(made)) => Some(made),
        Some(Err(NoAnswer::Faulty)) => None,
        Some(Err(NoAnswer::CutOff)) | None => return Ok(answer),
    };
    let json = serde_json::to_vec(&made).map_or_else(|_| Bytes::new(), Bytes::from);
    let kept = coordinator.store.first_answer(key, Some(json)).await?;
    Ok(read(kept).or(answer))
}
