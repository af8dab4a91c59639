//! Configuration in layers: defaults < `millrace.toml` < environment < flags.
//! One struct per concern; a key that does not exist is refused, and every
//! error names the key and where it came from.

mod access;
mod load;
mod origin;
mod print;
mod settings;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use access::{AuthMode, InternalToken, RateLimit};
pub use load::{Environment, Loaded, Sources};
pub use origin::{ConfigError, Origin};
pub use value::{ForwardedHeader, LogFormat, PeerAddress, PortRange, RuntimeEngine};

use crate::secret::{Secret, SecretUrl};

/// Everything that can be set. Which parts a process reads depends on its role.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub log: LogConfig,
    pub otlp: OtlpConfig,
    pub gateway: GatewayConfig,
    pub runtime: RuntimeConfig,
    pub engine: EngineConfig,
    pub orchestrator: OrchestratorConfig,
    pub tls: TlsConfig,
    pub retention: RetentionConfig,
    pub webhooks: WebhooksConfig,
    pub auth: AuthConfig,
    pub dev: DevConfig,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`. `millrace dev` ignores it unless it is given as a flag.
    pub url: Option<SecretUrl>,
    /// Connections of one process.
    pub max_connections: u32,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct RedisConfig {
    /// `REDIS_URL`, where gateways count rates together. Without it, each counts by itself.
    pub url: Option<SecretUrl>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// A level, or levels by target: `info,millrace_runtime=debug`.
    /// `MILLRACE_LOG`.
    pub level: String,
    /// `json`, `pretty`, or `auto`: pretty on a terminal.
    pub format: LogFormat,
    /// Where lines are also written, as JSON; nowhere without it. Each process needs
    /// a file of its own.
    pub file: Option<PathBuf>,
    /// Size in bytes at which the file is archived; 4096 or more.
    pub file_max_size: u64,
    /// Age at which it is; a second or more.
    pub file_max_age: Duration,
    /// Archives that are kept, the newest.
    pub file_keep: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OtlpConfig {
    /// A collector of traces over HTTP, such as `http://collector:4318`; none without
    /// it. `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Option<String>,
    /// Of the traces that begin here, how many of a hundred are sent; callers decide
    /// about those that they began.
    pub sample_percent: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Public HTTP.
    pub listen: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`, `/admin`; none without it. `millrace dev` too.
    pub admin_listen: Option<SocketAddr>,
    /// Runtimes to call, any of which will do. A name may stand for several,
    /// which are followed as they come and go.
    pub runtime: Vec<PeerAddress>,
    /// Orchestrator to call.
    pub orchestrator: Option<PeerAddress>,
    /// Largest request body that is taken, in bytes.
    pub body_limit: u64,
    /// The certificate of the public listener and those between it and the
    /// authority, in PEM, for HTTPS; plain HTTP without it. Read again when it
    /// changes.
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM and not encrypted.
    pub tls_key: Option<PathBuf>,
    /// Connections at once; more wait until one ends.
    pub max_connections: u32,
    /// How long a caller may take for the headers of a request, and for its
    /// first request after connecting.
    pub header_timeout: Duration,
    /// How long a gateway that was asked to stop still serves, with `/readyz`
    /// saying so: the time that load balancers need to notice.
    pub stop_delay: Duration,
    /// Proxies that are believed about where a request comes from: addresses
    /// or CIDR blocks.
    pub trusted_proxies: Vec<String>,
    /// Where they say so: `x-forwarded-for` or `forwarded`.
    pub forwarded_header: ForwardedHeader,
    /// How often one API key may call, as webhooks' rate limits are written:
    /// `{"limit": 100, "per": "PT1S", "burst": 200}`; unlimited without it.
    pub rate_per_key: Option<RateLimit>,
    /// The same for one address, whoever calls from there, those that are
    /// refused included.
    pub rate_per_address: Option<RateLimit>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeConfig {
    /// gRPC.
    pub listen: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`, `/admin`; none without it.
    pub admin_listen: Option<SocketAddr>,
    /// `embedded`, or addresses of engines, with commas between them. A name
    /// may stand for several.
    pub engine: RuntimeEngine,
    /// Executions that this process runs at once; what comes on top stays
    /// PENDING for any instance.
    pub max_running: u32,
    /// Whether executions are run at all, or only admitted.
    pub dispatch: bool,
    /// How long the heartbeat of an incarnation stands before its executions
    /// may be taken over.
    pub lease_ttl: Duration,
    /// How long a stop waits for what runs.
    pub drain: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// gRPC, when the engine is a process of its own.
    pub listen: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`, `/admin`; none without it.
    pub admin_listen: Option<SocketAddr>,
    pub egress: EgressConfig,
    /// A folder with one file for each secret that workflows may declare in
    /// `use.secrets`. Each workflow may use all of them.
    pub secrets_dir: Option<PathBuf>,
    /// How long a stop waits for executions to end or wait, before the rest
    /// is handed back to the runtimes.
    pub drain: Duration,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct EgressConfig {
    /// What workflows may call besides public addresses: `private`,
    /// `loopback`, an address, a network such as `10.1.0.0/16`, a host, or
    /// `*.internal` for all hosts below a domain.
    pub allow: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrchestratorConfig {
    /// gRPC.
    pub listen: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`, `/admin`; none without it.
    pub admin_listen: Option<SocketAddr>,
    /// Whose workloads it runs: the same after a restart, and nobody else's.
    /// The host's name without it.
    pub node_id: Option<String>,
    /// Logs and data of services. `millrace dev` uses its own folder.
    pub data_dir: PathBuf,
    /// Folders that projects may lie in. Without any, `millrace dev` allows
    /// every folder, and an orchestrator none.
    pub roots: Vec<String>,
    /// What services listen on.
    pub ports: PortRange,
    /// A folder with one file for each secret that services may ask for.
    pub secrets_dir: Option<PathBuf>,
    /// Where gateways reach what listens on this host.
    pub host: String,
    /// The Node that runs dataobjects; looked for on PATH without it.
    pub node: Option<PathBuf>,
    /// What services reach each other below. `millrace dev` knows its own.
    pub gateway_url: Option<String>,
    /// Whether services run on when the orchestrator stops, for the next one
    /// to take them up. In a container they cannot: there, `false` stops them
    /// in order. They start again with the orchestrator.
    pub keep_services: bool,
}

