//! The runtime's contract over gRPC. A handler decodes, calls, encodes;
//! nothing else happens here.

pub(crate) mod convert;
pub(crate) mod monitoring_service;
pub(crate) mod runtime_service;

pub use monitoring_service::MonitoringRpc;
pub use runtime_service::RuntimeRpc;
