use millrace_proto::runtime::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_types::ErrorKind;
use serde_json::json;
use tonic::Status;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP};

fn deployment() -> pb::Deployment {
    pb::Deployment {
        deployment_id: DEP.into(),
        workflow_id: "wfl_1".into(),
        namespace: "shop".into(),
        name: "order-intake".into(),
        version: 3,
        workflow_version: "1.2.0".into(),
        status: "DEPLOYED".into(),
        triggers: vec![pb::Trigger {
            trigger_id: "trg_1".into(),
            r#type: "webhook".into(),
            name: String::new(),
            enabled: true,
            spec_json: r#"{"type":"webhook","path":"orders","methods":["POST"],"max":12345678901234567890123}"#
                .into(),
            revision: 1,
        }],
        deployed_at: "2026-11-21T10:00:00.000000Z".into(),
        config_json: r#"{"z":1,"a":1.50}"#.into(),
        ..pb::Deployment::default()
    }
}

/// A runtime that takes every deploy.
fn willing(changed: bool) -> FakeRuntime {
    FakeRuntime::default().on(move |_: pb::DeployWorkflowRequest| {
        Ok(pb::DeployWorkflowResponse {
            deployment: Some(deployment()),
            changed,
            warnings: Vec::new(),
        })
    })
}

/// A runtime that finds one fault in every deploy.
fn finding(pointer: &str, line: u32, column: u32) -> FakeRuntime {
    let finding = Finding {
        pointer: pointer.into(),
        line,
        column,
        message: "mend it".into(),
    };
    FakeRuntime::default().on::<_, pb::DeployWorkflowResponse>(
        move |_: pb::DeployWorkflowRequest| {
            Err(
                Failure::new(ErrorKind::Invalid, "The workflow has findings.")
                    .with_findings(vec![finding.clone()])
                    .into(),
            )
        },
    )
}

#[tokio::test]
async fn a_bundle_reaches_the_runtime_byte_by_byte() {
    let runtime = willing(true);
    let body = r#"{ "config": {"z": 1.50, "a": 12345678901234567890123},
      "workflow": {"do": [ ],  "document":{"name":"é"}}, "triggers": [ {"type":"cron"} ] }"#;
    let answer = App::new(&runtime).post("/api/deployments", body).await;
    assert_eq!(answer.status, 201);
    let seen = runtime.seen::<pb::DeployWorkflowRequest>();
    assert_eq!(
        seen,
        [pb::DeployWorkflowRequest {
            document: r#"{"do": [ ],  "document":{"name":"é"}}"#.into(),
            triggers_json: r#"[ {"type":"cron"} ]"#.into(),
            config_json: r#"{"z": 1.50, "a": 12345678901234567890123}"#.into(),
            document_pointer: "/workflow".into(),
        }]
    );
}

#[tokio::test]
async fn the_answer_is_the_deployment() {
    let answer = App::new(&willing(true))
        .post("/api/deployments", r#"{"workflow": {}}"#)
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.text,
        format!(
            concat!(
                r#"{{"id":"{}","workflowId":"wfl_1","name":"order-intake","namespace":"shop","#,
                r#""version":3,"workflowVersion":"1.2.0","status":"DEPLOYED","#,
                r#""triggers":[{{"id":"trg_1","type":"webhook","enabled":true,"path":"orders","#,
                r#""methods":["POST"],"max":12345678901234567890123}}],"#,
                r#""deployedAt":"2026-11-21T10:00:00.000000Z","config":{{"z":1,"a":1.50}}}}"#
            ),
            DEP
        )
    );
}

