//! One-off processes, run to their end: by the same shim as services, so that
//! limits, logs and the end of the whole tree are the same.

mod run;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use millrace_service::OnFailure;
use millrace_shim::record::Entry;
use millrace_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::spec::Resources;

/// Events that wait for a caller who is slow; the rest waits on the disk.
const WAITING: usize = 64;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Job {
    pub command: Vec<String>,
    pub stdin: String,
    pub env: BTreeMap<String, String>,
    pub timeout: Duration,
    pub limits: Resources,
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
}

impl Kind for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCommand | Self::Variable(_) | Self::Nul | Self::Timeout => ErrorKind::Invalid,
            Self::Limits(_) => ErrorKind::Precondition,
            Self::Start(_) => ErrorKind::Internal,
        }
    }
}

/// A day.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

impl WorkloadOrchestrator {
    /// Starts it. When the receiver is dropped, or this call is, all of it is
    /// killed.
    pub(crate) async fn run_job(&self, job: Job) -> Result<mpsc::Receiver<JobEvent>, JobError> {
        check(&job)?;
        let (events, receiver) = mpsc::channel(WAITING);
        let (told, started) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // Whoever asked for it may go at any time, also while it is being
        // started: nothing that has begun depends on that.
        self.shared
            .streams
            .spawn("job", OnFailure::Log, move |stop| async move {
                run::run(&shared, &job, events, told, stop).await;
                Ok::<(), Infallible>(())
            });
        match started.await {
            Ok(Ok(())) => Ok(receiver),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(JobError::Start("this process is at its end".into())),
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
