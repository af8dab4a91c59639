//! The runtime: it decides what runs, and answers for what ran.
//!
//! It owns deployments and their triggers, admits executions, hands them to
//! an engine, and commits every step under a lease with an epoch. It refuses
//! to know how a workflow document is executed (the engine does, behind a
//! gRPC contract), how HTTP looks (the gateway does), and in which database
//! it all lies (the store's contract).
//!
//! ```text
//!   gateway ─gRPC─▶ grpc ─▶ deployment ─▶ engine.Validate, store.deploy
//!                    │
//!                    └────▶ trigger/fire ─▶ execution/coordinator ─▶ store.commit
//!                                             │        ▲
//!                                             ▼        │ checkpoints, end
//!                                           execution/run ◀──▶ engine.Execute
//!   clock ─▶ schedule ─▶ store.decide ─▶ PENDING ──▲ claimed
//! ```
//!
//! Words: an *incarnation* is one life of this process, with one lease; a
//! *slot* is the right to run one execution; a *claim* takes due executions
//! that nobody owns.

mod access;
mod config;
mod deployment;
mod event;
mod execution;
mod grpc;
mod jobs;
mod metrics;
mod monitoring;
mod runtime;
mod schedule;
mod trigger;

pub use access::StoredKeys;
pub use config::RuntimeConfig;
pub use deployment::DeploymentService;
pub use event::EventService;
pub use execution::{EngineClient, ExecutionCoordinator, JqSlotKeys};
pub use grpc::{AccessRpc, AdminRpc, MonitoringRpc, RuntimeRpc};
pub use monitoring::{CacheProbe, MonitoringService};
pub use runtime::{Runtime, StartError};
pub use schedule::{
    CronScheduler, InstanceStatus, SchedulerControl, SchedulerControlError, SchedulerStatus,
};
pub use trigger::WebhookTriggerService;
