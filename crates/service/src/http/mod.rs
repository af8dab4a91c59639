//! Serves HTTP/1.1 and HTTP/2 on a listener, in plain or over TLS, with limits on what
//! callers may hold open and how long they may take.

mod connection;
mod patience;

pub(crate) use patience::Patience;

use std::io;
use std::time::Duration;

use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::TaskGroup;
use crate::net::Door;
use crate::tls::Tls;

/// How long connections that went over to another protocol may take to end.
const UPGRADED_GRACE: Duration = Duration::from_secs(2);

/// Serves `router` as [`HttpServer::serve`] does, with the limits of a
/// listener that few call.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    HttpServer::new("admin").serve(listener, router, stop).await
}

/// How a listener is served.
#[derive(Debug, Clone)]
pub struct HttpServer {
    name: &'static str,
    max_connections: usize,
    header_timeout: Duration,
    tls: Option<Tls>,
}

impl HttpServer {
    /// `name` is what figures and logs call the listener; few and fixed.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            max_connections: 1024,
            header_timeout: Duration::from_secs(10),
            tls: None,
        }
    }

    /// Connections at once; more wait in the system's queue until one ends.
    #[must_use]
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// How long a caller may take from the first byte of a request to the end
    /// of its headers, and from connecting to that of its first request. Who
    /// takes longer is cut off, at twice the time at the latest.
    #[must_use]
    pub const fn header_timeout(mut self, time: Duration) -> Self {
        self.header_timeout = time;
        self
    }

    /// Speaks HTTPS, if that is given.
    #[must_use]
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Serves `router` until `stop`, then takes no more connections and
    /// returns once the requests that run have ended. Handlers find the
    /// caller's address (`ConnectInfo`) and the connection's `http::uri::Scheme`
    /// among the request's extensions, and a [`TaskGroup`] that stops with the listener: for what would otherwise
    /// never end, such as event streams, and for what outlives its request,
    /// such as upgraded connections.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let tasks = TaskGroup::new();
        let connections = TaskTracker::new();
        let closing = CancellationToken::new();
        // Whoever drops this future wants its connections to end, too.
        let _closing_too = closing.clone().drop_guard();
        let router = router.layer(Extension(tasks.clone())).with_state(());
        let mut door = Door::new(listener, self.name, self.max_connections);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = door.next() => accepted,
            };
            connections.spawn(connection::serve(
                accepted,
                router.clone(),
                self.clone(),
                closing.clone(),
            ));
        }
        // Nobody is taken in any more, and those who try see so at once.
        drop(door);
        tasks.stop();
        closing.cancel();
        connections.close();
        connections.wait().await;
        tasks.drain(UPGRADED_GRACE).await;
        Ok(())
    }
}
