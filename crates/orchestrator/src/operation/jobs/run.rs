//! The life of one job, in a task of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millrace_service::CancellationToken;
use millrace_shim::log::Keep;
use millrace_shim::reader::LogReader;
use millrace_shim::record::Entry;
use millrace_shim::sys::SIGKILL;
use millrace_types::InstanceId;
use tokio::sync::{mpsc, oneshot};

use super::{Job, JobError, JobEvent, Jobs, MAX_TIMEOUT};
use crate::backend::{Ended, Instance, Order, Owner};
use crate::logs::Follower;
use crate::process::leftovers::INSTANCE_VARIABLE;
use crate::workload::inherited;

/// Bytes of output that may wait on the disk.
const MAX_OUTPUT: u64 = 1 << 30;
/// Entries that are read at once.
const READ: usize = 256;

/// Starts it, says what came of that, and runs it to its end, with nothing
/// left of it.
pub(super) async fn run(
    jobs: &Jobs,
    job: &Job,
    events: mpsc::Sender<JobEvent>,
    told: oneshot::Sender<Result<(), JobError>>,
    stop: CancellationToken,
) {
    let id = InstanceId::new();
    match begin(jobs, id, job, &events).await {
        // Who has gone reads neither the answer nor events.
        Ok(run) => {
            let _ = told.send(Ok(()));
            run.complete(job, stop).await;
        }
        Err(Unstarted::End(end)) => {
            // There is room: it is the first.
            let _ = events.try_send(end);
            let _ = told.send(Ok(()));
        }
        Err(Unstarted::Error(error)) => {
            let _ = told.send(Err(error));
        }
    }
    let backend = Arc::clone(&jobs.backend);
    let forget = tokio::task::spawn_blocking(move || backend.forget(id));
    let _ = forget.await;
}

async fn begin(
    jobs: &Jobs,
    id: InstanceId,
    job: &Job,
    events: &mpsc::Sender<JobEvent>,
) -> Result<Run, Unstarted> {
    let mut instance = start(jobs, id, job).await?;
    match Output::new(jobs, id) {
        Ok(output) => Ok(Run {
            instance,
            output,
            events: events.clone(),
        }),
        Err(error) => {
            kill(&mut *instance).await;
            let exit = instance.observe().await;
            instance.close(exit).await;
            let message = format!("its output cannot be followed: {error}");
            Err(Unstarted::Error(JobError::Start(message)))
        }
    }
}

/// Why nothing runs.
enum Unstarted {
    /// It is the job's end.
    End(JobEvent),
    Error(JobError),
}

async fn start(jobs: &Jobs, id: InstanceId, job: &Job) -> Result<Box<dyn Instance>, Unstarted> {
    let mut env = inherited();
    env.extend(job.env.clone());
    env.insert(INSTANCE_VARIABLE.into(), id.to_string());
    let order = Order {
        id,
        owner: Owner::Job(id),
        command: &job.command,
        working_dir: job.within.working_dir.as_deref(),
        stdin: Some(job.stdin.as_bytes()),
        env: &env,
        keep: Keep {
            max_bytes: MAX_OUTPUT,
            max_age: MAX_TIMEOUT,
            instances: 0,
        },
        resources: &job.limits,
        enforce: job.within.enforce,
        user: job.within.user.as_deref(),
        isolation: job.within.isolation,
        readable: &job.within.readable,
        writable: &job.within.writable,
        note: "",
    };
    let started = jobs.backend.start(order).await;
    started.map_err(|error| match error.reason {
        "limits-refused" => Unstarted::Error(JobError::Limits(error.message)),
        "command-not-found" | "command-not-executable" => Unstarted::End(JobEvent::Ended {
            code: None,
            signal: None,
            reason: error.reason,
            message: error.message,
        }),
        _ => Unstarted::Error(JobError::Start(error.message)),
    })
}

/// How a job came to its end.
enum Over {
    /// Its caller has gone, or nobody can read it.
    Dropped,
    /// With why it was killed, where it was.
    Ended(Option<Cut>),
}

/// Why a job was killed that had not come to its end.
#[derive(Debug, Clone, Copy)]
enum Cut {
    TimedOut,
    Cancelled,
}

