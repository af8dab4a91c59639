//! What builds and the orchestrator itself have to say.

use std::path::{Path, PathBuf};

use millrace_shim::log::{Appender, Keep, now};
use millrace_shim::record::{DROPPED, MAX_LINE, Meta, PARTIAL, Stage, Stream, encode};
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
    let meta = Meta {
        at: now(),
        instance: 0,
        stream: Stream::System,
        stage,
        flags: 0,
    };
    enter(directory, keep, meta, line).await;
}

/// Enters a line that stands for lines of this instance that were lost.
pub(crate) async fn say_lost(directory: &Path, keep: Keep, instance: u128, line: String) {
    let meta = Meta {
        at: now(),
        instance,
        stream: Stream::System,
        stage: Stage::Stop,
        flags: DROPPED,
    };
    enter(directory, keep, meta, line).await;
}

async fn enter(directory: &Path, keep: Keep, meta: Meta, line: String) {
    let directory = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let mut buffer = Vec::new();
        encode(&mut buffer, &meta, cut(&line).as_bytes());
        let done = Appender::open(&directory, keep, false)?.append(&mut buffer);
        done.inspect_err(|_| tracing::warn!("not in the log of {}: {line}", directory.display()))
    })
    .await;
    if let Ok(Err(error)) = done {
        tracing::warn!(%error, "a line of a workload's log could not be written");
    }
}

/// Not longer than a record may be.
fn cut(line: &str) -> &str {
    &line[..line.floor_char_boundary(MAX_LINE)]
}

/// Writes the lines that come, until all writers are gone.
pub(crate) async fn collect(
    directory: PathBuf,
    keep: Keep,
    stage: Stage,
    mut lines: mpsc::Receiver<LogLine>,
) {
    let mut collector = Collector {
        directory,
        keep,
        stage,
        lost: 0,
    };
    let mut received = Vec::new();
    while lines.recv_many(&mut received, 256).await > 0 {
        collector.write(std::mem::take(&mut received)).await;
    }
    if collector.lost > 0 {
        collector.write(Vec::new()).await;
    }
}

/// Lines of Millrace's own programs on their way into a log.
#[derive(Debug, Clone)]
struct Collector {
    directory: PathBuf,
    keep: Keep,
    stage: Stage,
    /// How many could not be written, and have nothing yet that stands for
    /// them.
    lost: u64,
}

impl Collector {
    async fn write(&mut self, lines: Vec<LogLine>) {
        let count = lines.len() as u64;
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.append(&lines)).await;
        self.lost = done.unwrap_or(self.lost + count);
    }

    /// Answers how many are lost by now.
    fn append(&self, lines: &[LogLine]) -> u64 {
        let mut lost = self.lost;
        let mut appender = match Appender::open(&self.directory, self.keep, false) {
            Ok(appender) => appender,
            Err(error) => {
                tracing::warn!(%error, "lines of a build could not be written");
                return lost + lines.len() as u64;
            }
        };
        let mut rest = lines;
        loop {
            let mut buffer = Vec::new();
            if lost > 0 {
                let text = format!("{lost} lines were lost: the log could not be written");
                let meta = Meta {
                    at: now(),
                    instance: 0,
                    stream: Stream::System,
                    stage: self.stage,
                    flags: DROPPED,
                };
                encode(&mut buffer, &meta, text.as_bytes());
            }
            let mut taken = 0;
            while taken < rest.len() && buffer.len() <= BATCH {
                let line = &rest[taken];
                put(&mut buffer, stream(line.stream), self.stage, &line.line);
                taken += 1;
            }
            match appender.append(&mut buffer) {
                Ok(()) => lost = 0,
                Err(error) => {
                    tracing::warn!(%error, "lines of a build could not be written");
                    lost += taken as u64;
                }
            }
            rest = &rest[taken..];
            if rest.is_empty() {
                return lost;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use millrace_shim::reader::LogReader;

    use super::*;

    #[tokio::test]
    async fn lines_that_cannot_be_written_are_counted_and_told_of_once_that_works() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("log");
        fs::write(&directory, "in the way").unwrap();
        let mut collector = Collector {
            directory: directory.clone(),
            keep: Keep {
                max_bytes: 1 << 20,
                max_age: Duration::from_hours(1),
                instances: 1,
            },
            stage: Stage::Build,
            lost: 0,
        };
        let lines = |texts: &[&str]| {
            let line = |text: &&str| LogLine {
                stream: LogStream::Stdout,
                line: text.as_bytes().to_vec(),
            };
            texts.iter().map(line).collect()
        };
        collector.write(lines(&["one", "two"])).await;
        collector.write(lines(&["three"])).await;
        assert_eq!(collector.lost, 3);
        fs::remove_file(&directory).unwrap();
        collector.write(lines(&["four"])).await;
        assert_eq!(collector.lost, 0);
        let entries = LogReader::after(&directory, 0).read(10).unwrap();
        let said: Vec<_> = entries
            .iter()
            .map(|entry| {
                (
                    entry.meta.flags,
                    String::from_utf8_lossy(&entry.line).into_owned(),
                )
            })
            .collect();
        let told = "3 lines were lost: the log could not be written".to_owned();
        assert_eq!(said, [(DROPPED, told), (0, "four".into())]);
    }
}
