//! The command line: roles and the client's verbs.

mod keys;
mod services;

use std::convert::Infallible;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use millrace_service::config::Sources;
use millrace_service::secret::Secret;

pub use keys::*;
pub use services::*;

/// Deploys workflows and runs services.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Role(RoleCommand),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// Processes.
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// Run everything in one process, with nothing else installed
    Dev(DevArgs),
    /// Serve the public HTTP API
    Gateway(GatewayArgs),
    /// Run workflow deployments
    Runtime(RuntimeArgs),
    /// Run workloads
    Orchestrator(OrchestratorArgs),
    /// Execute workflow definitions for runtimes elsewhere
    Engine(PlainArgs),
    /// Bring the database's tables up to date
    Migrate(MigrateArgs),
}

impl RoleCommand {
    /// As it is called on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dev(_) => "dev",
            Self::Gateway(_) => "gateway",
            Self::Runtime(_) => "runtime",
            Self::Orchestrator(_) => "orchestrator",
            Self::Engine(_) => "engine",
            Self::Migrate(_) => "migrate",
        }
    }
}

/// What every role takes.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file [default: millrace.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that would hold, without secrets, and exit
    #[arg(long)]
    pub print_config: bool,
    /// Log level, or levels by target: info,millrace_runtime=debug
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    pub common: Common,
    /// Where everything is kept [default: ./.millrace]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// HTTP [default: 127.0.0.1:8080]; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The runtime's gRPC [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    pub runtime_listen: Option<String>,
    /// The orchestrator's gRPC [default: 127.0.0.1:50052]
    #[arg(long, value_name = "ADDRESS")]
    pub orchestrator_listen: Option<String>,
    /// Where to serve /livez, /readyz, /metrics and /admin
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// A database instead of the file in the data directory
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Let services run on when it stops
    #[arg(long)]
    pub keep_services: bool,
    /// When ready, print one line of JSON with the addresses
    #[arg(long)]
    pub ready_json: bool,
    /// Who is let in: none, or keys
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
}

#[derive(Debug, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    pub plain: PlainArgs,
    /// Runtimes to call, with commas between them
    #[arg(long, value_name = "ADDRESSES")]
    pub runtime: Option<String>,
    /// Orchestrator to call
    #[arg(long, value_name = "ADDRESS")]
    pub orchestrator: Option<String>,
    /// Who is let in: none, or keys
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
}

#[derive(Debug, Args)]
pub struct RuntimeArgs {
    #[command(flatten)]
    pub plain: PlainArgs,
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// `embedded`, or addresses of engines
    #[arg(long, value_name = "ADDRESSES")]
    pub engine: Option<String>,
    /// Who is let in: none, or keys
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
}

#[derive(Debug, Args)]
pub struct OrchestratorArgs {
    #[command(flatten)]
    pub plain: PlainArgs,
    /// Where logs and data of services are kept [default: ./.millrace-orchestrator]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Folders that projects may lie in, with commas between them
    #[arg(long, value_name = "DIRS")]
    pub roots: Option<String>,
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Who is let in: none, or keys
    #[arg(long, value_name = "MODE")]
    pub auth: Option<String>,
}

/// A role that listens.
#[derive(Debug, Args)]
pub struct PlainArgs {
    #[command(flatten)]
    pub common: Common,
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where to serve /livez, /readyz, /metrics and /admin
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// When ready, print one line of JSON with the address
    #[arg(long)]
    pub ready_json: bool,
}

#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub common: Common,
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

impl RoleCommand {
    pub const fn common(&self) -> &Common {
        match self {
            Self::Dev(args) => &args.common,
            Self::Gateway(args) => &args.plain.common,
            Self::Runtime(args) => &args.plain.common,
            Self::Orchestrator(args) => &args.plain.common,
            Self::Engine(args) => &args.common,
            Self::Migrate(args) => &args.common,
        }
    }

    /// The layers of configuration, with the flags on top.
    pub fn sources(&self) -> Sources {
        let common = self.common();
        let mut sources = Sources::of_process(common.config.clone());
        let mut flag = |name, key, value: &Option<String>| sources.flag(name, key, value.as_ref());
        flag("--log", "log.level", &common.log);
        match self {
            Self::Dev(args) => {
                flag("--auth", "auth.mode", &args.auth);
                flag("--data-dir", "dev.data_dir", &args.data_dir);
                flag("--listen", "gateway.listen", &args.listen);
                flag("--runtime-listen", "runtime.listen", &args.runtime_listen);
                flag(
                    "--orchestrator-listen",
                    "orchestrator.listen",
                    &args.orchestrator_listen,
                );
                flag("--admin-listen", "gateway.admin_listen", &args.admin_listen);
                flag("--database-url", "database.url", &args.database_url);
                let keep = args.keep_services.then(|| "true".to_owned());
                flag("--keep-services", "dev.keep_services", &keep);
            }
            Self::Gateway(args) => {
                flag("--auth", "auth.mode", &args.auth);
                flag("--listen", "gateway.listen", &args.plain.listen);
                flag(
                    "--admin-listen",
                    "gateway.admin_listen",
                    &args.plain.admin_listen,
                );
                flag("--runtime", "gateway.runtime", &args.runtime);
                flag("--orchestrator", "gateway.orchestrator", &args.orchestrator);
            }
            Self::Runtime(args) => {
                flag("--auth", "auth.mode", &args.auth);
                flag("--listen", "runtime.listen", &args.plain.listen);
                flag(
                    "--admin-listen",
                    "runtime.admin_listen",
                    &args.plain.admin_listen,
                );
                flag("--database-url", "database.url", &args.database_url);
                flag("--redis-url", "redis.url", &args.redis_url);
                flag("--engine", "runtime.engine", &args.engine);
            }
            Self::Orchestrator(args) => {
                flag("--auth", "auth.mode", &args.auth);
                flag("--listen", "orchestrator.listen", &args.plain.listen);
                flag(
                    "--admin-listen",
                    "orchestrator.admin_listen",
                    &args.plain.admin_listen,
                );
                flag("--data-dir", "orchestrator.data_dir", &args.data_dir);
                flag("--roots", "orchestrator.roots", &args.roots);
                flag("--database-url", "database.url", &args.database_url);
            }
            Self::Engine(args) => {
                flag("--listen", "engine.listen", &args.listen);
                flag("--admin-listen", "engine.admin_listen", &args.admin_listen);
            }
            Self::Migrate(args) => flag("--database-url", "database.url", &args.database_url),
        }
        sources
    }
}

