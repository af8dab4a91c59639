//! Running a build's command: behind a shim as a service, so that nothing of
//! it is left afterwards; its output into the log, and within its time.

use std::path::PathBuf;

use millrace_service::CancellationToken;
use millrace_shim::record::{Entry, Stream};

use super::{Plan, cancelled, failed, tree};
use crate::operation::{Job, JobError, JobEvent, MAX_TIMEOUT, Within};
use crate::prepare::{LogStream, LogWriter, PrepareRequest, StageError};
use crate::spec::{Isolation, Resources};

/// Returns once the command has succeeded, and nothing that it started is left.
pub async fn run(
    plan: &Plan,
    request: PrepareRequest<'_>,
    cancel: &CancellationToken,
) -> Result<(), StageError> {
    let mut env = tree::handed_on(is_handed_on);
    env.insert("CI".into(), "true".into());
    // Found by it, should this process and the shim be killed.
    env.extend([tree::mark(request.cache_dir)]);
    let job = Job {
        command: plan.command.clone(),
        stdin: String::new(),
        env,
        timeout: plan.timeout.min(MAX_TIMEOUT),
        limits: Resources::default(),
        within: Within {
            working_dir: Some(PathBuf::from(request.dir)),
            isolation: Isolation::None,
            ..Within::default()
        },
        cancel: cancel.clone(),
    };
    let mut events = match request.jobs.run(job).await {
        Ok(events) => events,
        // And so is whoever waits for this.
        Err(JobError::AtEnd) => return std::future::pending().await,
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut last = Last::default();
    while let Some(event) = events.recv().await {
        match event {
            JobEvent::Output(entry) => last.write(entry, request.log).await,
            JobEvent::Ended {
                code,
                signal,
                reason,
                message,
            } => return ended(plan, code, signal, reason, &message, last),
        }
    }
    // This process is at its end, and so is whoever waits for this.
    std::future::pending().await
}

fn ended(
    plan: &Plan,
    code: Option<i32>,
    signal: Option<i32>,
    reason: &str,
    message: &str,
    last: Last,
) -> Result<(), StageError> {
    let status = match (reason, code, signal) {
        ("", Some(0), _) => return Ok(()),
        ("cancelled", ..) => return Err(cancelled()),
        ("timeout", ..) => {
            let message = format!(
                "`{}` takes longer than {} s; `build.timeout` says how long it may",
                plan.title,
                plan.timeout.as_secs_f64()
            );
            return Err(StageError::new("build-timeout", message));
        }
        ("", Some(code), _) => format!("exit status: {code}"),
        ("", None, Some(signal)) => format!("signal: {signal}"),
        _ => return Err(failed(format!("`{}` cannot be run: {message}", plan.title))),
    };
    let last = last.err.or(last.out);
    let last = last.map_or_else(String::new, |last| format!(": {last}"));
    Err(failed(format!(
        "`{}` ended with {status}{last}",
        plan.title
    )))
}

/// What a build needs besides: where packages come from on this machine.
fn is_handed_on(name: &str) -> bool {
    ["HOME", "LANG", "NODE_EXTRA_CA_CERTS"].contains(&name)
        || name.to_ascii_lowercase().starts_with("npm_config_")
}

/// The last lines that say something.
#[derive(Default)]
struct Last {
    out: Option<String>,
    err: Option<String>,
}

impl Last {
    /// Writes the line into the log, and keeps it.
    async fn write(&mut self, entry: Entry, log: &LogWriter) {
        let text: String = String::from_utf8_lossy(&entry.line)
            .trim()
            .chars()
            .take(300)
            .collect();
        let text = Some(text).filter(|text| !text.is_empty());
        let stream = match entry.meta.stream {
            Stream::Stdout => {
                self.out = text.or(self.out.take());
                LogStream::Stdout
            }
            Stream::Stderr => {
                self.err = text.or(self.err.take());
                LogStream::Stderr
            }
            Stream::System => LogStream::System,
        };
        log.write(stream, entry.line).await;
    }
}
