//! What the service knows of itself: [`MonitoringService`].
//!
//! Every answer is bounded, and says where it was cut: a count has `atLeast`,
//! a window has `complete`, a sample has the estimate of the whole. The
//! shapes, in lowerCamelCase as the API shows them, are in [`shapes`].

pub(crate) mod deployments;
pub(crate) mod health;
pub(crate) mod jitter;
pub(crate) mod load;
pub(crate) mod scheduling;
pub(crate) mod search;
pub(crate) mod shapes;

use std::sync::Arc;

use millrace_store::Store;

use crate::execution::EngineClient;

pub use health::CacheProbe;

/// Where counting stops.
pub(crate) const CAP: u32 = 10_000;

/// Answers how the service and its dependencies are, and what they did.
pub struct MonitoringService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Arc<EngineClient>,
    /// `None` where no Redis is configured.
    pub(crate) redis: Option<Arc<dyn CacheProbe>>,
}

impl std::fmt::Debug for MonitoringService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MonitoringService").finish_non_exhaustive()
    }
}
