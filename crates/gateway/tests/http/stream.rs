//! Streams of executions, and figures that are handed through.

use http::Method;
use millrace_proto::runtime::v1 as pb;
use tonic::Status;

use crate::fake::FakeRuntime;
use crate::harness::{App, EXE, request};

fn event(seq: u64) -> pb::WatchExecutionResponse {
    pb::WatchExecutionResponse {
        event: Some(pb::ExecutionEvent {
            seq,
            at: "2026-11-21T10:00:00.000000Z".into(),
            kind: "taskCompleted".into(),
            ..pb::ExecutionEvent::default()
        }),
        execution: None,
    }
}

fn end() -> pb::WatchExecutionResponse {
    pb::WatchExecutionResponse {
        event: None,
        execution: Some(pb::Execution {
            execution_id: EXE.into(),
            status: "SUCCEEDED".into(),
            ..pb::Execution::default()
        }),
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up_where_it_was_left() {
    let runtime = FakeRuntime::default().on(|request: pb::WatchExecutionRequest| {
        Ok(match request.after_seq {
            1 => vec![event(2), event(3)],
            _ => vec![event(4), end()],
        })
    });
    let path = format!("/api/executions/{EXE}/stream?after=9");
    let asked = request(Method::GET, &path).header("last-event-id", "1");
    let answer = App::new(&runtime)
        .send(asked.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let ids: Vec<_> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    assert_eq!(ids, ["2", "3", "4"]);
    let (_, last) = answer.text.rsplit_once("event: end\ndata: ").unwrap();
    assert!(
        last.contains("SUCCEEDED") && last.ends_with("\n\n"),
        "{last}"
    );
    let after: Vec<_> = runtime
        .seen::<pb::WatchExecutionRequest>()
        .into_iter()
        .map(|request| request.after_seq)
        .collect();
    assert_eq!(after, [1, 3]);
}

#[tokio::test]
async fn an_unknown_execution_has_no_stream() {
    let runtime = FakeRuntime::default().on(
        |_: pb::WatchExecutionRequest| -> Result<Vec<pb::WatchExecutionResponse>, Status> {
            Err(Status::not_found("there is none"))
        },
    );
    let app = App::new(&runtime);
    let path = format!("/api/executions/{EXE}/stream");
    app.get(&path).await.problem(404);
    app.get(&format!("{path}?from=1")).await.problem(400);
}

#[tokio::test]
async fn figures_are_the_runtimes_own() {
    let runtime = FakeRuntime::default().on(|request: pb::GetLoadDistributionRequest| {
        Ok(pb::GetLoadDistributionResponse {
            distribution_json: format!(r#"{{"hours":{}}}"#, request.hours),
        })
    });
    let app = App::new(&runtime);
    let answer = app.get("/api/monitoring/load?hours=3").await;
    assert_eq!(answer.text, r#"{"hours":3}"#);
    assert_eq!(answer.headers["content-type"], "application/json");
    app.get("/api/monitoring/load?hours=0").await.problem(400);
    app.get("/api/monitoring/jitter?x=1").await.problem(400);
}
