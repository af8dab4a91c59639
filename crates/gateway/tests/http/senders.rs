//! Webhooks whose senders have to prove themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::Method;
use millrace_gateway::GatewayConfig;
use millrace_proto::runtime::v1 as pb;
use millrace_signature::{AuthSpec, SealingKey, SealingKeys};
use serde_json::{Value, json};

use crate::fake::FakeRuntime;
use crate::harness::{Answer, App, DEP, request};

fn keys() -> SealingKeys {
    SealingKeys::new(SealingKey::generate().unwrap(), None)
}

fn config(keys: &SealingKeys) -> GatewayConfig {
    GatewayConfig {
        sealing_keys: Some(keys.clone()),
        ..GatewayConfig::default()
    }
}

/// What a runtime answers of a webhook with this `auth`.
fn resolved(auth: &Value, keys: &SealingKeys, revision: u64) -> pb::ResolveWebhookResponse {
    let auth = AuthSpec::parse(auth, "").unwrap();
    let spec = json!({"type": "webhook", "path": "o", "auth": auth, "input": "request"});
    let spec_json = spec.to_string();
    let sealed = keys.seal_secrets(auth.secrets(), &spec_json).unwrap();
    pb::ResolveWebhookResponse {
        trigger_id: "trg_1".into(),
        trigger_revision: revision,
        deployment_id: DEP.into(),
        spec_json,
        sealed_secrets: sealed.text,
        ..pb::ResolveWebhookResponse::default()
    }
}

fn listening(auth: &Value, keys: &SealingKeys) -> FakeRuntime {
    let answer = resolved(auth, keys, 1);
    FakeRuntime::default()
        .on(move |_: pb::ResolveWebhookRequest| Ok(answer.clone()))
        .on(|request: pb::TriggerWorkflowRequest| {
            Ok(pb::TriggerWorkflowResponse {
                execution_id: request.execution_id,
                status: "PENDING".into(),
                ..pb::TriggerWorkflowResponse::default()
            })
        })
}

async fn post(app: &App, uri: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut posted = request(Method::POST, uri).header("content-type", "text/plain");
    for (name, value) in headers {
        posted = posted.header(*name, *value);
    }
    app.send(posted.body(Body::from(body)).unwrap()).await
}

fn started(runtime: &FakeRuntime) -> Vec<pb::TriggerWorkflowRequest> {
    runtime.seen::<pb::TriggerWorkflowRequest>()
}

