//! The judgement in front of gRPC servers.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use tonic::{Code, Status};

use super::guard::{Denied, Guard};
use super::{VerifiedPeer, table};

/// Lets through what the table of access allows. Costs nothing where the
/// guard is open.
#[derive(Debug, Clone, Default)]
pub struct GuardLayer(pub Guard);

impl<S> tower::Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.0.clone(),
        }
    }
}

/// A service behind a [`GuardLayer`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S, B, R> tower::Service<http::Request<B>> for Guarded<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: Send + 'static,
    R: Default + Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if self.guard.is_open() {
            return Either::Left(self.inner.call(request));
        }
        let guard = self.guard.clone();
        // The one that is ready serves; its clone waits for the next request.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let judged = async move {
            let (parts, body) = request.into_parts();
            let needs = table::of_rpc(parts.uri.path());
            let verified = parts.extensions.get::<VerifiedPeer>();
            match guard.judge(needs, &parts.headers, verified).await {
                Ok(caller) => {
                    caller.record();
                    let mut request = http::Request::from_parts(parts, body);
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(denied) => {
                    denied.log(parts.uri.path());
                    Ok(status(&denied).into_http())
                }
            }
        };
        Either::Right(judged.boxed())
    }
}

/// As callers over gRPC see it. Without details, by which answers of ours are
/// told from those that never got through.
fn status(denied: &Denied) -> Status {
    let code = match denied {
        Denied::NoKey | Denied::UnknownKey | Denied::NotInternal => Code::Unauthenticated,
        Denied::Role { .. } | Denied::InternalOnly { .. } | Denied::NoRule => {
            Code::PermissionDenied
        }
        Denied::Unavailable(_) => Code::Unavailable,
    };
    // Headers of HTTP/2 are written in ASCII; this would be escaped.
    Status::new(code, denied.to_string().replace('…', "..."))
}

impl Denied {
    /// For whoever runs the service. Refusals are everyday, failures are not.
    pub fn log(&self, what: &str) {
        match self {
            Self::Unavailable(error) => {
                tracing::warn!(%error, "a call of {what} is refused: {error}");
            }
            denied => tracing::debug!("a call of {what} is refused: {denied}"),
        }
    }
}
