//! One connection, from the first byte to the last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use http::uri::Scheme;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::HttpServer;
use super::patience::{HeadTimer, Patience, Verdict};
use crate::metrics;
use crate::net::Stream;
use crate::tls::Tls;

/// Largest head of a request over HTTP/1.1 in bytes, and the most that is read
/// of a body at once. The number of its headers is limited by hyper, to 100.
const HEAD: usize = 64 * 1024;
/// The same over HTTP/2, where names and values are counted without packing.
const HEADER_LIST: u32 = 16 * 1024;
/// Requests at once on one connection over HTTP/2.
const STREAMS: u32 = 200;
/// A caller over HTTP/2 that is gone without a word is noticed after the sum
/// of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `stream` until it ends. From `closing` on it takes no more requests.
pub(super) async fn serve(
    stream: Stream,
    router: Router,
    server: HttpServer,
    closing: CancellationToken,
) {
    let name = server.name;
    let Some(stream) = secured(stream, &server, &closing).await else {
        return;
    };
    let patience = Arc::new(Patience::new(server.header_timeout));
    let from = stream.from();
    let scheme = if stream.is_secured() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let io = TokioIo::new(stream.watched(Arc::clone(&patience)));
    let handler = Handler {
        router,
        from,
        scheme,
        patience: Arc::clone(&patience),
    };
    let builder = builder(&patience);
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, handler));
    let mut closed = pin!(closing.cancelled());
    let mut closes = false;
    let every = patience.look_every();
    let mut looks = interval_at(Instant::now() + every, every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%from, error, "a connection ended");
                }
                return;
            }
            () = closed.as_mut(), if !closes => {
                closes = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = looks.tick() => match patience.look() {
                Verdict::Fine => {}
                Verdict::Idle => connection.as_mut().graceful_shutdown(),
                Verdict::TooSlow => {
                    metrics::connection_cut(name, "header_timeout");
                    tracing::debug!(%from, "a caller took too long over its headers");
                    return;
                }
            }
        }
    }
}

/// The same connection, over TLS where that is spoken; `None` when nothing
/// comes of it.
async fn secured(
    stream: Stream,
    server: &HttpServer,
    closing: &CancellationToken,
) -> Option<Stream> {
    let Some(config) = server.tls.as_ref().and_then(Tls::server) else {
        return Some(stream);
    };
    tokio::select! {
        () = closing.cancelled() => None,
        stream = stream.secured(config, server.header_timeout) => stream,
    }
}

fn builder(patience: &Arc<Patience>) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(HeadTimer(Arc::clone(patience)))
        // Any: hyper tells the timer when it waits for a head, which is all
        // that is wanted of it.
        .header_read_timeout(patience.head())
        .max_buf_size(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        // WebSockets over HTTP/2.
        .enable_connect_protocol();
    builder
}

/// The router, with what is known of the connection.
#[derive(Debug)]
struct Handler {
    router: Router,
    from: SocketAddr,
    scheme: Scheme,
    patience: Arc<Patience>,
}

impl hyper::service::Service<Request<Incoming>> for Handler {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.patience.asked(request.version() == Version::HTTP_2);
        request.extensions_mut().insert(ConnectInfo(self.from));
        request.extensions_mut().insert(self.scheme.clone());
        // A router is always ready, and its clones are cheap.
        self.router.clone().call(request)
    }
}
