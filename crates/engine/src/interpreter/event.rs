//! Lines of an execution's history.

use std::sync::Arc;

use millrace_types::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::data::shorten;
use super::fault::Fault;
use crate::value::Value;

/// What a line of the history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    ExecutionStarted,
    ExecutionSucceeded,
    ExecutionFailed,
    TaskStarted,
    TaskSucceeded,
    TaskFailed,
    /// Its `if` did not hold.
    TaskSkipped,
    /// Broken off by a time limit, or by the end of the workflow around it.
    TaskCancelled,
    ErrorCaught,
    RetryScheduled,
    TimerSet,
    TimerFired,
    /// It waits for events.
    Listening,
    EventReceived,
    EventEmitted,
}

impl EventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExecutionStarted => "executionStarted",
            Self::ExecutionSucceeded => "executionSucceeded",
            Self::ExecutionFailed => "executionFailed",
            Self::TaskStarted => "taskStarted",
            Self::TaskSucceeded => "taskSucceeded",
            Self::TaskFailed => "taskFailed",
            Self::TaskSkipped => "taskSkipped",
            Self::TaskCancelled => "taskCancelled",
            Self::ErrorCaught => "errorCaught",
            Self::RetryScheduled => "retryScheduled",
            Self::TimerSet => "timerSet",
            Self::TimerFired => "timerFired",
            Self::Listening => "listening",
            Self::EventReceived => "eventReceived",
            Self::EventEmitted => "eventEmitted",
        }
    }
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Counts from 1 without gaps within the execution.
    pub seq: u64,
    pub at: Timestamp,
    pub kind: EventKind,
    /// JSON pointer of the task; empty for the execution as a whole.
    pub task: Arc<str>,
    /// 1 for the first attempt; 0 where attempts have no meaning.
    pub attempt: u32,
    /// Further members as the text of a JSON object; empty for none.
    pub detail: String,
}

/// The members that a line may have besides its kind, task and attempt.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// Indices of the loops around the task, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iteration: Vec<usize>,
    /// How often the flow has come by: 2 after the first jump back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Status of the answer to an HTTP call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// What a timer is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<&'static str>,
    /// Number of the attempt that a retry is going to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u32>,
    /// Why a task was broken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// The event that came, or was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventName>,
    /// What the event has fixed for those that come after it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub correlation: Map<String, Json>,
}

/// What tells an event from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventName {
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
}

impl EventName {
    pub(super) fn of(event: &Value) -> Self {
        let text = |name| {
            let text = event.get(name).and_then(Value::as_str);
            shorten(text.unwrap_or_default().to_owned())
        };
        Self {
            id: text("id"),
            source: text("source"),
            kind: text("type"),
        }
    }
}

impl Detail {
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string(self).expect("text and numbers are always JSON");
        if text == "{}" { String::new() } else { text }
    }
}
