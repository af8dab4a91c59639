//! The answers of one conversation, and the work that makes them.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::Stream;
use millrace_proto::engine::v1 as pb;
use millrace_service::trace_context::{Kind, Part, TraceContext};
use tokio::sync::mpsc;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Status, Streaming};
use tracing::error;

use super::Shared;
use super::driver::{Driver, Progress};

type Answer = Result<pb::ExecuteResponse, Status>;

/// The response stream of `Execute`. The work happens while it is polled and
/// ends when it is dropped.
pub struct Responses {
    work: Option<BoxFuture<'static, ()>>,
    answers: mpsc::Receiver<Answer>,
    /// Says that the conversation is under way.
    _running: TaskTrackerToken,
}

impl std::fmt::Debug for Responses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responses")
            .field("working", &self.work.is_some())
            .finish_non_exhaustive()
    }
}

impl Responses {
    pub(super) fn of(
        shared: Arc<Shared>,
        requests: Streaming<pb::ExecuteRequest>,
        trace: Option<TraceContext>,
        running: TaskTrackerToken,
    ) -> Self {
        // One: the driver goes on only when its answer is on its way.
        let (sender, answers) = mpsc::channel(1);
        // A server's part ends when its answer begins; this is the rest.
        let part = trace
            .map(|trace| Part::begin(Some(trace), Kind::Internal, || "conversation".to_owned()));
        let trace = part.as_ref().map(Part::place);
        let work = converse(shared, requests, sender, trace);
        let work = match part {
            Some(part) => part.place().scope(work.map(move |()| drop(part))).boxed(),
            None => work.boxed(),
        };
        Self {
            work: Some(work),
            answers,
            _running: running,
        }
    }
}

async fn converse(
    shared: Arc<Shared>,
    requests: Streaming<pb::ExecuteRequest>,
    sender: mpsc::Sender<Answer>,
    trace: Option<TraceContext>,
) {
    let progress = Progress::default();
    let driver = Driver::new(
        Arc::clone(&shared),
        requests,
        sender.clone(),
        trace,
        progress.clone(),
    );
    let work = async {
        tokio::select! {
            biased;
            done = driver.run() => done,
            stopping = shared.drain.over() => Err(stopping),
        }
    };
    guarded(work, sender, progress).await;
}

/// Does the work; what it fails with, or a panic in it, is the last answer of
/// this conversation and touches nothing else.
async fn guarded(
    work: impl Future<Output = Result<(), Status>>,
    sender: mpsc::Sender<Answer>,
    progress: Progress,
) {
    let last = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => return,
        Ok(Err(status)) => Err(status),
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            error!("the engine panicked in an execution: {said}");
            progress
                .failed()
                .ok_or_else(|| Status::internal("the engine failed"))
        }
    };
    // Nobody is there to hear it when this fails.
    let _ = sender.send(last).await;
}

impl Stream for Responses {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        if let Some(work) = &mut self.work
            && work.poll_unpin(cx).is_ready()
        {
            self.work = None;
        }
        self.answers.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_execution_after_what_is_stored() {
        let progress = Progress::default();
        let (sender, mut answers) = mpsc::channel(1);
        progress.stored_until(5);
        guarded(async { panic!("on purpose") }, sender, progress).await;
        let answer = answers.recv().await.unwrap().unwrap();
        let Some(pb::execute_response::Message::Failed(failed)) = answer.message else {
            panic!("{answer:?}");
        };
        assert_eq!(failed.events[0].seq, 5);
        assert_eq!(failed.events[0].kind, "executionFailed");
        assert!(
            !failed.error_json.contains("on purpose"),
            "{}",
            failed.error_json
        );
    }
}
