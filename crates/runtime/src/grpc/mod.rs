//! The runtime's contract over gRPC. A handler decodes, calls, encodes;
//! nothing else happens here.

mod admin_service;
pub(crate) mod convert;
pub(crate) mod monitoring_service;
pub(crate) mod runtime_service;

pub use admin_service::AdminRpc;
pub use monitoring_service::MonitoringRpc;
pub use runtime_service::RuntimeRpc;
