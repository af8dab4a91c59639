//! The engine as a process of its own, over gRPC.

mod support;

use millrace_testkit::eventually;
use serde_json::json;
use support::{Millrace, PATIENCE, Service, command};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn an_execution_outlives_its_engine_and_keeps_its_trace() {
    // A service that answers no call until it is told to.
    let (calls, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let app = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
        let calls = calls.clone();
        async move {
            let (answer, told) = tokio::sync::oneshot::channel::<()>();
            calls.send((headers, answer)).unwrap();
            let _ = told.await;
            axum::Json(json!({"done": true}))
        }
    });
    let service = Service::start(app).await;

    let data = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/m.db", data.path().display());
    let settings = [
        ("DATABASE_URL", database.as_str()),
        ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback"),
    ];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );

    // It is started twice at the same address.
    let address = format!("127.0.0.1:{}", millrace_testkit::free_port());
    let serve = ["engine", "--ready-json", "--listen", &address];
    let engine = Millrace::start(&serve, &settings).await;
    let engines = format!("http://{address}");
    let with_engine = [
        settings[0],
        settings[1],
        ("MILLRACE_RUNTIME__ENGINE", engines.as_str()),
    ];
    let runtime = Millrace::start(
        &["runtime", "--ready-json", "--listen", "127.0.0.1:0"],
        &with_engine,
    )
    .await;
    let runtimes = format!("http://{}", runtime.address("runtime"));
    let settings_of_gateway = [("MILLRACE_GATEWAY__RUNTIME", runtimes.as_str())];
    let gateway = Millrace::start(
        &["gateway", "--ready-json", "--listen", "127.0.0.1:0"],
        &settings_of_gateway,
    )
    .await;

    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: outlives, version: 1.0.0}}\n\
         do:\n- call:\n    call: http\n    with: {{method: post, endpoint: \"{}/x\", body: {{}}}}\n",
        service.url
    );
    gateway.deploy(&document, "outlives").await;
    let request = support::post_json(
        &support::client(),
        &gateway.url("/webhooks/outlives"),
        &json!({}),
    )
    .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    let (status, accepted) = support::answer(request).await;
    assert_eq!(status, 202, "{accepted:#}");
    let id = accepted["executionId"].as_str().unwrap();
    let (first, _unanswered) = seen.recv().await.unwrap();
    engine.kill().await;

    eventually(PATIENCE, || async {
        let (_, health) = gateway.get("/health").await;
        match health["dependencies"]["workflow_engine"]["status"].as_str() {
            Some("unhealthy") if health["status"] == "degraded" => Ok(()),
            _ => Err(health),
        }
    })
    .await;
    let _engine = Millrace::start(&serve, &settings).await;
    let (second, answer) = seen.recv().await.unwrap();
    answer.send(()).unwrap();
    let execution = gateway.until(id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["output"], json!({"done": true}), "{execution:#}");

    assert_eq!(first["idempotency-key"], second["idempotency-key"]);
    for call in [&first, &second] {
        let traceparent = call["traceparent"].to_str().unwrap();
        assert!(traceparent.contains(TRACE), "{traceparent}");
    }
}
