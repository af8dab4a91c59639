//! What builds and the orchestrator itself have to say.

use std::path::{Path, PathBuf};

use millrace_shim::log::{Appender, Keep, now};
use millrace_shim::record::{MAX_LINE, Meta, PARTIAL, Stage, Stream, encode};
use tokio::sync::mpsc;

use crate::prepare::{LogLine, LogStream};

/// Bytes of lines in one write.
const BATCH: usize = 256 * 1024;

const fn stream(stream: LogStream) -> Stream {
    match stream {
        LogStream::Stdout => Stream::Stdout,
        LogStream::Stderr => Stream::Stderr,
        LogStream::System => Stream::System,
    }
}

fn put(buffer: &mut Vec<u8>, of: Stream, stage: Stage, line: &[u8]) {
    let mut meta = Meta {
        at: now(),
        instance: 0,
        stream: of,
        stage,
        flags: PARTIAL,
    };
    let mut rest = line;
    while rest.len() > MAX_LINE {
        let (part, after) = rest.split_at(MAX_LINE);
        encode(buffer, &meta, part);
        rest = after;
    }
    meta.flags = 0;
    encode(buffer, &meta, rest);
}

/// Enters a line of Millrace's own. A disk that fails must not stop what is
/// being told about.
pub(crate) async fn say(directory: &Path, keep: Keep, stage: Stage, line: String) {
    let directory = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::new();
        put(&mut buffer, Stream::System, stage, line.as_bytes());
        Appender::open(&directory, keep, false)?.append(&mut buffer)
    })
    .await;
    if let Ok(Err(error)) = done {
        tracing::warn!(%error, "a line of a workload's log could not be written");
    }
}

/// Writes the lines that come, until all writers are gone.
pub(crate) async fn collect(
    directory: PathBuf,
    keep: Keep,
    stage: Stage,
    mut lines: mpsc::Receiver<LogLine>,
) {
    let mut received = Vec::new();
    while lines.recv_many(&mut received, 256).await > 0 {
        let directory = directory.clone();
        let batch = std::mem::take(&mut received);
        let done = tokio::task::spawn_blocking(move || {
            let mut appender = Appender::open(&directory, keep, false)?;
            let mut buffer = Vec::new();
            for line in batch {
                put(&mut buffer, stream(line.stream), stage, &line.line);
                if buffer.len() > BATCH {
                    appender.append(&mut buffer)?;
                    buffer.clear();
                }
            }
            appender.append(&mut buffer)
        })
        .await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "lines of a build could not be written");
        }
    }
}
