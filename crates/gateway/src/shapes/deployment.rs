use millrace_proto::Finding;
use millrace_proto::runtime::v1 as pb;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{missing, object, optional};
use crate::json::Members;
use crate::problem::{Problem, ProblemError};

/// `{id, workflowId, name, namespace, version, workflowVersion, status, triggers, deployedAt, config}`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    id: String,
    workflow_id: String,
    name: String,
    namespace: String,
    version: u32,
    workflow_version: String,
    status: String,
    triggers: Vec<Trigger>,
    deployed_at: Option<String>,
    config: Box<RawValue>,
    /// What the author should look at; only in the answer to a deploy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<ProblemError>,
}

/// `{id, type, enabled, …}`, the rest as it was deployed.
#[derive(Debug)]
pub struct Trigger {
    id: String,
    kind: String,
    name: String,
    enabled: bool,
    spec: Box<RawValue>,
}

impl Deployment {
    pub fn answered(message: Option<pb::Deployment>) -> Result<Self, Problem> {
        message
            .ok_or_else(|| missing("a deployment"))
            .and_then(Self::try_from)
    }
}

impl Deployment {
    /// Adds findings that did not prevent the deployment.
    #[must_use]
    pub fn with_warnings(mut self, warnings: Vec<Finding>) -> Self {
        self.warnings = warnings.into_iter().map(ProblemError::from).collect();
        self
    }
}

impl TryFrom<pb::Deployment> for Deployment {
    type Error = Problem;

    fn try_from(message: pb::Deployment) -> Result<Self, Problem> {
        Ok(Self {
            id: message.deployment_id,
            workflow_id: message.workflow_id,
            name: message.name,
            namespace: message.namespace,
            version: message.version,
            workflow_version: message.workflow_version,
            status: message.status,
            triggers: message
                .triggers
                .into_iter()
                .map(Trigger::try_from)
                .collect::<Result<_, _>>()?,
            deployed_at: optional(message.deployed_at),
            config: object(message.config_json)?,
            warnings: Vec::new(),
        })
    }
}

impl Trigger {
    pub fn answered(message: Option<pb::Trigger>) -> Result<Self, Problem> {
        message
            .ok_or_else(|| missing("a trigger"))
            .and_then(Self::try_from)
    }
}

impl TryFrom<pb::Trigger> for Trigger {
    type Error = Problem;

    fn try_from(message: pb::Trigger) -> Result<Self, Problem> {
        Ok(Self {
            id: message.trigger_id,
            kind: message.r#type,
            name: message.name,
            enabled: message.enabled,
            spec: object(message.spec_json)?,
        })
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec: Members<'_> =
            serde_json::from_str(self.spec.get()).map_err(serde::ser::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("type", &self.kind)?;
        if !self.name.is_empty() {
            map.serialize_entry("name", &self.name)?;
        }
        map.serialize_entry("enabled", &self.enabled)?;
        for member in spec.0 {
            if !matches!(member.key.as_ref(), "id" | "type" | "name" | "enabled") {
                map.serialize_entry(&member.key, member.value)?;
            }
        }
        map.end()
    }
}
