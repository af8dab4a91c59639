//! What a webhook allows its senders, and what it answers them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::future::BoxFuture;
use http::Method;
use millrace_gateway::{GatewayConfig, Proxies, Rate, SharedRates};
use millrace_proto::runtime::v1 as pb;
use serde_json::{Value, json};

use crate::fake::FakeRuntime;
use crate::harness::{Answer, App, request};
use crate::webhooks::{accepted, listening};

fn started(runtime: &FakeRuntime) -> usize {
    runtime.seen::<pb::TriggerWorkflowRequest>().len()
}

async fn post_from(app: &App, peer: &str, headers: &[(&str, &str)]) -> Answer {
    let mut posted = request(Method::POST, "/webhooks/o");
    for (name, value) in headers {
        posted = posted.header(*name, *value);
    }
    let peer: SocketAddr = peer.parse().unwrap();
    let mut posted = posted.body(Body::empty()).unwrap();
    posted.extensions_mut().insert(ConnectInfo(peer));
    app.send(posted).await
}

#[tokio::test]
async fn a_body_may_be_limited_below_the_gateways_limit_only() {
    let config = GatewayConfig {
        body_limit: 64,
        ..GatewayConfig::default()
    };
    for (spec, largest) in [
        (r#"{"bodyLimit":16}"#, 16),
        (r#"{"bodyLimit":1000}"#, 64),
        ("{}", 64),
    ] {
        let runtime = listening(spec);
        let app = App::with(config.clone(), &[&runtime]);
        let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        let fits = app.post("/webhooks/o", &body(largest)).await;
        assert_eq!(fits.status, 202, "{spec}");
        let answer = app.post("/webhooks/o", &body(largest + 1)).await;
        let problem = answer.problem(413);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&largest.to_string()), "{detail}");
        assert_eq!(started(&runtime), 1);
    }
}

const RARELY: &str = r#"{"rateLimit":{"limit":2,"per":"PT7200S","burst":2}}"#;

#[tokio::test]
async fn what_comes_too_often_is_told_when_to_come_again() {
    let runtime = listening(RARELY);
    let app = App::new(&runtime);
    for _ in 0..2 {
        assert_eq!(app.post("/webhooks/o", "1").await.status, 202);
    }
    let answer = app.post("/webhooks/o", "1").await;
    answer.problem(429);
    let wait = answer.retry_after();
    assert!((3000..=3600).contains(&wait), "{wait}");
    assert_eq!(started(&runtime), 2);
}

#[tokio::test]
async fn strangers_do_not_use_up_the_rate() {
    let runtime = listening(
        r#"{"rateLimit":{"limit":1,"per":"PT3600S","burst":1},"allow":["192.0.2.1/32"]}"#,
    );
    let app = App::new(&runtime);
    post_from(&app, "192.0.2.9:1", &[]).await.problem(403);
    assert_eq!(post_from(&app, "192.0.2.1:1", &[]).await.status, 202);
    post_from(&app, "192.0.2.1:1", &[]).await.problem(429);
}

/// Counts nothing, and has an answer or none.
#[derive(Debug)]
struct Told(Result<Option<Duration>, String>);

impl SharedRates for Told {
    fn take<'a>(
        &'a self,
        key: &'a str,
        rate: Rate,
    ) -> BoxFuture<'a, Result<Option<Duration>, String>> {
        assert_eq!(key, "webhook:trg_1");
        assert_eq!(rate.interval, Duration::from_hours(1));
        Box::pin(std::future::ready(self.0.clone()))
    }
}

#[tokio::test]
async fn rates_are_shared_and_a_broken_store_lets_pass() {
    for (told, second, third) in [
        (Ok(None), 202, 202),
        (Ok(Some(Duration::from_millis(1500))), 429, 429),
        (Err("down".into()), 202, 429),
    ] {
        let runtime = listening(RARELY);
        let shared_rates: Option<Arc<dyn SharedRates>> = Some(Arc::new(Told(told)));
        let config = GatewayConfig {
            shared_rates,
            ..GatewayConfig::default()
        };
        let app = App::with(config, &[&runtime]);
        let first = app.post("/webhooks/o", "1").await;
        if first.status == 429 {
            assert_eq!(first.headers["retry-after"], "2");
        }
        assert_eq!(app.post("/webhooks/o", "1").await.status, second);
        assert_eq!(app.post("/webhooks/o", "1").await.status, third);
    }
}

