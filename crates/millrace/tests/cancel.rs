//! Executions that are called off, and run again.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::echo::Echo;
use support::{Millrace, PATIENCE, Service};

fn document(name: &str, task: &str) -> String {
    format!(
        "document: {{dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0'}}\n\
         do:\n  - only: {task}\n"
    )
}

async fn cancel(millrace: &Millrace, id: &str, reason: &str) -> (u16, Value) {
    let path = format!("/api/executions/{id}/cancel");
    millrace.post(&path, &json!({"reason": reason})).await
}

async fn check_cancelled(millrace: &Millrace, id: &str, reason: &str) {
    let execution = millrace.until(id, &["CANCELLED"]).await;
    assert_eq!(execution["error"]["detail"], reason, "{execution:#}");
    let history = millrace.history(id).await;
    let last = history.last().unwrap();
    assert_eq!(last["kind"], "executionCancelled", "{history:#?}");
    assert_eq!(last["reason"], reason);
    let seqs: Vec<_> = history.iter().map(|i| i["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=history.len() as u64).collect::<Vec<_>>());
}

/// Counts the calls that are open: none is ever answered.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_call_under_way_is_cut_off_within_a_second() {
    let open = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&open);
    let app = Router::new().fallback(any(move || {
        counting.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&counting));
        async move {
            let _open = open;
            std::future::pending::<()>().await;
        }
    }));
    let silent = Service::start(app).await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let call = format!(
        "{{call: http, with: {{method: get, endpoint: '{}/never'}}}}",
        silent.url
    );
    millrace.deploy(&document("calls", &call), "calls").await;
    let id = millrace.fire("calls", &json!({})).await;
    let is = async |calls: usize| {
        eventually(PATIENCE, || async {
            let now = open.load(Ordering::SeqCst);
            if now == calls { Ok(()) } else { Err(now) }
        })
        .await;
    };
    is(1).await;
    let asked = Instant::now();
    let (status, execution) = cancel(&millrace, &id, "enough").await;
    assert_eq!((status, &execution["status"]), (200, &json!("CANCELLED")));
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    is(0).await;
    check_cancelled(&millrace, &id, "enough").await;
    // Once more says the same; the first reason stays.
    let (status, again) = cancel(&millrace, &id, "again").await;
    assert_eq!((status, &again["error"]["detail"]), (200, &json!("enough")));
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_has_ended_is_not() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let wait = document("waits", "{wait: {hours: 1}}");
    millrace.deploy(&wait, "waits").await;
    let id = millrace.fire("waits", &json!({})).await;
    millrace.until(&id, &["WAITING"]).await;
    let (status, _) = cancel(&millrace, &id, "no longer needed").await;
    assert_eq!(status, 200);
    check_cancelled(&millrace, &id, "no longer needed").await;

    let deployed = document("sets", "{set: {n: 1}}");
    millrace.deploy(&deployed, "sets").await;
    let id = millrace.fire("sets", &json!({})).await;
    millrace.until(&id, &["SUCCEEDED"]).await;
    let (status, problem) = cancel(&millrace, &id, "late").await;
    assert_eq!((status, &problem["reason"]), (409, &json!("ended")));
    let unknown = "exe_01kh3v4cq0e2h9x5y7z8w6t4s2";
    assert_eq!(cancel(&millrace, unknown, "x").await.0, 404);
    let (status, problem) = cancel(&millrace, &id, "a\nb").await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (400, &json!("/reason"))
    );
}

#[tokio::test]
async fn a_rerun_takes_the_input_and_the_version_of_its_original() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let edition = |n: u32| {
        document(
            "again",
            &format!("{{set: {{edition: {n}, got: '${{ . }}'}}}}"),
        )
    };
    millrace.deploy(&edition(1), "again").await;
    let input = json!({"big": 9_007_199_254_740_993_u64});
    let id = millrace.fire("again", &input).await;
    let original = millrace.until(&id, &["SUCCEEDED"]).await;
    assert_eq!(millrace.deploy(&edition(2), "again").await["version"], 2);

    let rerun = format!("/api/executions/{id}/rerun");
    let (status, accepted) = millrace.post(&rerun, &json!({"from": "start"})).await;
    assert_eq!(status, 202, "{accepted:#}");
    let second = accepted["executionId"].as_str().unwrap();
    assert_ne!(second, id);
    let second = millrace.until(second, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(second["rerunOf"], id.as_str(), "{second:#}");
    assert_eq!((&second["version"], &second["input"]), (&json!(1), &input));
    assert_eq!(second["output"], original["output"]);

    let (status, problem) = millrace.post(&rerun, &json!({"from": "middle"})).await;
    assert_eq!(status, 400, "{problem:#}");
    assert_eq!(problem["errors"][0]["pointer"], "/from");
    let (status, problem) = millrace.post(&rerun, &json!({"from": "failedTask"})).await;
    assert_eq!((status, &problem["reason"]), (409, &json!("not-failed")));
    let wait = document("waits", "{wait: {hours: 1}}");
    millrace.deploy(&wait, "waits").await;
    let id = millrace.fire("waits", &json!({})).await;
    let (status, problem) = millrace
        .post(&format!("/api/executions/{id}/rerun"), &json!({}))
        .await;
    assert_eq!((status, &problem["reason"]), (409, &json!("not-ended")));
}

#[tokio::test]
async fn a_rerun_from_the_failed_task_does_not_repeat_what_came_before() {
    let echo = Echo::answering(&[200, 400]).await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let edition = |n: u32| {
        let call = |path: &str| {
            format!(
                "{{call: http, with: {{method: post, endpoint: '{}/{path}', body: {{}}}}, \
                 export: {{as: '$context + {{{path}: .calls}}'}}}}",
                echo.url
            )
        };
        format!(
            "document: {{dsl: '1.0.3', namespace: default, name: steps, version: '{n}.0.0'}}\n\
             do:\n- first: {}\n- second: {}\n- last: {{set: {{is: '${{ $context }}', edition: {n}}}}}\n",
            call("first"),
            call("second"),
        )
    };
    millrace.deploy(&edition(1), "steps").await;
    let id = millrace.fire("steps", &json!({})).await;
    let failed = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(failed["error"]["instance"], "/do/1/second", "{failed:#}");
    assert_eq!(millrace.deploy(&edition(2), "steps").await["version"], 2);

    let rerun = format!("/api/executions/{id}/rerun");
    let (status, accepted) = millrace.post(&rerun, &json!({"from": "failedTask"})).await;
    assert_eq!(status, 202, "{accepted:#}");
    let second = accepted["executionId"].as_str().unwrap();
    let second = millrace.until(second, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(second["rerunOf"], id.as_str());
    assert_eq!(second["version"], 1);
    assert_eq!(
        second["output"],
        json!({"is": {"first": 1, "second": 3}, "edition": 1}),
        "{second:#}"
    );
    let paths: Vec<_> = echo.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/first", "/second", "/second"]);
    let history = millrace.history(second["id"].as_str().unwrap()).await;
    assert_eq!(history[0]["kind"], "executionStarted");
    assert_eq!(history[1]["task"], "/do/1/second");
}
