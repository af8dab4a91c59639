//! `ANY /services/{projectKey}/{service}/…`, over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace_proto::Failure;
use millrace_proto::orchestrator::v1 as pb;
use millrace_service::CancellationToken;
use millrace_types::ErrorKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fake::FakeRuntime;
use crate::orchestrator::gateway;

const WITHIN: Duration = Duration::from_secs(20);

/// A gateway, and what it believes of the service `tasks`.
struct Served {
    address: SocketAddr,
    endpoint: Arc<Mutex<Option<SocketAddr>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Served {
    async fn new() -> Self {
        let endpoint = Arc::new(Mutex::new(None::<SocketAddr>));
        let known = Arc::clone(&endpoint);
        let fake = FakeRuntime::default().on(move |request: pb::ResolveServiceRequest| {
            if request.service != "tasks" {
                return Err(Failure::new(ErrorKind::NotFound, "There is no such service.").into());
            }
            let endpoint = known.lock().unwrap().map(|address| pb::Endpoint {
                host: address.ip().to_string(),
                port: address.port().into(),
                instance_id: address.to_string(),
            });
            Ok(pb::ResolveServiceResponse {
                stage: "deploy".into(),
                retry_after_ms: if endpoint.is_some() { 0 } else { 1500 },
                endpoint,
                ..pb::ResolveServiceResponse::default()
            })
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = gateway(&fake).router();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let serve = millrace_service::http::serve(listener, router, stop.clone());
        tasks.spawn(async move { serve.await.unwrap() });
        Self {
            address,
            endpoint,
            stop,
            tasks,
        }
    }

    /// The service is `router` from now on; the task is its server.
    async fn put(&mut self, router: Router) -> tokio::task::AbortHandle {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *self.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
        self.tasks
            .spawn(async move { axum::serve(listener, router).await.unwrap() })
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri = format!("http://{}/services/TODO/tasks{path}", self.address);
        Request::builder().method(method).uri(uri)
    }
}

async fn send(request: Request<Body>) -> Response {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = timeout(WITHIN, client.request(request)).await;
    answer.expect("in time").expect("an answer").into_response()
}

async fn json_of(response: Response) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

/// Says what it got.
fn echo(name: &'static str) -> Router {
    Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let header = |name: &str| {
            let value = parts.headers.get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let told = json!({
            "from": name,
            "method": parts.method.as_str(),
            "uri": parts.uri.path_and_query().map(ToString::to_string),
            "version": format!("{:?}", parts.version),
            "host": header("x-forwarded-host"),
            "for": header("x-forwarded-for"),
            "proto": header("x-forwarded-proto"),
            "prefix": header("x-forwarded-prefix"),
            "dropped": header("x-dropped"),
            "authorization": header("authorization"),
            "key": header("x-millrace-key"),
            "length": body.collect().await.unwrap().to_bytes().len(),
        });
        Json(told)
    })
}

#[tokio::test]
async fn a_service_never_sees_a_key_and_sees_all_else_that_proves_something() {
    let mut served = Served::new().await;
    served.put(echo("a")).await;
    for (name, value, seen) in [
        ("authorization", "Bearer mlr_key", None),
        ("authorization", "bearer mlr_key", None),
        ("x-millrace-key", "mlr_key", None),
        ("authorization", "Bearer theirs", Some("Bearer theirs")),
        ("authorization", "Basic mlr_", Some("Basic mlr_")),
    ] {
        let request = served.request("GET", "/").header(name, value);
        let answer = send(request.body(Body::empty()).unwrap()).await;
        let told = json_of(answer).await;
        assert_eq!(told["authorization"].as_str(), seen, "{value}");
        assert!(told["key"].is_null());
    }
}

#[tokio::test]
async fn requests_reach_the_service_without_the_prefix() {
    let mut served = Served::new().await;
    served.put(echo("a")).await;
    let request = served
        .request("PUT", "/x%2Fy?a=b%20c")
        .header("connection", "x-dropped")
        .header("x-dropped", "1")
        .body(Body::from(vec![b'x'; 3_000_000]))
        .unwrap();
    let told = json_of(send(request).await).await;
    assert_eq!(
        told,
        json!({"from": "a", "method": "PUT", "uri": "/x%2Fy?a=b%20c", "version": "HTTP/1.1",
               "host": served.address.to_string(), "for": "127.0.0.1", "proto": "http",
               "prefix": "/services/TODO/tasks", "dropped": null, "authorization": null, "key": null, "length": 3_000_000})
    );
}

#[tokio::test]
async fn while_nothing_is_ready_it_says_when_to_come_again() {
    let served = Served::new().await;
    let answer = send(served.request("GET", "/").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let uri = format!("http://{}/services/TODO/none/", served.address);
    let unknown = Request::builder().uri(uri).body(Body::empty()).unwrap();
    assert_eq!(send(unknown).await.status(), 404);
}

#[tokio::test]
async fn a_request_that_was_not_sent_goes_to_the_replacement() {
    let mut served = Served::new().await;
    let first = served.put(echo("a")).await;
    let ask = |served: &Served| {
        let request = served.request("POST", "/");
        send(request.body(Body::from("body")).unwrap())
    };
    assert_eq!(json_of(ask(&served).await).await["from"], "a");
    first.abort();
    let gone = served.endpoint.lock().unwrap().unwrap();
    while TcpStream::connect(gone).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // Nobody listens, and the orchestrator has not noticed yet.
    let asked = ask(&served);
    let (told, _) = tokio::join!(asked, served.put(echo("b")));
    let told = json_of(told).await;
    assert_eq!((&told["from"], &told["length"]), (&json!("b"), &json!(4)));
}

#[tokio::test]
async fn a_service_that_breaks_off_is_a_bad_gateway_and_not_asked_twice() {
    let served = Served::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *served.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
    let connections = async {
        let mut count = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count += 1;
            let mut head = [0; 1024];
            assert!(socket.read(&mut head).await.unwrap() > 0);
            drop(socket);
            tokio::task::yield_now().await;
            if count == 100 {
                break;
            }
        }
    };
    let request = served.request("POST", "/").body(Body::from("x")).unwrap();
    tokio::select! {
        () = connections => panic!("it was asked again and again"),
        answer = send(request) => assert_eq!(answer.status(), 502),
    }
}

#[tokio::test]
async fn bodies_flow_both_ways_while_they_are_made() {
    let mut served = Served::new().await;
    served
        .put(Router::new().fallback(|request: Request| async { request.into_body() }))
        .await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver)
        .map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes)));
    let request = served
        .request("POST", "/")
        .body(Body::new(StreamBody::new(stream)));
    sender.send(Bytes::from_static(b"one")).await.unwrap();
    let mut body = send(request.unwrap()).await.into_body();
    for sent in ["one", "two", "three"] {
        if sent != "one" {
            sender.send(Bytes::from(sent)).await.unwrap();
        }
        let frame = timeout(WITHIN, body.frame()).await.expect("in time");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), sent);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn http2_is_taken_and_grpc_stays_http2_with_its_trailers() {
    let mut served = Served::new().await;
    let router = Router::new().fallback(|request: Request| async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let version = format!("{:?}", request.version());
        let frames = [
            Ok(Frame::data(Bytes::from(version))),
            Ok::<_, std::io::Error>(Frame::trailers(trailers)),
        ];
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    });
    served.put(router).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    for (kind, version, status) in [
        ("text/plain", "HTTP/1.1", None),
        ("application/grpc", "HTTP/2.0", Some("0")),
    ] {
        let request = served
            .request("POST", "/")
            .header("content-type", kind)
            .header("te", "trailers");
        let answer = client
            .request(request.body(Body::from("x")).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        let body = answer.into_body().collect().await.unwrap();
        let trailer = body
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .cloned();
        if status.is_some() {
            assert_eq!(
                trailer.as_ref().map(|value| value.to_str().unwrap()),
                status
            );
        }
        assert_eq!(body.to_bytes(), version, "{kind}");
    }
}

