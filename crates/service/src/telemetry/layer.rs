//! The layer between `tracing` and the lines.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;

use tracing::field::Visit;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;
use super::file::LogFile;
use super::{json, pretty};
use crate::trace_context;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Json,
    Pretty { colours: bool },
}

/// Writes each event as one line, with one call of `write`.
#[derive(Debug)]
pub struct LogLayer<W> {
    style: Style,
    writer: W,
    file: Option<LogFile>,
}

/// What a line is made of.
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) message: &'a str,
    pub(super) trace_id: Option<&'a str>,
    /// Names with their values as JSON text; no name twice.
    pub(super) fields: &'a [(&'static str, String)],
}

impl<W> LogLayer<W> {
    pub const fn new(style: Style, writer: W) -> Self {
        Self {
            style,
            writer,
            file: None,
        }
    }

    /// Also writes each line to a file, as JSON.
    #[must_use]
    pub fn with_file(mut self, file: Option<LogFile>) -> Self {
        self.file = file;
        self
    }
}

thread_local! {
    /// Kept between events, so that a line costs no allocation of its own.
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Larger buffers are given back after the line.
const KEPT: usize = 16 * 1024;

impl<W: for<'a> MakeWriter<'a> + 'static> LogLayer<W> {
    fn write(&self, line: &Line<'_>) {
        let write = |text: &mut String| {
            match self.style {
                Style::Json => json::format(text, line),
                Style::Pretty { colours } => pretty::format(text, line, colours),
            }
            // There is nowhere to report to when standard error is gone.
            let _ = self.writer.make_writer().write_all(text.as_bytes());
            if let Some(file) = &self.file {
                if self.style != Style::Json {
                    text.clear();
                    json::format(text, line);
                }
                file.write(text.as_bytes());
            }
            text.clear();
            text.shrink_to(KEPT);
        };
        // A `Display` that logs while it is being logged finds the buffer taken.
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut text) => write(&mut text),
            Err(_) => write(&mut String::new()),
        });
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields as &mut dyn Visit);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context
            .event_span(event)
            .into_iter()
            .flat_map(|span| span.scope());
        for span in scope {
            let extensions = span.extensions();
            let Some(outer) = extensions.get::<Fields>() else {
                continue;
            };
            if fields.trace_id.is_none() {
                fields.trace_id.clone_from(&outer.trace_id);
            }
            for (name, value) in &outer.others {
                if !fields.others.iter().any(|(known, _)| known == name) {
                    fields.others.push((name, value.clone()));
                }
            }
        }
        // Levels may have left the span of the trace out.
        let trace_id = fields
            .trace_id
            .or_else(|| trace_context::current().map(|current| current.trace_id().to_string()));
        self.write(&Line {
            level: *event.metadata().level(),
            target: fields
                .log_target
                .as_deref()
                .unwrap_or(event.metadata().target()),
            message: &fields.message,
            trace_id: trace_id.as_deref(),
            fields: &fields.others,
        });
    }
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}