#[tokio::test]
async fn the_same_bundle_again_is_200() {
    let answer = App::new(&willing(false))
        .post("/api/deployments", r#"{"workflow": {}}"#)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn yaml_is_taken_bare_and_within_json() {
    let yaml = "document:\n  name: x # why not\n";
    for kind in [
        "application/yaml",
        "application/x-yaml",
        "text/yaml; charset=utf-8",
    ] {
        let runtime = willing(true);
        let answer = App::new(&runtime)
            .post_as(kind, "/api/deployments", yaml)
            .await;
        assert_eq!(answer.status, 201, "{kind}");
        let seen = runtime.seen::<pb::DeployWorkflowRequest>();
        assert_eq!(seen[0].document, yaml);
        assert_eq!(seen[0].document_pointer, "");
        assert_eq!(
            (seen[0].triggers_json.as_str(), seen[0].config_json.as_str()),
            ("", "")
        );
    }
    let runtime = willing(true);
    let body = json!({"workflow": yaml}).to_string();
    assert_eq!(
        App::new(&runtime)
            .post("/api/deployments", &body)
            .await
            .status,
        201
    );
    let seen = runtime.seen::<pb::DeployWorkflowRequest>();
    assert_eq!(seen[0].document, yaml);
    assert_eq!(seen[0].document_pointer, "/workflow");
}

#[tokio::test]
async fn findings_in_an_object_have_their_place_in_the_body() {
    let body = "{\n  \"triggers\": [],\n  \"workflow\": {\"do\": [],\n    \"x\": 1}\n}";
    // On the document's first line, both line and column move.
    let answer = App::new(&finding("/workflow/do", 1, 8))
        .post("/api/deployments", body)
        .await;
    assert_eq!(answer.finding(400), ("/workflow/do".into(), 3, 22));
    // On later ones, the line alone does.
    let answer = App::new(&finding("/workflow/x", 2, 5))
        .post("/api/deployments", body)
        .await;
    assert_eq!(answer.finding(400), ("/workflow/x".into(), 4, 5));
    // Without a line, the pointer is looked up.
    let answer = App::new(&finding("/workflow/x", 0, 0))
        .post("/api/deployments", body)
        .await;
    assert_eq!(answer.finding(400), ("/workflow/x".into(), 4, 10));
}

#[tokio::test]
async fn warnings_come_with_the_deployment() {
    let runtime = FakeRuntime::default().on(|_: pb::DeployWorkflowRequest| {
        let warning = pb::Violation {
            pointer: "/workflow/do".into(),
            line: 1,
            column: 2,
            message: "quote it".into(),
        };
        Ok(pb::DeployWorkflowResponse {
            deployment: Some(deployment()),
            changed: true,
            warnings: vec![warning],
        })
    });
    let answer = App::new(&runtime)
        .post("/api/deployments", "{\n\"workflow\": {}}")
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json()["warnings"],
        json!([{"pointer": "/workflow/do", "line": 2, "column": 14, "message": "quote it"}])
    );
}

#[tokio::test]
async fn findings_in_yaml_text_keep_the_lines_of_the_text() {
    let body = "{\n\n\"workflow\": \"do: []\\nx: 1\\n\"}";
    let answer = App::new(&finding("/workflow/x", 2, 4))
        .post("/api/deployments", body)
        .await;
    assert_eq!(answer.finding(400), ("/workflow/x".into(), 2, 4));
    let runtime = finding("/x", 2, 4);
    let answer = App::new(&runtime)
        .post_as("application/yaml", "/api/deployments", "a: 1\nx: 1")
        .await;
    assert_eq!(answer.finding(400), ("/x".into(), 2, 4));
}

#[tokio::test]
async fn findings_in_triggers_are_looked_up_in_the_body() {
    let body =
        "{\"workflow\": {},\n \"triggers\": [\n  {\"type\": \"webhook\",\n   \"path\": \"a//b\"}]}";
    let runtime = finding("/triggers/0/path", 0, 0);
    let answer = App::new(&runtime).post("/api/deployments", body).await;
    assert_eq!(answer.finding(400), ("/triggers/0/path".into(), 4, 12));
    // What is missing is shown at what it is missing from.
    let runtime = finding("/triggers/0/methods", 0, 0);
    let answer = App::new(&runtime).post("/api/deployments", body).await;
    assert_eq!(answer.finding(400), ("/triggers/0/methods".into(), 3, 3));
}

#[tokio::test]
async fn what_cannot_be_a_bundle_is_refused_with_its_place() {
    let runtime = willing(true);
    let app = App::new(&runtime);
    for (body, pointer, line, column) in [
        ("{\"workflow\": {},\n  \"triger\": []}", "/triger", 2, 3),
        ("{\"workflow\": {}, \"a/b\": 1}", "/a~1b", 1, 18),
        ("{\"workflow\": {},\n\"workflow\": {}}", "/workflow", 2, 1),
        ("{\"workflow\": {}, \"triggers\": {}}", "/triggers", 1, 30),
        ("{\"workflow\": {}, \"config\": []}", "/config", 1, 28),
        ("{\"workflow\": 5}", "/workflow", 1, 14),
        ("{\"triggers\": []}", "/workflow", 1, 1),
        ("{\"workflow\": \n{,}}", "", 2, 2),
        ("[]", "", 1, 1),
        ("", "", 1, 1),
    ] {
        let answer = app.post("/api/deployments", body).await;
        assert_eq!(
            answer.finding(400),
            (pointer.to_owned(), line, column),
            "{body}"
        );
    }
    app.post_as("application/yaml", "/api/deployments", "  \n")
        .await
        .problem(400);
    app.post_as("text/plain", "/api/deployments", "x: 1")
        .await
        .problem(415);
    app.post("/api/deployments?force=1", "{\"workflow\": {}}")
        .await
        .problem(400);
    assert!(
        runtime.seen::<pb::DeployWorkflowRequest>().is_empty(),
        "nothing was asked"
    );
}

