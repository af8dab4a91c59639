//! Tasks: what they share, and which kind each one is.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::{Place, Reader, Scope};
use crate::language::model::{NamedTask, Task, TaskCommon, TaskKind, TaskList, Wait};

/// The keys that tell the kinds of tasks apart, `for` before `do`, since a
/// `for` task has both.
const KINDS: [&str; 12] = [
    "for", "do", "set", "switch", "call", "try", "raise", "wait", "fork", "listen", "emit", "run",
];

/// The tasks of one list, which `then` may point to.
pub(super) struct Siblings<'d> {
    pub(super) names: Vec<&'d str>,
    pub(super) indices: HashMap<&'d str, usize>,
}

impl<'d> Reader<'d> {
    pub(super) fn task_list(&mut self, place: &Place<'d>, scope: &Scope) -> Option<TaskList> {
        let named = self.named_items(place, "task")?;
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let indices = names.iter().enumerate().map(|(at, name)| (*name, at));
        let siblings = Siblings {
            indices: indices.collect(),
            names,
        };
        let mut tasks = Vec::with_capacity(named.len());
        let mut complete = true;
        for (name, place) in &named {
            if matches!(*name, "continue" | "exit" | "end") {
                self.error_at_key(
                    place,
                    format!("a task cannot be named `{name}`: `then: {name}` means something else"),
                );
            }
            match self.task(place, scope, &siblings) {
                Some(task) => tasks.push(NamedTask {
                    name: (*name).into(),
                    pointer: Arc::clone(&place.pointer),
                    task,
                }),
                None => complete = false,
            }
        }
        complete.then(|| TaskList {
            pointer: Arc::clone(&place.pointer),
            tasks: tasks.into(),
        })
    }

    fn task(&mut self, place: &Place<'d>, scope: &Scope, siblings: &Siblings<'d>) -> Option<Task> {
        let mut fields = self.fields(place)?;
        let common = self.common(&mut fields, scope, siblings);
        let kind = self.kind(&mut fields, scope, siblings);
        fields.finish(self);
        Some(Task {
            common,
            kind: kind?,
        })
    }

    fn common(
        &mut self,
        fields: &mut Fields<'d>,
        scope: &Scope,
        siblings: &Siblings<'d>,
    ) -> TaskCommon {
        TaskCommon {
            if_: fields
                .take("if")
                .and_then(|place| self.expression(&place, scope)),
            input: fields
                .take("input")
                .map(|place| self.input(&place, scope))
                .unwrap_or_default(),
            output: fields
                .take("output")
                .map(|place| self.output(&place, scope))
                .unwrap_or_default(),
            export: fields
                .take("export")
                .map(|place| self.export(&place, scope))
                .unwrap_or_default(),
            timeout: fields
                .take("timeout")
                .and_then(|place| self.timeout(&place, scope)),
            then: fields
                .take("then")
                .and_then(|place| self.directive(&place, siblings))
                .unwrap_or_default(),
            metadata: fields
                .take("metadata")
                .and_then(|place| self.free_object(&place))
                .map(Arc::new),
            definition: Arc::new(fields.place().node.to_json()),
        }
    }

    /// Finds the one key that says what kind of task this is, and reads it.
    fn kind(
        &mut self,
        fields: &mut Fields<'d>,
        scope: &Scope,
        siblings: &Siblings<'d>,
    ) -> Option<TaskKind> {
        let mut present: Vec<&'static str> =
            KINDS.into_iter().filter(|kind| fields.has(kind)).collect();
        if present.first() == Some(&"for") {
            present.retain(|kind| *kind != "do");
        }
        let kind = match *present.as_slice() {
            [kind] => kind,
            [] => {
                let kinds = KINDS.join("`, `");
                let place = fields.place().clone();
                self.error_at_key(
                    &place,
                    format!("this is no task: it needs one of `{kinds}`"),
                );
                // Asked for, so that a mistyped one is recognized.
                for kind in KINDS {
                    fields.take(kind);
                }
                return None;
            }
            _ => {
                let kinds = present.join("` and `");
                let place = fields.place().clone();
                self.error_at_key(
                    &place,
                    format!("a task does one thing, and this one has `{kinds}`"),
                );
                for key in KINDS
                    .into_iter()
                    .chain(["with", "catch", "while", "foreach"])
                {
                    fields.take(key);
                }
                return None;
            }
        };
        match kind {
            "for" => self.for_task(fields, scope).map(TaskKind::For),
            "call" => self.call(fields, scope).map(TaskKind::Call),
            "try" => self.try_task(fields, scope, siblings).map(TaskKind::Try),
            "listen" => self.listen(fields, scope).map(TaskKind::Listen),
            "fork" | "run" => {
                fields.refuse(self, kind, "");
                None
            }
            _ => {
                let place = fields.take(kind)?;
                match kind {
                    "do" => self.task_list(&place, scope).map(TaskKind::Do),
                    "set" => self.set(&place, scope).map(TaskKind::Set),
                    "switch" => self.switch(&place, scope, siblings).map(TaskKind::Switch),
                    "raise" => self.raise(&place, scope).map(TaskKind::Raise),
                    "emit" => self.emit(&place, scope).map(TaskKind::Emit),
                    _ => {
                        let duration = self.duration(&place, scope)?;
                        Some(TaskKind::Wait(Wait { duration }))
                    }
                }
            }
        }
    }
}