struct Run {
    instance: Box<dyn Instance>,
    output: Output,
    events: mpsc::Sender<JobEvent>,
}

impl Run {
    async fn complete(mut self, job: &Job, stop: CancellationToken) {
        let over = tokio::select! {
            () = stop.cancelled() => Over::Dropped,
            over = self.follow(job) => over,
        };
        if matches!(over, Over::Dropped) {
            kill(&mut *self.instance).await;
        }
        let exit = self.instance.observe().await;
        let ended = self.instance.close(exit).await;
        let Over::Ended(cut) = over else {
            return;
        };
        let rest = async {
            if self.output.hand_on_what_is_there(&self.events).await {
                // Nobody has to wait for it.
                let _ = self.events.send(end(&ended, cut)).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rest => {}
        }
    }

    /// Hands on what it writes, until it has ended. Its time is over when it
    /// is, however much it writes and however slowly that is read.
    async fn follow(&mut self, job: &Job) -> Over {
        let Self {
            instance,
            output,
            events,
        } = self;
        let deadline = tokio::time::sleep(job.timeout);
        let hand_on = output.hand_on(events);
        tokio::pin!(deadline, hand_on);
        let mut cut = None;
        loop {
            tokio::select! {
                biased;
                () = events.closed() => return Over::Dropped,
                _ = instance.observe() => return Over::Ended(cut),
                () = job.cancel.cancelled(), if cut.is_none() => {
                    cut = Some(Cut::Cancelled);
                    kill(&mut **instance).await;
                }
                () = &mut deadline, if cut.is_none() => {
                    cut = Some(Cut::TimedOut);
                    kill(&mut **instance).await;
                }
                () = &mut hand_on => return Over::Dropped,
            }
        }
    }
}

async fn kill(instance: &mut dyn Instance) {
    instance.stop(SIGKILL, Duration::ZERO).await;
}

fn end(ended: &Ended, cut: Option<Cut>) -> JobEvent {
    let (reason, message) = match (ended.exit, cut, ended.out_of_memory) {
        (_, Some(Cut::TimedOut), _) => ("timeout", "it took longer than it may"),
        (_, Some(Cut::Cancelled), _) => ("cancelled", "it was cancelled"),
        (None, ..) => ("lost", "its shim is gone"),
        (Some(_), None, true) => (
            "out-of-memory",
            "it was killed for using more memory than it may",
        ),
        (Some(_), None, false) => ("", ""),
    };
    JobEvent::Ended {
        code: ended.exit.and_then(|exit| exit.code),
        signal: ended.exit.and_then(|exit| exit.signal),
        reason,
        message: message.to_owned(),
    }
}

/// What a job has written, on its way to the caller.
struct Output {
    reader: LogReader,
    follower: Follower,
    /// Read, and not handed on yet.
    waiting: VecDeque<Entry>,
}

impl Output {
    fn new(jobs: &Jobs, id: InstanceId) -> std::io::Result<Self> {
        let log = jobs.backend.logs(Owner::Job(id));
        Ok(Self {
            follower: jobs.hub.follow(&log)?,
            reader: LogReader::after(&log, 0),
            waiting: VecDeque::new(),
        })
    }

    /// Hands on what is there and what comes, as long as somebody takes it.
    /// Can be dropped at any time, and loses nothing.
    async fn hand_on(&mut self, events: &mpsc::Sender<JobEvent>) {
        while self.hand_on_what_is_there(events).await {
            self.follower.changed().await;
        }
    }

    /// `false` when the caller has gone.
    async fn hand_on_what_is_there(&mut self, events: &mpsc::Sender<JobEvent>) -> bool {
        loop {
            if self.waiting.is_empty() {
                match self.reader.read(READ) {
                    Ok(entries) => self.waiting.extend(entries),
                    Err(error) => {
                        tracing::warn!(%error, "the output of a job cannot be read: {error}");
                    }
                }
            }
            if self.waiting.is_empty() {
                return true;
            }
            let Ok(permit) = events.reserve().await else {
                return false;
            };
            // Only now: whoever drops this while it waits gets it again.
            if let Some(entry) = self.waiting.pop_front() {
                permit.send(JobEvent::Output(entry));
            }
        }
    }
}
