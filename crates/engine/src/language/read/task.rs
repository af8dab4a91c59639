//! Tasks: what they share, and which kind each one is.

use std::collections::HashMap;
use std::sync::Arc;

use super::expression::Whole;
use super::fields::Fields;
use super::{Data, Place, Reader, Scope};
use crate::language::model::{
    FlowDirective, For, NamedTask, Set, Switch, SwitchCase, Task, TaskCommon, TaskKind, TaskList,
    Transform, Wait,
};

/// The keys that tell the kinds of tasks apart, `for` before `do`, since a
/// `for` task has both.
const KINDS: [&str; 12] = [
    "for", "do", "set", "switch", "call", "try", "raise", "wait", "fork", "listen", "emit", "run",
];

/// Names that are always variables, and thus never those of a loop or an
/// error.
const RESERVED: [&str; 8] = [
    "context",
    "input",
    "output",
    "secrets",
    "task",
    "workflow",
    "runtime",
    "authorization",
];

/// The tasks of one list, which `then` may point to.
pub(super) struct Siblings<'d> {
    names: Vec<&'d str>,
    indices: HashMap<&'d str, usize>,
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
            "fork" | "listen" | "emit" | "run" => {
                fields.refuse(self, kind, "");
                if kind == "listen" {
                    fields.take("foreach");
                }
                None
            }
            _ => {
                let place = fields.take(kind)?;
                match kind {
                    "do" => self.task_list(&place, scope).map(TaskKind::Do),
                    "set" => self.set(&place, scope).map(TaskKind::Set),
                    "switch" => self.switch(&place, scope, siblings).map(TaskKind::Switch),
                    "raise" => self.raise(&place, scope).map(TaskKind::Raise),
                    _ => {
                        let duration = self.duration(&place, scope)?;
                        Some(TaskKind::Wait(Wait { duration }))
                    }
                }
            }
        }
    }

    fn set(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Set> {
        match &place.node.data {
            Data::Mapping(entries) if entries.is_empty() => {
                self.error(place, "`set` needs at least one property");
                return None;
            }
            Data::Mapping(_) => {}
            Data::Text(text) => {
                if matches!(self.wrapped_expression(place, text, scope)?, Whole::Literal) {
                    self.error(place, "this must be an object, or one whole `${ … }`");
                    return None;
                }
            }
            _ => {
                self.wrong_type(place, "an object, or one whole `${ … }`");
                return None;
            }
        }
        let value = self.template(place, scope)?;
        Some(Set { value })
    }

    fn switch(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
        siblings: &Siblings<'d>,
    ) -> Option<Switch> {
        let named = self.named_items(place, "case")?;
        if named.is_empty() {
            self.error(place, "`switch` needs at least one case");
            return None;
        }
        let count = named.len();
        let mut cases = Vec::with_capacity(count);
        for (index, (name, place)) in named.into_iter().enumerate() {
            let Some(mut fields) = self.fields(&place) else {
                continue;
            };
            let when = fields
                .take("when")
                .map(|place| self.expression(&place, scope));
            let then = fields
                .require(self, "then")
                .and_then(|place| self.directive(&place, siblings));
            fields.finish(self);
            if when.is_none() && index + 1 < count {
                self.warn(
                    &place,
                    "this case has no `when` and always holds: those after it never do",
                );
            }
            let when = match when {
                Some(None) => continue,
                Some(when) => when,
                None => None,
            };
            let Some(then) = then else { continue };
            cases.push(SwitchCase {
                name: name.into(),
                when,
                then,
            });
        }
        (cases.len() == count).then(|| Switch {
            cases: cases.into(),
        })
    }

    fn for_task(&mut self, fields: &mut Fields<'d>, scope: &Scope) -> Option<For> {
        let head = fields.take("for").and_then(|place| self.fields(&place));
        let (mut each, mut at): (Arc<str>, Arc<str>) = ("item".into(), "index".into());
        let mut in_ = None;
        if let Some(mut head) = head {
            let each_place = head.take("each");
            if let Some(name) = each_place.as_ref().and_then(|place| self.variable(place)) {
                each = name;
            }
            if let Some(place) = head.take("at")
                && let Some(name) = self.variable(&place)
            {
                if name == each {
                    self.error(
                        &place,
                        format!("`${name}` is the item already; name the index otherwise"),
                    );
                }
                at = name;
            }
            in_ = head
                .require(self, "in")
                .and_then(|place| self.collection(&place, scope));
            head.finish(self);
        }
        let inner = scope.with(&[&each, &at]);
        let while_ = fields
            .take("while")
            .map(|place| self.expression(&place, &inner));
        let do_ = fields
            .require(self, "do")
            .and_then(|place| self.task_list(&place, &inner));
        if matches!(while_, Some(None)) {
            return None;
        }
        Some(For {
            each,
            at,
            in_: in_?,
            while_: while_.flatten(),
            do_: do_?,
        })
    }

    fn collection(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Transform> {
        match &place.node.data {
            Data::Sequence(_) => self.template(place, scope).map(Transform::Template),
            Data::Text(_) => self.expression(place, scope).map(Transform::Expression),
            _ => {
                self.wrong_type(place, "an expression or a list");
                None
            }
        }
    }

    /// The name of a variable, without its `$`.
    pub(super) fn variable(&mut self, place: &Place<'d>) -> Option<Arc<str>> {
        let name = &self.text(place)?.text;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || !name.chars().all(fits)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            self.error(
                place,
                format!(
                    "`{name}` cannot name a variable: write letters, digits and `_`, without `$`"
                ),
            );
            return None;
        }
        if RESERVED.contains(&name.as_str()) {
            self.error(
                place,
                format!("`${name}` means something else already; choose another name"),
            );
            return None;
        }
        Some(name.as_str().into())
    }

    /// Where to go on: a word of the language, or a task of the same list.
    pub(super) fn directive(
        &mut self,
        place: &Place<'d>,
        siblings: &Siblings<'d>,
    ) -> Option<FlowDirective> {
        let target = &self.text(place)?.text;
        Some(match target.as_str() {
            "continue" => FlowDirective::Continue,
            "exit" => FlowDirective::Exit,
            "end" => FlowDirective::End,
            name => match siblings.indices.get(name).copied() {
                Some(index) => FlowDirective::Goto(index),
                None => {
                    let words = ["continue", "exit", "end"];
                    let known = siblings.names.iter().copied().chain(words);
                    let hint = self.suggest(name, known);
                    self.error(
                        place,
                        format!(
                            "there is no task `{name}` in this list, and it is not `continue`, \
                             `exit` or `end`{hint}"
                        ),
                    );
                    return None;
                }
            },
        })
    }
}
