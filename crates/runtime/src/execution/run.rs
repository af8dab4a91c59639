//! One owned execution: the conversation with the engine, and the fenced
//! writes that come of it.

mod messages;

use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_proto::engine::v1 as pb;
use millrace_service::trace_context::{Kind, Part};
use millrace_store::{Ending, EventRecord, Outcome, Write, WriteDone, WriteRefused};
use millrace_types::{ExecutionId, IncarnationId, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{Instrument as _, debug, error, info, info_span, warn};

use super::cancel;
use super::coordinator::ExecutionCoordinator;
use super::engine_client::EngineError;
use super::job::Job;
use super::limits::{self, Clock};
use crate::event::emit;
use crate::metrics;
use messages::{Emits, decode_checkpoint, decode_events, decode_frames, request, start};

/// Why a run stopped without an end or a wait.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// Somebody else owns the execution by now: there is nothing to do.
    #[error("the execution was taken over")]
    Fenced,
    /// The engine cannot go on for now; another one, or another try later, may.
    #[error("{why}")]
    Engine { why: String, elsewhere: bool },
    /// The database cannot take the write; another try later may.
    #[error("{0}")]
    Store(WriteRefused),
    /// Somebody asked for its end.
    #[error("it was cancelled: {0}")]
    Cancelled(String),
    #[error("it ran out of time: {0}")]
    TimedOut(&'static str),
    /// It makes no sense to try again.
    #[error("{0}")]
    Broken(String),
}

impl Stopped {
    const fn goes_on_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::Engine {
                elsewhere: true,
                ..
            }
        )
    }
}

impl From<WriteRefused> for Stopped {
    fn from(refused: WriteRefused) -> Self {
        match refused {
            WriteRefused::Fenced(_) => Self::Fenced,
            WriteRefused::Rejected(why) => Self::Broken(format!("the database refused: {why}")),
            other => Self::Store(other),
        }
    }
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        let why = error.to_string();
        match error {
            EngineError::Refused(_) => Self::Broken(why),
            EngineError::Gone { elsewhere, .. } => Self::Engine { why, elsewhere },
        }
    }
}

/// How long an engine may take to stop what it was told to. It is cut off
/// then, and the execution ends as cancelled all the same.
const STOP_WITHIN: Duration = Duration::from_millis(250);

/// Runs until the execution ends, waits, or is no longer ours. Every way out
/// leaves the database in a state that someone goes on from.
pub(crate) async fn run(
    coordinator: &ExecutionCoordinator,
    job: Job,
    owner: IncarnationId,
    cancelled: watch::Receiver<Option<String>>,
) {
    let started_by = job.traceparent.as_deref().and_then(|t| t.parse().ok());
    let mut part = Part::begin(started_by, Kind::Internal, || "execution".to_owned());
    part.text("millrace.execution.id", || job.id.to_string());
    part.text("millrace.workflow.id", || job.workflow_id.to_string());
    part.number("millrace.workflow.version", job.version);
    let trace = part.place();
    let span = info_span!("execution", execution.id = %job.id);
    let work = async {
        let (id, epoch) = (job.id, job.epoch);
        let slot = job.limits.slot;
        let mut next_event_seq = job.next_event_seq;
        match converse(coordinator, job, owner, cancelled, &mut next_event_seq).await {
            Ok(()) => {}
            Err(Stopped::Fenced) => {
                part.failed(|| Stopped::Fenced.to_string());
                metrics::fenced();
            }
            Err(Stopped::Cancelled(reason)) => {
                info!("execution {id} is cancelled: {reason}");
                let (outcome, events) = cancel::outcome(next_event_seq, &reason);
                let ending = ending(coordinator, id, owner, epoch, outcome, events);
                end(coordinator, ending).await;
            }
            Err(Stopped::TimedOut(why)) => {
                info!("execution {id} is stopped: {why}");
                part.failed(|| why.to_owned());
                let (outcome, events) = limits::outcome(next_event_seq, why);
                let ending = ending(coordinator, id, owner, epoch, outcome, events);
                end(coordinator, ending).await;
            }
            Err(Stopped::Broken(why)) => {
                error!("execution {id} cannot go on: {why}");
                part.failed(|| "it cannot go on".to_owned());
                let (outcome, events) = broken(next_event_seq, &why);
                let ending = ending(coordinator, id, owner, epoch, outcome, events);
                end(coordinator, ending).await;
            }
            Err(stopped @ (Stopped::Engine { .. } | Stopped::Store(_))) => {
                metrics::given_back();
                warn!("execution {id} is given back: {stopped}");
                part.failed(|| "it was given back".to_owned());
                // With another engine it goes on at once; otherwise later, and
                // later still when that fails too.
                let given_back = if stopped.goes_on_elsewhere() {
                    coordinator.store.release(id, owner, epoch).await
                } else {
                    coordinator.store.back_off(id, owner, epoch).await
                };
                match given_back {
                    Ok(_) => {}
                    // The lease ends, or a claim by another goes on from here.
                    Err(error) => warn!(%error, "execution {id} could not be given back"),
                }
                coordinator.due.notify_one();
            }
        }
        if slot {
            // Its end may have let another one go.
            coordinator.due.notify_one();
        }
    };
    trace.scope(work.instrument(span)).await;
}

