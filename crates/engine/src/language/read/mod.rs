//! From the tree of a document to the model, collecting everything that is
//! wrong on the way: a fault in one task does not hide those of the next.

mod call;
mod document;
mod event;
mod expression;
mod fault;
mod fields;
mod flow;
mod reuse;
mod suggest;
mod task;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Severity};
use super::model::Workflow;
use super::source::{Data, Entry, Node, Position, Text, push_segment};
use reuse::Reuse;

/// How many errors are told, and how many warnings. A document with more is not understood at all,
/// and looking for near names in each would take its time.
const MAX_FINDINGS: usize = 200;

/// Reads a workflow. Findings come in the order of the text; there is no
/// workflow when one of them is an error.
pub(super) fn workflow(root: &Node) -> (Option<Workflow>, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let workflow = reader.workflow(&Place {
        node: root,
        pointer: "".into(),
        key_at: root.at,
    });
    let mut findings = reader.findings;
    findings.sort_by(|a, b| {
        (a.line, a.column, a.severity, &a.pointer).cmp(&(b.line, b.column, b.severity, &b.pointer))
    });
    // A definition under `use` is read once for each place that refers to it.
    findings.dedup();
    let failed = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    (workflow.filter(|_| !failed), findings)
}

/// A node and the way to it.
#[derive(Debug, Clone)]
struct Place<'d> {
    node: &'d Node,
    pointer: Arc<str>,
    /// Where its key stands; for what has none, where it starts itself.
    key_at: Position,
}

impl<'d> Place<'d> {
    fn child(&self, entry: &'d Entry) -> Self {
        Self {
            node: &entry.value,
            pointer: push_segment(&self.pointer, &entry.key).into(),
            key_at: entry.key_at,
        }
    }

    fn item(&self, index: usize, node: &'d Node) -> Self {
        Self {
            node,
            pointer: push_segment(&self.pointer, &index.to_string()).into(),
            key_at: node.at,
        }
    }

    /// What `pointer` (RFC 6901) names below this place, as far as it is
    /// there.
    fn descend(&self, pointer: &str) -> Self {
        let mut place = self.clone();
        for segment in pointer.split('/').skip(1) {
            let key = segment.replace("~1", "/").replace("~0", "~");
            let below = match &place.node.data {
                Data::Mapping(_) => place.node.get(&key).map(|entry| place.child(entry)),
                Data::Sequence(items) => key
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| Some(place.item(index, items.get(index)?))),
                _ => None,
            };
            match below {
                Some(below) => place = below,
                None => break,
            }
        }
        place
    }
}

/// Variables that an expression may use beyond the ones that are always
/// there.
#[derive(Debug, Clone, Default)]
struct Scope {
    locals: Vec<Arc<str>>,
    /// Whether `$secrets` may be read: only where it is never stored.
    secrets: bool,
}

impl Scope {
    fn with(&self, names: &[&Arc<str>]) -> Self {
        let mut scope = self.clone();
        for name in names {
            if !scope.locals.contains(name) {
                scope.locals.push(Arc::clone(name));
            }
        }
        scope
    }

    fn with_secrets(&self) -> Self {
        Self {
            locals: self.locals.clone(),
            secrets: true,
        }
    }
}

/// What is known while a document is read.
#[derive(Debug, Default)]
struct Reader<'d> {
    findings: Vec<Diagnostic>,
    reuse: Reuse<'d>,
    errors: usize,
    warnings: usize,
    expressions: usize,
}

impl<'d> Reader<'d> {
    fn find(
        &mut self,
        severity: Severity,
        pointer: &str,
        at: Position,
        message: impl Into<String>,
    ) {
        let told = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *told += 1;
        let message = match (*told).cmp(&(MAX_FINDINGS + 1)) {
            Ordering::Less => message.into(),
            Ordering::Equal => format!("there is more; only {MAX_FINDINGS} findings are told"),
            Ordering::Greater => return,
        };
        self.findings.push(Diagnostic::new(
            severity,
            pointer,
            (at.line, at.column),
            message,
        ));
    }

