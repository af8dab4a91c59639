//! Over real sockets: HTTP/1.1 in front, HTTP/2 to the runtime.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_gateway::{Gateway, GatewayConfig};
use millrace_proto::runtime::v1 as pb;
use millrace_service::transport::remote;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;

use crate::fake::FakeRuntime;
use crate::harness::DEP;

const WITHIN: Duration = Duration::from_secs(20);

/// A gateway and its runtimes on ports of their own, until dropped.
struct Served {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Served {
    /// `dead` names addresses of runtimes at which nothing listens.
    async fn new(runtime: &FakeRuntime, dead: &[SocketAddr]) -> Self {
        let mut tasks = JoinSet::new();
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses = dead.to_vec();
        addresses.push(inner.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_routes(runtime.routes());
        tasks.spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(inner))
                .await
                .unwrap();
        });
        let transports = addresses
            .iter()
            .map(|address| remote(&format!("http://{address}")).unwrap())
            .collect();
        let router = Gateway::new(GatewayConfig::default(), transports, None).router();
        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = outer.local_addr().unwrap();
        tasks.spawn(async move { axum::serve(outer, router).await.unwrap() });
        Self {
            address,
            _tasks: tasks,
        }
    }

    /// Sends `request` and reads until the connection is closed.
    async fn exchange(&self, head: &str, body: &[u8]) -> String {
        let talk = async {
            let mut socket = TcpStream::connect(self.address).await.unwrap();
            let head = format!(
                "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(body).await.unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        timeout(WITHIN, talk).await.expect("an answer in time")
    }
}

fn runtime() -> FakeRuntime {
    FakeRuntime::default()
        .on(|_: pb::ResolveWebhookRequest| {
            Ok(pb::ResolveWebhookResponse {
                trigger_id: "trg_1".into(),
                deployment_id: DEP.into(),
                ..pb::ResolveWebhookResponse::default()
            })
        })
        .on(|request: pb::TriggerWorkflowRequest| {
            Ok(pb::TriggerWorkflowResponse {
                execution_id: request.execution_id,
                status: "PENDING".into(),
                ..pb::TriggerWorkflowResponse::default()
            })
        })
}

#[tokio::test]
async fn the_trace_of_a_request_reaches_the_runtime() {
    let runtime = runtime();
    let served = Served::new(&runtime, &[]).await;
    let head = "POST /webhooks/orders HTTP/1.1\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = served.exchange(head, b"{}").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let traces = runtime.traces();
    assert_eq!(traces.len(), 2, "resolve and trigger");
    for trace in traces {
        assert!(
            trace.contains("0af7651916cd43dd8448eb211c80319c"),
            "{trace}"
        );
    }
}

#[tokio::test]
async fn a_runtime_that_cannot_be_reached_is_passed_over() {
    // Bound and closed again: nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let runtime = runtime();
    let served = Served::new(&runtime, &[gone]).await;
    for _ in 0..4 {
        let answer = served
            .exchange("POST /webhooks/orders HTTP/1.1", b"{}")
            .await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    assert_eq!(runtime.seen::<pb::TriggerWorkflowRequest>().len(), 4);
}

#[tokio::test]
async fn a_caller_that_sends_too_much_still_sees_413() {
    let runtime = runtime();
    let served = Served::new(&runtime, &[]).await;
    let body = vec![b'x'; 8 * 1024 * 1024];
    let answer = served
        .exchange("POST /webhooks/orders HTTP/1.1", &body)
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("application/problem+json"));
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    let runtime = runtime();
    let served = Served::new(&runtime, &[]).await;
    let body = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    let answer = served
        .exchange("POST /webhooks/orders HTTP/1.1", body.as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(
        runtime.seen::<pb::TriggerWorkflowRequest>()[0].trigger_data_json,
        body
    );
}
