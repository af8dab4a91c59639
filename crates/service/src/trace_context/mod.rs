//! W3C Trace Context: one `trace_id` from the first HTTP request through gRPC
//! to every log line, taken from and passed on as the header `traceparent`.
//!
//! The context of what runs now is a task-local, so that reading it costs
//! nothing to speak of; [`TraceLayer`] sets it per request, [`inherit`] carries
//! it into a task, [`inject`] puts it on an outgoing request. A [`Part`] is what
//! a collector of traces gets to see, where there is one.

mod layer;
mod part;

use std::fmt;
use std::str::FromStr;

use futures::future::Either;
use http::{HeaderMap, HeaderValue};
use tokio::task::futures::TaskLocalFuture;
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

pub use layer::{TraceLayer, Traced};
pub use part::{Kind, Part};

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A trace and the place in it from which the next call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// A text that is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// A trace of its own, sampled.
    #[expect(
        clippy::new_without_default,
        reason = "each is different, so there is no default"
    )]
    pub fn new() -> Self {
        let mut random = [0; 24];
        fill(&mut random);
        let (trace, span) = random.split_at(16);
        Self {
            // All zeroes is not allowed; the chance is nil, the check is free.
            trace_id: u128::from_ne_bytes(trace.try_into().expect("16 of 24 bytes")).max(1),
            span_id: u64::from_ne_bytes(span.try_into().expect("8 of 24 bytes")).max(1),
            flags: 1,
        }
    }

    /// The same trace, seen from a new place in it.
    #[must_use]
    pub fn child(self) -> Self {
        let mut random = [0; 8];
        fill(&mut random);
        Self {
            span_id: u64::from_ne_bytes(random).max(1),
            ..self
        }
    }

    /// Continues the trace of `headers`, or begins one when they carry none
    /// that is valid.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::sent_with(headers).map_or_else(Self::new, Self::child)
    }

    /// The sender's place, when `headers` carry one that is valid.
    fn sent_with(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            // More than one is as good as none, says the recommendation.
            (Some(value), None) => value.to_str().ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Shown as 32 lower-case hexadecimal digits.
    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace_id)
    }

    /// As a header's value.
    pub fn to_header(self) -> HeaderValue {
        // ASCII by construction.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Runs `future` as part of this trace, in a span that carries its
    /// `trace_id` onto every log line.
    pub fn scope<F: Future>(self, future: F) -> TaskLocalFuture<Self, Instrumented<F>> {
        // Whose key it is becomes known later, where it does.
        let span = tracing::info_span!(
            "trace",
            trace_id = %self.trace_id(),
            key_id = tracing::field::Empty,
            key_name = tracing::field::Empty,
        );
        CURRENT.scope(self, future.instrument(span))
    }
}

/// The context of what runs now, if it runs as part of a trace.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Keeps the current trace, if any, for `future` in a task of its own.
pub fn inherit<F: Future>(future: F) -> Either<TaskLocalFuture<TraceContext, F>, F> {
    match current() {
        Some(context) => Either::Left(CURRENT.scope(context, future)),
        None => Either::Right(future),
    }
}

/// Puts the current trace, if any, on the headers of an outgoing request.
pub fn inject(headers: &mut HeaderMap) {
    if let Some(context) = current() {
        headers.insert(TRACEPARENT, context.to_header());
    }
}

/// A trace's identifier; shown as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(0..2)).ok_or(InvalidTraceparent)?;
        // Version 00 ends after the flags. A later one may say more after a
        // further dash, and is read as if it were 00. ff is not a version.
        let ends = match version {
            0 => bytes.len() == LENGTH,
            0xff => false,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !ends || !dashes {
            return Err(InvalidTraceparent);
        }
        let trace_id = hex(bytes.get(3..35)).filter(|id| *id != 0);
        let span_id = hex(bytes.get(36..52)).filter(|id| *id != 0);
        let flags = hex(bytes.get(53..55));
        match (trace_id, span_id, flags) {
            (Some(trace_id), Some(span_id), Some(flags)) => Ok(Self {
                trace_id,
                span_id: u64::try_from(span_id).map_err(|_| InvalidTraceparent)?,
                // Only the sampled flag is known to version 00.
                flags: u8::from(flags & 1 == 1),
            }),
            _ => Err(InvalidTraceparent),
        }
    }
}

/// Lower-case hexadecimal digits only, at most 32 of them.
fn hex(digits: Option<&[u8]>) -> Option<u128> {
    digits?.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Identifiers have to differ, not to be secret: without a source of
/// randomness the process could not have come this far.
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written_back() {
        assert_eq!(GIVEN.parse::<TraceContext>().unwrap().to_string(), GIVEN);
        let made = TraceContext::new();
        assert_eq!(made.to_string().parse::<TraceContext>(), Ok(made));
    }

    #[test]
    fn what_the_recommendation_forbids_is_refused() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
        ] {
            assert_eq!(
                bad.parse::<TraceContext>(),
                Err(InvalidTraceparent),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("cc{}-what-the-future-brings", &GIVEN[2..]);
        let context: TraceContext = later.parse().unwrap();
        assert_eq!(context.to_string(), GIVEN);
    }

    #[test]
    fn two_headers_are_as_good_as_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GIVEN));
        let one = TraceContext::from_headers(&headers);
        assert_eq!(
            one.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_ne!(one.to_string(), GIVEN, "a hop has a span id of its own");
        headers.append(TRACEPARENT, HeaderValue::from_static(GIVEN));
        assert_ne!(
            TraceContext::from_headers(&headers).trace_id(),
            one.trace_id()
        );
    }

    #[tokio::test]
    async fn a_request_runs_within_the_trace_it_came_with() {
        use tower::{Layer as _, ServiceExt as _};
        let service = TraceLayer.layer(tower::service_fn(|_: http::Request<()>| async {
            let mut onward = HeaderMap::new();
            inject(&mut onward);
            let mut answer = http::Response::new(());
            *answer.headers_mut() = onward;
            Ok::<_, std::convert::Infallible>(answer)
        }));
        let request = http::Request::builder()
            .header(TRACEPARENT, GIVEN)
            .body(())
            .unwrap();
        let answer = service.oneshot(request).await.unwrap();
        let onward = answer.headers();
        let passed_on: TraceContext = onward[TRACEPARENT].to_str().unwrap().parse().unwrap();
        assert_eq!(
            passed_on.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_task_keeps_the_trace_of_its_caller() {
        let context = TraceContext::new();
        let tasks = crate::TaskGroup::new();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        context
            .scope(async {
                tasks.spawn("heir", crate::OnFailure::Log, |_| async move {
                    sender.send(current()).map_err(|_| "nobody listens")
                });
            })
            .await;
        assert_eq!(receiver.await.unwrap(), Some(context));
    }
}
