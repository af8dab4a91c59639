//! Serves plain HTTP on a listener.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::TaskGroup;

/// How long connections that went over to another protocol may take to end.
const UPGRADED_GRACE: Duration = Duration::from_secs(2);

/// Serves `router` until `stop`, then takes no more connections and returns
/// once the requests that run have ended. Handlers find the caller's address
/// (`ConnectInfo`) among the request's extensions, and a [`TaskGroup`] that
/// stops with the listener: for what would otherwise never end, such as event
/// streams, and for what outlives its request, such as upgraded connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Answers are small and whole: waiting for more to send only delays
        // them. A connection that refuses works all the same.
        let _ = stream.set_nodelay(true);
    });
    let tasks = TaskGroup::new();
    let router = router
        .layer(Extension(tasks.clone()))
        .into_make_service_with_connect_info::<SocketAddr>();
    let stopping = tasks.clone();
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            stop.cancelled().await;
            stopping.stop();
        })
        .await?;
    tasks.drain(UPGRADED_GRACE).await;
    Ok(())
}
