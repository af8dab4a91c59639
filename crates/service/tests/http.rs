//! The listener for plain HTTP, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use bytes::Bytes;
use millrace_service::CancellationToken;
use millrace_service::http::HttpServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

const SOON: Duration = Duration::from_secs(20);
/// Short, for tests that wait for it to pass.
const BRIEF: Duration = Duration::from_millis(200);

struct Served {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn new(server: HttpServer, router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test ends it")]
        let task = tokio::spawn(server.serve(listener, router, stop.clone()));
        Self { at, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    async fn ended(self) {
        timeout(SOON, self.task)
            .await
            .expect("it stops in time")
            .unwrap()
            .unwrap();
    }
}

/// What comes until the other side closes; a reset ends it, too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let reading = stream.read_to_end(&mut text);
    let _ = timeout(SOON, reading).await.expect("it is closed in time");
    String::from_utf8(text).unwrap()
}

async fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut piece = [0; 512];
        let read = timeout(SOON, stream.read(&mut piece)).await.unwrap();
        let read = read.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8(answer));
        answer.extend_from_slice(&piece[..read]);
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let served = Served::new(HttpServer::new("test").header_timeout(BRIEF), hello()).await;
    // One that says nothing, one in the middle of its headers, one in the
    // middle of HTTP/2's preface, and one whose second request is slow.
    let mut silent = served.connect().await;
    let mut slow = served.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ")
        .await
        .unwrap();
    let mut preface = served.connect().await;
    preface.write_all(b"PRI * HT").await.unwrap();
    let mut second = served.connect().await;
    ask(&mut second).await;
    second.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    for stream in [&mut silent, &mut slow, &mut preface, &mut second] {
        assert_eq!(rest(stream).await, "");
    }
    // One that drips is no better off.
    let mut drips = served.connect().await;
    let dripping = async {
        drips.write_all(b"GET / HTTP/1.1\r\n").await?;
        loop {
            drips.write_all(b"x-a: b\r\n").await?;
            tokio::time::sleep(BRIEF / 10).await;
        }
    };
    let ended: std::io::Result<()> = timeout(SOON, dripping).await.expect("it is cut off");
    ended.unwrap_err();
}

#[tokio::test]
async fn an_idle_connection_and_a_slow_body_are_not_cut_off() {
    let router = hello().route("/echo", post(|body: Bytes| async { body }));
    let served = Served::new(HttpServer::new("test").header_timeout(BRIEF), router).await;
    let mut idle = served.connect().await;
    ask(&mut idle).await;
    let mut uploads = served.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
    uploads.write_all(head).await.unwrap();
    for _ in 0..10 {
        tokio::time::sleep(BRIEF / 3).await;
        uploads.write_all(b"a").await.unwrap();
    }
    let answer = rest(&mut uploads).await;
    assert!(answer.ends_with("aaaaaaaaaa"), "{answer}");
    ask(&mut idle).await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let served = Served::new(HttpServer::new("test"), hello()).await;
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = many.concat();
    let large = format!("x-large: {}\r\n", "a".repeat(70_000));
    for headers in [many, large] {
        let mut stream = served.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        // It may be refused before all of it was sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut status = [0; 12];
        timeout(SOON, stream.read_exact(&mut status))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&status, b"HTTP/1.1 431");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let served = Served::new(HttpServer::new("test").max_connections(2), hello()).await;
    let (mut first, mut second) = (served.connect().await, served.connect().await);
    ask(&mut first).await;
    ask(&mut second).await;
    let mut third = served.connect().await;
    third
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    let early = timeout(BRIEF, third.read(&mut byte)).await;
    assert!(early.is_err(), "there is no place for it yet");
    drop(first);
    timeout(SOON, third.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();
    ask(&mut second).await;
}

#[tokio::test]
async fn handlers_know_who_calls() {
    let router = Router::new().route(
        "/",
        get(|ConnectInfo(from): ConnectInfo<SocketAddr>| async move { format!("{from} hello") }),
    );
    let served = Served::new(HttpServer::new("test"), router).await;
    let mut stream = served.connect().await;
    let from = stream.local_addr().unwrap().to_string();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.contains(&from), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_lets_requests_end() {
    let (pieces, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body = std::sync::Mutex::new(Some(body));
    let body = std::sync::Arc::new(body);
    let router = hello().route(
        "/long",
        get(move || {
            let body = body.lock().unwrap().take().unwrap();
            async move { Body::from_stream(ReceiverStream::new(body)) }
        }),
    );
    let served = Served::new(HttpServer::new("test"), router).await;
    let mut idle = served.connect().await;
    ask(&mut idle).await;
    let mut fresh = served.connect().await;
    let mut running = served.connect().await;
    running
        .write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    pieces.send(Ok("begun ".into())).await.unwrap();
    let mut byte = [0];
    timeout(SOON, running.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();

    served.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "idle ones are closed at once");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(!served.task.is_finished(), "a request still runs");
    // Nobody is let in any more.
    while TcpStream::connect(served.at).await.is_ok() {
        tokio::task::yield_now().await;
    }
    pieces.send(Ok("and done".into())).await.unwrap();
    drop(pieces);
    let answer = rest(&mut running).await;
    assert!(answer.contains("and done"), "{answer}");
    served.ended().await;
}
