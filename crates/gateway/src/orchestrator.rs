//! Calls to the orchestrator. What may be repeated is repeated for a moment,
//! so that an orchestrator that is being replaced is waited for.

use std::time::{Duration, Instant};

use millrace_proto::Failure;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient;
use millrace_service::Transport;
use millrace_types::ErrorKind;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::Gateway;
use crate::problem::Problem;
use crate::runtimes::is_unknown_there;

/// A client of the orchestrator.
pub type Client = WorkloadOrchestratorServiceClient<Transport>;

/// Largest answer that is read: a page of a thousand log lines of 64 KiB.
const MAX_ANSWER: usize = 96 * 1024 * 1024;
const BACK_OFF: Duration = Duration::from_millis(50);
const MAX_BACK_OFF: Duration = Duration::from_millis(400);
/// How long an orchestrator that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a call that was cut off may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It reads, or says what is wanted: the second time changes nothing.
    Freely,
    /// It makes something: only one that was surely never sent.
    Never,
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    Refused(Failure),
    Unreachable,
    /// This gateway was told of none.
    None,
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(failure) => failure.into(),
            CallError::Unreachable => Self::new(
                ErrorKind::Unavailable,
                "The orchestrator cannot answer at present.",
            ),
            CallError::None => Self::new(
                ErrorKind::Unavailable,
                "This gateway has no orchestrator: `gateway.orchestrator` names none.",
            ),
        }
    }
}

impl Gateway {
    /// A client of the orchestrator, if there is one.
    pub(crate) fn orchestrator_client(&self) -> Result<Client, CallError> {
        let transport = self.orchestrator.clone().ok_or(CallError::None)?;
        Ok(Client::new(transport).max_decoding_message_size(MAX_ANSWER))
    }

    /// Makes a call that the orchestrator answers after up to `wait`; `call`
    /// is told how much of that is left.
    pub(crate) async fn ask<T, F, Fut>(
        &self,
        repeat: Repeat,
        wait: Duration,
        call: F,
    ) -> Result<T, CallError>
    where
        F: Fn(Client, u32) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let client = self.orchestrator_client()?;
        let begun = Instant::now();
        let mut pause = BACK_OFF;
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            let wait_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            let patience = left + self.config.call_timeout;
            match timeout(patience, call(client.clone(), wait_ms)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if !is_away(&status) => {
                    return Err(CallError::Refused(status.into()));
                }
                Ok(Err(status)) if is_unknown_there(&status) => {
                    tracing::error!(
                        error = status.message(),
                        "the orchestrator does not know this gateway: `auth.internal_token` has \
                         to be the same for both, or `tls.ca` to vouch for its certificate"
                    );
                }
                Ok(Err(status)) => {
                    tracing::warn!(
                        code = ?status.code(),
                        error = status.message(),
                        "the orchestrator could not answer"
                    );
                }
                Err(_) => tracing::warn!("the orchestrator did not answer within {patience:?}"),
            }
            if repeat == Repeat::Never || begun.elapsed() > wait + PATIENCE {
                return Err(CallError::Unreachable);
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_BACK_OFF);
        }
    }

    /// Sends a request in a call that is answered at once.
    pub(crate) async fn send<Q, T, F, Fut>(
        &self,
        repeat: Repeat,
        request: Q,
        call: F,
    ) -> Result<T, CallError>
    where
        Q: Clone,
        F: Fn(Client, Q) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.ask(repeat, Duration::ZERO, |client, _| {
            call(client, request.clone())
        })
        .await
    }

    /// Sends a request that reads.
    pub(crate) async fn read<Q, T, F, Fut>(&self, request: Q, call: F) -> Result<T, CallError>
    where
        Q: Clone,
        F: Fn(Client, Q) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.send(Repeat::Freely, request, call).await
    }
}

/// Whether the orchestrator is gone, going, or was cut off. What it says
/// itself carries a detail.
pub fn is_away(status: &Status) -> bool {
    use Code::{Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown};
    let broken = [Unavailable, Unknown, Cancelled, Internal, DeadlineExceeded];
    (broken.contains(&status.code()) && status.details().is_empty()) || is_unknown_there(status)
}
