//! How a task ends: its output, where the flow goes on, and what a failure
//! takes with it.

use std::sync::Arc;

use millrace_types::Timestamp;

use super::begin::Begun;
use super::data;
use super::event::{Detail, EventKind};
use super::fault::Fault;
use super::frame::{Body, ForBody, Frame, ROOT, TaskFrame, TryPhase};
use super::machine::{Command, Machine, Outcome};
use super::scope::Stage;
use crate::language::model::{FlowDirective, NamedTask, TaskKind};
use crate::value::Value;

/// Where the flow stands after a task of a list.
enum Next {
    /// Something else is under way now.
    UnderWay,
    /// The parent's body has ended.
    ParentDone(u64, Value, FlowDirective),
    /// The parent failed while going on.
    ParentFailed(u64, Fault),
}

impl Machine {
    /// Ends the task in frame `id` with its raw output and goes on as `then`
    /// says, outwards as far as lists end with it.
    pub(super) fn finish(
        &mut self,
        mut id: u64,
        mut output: Value,
        mut then: FlowDirective,
        mut detail: Detail,
        now: Timestamp,
    ) {
        loop {
            let value = match self.task_output(id, output) {
                Ok(value) => value,
                Err(fault) => return self.fail(id, fault, now),
            };
            detail.duration_ms = self.duration_ms(id, now);
            self.record(id, EventKind::TaskSucceeded, detail, now);
            match self.leave(id, value, then, now) {
                Next::UnderWay => return,
                Next::ParentFailed(parent, fault) => return self.fail(parent, fault, now),
                Next::ParentDone(parent, value, directive) => {
                    id = parent;
                    output = value;
                    then = directive;
                    detail = Detail::default();
                }
            }
        }
    }

    /// Passes over the task in frame `id`: its output is its raw input, and
    /// the flow goes on with the next task, not with the `then` of one that
    /// has not run.
    pub(super) fn skip(&mut self, id: u64, now: Timestamp) {
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let raw = task.raw.clone();
        self.record(id, EventKind::TaskSkipped, Detail::default(), now);
        match self.leave(id, raw, FlowDirective::Continue, now) {
            Next::UnderWay => {}
            Next::ParentFailed(parent, fault) => self.fail(parent, fault, now),
            Next::ParentDone(parent, value, then) => {
                self.finish(parent, value, then, Detail::default(), now);
            }
        }
    }

