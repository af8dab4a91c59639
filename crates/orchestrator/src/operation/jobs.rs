//! One-off processes, run to their end: by the same shim as services, so that
//! limits, logs and the end of the whole tree are the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_service::OnFailure;
use millrace_shim::launch::Launch;
use millrace_shim::log::Keep;
use millrace_shim::reader::LogReader;
use millrace_shim::record::Entry;
use millrace_shim::sys::SIGKILL;
use millrace_shim::wire::{Request, State};
use millrace_types::{ErrorKind, InstanceId};
use tokio::sync::mpsc;

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::orchestrator::Shared;
use crate::process::leftovers::INSTANCE_VARIABLE;
use crate::process::{ShimLink, Start, Told, spawn};
use crate::spec::Resources;
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
        let run = Run::start(&self.shared, id, &job).await?;
        let (events, receiver) = mpsc::channel(WAITING);
        let shared = Arc::clone(&self.shared);
        self.shared
            .streams
            .spawn("job", OnFailure::Log, move |stop| async move {
                let mut run = run;
                tokio::select! {
                    () = stop.cancelled() => run.kill().await,
                    () = run.follow(&shared, &events, job.timeout) => {}
                }
                run.clean_up().await;
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
    dir: PathBuf,
    link: ShimLink,
    placement: crate::limits::Placement,
    id: InstanceId,
}

impl Run {
    async fn start(shared: &Shared, id: InstanceId, job: &Job) -> Result<Self, JobError> {
        let failed = |error: std::io::Error| JobError::Start(error.to_string());
        let dir = shared.run_dir(id);
        let work = dir.join("work");
        std::fs::create_dir_all(&work).map_err(failed)?;
        let stdin = dir.join("stdin");
        std::fs::write(&stdin, &job.stdin).map_err(failed)?;
        let placement = shared
            .host
            .place(&id.to_string(), &job.limits)
            .map_err(|error| JobError::Limits(error.to_string()))?;
        if placement.description.contains("not enforced") {
            let description = placement.description.clone();
            placement.remove().await;
            let _ = std::fs::remove_dir_all(&dir);
            return Err(JobError::Limits(description));
        }
        let mut env = inherited();
        env.extend(job.env.clone());
        env.insert(INSTANCE_VARIABLE.into(), id.to_string());
        let launch = Launch {
            instance: id.as_u128(),
            command: job.command.iter().map(Into::into).collect(),
            working_dir: work,
            stdin: Some(stdin),
            env: env.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            log_dir: dir.join("log"),
            keep: Keep {
                max_bytes: MAX_OUTPUT,
                max_age: MAX_TIMEOUT,
                instances: 0,
            },
            cgroups: placement.procs(),
            cgroup_kill: placement.kill.clone(),
            limits: placement.limits.clone(),
            user: None,
            no_new_privs: true,
        };
        let start = Start {
            launch: &launch,
            run_dir: &dir,
            spec_json: "",
        };
        match spawn(&shared.shim, start).await {
            Ok(link) => Ok(Self {
                dir,
                link,
                placement,
                id,
            }),
            Err(error) => {
                placement.remove().await;
                let _ = std::fs::remove_dir_all(&dir);
                Err(JobError::Start(error.to_string()))
            }
        }
    }

    /// Hands on what it writes, and its end.
    async fn follow(
        &mut self,
        shared: &Shared,
        events: &mpsc::Sender<JobEvent>,
        timeout: Duration,
    ) {
        let log = self.dir.join("log");
        let Ok(mut follower) = shared.hub.follow(&log) else {
            return self.kill().await;
        };
        let mut reader = LogReader::after(&log, 0);
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        let mut timed_out = false;
        let told = loop {
            tokio::select! {
                biased;
                () = events.closed() => return self.kill().await,
                told = self.link.ended() => break told,
                () = &mut deadline, if !timed_out => {
                    timed_out = true;
                    self.link.ask(Request::Stop { signal: SIGKILL, grace_ms: 0 }).await;
                }
                () = follower.changed() => {
                    if !hand_on(&mut reader, events).await {
                        return self.kill().await;
                    }
                }
            }
        };
        if hand_on(&mut reader, events).await {
            let end = self.end(&told, timed_out);
            // Nobody has to wait for it.
            let _ = events.send(end).await;
        }
    }

    fn end(&self, told: &Told, timed_out: bool) -> JobEvent {
        let (code, signal, mut reason, mut message) = match told {
            Told::State(State::Exited(exit)) => (exit.code, exit.signal, "", String::new()),
            Told::State(State::Failed { errno, message }) => {
                let reason = if *errno == 2 {
                    "command-not-found"
                } else {
                    "start-failed"
                };
                (None, None, reason, message.clone())
            }
            _ => (None, None, "lost", "its shim is gone".to_owned()),
        };
        if timed_out {
            reason = "timeout";
            "it took longer than it may".clone_into(&mut message);
        } else if reason.is_empty() && self.placement.out_of_memory() {
            reason = "out-of-memory";
            "it was killed for using more memory than it may".clone_into(&mut message);
        }
        JobEvent::Ended {
            code,
            signal,
            reason,
            message,
        }
    }

    async fn kill(&mut self) {
        let request = Request::Stop {
            signal: SIGKILL,
            grace_ms: 0,
        };
        self.link.ask(request).await;
        self.link.ended().await;
    }

    async fn clean_up(mut self) {
        if self.link.ended().await == Told::Lost {
            crate::process::leftovers::kill(self.id).await;
        }
        self.placement.remove().await;
        let _ = tokio::fs::remove_dir_all(&self.dir).await;
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
