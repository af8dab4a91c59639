//! What the verbs of projects and workloads take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{PageArgs, ServerArgs};

#[derive(Debug, Args)]
pub struct ProjectsArgs {
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Make a project known: a folder, or what comes from Git
    Create(ProjectCreateArgs),
    /// Fetch a project that comes from Git again
    Update(ProjectUpdateArgs),
    /// List the services in its folder
    Services(ProjectNamedArgs),
    /// Forget a project that has no workloads
    Delete(ProjectNamedArgs),
}

#[derive(Debug, Args)]
pub struct ProjectCreateArgs {
    /// The folder that has src/services/
    #[arg(
        value_name = "FOLDER",
        required_unless_present = "git",
        conflicts_with = "git"
    )]
    pub path: Option<PathBuf>,
    /// Fetch it from this address instead
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,
    /// A branch, a tag or a commit [default: the default branch]
    #[arg(long = "ref", value_name = "REF", requires = "git")]
    pub reference: Option<String>,
    /// Its short name in addresses, such as TODO
    #[arg(long)]
    pub key: String,
    /// Its name [default: the key]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct ProjectUpdateArgs {
    /// The project's key or id
    pub project: String,
    /// Another branch, tag or commit from now on
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct ProjectNamedArgs {
    /// The project's key or id
    pub project: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct WorkloadsArgs {
    /// Only those of this project: its key or id
    pub project: Option<String>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct WorkloadArgs {
    /// PROJECT/SERVICE, or the workload's id
    #[arg(value_name = "PROJECT/SERVICE")]
    pub workload: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct WorkloadVerbArgs {
    /// PROJECT/SERVICE, a workload's id, or a project
    #[arg(value_name = "PROJECT[/SERVICE]")]
    pub what: String,
    /// Wait up to a minute until it is done; fail unless it is
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

impl WorkloadVerbArgs {
    /// Whether a project is meant, rather than one service.
    pub fn is_project(&self) -> bool {
        !self.what.contains('/') && self.what.parse::<millrace_types::WorkloadId>().is_err()
    }
}

#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    pub verb: WorkloadVerbArgs,
    /// Start the new instance before the old one is stopped
    #[arg(long)]
    pub blue_green: bool,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// PROJECT/SERVICE, or the workload's id
    #[arg(value_name = "PROJECT/SERVICE")]
    pub workload: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with at most this many of the last lines
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub tail: u32,
    /// Only stdout, stderr or system
    #[arg(long)]
    pub stream: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}
