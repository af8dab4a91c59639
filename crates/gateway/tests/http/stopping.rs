//! Requests that wait for the end of an execution while what serves them stops.

use std::time::Duration;

use millrace_gateway::GatewayConfig;
use millrace_proto::runtime::v1 as pb;
use millrace_service::CancellationToken;
use millrace_testkit::eventually;
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP};

type Asked = pb::TriggerWorkflowRequest;
type Answered = pb::TriggerWorkflowResponse;

const SOON: Duration = Duration::from_secs(20);

fn uri() -> String {
    format!("/api/deployments/{DEP}/trigger?wait=60s")
}

fn running(request: Asked) -> Answered {
    Answered {
        execution_id: request.execution_id,
        status: "RUNNING".into(),
        ..Answered::default()
    }
}

fn ending() -> FakeRuntime {
    FakeRuntime::default().on(|request: Asked| {
        let execution = (request.wait_ms > 0).then(|| pb::Execution {
            execution_id: request.execution_id.clone(),
            status: "SUCCEEDED".into(),
            ..pb::Execution::default()
        });
        Ok(Answered {
            execution,
            ..running(request)
        })
    })
}

fn stopping() -> FakeRuntime {
    FakeRuntime::default().on(|request: Asked| {
        Ok(Answered {
            stopping: true,
            ..running(request)
        })
    })
}

fn quick() -> GatewayConfig {
    GatewayConfig {
        call_attempts: 3,
        ..GatewayConfig::default()
    }
}

#[tokio::test]
async fn who_waits_at_a_gateway_that_stops_is_told_what_was_started() {
    let runtime = FakeRuntime::default().answers_only(
        |request: &Asked| request.wait_ms == 0,
        |request| Ok(running(request)),
    );
    let stop = CancellationToken::new();
    let config = GatewayConfig {
        stop: stop.clone(),
        ..GatewayConfig::default()
    };
    let app = App::with(config, &[&runtime]);
    let path = uri();
    let stops = async {
        eventually(SOON, || async {
            match runtime.seen::<Asked>().len() {
                0 => Err("not asked yet"),
                _ => Ok(()),
            }
        })
        .await;
        stop.cancel();
    };
    let answered = tokio::time::timeout(SOON, app.post(&path, "{\"a\":1}"));
    let (answer, ()) = tokio::join!(answered, stops);
    let answer = answer.expect("nobody is left without an answer");
    assert_eq!(answer.status, 202);
    let asked = runtime.seen::<Asked>();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].execution_id, asked[1].execution_id);
    assert_eq!(asked[1].trigger_data_json, asked[0].trigger_data_json);
    assert_eq!(
        answer.json(),
        json!({"executionId": asked[0].execution_id, "status": "RUNNING"})
    );
    // Who comes later is not made to wait either.
    assert_eq!(app.post(&path, "{}").await.status, 202);
    assert_eq!(runtime.seen::<Asked>().len(), 3);
}

#[tokio::test]
async fn a_wait_that_a_stopping_runtime_cuts_short_goes_on_at_the_next() {
    let (old, new) = (stopping(), ending());
    let app = App::with(quick(), &[&old, &new]);
    // Whichever is asked first: one of two meets the stopping one.
    for _ in 0..2 {
        let answer = app.post(&uri(), "{}").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["status"], "SUCCEEDED");
    }
    let (cut, ended) = (old.seen::<Asked>(), new.seen::<Asked>());
    assert!(!cut.is_empty());
    assert_eq!(ended.len(), 2);
    let ids: Vec<_> = ended.iter().map(|request| &request.execution_id).collect();
    assert!(
        cut.iter()
            .all(|request| ids.contains(&&request.execution_id))
    );
}

#[tokio::test]
async fn without_another_runtime_a_wait_that_was_cut_short_is_202() {
    let only = stopping();
    let answer = App::with(quick(), &[&only]).post(&uri(), "{}").await;
    assert_eq!(answer.status, 202);
    let asked = only.seen::<Asked>();
    assert!(
        asked
            .iter()
            .all(|r| r.execution_id == asked[0].execution_id)
    );
    assert_eq!(answer.json()["executionId"], asked[0].execution_id.as_str());
}
