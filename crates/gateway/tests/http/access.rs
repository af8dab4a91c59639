//! Who is let in, how often, and what goes on to what is called. Who may call
//! which route is tested next to the router.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::future::BoxFuture;
use http::{Method, Request};
use millrace_gateway::{GatewayConfig, Proxies, Rate, SharedRates};
use millrace_proto::runtime::v1 as pb;
use millrace_service::access::{KeyLookUp, KeyToken, LookUpFailed};
use millrace_service::config::{AuthConfig, AuthMode};
use millrace_types::{ApiKey, Role, Timestamp};
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{Answer, App, request};
use crate::try_out::asks_for_a_token;

/// Takes every key for an operator's, unless it cannot say.
#[derive(Debug, Default)]
struct Keys {
    asked: AtomicUsize,
    down: AtomicBool,
    expires_at: Option<Timestamp>,
}

impl KeyLookUp for Keys {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = if self.down.load(Ordering::SeqCst) {
            Err(LookUpFailed("hunter2 is down".to_owned()))
        } else {
            Ok(Some(ApiKey {
                id: token.id(),
                name: "ci".to_owned(),
                role: Role::Operator,
                expires_at: self.expires_at,
            }))
        };
        Box::pin(std::future::ready(answer))
    }
}

fn guarded(keys: &Arc<Keys>) -> GatewayConfig {
    GatewayConfig {
        auth: AuthConfig {
            mode: AuthMode::Keys,
            ..AuthConfig::default()
        },
        keys: Some(Arc::clone(keys) as _),
        health_timeout: Duration::from_millis(100),
        ..GatewayConfig::default()
    }
}

fn key() -> String {
    KeyToken::mint().unwrap().0.expose().clone()
}

