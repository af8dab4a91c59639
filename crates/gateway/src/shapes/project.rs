use millrace_proto::orchestrator::v1 as pb;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{missing, optional, payload};
use crate::problem::{Problem, ProblemError};

/// `{id, name, key, localPath, git, createdAt}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    id: String,
    name: String,
    key: String,
    local_path: String,
    git: Option<Box<RawValue>>,
    created_at: Option<String>,
}

impl Project {
    pub fn answered(message: Option<pb::Project>) -> Result<Self, Problem> {
        message
            .ok_or_else(|| missing("a project"))
            .and_then(Self::try_from)
    }
}

impl TryFrom<pb::Project> for Project {
    type Error = Problem;

    fn try_from(message: pb::Project) -> Result<Self, Problem> {
        Ok(Self {
            id: message.project_id,
            name: message.name,
            key: message.key,
            local_path: message.local_path,
            git: payload(message.git_json)?,
            created_at: optional(message.created_at),
        })
    }
}

/// `{name, type, spec, problems, workloadId}`: a folder below `src/services/`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    name: String,
    r#type: Option<String>,
    /// `service.json` as it lies there; `null` when it is not JSON.
    spec: Option<Box<RawValue>>,
    /// What is wrong with it.
    problems: Vec<ProblemError>,
    workload_id: Option<String>,
}

impl From<pb::Service> for Service {
    fn from(message: pb::Service) -> Self {
        let problems = message.problems.into_iter().map(|problem| {
            ProblemError::from(millrace_proto::Finding {
                pointer: problem.pointer,
                line: problem.line,
                column: problem.column,
                message: problem.message,
            })
        });
        Self {
            name: message.name,
            r#type: optional(message.r#type),
            spec: serde_json::from_str(&message.spec_json).ok(),
            problems: problems.collect(),
            workload_id: optional(message.workload_id),
        }
    }
}
