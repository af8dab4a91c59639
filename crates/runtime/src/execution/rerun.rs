//! Running an execution once more, from its start or from where it failed.

use std::sync::Arc;

use millrace_proto::Failure;
use millrace_store::{Admission, AdmissionRefused, RerunOf, StoreError, TriggerRef, WriteRefused};
use millrace_types::{ErrorKind, ExecutionId, ExecutionStatus, TriggerKind};

use super::coordinator::ExecutionCoordinator;

/// Why an execution was not run again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RerunError {
    #[error("`{0}` is not one of start, failedTask")]
    From(String),
    #[error("there is no execution {0}")]
    NotFound(ExecutionId),
    #[error("execution {0} has not ended; cancel it first, or wait")]
    Running(ExecutionId),
    #[error("execution {0} is {1}, not FAILED; run it again from its start")]
    NotFailed(ExecutionId, ExecutionStatus),
    /// It failed outside of its tasks, or before they were kept.
    #[error("of execution {0} nothing is kept to go on from; run it again from its start")]
    NotKept(ExecutionId),
    #[error(transparent)]
    Refused(WriteRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RerunError> for Failure {
    fn from(error: RerunError) -> Self {
        let message = error.to_string();
        match error {
            RerunError::From(_) => crate::grpc::convert::invalid("from", message),
            RerunError::NotFailed(..) => {
                Self::new(ErrorKind::Precondition, message).with_reason("not-failed")
            }
            RerunError::NotKept(_) => {
                Self::new(ErrorKind::Precondition, message).with_reason("not-kept")
            }
            RerunError::NotFound(_) => Self::new(ErrorKind::NotFound, message),
            RerunError::Running(_) => {
                Self::new(ErrorKind::Precondition, message).with_reason("not-ended")
            }
            RerunError::Refused(WriteRefused::Admission(refused)) => {
                let reason = match refused {
                    AdmissionRefused::DeploymentNotLive(..) => "not-live",
                    _ => "",
                };
                Self::new(refused.kind(), message).with_reason(reason)
            }
            RerunError::Refused(refused) => crate::grpc::convert::write_failure(&refused),
            RerunError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl ExecutionCoordinator {
    /// Admits `new`: the input of `id`, on the version that it ran on. Safe
    /// to repeat with the same `new`.
    pub(crate) async fn rerun(
        self: &Arc<Self>,
        id: ExecutionId,
        new: ExecutionId,
        from: &str,
        traceparent: Option<String>,
    ) -> Result<ExecutionId, RerunError> {
        let from_failed = match from {
            "" | "start" => false,
            "failedTask" => true,
            other => return Err(RerunError::From(other.to_owned())),
        };
        let original = self.store.execution(id).await?;
        let original = original.ok_or(RerunError::NotFound(id))?;
        if !original.status.is_ended() {
            return Err(RerunError::Running(id));
        }
        if from_failed {
            if original.status != ExecutionStatus::Failed {
                return Err(RerunError::NotFailed(id, original.status));
            }
            if !self.store.keeps_frames(id).await? {
                return Err(RerunError::NotKept(id));
            }
        }
        let admission = Admission {
            id: new,
            deployment_id: original.deployment_id,
            // By hand, whatever started the first one: a trigger may be gone.
            trigger: TriggerRef {
                kind: TriggerKind::Manual,
                id: None,
            },
            input: original.input,
            dedupe: None,
            owner: None,
            traceparent,
            rerun_of: Some(RerunOf {
                id,
                version: original.version,
                from_failed,
            }),
        };
        let admitted = self.admit(admission).await.map_err(RerunError::Refused)?;
        Ok(admitted.id)
    }
}
