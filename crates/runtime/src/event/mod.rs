//! Events, and the executions that they start and wake.
//!
//! ```text
//! CloudEvent ─▶ cloud_event (checked) ─▶ matching
//!    │                                     │ triggers by type: filter
//!    │ from outside, or of a checkpoint    │ listeners of live executions by
//!    │                                     │ type: subscription
//!    ▼                                     ▼
//!  fan_out: an admission for each trigger, known again by (trigger, source,
//!           id), and a delivery to each listener, in parts; for a trigger that
//!           wants several events together, what is kept until all are there
//!  publish: an event from outside, answered when it is with all
//!  emit:    stored with the checkpoint that brings it; the last part takes it
//!           away
//! ```

pub(crate) mod cloud_event;
pub(crate) mod emit;
mod fan_out;
pub(crate) mod filter;
mod matching;
pub(crate) mod publish;
pub(crate) mod subscription;

use std::sync::Arc;

use crate::execution::ExecutionCoordinator;

/// Takes events, starts what listens to them, and wakes what waits for them.
pub struct EventService {
    pub(crate) coordinator: Arc<ExecutionCoordinator>,
}

impl std::fmt::Debug for EventService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventService").finish_non_exhaustive()
    }
}