/// Answers every upgrade, and echoes what comes after it in capitals.
async fn shouting(listener: TcpListener) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /chat?a=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "));
    // Over HTTP/2 there is none, and the gateway makes one of 16 bytes.
    assert!(
        key.is_some_and(|key| key == "abc" || key.len() == 24),
        "{head}"
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: def\r\n\r\nHELLO";
    socket.write_all(answer.as_bytes()).await.unwrap();
    let mut bytes = [0; 64];
    loop {
        let read = socket.read(&mut bytes).await.unwrap();
        if read == 0 {
            return;
        }
        let shouted = bytes[..read].to_ascii_uppercase();
        socket.write_all(&shouted).await.unwrap();
    }
}

#[tokio::test]
async fn a_websocket_is_a_pipe_until_either_side_or_the_gateway_ends_it() {
    for by_gateway in [false, true] {
        let mut served = Served::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *served.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
        let service = served.tasks.spawn(shouting(listener));
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let head = "GET /services/TODO/tasks/chat?a=1 HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"HELLO") {
            said.push(
                timeout(WITHIN, socket.read_u8())
                    .await
                    .expect("in time")
                    .unwrap(),
            );
        }
        let said = String::from_utf8(said).unwrap().to_ascii_lowercase();
        assert!(said.starts_with("http/1.1 101 "), "{said}");
        assert!(said.contains("sec-websocket-accept: def"), "{said}");
        socket.write_all(b"abc").await.unwrap();
        let mut shouted = [0; 3];
        timeout(WITHIN, socket.read_exact(&mut shouted))
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(&shouted, b"ABC");
        if by_gateway {
            served.stop.cancel();
            let end = timeout(WITHIN, socket.read(&mut shouted))
                .await
                .expect("in time");
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        } else {
            drop(socket);
        }
        while !service.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

/// Asks for a WebSocket; the answer, and what holds the connection.
async fn ask_over_http2(
    served: &mut Served,
) -> (
    http::Response<hyper::body::Incoming>,
    hyper::client::conn::http2::SendRequest<Body>,
    tokio::task::AbortHandle,
) {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let connection = served.tasks.spawn(async move { drop(connection.await) });
    let at = format!("http://{}", served.address);
    // That the other side takes extended CONNECTs is known with its settings,
    // which have come with the first answer.
    let first = http::Request::get(format!("{at}/livez"))
        .body(Body::empty())
        .unwrap();
    assert_eq!(send.send_request(first).await.unwrap().status(), 200);
    let asked = http::Request::connect(format!("{at}/services/TODO/tasks/chat?a=1"))
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .body(Body::empty())
        .unwrap();
    let answer = timeout(WITHIN, send.send_request(asked))
        .await
        .expect("in time")
        .unwrap();
    (answer, send, connection)
}

#[tokio::test]
async fn an_answer_that_is_no_agreement_is_not_taken_for_one_over_http2() {
    for (answered, passed_on) in [("200 OK", 502), ("204 No Content", 502), ("426 No", 426)] {
        let mut served = Served::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *served.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
        served.tasks.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let answer = format!("HTTP/1.1 {answered}\r\nconnection: close\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        let (answer, _send, connection) = ask_over_http2(&mut served).await;
        assert_eq!(answer.status().as_u16(), passed_on, "{answered}");
        connection.abort();
    }
}

#[tokio::test]
async fn a_websocket_over_http2_is_a_pipe_to_a_service_that_speaks_http1() {
    let mut served = Served::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *served.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
    let service = served.tasks.spawn(shouting(listener));
    let (answer, send, connection) = ask_over_http2(&mut served).await;
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, Version::HTTP_2)
    );
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(name), "{answer:?}");
    }
    let upgraded = timeout(WITHIN, hyper::upgrade::on(answer))
        .await
        .expect("in time")
        .unwrap();
    let mut socket = hyper_util::rt::TokioIo::new(upgraded);
    let mut said = [0; 8];
    timeout(WITHIN, socket.read_exact(&mut said[..5]))
        .await
        .expect("in time")
        .unwrap();
    socket.write_all(b"abc").await.unwrap();
    timeout(WITHIN, socket.read_exact(&mut said[5..]))
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(&said, b"HELLOABC");
    drop((socket, send));
    while !service.is_finished() {
        tokio::task::yield_now().await;
    }
    connection.abort();
}