/// Verbs against a running server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Make a workflow live
    Deploy(DeployArgs),
    /// Say what a deploy would change, and change nothing
    Plan(DeployArgs),
    /// Start an execution
    Trigger(TriggerArgs),
    /// List deployments
    Deployments(DeploymentsArgs),
    /// List executions, the newest first
    Executions(ExecutionsArgs),
    /// Show one execution and its history
    Execution(ExecutionArgs),
    /// End an execution
    Cancel(CancelArgs),
    /// Run an execution once more, with its input and on its version
    Rerun(RerunArgs),
    /// List the versions of a deployment, the newest first
    Versions(VersionsArgs),
    /// Make an earlier version live, with its triggers and settings
    Rollback(RollbackArgs),
    /// Take no triggers until it is resumed; what runs goes on
    Pause(DeploymentArgs),
    /// Take triggers again
    Resume(DeploymentArgs),
    /// Archive a deployment; its history stays
    Delete(DeploymentArgs),
    /// List what became of each occurrence of a schedule, the newest first
    Fires(FiresArgs),
    /// List the occurrences of a schedule to come
    Preview(PreviewArgs),
    /// List projects of services
    Projects(ProjectsArgs),
    /// Make, look into or delete a project of services
    #[command(subcommand)]
    Project(ProjectCommand),
    /// List workloads: services that were deployed
    Workloads(WorkloadsArgs),
    /// Show one workload and its instances
    Workload(WorkloadArgs),
    /// Start a service, or all those of a project
    Start(WorkloadVerbArgs),
    /// Stop a service, or all those of a project
    Stop(WorkloadVerbArgs),
    /// Restart a service
    Restart(RestartArgs),
    /// Stop a service for good: its logs and its data are deleted
    DeleteWorkload(WorkloadArgs),
    /// Print what a service has written
    Logs(LogsArgs),
    /// Ask a role on this machine whether it is ready; fail when it is not
    Health(HealthArgs),
}

/// What every verb takes.
#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(
        long,
        env = "MILLRACE_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
    /// The API key to show, where the server asks for one; the variable keeps it from lists of
    /// processes
    #[arg(
        long,
        env = "MILLRACE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = secret
    )]
    pub api_key: Option<Secret<String>>,
    /// Print the server's answer as it is
    #[arg(long)]
    pub json: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "what clap calls")]
fn secret(text: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The workflow document; `-` reads it from standard input
    #[arg(value_name = "FILE.yaml")]
    pub file: PathBuf,
    /// Path below /webhooks/ that starts it
    #[arg(long, value_name = "PATH")]
    pub webhook: Vec<String>,
    /// Schedule that starts it
    #[arg(long, value_name = "EXPR")]
    pub cron: Vec<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// The deployment's name or id
    pub name: String,
    /// The input: JSON, `@file`, or `@-` for standard input
    #[arg(
        long,
        value_name = "JSON|@FILE",
        default_value = "{}",
        hide_default_value = true
    )]
    pub input: String,
    /// Wait up to a minute for the end; fail unless it succeeded
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct DeploymentsArgs {
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct ExecutionsArgs {
    /// Only those of this deployment: its name or id
    pub name: Option<String>,
    /// Only those in this status, such as FAILED
    #[arg(long)]
    pub status: Option<String>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// For health checks in containers that have no shell and no curl.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// What to ask, on the listener of `--admin-listen`
    #[arg(
        long,
        env = "MILLRACE_HEALTH_URL",
        default_value = "http://127.0.0.1:9090/readyz",
        value_name = "URL"
    )]
    pub url: String,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Where an earlier list ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Debug, Args)]
pub struct ExecutionArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print what happens as it happens, until the end; fail unless it succeeded
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Kept with the execution
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct RerunArgs {
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where to begin: start, or failedTask
    #[arg(long, value_name = "PLACE", default_value = "start")]
    pub from: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// One deployment.
#[derive(Debug, Args)]
pub struct DeploymentArgs {
    /// Its name or id
    pub name: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct VersionsArgs {
    /// The deployment's name or id
    pub name: String,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The deployment's name or id
    pub name: String,
    /// The number of the version
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub version: u32,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct FiresArgs {
    /// The id of a schedule, or the name or id of a deployment that has one
    pub name: String,
    /// Only occurrences then or later, such as 2026-12-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only occurrences before
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The id of a schedule, or the name or id of a deployment that has one
    pub name: String,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    #[command(flatten)]
    pub server: ServerArgs,
}
