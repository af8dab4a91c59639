//! How a task begins: its condition, its input, its body.

use std::sync::Arc;

use millrace_types::Timestamp;

use super::data;
use super::event::{Detail, EventKind};
use super::fault::{Fault, Standard};
use super::frame::{Body, ForBody, Frame, Items, TaskFrame, TryBody, TryPhase};
use super::machine::Machine;
use super::scope::{Several, Stage};
use crate::language::model::{
    Call, FlowDirective, For, NamedTask, Raise, Switch, TaskKind, TaskList,
};
use crate::value::Value;

/// What has become of a body.
pub(super) enum Begun {
    /// It has ended, with its raw output and where to go on.
    Done(Value, FlowDirective),
    /// It goes on below its frame, outside, or when a timer fires.
    UnderWay,
}

impl Machine {
    /// Begins the task in frame `id`, if it is still to begin.
    pub(super) fn begin(&mut self, id: u64, now: Timestamp) {
        let Some(task) = self.tree.task(id) else {
            return;
        };
        if !matches!(task.body, Body::Ready) {
            return;
        }
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        if let Err(fault) = self.count_visit(&named.pointer) {
            // Not for a `catch`: it could go on like this for ever.
            return self.fail_execution(fault, now);
        }
        match self.condition_holds(id, named) {
            Ok(true) => {}
            Ok(false) => return self.skip(id, now),
            Err(fault) => {
                self.record(id, EventKind::TaskStarted, Detail::default(), now);
                return self.fail(id, fault, now);
            }
        }
        self.record(id, EventKind::TaskStarted, Detail::default(), now);
        match self.begin_body(id, named, now) {
            Ok(Begun::Done(output, then)) => {
                self.finish(id, output, then, Detail::default(), now);
            }
            Ok(Begun::UnderWay) => {}
            Err(fault) => self.fail(id, fault, now),
        }
    }

    fn condition_holds(&self, id: u64, named: &NamedTask) -> Result<bool, Fault> {
        let (Some(condition), Some(task)) = (&named.task.common.if_, self.tree.task(id)) else {
            return Ok(true);
        };
        let scope = self.scope(id, Stage::Raw, condition);
        data::holds(condition, &task.raw, &scope, &named.pointer)
    }

    fn begin_body(&mut self, id: u64, named: &NamedTask, now: Timestamp) -> Result<Begun, Fault> {
        let common = &named.task.common;
        let Some(task) = self.tree.task(id) else {
            return Ok(Begun::UnderWay);
        };
        data::validate(
            common.input.schema.as_ref(),
            &task.raw,
            &named.pointer,
            "input",
        )?;
        let input = match &common.input.from {
            None => task.raw.clone(),
            Some(from) => {
                let scope = self.scope(id, Stage::Raw, from);
                let input = data::transform(from, &task.raw, &scope, &named.pointer)?;
                self.check_size(&input, &named.pointer)?;
                input
            }
        };
        if let Some(task) = self.tree.task_mut(id) {
            task.input = input.clone();
            task.started_at = now;
        }
        if let Some(timeout) = &common.timeout
            && takes_time(&named.task.kind)
        {
            let scope = self.scope(id, Stage::Body, timeout);
            let after = data::duration(timeout, &input, &scope, &named.pointer)?;
            let timer = self.set_timer(now.saturating_add(after));
            if let Some(task) = self.tree.task_mut(id) {
                task.deadline = Some(timer);
            }
        }
        let then = common.then;
        match &named.task.kind {
            TaskKind::Do(list) => {
                self.set_body(id, Body::Do);
                Ok(self.begin_list(id, list, input, then, now))
            }
            TaskKind::Set(set) => {
                let scope = self.scope(id, Stage::Body, &set.value);
                let output = data::render(&set.value, &input, &scope, &named.pointer)?;
                Ok(Begun::Done(output, then))
            }
            TaskKind::Switch(switch) => {
                let then = self
                    .choose(id, switch, &input, &named.pointer)?
                    .unwrap_or(then);
                Ok(Begun::Done(input, then))
            }
            TaskKind::For(each) => self.begin_for(id, each, input, now),
            TaskKind::Call(_) => {
                self.set_body(id, Body::Effect);
                self.request_effect(id)?;
                Ok(Begun::UnderWay)
            }
            TaskKind::Raise(raise) => Err(self.raised(id, raise, &input, &named.pointer)?),
            TaskKind::Try(attempt) => {
                self.set_body(
                    id,
                    Body::Try(TryBody {
                        attempt: 1,
                        first_started_at: now,
                        phase: TryPhase::Attempt(None),
                    }),
                );
                self.begin_attempt(id, attempt, input, then, now)
            }
            TaskKind::Wait(wait) => {
                let scope = self.scope(id, Stage::Body, &wait.duration);
                let duration = data::duration(&wait.duration, &input, &scope, &named.pointer)?;
                let timer = self.set_timer(now.saturating_add(duration));
                self.set_body(id, Body::Waiting(timer));
                self.visits = 0;
                let detail = Detail {
                    due_at: Some(timer.due),
                    ..Detail::default()
                };
                self.record(id, EventKind::TimerSet, detail, now);
                Ok(Begun::UnderWay)
            }
            TaskKind::Listen(listen) => self.begin_listen(id, listen, &input, now),
            TaskKind::Emit(emit) => self.begin_emit(id, emit, &input, then, now),
        }
    }

