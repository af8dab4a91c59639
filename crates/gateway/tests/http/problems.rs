use axum::body::Body;
use bytes::Bytes;
use http::Method;
use millrace_gateway::GatewayConfig;
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_types::ErrorKind;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, request};

#[tokio::test]
async fn an_unknown_route_is_a_404_problem() {
    let app = App::new(&FakeRuntime::default());
    for path in [
        "/",
        "/api",
        "/api/deployment",
        "/webhooks",
        "/api/executions/x/y/z",
    ] {
        app.get(path).await.problem(404);
    }
}

#[tokio::test]
async fn a_wrong_method_is_a_405_problem_with_allow() {
    let app = App::new(&FakeRuntime::default());
    for (method, path, allow) in [
        (Method::PUT, "/api/deployments", vec!["POST", "GET", "HEAD"]),
        (Method::POST, "/health", vec!["GET", "HEAD"]),
        (
            Method::GET,
            &format!("/api/deployments/{DEP}/trigger"),
            vec!["POST"],
        ),
    ] {
        let answer = app
            .send(request(method, path).body(Body::empty()).unwrap())
            .await;
        answer.problem(405);
        let allowed = answer.headers["allow"].to_str().unwrap();
        let mut allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
        let mut expected = allow;
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allowed, expected, "{path}");
    }
}

#[tokio::test]
async fn every_kind_of_failure_has_its_status() {
    for (kind, status) in [
        (ErrorKind::Invalid, 400),
        (ErrorKind::NotFound, 404),
        (ErrorKind::Conflict, 409),
        (ErrorKind::Precondition, 409),
        (ErrorKind::Unauthenticated, 401),
        (ErrorKind::Forbidden, 403),
        (ErrorKind::Exhausted, 429),
        (ErrorKind::Unavailable, 503),
        (ErrorKind::Timeout, 504),
        (ErrorKind::Unimplemented, 501),
        (ErrorKind::Internal, 500),
    ] {
        let runtime = FakeRuntime::default().on::<_, pb::GetDeploymentStatusResponse>(
            move |_: pb::GetDeploymentStatusRequest| Err(Failure::new(kind, "why").into()),
        );
        let config = GatewayConfig {
            call_attempts: 1,
            ..GatewayConfig::default()
        };
        let app = App::with(config, &[&runtime]);
        let problem = app
            .get(&format!("/api/deployments/{DEP}"))
            .await
            .problem(status);
        assert_eq!(problem["type"], format!("urn:millrace:problem:{kind}"));
        let trace = problem["traceId"].as_str().map(str::len);
        assert_eq!(trace, (status >= 500).then_some(32));
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let config = GatewayConfig {
        body_limit: 64,
        ..GatewayConfig::default()
    };
    let runtime = FakeRuntime::default();
    let app = App::with(config, &[&runtime]);
    let long = format!("\"{}\"", "x".repeat(63));
    for uri in [
        "/webhooks/orders",
        "/api/deployments",
        &format!("/api/deployments/{DEP}/trigger"),
    ] {
        app.post(uri, &long).await.problem(413);
        // Without an announced length, in pieces.
        let pieces = long
            .as_bytes()
            .chunks(10)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)));
        let body = Body::from_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
        app.send(request(Method::POST, uri).body(body).unwrap())
            .await
            .problem(413);
    }
    assert!(runtime.seen::<pb::TriggerWorkflowRequest>().is_empty());
    assert!(runtime.seen::<pb::DeployWorkflowRequest>().is_empty());
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let runtime = FakeRuntime::default().on(|request: pb::TriggerWorkflowRequest| {
        Ok(pb::TriggerWorkflowResponse {
            execution_id: request.execution_id,
            status: "PENDING".into(),
            ..pb::TriggerWorkflowResponse::default()
        })
    });
    let pieces = ["{\"a\"", ": ", "1}"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    let body = Body::from_stream(futures::stream::iter(pieces));
    let uri = format!("/api/deployments/{DEP}/trigger");
    let answer = App::new(&runtime)
        .send(request(Method::POST, &uri).body(body).unwrap())
        .await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        runtime.seen::<pb::TriggerWorkflowRequest>()[0].trigger_data_json,
        "{\"a\": 1}"
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let config = GatewayConfig {
        body_timeout: std::time::Duration::from_millis(20),
        ..GatewayConfig::default()
    };
    let app = App::with(config, &[&FakeRuntime::default()]);
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    app.send(
        request(Method::POST, "/webhooks/orders")
            .body(never)
            .unwrap(),
    )
    .await
    .problem(408);
}
