//! `kill -9` at the worst moments.

mod support;

use std::time::Duration;

use millrace_testkit::eventually;
use serde_json::json;
use support::{Millrace, PATIENCE, echo::Echo};

fn time(value: &serde_json::Value) -> jiff::Timestamp {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no time"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_wait_survives_a_kill_and_ends_at_its_time_without_a_second_call() {
    let echo = Echo::start().await;
    let data = tempfile::tempdir().unwrap();
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: waiter, version: 1.0.0}}\n\
         do:\n\
         - call:\n    call: http\n    with: {{method: post, endpoint: \"{}/before\", body: {{a: 1}}}}\n\
         - pause:\n    wait: PT3S\n\
         - finish:\n    set: {{calls: '${{ .calls }}'}}\n",
        echo.url
    );
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(&document, "waiter").await;
    let id = millrace.fire("waiter", &json!({})).await;
    let waiting = millrace.until(&id, &["WAITING"]).await;
    assert_eq!(echo.calls().len(), 1);
    millrace.kill().await;

    let millrace = Millrace::dev(data.path()).await;
    let execution = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["output"], json!({"calls": 1}), "{execution:#}");
    assert_eq!(
        echo.calls().len(),
        1,
        "the call before the wait was made again"
    );
    let lasted = time(&execution["endedAt"]).duration_since(time(&waiting["startedAt"]));
    assert!(
        lasted >= jiff::SignedDuration::from_secs(3),
        "ended early, after {lasted}"
    );
    let history = millrace.history(&id).await;
    let set: Vec<_> = history
        .iter()
        .filter(|item| item["kind"] == "timerSet")
        .collect();
    assert_eq!(set.len(), 1, "the timer was set anew: {history:#?}");
}

#[tokio::test]
async fn a_call_that_was_under_way_is_repeated_with_the_same_idempotency_key() {
    // A service that never answers the first call.
    let (first, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let app = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
        let first = first.clone();
        async move {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            let token = headers["millrace-fencing-token"]
                .to_str()
                .unwrap()
                .to_owned();
            let (answer, wait) = tokio::sync::oneshot::channel::<()>();
            first.send((key, token, answer)).unwrap();
            let _ = wait.await;
            axum::Json(json!({"done": true}))
        }
    });
    let service = support::Service::start(app).await;
    let data = tempfile::tempdir().unwrap();
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: slow, version: 1.0.0}}\n\
         do:\n- call:\n    call: http\n    with: {{method: post, endpoint: \"{}/x\", body: {{}}}}\n",
        service.url
    );
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(&document, "slow").await;
    let id = millrace.fire("slow", &json!({})).await;
    let (key, token, _unanswered) = seen.recv().await.unwrap();
    millrace.kill().await;

    let millrace = Millrace::dev(data.path()).await;
    let (again, later, answer) = seen.recv().await.unwrap();
    answer.send(()).unwrap();
    assert_eq!(again, key);
    assert!(
        later.parse::<u64>().unwrap() > token.parse().unwrap(),
        "{token} → {later}"
    );
    let execution = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["output"], json!({"done": true}), "{execution:#}");
}

#[tokio::test]
async fn every_accepted_post_survives_a_kill_in_the_middle_of_the_load() {
    let data = tempfile::tempdir().unwrap();
    let document = "document: {dsl: 1.0.3, namespace: test, name: load, version: 1.0.0}\n\
                    do:\n- keep:\n    set: {n: '${ .n }'}\n";
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(document, "load").await;
    let url = millrace.url("/webhooks/load");
    let client = support::client();
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..400 {
        let post = support::post_json(&client, &url, &json!({"n": n}));
        posts.spawn(async move {
            let answer = post.send().await.ok()?;
            if answer.status() != 202 {
                return None;
            }
            let body: serde_json::Value =
                serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
            Some((body["executionId"].as_str()?.to_owned(), n))
        });
    }
    let mut accepted = Vec::new();
    let mut millrace = Some(millrace);
    while let Some(done) = posts.join_next().await {
        accepted.extend(done.unwrap());
        if accepted.len() == 100
            && let Some(millrace) = millrace.take()
        {
            millrace.kill().await;
        }
    }
    assert!(accepted.len() >= 100);
    let millrace = Millrace::dev(data.path()).await;
    for (id, n) in accepted {
        let execution = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
        assert_eq!(execution["output"], json!({"n": n}), "{execution:#}");
    }
    // Nothing else is left behind either: an unacknowledged one ends as well.
    eventually(PATIENCE, || async {
        let (_, page) = millrace.get("/api/executions?status=PENDING&limit=1").await;
        if page["items"] == json!([]) {
            Ok(())
        } else {
            Err(page)
        }
    })
    .await;
}

#[tokio::test]
async fn sigterm_ends_in_order_with_status_zero() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let status = millrace.terminate().await;
    assert!(status.success(), "{status}");
    // And the directory is free again.
    let again = Millrace::dev(data.path()).await;
    assert!(again.terminate().await.success());
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _first = Millrace::dev(data.path()).await;
    let second = support::command(
        &[
            "dev",
            "--data-dir",
            data.path().to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--runtime-listen",
            "127.0.0.1:0",
            "--orchestrator-listen",
            "127.0.0.1:0",
        ],
        &[],
    )
    .output();
    let output = tokio::time::timeout(Duration::from_secs(30), second)
        .await
        .unwrap()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("in use") || said.contains("another"),
        "{said}"
    );
}
