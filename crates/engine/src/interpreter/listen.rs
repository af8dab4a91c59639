//! `listen`: what a task waits for, and the events that come for it.
//!
//! A task registers listeners, each a number with its filters, and lets the
//! execution be suspended. Whoever keeps them delivers what they like. What
//! was read of an event is a frame of its own below the task, so that each
//! event costs one frame however many came before it.

use millrace_types::Timestamp;
use serde_json::Map;

use super::begin::Begun;
use super::data;
use super::event::{Detail, EventKind, EventName};
use super::fault::Fault;
use super::frame::{Body, Frame, Items, ListenBody};
use super::machine::Machine;
use super::scope::Stage;
use crate::event::Filter;
use crate::language::model::{Listen, NamedTask, ReadAs, Take, TaskKind, Until};
use crate::value::{self, Value};

/// What an execution waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique among the frames, timers and listeners that are alive.
    pub id: u64,
    /// Whether it is done with its first event.
    pub once: bool,
    /// An event that one of them likes is for it.
    pub filters: Vec<ListenerFilter>,
}

/// Which events a listener likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerFilter {
    /// The type that events must have; empty for any.
    pub event_type: String,
    /// A [`Filter`] as JSON text, evaluated already as far as it concerns the
    /// execution.
    pub filter: String,
}

/// An event that came for a listener.
#[derive(Debug, Clone)]
pub struct Received {
    /// What whoever delivers it knows it by.
    pub number: u64,
    /// The listener's.
    pub listener: u64,
    pub at: Timestamp,
    /// The CloudEvent in its JSON form.
    pub event: Value,
}

impl Machine {
    /// Whether something waits for events.
    pub fn is_listening(&self) -> bool {
        self.tree.iter().any(|(_, frame)| {
            matches!(frame, Frame::Task(task) if matches!(task.body, Body::Listening(_)))
        })
    }

    pub(super) fn begin_listen(
        &mut self,
        id: u64,
        listen: &Listen,
        input: &Value,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        let mut filters = Vec::with_capacity(listen.filters.len());
        for filter in listen.filters.iter() {
            filters.push(self.listener_filter(id, filter, input)?);
        }
        let until = match &listen.until {
            Some(Until::Event(until)) => {
                let until = until.iter();
                let until = until.map(|filter| self.listener_filter(id, filter, input));
                Some(until.collect::<Result<Vec<_>, _>>()?)
            }
            Some(Until::Condition(_)) | None => None,
        };
        // What the first event fixes is of no matter to a task that takes no other.
        let mut kept = listen.takes_more().then(Kept::default);
        if listen.foreach.is_some() {
            // A rerun from within it listens to the same.
            kept = Some(Kept {
                every: true,
                ..Kept::default()
            });
        }
        let open = match listen.take {
            Take::All => filters
                .into_iter()
                .map(|filter| self.set_listener(true, vec![filter], kept.as_mut()))
                .collect(),
            Take::Any => {
                let once = listen.until.is_none();
                vec![self.set_listener(once, filters, kept.as_mut())]
            }
        };
        let until = until.map(|filters| self.set_listener(true, filters, kept.as_mut()));
        let body = ListenBody {
            open,
            until,
            filters: self.keep_filters(id, kept.unwrap_or_default().filters),
            fixed: Map::new(),
            index: 0,
            current: None,
        };
        self.set_body(id, Body::Listening(body));
        self.visits = 0;
        self.record(id, EventKind::Listening, Detail::default(), now);
        Ok(Begun::UnderWay)
    }

    /// Filters that leave something to the first event are added to `kept`,
    /// as far as anybody asks for them. Such a listener gets more events than
    /// it takes: which of them it takes, the task decides.
    fn set_listener(&mut self, once: bool, filters: Vec<Filter>, kept: Option<&mut Kept>) -> u64 {
        let id = self.tree.next_id();
        let stored = filters.iter().map(ListenerFilter::of).collect();
        let mut listener = Listener {
            id,
            once,
            filters: stored,
        };
        if let Some(kept) = kept {
            let is_open = filters.iter().any(Filter::is_open);
            listener.once &= !is_open;
            if is_open || kept.every {
                kept.filters.push((id, filters));
            }
        }
        self.set_listeners.insert(id, listener);
        id
    }

