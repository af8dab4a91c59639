//! Calls of gRPC methods, those that are served and those that are made.

use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tonic::{Code, Status};

use crate::access::table;

const SERVED: &str = "millrace_grpc_server_calls_total";
const SERVED_DURATION: &str = "millrace_grpc_server_call_duration_seconds";
const MADE: &str = "millrace_grpc_client_calls_total";
const MADE_DURATION: &str = "millrace_grpc_client_call_duration_seconds";

pub(super) fn describe() {
    describe_counter!(
        SERVED,
        "gRPC calls served over the network, by method and the code they were answered with."
    );
    describe_histogram!(
        SERVED_DURATION,
        Unit::Seconds,
        "Time until the answer of a served gRPC call begins, by method."
    );
    describe_counter!(
        MADE,
        "gRPC calls made, in this process and over the network, by method and code."
    );
    describe_histogram!(
        MADE_DURATION,
        Unit::Seconds,
        "Time until the answer of a made gRPC call begins, by method."
    );
}

/// Whether calls are served or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// Counts each call. A stream counts when it begins: what becomes of it later
/// is in its trailers, which are not waited for.
#[derive(Debug, Clone, Copy)]
pub struct CallsLayer(pub Side);

impl<S> tower::Layer<S> for CallsLayer {
    type Service = CalledService<S>;

    fn layer(&self, inner: S) -> CalledService<S> {
        CalledService {
            inner,
            side: self.0,
        }
    }
}

/// A service behind a [`CallsLayer`].
#[derive(Debug, Clone)]
pub struct CalledService<S> {
    inner: S,
    side: Side,
}

impl<S, B, R> tower::Service<http::Request<B>> for CalledService<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let begun = Instant::now();
        let (side, path) = (self.side, request.uri().path().to_owned());
        self.inner
            .call(request)
            .map(move |answer| {
                let code = match &answer {
                    Ok(response) => Status::from_header_map(response.headers())
                        .map_or(Code::Ok, |status| status.code()),
                    Err(_) => Code::Unavailable,
                };
                record(side, &path, code, begun);
                answer
            })
            .boxed()
    }
}

fn record(side: Side, path: &str, code: Code, begun: Instant) {
    let (calls, durations) = match side {
        Side::Server => (SERVED, SERVED_DURATION),
        Side::Client => (MADE, MADE_DURATION),
    };
    // Whoever calls a server may invent methods; those are answered so, or
    // refused before that.
    let invented = code == Code::Unimplemented || table::of_rpc(path).is_none();
    let method = if side == Side::Server && invented {
        "unimplemented".to_owned()
    } else {
        path.trim_start_matches('/').to_owned()
    };
    histogram!(durations, "method" => method.clone()).record(begun.elapsed().as_secs_f64());
    counter!(calls, "method" => method, "code" => name(code)).increment(1);
}

/// As the specification writes them.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
