//! `set`, `switch` and `for`, and where to go on after a task.

use std::sync::Arc;

use super::expression::Whole;
use super::fields::Fields;
use super::task::Siblings;
use super::{Data, Place, Reader, Scope};
use crate::language::model::{FlowDirective, For, Set, Switch, SwitchCase, Transform};

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

impl<'d> Reader<'d> {
    pub(super) fn set(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Set> {
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

    pub(super) fn switch(
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

    pub(super) fn for_task(&mut self, fields: &mut Fields<'d>, scope: &Scope) -> Option<For> {
        let head = fields.take("for").and_then(|place| self.fields(&place));
        let (mut each, mut at) = ("item".into(), "index".into());
        let mut in_ = None;
        if let Some(mut head) = head {
            (each, at) = self.iteration_names(&mut head, "each");
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

    /// The names of the item, which stands under `key`, and of its index.
    pub(super) fn iteration_names(
        &mut self,
        fields: &mut Fields<'d>,
        key: &'static str,
    ) -> (Arc<str>, Arc<str>) {
        let (mut item, mut at): (Arc<str>, Arc<str>) = ("item".into(), "index".into());
        if let Some(place) = fields.take(key)
            && let Some(name) = self.variable(&place)
        {
            item = name;
        }
        if let Some(place) = fields.take("at")
            && let Some(name) = self.variable(&place)
        {
            if name == item {
                self.error(
                    &place,
                    format!("`${name}` is the item already; name the index otherwise"),
                );
            }
            at = name;
        }
        (item, at)
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
