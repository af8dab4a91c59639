//! What starts executions: the triggers of a deployment, webhook paths, and
//! firing.

pub(crate) mod dedupe;
mod fields;
pub(crate) mod fire;
pub(crate) mod path;
pub(crate) mod seal;
pub(crate) mod spec;
pub(crate) mod webhook;

use std::sync::Arc;

use millrace_store::Store;

/// Finds the trigger behind a webhook path, and evaluates what its author
/// wants to know of a delivery.
pub struct WebhookTriggerService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rules: webhook::rules::RulesCache,
}

impl std::fmt::Debug for WebhookTriggerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookTriggerService")
            .finish_non_exhaustive()
    }
}
