//! Between the engine's messages and what the store keeps.

use bytes::Bytes;
use millrace_proto::engine::v1 as pb;
use millrace_store::{
    Checkpoint, EmittedEvent, EventRecord, FrameRecord, ListenerFilter, ListenerRecord, TimerRecord,
};
use millrace_types::{ExecutionId, IncarnationId, Timestamp};

use super::Stopped;
use crate::event::emit;
use crate::execution::definitions::Definition;
use crate::execution::job::Job;

/// Names the events that one conversation brings.
pub(super) struct Emits {
    id: ExecutionId,
    epoch: u64,
    traceparent: Option<String>,
    count: u64,
}

impl Emits {
    pub fn of(job: &Job) -> Self {
        Self {
            id: job.id,
            epoch: job.epoch,
            traceparent: job.traceparent.clone(),
            count: 0,
        }
    }

    /// Events as they are stored. A write that has to be repeated keeps the
    /// names that are given here.
    pub fn take(&mut self, events: Vec<String>) -> Result<Vec<EmittedEvent>, Stopped> {
        let events = events.into_iter().map(|event| {
            let event = Bytes::from(event);
            emit::read(&event)
                .map_err(|why| Stopped::Broken(format!("the engine sent a bad event: {why}")))?;
            self.count += 1;
            Ok(EmittedEvent {
                id: format!("{}-{}-{}", self.id, self.epoch, self.count),
                traceparent: self.traceparent.clone(),
                event,
            })
        });
        events.collect()
    }
}

pub(super) fn request(message: pb::execute_request::Message) -> pb::ExecuteRequest {
    pb::ExecuteRequest {
        message: Some(message),
    }
}

pub(super) fn start(job: Job, definition: &Definition) -> Result<pb::Start, Stopped> {
    let trigger = match job.trigger_id {
        Some(id) => format!(r#"{{"type":"{}","id":"{id}"}}"#, job.trigger_kind),
        None => format!(r#"{{"type":"{}"}}"#, job.trigger_kind),
    };
    let reason = if job.due_timers.is_empty() {
        pb::wake::Reason::Begin(pb::wake::Begin {})
    } else {
        pb::wake::Reason::Timers(pb::wake::Timers {
            timer_ids: job.due_timers,
        })
    };
    Ok(pb::Start {
        execution_id: job.id.to_string(),
        deployment_id: job.deployment_id.to_string(),
        workflow_id: job.workflow_id.to_string(),
        version: job.version,
        definition_digest: definition.digest.clone(),
        definition_json: definition.json.clone(),
        input_json: text(&job.input)?,
        epoch: job.epoch,
        checkpoint_seq: job.checkpoint_seq,
        frames: job
            .frames
            .into_iter()
            .map(|f| {
                Ok(pb::Frame {
                    id: f.id,
                    data_json: text(&f.data)?,
                })
            })
            .collect::<Result<_, Stopped>>()?,
        started_at: job.started_at.to_string(),
        wake: Some(pb::Wake {
            reason: Some(reason),
        }),
        next_event_seq: job.next_event_seq,
        trigger_json: trigger,
        received: job
            .received
            .into_iter()
            .map(|one| {
                Ok(pb::ReceivedEvent {
                    number: one.number,
                    listener_id: one.listener,
                    received_at: one.received_at.to_string(),
                    event_json: text(&one.event)?,
                })
            })
            .collect::<Result<_, Stopped>>()?,
    })
}

fn text(bytes: &Bytes) -> Result<String, Stopped> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| Stopped::Broken("a stored payload is not UTF-8".into()))
}

fn time(text: &str) -> Result<Timestamp, Stopped> {
    text.parse()
        .map_err(|e| Stopped::Broken(format!("the engine sent a bad time: {e}")))
}

pub(super) fn decode_checkpoint(
    checkpoint: pb::Checkpoint,
    id: ExecutionId,
    owner: IncarnationId,
    epoch: u64,
) -> Result<Checkpoint, Stopped> {
    Ok(Checkpoint {
        id,
        owner,
        epoch,
        seq: checkpoint.seq,
        upsert_frames: decode_frames(checkpoint.upsert_frames),
        delete_frames: checkpoint.delete_frames,
        set_timers: checkpoint
            .set_timers
            .into_iter()
            .map(|t| {
                Ok(TimerRecord {
                    id: t.id,
                    due_at: time(&t.due_at)?,
                })
            })
            .collect::<Result<_, Stopped>>()?,
        clear_timers: checkpoint.clear_timers,
        events: decode_events(checkpoint.events)?,
        park: checkpoint.suspended,
        set_listeners: checkpoint
            .set_listeners
            .into_iter()
            .map(decode_listener)
            .collect::<Result<_, Stopped>>()?,
        clear_listeners: checkpoint.clear_listeners,
        narrow_listeners: checkpoint
            .narrow_listeners
            .into_iter()
            .map(decode_listener)
            .collect::<Result<_, Stopped>>()?,
        consumed: checkpoint.consumed_events,
        emits: Vec::new(),
    })
}

/// Bytes that the type of a filter may have, and the filter: they are found by
/// an index, and read for each event of the type.
const LONGEST_TYPE: usize = 1024;
const LARGEST_FILTER: usize = 64 * 1024;

fn decode_listener(listener: pb::Listener) -> Result<ListenerRecord, Stopped> {
    let filters = listener.filters.into_iter().map(|filter| {
        if filter.event_type.len() > LONGEST_TYPE || filter.filter_json.len() > LARGEST_FILTER {
            return Err(Stopped::Broken("the engine sent too large a filter".into()));
        }
        Ok(ListenerFilter {
            event_type: filter.event_type,
            filter: Bytes::from(filter.filter_json),
        })
    });
    Ok(ListenerRecord {
        id: listener.id,
        once: listener.once,
        filters: filters.collect::<Result<_, Stopped>>()?,
    })
}

pub(super) fn decode_frames(frames: Vec<pb::Frame>) -> Vec<FrameRecord> {
    frames
        .into_iter()
        .map(|f| FrameRecord {
            id: f.id,
            data: Bytes::from(f.data_json),
        })
        .collect()
}

pub(super) fn decode_events(events: Vec<pb::ExecutionEvent>) -> Result<Vec<EventRecord>, Stopped> {
    events
        .into_iter()
        .map(|e| {
            Ok(EventRecord {
                seq: e.seq,
                at: time(&e.at)?,
                kind: e.kind,
                task: e.task,
                attempt: e.attempt,
                detail: e.detail_json,
            })
        })
        .collect()
}
