//! The gRPC contracts as generated code, and the one table that maps
//! [`ErrorKind`] to gRPC statuses and back.
//!
//! Only `grpc/` modules and clients import this crate: inside the services,
//! everything is a domain type.

pub mod status;

pub use status::{Failure, Finding};

/// All files with their comments, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod runtime {
    pub mod v1 {
        tonic::include_proto!("millrace.runtime.v1");
    }
}

#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod engine {
    pub mod v1 {
        tonic::include_proto!("millrace.engine.v1");
    }
}

#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod orchestrator {
    pub mod v1 {
        tonic::include_proto!("millrace.orchestrator.v1");
    }
}
