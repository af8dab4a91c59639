//! `POST /api/events`: CloudEvents in each of their forms.

use axum::body::Body;
use http::Method;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_types::ErrorKind;
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{App, request};

fn listening() -> FakeRuntime {
    FakeRuntime::default().on(|request: pb::PublishEventRequest| {
        let count = if request.is_batch {
            request.batch_json.len()
        } else {
            1
        };
        Ok(pb::PublishEventResponse {
            execution_ids: vec!["exe_1".into(); count],
        })
    })
}

fn seen(runtime: &FakeRuntime) -> pb::PublishEventRequest {
    runtime.seen::<pb::PublishEventRequest>().pop().unwrap()
}

const EVENT: &str = r#"{"specversion":"1.0", "id":"1","source":"/s","type":"t","data":1.50}"#;

#[tokio::test]
async fn a_structured_event_is_passed_on_byte_by_byte() {
    let runtime = listening();
    let kind = "application/cloudevents+json; charset=utf-8";
    let answer = App::new(&runtime).post_as(kind, "/api/events", EVENT).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json(), json!({"executionIds": ["exe_1"]}));
    let seen = seen(&runtime);
    assert_eq!((seen.event_json.as_str(), seen.is_batch), (EVENT, false));
}

#[tokio::test]
async fn a_batch_is_taken_apart() {
    let runtime = listening();
    let app = App::new(&runtime);
    let kind = "application/cloudevents-batch+json";
    let batch = format!("[{EVENT}, {{\"id\": 2}}]");
    let answer = app.post_as(kind, "/api/events", &batch).await;
    assert_eq!(answer.json(), json!({"executionIds": ["exe_1", "exe_1"]}));
    let asked = seen(&runtime);
    assert!(asked.is_batch);
    assert_eq!(asked.batch_json, [EVENT, r#"{"id": 2}"#]);
    let none = app.post_as(kind, "/api/events", "[]").await;
    assert_eq!(none.json(), json!({"executionIds": []}));
    app.post_as(kind, "/api/events", EVENT).await.problem(400);
}

#[tokio::test]
async fn a_binary_event_is_made_of_its_headers() {
    let runtime = listening();
    let posted = request(Method::POST, "/api/events")
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "a%20b")
        .header("ce-source", "/s")
        .header("ce-type", "t")
        .body(Body::from("{\"z\": 1.50}"))
        .unwrap();
    assert_eq!(App::new(&runtime).send(posted).await.status, 202);
    let text = seen(&runtime).event_json;
    assert!(text.ends_with(r#","data":{"z": 1.50}}"#), "{text}");
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = json!({"specversion": "1.0", "id": "a b", "source": "/s", "type": "t",
        "datacontenttype": "application/json", "data": event["data"]});
    assert_eq!(event, expected);
}

#[tokio::test]
async fn what_is_no_event_is_refused_with_its_place() {
    let runtime =
        FakeRuntime::default().on::<_, pb::PublishEventResponse>(|_: pb::PublishEventRequest| {
            let finding = Finding {
                pointer: "/id".into(),
                line: 0,
                column: 0,
                message: "must not be empty".into(),
            };
            Err(Failure::new(ErrorKind::Invalid, "faults")
                .with_findings(vec![finding])
                .into())
        });
    let app = App::new(&runtime);
    let kind = "application/cloudevents+json";
    let answer = app.post_as(kind, "/api/events", "{\n  \"id\": \"\"}").await;
    assert_eq!(answer.finding(400), ("/id".into(), 2, 9));
    app.post_as(kind, "/api/events", "{").await.problem(400);
    app.post("/api/events", EVENT).await.problem(415);
    app.get("/api/events").await.problem(405);
}
