//! `listen`: what a task waits for, and the events that come for it.
//!
//! A task registers listeners, each a number with its filters, and lets the
//! execution be suspended. Whoever keeps them delivers what they like. What
//! was read of an event is a frame of its own below the task, so that each
//! event costs one frame however many came before it.

use millrace_types::Timestamp;
use serde_json::{Map, Value as Json};

use super::begin::Begun;
use super::data;
use super::event::{Detail, EventKind, EventName};
use super::fault::{Fault, Standard};
use super::frame::{Body, Frame, Items, ListenBody, TaskFrame};
use super::machine::Machine;
use super::scope::{Several, Stage};
use crate::expression::{Expression, Variables};
use crate::language::model::{EventFilter, Listen, NamedTask, ReadAs, Take, TaskKind, Until};
use crate::value::{self, Value};

/// Bytes that a filter may have with all that it compares events to.
const LARGEST_FILTER: usize = 64 * 1024;

/// Bytes that the type of the events may have: they are looked up by it.
const LONGEST_TYPE: usize = 1024;

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
    /// `{with, data, correlate, variables}` as JSON text, evaluated already
    /// as far as it concerns the execution: attributes with the texts that
    /// they equal, a condition on the data, pairs of an expression on the
    /// event and its value, and the values of the variables in these.
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
        let open = match listen.take {
            Take::All => filters
                .into_iter()
                .map(|filter| self.set_listener(true, vec![filter]))
                .collect(),
            Take::Any => vec![self.set_listener(listen.until.is_none(), filters)],
        };
        let until = until.map(|filters| self.set_listener(true, filters));
        self.set_body(id, Body::Listening(ListenBody { open, until }));
        self.visits = 0;
        self.record(id, EventKind::Listening, Detail::default(), now);
        Ok(Begun::UnderWay)
    }

    fn set_listener(&mut self, once: bool, filters: Vec<ListenerFilter>) -> u64 {
        let id = self.tree.next_id();
        let listener = Listener { id, once, filters };
        self.set_listeners.insert(id, listener);
        id
    }

    /// One that was never stored needs no clearing.
    pub(super) fn clear_listener(&mut self, id: u64) {
        if self.set_listeners.remove(&id).is_none() {
            self.clear_listeners.push(id);
        }
    }

    fn listener_filter(
        &self,
        id: u64,
        filter: &EventFilter,
        input: &Value,
    ) -> Result<ListenerFilter, Fault> {
        let pointer = self.tree.task(id).map(TaskFrame::pointer);
        let pointer = pointer.as_deref().unwrap_or_default();
        let refuse = |detail: String| Fault::new(Standard::Expression, pointer, detail);
        let scope = self.scope(id, Stage::Body, &Several);
        let mut with = Map::new();
        for (name, template) in &filter.attributes {
            let value = data::render(template, input, &scope, pointer)?;
            let value = value::to_serde(&value);
            if !matches!(value, Json::String(_) | Json::Bool(_) | Json::Number(_)) {
                let why = format!("the attribute `{name}` cannot equal: {value}");
                return Err(refuse(data::shorten(why)));
            }
            with.insert(name.to_string(), value);
        }
        let event_type = match with.get("type") {
            None => String::new(),
            Some(Json::String(text)) if text.is_empty() || text.len() > LONGEST_TYPE => {
                let why = format!("the type of an event has 1 to {LONGEST_TYPE} bytes");
                return Err(refuse(why));
            }
            Some(Json::String(text)) => text.clone(),
            Some(other) => return Err(refuse(format!("no event is of the type {other}"))),
        };
        let mut variables = Map::new();
        let mut json = Map::new();
        json.insert("with".into(), Json::Object(with));
        if let Some(condition) = &filter.data {
            json.insert("data".into(), condition.source().into());
            capture(condition, &scope, &mut variables);
        }
        let mut correlate = Vec::with_capacity(filter.correlate.len());
        for correlation in &filter.correlate {
            let expect = data::render(&correlation.expect, input, &scope, pointer)?;
            correlate.push(serde_json::json!({
                "from": correlation.from.source(),
                "expect": value::to_serde(&expect),
            }));
            capture(&correlation.from, &scope, &mut variables);
        }
        if !correlate.is_empty() {
            json.insert("correlate".into(), correlate.into());
        }
        if !variables.is_empty() {
            json.insert("variables".into(), Json::Object(variables));
        }
        let filter = Json::Object(json).to_string();
        if filter.len() > LARGEST_FILTER {
            return Err(refuse(format!(
                "a filter may have {LARGEST_FILTER} bytes with the variables that it names, and \
                 has {}; compare with `correlate` and `expect` instead",
                filter.len()
            )));
        }
        Ok(ListenerFilter { event_type, filter })
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
        let detail = Detail {
            event: Some(EventName::of(&one.event)),
            ..Detail::default()
        };
        self.record(id, EventKind::EventReceived, detail, now);
        if body.until == Some(one.listener) {
            self.end_listen(id, named, now);
            return Ok(());
        }
        let items = read(&one.event, listen.read);
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
    fn events_read(&self, id: u64) -> Value {
        let read = self.tree.children(id);
        let read = read
            .into_iter()
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

/// The values of the variables that an expression names.
fn capture(expression: &Expression, scope: &Variables, into: &mut Map<String, Json>) {
    let globals = Variables::GLOBAL
        .into_iter()
        .filter(|name| *name != "secrets");
    let locals: Vec<&str> = scope.locals().map(|(name, _)| name).collect();
    for name in globals.chain(locals) {
        if expression.uses(name) && !into.contains_key(name) {
            into.insert(name.to_owned(), value::to_serde(&scope.get(name)));
        }
    }
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
