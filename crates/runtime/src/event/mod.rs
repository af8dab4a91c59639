//! Events that come from outside, and the executions that they start.
//!
//! ```text
//! CloudEvent ─▶ cloud_event (checked) ─▶ store.event_listeners (by type)
//!                                              │ filter: attributes, data
//!                                              ▼
//!                        one transaction: an admission for each match,
//!                        known again by (trigger, source, id)
//! ```

pub(crate) mod cloud_event;
pub(crate) mod filter;
pub(crate) mod publish;

use std::sync::Arc;

use filter::FilterCache;

use crate::execution::ExecutionCoordinator;

/// Takes events, and starts what listens to them.
pub struct EventService {
    pub(crate) coordinator: Arc<ExecutionCoordinator>,
    pub(crate) filters: FilterCache,
}

impl std::fmt::Debug for EventService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventService").finish_non_exhaustive()
    }
}
