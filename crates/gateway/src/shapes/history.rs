use millrace_proto::runtime::v1 as pb;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{object, optional};
use crate::json::Members;
use crate::problem::Problem;

/// `{seq, at, kind, task, attempt, …}`: the rest depends on the kind.
#[derive(Debug)]
pub struct HistoryItem {
    seq: u64,
    at: String,
    kind: String,
    /// `null` when it is about the execution as a whole.
    task: Option<String>,
    /// `null` where attempts have no meaning.
    attempt: Option<u32>,
    detail: Box<RawValue>,
}

impl TryFrom<pb::ExecutionEvent> for HistoryItem {
    type Error = Problem;

    fn try_from(message: pb::ExecutionEvent) -> Result<Self, Problem> {
        Ok(Self {
            seq: message.seq,
            at: message.at,
            kind: message.kind,
            task: optional(message.task),
            attempt: Some(message.attempt).filter(|attempt| *attempt > 0),
            detail: object(message.detail_json)?,
        })
    }
}

impl Serialize for HistoryItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let detail: Members<'_> =
            serde_json::from_str(self.detail.get()).map_err(serde::ser::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("at", &self.at)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("task", &self.task)?;
        map.serialize_entry("attempt", &self.attempt)?;
        for member in detail.0 {
            if !matches!(
                member.key.as_ref(),
                "seq" | "at" | "kind" | "task" | "attempt"
            ) {
                map.serialize_entry(&member.key, member.value)?;
            }
        }
        map.end()
    }
}
