//! Serves plain HTTP on a listener.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `router`, which may ask for `ConnectInfo<SocketAddr>`, until `stop`, then takes no more connections and returns
/// once the requests that run have ended.
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
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}
