//! The gateway as one thing: what its handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use millrace_service::Transport;
use millrace_service::access::{Guard, KeyLookUp};

use crate::GatewayConfig;
use crate::router;
use crate::routes::services::Endpoints;
use crate::runtimes::Runtimes;
use crate::webhooks::{Rates, RouteCache};

/// HTTP in front of the runtimes. Clones are cheap and share everything.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

/// What the handlers reach through [`Gateway`].
#[derive(Debug)]
pub struct Shared {
    pub(crate) config: GatewayConfig,
    /// Shared with what looks up API keys.
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) orchestrator: Option<Transport>,
    pub(crate) webhooks: RouteCache,
    /// Whether it is about to stop.
    retiring: AtomicBool,
    pub(crate) rates: Rates,
    /// Judges who may call what.
    pub(crate) guard: Guard,
    /// Where services are, and the ways to them.
    pub(crate) endpoints: Endpoints,
}

impl Gateway {
    /// A gateway that calls `runtimes` in turn. Without an `orchestrator`,
    /// `/health` reports it as disabled.
    pub fn new(
        config: GatewayConfig,
        runtimes: Vec<Transport>,
        orchestrator: Option<Transport>,
    ) -> Self {
        let runtimes = Arc::new(Runtimes::new(runtimes, config.clone()));
        let asked: Arc<dyn KeyLookUp> = Arc::clone(&runtimes) as _;
        let keys = config.keys.clone().unwrap_or(asked);
        let guard = Guard::of_http(&config.auth, keys);
        let webhooks = RouteCache::new(config.webhook_cache_ttl, config.webhook_cache_size);
        Self(Arc::new(Shared {
            runtimes,
            orchestrator,
            webhooks,
            rates: Rates::new(config.shared_rates.clone()),
            guard,
            endpoints: Endpoints::default(),
            config,
            retiring: AtomicBool::new(false),
        }))
    }

    /// From now on `/readyz` answers 503, and each answer asks its caller to
    /// connect anew, which then reaches another gateway. All else goes on.
    pub fn retire(&self) {
        self.retiring.store(true, Ordering::Relaxed);
    }

    /// From now on `runtimes` are called, and no others: instances have come
    /// or gone. Calls under way go on.
    pub fn set_runtimes(&self, runtimes: Vec<Transport>) {
        self.runtimes.replace(runtimes);
    }

    /// Judges who may call what; for other listeners of the same process.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// All routes, ready to be served.
    pub fn router(&self) -> Router {
        router::router(self.clone())
    }
}

impl std::ops::Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