    /// One that was never stored needs no clearing.
    pub(super) fn clear_listener(&mut self, id: u64) {
        self.narrow_listeners.remove(&id);
        if self.set_listeners.remove(&id).is_none() {
            self.clear_listeners.push(id);
        }
    }

    /// Takes in events, in the order in which they came.
    pub(super) fn receive(&mut self, received: Vec<Received>, now: Timestamp) {
        for one in received {
            // A time that had run out before the event came has run out.
            self.fire_due(one.at.min(now));
            if self.outcome.is_some() {
                return;
            }
            self.consumed.push(one.number);
            let found = self.tree.iter().find_map(|(id, frame)| match frame {
                Frame::Task(task) => match &task.body {
                    Body::Listening(body) if body.has(one.listener) => Some((id, body.clone())),
                    _ => None,
                },
                _ => None,
            });
            if let Some((id, body)) = found
                && let Err(fault) = self.take_event(id, body, &one, now)
            {
                self.fail(id, fault, now);
            }
        }
    }

    fn take_event(
        &mut self,
        id: u64,
        mut body: ListenBody,
        one: &Received,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(());
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        let TaskKind::Listen(listen) = &named.task.kind else {
            return Ok(());
        };
        let Some(fixed) = self.correlated(&body, listen, one) else {
            // It came before another one was taken that fixed what it has not.
            return Ok(());
        };
        let detail = Detail {
            event: Some(EventName::of(&one.event)),
            correlation: fixed.clone(),
            ..Detail::default()
        };
        self.record(id, EventKind::EventReceived, detail, now);
        self.fix(id, &mut body, fixed);
        let items = read(&one.event, listen.read);
        if listen.foreach.is_some() {
            return self.queue_event(id, body, one.listener, items, now);
        }
        if body.until == Some(one.listener) {
            self.end_listen(id, named, now);
            return Ok(());
        }
        self.tree.insert(Frame::Items(Items { parent: id, items }));
        self.check_size(&self.events_read(id), &named.pointer)?;
        let enough = match (listen.take, &listen.until) {
            (Take::All, _) => {
                body.open.retain(|open| *open != one.listener);
                self.clear_listener(one.listener);
                let enough = body.open.is_empty();
                self.set_body(id, Body::Listening(body));
                enough
            }
            (Take::Any, None) => true,
            (Take::Any, Some(Until::Event(_))) => false,
            (Take::Any, Some(Until::Condition(condition))) => {
                let scope = self.scope(id, Stage::Body, condition);
                data::holds(condition, &self.events_read(id), &scope, &named.pointer)?
            }
        };
        if enough {
            self.end_listen(id, named, now);
        }
        Ok(())
    }

    fn end_listen(&mut self, id: u64, named: &NamedTask, now: Timestamp) {
        let output = self.events_read(id);
        self.finish(id, output, named.task.common.then, Detail::default(), now);
    }

    /// What was read of the events so far, in their order: numbers of frames
    /// grow, as long as those before them live.
    pub(super) fn events_read(&self, id: u64) -> Value {
        let filters = match self.tree.task(id).map(|task| &task.body) {
            Some(Body::Listening(body)) => body.filters,
            _ => None,
        };
        let read = self.tree.children(id).into_iter();
        let read = read
            .filter(|child| Some(*child) != filters)
            .filter_map(|child| match self.tree.get(child) {
                Some(Frame::Items(items)) => Some(items.items.clone()),
                _ => None,
            });
        value::array(read)
    }

    /// The listeners and the events of a task go with it.
    pub(super) fn forget_listen(&mut self, id: u64, body: &ListenBody) {
        for listener in body.open.iter().chain(&body.until) {
            self.clear_listener(*listener);
        }
        for child in self.tree.children(id) {
            self.tree.remove(child);
        }
    }
}

/// Filters that a task keeps, by their listener.
#[derive(Debug, Default)]
struct Kept {
    filters: Vec<(u64, Vec<Filter>)>,
    /// Those too that leave nothing to the first event.
    every: bool,
}

fn read(event: &Value, read: ReadAs) -> Value {
    let data = || {
        let text = event.get("data").or_else(|| event.get("data_base64"));
        text.cloned().unwrap_or_default()
    };
    match read {
        ReadAs::Envelope => event.clone(),
        ReadAs::Data => data(),
        ReadAs::Raw => match data() {
            Value::Null => Value::Null,
            text if text.as_str().is_some() => text,
            other => value::string(value::to_json(&other)),
        },
    }
}
