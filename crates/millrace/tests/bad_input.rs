//! What is wrong is refused with its place, and changes nothing.

mod support;

use serde_json::{Value, json};
use support::Millrace;

fn document(tasks: &str) -> String {
    format!("document: {{dsl: 1.0.3, namespace: test, name: bad, version: 1.0.0}}\ndo:\n{tasks}")
}

/// Posts what is wrong; status, and the first finding.
async fn refused(millrace: &Millrace, workflow: &str) -> (u16, Value) {
    let body = json!({"workflow": workflow});
    let (status, problem) = millrace.post("/api/deployments", &body).await;
    for member in ["type", "title", "status", "detail"] {
        assert!(!problem[member].is_null(), "no {member}: {problem:#}");
    }
    (status, problem["errors"][0].clone())
}

#[tokio::test]
async fn faulty_documents_are_refused_with_pointer_and_line() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let cases = [
        ("broken YAML", document("- a: [1, 2\n"), None, 0),
        (
            "unknown key",
            document("- a:\n    set: {x: 1}\n    thne: end\n"),
            Some("/workflow/do/0/a/thne"),
            5,
        ),
        (
            "unsupported",
            document("- a:\n    run: {shell: {command: ls}}\n"),
            Some("/workflow/do/0/a/run"),
            4,
        ),
        (
            "expression",
            document("- a:\n    set: {x: '${ .a + }'}\n"),
            Some("/workflow/do/0/a/set/x"),
            4,
        ),
        (
            "no task",
            document("- a: {}\n"),
            Some("/workflow/do/0/a"),
            3,
        ),
        (
            "then",
            document("- a:\n    set: {x: 1}\n    then: nowhere\n"),
            Some("/workflow/do/0/a/then"),
            5,
        ),
    ];
    for (name, workflow, pointer, line) in cases {
        let (status, finding) = refused(&millrace, &workflow).await;
        assert_eq!(status, 400, "{name}: {finding:#}");
        if let Some(pointer) = pointer {
            assert_eq!(finding["pointer"], pointer, "{name}: {finding:#}");
            assert_eq!(finding["line"], line, "{name}: {finding:#}");
        } else {
            assert!(
                finding["line"].as_u64().unwrap() >= 3,
                "{name}: {finding:#}"
            );
        }
    }
    let (_, page) = millrace.get("/api/deployments").await;
    assert_eq!(page["items"], json!([]), "something was deployed");
}

#[tokio::test]
async fn a_taken_path_is_a_conflict_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let good = document("- a:\n    set: {x: 1}\n");
    millrace.deploy(&good, "taken").await;
    let other = good.replace("name: bad", "name: other");
    let body = json!({"workflow": other, "triggers": [{"type": "webhook", "path": "taken"}]});
    let (status, problem) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 409, "{problem:#}");
    assert_eq!(problem["errors"][0]["pointer"], "/triggers/0/path");
    let (_, page) = millrace.get("/api/deployments").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page:#}");
}

#[tokio::test]
async fn a_paused_deployment_takes_no_triggers_until_it_is_resumed() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let deployment = millrace
        .deploy(&document("- a:\n    set: {x: 1}\n"), "hook")
        .await;
    let id = deployment["id"].as_str().unwrap();
    millrace.fire("hook", &json!({})).await;
    let (status, paused) = millrace
        .post(&format!("/api/deployments/{id}/pause"), &json!({}))
        .await;
    assert_eq!(
        (status, paused["status"].as_str()),
        (200, Some("PAUSED")),
        "{paused:#}"
    );
    for path in [
        "/webhooks/hook".to_owned(),
        format!("/api/deployments/{id}/trigger"),
    ] {
        let (status, problem) = millrace.post(&path, &json!({})).await;
        assert_eq!(status, 409, "{path}: {problem:#}");
    }
    millrace
        .post(&format!("/api/deployments/{id}/resume"), &json!({}))
        .await;
    millrace.fire("hook", &json!({})).await;
    let (_, page) = millrace.get("/api/executions").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page:#}");
}

#[tokio::test]
async fn wrong_requests_get_their_status() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace
        .deploy(&document("- a:\n    set: {x: 1}\n"), "hook")
        .await;

    let (status, problem) = millrace
        .post_text("/webhooks/hook", "application/json", "{\"a\": 1,}".into())
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        (
            problem["errors"][0]["line"].as_u64(),
            problem["errors"][0]["column"].as_u64()
        ),
        (Some(1), Some(9)),
        "{problem:#}"
    );

    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let (status, problem) = millrace
        .post_text("/webhooks/hook", "application/json", large)
        .await;
    assert_eq!(status, 413, "{problem:#}");

    let unknown = "exe_00000000000000000000000000";
    for path in [
        format!("/api/executions/{unknown}"),
        format!("/api/executions/{unknown}/history"),
        "/api/executions/nonsense".into(),
        "/api/deployments/dep_x".into(),
        "/nowhere".into(),
    ] {
        let (status, problem) = millrace.get(&path).await;
        assert_eq!(
            (status, problem["status"].as_u64()),
            (404, Some(404)),
            "{path}: {problem:#}"
        );
    }
    let (status, _) = millrace.get("/webhooks/hook").await;
    assert_eq!(status, 405);
    let (status, _) = millrace.post("/webhooks/nothing", &json!({})).await;
    assert_eq!(status, 404);
    let (status, _) = millrace.get("/api/executions?limit=0x").await;
    assert_eq!(status, 400);
    let (status, problem) = millrace.get("/api/executions?status=DONE").await;
    assert_eq!(status, 400, "{problem:#}");

    let (_, page) = millrace.get("/api/executions").await;
    assert_eq!(page["items"], json!([]), "something was started");
}
