//! What the API answers: the messages of the runtime in the words of HTTP.
//! Payloads are JSON within JSON, exactly as they are stored.

mod deployment;
mod execution;
mod fire;
mod history;
mod log_entry;
mod page;
mod project;
mod version;
mod workload;

pub use deployment::{Deployment, Trigger};
pub use execution::{Execution, ExecutionSummary};
pub use fire::Fire;
pub use history::HistoryItem;
pub use log_entry::{LogEntry, LogPage};
pub use page::Page;
pub use project::{Project, Service};
pub use version::Version;
pub use workload::{Workload, WorkloadStatus};

use serde_json::value::RawValue;

use crate::json::Members;
use crate::problem::Problem;

/// JSON text as part of an answer; none for an empty text.
fn payload(text: String) -> Result<Option<Box<RawValue>>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    RawValue::from_string(text)
        .map(Some)
        .map_err(|error| Problem::internal(&error))
}

/// JSON text of an object as part of an answer; `{}` for an empty text.
fn object(text: String) -> Result<Box<RawValue>, Problem> {
    let text = if text.is_empty() { "{}".into() } else { text };
    // Answers show its members: they have to be readable before the answer begins.
    serde_json::from_str::<Members<'_>>(&text)
        .and_then(|_| RawValue::from_string(text.clone()))
        .map_err(|error| Problem::internal(&error))
}

/// `None` for an empty text.
fn optional(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn missing(what: &str) -> Problem {
    Problem::internal(&format_args!("the runtime answered without {what}"))
}
