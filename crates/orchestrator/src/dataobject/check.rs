//! Whether a resource can be served, before it is: its module is loaded and
//! its definition is read, in a process that ends at once. The author's code
//! runs in it, so it is confined as the service is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_service::CancellationToken;
use millrace_shim::record::{PARTIAL, Stream};
use serde::Deserialize;

use crate::node::Node;
use crate::operation::{Job, JobError, JobEvent, Within};
use crate::prepare::PrepareRequest;
use crate::user;

/// How long loading a module may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What of a message is shown: a stack says the rest to nobody.
const MAX_MESSAGE: usize = 2000;
/// Bytes of an answer, and of what a crash says, that are read.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a resource cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// All that is wrong: JSON pointers into the definition, and what is wrong
    /// there. The whole module has the pointer "".
    #[error("the definition is wrong at {} places: {}", .0.len(), join(.0))]
    Definition(Vec<(String, String)>),
    #[error("loading it takes longer than {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("Node ends with {status} while it loads it: {output}")]
    Crashed { status: String, output: String },
    #[error("Node cannot be run: {0}")]
    Run(String),
}

fn join(findings: &[(String, String)]) -> String {
    let texts: Vec<String> = findings
        .iter()
        .map(|(pointer, message)| format!("{pointer} {message}").trim().to_owned())
        .collect();
    texts.join("; ")
}

#[derive(Deserialize)]
struct Outcome {
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    pointer: String,
    message: String,
}

/// Loads `entry`, an absolute path, as the service of this request; `server`
/// is what [`super::install`] answered.
pub async fn check(
    node: &Node,
    server: &Path,
    entry: &Path,
    request: PrepareRequest<'_>,
) -> Result<(), CheckError> {
    let mut events = match request.jobs.run(job(node, server, entry, request)?).await {
        Ok(events) => events,
        // And so is whoever waits for this.
        Err(JobError::AtEnd) => return std::future::pending().await,
        Err(error) => return Err(CheckError::Run(error.to_string())),
    };
    // The module may say something of its own before.
    let (mut answer, mut errors) = (Vec::new(), Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            JobEvent::Output(entry) if entry.meta.stream == Stream::Stdout => {
                // Long ones come in parts.
                if !is_open(&answer) {
                    answer.clear();
                }
                let rest = MAX_ANSWER.saturating_sub(answer.len());
                answer.extend_from_slice(&entry.line[..entry.line.len().min(rest)]);
                if entry.meta.flags & PARTIAL == 0 {
                    answer.push(b'\n');
                }
            }
            JobEvent::Output(entry) => {
                let rest = MAX_ANSWER.saturating_sub(errors.len());
                errors.extend_from_slice(&entry.line[..entry.line.len().min(rest)]);
                errors.push(b'\n');
            }
            JobEvent::Ended {
                code,
                signal,
                reason,
                message,
            } => {
                let status = match (reason, code, signal) {
                    ("timeout", ..) => return Err(CheckError::Timeout),
                    ("", Some(code), _) => format!("exit status: {code}"),
                    ("", None, Some(signal)) => format!("signal: {signal}"),
                    ("command-not-found" | "command-not-executable", ..) => {
                        return Err(CheckError::Run(message));
                    }
                    _ => message,
                };
                return outcome(&answer, status, &errors);
            }
        }
    }
    // This process is at its end, and so is whoever waits for this.
    std::future::pending().await
}

/// Whether more comes of the last line.
fn is_open(answer: &[u8]) -> bool {
    answer.last().is_some_and(|byte| *byte != b'\n')
}

fn job(
    node: &Node,
    server: &Path,
    entry: &Path,
    request: PrepareRequest<'_>,
) -> Result<Job, CheckError> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let spec = request.spec;
    let mut env = BTreeMap::from([("MILLRACE_SERVICE".to_owned(), spec.name.clone())]);
    env.extend(
        request
            .temporary_dir
            .map(|dir| ("TMPDIR".to_owned(), text(dir))),
    );
    if let Some(name) = &spec.user {
        let user = user::find(name).map_err(|error| CheckError::Run(error.to_string()))?;
        env.insert("HOME".into(), user.home);
    }
    Ok(Job {
        command: vec![
            text(&node.program),
            text(&server.join("main.mjs")),
            "check".into(),
            text(entry),
        ],
        stdin: String::new(),
        env,
        timeout: PATIENCE,
        limits: spec.resources.clone(),
        within: Within {
            working_dir: Some(request.dir.to_owned()),
            user: spec.user.clone(),
            isolation: spec.isolation,
            readable: [request.project_dir, request.cache_dir]
                .map(PathBuf::from)
                .into(),
            writable: request
                .temporary_dir
                .map(PathBuf::from)
                .into_iter()
                .collect(),
            enforce: false,
        },
        cancel: CancellationToken::new(),
    })
}

fn outcome(answer: &[u8], status: String, errors: &[u8]) -> Result<(), CheckError> {
    match serde_json::from_slice::<Outcome>(answer) {
        Ok(outcome) if outcome.findings.is_empty() => Ok(()),
        Ok(outcome) => Err(CheckError::Definition(
            outcome
                .findings
                .into_iter()
                .map(|finding| (finding.pointer, shorten(&finding.message)))
                .collect(),
        )),
        Err(_) => Err(CheckError::Crashed {
            status,
            output: shorten(&String::from_utf8_lossy(errors)),
        }),
    }
}

fn shorten(text: &str) -> String {
    text.trim().chars().take(MAX_MESSAGE).collect()
}
