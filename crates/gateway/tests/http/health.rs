use std::convert::Infallible;
use std::time::Duration;

use millrace_gateway::{Gateway, GatewayConfig};
use millrace_proto::runtime::v1 as pb;
use millrace_service::Transport;
use millrace_service::transport::in_process;
use millrace_types::Timestamp;
use serde_json::{Value, json};

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

/// A runtime that takes calls and never answers any.
fn hanging() -> Transport {
    in_process(tower::service_fn(|_: http::Request<tonic::body::Body>| {
        std::future::pending::<Result<http::Response<tonic::body::Body>, Infallible>>()
    }))
}

#[tokio::test]
async fn without_a_runtime_it_lives_but_is_not_ready() {
    for runtimes in [vec![], vec![hanging()]] {
        let app = App(Gateway::new(quick(), runtimes, None).router());
        let answer = app.get("/health").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["status"], "unhealthy");
        let dependencies = &answer.json()["dependencies"];
        assert_eq!(dependencies["database"]["status"], "unknown");
        app.get("/readyz").await.problem(503);
        assert_eq!(app.get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn one_hanging_runtime_hides_no_other() {
    let well = reporting("healthy", "healthy", "healthy").transport();
    let app = App(Gateway::new(quick(), vec![hanging(), well], None).router());
    assert_eq!(app.get("/health").await.json()["status"], "healthy");
    assert_eq!(app.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_runtime_whose_checks_hang_is_ready_all_the_same() {
    let runtime = FakeRuntime::default()
        .hangs_on::<pb::GetSystemHealthRequest, pb::GetSystemHealthResponse>();
    assert_eq!(
        App::with(quick(), &[&runtime]).get("/readyz").await.status,
        200
    );
}

#[tokio::test]
async fn a_runtime_that_is_stopping_is_not_ready() {
    let (reporter, server) = tonic_health::server::health_reporter();
    let app = App(Gateway::new(quick(), vec![in_process(server)], None).router());
    assert_eq!(app.get("/readyz").await.status, 200);
    reporter
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    app.get("/readyz").await.problem(503);
}

#[tokio::test]
async fn the_orchestrator_is_asked_by_the_standard_health_check() {
    let (reporter, server) = tonic_health::server::health_reporter();
    let runtime = reporting("healthy", "healthy", "healthy");
    let gateway = Gateway::new(quick(), vec![runtime.transport()], Some(in_process(server)));
    let app = App(gateway.router());
    let health = app.get("/health").await.json();
    assert_eq!(health["dependencies"]["orchestrator"]["status"], "healthy");
    assert_eq!(health["status"], "healthy");
    reporter
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let health = app.get("/health").await.json();
    assert_eq!(
        health["dependencies"]["orchestrator"]["status"],
        "unhealthy"
    );
    assert_eq!(health["status"], "degraded");
}

#[tokio::test]
async fn an_orchestrator_in_this_process_is_healthy_without_a_health_service() {
    let runtime = reporting("healthy", "healthy", "healthy").transport();
    // Any server without the health service does.
    let orchestrator = FakeRuntime::default().transport();
    let app = App(Gateway::new(quick(), vec![runtime], Some(orchestrator)).router());
    let health = app.get("/health").await.json();
    assert_eq!(health["dependencies"]["orchestrator"]["status"], "healthy");
}
