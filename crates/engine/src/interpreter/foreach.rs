//! `foreach` of a `listen`: each event is worked on, one after the other.
//!
//! An event that comes while another one is worked on waits in a frame of its
//! own, stored by the checkpoint that consumes it. What has come of one that
//! is done is a frame of items, as without `foreach`.

use millrace_types::Timestamp;

use super::begin::Begun;
use super::correlate::register;
use super::data;
use super::event::Detail;
use super::fault::Fault;
use super::frame::{Body, Frame, Items, ListenBody};
use super::machine::Machine;
use super::scope::Stage;
use crate::language::model::{
    FlowDirective, ForeachEvent, Listen, NamedTask, Take, TaskKind, Until,
};
use crate::value::{self, Value};

impl Machine {
    /// Takes an event in, and works on it unless another one is worked on.
    pub(super) fn queue_event(
        &mut self,
        id: u64,
        mut body: ListenBody,
        listener: u64,
        item: Value,
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
        let ends = body.until == Some(listener);
        if !ends {
            let queued = Items {
                parent: id,
                items: item,
            };
            self.tree.insert(Frame::Queued(queued));
            self.check_size(&self.events_held(id), &named.pointer)?;
        }
        match (listen.take, &listen.until) {
            (Take::All, _) => {
                body.open.retain(|open| *open != listener);
                self.clear_listener(listener);
            }
            (Take::Any, Some(_)) if !ends => {}
            // What waits is worked on; nothing more is taken.
            (Take::Any, _) => {
                for listener in body.open.drain(..).chain(body.until.take()) {
                    self.clear_listener(listener);
                }
            }
        }
        let is_idle = body.current.is_none();
        self.set_body(id, Body::Listening(body));
        if is_idle && let Begun::Done(output, then) = self.next_event(id, now)? {
            self.finish(id, output, then, Detail::default(), now);
        }
        Ok(())
    }

    /// Begins with the event that has waited longest; ends the task when none
    /// waits and none is to come.
    fn next_event(&mut self, id: u64, now: Timestamp) -> Result<Begun, Fault> {
        loop {
            let Some(task) = self.tree.task(id) else {
                return Ok(Begun::UnderWay);
            };
            let list = task.list.clone();
            let named = &list.tasks[task.at];
            let (Body::Listening(body), Some((_, each))) = (&task.body, foreach(named)) else {
                return Ok(Begun::UnderWay);
            };
            let mut body = body.clone();
            let waiting = self.tree.children(id).into_iter();
            let mut waiting = waiting.filter_map(|child| match self.tree.get(child) {
                Some(Frame::Queued(queued)) => Some((child, queued.items.clone())),
                _ => None,
            });
            let Some((frame, item)) = waiting.next() else {
                if body.open.is_empty() && body.until.is_none() {
                    return Ok(Begun::Done(self.events_read(id), named.task.common.then));
                }
                return Ok(Begun::UnderWay);
            };
            drop(waiting);
            body.current = Some(frame);
            self.set_body(id, Body::Listening(body));
            // Each event may do as much as an answer to a call.
            self.visits = 0;
            let output = match &each.do_ {
                None => item,
                Some(do_) => match self.begin_list(id, do_, item, FlowDirective::Continue, now) {
                    Begun::UnderWay => return Ok(Begun::UnderWay),
                    Begun::Done(output, _) => output,
                },
            };
            if self.put_output(id, output)? {
                return Ok(Begun::Done(self.events_read(id), named.task.common.then));
            }
        }
    }

    /// Goes on once the list of an event has ended.
    pub(super) fn event_worked_on(
        &mut self,
        id: u64,
        output: Value,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        let then = self.tree.task(id).map(|task| task.named().task.common.then);
        if self.put_output(id, output)? {
            return Ok(Begun::Done(self.events_read(id), then.unwrap_or_default()));
        }
        self.next_event(id, now)
    }

    /// Takes the event off that was worked on, with what has come of it;
    /// answers whether the task has enough.
    fn put_output(&mut self, id: u64, raw: Value) -> Result<bool, Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(false);
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        let (Body::Listening(body), Some((listen, each))) = (&task.body, foreach(named)) else {
            return Ok(false);
        };
        let mut body = body.clone();
        let output = self.event_output(id, each, raw, &named.pointer)?;
        if let Some(frame) = body.current.take() {
            self.tree.remove(frame);
        }
        body.index += 1;
        self.set_body(id, Body::Listening(body));
        let done = Items {
            parent: id,
            items: output,
        };
        self.tree.insert(Frame::Items(done));
        self.check_size(&self.events_held(id), &named.pointer)?;
        let Some(Until::Condition(condition)) = &listen.until else {
            return Ok(false);
        };
        let scope = self.scope(id, Stage::Body, condition);
        data::holds(condition, &self.events_read(id), &scope, &named.pointer)
    }

    /// Transforms and checks what has come of one event, and exports from it.
    fn event_output(
        &mut self,
        id: u64,
        each: &ForeachEvent,
        raw: Value,
        pointer: &str,
    ) -> Result<Value, Fault> {
        let output = match &each.output.as_ {
            None => raw,
            Some(as_) => {
                let scope = self.scope(id, Stage::Iteration, as_);
                data::transform(as_, &raw, &scope, pointer)?
            }
        };
        data::validate(
            each.output.schema.as_ref(),
            &output,
            pointer,
            "output of an event",
        )?;
        let export = &each.export;
        if let Some(as_) = &export.as_ {
            let mut scope = self.scope(id, Stage::Iteration, as_);
            scope.output = output.clone();
            let context = data::transform(as_, &output, &scope, pointer)?;
            self.check_size(&context, pointer)?;
            self.tree.root_mut().context = context;
        }
        let context = &self.tree.root().context;
        data::validate(export.schema.as_ref(), context, pointer, "exported context")?;
        Ok(output)
    }

    /// All that the task holds of events, done with and waiting.
    fn events_held(&self, id: u64) -> Value {
        let held = self.tree.children(id).into_iter();
        value::array(held.filter_map(|child| match self.tree.get(child) {
            Some(Frame::Items(held) | Frame::Queued(held)) => Some(held.items.clone()),
            _ => None,
        }))
    }

    /// Registers what a `listen` around the failed task of another execution
    /// still waits for.
    pub(super) fn listen_again(&mut self, id: u64) {
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        let (Body::Listening(body), Some((listen, _))) = (&task.body, foreach(named)) else {
            return;
        };
        let body = body.clone();
        for (listener, filters) in self.kept_filters(&body) {
            if body.has(listener) {
                let takes_one = body.until == Some(listener)
                    || listen.take == Take::All
                    || listen.until.is_none();
                let listener = register(listener, takes_one, filters, &body.fixed);
                self.set_listeners.insert(listener.id, listener);
            }
        }
    }
}

/// A `listen` that works on each event.
fn foreach(named: &NamedTask) -> Option<(&Listen, &ForeachEvent)> {
    match &named.task.kind {
        TaskKind::Listen(listen) => Some((listen, listen.foreach.as_ref()?)),
        _ => None,
    }
}
