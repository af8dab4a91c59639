//! Collects the fields of events and spans as JSON text.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use crate::secret::{MASK, is_secret_name};

/// The field that stands at the top of every line.
const TRACE_ID: &str = "trace_id";
const MESSAGE: &str = "message";
/// Where records of the `log` crate keep what events have as metadata.
const LOG_PREFIX: &str = "log.";

/// The fields of one event or span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Plain text; empty for spans.
    pub(super) message: String,
    pub(super) trace_id: Option<String>,
    /// Of a record from the `log` crate.
    pub(super) log_target: Option<String>,
    /// Names with their values as JSON text.
    pub(super) others: Vec<(&'static str, String)>,
}

impl Fields {
    /// `value` is JSON text.
    fn put(&mut self, field: &Field, value: String) {
        let name = field.name();
        let value = if is_secret_name(name) {
            format!("\"{MASK}\"")
        } else {
            value
        };
        // A span may record a field again: the last value counts.
        match self.others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.others.push((name, value)),
        }
    }

    fn put_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        match field.name() {
            // Writing to a string cannot fail.
            MESSAGE => {
                let _ = self.message.write_fmt(text);
            }
            TRACE_ID => self.trace_id = Some(text.to_string()),
            "log.target" => self.log_target = Some(text.to_string()),
            name if name.starts_with(LOG_PREFIX) => {}
            _ => {
                let mut json = String::new();
                write_text(&mut json, text);
                self.put(field, json);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, format_args!("{value}"));
    }

    /// With its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put_text(field, format_args!("{text}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with(LOG_PREFIX) {
            self.put(field, value.to_string());
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, value.to_string());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.put(field, value.to_string());
        } else {
            self.put_text(field, format_args!("{value}"));
        }
    }
}

/// Appends `text` as a JSON string.
pub(super) fn write_text(json: &mut String, text: fmt::Arguments<'_>) {
    json.push('"');
    // Writing to a string cannot fail.
    let _ = Escaped(json).write_fmt(text);
    json.push('"');
}

/// Escapes while it is written to, so that no text is held twice.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c < ' ' || c == '\u{7f}' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
