//! What can be set about a runtime.

use std::time::Duration;

use millrace_signature::SealingKeys;
use tokio_util::sync::CancellationToken;

/// Settings of one runtime process.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Executions that this process works on at once; the rest stay PENDING
    /// in the database for any instance. 0 is the same as `dispatch: false`.
    pub max_running: usize,
    /// Whether this process runs executions at all. Without it, it only
    /// admits them.
    pub dispatch: bool,
    /// How long this process is believed alive after its last heartbeat, by
    /// the database's clock. A heartbeat goes out at every third of it.
    pub lease_ttl: Duration,
    /// How long executions may run on when the process is asked to stop,
    /// before the rest is handed over.
    pub drain: Duration,
    /// How often to look for due work that nobody has hinted at.
    pub poll: Duration,
    /// How long an admission's dedupe key is remembered.
    pub dedupe_keep: Duration,
    /// Seals the secrets of webhooks. Without it, a deployment that has any
    /// is refused.
    pub sealing_keys: Option<SealingKeys>,
    /// Days that ended executions are kept unless their deployment says
    /// otherwise.
    pub retention_days: u16,
    /// Cancelled when the process begins to stop: ends the streams of those
    /// who look on, so that nobody is waited for who would watch for ever.
    pub stop: CancellationToken,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            max_running: 1024,
            dispatch: true,
            lease_ttl: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            poll: Duration::from_secs(1),
            dedupe_keep: Duration::from_hours(24),
            sealing_keys: None,
            retention_days: 30,
            stop: CancellationToken::new(),
        }
    }
}
