//! The engines that this runtime hands executions to, in turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_proto::engine::v1::workflow_engine_service_client::WorkflowEngineServiceClient;
use millrace_proto::engine::v1::{
    ExecuteRequest, ExecuteResponse, GetCapabilitiesRequest, ValidateRequest, ValidateResponse,
};
use millrace_service::Transport;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

/// A definition and its payloads travel in one message: 64 MiB leave room
/// for a 1 MiB document with the largest frames.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// One or several engines behind the engine contract.
#[derive(Debug)]
pub struct EngineClient {
    engines: Vec<WorkflowEngineServiceClient<Transport>>,
    next: AtomicUsize,
}

impl EngineClient {
    /// `engines` must not be empty: without one nothing can be deployed.
    pub fn new(engines: Vec<Transport>) -> Self {
        let engines = engines
            .into_iter()
            .map(|transport| {
                WorkflowEngineServiceClient::new(transport)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE)
            })
            .collect();
        Self {
            engines,
            next: AtomicUsize::new(0),
        }
    }

    /// Opens a conversation about one execution with the engine whose turn it
    /// is.
    // Boxed: the compiler cannot prove the future of a client over a boxed
    // transport `Send` for every lifetime that a caller may hold across it.
    pub(crate) fn execute(
        &self,
        requests: Request<ReceiverStream<ExecuteRequest>>,
    ) -> BoxFuture<'static, Result<Streaming<ExecuteResponse>, Status>> {
        match self.pick() {
            Ok(mut engine) => Box::pin(async move {
                engine
                    .execute(requests)
                    .await
                    .map(tonic::Response::into_inner)
            }),
            Err(status) => Box::pin(std::future::ready(Err(status))),
        }
    }

    fn pick(&self) -> Result<WorkflowEngineServiceClient<Transport>, Status> {
        if self.engines.is_empty() {
            return Err(Status::unavailable("no workflow engine is configured"));
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(self.engines[turn % self.engines.len()].clone())
    }

    /// Checks a document; the next engine is asked when one cannot be
    /// reached.
    pub(crate) async fn validate(&self, document: &str) -> Result<ValidateResponse, Status> {
        let mut last = Status::unavailable("no workflow engine is configured");
        for _ in 0..self.engines.len() {
            match self.validate_once(document.to_owned()).await {
                Ok(answer) => return Ok(answer),
                Err(status) if status.code() == tonic::Code::Unavailable => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }

    fn validate_once(
        &self,
        document: String,
    ) -> BoxFuture<'static, Result<ValidateResponse, Status>> {
        let engine = self.pick();
        Box::pin(async move {
            let answer = engine?.validate(ValidateRequest { document }).await?;
            Ok(answer.into_inner())
        })
    }

    /// Whether an engine answers within `deadline`.
    pub(crate) fn ping(&self, deadline: Duration) -> BoxFuture<'static, Result<(), Status>> {
        let engine = self.pick();
        Box::pin(async move {
            let call = async { engine?.get_capabilities(GetCapabilitiesRequest {}).await };
            match tokio::time::timeout(deadline, call).await {
                Ok(answer) => answer.map(drop),
                Err(_) => Err(Status::deadline_exceeded(format!(
                    "no answer within {deadline:?}"
                ))),
            }
        })
    }
}
