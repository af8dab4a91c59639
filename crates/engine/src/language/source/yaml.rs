//! Reads YAML 1.2 and remembers where everything stood.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{
    Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag, options,
};

use super::limits::{MAX_DEPTH, MAX_NODES, MAX_TEXT};
use super::{
    Data, Diagnostic, Entry, Node, Position, fault, fault_at, push_segment, quoting, scalar,
};

/// Reads one YAML document and nothing after it.
pub fn read(text: &str) -> Result<Node, Diagnostic> {
    let options = options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        // Composing has the tighter limit, with a message of its own.
        flow_nesting_limit: 2 * MAX_DEPTH,
        block_nesting_limit: 2 * MAX_DEPTH,
    };
    let mut composer = Composer::new(text);
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| broken(text, &error))?;
        composer.take(event, span)?;
    }
    composer
        .root
        .ok_or_else(|| fault(Position::START, "the document is empty"))
}

fn position(mark: Marker) -> Position {
    Position {
        line: u32::try_from(mark.line()).unwrap_or(u32::MAX),
        column: u32::try_from(mark.col() + 1).unwrap_or(u32::MAX),
    }
}

/// Says what is wrong with the YAML, and how to quote where that is why.
fn broken(text: &str, error: &ScanError) -> Diagnostic {
    let at = position(*error.marker());
    let mut message = format!("broken YAML: {}", error.info());
    if let Some(hint) = quoting::hint(text, at.line) {
        message.push_str(". ");
        message.push_str(&hint);
    }
    fault(at, message)
}

/// A list or object that is being read.
enum Open {
    Sequence {
        items: Vec<Node>,
    },
    Mapping {
        entries: Vec<Entry>,
        keys: HashSet<String>,
        key: Option<(String, Position)>,
    },
}

struct Frame {
    at: Position,
    anchor: usize,
    open: Open,
    size: Size,
}

/// What a node costs, its children included.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
    /// Lists and objects inside one another, the node itself counted.
    depth: usize,
}

struct Composer<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Size)>,
    root: Option<Node>,
    documents: usize,
    /// Of the whole tree as far as it is read.
    nodes: usize,
    bytes: usize,
}

