//! Whether a resource can be served, before it is: its module is loaded and
//! its definition is read, in a process that ends at once.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::node::Node;

/// How long loading a module may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What of a message is shown: a stack says the rest to nobody.
const MAX_MESSAGE: usize = 2000;

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
    Run(std::io::Error),
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

/// Loads `entry`, an absolute path, as the service called `service`; `server`
/// is what [`super::install`] answered.
pub async fn check(
    node: &Node,
    server: &Path,
    entry: &Path,
    service: &str,
) -> Result<(), CheckError> {
    let run = Command::new(&node.program)
        .arg(server.join("main.mjs"))
        .arg("check")
        .arg(entry)
        // The author's code runs here: it gets nothing of this process.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("MILLRACE_SERVICE", service)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .map_err(|_| CheckError::Timeout)?
        .map_err(CheckError::Run)?;
    // The module may have said something of its own before.
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.trim_end().lines().next_back().unwrap_or_default();
    match serde_json::from_str::<Outcome>(last) {
        Ok(outcome) if outcome.findings.is_empty() => Ok(()),
        Ok(outcome) => Err(CheckError::Definition(
            outcome
                .findings
                .into_iter()
                .map(|finding| (finding.pointer, shorten(&finding.message)))
                .collect(),
        )),
        Err(_) => Err(CheckError::Crashed {
            status: output.status.to_string(),
            output: shorten(&String::from_utf8_lossy(&output.stderr)),
        }),
    }
}

fn shorten(text: &str) -> String {
    text.trim().chars().take(MAX_MESSAGE).collect()
}
