//! `/api/projects…` and `/api/workloads…`

use axum::body::Body;
use http::Method;
use http_body_util::BodyExt as _;
use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_types::ErrorKind;
use serde_json::json;
use tower::ServiceExt as _;

use crate::fake::FakeRuntime;
use crate::harness::{App, request};
use crate::orchestrator::{Lines, PRJ, WKL, app, entry, workload};

#[tokio::test]
async fn a_project_is_made_of_what_was_posted() {
    let fake = FakeRuntime::default().on(|request: pb::CreateProjectRequest| {
        Ok(pb::CreateProjectResponse {
            project: Some(pb::Project {
                project_id: PRJ.into(),
                name: request.name,
                key: request.key,
                local_path: request.local_path,
                git_json: request.git_json,
                created_at: "2026-12-01T09:00:00Z".into(),
            }),
        })
    });
    let body = r#"{"name": "Todo", "key": "TODO", "localPath": "/srv/todo"}"#;
    let answer = app(&fake).post("/api/projects", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.headers["location"], format!("/api/projects/{PRJ}"));
    assert_eq!(
        answer.json(),
        json!({"id": PRJ, "name": "Todo", "key": "TODO", "localPath": "/srv/todo", "git": null,
               "createdAt": "2026-12-01T09:00:00Z"})
    );
    let refused = app(&fake).post("/api/projects", r#"{"nme": 1}"#).await;
    let problem = refused.problem(400);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    assert_eq!(fake.seen::<pb::CreateProjectRequest>().len(), 1);
}

#[tokio::test]
async fn what_the_orchestrator_refuses_has_its_place_in_the_body() {
    let fake = FakeRuntime::default().on(
        |_: pb::CreateProjectRequest| -> Result<pb::CreateProjectResponse, _> {
            let mut failure = Failure::new(ErrorKind::Invalid, "The project is not valid.");
            failure.findings = vec![Finding {
                pointer: "/localPath".into(),
                line: 0,
                column: 0,
                message: "is not absolute".into(),
            }];
            Err(failure.into())
        },
    );
    let body = "{\"name\": \"a\", \"key\": \"A\",\n \"localPath\": \"a\"}";
    let answer = app(&fake).post("/api/projects", body).await;
    assert_eq!(answer.finding(400), ("/localPath".into(), 2, 15));
}

#[tokio::test]
async fn starting_answers_202_until_what_was_asked_for_is_there() {
    let fake = FakeRuntime::default()
        .on(|request: pb::StartWorkloadRequest| {
            let settled = request.wait_ms > 0;
            let workload = workload(if settled { "running" } else { "pending" });
            Ok(pb::StartWorkloadResponse {
                workload: Some(workload),
                settled,
            })
        })
        .on(|_: pb::StartProjectRequest| {
            Ok(pb::StartProjectResponse {
                workloads: vec![workload("running"), workload("build")],
            })
        });
    let app = app(&fake);
    let at_once = app.post(&format!("/api/workloads/{WKL}/start"), "").await;
    assert_eq!(at_once.status, 202);
    assert_eq!(at_once.json()["stage"], "pending");
    assert_eq!(at_once.json()["port"], json!(null));
    let waited = app
        .post(&format!("/api/workloads/{WKL}/start?wait=60s"), "")
        .await;
    assert_eq!(waited.status, 200);
    let waits: Vec<u32> = fake
        .seen::<pb::StartWorkloadRequest>()
        .iter()
        .map(|request| request.wait_ms)
        .collect();
    assert_eq!(waits[0], 0);
    assert!((59_000..=60_000).contains(&waits[1]), "{waits:?}");
    let project = app.post(&format!("/api/projects/{PRJ}/start"), "").await;
    assert_eq!(project.status, 202);
    assert_eq!(project.json()["items"].as_array().unwrap().len(), 2);
    for bad in [
        "start?wait=1",
        "start?now=1",
        "restart?strategy=a&strategy=b",
    ] {
        let uri = format!("/api/workloads/{WKL}/{bad}");
        app.post(&uri, "").await.problem(400);
    }
    app.post("/api/workloads/wkl_none/start", "")
        .await
        .problem(404);
}

#[tokio::test]
async fn a_gateway_without_an_orchestrator_says_so() {
    let app = App::new(&FakeRuntime::default());
    let problem = app.get("/api/projects").await.problem(503);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("gateway.orchestrator")
    );
}

#[tokio::test]
async fn logs_come_in_pages_by_sequence() {
    let fake = FakeRuntime::default().on(|request: pb::GetLogsRequest| {
        let last = request.after + u64::from(request.limit);
        Ok(pb::GetLogsResponse {
            entries: (request.after + 1..=last.min(5)).map(entry).collect(),
            next: if last < 5 { last } else { 0 },
        })
    });
    let app = app(&fake);
    let page = app
        .get(&format!("/api/workloads/{WKL}/logs?limit=3"))
        .await
        .json();
    assert_eq!(page["next"], 3);
    assert_eq!(
        page["items"][0],
        json!({"seq": 1, "at": "2026-12-01T09:00:00Z", "stream": "stdout", "stage": "running",
               "instance": null, "line": "line 1\r\n"})
    );
    let uri = format!("/api/workloads/{WKL}/logs?after=3&stream=stdout");
    let page = app.get(&uri).await.json();
    assert_eq!(page["next"], json!(null));
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    for bad in ["after=x", "stream=stdin", "limit=0"] {
        let uri = format!("/api/workloads/{WKL}/logs?{bad}");
        app.get(&uri).await.problem(400);
    }
}

/// The ids of the first `count` events of the answer to `request`.
async fn events(app: &App, request: http::Request<Body>, count: usize) -> Vec<u64> {
    let response = app.0.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let frame = body.frame().await.expect("it goes on").unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    text.split_terminator("\n\n")
        .map(|event| {
            let member = |name: &str| {
                let mut lines = event.lines();
                let line = lines.find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            let data: serde_json::Value = serde_json::from_str(&member("data:")).unwrap();
            let id: u64 = member("id:").parse().unwrap();
            assert_eq!(data["seq"], id);
            id
        })
        .collect()
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_when_the_orchestrator_comes_back() {
    let fake = FakeRuntime::default().on(|request: pb::StreamLogsRequest| {
        let mut lines: Vec<_> = (request.after + 1..=request.after + 3).map(Ok).collect();
        lines.push(Err(tonic::Status::unavailable("going")));
        Ok(Lines(lines))
    });
    let app = app(&fake);
    let uri = format!("/api/workloads/{WKL}/logs/stream?after=10");
    let first = request(Method::GET, &uri).body(Body::empty()).unwrap();
    assert_eq!(events(&app, first, 8).await, (11..=18).collect::<Vec<_>>());

    let again = request(Method::GET, &uri).header("last-event-id", "18");
    let again = again.body(Body::empty()).unwrap();
    assert_eq!(events(&app, again, 2).await, [19, 20]);
}

#[tokio::test]
async fn the_stream_of_what_is_not_there_is_404() {
    let fake = FakeRuntime::default().on(|_: pb::StreamLogsRequest| -> Result<Lines, _> {
        Err(Failure::new(ErrorKind::NotFound, "There is no such workload.").into())
    });
    let app = app(&fake);
    let uri = format!("/api/workloads/{WKL}/logs/stream");
    app.get(&uri).await.problem(404);
    let forged = request(Method::GET, &uri).header("last-event-id", "x");
    let forged = forged.body(Body::empty()).unwrap();
    app.send(forged).await.problem(400);
}
