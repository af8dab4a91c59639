//! What can be set about the gateway. Every default is safe for production.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use millrace_service::CancellationToken;
use millrace_service::access::KeyLookUp;
use millrace_service::config::AuthConfig;
use millrace_signature::SealingKeys;

use crate::webhooks::{Rate, SharedRates};

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
    /// Who is believed about where a request comes from.
    pub proxies: Proxies,
    /// Counts the rates of webhooks together with other gateways. Without it
    /// each gateway counts for itself.
    pub shared_rates: Option<Arc<dyn SharedRates>>,
    /// Who is let in.
    pub auth: AuthConfig,
    /// Who knows API keys, instead of the runtimes.
    pub keys: Option<Arc<dyn KeyLookUp>>,
    /// How often one API key may call; counted as webhooks are.
    pub rate_per_key: Option<Rate>,
    /// How often one address may, whoever calls from there. Probes are not
    /// counted.
    pub rate_per_address: Option<Rate>,
    /// How long a webhook that responds with its result waits for the end,
    /// unless it says so itself.
    pub respond_wait: Duration,
    /// How long a health check may take. Longer than the 2 s that a runtime
    /// gives its own dependencies, so that a cache that hangs is reported as
    /// such and not as the lack of a runtime.
    pub health_timeout: Duration,
    /// Cancelled when the process begins to stop: ends the streams of those
    /// who look on.
    pub stop: CancellationToken,
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
            proxies: Proxies::default(),
            shared_rates: None,
            auth: AuthConfig::default(),
            keys: None,
            rate_per_key: None,
            rate_per_address: None,
            respond_wait: Duration::from_secs(30),
            health_timeout: Duration::from_secs(3),
            stop: CancellationToken::new(),
        }
    }
}

/// The proxies in front of the gateway. None by default: then a request comes
/// from the other end of its connection, whatever its headers say.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Whose word counts.
    pub trusted: Vec<IpNet>,
    pub header: ForwardedHeader,
}

/// Where a proxy says whom it speaks for. Only one counts: a proxy that
/// writes the one may pass on the other as the sender made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}
