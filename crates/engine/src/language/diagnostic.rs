//! Findings about a document.

use std::fmt;

/// One finding about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// JSON pointer into the document; empty for the whole of it.
    pub pointer: String,
    /// Counted from 1; 0 when unknown.
    pub line: u32,
    /// Counted from 1, in characters; 0 when unknown.
    pub column: u32,
    pub message: String,
}

/// Whether a document with this finding can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

/// How many characters of a message are kept: it may quote the document.
const MAX_MESSAGE: usize = 500;

impl Diagnostic {
    /// A finding at a line and a column, both counted from 1.
    pub(super) fn new(
        severity: Severity,
        pointer: &str,
        (line, column): (u32, u32),
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            pointer: pointer.to_owned(),
            line,
            column,
            message: shortened(message.into(), MAX_MESSAGE),
        }
    }
}

/// The first `most` characters of a message.
pub(super) fn shortened(mut message: String, most: usize) -> String {
    if let Some((end, _)) = message.char_indices().nth(most) {
        message.truncate(end);
        message.push('…');
    }
    message
}