    /// See [`suggest::suggestion`]; nothing once so much is wrong that it is not told.
    fn suggest<'k>(&self, given: &str, known: impl IntoIterator<Item = &'k str>) -> String {
        if self.errors >= MAX_FINDINGS {
            return String::new();
        }
        suggest::suggestion(given, known)
    }

    /// An error about the value at `place`.
    fn error(&mut self, place: &Place<'d>, message: impl Into<String>) {
        self.find(Severity::Error, &place.pointer, place.node.at, message);
    }

    /// An error about `place` being there at all.
    fn error_at_key(&mut self, place: &Place<'d>, message: impl Into<String>) {
        self.find(Severity::Error, &place.pointer, place.key_at, message);
    }

    fn warn(&mut self, place: &Place<'d>, message: impl Into<String>) {
        self.find(Severity::Warning, &place.pointer, place.node.at, message);
    }

    fn wrong_type(&mut self, place: &Place<'d>, expected: &str) {
        let kind = place.node.kind();
        self.error(place, format!("this must be {expected}, and is {kind}"));
    }

    fn text(&mut self, place: &Place<'d>) -> Option<&'d Text> {
        match &place.node.data {
            Data::Text(text) => Some(text),
            Data::Number(_) | Data::Bool(_) => {
                let kind = place.node.kind();
                self.error(
                    place,
                    format!("this must be a text, and is {kind}; put it in quotes"),
                );
                None
            }
            _ => {
                self.wrong_type(place, "a text");
                None
            }
        }
    }

    fn boolean(&mut self, place: &Place<'d>) -> Option<bool> {
        if let Data::Bool(is) = place.node.data {
            return Some(is);
        }
        self.wrong_type(place, "true or false");
        None
    }

    /// A whole number between both bounds, which it may equal.
    fn whole_number(&mut self, place: &Place<'d>, least: u32, most: u32) -> Option<u32> {
        let number = match &place.node.data {
            Data::Number(number) => number
                .as_u64()
                .and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(
                place,
                format!("this must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    /// Items of a list.
    fn items(&mut self, place: &Place<'d>) -> Option<Vec<Place<'d>>> {
        if let Data::Sequence(items) = &place.node.data {
            let places = items.iter().enumerate();
            return Some(
                places
                    .map(|(index, node)| place.item(index, node))
                    .collect(),
            );
        }
        self.wrong_type(place, "a list");
        None
    }

    /// A list of objects with one key each, which names the item. Names are
    /// unique.
    fn named_items(&mut self, place: &Place<'d>, what: &str) -> Option<Vec<(&'d str, Place<'d>)>> {
        let mut named: Vec<(&'d str, Place<'d>)> = Vec::new();
        let mut names = HashSet::new();
        let mut complete = true;
        for item in self.items(place)? {
            let Data::Mapping(entries) = &item.node.data else {
                self.wrong_type(
                    &item,
                    &format!("an object with one key, the name of the {what}"),
                );
                complete = false;
                continue;
            };
            let [entry] = entries.as_slice() else {
                let count = entries.len();
                self.error(
                    &item,
                    format!(
                        "this must be an object with one key, the name of the {what}, and has \
                         {count}; check the indentation"
                    ),
                );
                complete = false;
                continue;
            };
            let child = item.child(entry);
            if !names.insert(entry.key.as_str()) {
                let name = &entry.key;
                self.error_at_key(
                    &child,
                    format!("there is a {what} `{name}` in this list already"),
                );
            }
            named.push((&entry.key, child));
        }
        complete.then_some(named)
    }

    /// An object that is data, not language: any keys are fine.
    fn free_object(
        &mut self,
        place: &Place<'d>,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        if let serde_json::Value::Object(object) = place.node.to_json() {
            return Some(object);
        }
        self.wrong_type(place, "an object");
        None
    }
}
