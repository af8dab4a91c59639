//! One-off processes, run to their end: by the same shim as services, so that
//! limits, logs and the end of the whole tree are the same. Callers have
//! theirs, and so has what makes services ready: builds, and looks at what is
//! to be served.

mod run;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_service::{CancellationToken, OnFailure, TaskGroup};
use millrace_shim::record::Entry;
use millrace_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};

use super::Kind;
use crate::backend::Backend;
use crate::logs::LogHub;
use crate::process::ProcessBackend;
use crate::spec::{Isolation, Resources};

/// Events that wait for a caller who is slow; the rest waits on the disk.
const WAITING: usize = 64;

/// What runs jobs.
#[derive(Debug, Clone)]
pub struct Jobs {
    backend: Arc<dyn Backend>,
    hub: Arc<LogHub>,
    tasks: TaskGroup,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Job {
    pub command: Vec<String>,
    pub stdin: String,
    /// Besides what every service gets.
    pub env: BTreeMap<String, String>,
    /// At most [`MAX_TIMEOUT`].
    pub timeout: Duration,
    pub limits: Resources,
    pub within: Within,
    /// Kills all of it; its end is told once nothing is left.
    pub cancel: CancellationToken,
}

/// Where a job runs, and what confines it.
#[derive(Debug, Clone)]
pub(crate) struct Within {
    /// An empty folder of its own, without one.
    pub working_dir: Option<PathBuf>,
    pub user: Option<String>,
    pub isolation: Isolation,
    /// Folders of Millrace that `isolation: strict` lets it read.
    pub readable: Vec<PathBuf>,
    /// Folders that it lets it write.
    pub writable: Vec<PathBuf>,
    /// Whether a limit that cannot be enforced is a reason not to start.
    pub enforce: bool,
}

impl Default for Within {
    fn default() -> Self {
        Self {
            working_dir: None,
            user: None,
            isolation: Isolation::Basic,
            readable: Vec::new(),
            writable: Vec::new(),
            enforce: true,
        }
    }
}

/// What comes of it, in this order; the end is the last one.
#[derive(Debug)]
pub(crate) enum JobEvent {
    Output(Entry),
    Ended {
        code: Option<i32>,
        signal: Option<i32>,
        reason: &'static str,
        message: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("`command` has to name a program")]
    NoCommand,
    #[error("`env`: `{0}` is no name of a variable, or its value holds a NUL character")]
    Variable(String),
    #[error("`command` and `stdin` must not hold NUL characters")]
    Nul,
    #[error("`timeout_ms` has to be at most 86,400,000")]
    Timeout,
    #[error("this host cannot enforce the limits: {0}")]
    Limits(String),
    #[error("the job cannot be started: {0}")]
    Start(String),
    #[error("this process is at its end")]
    AtEnd,
}

impl Kind for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCommand | Self::Variable(_) | Self::Nul | Self::Timeout => ErrorKind::Invalid,
            Self::Limits(_) => ErrorKind::Precondition,
            Self::Start(_) | Self::AtEnd => ErrorKind::Internal,
        }
    }
}

/// A day.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_hours(24);

impl Jobs {
    /// Those of this group are killed when it stops.
    pub(crate) fn new(backend: Arc<dyn Backend>, hub: Arc<LogHub>, tasks: TaskGroup) -> Self {
        Self {
            backend,
            hub,
            tasks,
        }
    }

    /// Of nobody's orchestrator: what they need is kept in `folder`.
    pub fn open(folder: &Path, tasks: &TaskGroup) -> io::Result<Self> {
        for name in ["run", "workloads", "bin"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let hub = Arc::new(LogHub::new()?);
        let running = Arc::clone(&hub);
        tasks.spawn("log-hub", OnFailure::StopService, |stop| running.run(stop));
        let backend = Arc::new(ProcessBackend::new(folder, "jobs", None)?);
        Ok(Self::new(backend, hub, tasks.clone()))
    }

    /// Starts it. When the receiver is dropped, or this call is, all of it is
    /// killed. Without an end, this process is at its own.
    pub(crate) async fn run(&self, job: Job) -> Result<mpsc::Receiver<JobEvent>, JobError> {
        check(&job)?;
        let (events, receiver) = mpsc::channel(WAITING);
        let (told, started) = oneshot::channel();
        let jobs = self.clone();
        // Whoever asked for it may go at any time, also while it is being
        // started: nothing that has begun depends on that.
        self.tasks
            .spawn("job", OnFailure::Log, move |stop| async move {
                run::run(&jobs, &job, events, told, stop).await;
                Ok::<(), Infallible>(())
            });
        match started.await {
            Ok(Ok(())) => Ok(receiver),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(JobError::AtEnd),
        }
    }
}

fn check(job: &Job) -> Result<(), JobError> {
    if job.command.first().is_none_or(String::is_empty) {
        return Err(JobError::NoCommand);
    }
    if job.command.iter().any(|word| word.contains('\0')) {
        return Err(JobError::Nul);
    }
    for (name, value) in &job.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(JobError::Variable(name.clone()));
        }
    }
    if job.timeout > MAX_TIMEOUT {
        return Err(JobError::Timeout);
    }
    Ok(())
}
