//! Between the contract's messages and the interpreter's types.

use millrace_proto::engine::v1 as pb;
use millrace_types::Timestamp;
use tonic::Status;

use crate::interpreter::{About, Changes, Fault, HistoryEvent, Listener, Outcome, Received};
use crate::value;

type Message = pb::execute_response::Message;

/// A `Start`, decoded; the definition is looked up apart.
#[derive(Debug)]
pub(super) struct Beginning {
    pub about: About,
    pub frames: Vec<(u64, String)>,
    pub due_timers: Vec<u64>,
    pub received: Vec<Received>,
    pub checkpoint_seq: u64,
    pub next_event_seq: u64,
    pub definition_digest: String,
    pub definition_json: String,
}

impl TryFrom<pb::Start> for Beginning {
    type Error = Status;

    fn try_from(start: pb::Start) -> Result<Self, Status> {
        let input = value::from_json(start.input_json.as_bytes())
            .map_err(|error| Status::invalid_argument(format!("input_json: {error}")))?;
        let started_at: Timestamp = start
            .started_at
            .parse()
            .map_err(|error| Status::invalid_argument(format!("started_at: {error}")))?;
        let due_timers = match start.wake.and_then(|wake| wake.reason) {
            Some(pb::wake::Reason::Timers(timers)) => timers.timer_ids,
            Some(pb::wake::Reason::Begin(_)) | None => Vec::new(),
        };
        let received = start.received.iter().map(received);
        let received = received.collect::<Result<_, _>>()?;
        let frames = start.frames.into_iter();
        Ok(Self {
            about: About {
                execution_id: start.execution_id,
                input,
                started_at,
                epoch: start.epoch,
                secrets: value::object::<&str, value::Value>([]),
            },
            frames: frames.map(|frame| (frame.id, frame.data_json)).collect(),
            due_timers,
            received,
            checkpoint_seq: start.checkpoint_seq,
            // Zero is a caller that does not count events.
            next_event_seq: start.next_event_seq.max(1),
            definition_digest: start.definition_digest,
            definition_json: start.definition_json,
        })
    }
}

fn received(one: &pb::ReceivedEvent) -> Result<Received, Status> {
    Ok(Received {
        number: one.number,
        listener: one.listener_id,
        at: one
            .received_at
            .parse()
            .map_err(|error| Status::invalid_argument(format!("received_at: {error}")))?,
        event: value::from_json(one.event_json.as_bytes())
            .map_err(|error| Status::invalid_argument(format!("event_json: {error}")))?,
    })
}

fn listener(one: Listener) -> pb::Listener {
    pb::Listener {
        id: one.id,
        once: one.once,
        filters: one
            .filters
            .into_iter()
            .map(|filter| pb::EventFilter {
                event_type: filter.event_type,
                filter_json: filter.filter,
            })
            .collect(),
    }
}

pub(super) fn checkpoint(seq: u64, changes: Changes, suspended: bool) -> Message {
    let frames = changes.upsert_frames.into_iter();
    let timers = changes.set_timers.into_iter();
    Message::Checkpoint(pb::Checkpoint {
        seq,
        upsert_frames: frames
            .map(|(id, data_json)| pb::Frame { id, data_json })
            .collect(),
        delete_frames: changes.delete_frames,
        set_timers: timers
            .map(|(id, due)| pb::Timer {
                id,
                due_at: due.to_string(),
            })
            .collect(),
        clear_timers: changes.clear_timers,
        events: events(changes.events),
        suspended,
        set_listeners: changes.set_listeners.into_iter().map(listener).collect(),
        clear_listeners: changes.clear_listeners,
        narrow_listeners: changes.narrow_listeners.into_iter().map(listener).collect(),
        consumed_events: changes.consumed,
        emit_events_json: changes.emits,
    })
}

/// `frames` are those that a failed execution keeps; `emits` are events that
/// are still to be published.
pub(super) fn ended(
    outcome: &Outcome,
    history: Vec<HistoryEvent>,
    emits: Vec<String>,
    frames: Vec<(u64, String)>,
) -> Message {
    match outcome {
        Outcome::Succeeded(output) => Message::Completed(pb::Completed {
            output_json: value::to_json(output),
            events: events(history),
            emit_events_json: emits,
        }),
        Outcome::Failed(fault) => failed(fault, history, emits, frames),
    }
}

pub(super) fn failed(
    fault: &Fault,
    history: Vec<HistoryEvent>,
    emits: Vec<String>,
    frames: Vec<(u64, String)>,
) -> Message {
    Message::Failed(pb::Failed {
        error_json: fault.to_json(),
        events: events(history),
        emit_events_json: emits,
        frames: frames
            .into_iter()
            .map(|(id, data_json)| pb::Frame { id, data_json })
            .collect(),
    })
}

fn events(history: Vec<HistoryEvent>) -> Vec<pb::ExecutionEvent> {
    history
        .into_iter()
        .map(|event| pb::ExecutionEvent {
            seq: event.seq,
            at: event.at.to_string(),
            kind: event.kind.as_str().to_owned(),
            task: event.task.to_string(),
            attempt: event.attempt,
            detail_json: event.detail,
        })
        .collect()
}