async fn get(app: &App, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut asked = request(Method::GET, path);
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    app.send(asked.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_is_503_and_never_let_through() {
    let keys = Arc::new(Keys::default());
    keys.down.store(true, Ordering::SeqCst);
    let app = App::with(guarded(&keys), &[&FakeRuntime::default()]);
    let key = format!("Bearer {}", key());
    let answer = get(&app, "/api/executions", &[("authorization", &key)]).await;
    let problem = answer.problem(503);
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    assert!(answer.headers.contains_key("retry-after"));
    // Whether all is well can be asked all the same, and probes need no key.
    let health = get(&app, "/health", &[("authorization", &key)]).await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.json()["dependencies"]["database"],
        json!({"status": "unknown"})
    );
    assert_eq!(get(&app, "/livez", &[]).await.status, 200);
    // The next one asks anew.
    keys.down.store(false, Ordering::SeqCst);
    let answer = get(&app, "/api/executions", &[("authorization", &key)]).await;
    assert_ne!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn an_expired_key_ends_although_it_is_remembered() {
    let keys = Arc::new(Keys {
        expires_at: Some(Timestamp::now().saturating_add(Duration::from_millis(300))),
        ..Keys::default()
    });
    let app = App::with(guarded(&keys), &[&FakeRuntime::default()]);
    let key = format!("bearer {}", key());
    let status = async || {
        get(&app, "/api/nothing", &[("authorization", &key)])
            .await
            .status
    };
    assert_eq!(status().await, 404);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while status().await != 401 {
        assert!(std::time::Instant::now() < deadline, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 1, "it was remembered");
}

#[tokio::test]
async fn what_shows_no_key_in_the_right_way_is_refused_unasked() {
    let keys = Arc::new(Keys::default());
    let app = App::with(guarded(&keys), &[&FakeRuntime::default()]);
    let key = key();
    for headers in [
        &[][..],
        &[("authorization", "Basic dXNlcjpwYXNz")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x")],
        &[("authorization", &key)],
        &[
            ("authorization", &format!("Bearer {key}")),
            ("authorization", "Bearer x"),
        ],
        &[("x-millrace-key", "mlr_x")],
    ] {
        let answer = get(&app, "/api/executions", headers).await;
        answer.problem(401);
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{headers:?}");
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn details_of_health_are_for_those_with_a_key_unless_they_are_opened() {
    let runtime = || {
        FakeRuntime::default().on(|_: pb::GetSystemHealthRequest| {
            Ok(pb::GetSystemHealthResponse {
                status: "healthy".into(),
                dependencies: vec![pb::DependencyHealth {
                    name: "database".into(),
                    status: "healthy".into(),
                    latency_ms: 1.5,
                    message: "10.0.0.7".into(),
                }],
                ..pb::GetSystemHealthResponse::default()
            })
        })
    };
    let keys = Arc::new(Keys::default());
    let mut config = guarded(&keys);
    let brief = json!({"status": "healthy"});
    let whole = json!({"status": "healthy", "latencyMs": 1.5, "message": "10.0.0.7"});
    let database = |answer: &Answer| answer.json()["dependencies"]["database"].clone();
    let key = format!("Bearer {}", key());
    let app = App::with(config.clone(), &[&runtime()]);
    let anonymous = get(&app, "/health", &[]).await;
    assert_eq!(anonymous.status, 200);
    assert_eq!(database(&anonymous), brief);
    assert!(anonymous.json()["version"].is_string());
    let known = get(&app, "/health", &[("authorization", &key)]).await;
    assert_eq!(database(&known), whole);
    config.auth.open_health = true;
    let open = App::with(config, &[&runtime()]);
    assert_eq!(database(&get(&open, "/health", &[]).await), whole);
}

#[tokio::test]
async fn a_key_beside_the_senders_own_proof_is_not_passed_on() {
    let (runtime, sealing) = asks_for_a_token();
    let keys = Arc::new(Keys::default());
    let config = GatewayConfig {
        sealing_keys: Some(sealing),
        ..guarded(&keys)
    };
    let app = App::with(config, &[&runtime]);
    let (key, theirs) = (key(), "Bearer hunter2".to_owned());
    let of_millrace = format!("Bearer {key}");
    for (headers, status, asked_by) in [
        (&[("authorization", &theirs)][..], 401, "Millrace"),
        (&[("x-millrace-key", &key)], 401, "the webhook"),
        (&[("authorization", &of_millrace)], 401, "the webhook"),
        (
            &[("x-millrace-key", &key), ("authorization", &theirs)],
            200,
            "nobody",
        ),
    ] {
        let mut posted = request(Method::POST, "/webhooks-test/o");
        for (name, value) in headers {
            posted = posted.header(*name, *value);
        }
        let answer = app.send(posted.body(Body::from("1")).unwrap()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!answer.text.contains(&key), "{answer:?}");
        let by_millrace = answer.text.contains("API key");
        assert_eq!(by_millrace, asked_by == "Millrace", "{answer:?}");
    }
    // Webhooks themselves ask for no key.
    let posted = request(Method::POST, "/webhooks/o")
        .body(Body::from("1"))
        .unwrap();
    assert!(!app.send(posted).await.text.contains("API key"));
}

fn from(peer: &str, path: &str, key: Option<&str>) -> Request<Body> {
    let mut asked = request(Method::GET, path);
    if let Some(key) = key {
        asked = asked.header("authorization", format!("Bearer {key}"));
    }
    let peer: SocketAddr = peer.parse().unwrap();
    asked
        .extension(ConnectInfo(peer))
        .body(Body::empty())
        .unwrap()
}

const RARELY: Rate = Rate {
    interval: Duration::from_hours(1),
    burst: 2,
};

#[tokio::test]
async fn an_address_may_call_so_often_and_those_that_are_refused_count() {
    let keys = Arc::new(Keys::default());
    let config = GatewayConfig {
        rate_per_address: Some(RARELY),
        proxies: Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            ..Proxies::default()
        },
        ..guarded(&keys)
    };
    let app = App::with(config, &[&FakeRuntime::default()]);
    for _ in 0..2 {
        app.send(from("192.0.2.1:1", "/api/nothing", None))
            .await
            .problem(401);
    }
    let key = key();
    let answer = app
        .send(from("192.0.2.1:2", "/api/nothing", Some(&key)))
        .await;
    let problem = answer.problem(429);
    assert!(
        problem["detail"].as_str().unwrap().contains("address"),
        "{problem}"
    );
    let wait = answer.retry_after();
    assert!((3000..=3600).contains(&wait), "{wait}");
    // Another address is another matter, also behind a proxy; a probe is none.
    app.send(from("192.0.2.2:1", "/api/nothing", Some(&key)))
        .await
        .problem(404);
    let mut behind = from("10.0.0.1:1", "/api/nothing", Some(&key));
    behind
        .headers_mut()
        .insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
    app.send(behind).await.problem(429);
    assert_eq!(
        app.send(from("192.0.2.1:1", "/livez", None)).await.status,
        200
    );
}

#[tokio::test]
async fn a_key_may_call_so_often_wherever_it_is_used() {
    let keys = Arc::new(Keys::default());
    let config = GatewayConfig {
        rate_per_key: Some(RARELY),
        ..guarded(&keys)
    };
    let app = App::with(config, &[&FakeRuntime::default()]);
    let (one, other) = (key(), key());
    for peer in ["192.0.2.1:1", "192.0.2.2:1"] {
        app.send(from(peer, "/api/nothing", Some(&one)))
            .await
            .problem(404);
    }
    let problem = app
        .send(from("192.0.2.3:1", "/api/nothing", Some(&one)))
        .await
        .problem(429);
    assert!(
        problem["detail"].as_str().unwrap().contains("API key"),
        "{problem}"
    );
    app.send(from("192.0.2.3:1", "/api/nothing", Some(&other)))
        .await
        .problem(404);
    app.send(from("192.0.2.3:1", "/api/nothing", None))
        .await
        .problem(401);
}

/// Lets everything pass, and keeps what it was asked.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<String>>);

impl SharedRates for Asked {
    fn take<'a>(
        &'a self,
        key: &'a str,
        _: Rate,
    ) -> BoxFuture<'a, Result<Option<Duration>, String>> {
        self.0.lock().unwrap().push(key.to_owned());
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[tokio::test]
async fn gateways_count_together_where_they_share_a_store() {
    let keys = Arc::new(Keys::default());
    let asked = Arc::new(Asked::default());
    let config = GatewayConfig {
        rate_per_key: Some(RARELY),
        rate_per_address: Some(RARELY),
        shared_rates: Some(Arc::clone(&asked) as _),
        ..guarded(&keys)
    };
    let app = App::with(config, &[&FakeRuntime::default()]);
    let text = key();
    let id = KeyToken::parse(&text).unwrap().id();
    for _ in 0..3 {
        app.send(from("[2001:db8::1]:1", "/api/nothing", Some(&text)))
            .await
            .problem(404);
    }
    let counted = asked.0.lock().unwrap();
    let one = ["address:2001:db8::/64".to_owned(), format!("key:{id}")];
    assert_eq!(*counted, [one.clone(), one.clone(), one].concat());
}

#[tokio::test]
async fn whoever_is_refused_sees_why_although_it_still_sends() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let keys = Arc::new(Keys::default());
    let app = App::with(guarded(&keys), &[&FakeRuntime::default()]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = millrace_service::CancellationToken::new();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(millrace_service::http::serve(listener, app.0, stop.clone()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /api/deployments HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // More than any buffer in between holds.
    stream.write_all(&vec![b'x'; 8_000_000]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    stop.cancel();
}