/// The example of GitHub's documentation.
const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[tokio::test]
async fn a_signature_is_verified_over_the_raw_body_before_anything_starts() {
    let keys = keys();
    let runtime = listening(
        &json!({"scheme": "github", "secret": "It's a Secret to Everybody"}),
        &keys,
    );
    let app = App::with(config(&keys), &[&runtime]);
    let signed = [("x-hub-signature-256", GITHUB), ("x-github-delivery", "d1")];
    for (headers, body) in [
        (&[][..], "Hello, World!"),
        (&signed, "Hello, World?"),
        (&[("x-hub-signature-256", "sha256=00")], "Hello, World!"),
    ] {
        let answer = post(&app, "/webhooks/o", headers, body).await;
        let problem = answer.problem(401);
        assert_eq!(problem["detail"], "the request could not be authenticated");
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    assert!(started(&runtime).is_empty());
    let answer = post(&app, "/webhooks/o", &signed, "Hello, World!").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(started(&runtime)[0].dedupe_key, "d1");
}

#[tokio::test]
async fn a_credential_is_asked_for_and_never_becomes_input() {
    let keys = keys();
    let basic = "Basic YWRhOmh1bnRlcjI=";
    let cases = [
        (
            json!({"scheme": "basic", "username": "ada", "password": "hunter2"}),
            "/webhooks/o?key=1",
            ("authorization", basic),
            Some("Basic realm=\"webhook\", charset=\"UTF-8\""),
        ),
        (
            json!({"scheme": "bearer", "token": "hunter2"}),
            "/webhooks/o?key=1",
            ("authorization", "Bearer hunter2"),
            Some("Bearer realm=\"webhook\""),
        ),
        (
            json!({"scheme": "apiKey", "header": "X-Key", "key": "hunter2"}),
            "/webhooks/o?key=1",
            ("x-key", "hunter2"),
            None,
        ),
        (
            json!({"scheme": "apiKey", "query": "k y", "key": "hunter2"}),
            "/webhooks/o?key=1&k%20y=hunter2",
            ("x-other", "1"),
            None,
        ),
    ];
    for (auth, uri, header, challenge) in cases {
        let runtime = listening(&auth, &keys);
        let app = App::with(config(&keys), &[&runtime]);
        let refused = post(&app, "/webhooks/o?key=1", &[], "x").await;
        refused.problem(401);
        let asked = refused.headers.get("www-authenticate");
        assert_eq!(asked.map(|value| value.to_str().unwrap()), challenge);
        let answer = post(&app, uri, &[header], "x").await;
        assert_eq!(answer.status, 202, "{auth}: {answer:?}");
        let input = &started(&runtime)[0].trigger_data_json;
        for secret in ["hunter2", "YWRhOmh1bnRlcjI="] {
            assert!(!input.contains(secret), "{input}");
        }
        let input: Value = serde_json::from_str(input).unwrap();
        assert_eq!(input["query"], json!({"key": "1"}));
    }
}

#[tokio::test]
async fn a_gateway_without_the_key_lets_nobody_in() {
    let keys = keys();
    let runtime = listening(&json!({"scheme": "bearer", "token": "t"}), &keys);
    let header = [("authorization", "Bearer t")];
    for config in [GatewayConfig::default(), config(&self::keys())] {
        let app = App::with(config, &[&runtime]);
        post(&app, "/webhooks/o", &header, "x").await.problem(503);
    }
    assert!(started(&runtime).is_empty());
}

#[tokio::test]
async fn a_scheme_without_its_secrets_lets_nobody_in() {
    let keys = keys();
    let runtime = FakeRuntime::default().on(|_: pb::ResolveWebhookRequest| {
        Ok(pb::ResolveWebhookResponse {
            trigger_id: "trg_1".into(),
            spec_json: r#"{"auth":{"scheme":"bearer","activeSecrets":1}}"#.into(),
            ..pb::ResolveWebhookResponse::default()
        })
    });
    let app = App::with(config(&keys), &[&runtime]);
    post(&app, "/webhooks/o", &[("authorization", "Bearer ")], "x")
        .await
        .problem(503);
}

#[tokio::test]
async fn an_exchanged_secret_counts_at_once_though_the_old_one_is_kept() {
    let keys = keys();
    let revision = Arc::new(AtomicU64::new(1));
    let current = Arc::clone(&revision);
    let sealing = keys.clone();
    let runtime = listening(&json!({"scheme": "bearer", "token": "unused"}), &keys).on(
        move |_: pb::ResolveWebhookRequest| {
            let revision = current.load(Ordering::SeqCst);
            let auth = json!({"scheme": "bearer", "token": format!("t{revision}")});
            Ok(resolved(&auth, &sealing, revision))
        },
    );
    let app = App::with(config(&keys), &[&runtime]);
    let first = [("authorization", "Bearer t1")];
    let second = [("authorization", "Bearer t2")];
    assert_eq!(post(&app, "/webhooks/o", &first, "x").await.status, 202);
    revision.store(2, Ordering::SeqCst);
    assert_eq!(post(&app, "/webhooks/o", &second, "x").await.status, 202);
    post(&app, "/webhooks/o", &first, "x").await.problem(401);
    assert_eq!(started(&runtime).len(), 2);
    assert_eq!(started(&runtime)[1].trigger_revision, 2);
}
