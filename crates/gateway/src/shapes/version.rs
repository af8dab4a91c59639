use millrace_proto::runtime::v1 as pb;
use serde::Serialize;

/// `{version, workflowVersion, digest, createdAt, live}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    version: u32,
    workflow_version: String,
    digest: String,
    created_at: String,
    live: bool,
}

impl From<pb::WorkflowVersion> for Version {
    fn from(message: pb::WorkflowVersion) -> Self {
        Self {
            version: message.version,
            workflow_version: message.workflow_version,
            digest: message.digest,
            created_at: message.created_at,
            live: message.live,
        }
    }
}
