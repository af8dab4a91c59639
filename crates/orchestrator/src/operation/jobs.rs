//! One-off processes, run to their end: by the same shim as services, so that
//! limits, logs and the end of the whole tree are the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_service::{CancellationToken, OnFailure};
use millrace_shim::log::Keep;
use millrace_shim::reader::LogReader;
use millrace_shim::record::Entry;
use millrace_shim::sys::SIGKILL;
use millrace_types::{ErrorKind, InstanceId};
use tokio::sync::mpsc;

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::backend::{Ended, Instance, Order, Owner};
use crate::orchestrator::Shared;
use crate::process::leftovers::INSTANCE_VARIABLE;
use crate::spec::{Isolation, Resources};
use crate::workload::inherited;

/// Events that wait for a caller who is slow; the rest waits on the disk.
const WAITING: usize = 64;
/// Bytes of output that may wait there.
const MAX_OUTPUT: u64 = 1 << 30;
/// Entries that are read at once.
const READ: usize = 256;

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
    /// Starts it. When the receiver is dropped, all of it is killed.
    pub(crate) async fn run_job(&self, job: Job) -> Result<mpsc::Receiver<JobEvent>, JobError> {
        check(&job)?;
        let id = InstanceId::new();
        let (events, receiver) = mpsc::channel(WAITING);
        let run = match Run::start(&self.shared, id, &job).await? {
            Ok(run) => run,
            Err(end) => {
                // There is room: it is the first.
                let _ = events.try_send(end);
                return Ok(receiver);
            }
        };
        let shared = Arc::clone(&self.shared);
        self.shared
            .streams
            .spawn("job", OnFailure::Log, move |stop| async move {
                run.complete(&shared, &events, job.timeout, stop).await;
                Ok::<(), std::convert::Infallible>(())
            });
        Ok(receiver)
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

struct Run {
    id: InstanceId,
    instance: Box<dyn Instance>,
}

/// How a job came to its end.
enum Over {
    /// Its caller has gone, or nobody can read it.
    Dropped,
    Ended {
        timed_out: bool,
    },
}

impl Run {
    /// What it says of a program that cannot be run is the job's end.
    async fn start(
        shared: &Shared,
        id: InstanceId,
        job: &Job,
    ) -> Result<Result<Self, JobEvent>, JobError> {
        let dir = shared.run_dir(id);
        let failed = |error: std::io::Error| {
            let _ = std::fs::remove_dir_all(&dir);
            JobError::Start(error.to_string())
        };
        let work = dir.join("work");
        std::fs::create_dir_all(&work).map_err(failed)?;
        let stdin = dir.join("stdin");
        std::fs::write(&stdin, &job.stdin).map_err(failed)?;
        let mut env = inherited();
        env.extend(job.env.clone());
        env.insert(INSTANCE_VARIABLE.into(), id.to_string());
        let order = Order {
            id,
            owner: Owner::Job(id),
            command: &job.command,
            working_dir: &work,
            stdin: Some(&stdin),
            env: &env,
            keep: Keep {
                max_bytes: MAX_OUTPUT,
                max_age: MAX_TIMEOUT,
                instances: 0,
            },
            resources: &job.limits,
            enforce: true,
            user: None,
            isolation: Isolation::Basic,
            readable: &[],
            writable: &[],
            note: "",
        };
        let error = match shared.backend.start(order).await {
            Ok(instance) => return Ok(Ok(Self { id, instance })),
            Err(error) => error,
        };
        shared.backend.forget(id);
        match error.reason {
            "limits-refused" => Err(JobError::Limits(error.message)),
            "command-not-found" | "command-not-executable" => Ok(Err(JobEvent::Ended {
                code: None,
                signal: None,
                reason: error.reason,
                message: error.message,
            })),
            _ => Err(JobError::Start(error.message)),
        }
    }

    /// Runs it to its end, with nothing left of it.
    async fn complete(
        mut self,
        shared: &Shared,
        events: &mpsc::Sender<JobEvent>,
        timeout: Duration,
        stop: CancellationToken,
    ) {
        let log = shared.backend.logs(Owner::Job(self.id));
        let mut reader = LogReader::after(&log, 0);
        let over = tokio::select! {
            () = stop.cancelled() => Over::Dropped,
            over = self.follow(shared, &mut reader, events, timeout) => over,
        };
        if matches!(over, Over::Dropped) {
            self.kill().await;
        }
        let exit = self.instance.observe().await;
        let ended = self.instance.close(exit).await;
        if let Over::Ended { timed_out } = over
            && hand_on(&mut reader, events).await
        {
            // Nobody has to wait for it.
            let _ = events.send(end(&ended, timed_out)).await;
        }
        let backend = Arc::clone(&shared.backend);
        let forget = tokio::task::spawn_blocking(move || backend.forget(self.id));
        let _ = forget.await;
    }

    /// Hands on what it writes, until it has ended.
    async fn follow(
        &mut self,
        shared: &Shared,
        reader: &mut LogReader,
        events: &mpsc::Sender<JobEvent>,
        timeout: Duration,
    ) -> Over {
        let log = shared.backend.logs(Owner::Job(self.id));
        let Ok(mut follower) = shared.hub.follow(&log) else {
            return Over::Dropped;
        };
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        let mut timed_out = false;
        loop {
            tokio::select! {
                biased;
                () = events.closed() => return Over::Dropped,
                _ = self.instance.observe() => return Over::Ended { timed_out },
                () = &mut deadline, if !timed_out => {
                    timed_out = true;
                    self.kill().await;
                }
                () = follower.changed() => {
                    if !hand_on(reader, events).await {
                        return Over::Dropped;
                    }
                }
            }
        }
    }

    async fn kill(&mut self) {
        self.instance.stop(SIGKILL, Duration::ZERO).await;
    }
}

fn end(ended: &Ended, timed_out: bool) -> JobEvent {
    let (reason, message) = match (ended.exit, timed_out, ended.out_of_memory) {
        (_, true, _) => ("timeout", "it took longer than it may"),
        (None, ..) => ("lost", "its shim is gone"),
        (Some(_), false, true) => (
            "out-of-memory",
            "it was killed for using more memory than it may",
        ),
        (Some(_), false, false) => ("", ""),
    };
    JobEvent::Ended {
        code: ended.exit.and_then(|exit| exit.code),
        signal: ended.exit.and_then(|exit| exit.signal),
        reason,
        message: message.to_owned(),
    }
}

/// `false` when the caller has gone.
async fn hand_on(reader: &mut LogReader, events: &mpsc::Sender<JobEvent>) -> bool {
    loop {
        let entries = match reader.read(READ) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the output of a job cannot be read");
                return true;
            }
        };
        if entries.is_empty() {
            return true;
        }
        for entry in entries {
            if events.send(JobEvent::Output(entry)).await.is_err() {
                return false;
            }
        }
    }
}