impl<'t> Composer<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            stack: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            documents: 0,
            nodes: 0,
            bytes: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fault(
                        at,
                        "there is a second YAML document; one file holds one workflow",
                    ));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", at)?;
                self.open(at, anchor, Open::Sequence { items: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", at)?;
                self.open(
                    at,
                    anchor,
                    Open::Mapping {
                        entries: Vec::new(),
                        keys: HashSet::new(),
                        key: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::UnresolvedAlias(name) => Err(fault_at(
                &self.pointer(),
                at,
                format!(
                    "no anchor `&{name}` comes before this alias; quote a text that starts with `*`"
                ),
            )),
            // Starts and ends; comments and anchors' names are not asked for.
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let at = position(span.start);
        let resolved = match tag {
            Some(tag) => match tag.core_suffix() {
                Some(kind) => scalar::resolve_as(kind, text),
                None => return Err(self.unknown_tag(tag, at)),
            },
            None if style == ScalarStyle::Plain => scalar::resolve(text),
            None => scalar::resolve_as("str", text),
        };
        let mut data =
            resolved.map_err(|error| fault_at(&self.pointer(), at, error.to_string()))?;
        if let Data::Text(found) = &mut data {
            found.cut_by_comment = style == ScalarStyle::Plain && self.comment_follows(span);
        }
        let key_wanted = matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Mapping { key: None, .. },
                ..
            })
        );
        if key_wanted {
            if matches!(data, Data::Null) {
                return Err(fault_at(
                    &self.pointer(),
                    at,
                    "there is a `:` without a key before it",
                ));
            }
            return self.key(text, at);
        }
        let size = Size {
            nodes: 1,
            text: text.len(),
            depth: 0,
        };
        self.add(Node { at, data }, anchor, size)
    }

    /// Whether a comment stands on the line on which an unquoted scalar ends.
    fn comment_follows(&self, span: Span) -> bool {
        span.byte_range()
            .and_then(|range| self.text.get(range.end..))
            .is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('#'))
    }

    fn key(&mut self, text: &str, at: Position) -> Result<(), Diagnostic> {
        if text == "<<" {
            return Err(fault_at(
                &push_segment(&self.pointer(), text),
                at,
                "merge keys (`<<`) are not part of YAML 1.2; write the properties out",
            ));
        }
        self.count(at, 0, text.len())?;
        if let Some(Frame {
            open: Open::Mapping { keys, key, .. },
            size,
            ..
        }) = self.stack.last_mut()
        {
            if !keys.insert(text.to_owned()) {
                let pointer = push_segment(&self.pointer(), text);
                return Err(fault_at(&pointer, at, format!("`{text}` is here twice")));
            }
            size.text += text.len();
            *key = Some((text.to_owned(), at));
        }
        Ok(())
    }

    fn open(&mut self, at: Position, anchor: usize, open: Open) -> Result<(), Diagnostic> {
        if matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Mapping { key: None, .. },
                ..
            })
        ) {
            return Err(self.broken_key(at));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        self.stack.push(Frame {
            at,
            anchor,
            open,
            size: Size {
                nodes: 1,
                ..Size::default()
            },
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let data = match frame.open {
            Open::Sequence { items } => Data::Sequence(items),
            Open::Mapping { entries, .. } => Data::Mapping(entries),
        };
        let mut size = frame.size;
        size.depth += 1;
        let node = Node { at: frame.at, data };
        // What is inside was counted when it was read.
        self.nodes -= size.nodes - 1;
        self.bytes -= size.text;
        self.add(node, frame.anchor, size)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Diagnostic> {
        if matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Mapping { key: None, .. },
                ..
            })
        ) {
            return Err(fault_at(
                &self.pointer(),
                at,
                "an alias cannot stand for a key",
            ));
        }
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(fault_at(
                &self.pointer(),
                at,
                "this alias is inside of what it stands for",
            ));
        };
        let size = *size;
        // Counted before it is copied.
        self.check(at, size.nodes, size.text)?;
        if self.stack.len() + size.depth > MAX_DEPTH {
            return Err(self.too_deep(at));
        }
        match self.anchors.get(&anchor) {
            Some((node, size)) => {
                let (node, size) = (node.clone(), *size);
                self.add(node, 0, size)
            }
            None => Ok(()),
        }
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), Diagnostic> {
        self.count(node.at, size.nodes, size.text)?;
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size.nodes += size.nodes;
        frame.size.text += size.text;
        frame.size.depth = frame.size.depth.max(size.depth);
        match &mut frame.open {
            Open::Sequence { items } => items.push(node),
            Open::Mapping { entries, key, .. } => {
                if let Some((key, key_at)) = key.take() {
                    entries.push(Entry {
                        key,
                        key_at,
                        value: node,
                    });
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, at: Position, nodes: usize, text: usize) -> Result<(), Diagnostic> {
        self.check(at, nodes, text)?;
        self.nodes += nodes;
        self.bytes += text;
        Ok(())
    }

    fn check(&self, at: Position, nodes: usize, text: usize) -> Result<(), Diagnostic> {
        let limit = if self.nodes + nodes > MAX_NODES {
            format!("{MAX_NODES} values")
        } else if self.bytes + text > MAX_TEXT {
            format!("{MAX_TEXT} bytes of text")
        } else {
            return Ok(());
        };
        Err(fault_at(
            &self.pointer(),
            at,
            format!(
                "the document has more than {limit}, those that aliases repeat counted each time"
            ),
        ))
    }

    fn check_tag(&self, tag: Option<&Tag>, kind: &str, at: Position) -> Result<(), Diagnostic> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema_tag(kind) => Err(self.unknown_tag(tag, at)),
            _ => Ok(()),
        }
    }

    fn unknown_tag(&self, tag: &Tag, at: Position) -> Diagnostic {
        fault_at(
            &self.pointer(),
            at,
            format!("the YAML tag `{tag}` means nothing here"),
        )
    }

    fn too_deep(&self, at: Position) -> Diagnostic {
        fault_at(
            &self.pointer(),
            at,
            format!("lists and objects are nested more than {MAX_DEPTH} deep"),
        )
    }

    /// A list or object as a key: what an unquoted `{{ … }}` becomes.
    fn broken_key(&self, at: Position) -> Diagnostic {
        let mut message = "a key must be a text".to_owned();
        if let Some(hint) = quoting::hint(self.text, at.line) {
            message.push_str(". ");
            message.push_str(&hint);
        }
        fault_at(&self.pointer(), at, message)
    }

    /// JSON pointer of the node that is read next.
    fn pointer(&self) -> String {
        self.stack
            .iter()
            .fold(String::new(), |pointer, frame| match &frame.open {
                Open::Sequence { items } => push_segment(&pointer, &items.len().to_string()),
                Open::Mapping {
                    key: Some((key, _)),
                    ..
                } => push_segment(&pointer, key),
                Open::Mapping { key: None, .. } => pointer,
            })
    }
}

#[cfg(test)]
mod tests;