async fn converse(
    coordinator: &ExecutionCoordinator,
    job: Job,
    owner: IncarnationId,
    mut cancelled: watch::Receiver<Option<String>>,
    next_event_seq: &mut u64,
) -> Result<(), Stopped> {
    if let Some(reason) = job.cancel.clone() {
        return Err(Stopped::Cancelled(reason));
    }
    let mut clock = Clock::start(&job.limits).map_err(Stopped::TimedOut)?;
    let definition = coordinator
        .definitions
        .get(&*coordinator.store, job.workflow_id, job.version)
        .await
        .map_err(|e| Stopped::Store(WriteRefused::Unavailable(e.to_string())))?
        .ok_or_else(|| Stopped::Broken(format!("version {} is missing", job.version)))?;
    let (id, epoch) = (job.id, job.epoch);
    let mut emits = Emits::of(&job);
    // Two: the start, and one acknowledgement; the engine waits for each.
    let (to_engine, requests) = mpsc::channel(2);
    let start = pb::execute_request::Message::Start(start(job, &definition)?);
    let _ = to_engine.send(request(start)).await;
    let call = tonic::Request::new(ReceiverStream::new(requests));
    let mut answers = tokio::select! {
        answers = coordinator.engine.execute(call) => answers?,
        reason = reason(&mut cancelled) => return Err(Stopped::Cancelled(reason)),
        why = clock.over() => return Err(Stopped::TimedOut(why)),
    };

    loop {
        // Between two messages everything that was to be stored is: only here
        // can an execution be cut off.
        let stopped = tokio::select! {
            message = answers.message() => Ok(message?),
            reason = reason(&mut cancelled) => Err(Stopped::Cancelled(reason)),
            why = clock.over() => Err(Stopped::TimedOut(why)),
        };
        let message = match stopped {
            Ok(message) => message,
            Err(stopped) => {
                let reason = stopped.to_string();
                let cancel = pb::execute_request::Message::Cancel(pb::Cancel { reason });
                let _ = to_engine.send(request(cancel)).await;
                // It ends the stream when it has stopped; what it says until
                // then counts no more.
                let stopping = async { while answers.message().await.is_ok() {} };
                let _ = tokio::time::timeout(STOP_WITHIN, stopping).await;
                return Err(stopped);
            }
        };
        clock.progressed();
        let message = message
            .message
            .ok_or_else(|| Stopped::Broken("the engine sent an empty message".into()))?;
        match message {
            pb::execute_response::Message::Checkpoint(mut checkpoint) => {
                let (seq, park) = (checkpoint.seq, checkpoint.suspended);
                let emits = emits.take(std::mem::take(&mut checkpoint.emit_events_json))?;
                let mut checkpoint = decode_checkpoint(checkpoint, id, owner, epoch)?;
                checkpoint.emits.clone_from(&emits);
                let last_event = checkpoint.events.last().map(|e| e.seq);
                let bytes = checkpoint.upsert_frames.iter().map(|f| f.data.len()).sum();
                let began = Instant::now();
                commit(coordinator, Write::Checkpoint(checkpoint)).await?;
                metrics::checkpointed(bytes, began.elapsed());
                coordinator.watchers.wake(id, None);
                if let Some(seq) = last_event {
                    *next_event_seq = seq + 1;
                }
                emit::publish(coordinator, emits).await;
                // That took its time, and not the engine's.
                clock.progressed();
                if park {
                    debug!("execution {id} waits");
                    coordinator.due.notify_one();
                    return Ok(());
                }
                let ack = pb::execute_request::Message::Ack(pb::Ack { seq });
                // An engine that has hung up says why on its own stream.
                let _ = to_engine.send(request(ack)).await;
            }
            pb::execute_response::Message::Completed(done) => {
                let events = decode_events(done.events)?;
                let output = Outcome::Succeeded(Bytes::from(done.output_json));
                let mut ending = ending(coordinator, id, owner, epoch, output, events);
                let emits = emits.take(done.emit_events_json)?;
                ending.emits.clone_from(&emits);
                end_with(coordinator, ending).await?;
                emit::publish(coordinator, emits).await;
                return Ok(());
            }
            pb::execute_response::Message::Failed(failed) => {
                let events = decode_events(failed.events)?;
                let error = Outcome::Failed(Bytes::from(failed.error_json));
                let mut ending = ending(coordinator, id, owner, epoch, error, events);
                ending.keep_frames = decode_frames(failed.frames);
                let emits = emits.take(failed.emit_events_json)?;
                ending.emits.clone_from(&emits);
                end_with(coordinator, ending).await?;
                emit::publish(coordinator, emits).await;
                return Ok(());
            }
        }
    }
}

