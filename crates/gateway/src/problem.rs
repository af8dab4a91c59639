//! Errors as the caller sees them: problem details (RFC 9457), and the one
//! table that maps [`ErrorKind`] to HTTP.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use millrace_proto::{Failure, Finding};
use millrace_service::access::Denied;
use millrace_service::trace_context;
use millrace_signature::AuthError;
use millrace_types::ErrorKind;
use serde::Serialize;

/// The table: kinds to HTTP statuses and titles.
pub const fn http(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "The request is not valid"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        ErrorKind::Conflict => (StatusCode::CONFLICT, "In conflict with what exists"),
        // Not 412, which speaks of conditional request headers.
        ErrorKind::Precondition => (StatusCode::CONFLICT, "Not possible in the present state"),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, "Not authenticated"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Not allowed"),
        ErrorKind::Exhausted => (StatusCode::TOO_MANY_REQUESTS, "A limit is used up"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not available at present"),
        ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Took too long"),
        ErrorKind::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "Not built yet"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    }
}

/// When a caller that got 503 or 429 may come again, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// All that a caller learns of a fault of ours.
const INTERNAL: &str = "Something went wrong inside; the log has it under the trace id.";

/// An answer of the kind `application/problem+json`.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    /// Last part of the type URI.
    name: &'static str,
    title: &'static str,
    detail: String,
    reason: String,
    errors: Vec<ProblemError>,
    allow: Option<HeaderValue>,
    challenge: Option<&'static str>,
    /// In seconds; with 503 and 429 only.
    retry_after: u64,
}

/// One finding: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemError {
    /// JSON pointer into the body; `null` when it is not about the body.
    pub pointer: Option<String>,
    /// 1-based; `null` when unknown.
    pub line: Option<u32>,
    /// 1-based, in characters; `null` when unknown.
    pub column: Option<u32>,
    /// Name of the query parameter or header that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<&'static str>,
    pub message: String,
}

impl From<Finding> for ProblemError {
    fn from(finding: Finding) -> Self {
        Self {
            pointer: Some(finding.pointer),
            line: Some(finding.line).filter(|line| *line > 0),
            column: Some(finding.column).filter(|column| *column > 0),
            parameter: None,
            message: finding.message,
        }
    }
}

