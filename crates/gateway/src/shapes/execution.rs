use millrace_proto::runtime::v1 as pb;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{missing, optional, payload};
use crate::problem::Problem;

/// `{id, deploymentId, workflowId, version, status, trigger, input, output, error, createdAt, startedAt, endedAt, rerunOf}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    id: String,
    deployment_id: String,
    workflow_id: String,
    version: u32,
    status: String,
    trigger: Option<Box<RawValue>>,
    input: Option<Box<RawValue>>,
    output: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    created_at: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    rerun_of: Option<String>,
}

/// An execution in a list: the same without input and output, which are left
/// out rather than `null`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionSummary {
    id: String,
    deployment_id: String,
    workflow_id: String,
    version: u32,
    status: String,
    trigger: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
    created_at: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    rerun_of: Option<String>,
}

impl Execution {
    pub fn answered(message: Option<pb::Execution>) -> Result<Self, Problem> {
        message
            .ok_or_else(|| missing("an execution"))
            .and_then(Self::try_from)
    }
}

impl TryFrom<pb::Execution> for Execution {
    type Error = Problem;

    fn try_from(message: pb::Execution) -> Result<Self, Problem> {
        Ok(Self {
            id: message.execution_id,
            deployment_id: message.deployment_id,
            workflow_id: message.workflow_id,
            version: message.version,
            status: message.status,
            trigger: payload(message.trigger_json)?,
            input: payload(message.input_json)?,
            output: payload(message.output_json)?,
            error: payload(message.error_json)?,
            created_at: optional(message.created_at),
            started_at: optional(message.started_at),
            ended_at: optional(message.ended_at),
            rerun_of: optional(message.rerun_of),
        })
    }
}

impl TryFrom<pb::Execution> for ExecutionSummary {
    type Error = Problem;

    fn try_from(message: pb::Execution) -> Result<Self, Problem> {
        Ok(Self {
            id: message.execution_id,
            deployment_id: message.deployment_id,
            workflow_id: message.workflow_id,
            version: message.version,
            status: message.status,
            trigger: payload(message.trigger_json)?,
            error: payload(message.error_json)?,
            created_at: optional(message.created_at),
            started_at: optional(message.started_at),
            ended_at: optional(message.ended_at),
            rerun_of: optional(message.rerun_of),
        })
    }
}