/// Returns once the execution is to be cancelled.
async fn reason(cancelled: &mut watch::Receiver<Option<String>>) -> String {
    loop {
        let told = cancelled.borrow_and_update().clone();
        if let Some(reason) = told {
            return reason;
        }
        if cancelled.changed().await.is_err() {
            // Nobody can ask any more.
            return std::future::pending().await;
        }
    }
}

/// Commits, and holds on through an unavailable database: as long as the
/// lease lives, nobody else goes on with this execution. The caller's select
/// on the lease ends the wait.
async fn commit(coordinator: &ExecutionCoordinator, write: Write) -> Result<WriteDone, Stopped> {
    let mut pause = Duration::from_millis(100);
    loop {
        match coordinator.writes.submit(write.clone()).await {
            Err(WriteRefused::Unavailable(why)) => {
                warn!("a write waits for the database: {why}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            done => {
                return done.map_err(Stopped::from);
            }
        }
    }
}

/// Commits an end, and tells those who wait for it.
async fn end_with(coordinator: &ExecutionCoordinator, ending: Ending) -> Result<(), Stopped> {
    let (id, status) = (ending.id, ending.outcome.status());
    let record = match commit(coordinator, Write::End(ending)).await? {
        WriteDone::Ended(record) => record.map(|record| *record),
        _ => None,
    };
    metrics::ended(status);
    coordinator.watchers.wake(id, None);
    coordinator.waiters.wake(id, record);
    Ok(())
}

pub(super) async fn end(coordinator: &ExecutionCoordinator, ending: Ending) {
    let id = ending.id;
    if let Err(stopped) = end_with(coordinator, ending).await {
        warn!("the end of execution {id} could not be written: {stopped}");
    }
}

pub(super) fn ending(
    coordinator: &ExecutionCoordinator,
    id: ExecutionId,
    owner: IncarnationId,
    epoch: u64,
    outcome: Outcome,
    events: Vec<EventRecord>,
) -> Ending {
    Ending {
        id,
        owner,
        epoch,
        outcome,
        events,
        retention_days: coordinator.config.retention_days,
        keep_frames: Vec::new(),
        emits: Vec::new(),
        read_back: coordinator.waiters.wait_for(id),
    }
}

/// The end of an execution that nothing can carry on.
fn broken(seq: u64, why: &str) -> (Outcome, Vec<EventRecord>) {
    let error = serde_json::json!({
        "type": "https://open-workflow-specification.org/spec/1.0.0/errors/runtime",
        "status": 500,
        "title": "Runtime error",
        "detail": why,
        "instance": "",
    });
    let error = error.to_string();
    let event = EventRecord {
        seq,
        at: Timestamp::now(),
        kind: "executionFailed".into(),
        task: String::new(),
        attempt: 0,
        detail: format!(r#"{{"error":{error}}}"#),
    };
    (Outcome::Failed(Bytes::from(error)), vec![event])
}