#[tokio::test]
async fn only_allowed_addresses_get_in_and_headers_count_behind_trusted_proxies() {
    let spec = r#"{"allow":["192.0.2.0/24","2001:db8::1/128"]}"#;
    let forwarded = [("x-forwarded-for", "192.0.2.7")];
    let runtime = listening(spec);
    let app = App::new(&runtime);
    for (peer, status) in [
        ("192.0.2.7:1", 202),
        ("[::ffff:192.0.2.7]:1", 202),
        ("[2001:db8::1]:1", 202),
        ("10.0.0.1:1", 403),
        ("[2001:db8::2]:1", 403),
    ] {
        let answer = post_from(&app, peer, &[]).await;
        assert_eq!(answer.status, status, "{peer}");
    }
    // Nobody is trusted by default, and who cannot be told is nobody.
    post_from(&app, "10.0.0.1:1", &forwarded).await.problem(403);
    app.post("/webhooks/o", "1").await.problem(403);
    assert_eq!(started(&runtime), 3);

    let config = GatewayConfig {
        proxies: Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            ..Proxies::default()
        },
        ..GatewayConfig::default()
    };
    let behind = App::with(config, &[&runtime]);
    for (headers, status) in [
        (&forwarded[..], 202),
        (&[("x-forwarded-for", "192.0.2.7, 198.51.100.1")], 403),
        (&[("forwarded", "for=192.0.2.7")], 403),
        (&[], 403),
    ] {
        let answer = post_from(&behind, "10.0.0.1:1", headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn expressions_get_the_whole_request_without_credentials() {
    let runtime = listening(r#"{"dedupe":{"expression":".body.id"}}"#);
    let app = App::new(&runtime);
    let posted = request(Method::POST, "/webhooks/o?q=1")
        .header("authorization", "Bearer hunter2")
        .body(Body::from("{\"id\":7}"))
        .unwrap();
    assert_eq!(app.send(posted).await.status, 202);
    let seen = runtime.seen::<pb::TriggerWorkflowRequest>();
    assert_eq!(seen[0].trigger_data_json, "{\"id\":7}");
    let view: Value = serde_json::from_str(&seen[0].request_json).unwrap();
    assert_eq!(
        (&view["body"]["id"], &view["query"]["q"]),
        (&json!(7), &json!("1"))
    );
    assert!(!seen[0].request_json.contains("hunter2"));
}

#[tokio::test]
async fn a_mapped_answer_is_sent_as_it_was_made() {
    use pb::webhook_answer::Body;
    for (body, kind, text) in [
        (None, None, ""),
        (
            Some(Body::Text("ok".into())),
            Some("text/plain; charset=utf-8"),
            "ok",
        ),
        (
            Some(Body::Json("[1.50]".into())),
            Some("application/json"),
            "[1.50]",
        ),
    ] {
        let runtime = listening(r#"{"respond":{"status":201,"wait":"PT1.5S"}}"#).on(
            move |request: pb::TriggerWorkflowRequest| {
                assert!((1000..=1500).contains(&request.wait_ms));
                assert!(!request.request_json.is_empty());
                Ok(pb::TriggerWorkflowResponse {
                    answer: Some(pb::WebhookAnswer {
                        status: 201,
                        headers: vec![pb::HttpHeader {
                            name: "x-order".into(),
                            value: "7".into(),
                        }],
                        body: body.clone(),
                    }),
                    ..accepted(request)
                })
            },
        );
        let answer = App::new(&runtime).post("/webhooks/o", "1").await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (201, text));
        assert_eq!(answer.headers["x-order"], "7");
        let sent = answer.headers.get("content-type");
        assert_eq!(sent.map(|value| value.to_str().unwrap()), kind);
    }
    let failing = listening(r#"{"respond":{}}"#).on(|request: pb::TriggerWorkflowRequest| {
        Ok(pb::TriggerWorkflowResponse {
            answer_failed: true,
            ..accepted(request)
        })
    });
    App::new(&failing)
        .post("/webhooks/o", "1")
        .await
        .problem(500);
    // The wait is over, or the runtime is an older one.
    let slow = listening(r#"{"respond":{}}"#);
    assert_eq!(App::new(&slow).post("/webhooks/o", "1").await.status, 202);
}
