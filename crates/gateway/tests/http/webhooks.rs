use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::Method;
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_types::{ErrorKind, ExecutionId};
use serde_json::{Value, json};
use tonic::Status;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, request};

pub fn resolved(spec: &str) -> pb::ResolveWebhookResponse {
    pb::ResolveWebhookResponse {
        trigger_id: "trg_1".into(),
        trigger_revision: 7,
        deployment_id: DEP.into(),
        workflow_id: "wfl_1".into(),
        deployment_status: "DEPLOYED".into(),
        enabled: true,
        spec_json: spec.into(),
        params_json: r#"{"region":"eu"}"#.into(),
        allowed_methods: vec!["POST".into()],
        sealed_secrets: String::new(),
    }
}

pub fn accepted(request: pb::TriggerWorkflowRequest) -> pb::TriggerWorkflowResponse {
    pb::TriggerWorkflowResponse {
        execution_id: request.execution_id,
        status: "PENDING".into(),
        ..pb::TriggerWorkflowResponse::default()
    }
}

/// A runtime with one webhook of this specification, at any path.
pub fn listening(spec: &'static str) -> FakeRuntime {
    FakeRuntime::default()
        .on(move |_: pb::ResolveWebhookRequest| Ok(resolved(spec)))
        .on(|request: pb::TriggerWorkflowRequest| Ok(accepted(request)))
}

pub fn input(runtime: &FakeRuntime) -> String {
    runtime
        .seen::<pb::TriggerWorkflowRequest>()
        .pop()
        .unwrap()
        .trigger_data_json
}

