//! Runs what a server serves within the trace that it came with.

use std::task::{Context, Poll};

use axum::extract::MatchedPath;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{Request, Response, header};
use tokio::task::futures::TaskLocalFuture;
use tonic::{Code, Status};
use tracing::instrument::Instrumented;

use super::{CURRENT, Kind, Part, TraceContext};
use crate::telemetry::otlp;

/// Longest name of a part, in characters: methods of gRPC are named by callers.
const LONGEST_NAME: usize = 200;

/// Runs every request within its trace: that of its `traceparent`, or a new
/// one. For axum (as a layer of a router) and tonic servers alike; one span and
/// no other allocation, unless traces are exported.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

impl<S> tower::Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// A service behind a [`TraceLayer`].
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
}

impl<S, B, R> tower::Service<Request<B>> for Traced<S>
where
    S: tower::Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<
        TraceContext,
        Instrumented<Either<S::Future, BoxFuture<'static, Result<Response<R>, S::Error>>>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut part = otlp::is_on().then(|| begin(&request)).flatten();
        let context = part.as_ref().map_or_else(
            || TraceContext::from_headers(request.headers()),
            Part::place,
        );
        // Services may do work, or spawn, before their future is polled.
        let inner = CURRENT.sync_scope(context, || self.inner.call(request));
        let inner = match part.take() {
            None => Either::Left(inner),
            Some(part) => Either::Right(answered(part, inner).boxed()),
        };
        context.scope(inner)
    }
}

/// The part of a trace that `request` is. Those who only look whether the
/// process lives would drown all others.
fn begin<B>(request: &Request<B>) -> Option<Part> {
    let path = request.uri().path();
    let route = request.extensions().get::<MatchedPath>();
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let probes = ["/livez", "/readyz", "/metrics", "/health"];
    if probes.contains(&path) || path.starts_with("/grpc.health.") {
        return None;
    }
    let method = method(request.method());
    let name = match route {
        Some(route) => format!("{method} {}", route.as_str()),
        None if is_grpc => path.chars().skip(1).take(LONGEST_NAME).collect(),
        // As a metric: the path comes from outside.
        None => format!("{method} unmatched"),
    };
    let parent = TraceContext::sent_with(request.headers());
    let mut part = Part::begin(parent, Kind::Server, || name);
    if let Some(route) = route {
        part.text("http.request.method", || method.to_owned());
        part.text("http.route", || route.as_str().to_owned());
    } else if is_grpc {
        part.text("rpc.system", || "grpc".to_owned());
    }
    Some(part)
}

/// Methods are texts from outside, too.
fn method(method: &http::Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
        _ => "HTTP",
    }
}

/// Ends the part when the answer begins; a caller that hangs up ends it too.
async fn answered<R, E>(
    mut part: Part,
    inner: impl Future<Output = Result<Response<R>, E>>,
) -> Result<Response<R>, E> {
    let answer = inner.await;
    let Ok(response) = &answer else {
        part.failed(|| "no answer".to_owned());
        return answer;
    };
    part.number("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        part.failed(|| response.status().to_string());
    }
    // Streams say so at their end, which is not waited for.
    if let Some(status) = Status::from_header_map(response.headers()) {
        let code = status.code();
        part.number("rpc.grpc.status_code", i32::from(code));
        // The others are the caller's doing.
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            part.failed(|| code.description().to_owned());
        }
    }
    answer
}
