//! HTTP in front of runtime and orchestrator: a thin layer, in which every request becomes
//! one internal gRPC call and every answer of it one HTTP answer.
//!
//! It owns the shapes and names of the public API, what a webhook's bytes mean
//! (`webhooks`), the table that makes errors of HTTP problems (`problem`),
//! and patience with runtimes that come and go (`runtimes`). It refuses to
//! hold state or rules: what may be deployed or started is the runtime's to
//! say, and any number of gateways stand side by side.
//!
//! ```text
//!           router ──► routes/<noun>/<verb> ──► runtimes ──► runtime A │ B │ C
//!  HTTP ──►   │                                    ▲
//!             ├─────► webhooks ──► RouteCache ─────┘  (same execution id on every attempt)
//!             ├─────► routes/{projects,workloads} ──► orchestrator
//!             └─────► routes/services ──► the service itself, where the orchestrator says it is
//! ```
//!
//! Words: a *path* is what follows `/webhooks/`; a *route* is the trigger that
//! a path was resolved to; an *admission* is the request to start an
//! execution, which is minted here so that it can be repeated.
//!
//! Payloads are JSON text from end to end: checked, never re-written, so that
//! key order and big integers arrive as they were sent (`json`).

mod access;
mod admit;
mod body;
mod config;
mod fields;
mod gateway;
mod json;
mod key_look_up;
mod media;
mod metrics;
mod openapi;
mod orchestrator;
mod problem;
mod query;
mod registry;
mod router;
mod routes;
mod runtimes;
mod shapes;
mod webhooks;

pub use config::{ForwardedHeader, GatewayConfig, Proxies};
pub use gateway::Gateway;
pub use webhooks::{Rate, SharedRates};
