use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_gateway::{Gateway, GatewayConfig};
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_types::ErrorKind;
use tonic::Status;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, EXE};

fn quick() -> GatewayConfig {
    GatewayConfig {
        call_timeout: Duration::from_millis(50),
        call_attempts: 4,
        ..GatewayConfig::default()
    }
}

fn resolving() -> FakeRuntime {
    FakeRuntime::default().on(|_: pb::ResolveWebhookRequest| {
        Ok(pb::ResolveWebhookResponse {
            trigger_id: "trg_1".into(),
            trigger_revision: 1,
            deployment_id: DEP.into(),
            ..pb::ResolveWebhookResponse::default()
        })
    })
}

fn healthy() -> FakeRuntime {
    resolving().on(|request: pb::TriggerWorkflowRequest| {
        Ok(pb::TriggerWorkflowResponse {
            execution_id: request.execution_id,
            status: "PENDING".into(),
            ..pb::TriggerWorkflowResponse::default()
        })
    })
}

fn failing(status: impl Fn() -> Status + Send + Sync + 'static) -> FakeRuntime {
    resolving()
        .on::<_, pb::TriggerWorkflowResponse>(move |_: pb::TriggerWorkflowRequest| Err(status()))
}

fn ids(runtimes: &[&FakeRuntime]) -> Vec<String> {
    let seen = runtimes
        .iter()
        .flat_map(|runtime| runtime.seen::<pb::TriggerWorkflowRequest>());
    seen.map(|request| request.execution_id).collect()
}

#[tokio::test]
async fn the_next_runtime_gets_the_same_execution_id() {
    let refusals: [fn() -> Status; 4] = [
        || Status::unavailable("shutting down"),
        || Status::unknown("connection reset"),
        || Status::cancelled("stream closed"),
        || Failure::new(ErrorKind::Unavailable, "the database is down").into(),
    ];
    for refusal in refusals {
        let (bad, good) = (failing(refusal), healthy());
        // Whichever comes first in turn: two posts meet the failing one once at least.
        let app = App::with(quick(), &[&bad, &good]);
        for _ in 0..2 {
            assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
        }
        let (tried, taken) = (ids(&[&bad]), ids(&[&good]));
        assert_eq!(taken.len(), 2);
        assert!(!tried.is_empty());
        assert!(taken.contains(&tried[0]));
    }
}

#[tokio::test]
async fn every_runtime_is_asked_before_any_is_asked_again() {
    let bad = [
        failing(|| Status::unavailable("gone")),
        failing(|| Status::unavailable("gone")),
    ];
    let good = healthy();
    let config = GatewayConfig {
        call_attempts: 3,
        ..quick()
    };
    let app = App::with(config, &[&bad[0], &bad[1], &good]);
    for _ in 0..12 {
        assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    }
}

#[tokio::test]
async fn a_runtime_that_hangs_is_passed_over() {
    let bad = resolving().hangs_on::<pb::TriggerWorkflowRequest, pb::TriggerWorkflowResponse>();
    let good = healthy();
    let app = App::with(quick(), &[&bad, &good]);
    for _ in 0..2 {
        assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    }
    assert_eq!(ids(&[&good]).len(), 2);
    assert!(ids(&[&bad]).iter().all(|id| ids(&[&good]).contains(id)));
}

#[tokio::test]
async fn one_runtime_is_tried_again_until_it_is_back() {
    let calls = Arc::new(AtomicUsize::new(0));
    let runtime = healthy().on(move |request: pb::TriggerWorkflowRequest| {
        match calls.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(Status::unavailable("starting")),
            _ => Ok(pb::TriggerWorkflowResponse {
                execution_id: request.execution_id,
                status: "PENDING".into(),
                ..pb::TriggerWorkflowResponse::default()
            }),
        }
    });
    let answer = App::with(quick(), &[&runtime])
        .post("/webhooks/orders", "{}")
        .await;
    assert_eq!(answer.status, 202);
    let ids = ids(&[&runtime]);
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == answer.json()["executionId"]));
}

#[tokio::test]
async fn when_none_answers_it_is_503_with_retry_after() {
    let (one, two) = (
        failing(|| Status::unavailable("tcp connect error: 10.0.0.7:50051")),
        failing(|| Status::unavailable("tcp connect error: 10.0.0.8:50051")),
    );
    let answer = App::with(quick(), &[&one, &two])
        .post("/webhooks/orders", "{}")
        .await;
    answer.problem(503);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.text.contains("10.0.0"), "addresses stay inside");
    let ids = ids(&[&one, &two]);
    assert_eq!(ids.len(), 4, "a few attempts, and no more");
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn without_runtimes_every_call_is_503() {
    let app = App::with(quick(), &[]);
    app.post("/webhooks/orders", "{}").await.problem(503);
    app.get("/api/deployments").await.problem(503);
}

#[tokio::test]
async fn what_a_runtime_refuses_is_not_asked_of_another() {
    let refused = failing(|| Failure::new(ErrorKind::Internal, "sql: syntax error").into());
    let other = failing(|| Failure::new(ErrorKind::Internal, "sql: syntax error").into());
    let answer = App::with(quick(), &[&refused, &other])
        .post("/webhooks/orders", "{}")
        .await;
    answer.problem(500);
    assert!(!answer.text.contains("sql"), "internals stay inside");
    assert_eq!(ids(&[&refused, &other]).len(), 1);
}

#[tokio::test]
async fn reading_goes_on_with_the_next_runtime_too() {
    let bad =
        FakeRuntime::default().on::<_, pb::GetExecutionResponse>(|_: pb::GetExecutionRequest| {
            Err(Status::unavailable("gone"))
        });
    let good = FakeRuntime::default().on(|_: pb::GetExecutionRequest| {
        Ok(pb::GetExecutionResponse {
            execution: Some(pb::Execution::default()),
        })
    });
    let app = App::with(quick(), &[&bad, &good]);
    for _ in 0..2 {
        assert_eq!(app.get(&format!("/api/executions/{EXE}")).await.status, 200);
    }
}

#[tokio::test]
async fn calls_take_turns() {
    let (one, two) = (healthy(), healthy());
    let app = App::with(quick(), &[&one, &two]);
    for _ in 0..10 {
        assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    }
    let (first, second) = (ids(&[&one]).len(), ids(&[&two]).len());
    assert!(first.abs_diff(second) <= 1, "{first} and {second}");
}

#[tokio::test]
async fn runtimes_that_come_take_calls_and_those_that_have_left_get_none() {
    let (old, new) = (healthy(), healthy());
    let gateway = Gateway::new(quick(), vec![old.transport()], None);
    let app = App(gateway.router());
    assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    gateway.set_runtimes(vec![new.transport()]);
    assert_eq!(app.post("/webhooks/orders", "{}").await.status, 202);
    assert_eq!((ids(&[&old]).len(), ids(&[&new]).len()), (1, 1));
}
