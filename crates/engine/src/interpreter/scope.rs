//! What an expression sees, depending on where it stands.

use std::sync::{Arc, LazyLock};

use super::data;
use super::frame::{Body, Frame, TaskFrame, TryPhase};
use super::machine::Machine;
use crate::expression::{Expression, Template, Variables};
use crate::language::duration::DurationSource;
use crate::language::model::{TaskKind, Transform};
use crate::value::{self, Value};

/// Where in a task an expression stands: which variables it has there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage<'a> {
    /// Before the input is known: `if`, `input.from`.
    Raw,
    /// In the body of the task.
    Body,
    /// In the `while` of a loop, or about one event of a `foreach`: the body,
    /// with the item and its index.
    Iteration,
    /// In `output.as`, with the raw output.
    Output(&'a Value),
    /// In `export.as`, with the raw output and the output.
    Export(&'a Value, &'a Value),
}

/// Something with expressions in it. Descriptors are put together only for
/// those that look at them.
pub(super) trait Uses {
    /// Whether the variable is mentioned, named without `$`.
    fn uses(&self, variable: &str) -> bool;
}

impl Uses for Expression {
    fn uses(&self, variable: &str) -> bool {
        self.uses(variable)
    }
}

impl Uses for Template {
    fn uses(&self, variable: &str) -> bool {
        self.uses(variable)
    }
}

impl Uses for Transform {
    fn uses(&self, variable: &str) -> bool {
        match self {
            Self::Expression(expression) => expression.uses(variable),
            Self::Template(template) => template.uses(variable),
        }
    }
}

impl Uses for DurationSource {
    fn uses(&self, variable: &str) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Expression(expression) => expression.uses(variable),
        }
    }
}

/// Several expressions together: they are taken to use everything.
pub(super) struct Several;

impl Uses for Several {
    fn uses(&self, _: &str) -> bool {
        true
    }
}

/// `$runtime`.
static RUNTIME: LazyLock<Value> = LazyLock::new(|| {
    value::object([
        ("name", value::string("millrace")),
        ("version", value::string(env!("CARGO_PKG_VERSION"))),
        ("metadata", value::object::<&str, Value>([])),
    ])
});

impl Machine {
    /// For expressions of the workflow itself; `$context` is there only once
    /// tasks have run.
    pub(super) fn workflow_scope(&self, with_context: bool) -> Variables {
        let mut scope = Variables::default();
        if with_context {
            scope.context = self.tree.root().context.clone();
        }
        scope.secrets = self.about.secrets.clone();
        scope.workflow = self.workflow_descriptor.clone();
        scope.runtime = RUNTIME.clone();
        scope
    }

    /// For expressions of the task in frame `id`.
    pub(super) fn scope(&self, id: u64, stage: Stage<'_>, reader: &impl Uses) -> Variables {
        let mut scope = self.workflow_scope(true);
        let Some(task) = self.tree.task(id) else {
            return scope;
        };
        self.add_locals(&mut scope, task.parent);
        let mut raw_output = Value::Null;
        match stage {
            Stage::Raw => {}
            Stage::Body => scope.input = task.input.clone(),
            Stage::Iteration => {
                scope.input = task.input.clone();
                self.add_locals_of(&mut scope, task);
            }
            Stage::Output(raw) => {
                scope.input = task.input.clone();
                raw_output = raw.clone();
            }
            Stage::Export(raw, output) => {
                scope.input = task.input.clone();
                scope.output = output.clone();
                raw_output = raw.clone();
            }
        }
        if reader.uses("task") {
            scope.task = self.task_descriptor(task, raw_output);
        }
        scope
    }

    fn task_descriptor(&self, task: &TaskFrame, raw_output: Value) -> Value {
        let named = task.named();
        value::object([
            ("name", value::string(&*named.name)),
            ("reference", value::string(&*named.pointer)),
            ("definition", self.program.task_definition(&named.pointer)),
            ("input", task.raw.clone()),
            ("output", raw_output),
            ("startedAt", data::time_descriptor(task.started_at)),
        ])
    }

    /// The locals of frame `id` and all around it, outermost first, so that
    /// the inner ones hide the outer.
    fn add_locals(&self, scope: &mut Variables, id: u64) {
        if let Some(Frame::Task(task)) = self.tree.get(id) {
            self.add_locals(scope, task.parent);
            self.add_locals_of(scope, task);
        }
    }

    fn add_locals_of(&self, scope: &mut Variables, task: &TaskFrame) {
        match (&task.body, &task.named().task.kind) {
            (Body::For(body), TaskKind::For(each)) => {
                let item = self.item(body).unwrap_or_default();
                scope.set(Arc::clone(&each.each), item);
                scope.set(Arc::clone(&each.at), body.index.into());
            }
            (Body::Listening(body), TaskKind::Listen(listen)) => {
                let item = body.current.and_then(|id| self.tree.get(id));
                if let (Some(each), Some(Frame::Queued(item))) = (&listen.foreach, item) {
                    scope.set(Arc::clone(&each.item), item.items.clone());
                    scope.set(Arc::clone(&each.at), body.index.into());
                }
            }
            (Body::Try(body), TaskKind::Try(attempt)) => {
                if let TryPhase::Catching(fault) = &body.phase {
                    scope.set(Arc::clone(&attempt.catch.as_), fault.to_value());
                }
            }
            _ => {}
        }
    }
}
