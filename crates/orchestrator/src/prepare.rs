//! The contract between the stages of a workload and what makes a service
//! ready to run: the stage machine calls [`Prepare::validate`] in `validate`
//! and [`Prepare::prepare`] in `build`; what comes back is what `deploy` runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millrace_service::CancellationToken;
use millrace_types::WorkloadId;
use tokio::sync::mpsc;

pub use crate::operation::Jobs;
use crate::spec::{Finding, ServiceSpec};

/// What there is to prepare. All paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct PrepareRequest<'a> {
    pub workload_id: WorkloadId,
    pub spec: &'a ServiceSpec,
    /// The service's folder, canonical and within the allowed roots.
    pub dir: &'a Path,
    /// The project's folder; `.tools/` lies in it.
    pub project_dir: &'a Path,
    /// A folder of this workload alone, kept until it is deleted. It exists.
    pub data_dir: &'a Path,
    /// A folder of it for temporary files, where it does not share that of
    /// all. It exists.
    pub temporary_dir: Option<&'a Path>,
    /// A folder for results that are found again by the digest of their
    /// inputs, shared by all workloads of this orchestrator. It exists.
    pub cache_dir: &'a Path,
    /// Goes into the workload's log, marked with the stage.
    pub log: &'a LogWriter,
    /// Runs what there is to run.
    pub jobs: &'a Jobs,
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedCommand {
    /// The program, absolute or found on PATH, and its arguments.
    pub command: Vec<String>,
    pub working_dir: PathBuf,
    /// Added to what every service gets (PORT, `MILLRACE_*`, PATH, HOME, LANG,
    /// TZ, TMPDIR) and to what its service.json declares, which wins.
    pub env: BTreeMap<String, String>,
    /// Folders besides `data_dir` that `isolation: strict` lets it write.
    pub writable: Vec<PathBuf>,
}

/// Why a stage failed: it makes the workload `failed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    /// A word for programs: `invalid-spec`, `node-missing`, `build-failed`,
    /// `build-timeout`, `cancelled`, …
    pub reason: &'static str,
    /// Says what is wrong and how to mend it.
    pub message: String,
    pub findings: Vec<Finding>,
}

impl StageError {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            findings: Vec::new(),
        }
    }

    /// Whether it may pass by itself: it lies in what is around the service,
    /// or in what it is built from, and not in what is asked for.
    pub(crate) fn is_passing(&self) -> bool {
        [
            "start-failed",
            "limits-refused",
            "ports-exhausted",
            "port-taken",
            "git-failed",
            "build-failed",
            "build-timeout",
            "internal",
        ]
        .contains(&self.reason)
    }
}

/// Makes services ready to run. One for all workloads.
#[async_trait]
pub trait Prepare: Send + Sync + 'static {
    /// Whether this service can be run here at all; changes nothing.
    async fn validate(&self, request: PrepareRequest<'_>) -> Result<(), StageError>;

    /// Builds what there is to build. When `cancel` is cancelled it ends
    /// soon, with every process that it has started gone.
    async fn prepare(
        &self,
        request: PrepareRequest<'_>,
        cancel: CancellationToken,
    ) -> Result<PreparedCommand, StageError>;
}

/// Runs what the command says, in the service's folder, and builds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunAsIs;

#[async_trait]
impl Prepare for RunAsIs {
    async fn validate(&self, request: PrepareRequest<'_>) -> Result<(), StageError> {
        if request.spec.command.is_none() {
            let kind = request.spec.kind.as_str();
            return Err(StageError::new(
                "not-built",
                format!("this version runs no services of type {kind} yet"),
            ));
        }
        if request.spec.build.is_some() {
            return Err(StageError::new(
                "not-built",
                "this version runs no builds yet: remove `build` from service.json",
            ));
        }
        Ok(())
    }

    async fn prepare(
        &self,
        request: PrepareRequest<'_>,
        _cancel: CancellationToken,
    ) -> Result<PreparedCommand, StageError> {
        let command = request.spec.command.clone().map(|command| command.0);
        Ok(PreparedCommand {
            command: command.unwrap_or_default(),
            working_dir: request.dir.to_owned(),
            env: BTreeMap::new(),
            writable: Vec::new(),
        })
    }
}

/// Which stream of the log a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
    /// What Millrace itself has to say.
    System,
}

/// A line on its way into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub stream: LogStream,
    /// Without its newline; need not be UTF-8.
    pub line: Vec<u8>,
}

/// Lines that wait for the disk, at most.
const WAITING: usize = 256;

/// Writes into the log of one workload, in one stage. Clones write into the
/// same log.
#[derive(Debug, Clone)]
pub struct LogWriter {
    lines: mpsc::Sender<LogLine>,
}

impl LogWriter {
    /// The other end gets the lines in order; it may be dropped.
    pub fn channel() -> (Self, mpsc::Receiver<LogLine>) {
        let (lines, receiver) = mpsc::channel(WAITING);
        (Self { lines }, receiver)
    }

    /// Waits while the disk is slow. What nobody takes any more is dropped.
    pub async fn write(&self, stream: LogStream, line: impl Into<Vec<u8>>) {
        let line = line.into();
        let _ = self.lines.send(LogLine { stream, line }).await;
    }
}
