use millrace_proto::runtime::v1 as pb;
use serde_json::json;
use tonic::Status;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, EXE};

fn execution() -> pb::Execution {
    pb::Execution {
        execution_id: EXE.into(),
        deployment_id: DEP.into(),
        workflow_id: "wfl_1".into(),
        version: 2,
        status: "RUNNING".into(),
        trigger_json: r#"{"type":"webhook","id":"trg_1"}"#.into(),
        input_json: r#"{"z":12345678901234567890123,"a":"\u0000"}"#.into(),
        created_at: "2026-11-21T10:00:00.000000Z".into(),
        started_at: "2026-11-21T10:00:00.000001Z".into(),
        ..pb::Execution::default()
    }
}

#[tokio::test]
async fn an_execution_shows_its_payloads_as_they_are() {
    let runtime = FakeRuntime::default().on(|request: pb::GetExecutionRequest| {
        assert_eq!(request.execution_id, EXE);
        Ok(pb::GetExecutionResponse {
            execution: Some(execution()),
        })
    });
    let answer = App::new(&runtime)
        .get(&format!("/api/executions/{EXE}"))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.text,
        format!(
            concat!(
                r#"{{"id":"{}","deploymentId":"{}","workflowId":"wfl_1","version":2,"status":"RUNNING","#,
                r#""trigger":{{"type":"webhook","id":"trg_1"}},"#,
                r#""input":{{"z":12345678901234567890123,"a":"\u0000"}},"output":null,"error":null,"#,
                r#""createdAt":"2026-11-21T10:00:00.000000Z","startedAt":"2026-11-21T10:00:00.000001Z","#,
                r#""endedAt":null,"rerunOf":null}}"#
            ),
            EXE, DEP
        )
    );
}

#[tokio::test]
async fn an_unknown_execution_is_404() {
    let runtime =
        FakeRuntime::default().on::<_, pb::GetExecutionResponse>(|_: pb::GetExecutionRequest| {
            Err(Status::not_found("no such execution"))
        });
    let app = App::new(&runtime);
    app.get(&format!("/api/executions/{EXE}"))
        .await
        .problem(404);
    app.get("/api/executions/unknown").await.problem(404);
    app.get("/api/executions/unknown/history")
        .await
        .problem(404);
}

#[tokio::test]
async fn executions_are_listed_without_payloads() {
    let runtime = FakeRuntime::default().on(|_: pb::GetExecutionHistoryRequest| {
        let listed = pb::Execution {
            input_json: String::new(),
            ..execution()
        };
        Ok(pb::GetExecutionHistoryResponse {
            executions: vec![listed],
            next_cursor: String::new(),
            ..pb::GetExecutionHistoryResponse::default()
        })
    });
    let app = App::new(&runtime);
    let uri = format!(
        "/api/executions?deploymentId={DEP}&status=FAILED&trigger=webhook\
         &from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z&cursor=c&limit=1000"
    );
    let page = app.get(&uri).await.json();
    assert_eq!(page["items"][0]["id"], EXE);
    assert!(page["items"][0].get("input").is_none());
    assert_eq!(page["next"], json!(null));
    assert_eq!(
        runtime.seen::<pb::GetExecutionHistoryRequest>(),
        [pb::GetExecutionHistoryRequest {
            deployment_id: DEP.into(),
            status: "FAILED".into(),
            trigger: "webhook".into(),
            from: "2026-11-01T00:00:00Z".into(),
            to: "2026-12-01T00:00:00Z".into(),
            cursor: "c".into(),
            limit: 1000,
            ..pb::GetExecutionHistoryRequest::default()
        }]
    );
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let app = App::new(&FakeRuntime::default());
    for (query, parameter) in [
        ("deploymentId=x", "deploymentId"),
        ("status=DONE", "status"),
        ("trigger=mail", "trigger"),
        ("from=yesterday", "from"),
        ("to=2026-11-01", "to"),
        ("limit=-1", "limit"),
    ] {
        let problem = app
            .get(&format!("/api/executions?{query}"))
            .await
            .problem(400);
        assert_eq!(problem["errors"][0]["parameter"], parameter);
    }
}

