//! What can be set about the gateway. Every default is safe for production.

use std::time::Duration;

use millrace_signature::SealingKeys;

/// Limits and patience of the gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Largest request body that is read, in bytes; more is answered 413.
    pub body_limit: usize,
    /// How long a caller may take to send its body.
    pub body_timeout: Duration,
    /// How long one runtime may take to answer one call; waits that the
    /// caller asked for come on top.
    pub call_timeout: Duration,
    /// How long one request may spend on all attempts together; waits that
    /// the caller asked for come on top.
    pub call_deadline: Duration,
    /// How often a call is made before the gateway gives up, counting the
    /// first. Calls are safe to repeat: an execution's id is minted here.
    pub call_attempts: u32,
    /// How long a resolved webhook path is used without asking again. The
    /// runtime refuses outdated revisions, so that this only bounds how long
    /// a newly deployed, more specific path stays unseen by other gateways.
    pub webhook_cache_ttl: Duration,
    /// How many resolved webhook paths are kept; 0 keeps none.
    pub webhook_cache_size: usize,
    /// Open the secrets by which senders of webhooks prove themselves: the
    /// same keys as the runtimes'. Without them, only webhooks that anyone
    /// may call are served.
    pub sealing_keys: Option<SealingKeys>,
    /// How long a webhook with `"respond": "result"` waits for the end.
    pub respond_wait: Duration,
    /// How long a health check may take. Longer than the 2 s that a runtime
    /// gives its own dependencies, so that a cache that hangs is reported as
    /// such and not as the lack of a runtime.
    pub health_timeout: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(10),
            call_deadline: Duration::from_secs(30),
            call_attempts: 6,
            webhook_cache_ttl: Duration::from_secs(2),
            webhook_cache_size: 10_000,
            sealing_keys: None,
            respond_wait: Duration::from_secs(30),
            health_timeout: Duration::from_secs(3),
        }
    }
}
