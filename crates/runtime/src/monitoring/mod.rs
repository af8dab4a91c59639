//! What the service knows of itself: [`MonitoringService`].

pub(crate) mod health;

use std::sync::Arc;

use millrace_store::Store;

use crate::execution::EngineClient;

pub use health::CacheProbe;

/// Answers how the service and its dependencies are.
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