    /// Transforms and checks a raw output, and exports from it.
    fn task_output(&mut self, id: u64, raw_output: Value) -> Result<Value, Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(raw_output);
        };
        let list = task.list.clone();
        let NamedTask { pointer, task, .. } = &list.tasks[task.at];
        let output = match &task.common.output.as_ {
            None => raw_output.clone(),
            Some(as_) => {
                let scope = self.scope(id, Stage::Output(&raw_output), as_);
                data::transform(as_, &raw_output, &scope, pointer)?
            }
        };
        self.check_size(&output, pointer)?;
        data::validate(
            task.common.output.schema.as_ref(),
            &output,
            pointer,
            "output",
        )?;
        let export = &task.common.export;
        if let Some(as_) = &export.as_ {
            let scope = self.scope(id, Stage::Export(&raw_output, &output), as_);
            let context = data::transform(as_, &output, &scope, pointer)?;
            self.check_size(&context, pointer)?;
            data::validate(
                export.schema.as_ref(),
                &context,
                pointer,
                "exported context",
            )?;
            self.tree.root_mut().context = context;
        } else {
            let context = &self.tree.root().context;
            data::validate(export.schema.as_ref(), context, pointer, "exported context")?;
        }
        Ok(output)
    }

    /// Takes the ended task in frame `id` away and goes on in its list.
    fn leave(&mut self, id: u64, value: Value, then: FlowDirective, now: Timestamp) -> Next {
        let Some(task) = self.remove_task(id) else {
            return Next::UnderWay;
        };
        let (next, jumped_back) = match then {
            FlowDirective::Continue => (task.at + 1, false),
            FlowDirective::Exit => (task.list.len(), false),
            FlowDirective::Goto(target) => (target, target <= task.at),
            FlowDirective::End => {
                self.end_around(task.parent, now);
                self.succeed(value, now);
                return Next::UnderWay;
            }
        };
        if next < task.list.len() {
            let visit = task.visit + u32::from(jumped_back);
            self.put_ready(TaskFrame::ready(
                task.parent,
                task.list,
                next,
                visit,
                value,
                now,
            ));
            return Next::UnderWay;
        }
        self.list_ended(task.parent, value, now)
    }

    /// The list below frame `parent` has come to its end.
    fn list_ended(&mut self, parent: u64, value: Value, now: Timestamp) -> Next {
        if parent == ROOT {
            self.succeed(value, now);
            return Next::UnderWay;
        }
        let Some(task) = self.tree.task(parent) else {
            return Next::UnderWay;
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at].task;
        let then = named.common.then;
        match (&task.body, &named.kind) {
            (Body::For(body), TaskKind::For(each)) => {
                let body = ForBody {
                    items: body.items,
                    index: body.index + 1,
                };
                self.set_body(parent, Body::For(body));
                match self.begin_iteration(parent, each, value, now) {
                    Ok(Begun::UnderWay) => Next::UnderWay,
                    Ok(Begun::Done(output, then)) => Next::ParentDone(parent, output, then),
                    Err(fault) => Next::ParentFailed(parent, fault),
                }
            }
            (Body::Listening(_), TaskKind::Listen(_)) => {
                match self.event_worked_on(parent, value, now) {
                    Ok(Begun::UnderWay) => Next::UnderWay,
                    Ok(Begun::Done(output, then)) => Next::ParentDone(parent, output, then),
                    Err(fault) => Next::ParentFailed(parent, fault),
                }
            }
            (Body::Try(body), TaskKind::Try(attempt)) => {
                let then = match body.phase {
                    TryPhase::Catching(_) => attempt.catch.then.unwrap_or(then),
                    TryPhase::Attempt(_) | TryPhase::Backoff(_) => then,
                };
                Next::ParentDone(parent, value, then)
            }
            _ => Next::ParentDone(parent, value, then),
        }
    }

    /// Fails the task in frame `id`; the error goes outwards until a `try`
    /// takes it or the execution ends with it.
    pub(super) fn fail(&mut self, mut id: u64, mut fault: Fault, now: Timestamp) {
        // As it is before it is taken apart, should nothing catch the error.
        let path = self.path(id);
        loop {
            self.cancel_below(id, "failed", now);
            let detail = Detail {
                duration_ms: self.duration_ms(id, now),
                error: Some(fault.clone()),
                ..Detail::default()
            };
            self.record(id, EventKind::TaskFailed, detail, now);
            let Some(task) = self.remove_task(id) else {
                return;
            };
            if task.parent == ROOT {
                self.keep(path);
                return self.fail_execution(fault, now);
            }
            match self.offer_to_catch(task.parent, &fault, now) {
                Ok(true) => return,
                Ok(false) => {}
                Err(other) => fault = other,
            }
            id = task.parent;
        }
    }

    fn duration_ms(&self, id: u64, now: Timestamp) -> Option<u64> {
        let task = self.tree.task(id)?;
        u64::try_from(now.saturating_since(task.started_at).as_millis()).ok()
    }

    /// Takes a task's frame away, with its timers, listeners and items.
    fn remove_task(&mut self, id: u64) -> Option<TaskFrame> {
        let Some(Frame::Task(task)) = self.tree.remove(id) else {
            return None;
        };
        let timers: Vec<_> = task.timers().collect();
        for (timer, _) in timers {
            self.clear_timer(timer);
        }
        match &task.body {
            Body::For(body) => {
                self.tree.remove(body.items);
            }
            Body::Effect => self.command(Command::Abort { frame: id }),
            Body::Listening(body) => self.forget_listen(id, body),
            _ => {}
        }
        Some(task)
    }

    /// Breaks off everything below frame `id`, innermost first.
    pub(super) fn cancel_below(&mut self, id: u64, reason: &'static str, now: Timestamp) {
        for child in self.tree.children(id) {
            if self.tree.task(child).is_none() {
                continue;
            }
            self.cancel_below(child, reason, now);
            // One that has not begun has nothing to tell.
            let begun = self
                .tree
                .task(child)
                .is_some_and(|task| !matches!(task.body, Body::Ready));
            if begun {
                let detail = Detail {
                    duration_ms: self.duration_ms(child, now),
                    reason: Some(reason),
                    ..Detail::default()
                };
                self.record(child, EventKind::TaskCancelled, detail, now);
            }
            self.remove_task(child);
        }
    }

    /// Ends the tasks around one that ended the workflow, innermost first.
    fn end_around(&mut self, mut id: u64, now: Timestamp) {
        while let Some(task) = self.tree.task(id) {
            let parent = task.parent;
            self.cancel_below(id, "end", now);
            let detail = Detail {
                duration_ms: self.duration_ms(id, now),
                reason: Some("end"),
                ..Detail::default()
            };
            self.record(id, EventKind::TaskSucceeded, detail, now);
            self.remove_task(id);
            id = parent;
        }
    }

    /// Ends the execution with the output of its last task.
    pub(super) fn succeed(&mut self, value: Value, now: Timestamp) {
        self.cancel_below(ROOT, "end", now);
        let workflow = Arc::clone(&self.program.workflow);
        match self.workflow_output(&workflow.output, value) {
            Ok(output) => {
                let detail = self.execution_detail(None, now);
                self.record_execution(EventKind::ExecutionSucceeded, &detail, now);
                self.outcome = Some(Outcome::Succeeded(output));
            }
            Err(fault) => self.fail_execution(fault, now),
        }
    }

    /// Ends the execution with an error that nothing caught.
    pub(super) fn fail_execution(&mut self, fault: Fault, now: Timestamp) {
        if self.outcome.is_some() {
            return;
        }
        self.cancel_below(ROOT, "failed", now);
        let detail = self.execution_detail(Some(fault.clone()), now);
        self.record_execution(EventKind::ExecutionFailed, &detail, now);
        self.outcome = Some(Outcome::Failed(fault));
    }

    fn execution_detail(&self, error: Option<Fault>, now: Timestamp) -> Detail {
        let took = now.saturating_since(self.about.started_at);
        Detail {
            duration_ms: u64::try_from(took.as_millis()).ok(),
            error,
            ..Detail::default()
        }
    }
}