impl Problem {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let (status, title) = http(kind);
        Self::bare(status, kind.as_str(), title, detail.into())
    }

    /// Last part of the type's URI: one of a few.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn bare(status: StatusCode, name: &'static str, title: &'static str, detail: String) -> Self {
        Self(Box::new(Parts {
            status,
            name,
            title,
            detail,
            reason: String::new(),
            errors: Vec::new(),
            allow: None,
            challenge: None,
            retry_after: RETRY_AFTER_SECONDS,
        }))
    }

    /// A fault of ours: the log learns what it was, the caller does not.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "request failed inside: {cause}");
        Self::new(ErrorKind::Internal, INTERNAL)
    }

    /// The request is wrong, in a way that has no place of its own.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, detail)
    }

    /// The body is wrong at one or more places.
    pub fn findings(detail: impl Into<String>, findings: Vec<Finding>) -> Self {
        let mut problem = Self::new(ErrorKind::Invalid, detail);
        problem.0.errors = findings.into_iter().map(ProblemError::from).collect();
        problem
    }

    /// A query parameter or a header is wrong.
    pub fn parameter(name: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut problem = Self::new(ErrorKind::Invalid, message.clone());
        problem.0.errors = vec![ProblemError {
            pointer: None,
            line: None,
            column: None,
            parameter: Some(name),
            message,
        }];
        problem
    }

    /// 404 for something that the path names.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    /// 405; `allow` lists the methods that the resource takes.
    pub fn method_not_allowed(allow: Option<&[String]>) -> Self {
        let mut problem = Self::bare(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            "This resource does not take this method; the Allow header lists those that it takes."
                .into(),
        );
        problem.0.allow = allow.and_then(|methods| HeaderValue::from_str(&methods.join(", ")).ok());
        problem
    }

    /// 401; `challenge` is the scheme's `WWW-Authenticate`, where it has one.
    /// The message is the same whatever was wrong.
    pub fn unauthenticated(challenge: Option<&'static str>) -> Self {
        let mut problem = Self::new(ErrorKind::Unauthenticated, AuthError::OUTWARD);
        problem.0.challenge = challenge;
        problem
    }

    /// 401, 403 or 503: what the judgement at the door says.
    pub fn denied(denied: &Denied) -> Self {
        let kind = match denied {
            Denied::NoKey | Denied::UnknownKey | Denied::NotInternal => ErrorKind::Unauthenticated,
            Denied::Role { .. } | Denied::InternalOnly { .. } | Denied::NoRule => {
                ErrorKind::Forbidden
            }
            Denied::Unavailable(_) => ErrorKind::Unavailable,
        };
        let mut problem = Self::new(kind, denied.to_string());
        if kind == ErrorKind::Unauthenticated {
            problem.0.challenge = Some("Bearer");
        }
        problem
    }

    /// 403; `detail` says what is not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, detail)
    }

    /// 429 for a webhook: the next request is taken after `wait`.
    pub fn too_often(wait: Duration) -> Self {
        Self::too_many("This webhook is called more often than it allows.", wait)
    }

    /// 429: the next request is taken after `wait`.
    pub fn too_many(detail: impl Into<String>, wait: Duration) -> Self {
        let mut problem = Self::new(ErrorKind::Exhausted, detail);
        // Rounded up: whoever waits as long as told is let in.
        problem.0.retry_after = u64::try_from(wait.as_micros().div_ceil(1_000_000))
            .unwrap_or(u64::MAX)
            .max(1);
        problem
    }

    /// 413; `limit` in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::bare(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("The body may have at most {limit} bytes."),
        )
    }

    /// 415; `taken` says which media types would be right.
    pub fn media_type(taken: &str) -> Self {
        Self::bare(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            format!("The Content-Type has to be {taken}."),
        )
    }

    /// 500: the execution has ended, but the webhook's answer cannot be made
    /// of it. Why is in the runtime's log.
    pub fn answer_failed(execution_id: &str) -> Self {
        Self::new(
            ErrorKind::Internal,
            format!(
                "Execution {execution_id} has ended, but the webhook's answer could not be made."
            ),
        )
    }

    /// 502: whoever is behind us answered with nothing that can be passed on.
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::bare(
            StatusCode::BAD_GATEWAY,
            "bad-gateway",
            "The service failed",
            detail.into(),
        )
    }

    /// 503; `after` says when to come again, a second at the least.
    pub fn not_ready(detail: impl Into<String>, after: Duration) -> Self {
        let mut problem = Self::new(ErrorKind::Unavailable, detail);
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        problem.0.retry_after = seconds.max(1);
        problem
    }

    /// 408: the body did not arrive in time.
    pub fn body_timeout() -> Self {
        Self::bare(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request took too long to arrive",
            "The body did not arrive in time.".into(),
        )
    }
}

/// What a service refused. Messages of internal errors stay in the log.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        if failure.kind == ErrorKind::Internal {
            // Logged as an error where it happened, under the same trace id.
            tracing::debug!(error = failure.message, "a service failed inside");
            return Self::new(ErrorKind::Internal, INTERNAL);
        }
        let mut problem = Self::new(failure.kind, failure.message);
        problem.0.reason = failure.reason;
        problem.0.errors = failure
            .findings
            .into_iter()
            .map(ProblemError::from)
            .collect();
        problem
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    errors: &'a [ProblemError],
    /// What to look for in the log, where it may have more.
    #[serde(rename = "traceId", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let body = Body {
            r#type: format!("urn:millrace:problem:{}", parts.name),
            title: parts.title,
            status: parts.status.as_u16(),
            detail: &parts.detail,
            reason: &parts.reason,
            errors: &parts.errors,
            trace_id: trace_context::current()
                .filter(|_| parts.status.is_server_error())
                .map(|trace| trace.trace_id().to_string()),
        };
        // Serialising strings and numbers into memory cannot fail.
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (parts.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(allow) = parts.allow {
            headers.insert(ALLOW, allow);
        }
        if let Some(challenge) = parts.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(
            parts.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(RETRY_AFTER, parts.retry_after.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_an_error_status() {
        for kind in ErrorKind::ALL {
            let (status, title) = http(*kind);
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{kind}: {status}"
            );
            assert!(!title.is_empty());
        }
    }

    #[test]
    fn internal_messages_stay_inside() {
        let problem = Problem::from(Failure::new(ErrorKind::Internal, "password=hunter2"));
        assert!(!format!("{problem:?}").contains("hunter2"));
    }
}
