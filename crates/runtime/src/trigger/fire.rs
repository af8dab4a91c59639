//! Firing: one request becomes one admitted execution.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_proto::Failure;
use millrace_store::{
    Admission, AdmissionRefused, Admitted, Dedupe, ExecutionRecord, StoreError, TriggerRef,
    WriteRefused,
};
use millrace_types::{DeploymentId, ErrorKind, ExecutionId, TriggerId, TriggerKind};
use serde::de::IgnoredAny;

use super::dedupe;
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
                let reason = match refused {
                    AdmissionRefused::DeploymentUnknown(_) => "",
                    AdmissionRefused::DeploymentNotLive(..) => "not-live",
                    AdmissionRefused::TriggerStale(_) => "stale-trigger",
                    AdmissionRefused::TriggerDisabled(_) => "trigger-disabled",
                };
                Self::new(refused.kind(), message).with_reason(reason)
            }
            FireError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
            FireError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

/// Admits the execution, and waits for its end when asked to. The record is
/// there when it ended in time.
pub(crate) async fn fire(
    coordinator: &Arc<ExecutionCoordinator>,
    fire: Fire,
) -> Result<(Admitted, Option<ExecutionRecord>), FireError> {
    let input = if fire.input.is_empty() {
        Bytes::from_static(b"null")
    } else {
        serde_json::from_str::<IgnoredAny>(&fire.input).map_err(FireError::Input)?;
        Bytes::from(fire.input)
    };
    let dedupe = match fire.dedupe_key {
        Some(key) if key.is_empty() || key.len() > 255 || key.chars().any(char::is_control) => {
            return Err(FireError::DedupeKey);
        }
        Some(key) => Some(Dedupe {
            key: dedupe::key(fire.trigger.as_ref().map(|(id, _)| id), &key),
            keep: coordinator.config.dedupe_keep,
        }),
        None => None,
    };
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
    let admitted = coordinator
        .admit(admission)
        .await
        .map_err(FireError::Refused)?;
    let wait = fire.wait.min(MAX_WAIT);
    let ended = if wait.is_zero() {
        None
    } else {
        coordinator.wait_for_end(admitted.id, wait).await?
    };
    Ok((admitted, ended))
}
