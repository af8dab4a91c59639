use axum::body::Body;
use http::Method;
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_types::{ErrorKind, ExecutionId};
use serde_json::{Value, json};

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, request};

/// A runtime that starts everything, and ends it with `status` when waited for.
fn starting(status: &'static str) -> FakeRuntime {
    FakeRuntime::default().on(move |request: pb::TriggerWorkflowRequest| {
        let execution = (request.wait_ms > 0).then(|| pb::Execution {
            execution_id: request.execution_id.clone(),
            status: status.into(),
            output_json: r#"{"b":1.0,"a":2}"#.into(),
            ..pb::Execution::default()
        });
        Ok(pb::TriggerWorkflowResponse {
            execution_id: request.execution_id,
            status: "PENDING".into(),
            execution,
            ..pb::TriggerWorkflowResponse::default()
        })
    })
}

fn uri() -> String {
    format!("/api/deployments/{DEP}/trigger")
}

#[tokio::test]
async fn the_body_is_the_input_as_it_was_sent() {
    for (body, input) in [
        (
            " {\"b\": 1.50, \"a\": 12345678901234567890123} ",
            " {\"b\": 1.50, \"a\": 12345678901234567890123} ",
        ),
        ("\"\\u0000\"", "\"\\u0000\""),
        ("", "null"),
    ] {
        let runtime = starting("SUCCEEDED");
        let answer = App::new(&runtime).post(&uri(), body).await;
        assert_eq!(answer.status, 202);
        let seen = runtime.seen::<pb::TriggerWorkflowRequest>();
        assert_eq!(seen[0].trigger_data_json, input);
        assert_eq!(
            (seen[0].deployment_id.as_str(), seen[0].trigger_id.as_str()),
            (DEP, "")
        );
        assert_eq!(seen[0].wait_ms, 0);
        let id = &seen[0].execution_id;
        assert!(id.parse::<ExecutionId>().is_ok());
        assert_eq!(
            answer.json(),
            json!({"executionId": id, "status": "PENDING"})
        );
    }
}

#[tokio::test]
async fn waiting_answers_with_the_ended_execution_failed_or_not() {
    for status in ["SUCCEEDED", "FAILED"] {
        for wait in ["10s", "PT10S"] {
            let runtime = starting(status);
            let answer = App::new(&runtime)
                .post(&format!("{}?wait={wait}", uri()), "{}")
                .await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.json()["status"], status);
            assert!(
                answer.text.contains(r#""output":{"b":1.0,"a":2}"#),
                "{}",
                answer.text
            );
            let wait_ms = runtime.seen::<pb::TriggerWorkflowRequest>()[0].wait_ms;
            assert!((9_000..=10_000).contains(&wait_ms), "{wait_ms}");
        }
    }
}

#[tokio::test]
async fn a_wait_that_runs_out_is_202() {
    let runtime = FakeRuntime::default().on(|request: pb::TriggerWorkflowRequest| {
        Ok(pb::TriggerWorkflowResponse {
            execution_id: request.execution_id,
            status: "WAITING".into(),
            ..pb::TriggerWorkflowResponse::default()
        })
    });
    let answer = App::new(&runtime)
        .post(&format!("{}?wait=1s", uri()), "{}")
        .await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["status"], "WAITING");
}

#[tokio::test]
async fn bad_waits_bodies_and_keys_start_nothing() {
    let runtime = starting("SUCCEEDED");
    let app = App::new(&runtime);
    for bad in ["wait=soon", "wait=301s", "wait=-1s", "wait"] {
        let problem = app
            .post(&format!("{}?{bad}", uri()), "{}")
            .await
            .problem(400);
        assert_eq!(problem["errors"][0]["parameter"], "wait", "{bad}");
    }
    assert_eq!(
        app.post(&uri(), "{\"a\":\n  nope}").await.finding(400),
        (String::new(), 2, 4)
    );
    app.post_as("application/x-www-form-urlencoded", &uri(), "a=1")
        .await
        .problem(415);
    let key = |text: &str| {
        let request = request(Method::POST, &uri()).header("idempotency-key", text.as_bytes());
        app.send(request.body(Body::empty()).unwrap())
    };
    for bad in ["", "é", &"x".repeat(256)] {
        let problem = key(bad).await.problem(400);
        assert_eq!(problem["errors"][0]["parameter"], "Idempotency-Key");
    }
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
    assert_eq!(key(&"x".repeat(255)).await.status, 202);
    assert_eq!(
        runtime.seen::<pb::TriggerWorkflowRequest>()[0]
            .dedupe_key
            .len(),
        255
    );
}

#[tokio::test]
async fn a_paused_deployment_is_409() {
    let runtime = FakeRuntime::default().on::<_, pb::TriggerWorkflowResponse>(
        |_: pb::TriggerWorkflowRequest| {
            Err(
                Failure::new(ErrorKind::Precondition, "the deployment is paused")
                    .with_reason("paused")
                    .into(),
            )
        },
    );
    let problem = App::new(&runtime).post(&uri(), "{}").await.problem(409);
    assert_eq!(problem["reason"], Value::from("paused"));
}
