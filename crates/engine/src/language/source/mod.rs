//! The text of a document as a tree that remembers where everything stood.

mod json;
mod limits;
mod quoting;
mod scalar;
mod yaml;

use serde_json::{Map, Number, Value};

use limits::MAX_BYTES;
pub(super) use quoting::quoted;

use super::diagnostic::{Diagnostic, Severity};

/// A place in the text, counted from 1 in lines and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A value of the document and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Position,
    pub data: Data,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Text {
    pub text: String,
    /// An unquoted YAML scalar that a comment cuts off on its line.
    pub cut_by_comment: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Position,
    pub value: Node,
}

impl Node {
    /// The property `key`, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What a reader of the document would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a text",
            Data::Sequence(_) => "a list",
            Data::Mapping(_) => "an object",
        }
    }

    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(is) => Value::Bool(*is),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.text.clone()),
            Data::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Data::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Reads YAML or JSON. What starts as JSON does, with a quoted key, is read as
/// JSON, strictly; all else is YAML 1.2.
pub(super) fn read(text: &str) -> Result<Node, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let message = format!(
            "the document has {} bytes; at most {MAX_BYTES} are read",
            text.len()
        );
        return Err(vec![fault(Position::START, message)]);
    }
    let read = if looks_like_json(text) {
        json::read(text)
    } else {
        yaml::read(text)
    };
    read.map_err(|fault| vec![fault])
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start()
        .strip_prefix('{')
        .is_some_and(|inside| inside.trim_start().starts_with('"'))
}

/// An error about the text itself, which has no pointer.
fn fault(at: Position, message: impl Into<String>) -> Diagnostic {
    fault_at("", at, message)
}

fn fault_at(pointer: &str, at: Position, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Error, pointer, (at.line, at.column), message)
}

/// Appends one segment to a JSON pointer (RFC 6901).
pub(super) fn push_segment(pointer: &str, segment: &str) -> String {
    let mut longer = String::with_capacity(pointer.len() + segment.len() + 1);
    longer.push_str(pointer);
    longer.push('/');
    for c in segment.chars() {
        match c {
            '~' => longer.push_str("~0"),
            '/' => longer.push_str("~1"),
            c => longer.push(c),
        }
    }
    longer
}
