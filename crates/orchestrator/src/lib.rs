//! The orchestrator: services ("workloads") built and run as live, supervised
//! processes. It owns projects, workloads, their instances and their logs; it
//! knows nothing of workflows, which reach it as any other client does.
//!
//! ```text
//!   gateway ─┐                               ┌─▶ prepare (validate, build)
//!   runtime ─┼─gRPC─▶ grpc ─▶ operation ─▶ workload (a task each)
//!   CLI ─────┘          │                    ├─▶ ports, health
//!                       └─▶ logs ◀─segments──┴─▶ backend: process ─▶ shim ─▶ the service
//! ```
//!
//! Words: a *project* is a folder of services; a *service* is a folder with a
//! `service.json`; a *workload* is a deployed service; an *instance* is one
//! process of it, with a *shim* in front, which outlives this process. What
//! is wanted of a workload (`desired`) is stored apart from what is (`stage`).
//!
//! What it relies on: an instance is stored before it is started; its shim
//! keeps log and exit; nobody else changes the workloads of this node.

mod backend;
pub mod build;
mod checkouts;
mod config;
pub mod dataobject;
mod ground;
mod grpc;
mod health;
mod limits;
mod logs;
mod metrics;
pub mod node;
mod operation;
mod orchestrator;
mod ports;
pub mod prepare;
mod preparer;
mod process;
mod project;
mod saver;
pub mod spec;
mod turns;
mod user;
mod workload;

pub use config::OrchestratorConfig;
pub use grpc::WorkloadOrchestratorRpc;
pub use limits::raise_open_files;
pub use orchestrator::{StartError, WorkloadOrchestrator};
pub use preparer::ServicePreparer;
