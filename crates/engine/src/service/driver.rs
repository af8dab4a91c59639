//! The conversation about one execution, and the effects it asks for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use millrace_proto::engine::v1 as pb;
use millrace_service::trace_context::TraceContext;
use millrace_types::Timestamp;
use tokio::sync::mpsc;
use tonic::Status as RpcStatus;
use tracing::debug;

use super::Shared;
use super::call::Call;
use super::convert::{self, Beginning};
use super::http;
use crate::interpreter::{
    Changes, Command, Event, EventKind, Fault, HistoryEvent, HttpAnswer, HttpFailure, HttpRequest,
    Machine, Standard, Status,
};

/// Steps between two looks at the rest of the world: a step is some
/// microseconds, unless an expression is a slow one.
const STEPS: u32 = 32;

/// Lines of history that are worth a checkpoint without an effect, so that a
/// long run of pure tasks fits into messages and memory.
const HISTORY_LINES: usize = 2_000;

/// Bytes of frames and history that one checkpoint may carry; what a message
/// has besides is little.
const LARGEST_CHECKPOINT: usize = super::MAX_MESSAGE / 4 * 3;

/// The longest sleep at once: the clock of the host may be set while it
/// lasts, and due times are of the clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

type Answer = Result<pb::ExecuteResponse, RpcStatus>;
type Done = (u64, Result<HttpAnswer, HttpFailure>);

/// How far an execution is stored, for whoever has to end it after a panic.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub fn stored_until(&self, next_event_seq: u64) {
        self.0.store(next_event_seq, Ordering::Relaxed);
    }

    /// The end of an execution in which the engine failed; `None` when it had
    /// not begun.
    pub fn failed(&self) -> Option<pb::ExecuteResponse> {
        let seq = self.0.load(Ordering::Relaxed);
        if seq == 0 {
            return None;
        }
        let fault = Fault::new(
            Standard::Runtime,
            "",
            "the engine failed in this execution; its log says more",
        );
        let event = HistoryEvent {
            seq,
            at: Timestamp::now(),
            kind: EventKind::ExecutionFailed,
            task: Arc::from(""),
            attempt: 0,
            detail: format!(r#"{{"error":{}}}"#, fault.to_json()),
        };
        let last = convert::failed(&fault, vec![event], Vec::new(), Vec::new());
        Some(response(last))
    }
}

fn response(message: pb::execute_response::Message) -> pb::ExecuteResponse {
    pb::ExecuteResponse {
        message: Some(message),
    }
}

/// Why a conversation stops before its end.
enum Stop {
    /// The other side wants, or hears, no more.
    Gone,
    Failed(RpcStatus),
}

impl From<RpcStatus> for Stop {
    fn from(status: RpcStatus) -> Self {
        Self::Failed(status)
    }
}

pub(super) struct Driver<R> {
    shared: Arc<Shared>,
    requests: R,
    answers: mpsc::Sender<Answer>,
    trace: Option<TraceContext>,
    progress: Progress,
    checkpoint_seq: u64,
    effects: FuturesUnordered<BoxFuture<'static, Option<Done>>>,
    aborts: HashMap<u64, AbortHandle>,
    /// Effects that ended while an acknowledgement was waited for.
    arrived: VecDeque<Done>,
}