#[tokio::test]
async fn the_history_lists_events_with_their_own_members() {
    let runtime = FakeRuntime::default().on(|request: pb::ListExecutionEventsRequest| {
        assert_eq!((request.execution_id.as_str(), request.limit), (EXE, 2));
        let event = |seq, kind: &str, task: &str, attempt, detail: &str| pb::ExecutionEvent {
            seq,
            at: "2026-11-21T10:00:00.000000Z".into(),
            kind: kind.into(),
            task: task.into(),
            attempt,
            detail_json: detail.into(),
        };
        Ok(pb::ListExecutionEventsResponse {
            events: vec![
                event(1, "executionStarted", "", 0, ""),
                event(
                    2,
                    "taskFailed",
                    "/do/0/price",
                    1,
                    r#"{"error":{"status":503},"seq":9}"#,
                ),
            ],
            next_cursor: "2".into(),
        })
    });
    let answer = App::new(&runtime)
        .get(&format!("/api/executions/{EXE}/history?limit=2"))
        .await;
    assert_eq!(
        answer.json(),
        json!({
            "items": [
                {"seq": 1, "at": "2026-11-21T10:00:00.000000Z", "kind": "executionStarted",
                 "task": null, "attempt": null},
                {"seq": 2, "at": "2026-11-21T10:00:00.000000Z", "kind": "taskFailed",
                 "task": "/do/0/price", "attempt": 1, "error": {"status": 503}},
            ],
            "next": "2",
        })
    );
}

#[tokio::test]
async fn a_broken_payload_is_our_fault_and_stays_inside() {
    let runtime = FakeRuntime::default().on(|_: pb::GetExecutionRequest| {
        let broken = pb::Execution {
            output_json: "{secret".into(),
            ..execution()
        };
        Ok(pb::GetExecutionResponse {
            execution: Some(broken),
        })
    });
    let answer = App::new(&runtime)
        .get(&format!("/api/executions/{EXE}"))
        .await;
    answer.problem(500);
    assert!(!answer.text.contains("secret"));
}

fn ended(status: &str) -> pb::Execution {
    pb::Execution {
        execution_id: EXE.into(),
        status: status.into(),
        error_json: r#"{"detail":"enough"}"#.into(),
        ..pb::Execution::default()
    }
}

#[tokio::test]
async fn cancelled_is_200_and_asked_for_is_202() {
    for (status, code) in [("CANCELLED", 200), ("RUNNING", 202)] {
        let runtime = FakeRuntime::default().on(move |request: pb::CancelExecutionRequest| {
            assert_eq!(request.execution_id, EXE);
            Ok(pb::CancelExecutionResponse {
                execution: Some(ended(status)),
            })
        });
        let app = App::new(&runtime);
        let uri = format!("/api/executions/{EXE}/cancel");
        for body in ["", "{}", r#"{"reason": "enough"}"#] {
            let answer = app.post(&uri, body).await;
            assert_eq!(answer.status.as_u16(), code);
            assert_eq!(answer.json()["status"], status);
        }
        let seen = runtime.seen::<pb::CancelExecutionRequest>();
        let reasons: Vec<_> = seen.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(reasons, ["", "", "enough"]);
        let answer = app.post(&uri, r#"{"reason": 7}"#).await;
        assert_eq!(answer.finding(400), ("/reason".into(), 1, 12));
    }
}

#[tokio::test]
async fn a_rerun_is_accepted_under_an_id_minted_here() {
    let runtime = FakeRuntime::default().on(|request: pb::RerunExecutionRequest| {
        Ok(pb::RerunExecutionResponse {
            execution_id: request.new_execution_id,
        })
    });
    let app = App::new(&runtime);
    let uri = format!("/api/executions/{EXE}/rerun");
    let answer = app.post(&uri, r#"{"from": "start"}"#).await;
    assert_eq!(answer.status, 202);
    let seen = &runtime.seen::<pb::RerunExecutionRequest>()[0];
    assert_eq!(
        (seen.execution_id.as_str(), seen.from.as_str()),
        (EXE, "start")
    );
    assert!(seen.new_execution_id.starts_with("exe_"));
    assert_eq!(answer.json()["executionId"], seen.new_execution_id);
    let answer = app.post(&uri, r#"{"form": "start"}"#).await;
    assert_eq!(answer.finding(400).0, "/form");
}
