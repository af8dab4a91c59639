//! A transport whose error and future have types of their own. Through the
//! boxed ones of [`Transport`] the compiler cannot show that a handler is
//! `Send`: within a future it loses sight of the boxes being `'static`.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use millrace_service::Transport;
use tonic::body::Body;
use tower::{BoxError, Service};

/// What the gateway's gRPC clients talk through.
#[derive(Debug, Clone)]
pub struct Link(Transport);

impl From<Transport> for Link {
    fn from(transport: Transport) -> Self {
        Self(transport)
    }
}

/// Why a call could not be carried. The cause is its source, where tonic
/// looks for what kind of failure it was.
#[derive(Debug, thiserror::Error)]
#[error("the call could not be carried: {0}")]
pub struct LinkError(#[source] BoxError);

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = LinkError;
    type Future = LinkFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.0.poll_ready(cx).map_err(LinkError)
    }

    fn call(&mut self, request: Request<Body>) -> LinkFuture {
        LinkFuture(self.0.call(request))
    }
}

/// A call under way.
pub struct LinkFuture(<Transport as Service<Request<Body>>>::Future);

impl Future for LinkFuture {
    type Output = Result<Response<Body>, LinkError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_err(LinkError)
    }
}