    pub(super) fn set_body(&mut self, id: u64, body: Body) {
        if let Some(task) = self.tree.task_mut(id) {
            task.body = body;
        }
    }

    /// Puts the first task of a list below frame `parent`; an empty list has
    /// ended with what it was given.
    pub(super) fn begin_list(
        &mut self,
        parent: u64,
        list: &TaskList,
        raw: Value,
        then: FlowDirective,
        now: Timestamp,
    ) -> Begun {
        if list.is_empty() {
            return Begun::Done(raw, then);
        }
        self.put_ready(TaskFrame::ready(parent, list.clone(), 0, 1, raw, now));
        Begun::UnderWay
    }

    /// Where the first case that holds leads. A case without a condition is
    /// for when no other holds, wherever it stands.
    fn choose(
        &self,
        id: u64,
        switch: &Switch,
        input: &Value,
        pointer: &str,
    ) -> Result<Option<FlowDirective>, Fault> {
        let scope = self.scope(id, Stage::Body, &Several);
        let mut otherwise = None;
        for case in switch.cases.iter() {
            match &case.when {
                None => otherwise = otherwise.or(Some(case.then)),
                Some(when) if data::holds(when, input, &scope, pointer)? => {
                    return Ok(Some(case.then));
                }
                Some(_) => {}
            }
        }
        Ok(otherwise)
    }

    fn begin_for(
        &mut self,
        id: u64,
        each: &For,
        input: Value,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(Begun::UnderWay);
        };
        let pointer = task.pointer();
        let scope = self.scope(id, Stage::Body, &each.in_);
        let items = data::transform(&each.in_, &input, &scope, &pointer)?;
        if items.as_array().is_none() {
            return Err(Fault::new(
                Standard::Expression,
                &*pointer,
                format!("`for.in` must give an array, and gave: {items}"),
            ));
        }
        self.check_size(&items, &pointer)?;
        let items = self.tree.insert(Frame::Items(Items { parent: id, items }));
        self.set_body(id, Body::For(ForBody { items, index: 0 }));
        self.begin_iteration(id, each, input, now)
    }

    /// Begins the iteration that frame `id` stands at, or ends the loop.
    pub(super) fn begin_iteration(
        &mut self,
        id: u64,
        each: &For,
        mut input: Value,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        loop {
            let Some(task) = self.tree.task(id) else {
                return Ok(Begun::UnderWay);
            };
            let then = task.named().task.common.then;
            let pointer = task.pointer();
            let Body::For(body) = &task.body else {
                return Ok(Begun::UnderWay);
            };
            let body = body.clone();
            if self.item(&body).is_none() {
                return Ok(Begun::Done(input, then));
            }
            if let Some(condition) = &each.while_ {
                let scope = self.scope(id, Stage::Iteration, condition);
                if !data::holds(condition, &input, &scope, &pointer)? {
                    return Ok(Begun::Done(input, then));
                }
            }
            match self.begin_list(id, &each.do_, input, FlowDirective::Continue, now) {
                Begun::UnderWay => return Ok(Begun::UnderWay),
                Begun::Done(output, _) => input = output,
            }
            self.count_visit(&pointer)?;
            self.set_body(
                id,
                Body::For(ForBody {
                    index: body.index + 1,
                    ..body
                }),
            );
        }
    }

    /// The item that a loop stands at; `None` past the last one.
    pub(super) fn item(&self, body: &ForBody) -> Option<Value> {
        match self.tree.get(body.items) {
            Some(Frame::Items(items)) => items.items.as_array()?.get(body.index).cloned(),
            _ => None,
        }
    }

    fn raised(
        &self,
        id: u64,
        raise: &Raise,
        input: &Value,
        pointer: &Arc<str>,
    ) -> Result<Fault, Fault> {
        let scope = self.scope(id, Stage::Body, &Several);
        let text =
            |template| data::render_text(template, input, &scope, pointer).map(data::shorten);
        let error = &raise.error;
        Ok(Fault {
            kind: text(&error.type_)?,
            status: error.status,
            title: error.title.as_ref().map(text).transpose()?,
            detail: error.detail.as_ref().map(text).transpose()?,
            instance: match &error.instance {
                Some(instance) => text(instance)?,
                None => pointer.to_string(),
            },
        })
    }

    /// Works out the effect of the task in frame `id` and asks for it.
    pub(super) fn request_effect(&mut self, id: u64) -> Result<(), Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(());
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        let input = task.input.clone();
        self.visits = 0;
        match &named.task.kind {
            TaskKind::Call(Call::Http(call)) => self.request_http(id, call, &input, &named.pointer),
            _ => Ok(()),
        }
    }
}

/// Whether a task can be under way at all when a timer fires.
const fn takes_time(kind: &TaskKind) -> bool {
    !matches!(
        kind,
        TaskKind::Set(_) | TaskKind::Switch(_) | TaskKind::Raise(_) | TaskKind::Emit(_)
    )
}
