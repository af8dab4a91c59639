//! Calls against real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::effects::egress::EgressPolicy;
use crate::value::{object, to_json};

/// A server that answers every request with what `answer` makes of it, and
/// keeps the requests. It ends when dropped.
struct Server {
    url: Url,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/", listener.local_addr().expect("is bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, requests) = (Arc::new(answer), seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answer.clone(), requests.clone()));
            }
        });
        Self {
            url: Url::parse(&url).expect("is a URL"),
            seen,
            _tasks: tasks,
        }
    }

    async fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |_| answer.clone()).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("is not poisoned").clone()
    }

    fn url(&self, path: &str) -> Url {
        self.url.join(path).expect("is a URL")
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> String>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    let complete = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.split("content-length: ").nth(1);
        let length = length
            .and_then(|l| l.lines().next()?.parse().ok())
            .unwrap_or(0);
        (body.len() >= length).then_some(())
    };
    while complete(&request).is_none() {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let answer = answer(&request);
    seen.lock().expect("is not poisoned").push(request);
    if answer.is_empty() {
        // Says nothing, until the caller gives up.
        let _ = stream.read(&mut [0; 1]).await;
        return;
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ok(content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn to(location: &str, status: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

fn caller(allow: &[&str]) -> HttpCaller {
    let egress = EgressPolicy::parse(allow).expect("are entries");
    HttpCaller::new(HttpConfig {
        egress,
        max_body: 1000,
        ..HttpConfig::default()
    })
    .expect("sets up")
}

fn get(url: Url) -> HttpCall {
    HttpCall::new(Method::GET, url)
}

#[tokio::test]
async fn a_call_sends_what_it_was_given_and_reads_the_answer() {
    let server = Server::answering(ok(
        "application/problem+json; charset=utf-8",
        r#"{"b":1,"a":1.10}"#,
    ))
    .await;
    let mut call = HttpCall::new(Method::POST, server.url("x?a=1"));
    call.query = vec![("q".into(), "ä &".into())];
    call.headers = vec![
        ("Idempotency-Key".into(), "k1".into()),
        ("Millrace-Fencing-Token".into(), "7".into()),
        ("traceparent".into(), "00-1-2-01".into()),
    ];
    call.body = HttpBody::Json(object([("z", 1), ("a", 2)]));
    call.auth = Some(HttpAuth::Basic {
        username: "u".into(),
        password: "p".into(),
    });
    let answer = caller(&["loopback"]).call(call).await.expect("is answered");
    assert!(answer.is_success() && answer.is_json());
    assert_eq!(to_json(&answer.content()), r#"{"b":1,"a":1.10}"#);
    let request = &server.seen()[0];
    assert!(
        request.starts_with("POST /x?a=1&q=%C3%A4+%26 HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        "idempotency-key: k1",
        "millrace-fencing-token: 7",
        "traceparent: 00-1-2-01",
        "content-type: application/json",
        "authorization: Basic dTpw",
        "{\"z\":1,\"a\":2}",
    ] {
        assert!(request.contains(line), "{line} is not in {request}");
    }
}

#[tokio::test]
async fn an_error_status_is_an_answer() {
    let server =
        Server::answering("HTTP/1.1 503 x\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy")
            .await;
    let answer = caller(&["127.0.0.1"])
        .call(get(server.url("/")))
        .await
        .expect("is answered");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("3"))
    );
    assert_eq!(answer.content().as_str(), Some("busy"));
}

#[tokio::test]
async fn nothing_is_sent_inwards_unless_allowed() {
    let server = Server::answering(ok("text/plain", "secret")).await;
    let port = server.url.port().expect("has a port");
    let strict = caller(&[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:a9fe:a9fe]",
        "100.64.0.1",
        "localhost.",
        "224.0.0.1",
        "192.168.0.1",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
    ] {
        let url = Url::parse(&format!("http://{host}:{port}/")).expect("is a URL");
        let result = strict.call(get(url)).await;
        let refused = matches!(
            result,
            Err(HttpFailure::Refused { .. } | HttpFailure::Dns { .. })
        );
        assert!(refused, "{host}: {result:?}");
    }
    assert!(server.seen().is_empty());
    let url = Url::parse(&format!("http://localhost:{port}/")).expect("is a URL");
    for allow in ["localhost", "loopback", "127.0.0.0/8"] {
        let answer = caller(&[allow]).call(get(url.clone())).await;
        assert!(answer.is_ok(), "{allow}: {answer:?}");
    }
}

#[tokio::test]
async fn only_http_is_spoken() {
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/",
        "data:text/plain,x",
        "unix:/x",
    ] {
        let result = caller(&["loopback"])
            .call(get(Url::parse(url).expect("is a URL")))
            .await;
        assert!(
            matches!(result, Err(HttpFailure::Invalid(_))),
            "{url}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_followed_only_when_asked() {
    let server = Server::start(|request| {
        if request.contains("/start") {
            to("/end", "302")
        } else {
            ok("text/plain", "there")
        }
    })
    .await;
    let caller = caller(&["loopback"]);
    let answer = caller
        .call(get(server.url("/start")))
        .await
        .expect("is answered");
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("/end"))
    );
    let mut call = get(server.url("/start"));
    call.redirect = true;
    let answer = caller.call(call).await.expect("is answered");
    assert_eq!((answer.status, answer.url.path()), (200, "/end"));
}

#[tokio::test]
async fn every_hop_of_a_redirect_is_checked() {
    let inner = Server::answering(ok("text/plain", "secret")).await;
    let port = inner.url.port().expect("has a port");
    for target in [
        format!("http://127.0.0.2:{port}/"),
        "file:///etc/passwd".into(),
    ] {
        let server = Server::answering(to(&target, "307")).await;
        let mut call = get(server.url("/"));
        call.redirect = true;
        // The first hop is allowed, and nothing else.
        let result = caller(&["127.0.0.1"]).call(call).await;
        let stopped = matches!(
            result,
            Err(HttpFailure::Refused { .. } | HttpFailure::Invalid(_))
        );
        assert!(stopped, "{target}: {result:?}");
    }
    assert!(inner.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_keeps_credentials_from_other_origins_and_turns_posts_into_gets() {
    let other = Server::answering(ok("text/plain", "x")).await;
    let target = other.url("/there").to_string();
    let server = Server::start(move |_| to(&target, "303")).await;
    let mut call = HttpCall::new(Method::POST, server.url("/"));
    call.redirect = true;
    call.body = HttpBody::Text("body".into());
    call.auth = Some(HttpAuth::Bearer("token".into()));
    caller(&["loopback"]).call(call).await.expect("is answered");
    let (first, second) = (server.seen().remove(0), other.seen().remove(0));
    assert!(first.contains("authorization: Bearer token") && first.ends_with("body"));
    assert!(
        second.starts_with("GET /there") && !second.contains("token") && !second.contains("body"),
        "{second}"
    );
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::answering(to("/", "302")).await;
    let mut call = get(server.url("/"));
    call.redirect = true;
    let result = caller(&["loopback"]).call(call).await;
    assert!(
        matches!(result, Err(HttpFailure::Redirect(_))),
        "{result:?}"
    );
    assert_eq!(server.seen().len(), 11);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let declared = Server::answering(ok("text/plain", &"x".repeat(1001))).await;
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5000));
    let undeclared = Server::answering(endless).await;
    for server in [declared, undeclared] {
        let result = caller(&["loopback"]).call(get(server.url("/"))).await;
        assert_eq!(
            result.err(),
            Some(HttpFailure::BodyTooLarge { limit: 1000 })
        );
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let server = Server::answering("").await;
    let mut call = get(server.url("/"));
    call.timeout = Some(Duration::from_millis(200));
    let result = caller(&["loopback"]).call(call).await;
    assert!(
        matches!(result, Err(HttpFailure::Timeout { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    drop(listener);
    let url = Url::parse(&format!("http://{address}/")).expect("is a URL");
    let result = caller(&["loopback"]).call(get(url)).await;
    assert!(
        matches!(result, Err(HttpFailure::Connect { .. })),
        "{result:?}"
    );
    let nowhere = Url::parse("http://nowhere.invalid/").expect("is a URL");
    let result = caller(&[]).call(get(nowhere)).await;
    assert!(matches!(result, Err(HttpFailure::Dns { .. })), "{result:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 400 this is not TLS\r\n\r\n")
            .await;
    });
    let url = Url::parse(&format!("https://{address}/")).expect("is a URL");
    let result = caller(&["loopback"]).call(get(url)).await;
    assert!(matches!(result, Err(HttpFailure::Tls { .. })), "{result:?}");
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_authors() {
    for (name, value) in [
        ("Host", "a"),
        ("Transfer-Encoding", "chunked"),
        ("a b", "c"),
        ("x", "a\r\nb: c"),
    ] {
        let mut call = get(Url::parse("http://127.0.0.1:1/").expect("is a URL"));
        call.headers = vec![(name.into(), value.into())];
        let result = caller(&["loopback"]).call(call).await;
        assert!(
            matches!(result, Err(HttpFailure::Invalid(_))),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn secrets_are_not_printed() {
    let mut call = get(Url::parse("http://example.com/").expect("is a URL"));
    call.auth = Some(HttpAuth::Bearer("s3cret".into()));
    assert!(!format!("{call:?}").contains("s3cret"));
}

#[test]
fn callers_and_a_provider_for_the_process_live_together() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_first, _second) = (caller(&[]), caller(&[]));
}
