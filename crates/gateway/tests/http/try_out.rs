//! `ANY /webhooks-test/{path…}`: everything but the start.

use axum::body::Body;
use http::Method;
use millrace_gateway::GatewayConfig;
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_signature::{AuthSpec, SealingKey, SealingKeys};
use millrace_types::ErrorKind;
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, request};
use crate::webhooks::listening;

fn never_started(runtime: &FakeRuntime) {
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
}

#[tokio::test]
async fn it_shows_what_would_be_started_and_starts_nothing() {
    let spec = r#"{"path":"orders/{region}","dedupe":{"expression":".body.id"}}"#;
    let runtime = listening(spec).on(|request: pb::TestWebhookRequest| {
        assert!(request.request_json.contains(r#""body":{"id":"a"}"#));
        assert_eq!(request.input_json, r#"{"id":"a"}"#);
        Ok(pb::TestWebhookResponse {
            dedupe_name: format!("{}!", request.dedupe_name),
        })
    });
    let posted = request(Method::POST, "/webhooks-test/orders/eu")
        .header("webhook-id", "msg_1")
        .body(Body::from(r#"{"id":"a"}"#))
        .unwrap();
    let answer = App::new(&runtime).send(posted).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({
            "trigger": {"id": "trg_1", "type": "webhook", "deploymentId": DEP, "path": "orders/{region}"},
            "params": {"region": "eu"},
            "input": {"id": "a"},
            "dedupeKey": "msg_1!",
            "respond": "accepted",
        })
    );
    let asked = runtime.seen::<pb::ResolveWebhookRequest>();
    assert_eq!(asked[0].path, "orders/eu");
    never_started(&runtime);
}

/// A webhook at `o` whose senders prove themselves by the token `hunter2`, and
/// what its secret is sealed with.
pub fn asks_for_a_token() -> (FakeRuntime, SealingKeys) {
    let keys = SealingKeys::new(SealingKey::generate().unwrap(), None);
    let auth = AuthSpec::parse(&json!({"scheme": "bearer", "token": "hunter2"}), "").unwrap();
    let spec_json = json!({"path": "o", "auth": auth, "input": "request"}).to_string();
    let sealed = keys.seal_secrets(auth.secrets(), &spec_json).unwrap();
    let runtime = FakeRuntime::default()
        .on(move |_: pb::ResolveWebhookRequest| {
            Ok(pb::ResolveWebhookResponse {
                trigger_id: "trg_1".into(),
                deployment_id: DEP.into(),
                spec_json: spec_json.clone(),
                sealed_secrets: sealed.text.clone(),
                ..pb::ResolveWebhookResponse::default()
            })
        })
        .on(|_: pb::TestWebhookRequest| Ok(pb::TestWebhookResponse::default()));
    (runtime, keys)
}

#[tokio::test]
async fn it_lets_nobody_in_who_cannot_prove_itself_and_shows_no_secret() {
    let (runtime, keys) = asks_for_a_token();
    let config = GatewayConfig {
        sealing_keys: Some(keys),
        ..GatewayConfig::default()
    };
    let app = App::with(config, &[&runtime]);
    app.post("/webhooks-test/o", "1").await.problem(401);
    let posted = request(Method::POST, "/webhooks-test/o")
        .header("authorization", "Bearer hunter2")
        .body(Body::from("1"))
        .unwrap();
    let answer = app.send(posted).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["dedupeKey"]),
        (200, &json!(null))
    );
    assert_eq!(answer.json()["input"]["body"], 1);
    for secret in ["hunter2", "mrs1", "bearer"] {
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
    never_started(&runtime);
}

#[tokio::test]
async fn what_would_be_refused_is_refused_alike() {
    let runtime = listening(r#"{"bodyLimit":8}"#).on::<_, pb::TestWebhookResponse>(
        |_: pb::TestWebhookRequest| Err(Failure::new(ErrorKind::Precondition, "paused").into()),
    );
    let app = App::new(&runtime);
    app.post("/webhooks-test/o", "[1, 2, 3, 4]")
        .await
        .problem(413);
    app.post("/webhooks-test/o", "{").await.problem(400);
    app.post("/webhooks-test/o", "1").await.problem(409);
    let unknown = FakeRuntime::default();
    let app = App::new(&unknown);
    app.post("/webhooks-test/o", "1").await.problem(501);
    never_started(&runtime);
}
