use millrace_proto::orchestrator::v1 as pb;
use serde::Serialize;

use super::optional;

/// `{seq, at, stream, stage, instance, line}`, and `partial` where a line of
/// more than 64 KiB goes on in the next entry.
#[derive(Debug, Serialize)]
pub struct LogEntry {
    pub seq: u64,
    at: Option<String>,
    stream: String,
    stage: Option<String>,
    instance: Option<String>,
    line: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
}

impl From<pb::LogEntry> for LogEntry {
    fn from(message: pb::LogEntry) -> Self {
        Self {
            seq: message.seq,
            at: optional(message.at),
            stream: message.stream,
            stage: optional(message.stage),
            instance: optional(message.instance),
            line: message.line,
            partial: message.partial,
        }
    }
}

/// One page of a log.
#[derive(Debug, Serialize)]
pub struct LogPage {
    pub items: Vec<LogEntry>,
    /// `after` of the next page; `null` when this is all there is for now.
    pub next: Option<u64>,
}
