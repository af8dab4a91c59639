//! The runtime's contract over gRPC. A handler decodes, calls, encodes;
//! nothing else happens here.

mod access_service;
mod admin_service;
pub(crate) mod convert;
mod deployments;
mod executions;
pub(crate) mod monitoring_service;
pub(crate) mod runtime_service;
mod schedules;
mod triggers;

pub use access_service::AccessRpc;
pub use admin_service::AdminRpc;
pub use monitoring_service::MonitoringRpc;
pub use runtime_service::RuntimeRpc;
