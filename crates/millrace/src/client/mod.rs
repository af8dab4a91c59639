//! The command line's verbs: each calls the public HTTP API of a running
//! server, as any other client would.

mod cancel;
mod delete;
mod deploy;
mod deployments;
mod execution;
mod executions;
mod fires;
mod health;
mod logs;
mod pause;
mod plan;
mod problem;
mod project;
mod projects;
mod rerun;
mod rollback;
mod server;
pub mod table;
mod trigger;
mod versions;
mod watch;
mod workload;
mod workloads;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::ClientCommand;
use crate::verb::{self, VerbError};
use problem::Problem;

/// Why a verb did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller's mistake; nothing was asked of the server.
    #[error("{0}")]
    Usage(String),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("no answer from {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{0}")]
    Refused(Problem),
    #[error("{server} does not answer as a Millrace server does: {reason}")]
    Foreign { server: String, reason: String },
    #[error("there is no deployment named `{0}`")]
    NoSuchDeployment(String),
    #[error("there is no project with the key `{0}`")]
    NoSuchProject(String),
    #[error("there is no workload of `{0}`")]
    NoSuchWorkload(String),
    #[error("several deployments are named `{name}`; give an id: {ids}")]
    Ambiguous { name: String, ids: String },
    #[error("deployment `{0}` has no schedule")]
    NoSchedule(String),
    #[error("deployment `{name}` has several schedules; give the id of one: {triggers}")]
    SeveralSchedules { name: String, triggers: String },
    /// It was waited for, and it did not end well. All is said already.
    #[error("")]
    NotSucceeded,
    #[error("the stream of execution {0} broke off again and again")]
    BrokenOff(String),
    #[error("not ready ({status}): {why}")]
    NotReady { status: u16, why: String },
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl VerbError for ClientError {
    fn output(&self) -> Option<&io::Error> {
        match self {
            Self::Output(error) => Some(error),
            _ => None,
        }
    }

    fn is_said(&self) -> bool {
        matches!(self, Self::NotSucceeded)
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::File { .. } => ExitCode::from(crate::USAGE),
            _ => ExitCode::FAILURE,
        }
    }
}

pub fn main(command: ClientCommand) -> ExitCode {
    verb::main(run(command))
}

async fn run(command: ClientCommand) -> Result<(), ClientError> {
    match command {
        ClientCommand::Deploy(args) => deploy::run(args).await,
        ClientCommand::Plan(args) => plan::run(args).await,
        ClientCommand::Trigger(args) => trigger::run(args).await,
        ClientCommand::Deployments(args) => deployments::run(args).await,
        ClientCommand::Executions(args) => executions::run(args).await,
        ClientCommand::Execution(args) => execution::run(args).await,
        ClientCommand::Cancel(args) => cancel::run(args).await,
        ClientCommand::Rerun(args) => rerun::run(args).await,
        ClientCommand::Versions(args) => versions::run(args).await,
        ClientCommand::Rollback(args) => rollback::run(args).await,
        ClientCommand::Pause(args) => pause::run(args, "pause").await,
        ClientCommand::Resume(args) => pause::run(args, "resume").await,
        ClientCommand::Delete(args) => delete::run(args).await,
        ClientCommand::Fires(args) => fires::fires(args).await,
        ClientCommand::Preview(args) => fires::preview(args).await,
        ClientCommand::Projects(args) => projects::run(args).await,
        ClientCommand::Project(command) => project::run(command).await,
        ClientCommand::Workloads(args) => workloads::run(args).await,
        ClientCommand::Workload(args) => workload::show(args).await,
        ClientCommand::Start(args) => workload::start(args).await,
        ClientCommand::Stop(args) => workload::stop(args).await,
        ClientCommand::Restart(args) => workload::restart(args).await,
        ClientCommand::DeleteWorkload(args) => workload::delete(args).await,
        ClientCommand::Health(args) => health::run(args).await,
        ClientCommand::Logs(args) => logs::run(args).await,
    }
}

/// The text of a file, or of standard input for `-`.
fn read_text(path: &Path) -> Result<String, ClientError> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })
}
