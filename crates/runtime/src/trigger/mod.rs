//! What starts executions: the triggers of a deployment, webhook paths, and
//! firing.

pub(crate) mod dedupe;
pub(crate) mod fire;
pub(crate) mod path;
pub(crate) mod seal;
pub(crate) mod spec;
pub(crate) mod webhook;

use std::sync::Arc;

use millrace_store::Store;

/// Finds the trigger behind a webhook path.
pub struct WebhookTriggerService {
    pub(crate) store: Arc<dyn Store>,
}

impl std::fmt::Debug for WebhookTriggerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookTriggerService")
            .finish_non_exhaustive()
    }
}