/// TLS between the roles. Files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TlsConfig {
    /// What this process shows to other roles: its certificate and those
    /// between it and the authority, in PEM. With it, gRPC is served over TLS,
    /// and others call it at `https://…`.
    pub cert: Option<PathBuf>,
    /// The key of the certificate, in PEM and not encrypted.
    pub key: Option<PathBuf>,
    /// The authorities that vouch for other roles, in PEM; those of the system
    /// without it. With it, callers of gRPC are asked for a certificate, and
    /// one that is vouched for may call everything.
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RetentionConfig {
    /// How long ended executions are kept.
    pub days: u32,
}

/// What gateways and runtimes have to agree on about webhooks.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhooksConfig {
    /// Seals the secrets of webhooks: the base64 of 32 random bytes. Needed
    /// where a webhook has secrets; `millrace dev` makes one of its own.
    pub sealing_key: Option<Secret<String>>,
    /// The key before that, while some secrets are still sealed with it.
    pub old_sealing_key: Option<Secret<String>>,
    /// How long the name of a message, and an event, is known.
    pub dedupe_keep: Duration,
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthConfig {
    /// `none`, or `keys`: callers present an API key that `millrace keys`
    /// made. Without it, a role listens to this machine only.
    pub mode: AuthMode,
    /// What the roles know each other by: a secret of 32 characters or more,
    /// the same for all of them. Whoever presents it may call everything.
    pub internal_token: Option<InternalToken>,
    /// How long a key that was looked up is believed: as long may one that was
    /// revoked go on.
    pub cache_ttl: Duration,
    /// Whether `/metrics` of the gateway needs no key. That of `admin_listen`
    /// never does.
    pub open_metrics: bool,
    /// Whether `/health` shows its details without a key.
    pub open_health: bool,
    /// Whether `/services/…` needs no key.
    pub open_services: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DevConfig {
    /// Where `millrace dev` keeps everything.
    pub data_dir: PathBuf,
    /// Whether services run on when it stops.
    pub keep_services: bool,
}

/// Nothing listens to the network unless it is told to.
const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            max_connections: 16,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            file: None,
            file_max_size: 64 * 1024 * 1024,
            file_max_age: Duration::from_hours(24),
            file_keep: 10,
        }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_percent: 100,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: local(8080),
            admin_listen: None,
            runtime: vec![PeerAddress::from(local(50051))],
            orchestrator: Some(PeerAddress::from(local(50052))),
            body_limit: 1024 * 1024,
            tls_cert: None,
            tls_key: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            stop_delay: Duration::from_secs(3),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            rate_per_key: None,
            rate_per_address: None,
        }
    }
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            listen: local(50051),
            admin_listen: None,
            engine: RuntimeEngine::Embedded,
            max_running: 1024,
            dispatch: true,
            lease_ttl: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            listen: local(50053),
            admin_listen: None,
            egress: EgressConfig::default(),
            secrets_dir: None,
            drain: Duration::from_secs(20),
        }
    }
}

impl Default for OrchestratorConfig {
    fn default() -> Self {
        Self {
            listen: local(50052),
            admin_listen: None,
            node_id: None,
            data_dir: PathBuf::from(".millrace-orchestrator"),
            roots: Vec::new(),
            ports: PortRange {
                first: 3100,
                last: 3200,
            },
            secrets_dir: None,
            host: "127.0.0.1".to_owned(),
            node: None,
            gateway_url: None,
            keep_services: true,
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { days: 30 }
    }
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        Self {
            sealing_key: None,
            old_sealing_key: None,
            dedupe_keep: Duration::from_hours(24),
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::None,
            internal_token: None,
            cache_ttl: Duration::from_secs(5),
            open_metrics: false,
            open_health: false,
            open_services: false,
        }
    }
}

impl Default for DevConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".millrace"),
            keep_services: false,
        }
    }
}