impl<R> Driver<R>
where
    R: Stream<Item = Result<pb::ExecuteRequest, RpcStatus>> + Unpin + Send,
{
    pub fn new(
        shared: Arc<Shared>,
        requests: R,
        answers: mpsc::Sender<Answer>,
        trace: Option<TraceContext>,
        progress: Progress,
    ) -> Self {
        Self {
            shared,
            requests,
            answers,
            trace,
            progress,
            checkpoint_seq: 0,
            effects: FuturesUnordered::new(),
            aborts: HashMap::new(),
            arrived: VecDeque::new(),
        }
    }

    /// Runs the execution until it ends, waits, or is called off.
    pub async fn run(mut self) -> Result<(), RpcStatus> {
        match self.converse().await {
            Ok(()) | Err(Stop::Gone) => Ok(()),
            Err(Stop::Failed(status)) => Err(status),
        }
    }

    async fn converse(&mut self) -> Result<(), Stop> {
        let mut machine = self.begin().await?;
        loop {
            let status = self.step(&mut machine).await;
            if let (Status::Ended, Some(outcome)) = (status, machine.outcome().cloned()) {
                let (history, emits) = (machine.take_events(), machine.take_emits());
                return self
                    .send(convert::ended(&outcome, history, emits, kept(&machine)))
                    .await;
            }
            let calls = self.sort_commands(&mut machine);
            if status == Status::Blocked && calls.is_empty() && self.is_idle() {
                return self.suspend(&mut machine).await;
            }
            // An effect must not happen before what led to it is stored, and
            // a due time must not be computed twice.
            let now = !calls.is_empty()
                || status == Status::Runnable
                || machine.has_new_timers()
                || machine.has_emits();
            if now && machine.is_changed() && !self.checkpoint(&mut machine).await? {
                return Ok(());
            }
            for (frame, request) in calls {
                self.carry_out(frame, request);
            }
            if status == Status::Blocked {
                self.wait(&mut machine).await?;
            }
        }
    }

    /// Reads the start and puts the machine together.
    async fn begin(&mut self) -> Result<Machine, Stop> {
        let pb::execute_request::Message::Start(start) = next(&mut self.requests).await? else {
            return Err(RpcStatus::invalid_argument("the first message must be `start`").into());
        };
        let mut beginning = Beginning::try_from(start)?;
        self.checkpoint_seq = beginning.checkpoint_seq;
        self.progress.stored_until(beginning.next_event_seq);
        let program = self
            .shared
            .programs
            .get(&beginning.definition_digest, &beginning.definition_json)
            .map_err(|error| RpcStatus::failed_precondition(error.to_string()))?;
        let secrets = program.secrets();
        if !secrets.is_empty() {
            beginning.about.secrets = self.shared.secrets.read(secrets).await;
        }
        debug!(
            execution.id = %beginning.about.execution_id,
            frames = beginning.frames.len(),
            "the engine takes up execution {}",
            beginning.about.execution_id
        );
        let now = Timestamp::now();
        let limits = self.shared.limits;
        if beginning.frames.is_empty() {
            let seq = beginning.next_event_seq;
            return Ok(Machine::start(program, beginning.about, limits, seq, now));
        }
        let frames = beginning.frames.iter();
        if beginning.checkpoint_seq == 0 {
            // Those that were kept of the execution that this one reruns.
            return Machine::rerun(
                program,
                beginning.about,
                limits,
                frames.map(|(id, text)| (*id, text.as_str())),
                beginning.next_event_seq,
                now,
            )
            .map_err(|error| RpcStatus::failed_precondition(error.to_string()).into());
        }
        let mut machine = Machine::resume(
            program,
            beginning.about,
            limits,
            frames.map(|(id, text)| (*id, text.as_str())),
            beginning.next_event_seq,
            now,
        )
        .map_err(|error| RpcStatus::failed_precondition(error.to_string()))?;
        // Each event says when it came, and so whether before a timer.
        machine.handle(Event::Received(beginning.received), now);
        machine.handle(Event::TimersDue(beginning.due_timers), now);
        Ok(machine)
    }

    /// Steps until nothing goes on, or enough has come together to be stored.
    async fn step(&mut self, machine: &mut Machine) -> Status {
        loop {
            let status = machine.run(Timestamp::now(), STEPS);
            if status != Status::Runnable
                || machine.pending_events() >= HISTORY_LINES
                || machine.must_publish()
            {
                return status;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Calls off what nobody waits for any more; what is left is to be
    /// carried out.
    fn sort_commands(&mut self, machine: &mut Machine) -> Vec<(u64, HttpRequest)> {
        let mut calls = Vec::new();
        for command in machine.take_commands() {
            match command {
                Command::Http { frame, request } => calls.push((frame, *request)),
                Command::Abort { frame } => {
                    calls.retain(|(asked, _)| *asked != frame);
                    if let Some(abort) = self.aborts.remove(&frame) {
                        abort.abort();
                    }
                }
            }
        }
        calls
    }

    fn is_idle(&self) -> bool {
        self.aborts.is_empty() && self.arrived.is_empty()
    }

    fn carry_out(&mut self, frame: u64, mut request: HttpRequest) {
        let part = self.trace.map(|trace| Call::begin(trace, &mut request));
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let done = http::call(&shared.http, request).await;
            if let Some(part) = part {
                part.end(&done);
            }
            (frame, done)
        };
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(frame, abort);
        let work = Abortable::new(work, registration);
        self.effects.push(work.map(Result::ok).boxed());
    }

    /// Waits for an effect, a timer or the other side.
    async fn wait(&mut self, machine: &mut Machine) -> Result<(), Stop> {
        if let Some(done) = self.arrived.pop_front() {
            take_in(machine, done);
            return Ok(());
        }
        let now = Timestamp::now();
        let pause = machine
            .next_due()
            .map_or(LONGEST_SLEEP, |due| due.saturating_since(now))
            .min(LONGEST_SLEEP);
        tokio::select! {
            Some(done) = self.effects.next(), if !self.effects.is_empty() => {
                if let Some(done) = done {
                    self.aborts.remove(&done.0);
                    take_in(machine, done);
                }
                Ok(())
            }
            () = tokio::time::sleep(pause) => Ok(()),
            request = next(&mut self.requests) => match request? {
                pb::execute_request::Message::Cancel(_) => Err(Stop::Gone),
                _ => Err(RpcStatus::invalid_argument("nothing was to be acknowledged").into()),
            },
        }
    }

    async fn send(&mut self, message: pb::execute_response::Message) -> Result<(), Stop> {
        self.answers
            .send(Ok(response(message)))
            .await
            .map_err(|_| Stop::Gone)
    }

    /// The changes; `None` when they are more than a message can carry, and
    /// the execution has ended with that.
    async fn changes(&mut self, machine: &mut Machine) -> Result<Option<Changes>, Stop> {
        let changes = machine.take_changes();
        let size = changes.size();
        if size <= LARGEST_CHECKPOINT {
            return Ok(Some(changes));
        }
        let detail = format!("its state grew by {size} bytes at once, more than can be stored");
        let fault = Fault::new(Standard::Runtime, "", detail);
        machine.abandon(fault.clone(), Timestamp::now());
        let mut history = changes.events;
        history.extend(machine.take_events());
        // They are small beside the rest, and the history says that they were sent.
        let failed = convert::failed(&fault, history, changes.emits, Vec::new());
        self.send(failed).await?;
        Ok(None)
    }

    /// Has the changes stored, and returns once they are; `false` when that
    /// was the end.
    async fn checkpoint(&mut self, machine: &mut Machine) -> Result<bool, Stop> {
        let Some(changes) = self.changes(machine).await? else {
            return Ok(false);
        };
        self.checkpoint_seq += 1;
        let seq = self.checkpoint_seq;
        self.send(convert::checkpoint(seq, changes, false)).await?;
        loop {
            tokio::select! {
                request = next(&mut self.requests) => match request? {
                    pb::execute_request::Message::Ack(ack) if ack.seq == seq => {
                        self.progress.stored_until(machine.next_event_seq());
                        return Ok(true);
                    }
                    pb::execute_request::Message::Cancel(_) => return Err(Stop::Gone),
                    _ => {
                        let expected = format!("an acknowledgement of {seq} was expected");
                        return Err(RpcStatus::invalid_argument(expected).into());
                    }
                },
                Some(done) = self.effects.next(), if !self.effects.is_empty() => {
                    if let Some(done) = done {
                        self.aborts.remove(&done.0);
                        self.arrived.push_back(done);
                    }
                }
            }
        }
    }

    /// Has the changes stored and lets go until a timer is due or an event
    /// has come.
    async fn suspend(&mut self, machine: &mut Machine) -> Result<(), Stop> {
        if machine.next_due().is_none() && !machine.is_listening() {
            // Nothing would ever wake it.
            return Err(RpcStatus::internal("the execution waits for nothing").into());
        }
        let Some(changes) = self.changes(machine).await? else {
            return Ok(());
        };
        self.checkpoint_seq += 1;
        let message = convert::checkpoint(self.checkpoint_seq, changes, true);
        self.send(message).await
    }
}

/// What a failed execution keeps for a rerun from there, unless it is more
/// than its last message can carry besides its history.
fn kept(machine: &Machine) -> Vec<(u64, String)> {
    let frames = machine.failed_frames();
    let size: usize = frames.iter().map(|(_, text)| text.len()).sum();
    if size > LARGEST_CHECKPOINT / 2 {
        return Vec::new();
    }
    frames
}

fn take_in(machine: &mut Machine, (frame, result): Done) {
    machine.handle(Event::HttpDone { frame, result }, Timestamp::now());
}

/// The next message of the other side. When it says no more, nothing of what
/// would be done can be stored.
async fn next<R>(requests: &mut R) -> Result<pb::execute_request::Message, Stop>
where
    R: Stream<Item = Result<pb::ExecuteRequest, RpcStatus>> + Unpin,
{
    match requests.next().await {
        Some(Ok(pb::ExecuteRequest {
            message: Some(message),
        })) => Ok(message),
        Some(Ok(_)) => Err(RpcStatus::invalid_argument("the message is empty").into()),
        Some(Err(_)) | None => Err(Stop::Gone),
    }
}
