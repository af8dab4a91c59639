//! The part that a call has in the trace of its execution.

use millrace_service::trace_context::{Kind, Part, TRACEPARENT, TraceContext};

use crate::interpreter::{HttpAnswer, HttpFailure, HttpRequest};

const STATUS: &str = "http.response.status_code";

/// A call that is under way.
pub(super) struct Call(Part);

impl Call {
    /// Tells the other side of the trace, and of its place in it.
    pub fn begin(trace: TraceContext, request: &mut HttpRequest) -> Self {
        let method = &request.method;
        let mut part = Part::begin(Some(trace), Kind::Client, || method.to_string());
        part.text("http.request.method", || method.to_string());
        // The rest of the address may tell what nobody else is to know.
        part.text("server.address", || host(&request.uri).to_owned());
        let place = if part.is_exported() {
            part.place()
        } else {
            trace.child()
        };
        request.headers.insert(TRACEPARENT, place.to_header());
        Self(part)
    }

    pub fn end(mut self, done: &Result<HttpAnswer, HttpFailure>) {
        match done {
            Ok(answer) => self.0.number(STATUS, answer.status),
            Err(failure) => {
                if let Some(status) = failure.status {
                    self.0.number(STATUS, status);
                }
                self.0.failed(|| format!("{:?}", failure.kind));
            }
        }
    }
}

/// Of an absolute URI, without credentials; empty when there is none.
fn host(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_shown_without_what_stands_around_it() {
        assert_eq!(host("https://me:secret@a.example:8/x?y=z@w"), "a.example:8");
        assert_eq!(host("http://a.example?key=1"), "a.example");
        assert_eq!(host("/relative"), "");
    }
}
