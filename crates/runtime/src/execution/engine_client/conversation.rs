//! A conversation with one engine about one execution.

use std::sync::Arc;

use millrace_proto::engine::v1::{ExecuteRequest, ExecuteResponse};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};

use super::member::{Seen, Turn, reason};
use super::{EngineClient, is_of_connection};

/// Why an engine does not go on with an execution.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// It says that it will never run this; another one would say the same.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// Not now, or not this one.
    #[error("the engine stopped: {why}")]
    Gone {
        why: String,
        /// Whether another one takes work, so that waiting gains nothing.
        elsewhere: bool,
    },
}

impl EngineError {
    pub fn gone(why: impl Into<String>, elsewhere: bool) -> Self {
        let why = why.into();
        Self::Gone { why, elsewhere }
    }
}

/// What the engine says, as long as it is there.
#[derive(Debug)]
pub(crate) struct Conversation {
    client: Arc<EngineClient>,
    turn: Turn,
    lost: CancellationToken,
    answers: Streaming<ExecuteResponse>,
    answered: bool,
}

impl Conversation {
    pub(super) async fn open(
        client: Arc<EngineClient>,
        turn: Turn,
        requests: Request<ReceiverStream<ExecuteRequest>>,
    ) -> Result<Self, EngineError> {
        let lost = turn.0.lost();
        let mut engine = turn.0.engine.clone();
        let opened = tokio::select! {
            opened = engine.execute(requests) => opened,
            () = lost.cancelled() => Err(is_lost(&turn)),
        };
        match opened {
            Ok(answers) => Ok(Self {
                answers: answers.into_inner(),
                client,
                turn,
                lost,
                answered: false,
            }),
            Err(status) => Err(failed(&client, &turn, &status)),
        }
    }

    /// The next message. An end that no `completed`, `failed` or suspension
    /// came before is an error.
    pub async fn message(&mut self) -> Result<ExecuteResponse, EngineError> {
        let message = tokio::select! {
            message = self.answers.message() => message,
            () = self.lost.cancelled() => Err(is_lost(&self.turn)),
        };
        match message {
            Ok(Some(message)) => {
                if !self.answered {
                    self.answered = true;
                    self.turn.0.saw(Seen::Works);
                }
                Ok(message)
            }
            Ok(None) => {
                let early = Status::unavailable("the stream ended early");
                Err(failed(&self.client, &self.turn, &early))
            }
            Err(status) => Err(failed(&self.client, &self.turn, &status)),
        }
    }
}

fn is_lost(turn: &Turn) -> Status {
    Status::unavailable(format!("engine {} is lost", turn.0.name))
}

fn failed(client: &EngineClient, turn: &Turn, status: &Status) -> EngineError {
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            return EngineError::Refused(status.message().to_owned());
        }
        _ if is_of_connection(status) => client.dropped(&turn.0, status),
        _ => {}
    }
    // The same engine may say the same again: it needs its time.
    let elsewhere = !turn.0.takes_work() && client.is_ready();
    EngineError::gone(reason(status), elsewhere)
}
