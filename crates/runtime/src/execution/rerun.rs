//! Running an execution once more, from its start.

use std::sync::Arc;

use millrace_proto::Failure;
use millrace_store::{Admission, AdmissionRefused, RerunOf, StoreError, TriggerRef, WriteRefused};
use millrace_types::{ErrorKind, ExecutionId, TriggerKind};

use super::coordinator::ExecutionCoordinator;

/// Why an execution was not run again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RerunError {
    #[error("`failedTask` is not supported yet; `start` is")]
    FailedTask,
    #[error("`{0}` is not one of start, failedTask")]
    From(String),
    #[error("there is no execution {0}")]
    NotFound(ExecutionId),
    #[error("execution {0} has not ended; cancel it first, or wait")]
    Running(ExecutionId),
    #[error(transparent)]
    Refused(WriteRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RerunError> for Failure {
    fn from(error: RerunError) -> Self {
        let message = error.to_string();
        match error {
            RerunError::FailedTask | RerunError::From(_) => {
                crate::grpc::convert::invalid("from", message)
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
        match from {
            "" | "start" => {}
            "failedTask" => return Err(RerunError::FailedTask),
            other => return Err(RerunError::From(other.to_owned())),
        }
        let original = self.store.execution(id).await?;
        let original = original.ok_or(RerunError::NotFound(id))?;
        if !original.status.is_ended() {
            return Err(RerunError::Running(id));
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
            }),
        };
        let admitted = self.admit(admission).await.map_err(RerunError::Refused)?;
        Ok(admitted.id)
    }
}
