//! What is needed to go on with an execution that this process owns.

use bytes::Bytes;
use millrace_store::{Admission, Admitted, Claimed, TriggerRef};
use millrace_types::DeploymentId;

/// An owned execution, ready to be handed to an engine.
pub(crate) type Job = Claimed;

/// What an admission says of its execution; the rest comes with the commit.
#[derive(Debug)]
pub(crate) struct Draft {
    deployment_id: DeploymentId,
    trigger: TriggerRef,
    input: Bytes,
    traceparent: Option<String>,
}

impl Draft {
    pub fn of(admission: &Admission) -> Self {
        Self {
            deployment_id: admission.deployment_id,
            trigger: admission.trigger,
            input: admission.input.clone(),
            traceparent: admission.traceparent.clone(),
        }
    }

    /// The job of a fresh execution that is owned with `epoch`.
    pub fn admitted(self, admitted: &Admitted, epoch: u64) -> Job {
        Job {
            id: admitted.id,
            deployment_id: self.deployment_id,
            workflow_id: admitted.workflow_id,
            version: admitted.version,
            trigger_kind: self.trigger.kind,
            trigger_id: self.trigger.id.map(|(id, _)| id),
            epoch,
            input: self.input,
            started_at: admitted.created_at,
            checkpoint_seq: 0,
            next_event_seq: 1,
            frames: Vec::new(),
            due_timers: Vec::new(),
            received: Vec::new(),
            traceparent: self.traceparent,
            cancel: None,
            limits: admitted.limits,
        }
    }
}
