//! What callers can ask for, free of any transport.

mod create_project;
mod jobs;
mod projects;
mod start_project;
mod suspend;
mod update_project;
mod workloads;

use millrace_types::ErrorKind;

pub(crate) use create_project::NewProject;
pub use jobs::Jobs;
pub(crate) use jobs::{Job, JobError, JobEvent, MAX_TIMEOUT, Within};
pub(crate) use projects::ProjectError;
pub(crate) use workloads::{Outcome, WorkloadError};

/// How an error is told to a caller.
pub(crate) trait Kind: std::error::Error {
    fn kind(&self) -> ErrorKind;

    /// Where in the request it lies: a JSON pointer; empty for none.
    fn pointer(&self) -> &'static str {
        ""
    }
}
