//! Workflows, their immutable versions, and the triggers that are live.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millrace_types::{
    DeploymentId, DeploymentStatus, ErrorKind, Timestamp, TriggerId, TriggerKind, WorkflowId,
};
use serde::{Deserialize, Serialize};

use crate::{DeploymentSettings, Page, PageRequest, StoreError};

/// A validated bundle that is to become live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeployment {
    pub namespace: String,
    pub name: String,
    /// The author's version, `document.version`.
    pub workflow_version: String,
    /// SHA-256 over definition, triggers and config in canonical form,
    /// lower-case hexadecimal.
    pub digest: String,
    /// The document as JSON text.
    pub definition_json: String,
    /// The document as it was posted.
    pub source: String,
    /// The settings as JSON text.
    pub config_json: String,
    pub labels: BTreeMap<String, String>,
    /// What `config_json` says of executions.
    pub settings: DeploymentSettings,
    pub triggers: Vec<NewTrigger>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTrigger {
    pub kind: TriggerKind,
    /// Triggers of one deployment are told apart by name; those without one
    /// by their content, and what is new or has changed by its position among
    /// the nameless of its kind ([`trigger_slots`](crate::trigger_slots())).
    pub name: Option<String>,
    pub enabled: bool,
    /// The trigger as JSON text.
    pub spec_json: String,
    /// Set for webhooks.
    pub route: Option<WebhookRoute>,
    /// Set for webhooks whose senders have to prove themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SealedSecrets>,
    /// Set for triggers of the type `event`: the type of the events that they
    /// listen to, empty for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// The secrets of a trigger, as they may be stored: apart from `spec_json`,
/// handed out with a [`WebhookMatch`] and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecrets {
    /// Encrypted, differently each time.
    pub sealed: String,
    /// Equal for equal secrets; it decides whether the trigger has changed.
    pub fingerprint: String,
}

/// Where a webhook listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRoute {
    /// The path with each parameter written `{}`: `orders/{}`. Two routes
    /// clash when their shape and one of their methods are equal.
    pub shape: String,
    /// The path as it was written, `orders/{region}`.
    pub path: String,
    /// Upper case, at least one.
    pub methods: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRecord {
    pub id: DeploymentId,
    pub workflow_id: WorkflowId,
    pub namespace: String,
    pub name: String,
    pub version: u32,
    pub workflow_version: String,
    pub status: DeploymentStatus,
    pub deployed_at: Option<Timestamp>,
    pub config_json: String,
    pub labels: BTreeMap<String, String>,
    pub triggers: Vec<TriggerRecord>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRecord {
    pub id: TriggerId,
    pub kind: TriggerKind,
    pub name: Option<String>,
    pub enabled: bool,
    pub spec_json: String,
    /// Starts at 1; raised whenever the trigger changes, or whether its
    /// deployment takes triggers.
    pub revision: u64,
}

/// An immutable version of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    pub workflow_id: WorkflowId,
    pub version: u32,
    pub workflow_version: String,
    pub digest: String,
    pub definition_json: String,
    pub source: String,
    pub created_at: Timestamp,
}

/// A version in a list, without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    pub version: u32,
    pub workflow_version: String,
    pub digest: String,
    pub created_at: Timestamp,
}

/// What a version keeps of its bundle beside the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionBundle {
    pub triggers: Vec<NewTrigger>,
    /// The settings as JSON text.
    pub config_json: String,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub settings: DeploymentSettings,
}

impl VersionBundle {
    /// The part of `bundle` that its version keeps, as JSON text.
    pub fn to_json(bundle: &NewDeployment) -> String {
        let kept = Self {
            triggers: bundle.triggers.clone(),
            config_json: bundle.config_json.clone(),
            labels: bundle.labels.clone(),
            settings: bundle.settings.clone(),
        };
        serde_json::to_string(&kept).expect("texts and flags always serialise")
    }

    /// Reads what [`VersionBundle::to_json`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json)
            .map_err(|error| StoreError::Rejected(format!("a version's bundle: {error}")))
    }
}

