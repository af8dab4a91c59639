//! The parts of a trace that are exported.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Status};
use opentelemetry_sdk::trace::Span;

use super::TraceContext;
use crate::telemetry::otlp;

/// What a part does for others, or others for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request from outside.
    Server,
    /// Waits for the answer of someone else.
    Client,
    /// Neither.
    Internal,
}

/// A stretch of a trace. With a collector of traces it is a span, which is
/// exported when this is dropped; without one it is nothing but a place.
#[derive(Debug)]
pub struct Part {
    place: TraceContext,
    span: Option<Box<Span>>,
}

impl Part {
    /// Behind `parent`, or the first of a trace. `name` is one of few, and only
    /// made when it is wanted.
    pub fn begin(parent: Option<TraceContext>, kind: Kind, name: impl FnOnce() -> String) -> Self {
        if otlp::is_on()
            && let Some(part) = Self::exported(parent, kind, name())
        {
            return part;
        }
        Self {
            place: parent.unwrap_or_else(TraceContext::new),
            span: None,
        }
    }

    fn exported(parent: Option<TraceContext>, kind: Kind, name: String) -> Option<Self> {
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let parent = parent.map(|place| (place.trace_id, place.span_id, place.flags));
        let span = otlp::begin(kind, name, parent)?;
        let own = span.span_context();
        let place = TraceContext {
            trace_id: u128::from_be_bytes(own.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(own.span_id().to_bytes()),
            flags: own.trace_flags().to_u8() & 1,
        };
        own.is_valid().then(|| Self {
            place,
            span: Some(Box::new(span)),
        })
    }

    /// Where what is called from here goes on.
    pub const fn place(&self) -> TraceContext {
        self.place
    }

    /// Whether it is a span, with a place of its own.
    pub const fn is_exported(&self) -> bool {
        self.span.is_some()
    }

    /// Says something of it; not evaluated unless it is exported. Never secret.
    pub fn text(&mut self, key: &'static str, value: impl FnOnce() -> String) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value()));
        }
    }

    /// The same, with a number.
    pub fn number(&mut self, key: &'static str, value: impl Into<i64>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// It did not succeed.
    pub fn failed(&mut self, why: impl FnOnce() -> String) {
        if let Some(span) = &mut self.span {
            span.set_status(Status::error(why()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_a_part_is_a_place_and_nothing_more() {
        let parent = TraceContext::new();
        let mut part = Part::begin(Some(parent), Kind::Internal, || unreachable!("a name"));
        part.text("key", || unreachable!("a value"));
        part.failed(|| unreachable!("a reason"));
        assert_eq!(part.place(), parent);
        assert!(!part.is_exported());
        let first = Part::begin(None, Kind::Internal, || unreachable!("a name"));
        assert_ne!(first.place().trace_id(), parent.trace_id());
    }
}
