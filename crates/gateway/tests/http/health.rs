use std::time::Duration;

use http_body_util::BodyExt as _;
use millrace_gateway::{Gateway, GatewayConfig};
use millrace_proto::runtime::v1 as pb;
use millrace_service::transport::in_process;
use millrace_types::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fake::FakeRuntime;
use crate::harness::App;

fn dependency(name: &str, status: &str, message: &str) -> pb::DependencyHealth {
    pb::DependencyHealth {
        name: name.into(),
        status: status.into(),
        latency_ms: 1.5,
        message: message.into(),
    }
}

/// A runtime whose dependencies are in these states.
fn reporting(status: &'static str, database: &'static str, redis: &'static str) -> FakeRuntime {
    FakeRuntime::default().on(move |_: pb::GetSystemHealthRequest| {
        Ok(pb::GetSystemHealthResponse {
            status: status.into(),
            dependencies: vec![
                dependency("database", database, ""),
                dependency(
                    "redis",
                    redis,
                    if redis == "unhealthy" { "refused" } else { "" },
                ),
                dependency("workflow_engine", "healthy", ""),
            ],
            ..pb::GetSystemHealthResponse::default()
        })
    })
}

fn quick() -> GatewayConfig {
    GatewayConfig {
        health_timeout: Duration::from_millis(100),
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn health_lists_exactly_its_dependencies() {
    let answer = App::new(&reporting("healthy", "healthy", "disabled"))
        .get("/health")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let health = answer.json();
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&health),
        ["status", "timestamp", "version", "dependencies"]
    );
    assert_eq!(
        names(&health["dependencies"]),
        ["database", "redis", "workflow_engine", "orchestrator"]
    );
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        health["dependencies"]["database"],
        json!({"status": "healthy", "latencyMs": 1.5})
    );
    assert_eq!(health["dependencies"]["redis"]["status"], "disabled");
    assert_eq!(health["dependencies"]["orchestrator"]["status"], "disabled");
    assert!(
        health["timestamp"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .is_ok()
    );
}

#[tokio::test]
async fn without_redis_it_is_degraded_and_still_ready() {
    let app = App::new(&reporting("degraded", "healthy", "unhealthy"));
    let answer = app.get("/health").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (200, &json!("degraded"))
    );
    assert_eq!(answer.json()["dependencies"]["redis"]["message"], "refused");
    assert_eq!(app.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn without_the_database_it_is_unhealthy() {
    let answer = App::new(&reporting("unhealthy", "unhealthy", "healthy"))
        .get("/health")
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (503, &json!("unhealthy"))
    );
}

#[tokio::test]
async fn without_a_runtime_it_lives_but_is_not_ready() {
    let hanging = FakeRuntime::default()
        .hangs_on::<pb::GetSystemHealthRequest, pb::GetSystemHealthResponse>();
    for runtimes in [vec![], vec![&hanging]] {
        let app = App::with(quick(), &runtimes);
        let answer = app.get("/health").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["status"]),
            (503, &json!("unhealthy"))
        );
        assert_eq!(
            answer.json()["dependencies"]["database"]["status"],
            "unknown"
        );
        app.get("/readyz").await.problem(503);
        assert_eq!(app.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn one_hanging_runtime_hides_no_other() {
    let hanging = FakeRuntime::default()
        .hangs_on::<pb::GetSystemHealthRequest, pb::GetSystemHealthResponse>();
    let app = App::with(
        quick(),
        &[&hanging, &reporting("healthy", "healthy", "healthy")],
    );
    assert_eq!(app.get("/health").await.json()["status"], "healthy");
    assert_eq!(app.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn the_orchestrator_is_asked_by_the_standard_health_check() {
    let (reporter, server) = tonic_health::server::health_reporter();
    let runtime = reporting("healthy", "healthy", "healthy");
    let gateway = Gateway::new(quick(), vec![runtime.transport()], Some(in_process(server)));
    let ask = || async {
        let request = http::Request::get("/health")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = gateway.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let health = ask().await;
    assert_eq!(health["dependencies"]["orchestrator"]["status"], "healthy");
    assert_eq!(health["status"], "healthy");
    reporter
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let health = ask().await;
    assert_eq!(
        health["dependencies"]["orchestrator"]["status"],
        "unhealthy"
    );
    assert_eq!(health["status"], "degraded");
}
