//! `service.json`: what a service is and how it is run. Read with all its
//! mistakes at once, each with its JSON pointer and line; a key that is not
//! known is refused, never ignored.

mod place;
mod probe;
mod read;
mod reader;
mod resources;
mod restart;

use std::collections::BTreeMap;
use std::time::Duration;

pub use read::{is_service_name, read};
pub use restart::{Backoff, RestartPolicy, RestartRules};

/// The JSON Schema of `service.json` (2020-12).
pub const SCHEMA: &str = include_str!("../../../../docs/service.schema.json");

/// The file in a service's folder.
pub const FILE: &str = "service.json";

/// Largest `service.json` that is read, in bytes.
pub const MAX_BYTES: u64 = 256 * 1024;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer; empty for the whole document.
    pub pointer: String,
    /// 1-based; 0 when unknown.
    pub line: u32,
    /// 1-based; 0 when unknown.
    pub column: u32,
    pub message: String,
}

/// A service, as its `service.json` says, with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSpec {
    pub name: String,
    pub kind: ServiceKind,
    /// Of a `dataobject`: its module, relative to the folder.
    pub entry: Option<String>,
    /// Of a `process`: always there.
    pub command: Option<CommandLine>,
    pub build: Option<BuildSpec>,
    pub env: BTreeMap<String, EnvValue>,
    /// Whether it listens on a port that it is given.
    pub port: bool,
    pub health: Health,
    pub restart: RestartRules,
    pub stop: StopSpec,
    pub resources: Resources,
    /// Names of services of the same project.
    pub depends_on: Vec<String>,
    pub logs: LogLimits,
    pub isolation: Isolation,
    /// The user that it runs as; the orchestrator's own without it.
    pub user: Option<String>,
}

impl ServiceSpec {
    /// Of a process of which nothing else is known: the defaults.
    pub(crate) fn unknown(name: &str, port: bool) -> Self {
        Self {
            name: name.to_owned(),
            kind: ServiceKind::Process,
            entry: None,
            command: None,
            build: None,
            env: BTreeMap::new(),
            port,
            health: Health::default(),
            restart: RestartRules::default(),
            stop: StopSpec::default(),
            resources: Resources::default(),
            depends_on: Vec::new(),
            logs: LogLimits::default(),
            isolation: Isolation::None,
            user: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    Dataobject,
    Process,
    Container,
}

impl ServiceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dataobject => "dataobject",
            Self::Process => "process",
            Self::Container => "container",
        }
    }
}

/// A program and its arguments; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(pub Vec<String>);

impl CommandLine {
    /// What a string stands for.
    pub fn shell(text: &str) -> Self {
        Self(vec!["sh".into(), "-c".into(), text.into()])
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSpec {
    /// Without it: what the folder asks for, such as `npm ci`.
    pub command: Option<CommandLine>,
    /// Glob patterns, relative to the folder; what the result depends on.
    /// Empty: every file of the folder.
    pub inputs: Vec<String>,
    /// 10 minutes by default.
    pub timeout: Duration,
}

impl Default for BuildSpec {
    fn default() -> Self {
        Self {
            command: None,
            inputs: Vec::new(),
            timeout: Duration::from_mins(10),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    Literal(String),
    /// The name after `secret:`.
    Secret(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    pub startup: Option<Probe>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub check: Check,
    /// From the start of one to the start of the next; 10 s by default.
    pub interval: Duration,
    /// 1 s by default.
    pub timeout: Duration,
    /// In a row; 1 by default.
    pub success_threshold: u32,
    /// In a row; 3 by default.
    pub failure_threshold: u32,
    /// How long failures do not count after the start; none by default.
    pub start_period: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// GET; healthy from 200 to 399.
    Http { path: String },
    /// A connection to the port.
    Tcp,
    /// Healthy when it exits with 0.
    Exec(CommandLine),
    /// `grpc.health.v1.Health/Check` of this service; empty for the server.
    Grpc { service: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopSpec {
    /// Its number; SIGTERM by default.
    pub signal: i32,
    /// 10 s by default.
    pub grace: Duration,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self {
            signal: 15,
            grace: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes, of the whole tree.
    pub memory: Option<u64>,
    /// Thousandths of a processor, of the whole tree.
    pub cpu_millis: Option<u32>,
    /// Processes and threads of the whole tree.
    pub pids: Option<u32>,
    /// File descriptors of each process.
    pub open_files: Option<u32>,
}

impl Resources {
    pub const fn is_unlimited(&self) -> bool {
        self.memory.is_none()
            && self.cpu_millis.is_none()
            && self.pids.is_none()
            && self.open_files.is_none()
    }
}

/// What of the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLimits {
    /// Of all segments together; 64 MiB by default.
    pub max_bytes: u64,
    /// 14 days by default.
    pub max_age: Duration,
    /// Besides the present one; 10 by default.
    pub keep_instances: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_age: Duration::from_hours(14 * 24),
            keep_instances: 10,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    None,
    /// No new privileges.
    Basic,
    /// No new privileges, and writing only where it has to.
    Strict,
}

#[cfg(test)]
mod tests;
