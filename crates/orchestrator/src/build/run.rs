//! Running a build's command: its output into the log, within its time, and
//! with nothing of it left afterwards.

use std::path::Path;
use std::process::ExitStatus;

use millrace_service::CancellationToken;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::time::sleep;

use super::tree::Tree;
use super::{Plan, cancelled, failed};
use crate::prepare::{LogStream, LogWriter, StageError};

/// Longest line; what is longer is split.
const MAX_LINE: usize = 64 * 1024;

/// Returns once the command has succeeded, and nothing that it started is left.
pub async fn run(
    plan: &Plan,
    dir: &Path,
    cache_dir: &Path,
    log: &LogWriter,
    cancel: &CancellationToken,
) -> Result<(), StageError> {
    let (program, arguments) = plan
        .command
        .split_first()
        .ok_or_else(|| failed("the build has no command".into()))?;
    // Inherited by all that it starts, however far from home that goes.
    let tree = Tree::new(cache_dir);
    let mut child = tree
        .command(program, is_handed_on)
        .args(arguments)
        .current_dir(dir)
        .env("CI", "true")
        .spawn()
        .map_err(|error| failed(format!("`{program}` cannot be run: {error}")))?;
    // A build whose caller goes away must not go on by itself.
    let guard = tree.guard();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("its output cannot be read".into()));
    };
    let output = async {
        tokio::join!(
            copy(stdout, LogStream::Stdout, log),
            copy(stderr, LogStream::Stderr, log)
        )
    };
    let until = async {
        tokio::select! {
            () = sleep(plan.timeout) => false,
            () = cancel.cancelled() => true,
        }
    };
    // Also what it left behind when it ended well goes: a build has no daemons.
    let done = guard.see_through(&mut child, output, until).await;
    let last = done.output.and_then(|(out, err)| err.or(out));
    match done.ended {
        Err(true) => Err(cancelled()),
        Err(false) => Err(StageError::new(
            "build-timeout",
            format!(
                "`{}` takes longer than {} s; `build.timeout` says how long it may",
                plan.title,
                plan.timeout.as_secs_f64()
            ),
        )),
        Ok(Err(error)) => Err(failed(format!("`{}`: {error}", plan.title))),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ended_badly(plan, status, last)),
    }
}

fn ended_badly(plan: &Plan, status: ExitStatus, last: Option<String>) -> StageError {
    let last = last.map_or_else(String::new, |last| format!(": {last}"));
    failed(format!("`{}` ended with {status}{last}", plan.title))
}

/// What a build needs besides: where packages come from on this machine.
fn is_handed_on(name: &str) -> bool {
    ["HOME", "LANG", "NODE_EXTRA_CA_CERTS"].contains(&name)
        || name.to_ascii_lowercase().starts_with("npm_config_")
}

/// Writes each line into the log; answers the last one that says something.
async fn copy(
    output: impl AsyncRead + Unpin,
    stream: LogStream,
    log: &LogWriter,
) -> Option<String> {
    let mut output = BufReader::with_capacity(16 * 1024, output);
    let mut line = Vec::new();
    let mut last = None;
    loop {
        let bytes = match output.fill_buf().await {
            Ok(bytes) if !bytes.is_empty() => bytes,
            // Its end; an error of a pipe is one, too.
            _ => break,
        };
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let room = MAX_LINE - line.len();
        let taken = end.unwrap_or(bytes.len()).min(room);
        line.extend_from_slice(&bytes[..taken]);
        let is_whole = end == Some(taken);
        output.consume(taken + usize::from(is_whole));
        if is_whole || line.len() >= MAX_LINE {
            write(&mut line, stream, log, &mut last).await;
        }
    }
    if !line.is_empty() {
        write(&mut line, stream, log, &mut last).await;
    }
    last
}

async fn write(line: &mut Vec<u8>, stream: LogStream, log: &LogWriter, last: &mut Option<String>) {
    let text: String = String::from_utf8_lossy(line)
        .trim()
        .chars()
        .take(300)
        .collect();
    if !text.is_empty() {
        *last = Some(text);
    }
    log.write(stream, std::mem::take(line)).await;
}
