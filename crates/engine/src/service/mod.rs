//! The engine behind its contract, `WorkflowEngineService`.
//!
//! Each `Execute` is one conversation about one execution, driven by a future
//! of its own that lives within the response stream: dropping the stream ends
//! the work at its next suspension, and nothing is left running. The driver
//! steps the [`Machine`](crate::interpreter::Machine), sends its checkpoints,
//! and carries out effects only once the checkpoint that asks for them is
//! acknowledged.

mod call;
mod convert;
mod drain;
mod driver;
mod http;
mod programs;
mod responses;
mod secrets;
mod validate;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_proto::engine::v1 as pb;
use millrace_proto::engine::v1::workflow_engine_service_server::{
    WorkflowEngineService, WorkflowEngineServiceServer,
};
use millrace_service::trace_context;
use tonic::{Request, Response, Status, Streaming};

use crate::effects::http::{HttpCaller, HttpConfig, HttpSetup};
use crate::interpreter::Limits;

pub use responses::Responses;

use drain::Drain;
use programs::Programs;
use secrets::Secrets;

/// Bytes that one message may have: a checkpoint carries several frames, each
/// with a few values.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// For `call: http`.
    pub http: HttpConfig,
    /// What bounds a runaway execution.
    pub limits: Limits,
    /// How many compiled workflows are kept.
    pub cached_workflows: usize,
    /// A folder with one file for each secret that workflows may declare.
    pub secrets: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            limits: Limits::default(),
            cached_workflows: 512,
            secrets: None,
        }
    }
}

/// What every conversation shares.
#[derive(Debug)]
struct Shared {
    http: HttpCaller,
    limits: Limits,
    programs: Programs,
    secrets: Secrets,
    drain: Drain,
}

/// The built-in engine. Clones share one.
#[derive(Debug, Clone)]
pub struct EngineService {
    shared: Arc<Shared>,
}

impl EngineService {
    /// Fails when outgoing HTTP cannot be set up.
    pub fn new(config: EngineConfig) -> Result<Self, HttpSetup> {
        Ok(Self {
            shared: Arc::new(Shared {
                http: HttpCaller::new(config.http)?,
                limits: config.limits,
                programs: Programs::new(config.cached_workflows),
                secrets: Secrets(config.secrets),
                drain: Drain::default(),
            }),
        })
    }

    /// For the end of its process: takes no new executions, lets those under
    /// way end or wait `within` this time, and hands the rest back to the
    /// runtimes, which go on elsewhere from the last checkpoint.
    pub async fn drain(&self, within: Duration) {
        self.shared.drain.run(within).await;
    }

    /// As a tower service, for a server or an in-process transport.
    pub fn into_server(self) -> WorkflowEngineServiceServer<Self> {
        WorkflowEngineServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl WorkflowEngineService for EngineService {
    type ExecuteStream = Responses;

    async fn validate(
        &self,
        request: Request<pb::ValidateRequest>,
    ) -> Result<Response<pb::ValidateResponse>, Status> {
        let document = request.into_inner().document;
        Ok(Response::new(validate::validate(&document)))
    }

    async fn execute(
        &self,
        request: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let running = self.shared.drain.admit()?;
        let trace = trace_context::current();
        let requests = request.into_inner();
        let shared = Arc::clone(&self.shared);
        Ok(Response::new(Responses::of(
            shared, requests, trace, running,
        )))
    }

    async fn get_capabilities(
        &self,
        _request: Request<pb::GetCapabilitiesRequest>,
    ) -> Result<Response<pb::GetCapabilitiesResponse>, Status> {
        Ok(Response::new(validate::capabilities()))
    }
}
