use millrace_proto::orchestrator::v1 as pb;
use serde::Serialize;

use super::{missing, optional};
use crate::problem::Problem;

/// A workload without its instances, as lists and `…/status` show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    id: String,
    project_id: String,
    project_key: Option<String>,
    service: String,
    r#type: Option<String>,
    stage: String,
    /// What is wanted: running or stopped.
    desired: Option<String>,
    health: Option<String>,
    port: Option<u32>,
    container_id: Option<String>,
    url: Option<String>,
    error: Option<WorkloadError>,
    restarts: u32,
    next_retry_at: Option<String>,
    node_id: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

/// The same with its instances, oldest first.
#[derive(Debug, Serialize)]
pub struct Workload {
    #[serde(flatten)]
    status: WorkloadStatus,
    instances: Vec<Instance>,
}

#[derive(Debug, Serialize)]
struct WorkloadError {
    reason: String,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    id: String,
    pid: Option<u32>,
    port: Option<u32>,
    started_at: Option<String>,
    ended_at: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// Why it ended, where the exit does not tell.
    reason: Option<String>,
    memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
    processes: Option<u32>,
    limits: Option<String>,
}

impl Workload {
    pub fn answered(message: Option<pb::Workload>) -> Result<Self, Problem> {
        message.map(Self::from).ok_or_else(|| missing("a workload"))
    }
}

impl WorkloadStatus {
    pub fn answered(message: Option<pb::Workload>) -> Result<Self, Problem> {
        message.map(Self::from).ok_or_else(|| missing("a workload"))
    }
}

impl From<pb::Workload> for Workload {
    fn from(mut message: pb::Workload) -> Self {
        let instances = std::mem::take(&mut message.instances);
        Self {
            status: message.into(),
            instances: instances.into_iter().map(Instance::from).collect(),
        }
    }
}

impl From<pb::Workload> for WorkloadStatus {
    fn from(message: pb::Workload) -> Self {
        Self {
            id: message.workload_id,
            project_id: message.project_id,
            project_key: optional(message.project_key),
            service: message.service,
            r#type: optional(message.r#type),
            stage: message.stage,
            desired: optional(message.desired),
            health: optional(message.health),
            port: number(message.port),
            container_id: optional(message.container_id),
            url: optional(message.url),
            error: message.error.map(|error| WorkloadError {
                reason: error.reason,
                message: error.message,
            }),
            restarts: message.restarts,
            next_retry_at: optional(message.next_retry_at),
            node_id: optional(message.node_id),
            created_at: optional(message.created_at),
            updated_at: optional(message.updated_at),
        }
    }
}

impl From<pb::Instance> for Instance {
    fn from(message: pb::Instance) -> Self {
        Self {
            id: message.instance_id,
            pid: number(message.pid),
            port: number(message.port),
            started_at: optional(message.started_at),
            ended_at: optional(message.ended_at),
            exit_code: message.exit_code,
            signal: message.signal,
            reason: optional(message.reason),
            memory_bytes: message.memory_bytes,
            cpu_ms: message.cpu_ms,
            processes: message.processes,
            limits: optional(message.limits),
        }
    }
}

/// 0 stands for none.
fn number(value: u32) -> Option<u32> {
    Some(value).filter(|value| *value > 0)
}