#[tokio::test]
async fn a_post_starts_an_execution() {
    let runtime = listening(r#"{"type":"webhook","path":"orders/{region}"}"#);
    let app = App::new(&runtime);
    let body = "{\"z\": 1.50,\n \"a\": 12345678901234567890123}";
    let answer = app.post("/webhooks/orders/e%75?x=1", body).await;
    assert_eq!(answer.status, 202);
    let asked = runtime.seen::<pb::ResolveWebhookRequest>();
    assert_eq!(
        (asked[0].path.as_str(), asked[0].method.as_str()),
        ("orders/eu", "POST")
    );
    let seen = runtime.seen::<pb::TriggerWorkflowRequest>();
    assert!(seen[0].execution_id.parse::<ExecutionId>().is_ok());
    assert_eq!(
        seen[0],
        pb::TriggerWorkflowRequest {
            execution_id: seen[0].execution_id.clone(),
            deployment_id: DEP.into(),
            trigger_id: "trg_1".into(),
            trigger_revision: 7,
            trigger_data_json: body.into(),
            dedupe_key: String::new(),
            wait_ms: 0,
            request_json: String::new(),
        }
    );
    let expected = json!({"executionId": seen[0].execution_id, "status": "PENDING"});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn bodies_become_inputs_by_their_type() {
    let runtime = listening("{}");
    let app = App::new(&runtime);
    for (kind, body, expected) in [
        ("application/json", "", "null"),
        ("application/x-www-form-urlencoded", "", "null"),
        ("application/vnd.api+json", " [1] ", " [1] "),
        ("text/plain", "a \"b\"\n", r#""a \"b\"\n""#),
    ] {
        assert_eq!(
            app.post_as(kind, "/webhooks/orders", body).await.status,
            202,
            "{kind}"
        );
        assert_eq!(input(&runtime), expected);
    }
    let bare = request(Method::POST, "/webhooks/orders")
        .body(Body::from("[2]"))
        .unwrap();
    assert_eq!(app.send(bare).await.status, 202);
    assert_eq!(input(&runtime), "[2]");
}

#[tokio::test]
async fn forms_and_bytes_become_objects() {
    let runtime = listening("{}");
    let app = App::new(&runtime);
    for (kind, body, expected) in [
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            "z=1&a=x%20y&z=2&empty&u=%C3%A9",
            r#"{"z":["1","2"],"a":"x y","empty":"","u":"é"}"#,
        ),
        (
            "application/octet-stream",
            "\u{1}\u{2}",
            r#"{"contentType":"application/octet-stream","base64":"AQI="}"#,
        ),
        (
            "text/plain; charset=latin1",
            "x",
            r#"{"contentType":"text/plain; charset=latin1","base64":"eA=="}"#,
        ),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
             --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
             Content-Type: image/png\r\n\r\n\u{1}\u{2}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n\r\n--b--\r\n",
            r#"{"note":["hello",""],"file":{"filename":"a.bin","contentType":"image/png","base64":"AQI="}}"#,
        ),
    ] {
        let answer = app.post_as(kind, "/webhooks/orders", body).await;
        assert_eq!(answer.status, 202, "{kind}: {answer:?}");
        assert_eq!(input(&runtime), expected);
    }
    let enough = "a&".repeat(100_000);
    let kind = "application/x-www-form-urlencoded";
    let answer = app.post_as(kind, "/webhooks/orders", &enough).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn a_broken_multipart_body_is_refused_and_starts_nothing() {
    let runtime = listening("{}");
    let app = App::new(&runtime);
    let nameless = "--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n";
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
    let many = format!("{}--b--\r\n", part.repeat(1001));
    for (kind, body) in [
        ("multipart/form-data", part),
        ("multipart/form-data; boundary=b", part),
        ("multipart/form-data; boundary=b", "no parts"),
        ("multipart/form-data; boundary=b", nameless),
        ("multipart/form-data; boundary=b", &many),
    ] {
        app.post_as(kind, "/webhooks/orders", body)
            .await
            .problem(400);
    }
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
}

#[tokio::test]
async fn a_request_carries_a_form_as_its_body() {
    let runtime = listening(r#"{"input":"request"}"#);
    let kind = "application/x-www-form-urlencoded";
    App::new(&runtime)
        .post_as(kind, "/webhooks/orders", "a=1&a=2")
        .await;
    let text = input(&runtime);
    assert!(text.ends_with(r#""body":{"a":["1","2"]}}"#), "{text}");
}

#[tokio::test]
async fn wrong_json_is_refused_with_line_and_column() {
    let runtime = listening("{}");
    let app = App::new(&runtime);
    for (body, line, column) in [
        ("{\"a\": 1,\n \"b\": }", 2, 7),
        ("{\"é\": x}", 1, 7),
        ("[1] 2", 1, 5),
        ("[\"\\ud800\"]", 1, 3),
    ] {
        let answer = app.post("/webhooks/orders", body).await;
        assert_eq!(answer.finding(400), (String::new(), line, column), "{body}");
    }
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
}

#[tokio::test]
async fn a_request_becomes_the_input_without_its_credentials() {
    let runtime = listening(r#"{"input":"request"}"#);
    let request = request(Method::PUT, "/webhooks/orders/eu?a=1&b=x%20y&a=2")
        .header("content-type", "application/json")
        .header("authorization", "Bearer hunter2")
        .header("cookie", "session=hunter2")
        .header("X-Shop", "one")
        .header("X-Shop", "two")
        .body(Body::from("{\"z\":1.50,\"a\":[]}"))
        .unwrap();
    assert_eq!(App::new(&runtime).send(request).await.status, 202);
    let text = input(&runtime);
    assert!(text.ends_with(r#""body":{"z":1.50,"a":[]}}"#), "{text}");
    let input: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(input["method"], "PUT");
    assert_eq!(input["path"], "orders/eu");
    assert_eq!(input["params"], json!({"region": "eu"}));
    assert_eq!(input["query"], json!({"a": ["1", "2"], "b": "x y"}));
    assert_eq!(
        input["headers"],
        json!({"content-type": "application/json", "x-shop": "one, two"})
    );
}

#[tokio::test]
async fn a_webhook_may_respond_with_the_result() {
    let runtime = listening(r#"{"respond":"result"}"#).on(|request: pb::TriggerWorkflowRequest| {
        assert!(
            (29_000..=30_000).contains(&request.wait_ms),
            "{}",
            request.wait_ms
        );
        let execution = (request.trigger_data_json == "1").then(|| pb::Execution {
            execution_id: request.execution_id.clone(),
            status: "FAILED".into(),
            ..pb::Execution::default()
        });
        Ok(pb::TriggerWorkflowResponse {
            execution,
            ..accepted(request)
        })
    });
    let app = App::new(&runtime);
    let ended = app.post("/webhooks/orders", "1").await;
    assert_eq!(
        (ended.status.as_u16(), &ended.json()["status"]),
        (200, &json!("FAILED"))
    );
    let going_on = app.post("/webhooks/orders", "2").await;
    assert_eq!(
        (going_on.status.as_u16(), &going_on.json()["status"]),
        (202, &json!("PENDING"))
    );
}

#[tokio::test]
async fn a_path_is_resolved_once_and_unknown_ones_every_time() {
    let runtime = FakeRuntime::default()
        .on(
            |request: pb::ResolveWebhookRequest| match request.path.as_str() {
                "orders" => Ok(resolved("{}")),
                "silent" => Ok(pb::ResolveWebhookResponse::default()),
                _ => Err(Status::not_found("no such webhook")),
            },
        )
        .on(|request: pb::TriggerWorkflowRequest| Ok(accepted(request)));
    let app = App::new(&runtime);
    for _ in 0..3 {
        assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    }
    assert_eq!(runtime.seen::<pb::ResolveWebhookRequest>().len(), 1);
    for path in ["nothing", "nothing", "silent", "%E4"] {
        let status = if path == "%E4" { 400 } else { 404 };
        app.post(&format!("/webhooks/{path}"), "{}")
            .await
            .problem(status);
    }
    assert_eq!(runtime.seen::<pb::ResolveWebhookRequest>().len(), 4);
    app.post("/webhooks/", "{}").await.problem(404);
}

#[tokio::test]
async fn the_wrong_method_is_405_with_those_allowed() {
    let runtime = FakeRuntime::default().on(|_: pb::ResolveWebhookRequest| {
        Ok(pb::ResolveWebhookResponse {
            allowed_methods: vec!["POST".into(), "PUT".into()],
            ..pb::ResolveWebhookResponse::default()
        })
    });
    let answer = App::new(&runtime).get("/webhooks/orders").await;
    answer.problem(405);
    assert_eq!(answer.headers["allow"], "POST, PUT");
}

#[tokio::test]
async fn a_stale_trigger_is_resolved_again_once() {
    let revision = Arc::new(AtomicU64::new(1));
    let current = Arc::clone(&revision);
    let live = Arc::clone(&revision);
    let runtime = FakeRuntime::default()
        .on(move |_: pb::ResolveWebhookRequest| {
            let trigger_revision = current.load(Ordering::SeqCst);
            Ok(pb::ResolveWebhookResponse {
                trigger_revision,
                ..resolved("{}")
            })
        })
        .on(move |request: pb::TriggerWorkflowRequest| {
            if request.trigger_revision == live.load(Ordering::SeqCst) {
                return Ok(accepted(request));
            }
            Err(
                Failure::new(ErrorKind::Precondition, "the trigger has changed")
                    .with_reason("stale-trigger")
                    .into(),
            )
        });
    let app = App::new(&runtime);
    assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    revision.store(2, Ordering::SeqCst);
    assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    let seen = runtime.seen::<pb::TriggerWorkflowRequest>();
    assert_eq!(
        seen.iter().map(|r| r.trigger_revision).collect::<Vec<_>>(),
        [1, 1, 2]
    );
    assert_eq!(seen[1].execution_id, seen[2].execution_id);
    assert_eq!(runtime.seen::<pb::ResolveWebhookRequest>().len(), 2);
}

#[tokio::test]
async fn a_path_that_moved_to_another_deployment_is_followed() {
    let moved = Arc::new(AtomicU64::new(0));
    let holder = Arc::clone(&moved);
    let runtime = FakeRuntime::default()
        .on(move |_: pb::ResolveWebhookRequest| {
            let trigger_id = format!("trg_{}", holder.load(Ordering::SeqCst));
            Ok(pb::ResolveWebhookResponse {
                trigger_id,
                ..resolved("{}")
            })
        })
        .on({
            let moved = Arc::clone(&moved);
            move |request: pb::TriggerWorkflowRequest| {
                if request.trigger_id == format!("trg_{}", moved.load(Ordering::SeqCst)) {
                    return Ok(accepted(request));
                }
                Err(Status::not_found("no such trigger"))
            }
        });
    let app = App::new(&runtime);
    for holder in [0, 1] {
        moved.store(holder, Ordering::SeqCst);
        assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    }
}

#[tokio::test]
async fn a_trigger_that_stays_stale_is_an_error_and_no_loop() {
    let runtime =
        listening("{}").on::<_, pb::TriggerWorkflowResponse>(|_: pb::TriggerWorkflowRequest| {
            Err(
                Failure::new(ErrorKind::Precondition, "the trigger has changed")
                    .with_reason("stale-trigger")
                    .into(),
            )
        });
    App::new(&runtime)
        .post("/webhooks/orders", "{}")
        .await
        .problem(409);
    assert_eq!(runtime.seen::<pb::TriggerWorkflowRequest>().len(), 2);
}

#[tokio::test]
async fn a_paused_deployment_is_409_and_not_tried_again() {
    let runtime =
        listening("{}").on::<_, pb::TriggerWorkflowResponse>(|_: pb::TriggerWorkflowRequest| {
            Err(Failure::new(ErrorKind::Precondition, "the deployment is paused").into())
        });
    App::new(&runtime)
        .post("/webhooks/orders", "{}")
        .await
        .problem(409);
    assert_eq!(runtime.seen::<pb::TriggerWorkflowRequest>().len(), 1);
}

#[tokio::test]
async fn a_deploy_makes_paths_be_resolved_again() {
    let runtime = listening("{}").on(|_: pb::DeployWorkflowRequest| {
        let deployment = Some(pb::Deployment::default());
        Ok(pb::DeployWorkflowResponse {
            deployment,
            changed: true,
            warnings: Vec::new(),
        })
    });
    let app = App::new(&runtime);
    assert_eq!(app.post("/webhooks/orders/eu", "{}").await.status, 202);
    assert_eq!(
        app.post("/api/deployments", r#"{"workflow":{}}"#)
            .await
            .status,
        201
    );
    assert_eq!(app.post("/webhooks/orders/eu", "{}").await.status, 202);
    assert_eq!(runtime.seen::<pb::ResolveWebhookRequest>().len(), 2);
}

#[tokio::test]
async fn a_scheme_that_cannot_be_checked_lets_nobody_in() {
    for spec in [
        r#"{"auth":{"scheme":"handshake"}}"#,
        r#"{"input":"headers"}"#,
        r#"{"limitOfTomorrow":1}"#,
        r#"{"allow":["everyone"]}"#,
    ] {
        let runtime = listening(spec);
        App::new(&runtime)
            .post("/webhooks/orders", "{}")
            .await
            .problem(501);
        assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
    }
    let open = listening(r#"{"auth":{"scheme":"none"},"methods":["POST"]}"#);
    assert_eq!(
        App::new(&open).post("/webhooks/orders", "{}").await.status,
        202
    );
}

#[tokio::test]
async fn an_idempotency_key_becomes_the_dedupe_key() {
    let runtime = listening("{}").on(|request: pb::TriggerWorkflowRequest| {
        Ok(pb::TriggerWorkflowResponse {
            execution_id: "exe_first".into(),
            duplicate: true,
            ..accepted(request)
        })
    });
    let request = request(Method::POST, "/webhooks/orders")
        .header("Idempotency-Key", "order 17")
        .body(Body::empty())
        .unwrap();
    let answer = App::new(&runtime).send(request).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["executionId"], "exe_first");
    assert_eq!(
        runtime.seen::<pb::TriggerWorkflowRequest>()[0].dedupe_key,
        "order 17"
    );
}
