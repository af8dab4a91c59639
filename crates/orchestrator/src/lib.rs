//! The orchestrator: services ("workloads") built and run as live, supervised
//! processes. It owns projects, workloads, their instances and their logs; it
//! knows nothing of workflows, which reach it as any other client does.
//!
//! So far it is a door with nobody behind it: [`WorkloadOrchestratorRpc`]
//! declares the whole contract, so that clients, reflection and health checks
//! find it, and answers every call with UNIMPLEMENTED and a sentence.
//!
//! ```text
//!   gateway ─┐
//!   runtime ─┼─gRPC─▶ grpc ─▶ (project · workload · build · process · logs: to come)
//!   CLI ─────┘
//! ```

pub mod build;
pub mod dataobject;
mod grpc;
pub mod node;
pub mod prepare;
mod preparer;
pub mod spec;

pub use grpc::WorkloadOrchestratorRpc;
pub use preparer::ServicePreparer;
