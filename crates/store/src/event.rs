//! Who listens to events.

use async_trait::async_trait;
use millrace_types::DeploymentId;

use crate::{StoreError, TriggerRecord};

/// An enabled trigger of the type `event`, of a deployment that takes
/// triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventListener {
    pub deployment_id: DeploymentId,
    pub trigger: TriggerRecord,
}

/// Finds triggers by what they listen to. What an event starts are admissions
/// like any other.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Those that listen to events of this type, or of any; `limit` at most,
    /// by id.
    async fn event_listeners(
        &self,
        event_type: &str,
        limit: u32,
    ) -> Result<Vec<EventListener>, StoreError>;
}
