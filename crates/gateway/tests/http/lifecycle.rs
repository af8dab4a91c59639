//! Versions, rollback, update and deletion of deployments.

use axum::body::Body;
use http::Method;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_types::ErrorKind;
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{Answer, App, DEP, request};

fn deployment(version: u32) -> pb::Deployment {
    pb::Deployment {
        deployment_id: DEP.into(),
        version,
        status: "DEPLOYED".into(),
        ..pb::Deployment::default()
    }
}

async fn send(app: &App, method: Method, path: &str, kind: &str, body: &str) -> Answer {
    let request = request(method, &format!("/api/deployments/{DEP}{path}"))
        .header("content-type", kind)
        .body(Body::from(body.to_owned()))
        .unwrap();
    app.send(request).await
}

#[tokio::test]
async fn versions_are_shown_as_a_page() {
    let runtime = FakeRuntime::default().on(|request: pb::ListVersionsRequest| {
        assert_eq!((request.cursor.as_str(), request.limit), ("9", 2));
        Ok(pb::ListVersionsResponse {
            versions: vec![pb::WorkflowVersion {
                version: 8,
                workflow_version: "1.2.0".into(),
                digest: "ab".into(),
                created_at: "2026-11-21T10:00:00.000000Z".into(),
                live: true,
            }],
            next_cursor: "8".into(),
        })
    });
    let answer = App::new(&runtime)
        .get(&format!("/api/deployments/{DEP}/versions?cursor=9&limit=2"))
        .await;
    assert_eq!(
        answer.json(),
        json!({
            "items": [{
                "version": 8, "workflowVersion": "1.2.0", "digest": "ab",
                "createdAt": "2026-11-21T10:00:00.000000Z", "live": true
            }],
            "next": "8"
        })
    );
}

#[tokio::test]
async fn rollback_names_its_version() {
    let runtime = FakeRuntime::default().on(|request: pb::RollbackDeploymentRequest| {
        Ok(pb::RollbackDeploymentResponse {
            deployment: Some(deployment(request.version)),
        })
    });
    let app = App::new(&runtime);
    let json = "application/json";
    let answer = send(&app, Method::POST, "/rollback", json, r#"{"version": 3}"#).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["version"]),
        (200, &json!(3))
    );
    for (body, finding) in [
        ("", ("/version", 1, 1)),
        ("{}", ("/version", 1, 1)),
        (r#"{"version": "3"}"#, ("/version", 1, 13)),
        (r#"{"version": -1}"#, ("/version", 1, 13)),
        (r#"{"version": 1, "version": 2}"#, ("/version", 1, 16)),
        ("{\"version\": 1,\n \"to\": 2}", ("/to", 2, 2)),
        ("[1]", ("", 1, 1)),
    ] {
        let answer = send(&app, Method::POST, "/rollback", json, body).await;
        let (pointer, line, column) = answer.finding(400);
        assert_eq!((pointer.as_str(), line, column), finding, "{body}");
    }
    assert_eq!(runtime.seen::<pb::RollbackDeploymentRequest>().len(), 1);
}

#[tokio::test]
async fn a_patch_reaches_the_runtime_byte_by_byte() {
    let runtime = FakeRuntime::default().on(|_: pb::UpdateDeploymentRequest| {
        Ok(pb::UpdateDeploymentResponse {
            deployment: Some(deployment(4)),
            changed: true,
            warnings: Vec::new(),
        })
    });
    let app = App::new(&runtime);
    let patch = r#"{"config": {"z": 1.50, "a": 12345678901234567890123}}"#;
    for kind in ["application/merge-patch+json", "application/json"] {
        let answer = send(&app, Method::PATCH, "", kind, patch).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["version"]),
            (200, &json!(4))
        );
    }
    for seen in runtime.seen::<pb::UpdateDeploymentRequest>() {
        assert_eq!(seen.patch_json, patch);
    }
    send(&app, Method::PATCH, "", "application/yaml", "a: b")
        .await
        .problem(415);
    send(&app, Method::PATCH, "", "application/json", "{")
        .await
        .problem(400);
}

#[tokio::test]
async fn findings_of_a_patch_point_into_the_patch() {
    let runtime = FakeRuntime::default().on::<_, pb::UpdateDeploymentResponse>(
        |_: pb::UpdateDeploymentRequest| {
            let finding = Finding {
                pointer: "/config/labels/x".into(),
                line: 0,
                column: 0,
                message: "mend it".into(),
            };
            Err(Failure::new(ErrorKind::Invalid, "has findings")
                .with_findings(vec![finding])
                .into())
        },
    );
    let patch = "{\"config\":\n  {\"labels\": {\"x\": 1}}}";
    let answer = send(
        &App::new(&runtime),
        Method::PATCH,
        "",
        "application/json",
        patch,
    )
    .await;
    assert_eq!(answer.finding(400), ("/config/labels/x".into(), 2, 20));
}

#[tokio::test]
async fn deletion_has_no_content() {
    let runtime = FakeRuntime::default()
        .on(|_: pb::DeleteDeploymentRequest| Ok(pb::DeleteDeploymentResponse {}));
    let app = App::new(&runtime);
    let answer = send(&app, Method::DELETE, "", "", "").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(
        runtime.seen::<pb::DeleteDeploymentRequest>()[0].deployment_id,
        DEP
    );
}
