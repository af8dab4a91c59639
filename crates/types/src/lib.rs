//! The words that every part of Millrace shares: identifiers, times, states
//! and kinds of errors. It knows of no runtime, no transport and no database.
//!
//! - [`id`]: prefixed, time-ordered identifiers (`exe_…`, `dep_…`).
//! - [`time`]: [`Timestamp`], microseconds since the Unix epoch.
//! - [`state`]: statuses of deployments and executions, and how they may move.
//! - [`access`]: roles of those who call, and the keys that give them.
//! - [`error`]: [`ErrorKind`], which the two transport tables map.

pub mod access;
pub mod error;
pub mod id;
pub mod state;
pub mod time;

pub use access::{ApiKey, Role};
pub use error::ErrorKind;
pub use id::{
    ApiKeyId, DeploymentId, ExecutionId, IncarnationId, InstanceId, InvalidId, ProjectId,
    TriggerId, WorkflowId, WorkloadId,
};
pub use state::{
    DeploymentStatus, DesiredState, ExecutionStatus, TriggerKind, UnknownName, WorkloadStage,
};
pub use time::Timestamp;