#[derive(Debug, Clone)]
pub struct Deployed {
    pub deployment: DeploymentRecord,
    /// False when exactly this bundle was live already.
    pub changed: bool,
}

/// Why a bundle was not made live. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployRefused {
    /// Another deployment's webhook listens there.
    #[error("webhook path `{path}` ({method}) is taken by deployment {holder}")]
    PathTaken {
        /// Index into [`NewDeployment::triggers`].
        trigger: usize,
        path: String,
        method: String,
        holder: DeploymentId,
    },
    /// Something else is live than the caller went by.
    #[error("the deployment has changed meanwhile")]
    Moved,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeployRefused {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::PathTaken { .. } | Self::Moved => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    pub status: Option<DeploymentStatus>,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub label: Option<(String, String)>,
}

/// A webhook trigger found by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookMatch {
    pub trigger: TriggerRecord,
    /// [`SealedSecrets::sealed`], where the trigger has secrets.
    pub sealed_secrets: Option<String>,
    pub deployment_id: DeploymentId,
    pub workflow_id: WorkflowId,
    pub deployment_status: DeploymentStatus,
    /// The path as it was written, `orders/{region}`.
    pub path: String,
    pub shape: String,
    /// The one method that this row is for.
    pub method: String,
}

#[async_trait]
pub trait DeploymentStore: Send + Sync + 'static {
    /// Makes a bundle live, in one transaction: the workflow (by namespace
    /// and name; made if missing), a new version unless the digest equals
    /// that of an existing version of this workflow, the set of triggers
    /// replaced (those that stay keep id and, unless they changed, revision),
    /// routes, status DEPLOYED. An archived deployment is revived with its
    /// ids. A paused one stays PAUSED. Concurrent deploys of one workflow
    /// take effect one after the other.
    async fn deploy(&self, bundle: &NewDeployment) -> Result<Deployed, DeployRefused>;

    /// Like [`DeploymentStore::deploy`] for a caller that goes by what is
    /// live: refused as [`DeployRefused::Moved`] unless the workflow is there,
    /// is not archived, and `live` is its current version.
    async fn redeploy(&self, bundle: &NewDeployment, live: u32) -> Result<Deployed, DeployRefused>;

    async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentRecord>, StoreError>;

    /// A trigger and its deployment, whatever the deployment's status.
    async fn trigger(
        &self,
        id: TriggerId,
    ) -> Result<Option<(DeploymentId, TriggerRecord)>, StoreError>;

    /// Newest first (by id, descending). Archived ones are listed only when
    /// the filter asks for them.
    async fn list_deployments(
        &self,
        filter: &DeploymentFilter,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRecord>, StoreError>;

    /// Pauses or resumes; raises the revision of every trigger, so that
    /// whoever has resolved one before must ask again. Archiving also frees
    /// the webhook routes. `None` when there is no such deployment, or when
    /// it is archived (only a deploy revives it). Setting the status that it
    /// has already changes nothing.
    async fn set_deployment_status(
        &self,
        id: DeploymentId,
        status: DeploymentStatus,
    ) -> Result<Option<DeploymentRecord>, StoreError>;

    async fn version(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<VersionRecord>, StoreError>;

    /// Newest first. The cursor is the number of the last one seen.
    async fn list_versions(
        &self,
        workflow_id: WorkflowId,
        page: &PageRequest,
    ) -> Result<Page<VersionSummary>, StoreError>;

    /// The version of a workflow that has this digest.
    async fn version_by_digest(
        &self,
        workflow_id: WorkflowId,
        digest: &str,
    ) -> Result<Option<u32>, StoreError>;

    /// All that was deployed as this version: deploying it again brings the
    /// version back. `None` when there is no such version, or when it was
    /// made before versions kept their triggers and settings.
    async fn bundle(
        &self,
        workflow_id: WorkflowId,
        version: u32,
    ) -> Result<Option<NewDeployment>, StoreError>;

    /// The routes that have one of these shapes, for any method. At most 256
    /// shapes; one row for each (shape, method).
    async fn webhooks(&self, shapes: &[String]) -> Result<Vec<WebhookMatch>, StoreError>;
}