#[tokio::test]
async fn a_taken_path_is_a_conflict() {
    let runtime = FakeRuntime::default().on::<_, pb::DeployWorkflowResponse>(
        |_: pb::DeployWorkflowRequest| {
            Err(
                Failure::new(ErrorKind::Conflict, "webhook path `orders` is taken")
                    .with_reason("path-taken")
                    .into(),
            )
        },
    );
    let problem = App::new(&runtime)
        .post("/api/deployments", r#"{"workflow": {}}"#)
        .await
        .problem(409);
    assert_eq!(problem["detail"], "webhook path `orders` is taken");
    assert_eq!(problem["reason"], "path-taken");
}

#[tokio::test]
async fn one_deployment_is_read_by_its_id() {
    let runtime = FakeRuntime::default().on(|request: pb::GetDeploymentStatusRequest| {
        assert_eq!(request.deployment_id, DEP);
        Ok(pb::GetDeploymentStatusResponse {
            deployment: Some(deployment()),
        })
    });
    let answer = App::new(&runtime)
        .get(&format!("/api/deployments/{DEP}"))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["name"], "order-intake");
}

#[tokio::test]
async fn an_unknown_deployment_is_404() {
    let runtime = FakeRuntime::default().on::<_, pb::GetDeploymentStatusResponse>(
        |_: pb::GetDeploymentStatusRequest| Err(Status::not_found("no such deployment")),
    );
    let app = App::new(&runtime);
    app.get(&format!("/api/deployments/{DEP}"))
        .await
        .problem(404);
    // What cannot be an id names nothing, either.
    for bad in ["nope", "dep_1", "exe_01kh3v4cq0e2h9x5y7z8w6t4s2", "%ff"] {
        app.get(&format!("/api/deployments/{bad}"))
            .await
            .problem(404);
    }
    assert_eq!(runtime.seen::<pb::GetDeploymentStatusRequest>().len(), 1);
}

#[tokio::test]
async fn deployments_are_listed_by_filter_and_page() {
    let runtime = FakeRuntime::default().on(|_: pb::ListDeploymentsRequest| {
        Ok(pb::ListDeploymentsResponse {
            deployments: vec![deployment(), deployment()],
            next_cursor: "more".into(),
        })
    });
    let app = App::new(&runtime);
    let uri =
        "/api/deployments?status=PAUSED&namespace=shop&name=a%20b&label=team%3Dx&cursor=c&limit=7";
    let page = app.get(uri).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], "more");
    assert_eq!(
        runtime.seen::<pb::ListDeploymentsRequest>(),
        [pb::ListDeploymentsRequest {
            status: "PAUSED".into(),
            namespace: "shop".into(),
            name: "a b".into(),
            label: "team=x".into(),
            cursor: "c".into(),
            limit: 7,
        }]
    );
}

#[tokio::test]
async fn the_last_page_has_no_next() {
    let runtime = FakeRuntime::default()
        .on(|_: pb::ListDeploymentsRequest| Ok(pb::ListDeploymentsResponse::default()));
    let app = App::new(&runtime);
    assert_eq!(
        app.get("/api/deployments").await.text,
        r#"{"items":[],"next":null}"#
    );
    assert_eq!(runtime.seen::<pb::ListDeploymentsRequest>()[0].limit, 50);
}

#[tokio::test]
async fn wrong_query_parameters_are_named() {
    let runtime = FakeRuntime::default();
    let app = App::new(&runtime);
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("status=LIVE", "status"),
        ("label=team", "label"),
        ("cursor=a&cursor=b", "cursor"),
    ] {
        let problem = app
            .get(&format!("/api/deployments?{query}"))
            .await
            .problem(400);
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{query}");
    }
    let problem = app.get("/api/deployments?nmae=x").await.problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("nmae"));
    assert!(runtime.seen::<pb::ListDeploymentsRequest>().is_empty());
}

#[tokio::test]
async fn a_deployment_is_paused_and_resumed() {
    let runtime = FakeRuntime::default()
        .on(|_: pb::PauseDeploymentRequest| {
            let paused = pb::Deployment {
                status: "PAUSED".into(),
                ..deployment()
            };
            Ok(pb::PauseDeploymentResponse {
                deployment: Some(paused),
            })
        })
        .on(|_: pb::ResumeDeploymentRequest| {
            Ok(pb::ResumeDeploymentResponse {
                deployment: Some(deployment()),
            })
        });
    let app = App::new(&runtime);
    let paused = app.post(&format!("/api/deployments/{DEP}/pause"), "").await;
    assert_eq!(
        (paused.status.as_u16(), &paused.json()["status"]),
        (200, &json!("PAUSED"))
    );
    let resumed = app
        .post(&format!("/api/deployments/{DEP}/resume"), "")
        .await;
    assert_eq!(
        (resumed.status.as_u16(), &resumed.json()["status"]),
        (200, &json!("DEPLOYED"))
    );
}

#[tokio::test]
async fn what_the_runtime_has_not_built_is_501() {
    let app = App::new(&FakeRuntime::default());
    app.post(&format!("/api/deployments/{DEP}/pause"), "")
        .await
        .problem(501);
}
