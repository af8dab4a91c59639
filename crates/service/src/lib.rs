//! What every Millrace process needs before it can do anything of its own:
//! its configuration, its logs, its tasks, its listeners and its way to stop.
//! No business rule lives here, and nothing here knows what a workflow is.
//!
//! ```text
//!  config ──► telemetry ──► bind ──► TaskGroup ─┬─ grpc::GrpcServer   (contracts, health, reflection)
//!  (defaults < file < env < flags)              ├─ admin::router      (/livez /readyz /metrics)
//!                                               └─ whatever a role runs
//!  signal ──────────────────────► TaskGroup::stop ──► TaskGroup::drain(deadline)
//! ```
//!
//! - [`config`]: one struct per concern, each value with its origin.
//! - [`access`]: API keys.
//! - [`secret`]: values that print as `***`.
//! - [`tasks`]: [`TaskGroup`], the only way to start a task. A task has a name
//!   and says what its failure means.
//! - [`tls`]: certificates and keys from files, read again when they change.
//! - [`telemetry`]: logs on standard error, as JSON or for people, and in files;
//!   traces to a collector.
//! - [`transport`]: [`Transport`], what generated gRPC clients talk through:
//!   the other side is a server in this process or one behind a network.
//! - [`peer`]: servers behind one name, where instances come and go.
//! - [`grpc`]: serves contracts with health, reflection, traces and a graceful end.
//! - [`http`]: serves plain HTTP, with limits on connections and slow callers.
//! - [`metrics`]: what the process counts of itself, as Prometheus reads it.
//! - [`admin`]: `/livez`, `/readyz`, `/metrics` and the level of logs in plain HTTP.
//! - [`trace_context`]: the `trace_id` that a request keeps from HTTP through
//!   gRPC into every log line.
//! - [`signal`]: when the operating system asks us to stop.

pub mod access;
pub mod admin;
pub mod config;
pub mod grpc;
pub mod http;
pub mod metrics;
mod net;
pub mod peer;
pub mod secret;
pub mod signal;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod transport;

pub use tasks::{OnFailure, StopReason, TaskGroup};
pub use tokio_util::sync::CancellationToken;
pub use transport::Transport;
