//! The admin endpoints over a real socket.

use std::time::Duration;

use millrace_service::admin::{self, Readiness};
use millrace_service::{OnFailure, TaskGroup, http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn get(at: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: millrace\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_process_says_that_it_lives_and_whether_it_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tasks, readiness) = (TaskGroup::new(), Readiness::new());
    let router = admin::router("runtime", "1.2.3", readiness.clone());
    tasks.spawn("admin", OnFailure::StopService, |stop| {
        http::serve(listener, router, stop)
    });

    assert!(get(at, "/livez").await.starts_with("HTTP/1.1 200"));
    let starting = get(at, "/readyz").await;
    assert!(
        starting.starts_with("HTTP/1.1 503") && starting.contains("starting"),
        "{starting}"
    );
    readiness.ready();
    assert!(get(at, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.not_ready("the database is away");
    assert!(get(at, "/readyz").await.contains("the database is away"));
    let metrics = get(at, "/metrics").await;
    assert!(
        metrics.contains("millrace_build_info{version=\"1.2.3\",role=\"runtime\"} 1"),
        "{metrics}"
    );

    tasks.stop();
    assert!(tasks.drain(Duration::from_secs(10)).await.is_empty());
}
