//! Looking on: streams of executions, figures, metrics.

mod support;

use std::sync::Arc;
use std::time::Duration;

use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, Service, answer, client, command};
use tokio::sync::Semaphore;

fn waits(name: &str, first: &str) -> String {
    format!(
        "document: {{dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0'}}\n\
         do:\n  - first: {first}\n  - pause: {{wait: {{milliseconds: 300}}}}\n  \
         - last: {{set: {{done: true}}}}\n"
    )
}

const FAILS: &str = "document: {dsl: '1.0.3', namespace: default, name: fails, version: '1.0.0'}\n\
    do:\n  - no: {raise: {error: {type: 'https://example.com/no', status: 418, title: Teapot, \
    detail: 'the \"kettle\" is empty'}}}\n";

/// The events of a stream: id, name, data. Reads to its end.
async fn stream(
    millrace: &Millrace,
    path: &str,
    last: Option<&str>,
) -> Vec<(String, String, Value)> {
    let mut request = client().get(millrace.url(path));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    text.split("\n\n")
        .filter(|block| block.contains("data:"))
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let data = serde_json::from_str(&field("data:")).unwrap();
            (field("id:"), field("event:"), data)
        })
        .collect()
}

#[tokio::test]
async fn an_execution_is_seen_from_its_start_to_its_end() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace
        .deploy(&waits("slow", "{set: {n: 1}}"), "slow")
        .await;
    let id = millrace.fire("slow", &json!({})).await;
    let path = format!("/api/executions/{id}/stream");
    let seen = stream(&millrace, &path, None).await;
    let (events, end) = (&seen[..seen.len() - 1], &seen[seen.len() - 1]);
    let history = millrace.history(&id).await;
    let data: Vec<_> = events.iter().map(|(_, _, data)| data.clone()).collect();
    assert_eq!(data, history);
    for (event_id, name, data) in events {
        assert_eq!(*event_id, data["seq"].to_string());
        assert_eq!(name, "");
    }
    assert_eq!(end.1, "end");
    assert_eq!(end.2["status"], "SUCCEEDED");
    assert_eq!(end.2["output"], json!({"done": true}));

    // From where it was left off, by header or by parameter.
    let rest = stream(&millrace, &path, Some("2")).await;
    assert_eq!(rest[0].0, "3");
    let rest = stream(&millrace, &format!("{path}?after=2"), None).await;
    assert_eq!(rest[0].0, "3");
    let only_end = stream(&millrace, &path, Some("100000")).await;
    assert_eq!(only_end.len(), 1);

    let (status, problem) = millrace
        .get("/api/executions/exe_01890a5d-ac96-774b-bcce-b302099a8057/stream")
        .await;
    assert_eq!(status, 404, "{problem:#}");
    let (status, problem) = millrace.get(&format!("{path}?after=x")).await;
    assert_eq!(status, 400, "{problem:#}");
}

#[tokio::test]
async fn the_command_line_prints_what_happens_until_the_end() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace
        .deploy(&waits("slow", "{set: {n: 1}}"), "slow")
        .await;
    millrace.deploy(FAILS, "fails").await;
    for (webhook, code, text) in [("slow", 0, "SUCCEEDED"), ("fails", 1, "FAILED")] {
        let id = millrace.fire(webhook, &json!({})).await;
        let server = millrace.url("");
        let arguments = ["execution", &id, "--watch", "--server", &server];
        let output = command(&arguments, &[]).output().await.unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{shown}");
        assert!(shown.contains("executionStarted"), "{shown}");
        assert!(shown.contains(&format!("{id} {text}")), "{shown}");
    }
}

#[tokio::test]
async fn one_who_looks_on_does_not_keep_the_process_from_stopping() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let long = waits("long", "{wait: {minutes: 5}}");
    millrace.deploy(&long, "long").await;
    let id = millrace.fire("long", &json!({})).await;
    let url = millrace.url(&format!("/api/executions/{id}/stream"));
    let mut answer = client().get(url).send().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    let ended = tokio::time::timeout(Duration::from_secs(8), millrace.terminate());
    assert!(ended.await.expect("it does not wait for us").success());
    // The stream ends in order, without the execution.
    let mut rest = Vec::new();
    while let Ok(Some(bytes)) = answer.chunk().await {
        rest.extend_from_slice(&bytes);
    }
    assert!(!String::from_utf8_lossy(&rest).contains("event: end"));
}

#[tokio::test]
async fn figures_say_what_happened() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let deployment = millrace.deploy(FAILS, "fails").await;
    let body = json!({
        "workflow": waits("clocked", "{set: {n: 1}}"),
        "triggers": [
            {"type": "interval", "every": "PT1S", "jitterWindow": "PT0S"},
            {"type": "cron", "cron": "0 3 * * *"},
        ],
    });
    let (_, clocked) = millrace.post("/api/deployments", &body).await;
    for _ in 0..3 {
        let id = millrace.fire("fails", &json!({})).await;
        millrace.until(&id, &["FAILED"]).await;
    }
    let get = async |path: String| {
        let (status, body) = millrace.get(&path).await;
        assert_eq!(status, 200, "{path}: {body:#}");
        body
    };
    let failing = deployment["id"].as_str().unwrap();
    let one = get(format!(
        "/api/monitoring/deployments?deploymentId={failing}"
    ))
    .await;
    let stats = &one["items"][0];
    assert_eq!(stats["ended"]["failed"], 3, "{stats:#}");
    assert_eq!(stats["successRate"], 0.0);
    assert_eq!(stats["durations"]["count"], 3);
    assert_eq!(stats["lastRun"]["status"], "FAILED");
    assert_eq!(stats["window"]["complete"], true);
    let all = get("/api/monitoring/deployments?limit=1".into()).await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert!(all["next"].is_string());

    let found = get("/api/monitoring/executions?errorText=KETTLE%22%20is&limit=2".into()).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 2, "{found:#}");
    let next = found["next"].as_str().unwrap();
    let rest = get(format!(
        "/api/monitoring/executions?errorText=kettle&limit=2&cursor={next}"
    ))
    .await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest:#}");
    let nothing = get("/api/monitoring/executions?errorText=toaster".into()).await;
    assert_eq!(
        (&nothing["items"], &nothing["next"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(nothing["scanned"], 3);

    // The interval fires each second: wait for two of its runs.
    let interval = clocked["triggers"][0]["id"].as_str().unwrap();
    let runs = millrace_testkit::eventually(PATIENCE, || async {
        let runs = get(format!("/api/executions?triggerId={interval}")).await;
        match runs["items"].as_array().map(Vec::len) {
            Some(2..) => Ok(runs),
            _ => Err(runs),
        }
    })
    .await;
    assert_eq!(runs["items"][0]["trigger"]["id"], interval);
    let scheduling = get("/api/monitoring/scheduling".into()).await;
    assert_eq!(scheduling["scheduler"]["state"], "running");
    assert_eq!(
        scheduling["schedules"]["active"],
        json!({"value": 2, "atLeast": false})
    );
    assert!(
        scheduling["lastHour"]["outcomes"]["fired"]
            .as_u64()
            .unwrap()
            >= 2
    );
    assert!(
        scheduling["lastHour"]["startLag"]["p99Ms"].is_number(),
        "{scheduling:#}"
    );
    let jitter = get("/api/monitoring/jitter".into()).await;
    assert_eq!(jitter["planned"]["withoutWindow"], 1, "{jitter:#}");
    assert_eq!(jitter["planned"]["schedules"], 1);
    let load = get("/api/monitoring/load?hours=1".into()).await;
    assert_eq!(load["now"]["instances"].as_array().unwrap().len(), 1);
    let forecast = &load["forecast"];
    assert_eq!(forecast["complete"], true, "{forecast:#}");
    assert!(forecast["total"].as_u64().unwrap() >= 3590, "{forecast:#}");
    assert_eq!(
        get("/api/monitoring/health".into()).await["status"],
        "healthy"
    );
    for wrong in [
        "/api/monitoring/load?hours=25",
        "/api/monitoring/scheduling?x=1",
        "/api/monitoring/deployments?deploymentId=nope",
    ] {
        assert_eq!(millrace.get(wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_schedule_that_strays_is_told_of_by_figures_metrics_and_the_scheduler() {
    let asked = Arc::new(Semaphore::new(0));
    let let_go = Arc::clone(&asked);
    let held = move || async move {
        let_go.acquire().await.expect("open").forget();
        axum::Json(json!({}))
    };
    let service = Service::start(axum::Router::new().route("/", axum::routing::get(held))).await;
    let data = tempfile::tempdir().unwrap();
    let admin = format!("127.0.0.1:{}", millrace_testkit::free_port());
    let settings = [("MILLRACE_GATEWAY__ADMIN_LISTEN", admin.as_str())];
    let millrace = Millrace::dev_with(data.path(), &settings).await;
    let task = format!(
        "{{call: http, with: {{method: get, endpoint: '{}'}}}}",
        service.url
    );
    let every = json!({
        "type": "interval", "every": "PT1S", "jitterWindow": "PT0S", "overlap": "queue",
    });
    let body = json!({"workflow": waits("strays", &task), "triggers": [every]});
    let (status, deployed) = millrace.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployed:#}");
    let trigger = deployed["triggers"][0]["id"].as_str().unwrap();
    let figures = async || millrace.get("/api/monitoring/scheduling").await.1;
    // One waits for the first run, and the next four are passed over: it will
    // be late by four seconds.
    eventually(PATIENCE, || async {
        let figures = figures().await;
        let skipped = figures["lastHour"]["outcomes"]["skipped"].as_u64();
        if skipped >= Some(4) {
            Ok(())
        } else {
            Err(figures)
        }
    })
    .await;
    assert_eq!(figures().await["drift"]["schedules"]["value"], 0);
    asked.add_permits(1);
    let figures = eventually(PATIENCE, || async {
        let figures = figures().await;
        let straying = figures["drift"]["schedules"]["value"] == 1;
        if straying { Ok(figures) } else { Err(figures) }
    })
    .await;
    let drift = &figures["drifting"][0];
    assert_eq!(drift["triggerId"], trigger, "{figures:#}");
    let off = drift["driftMs"].as_f64().unwrap();
    assert!(off > 2000.0, "{figures:#}");
    assert_eq!(figures["drift"]["worstMs"].as_f64(), Some(off));
    let (_, scheduler) = answer(client().get(format!("http://{admin}/admin/scheduler"))).await;
    assert_eq!(scheduler["drifting"], 1, "{scheduler:#}");
    assert!(scheduler["worstDriftMs"].as_f64().unwrap() > 2000.0);
    let metrics = eventually(PATIENCE, || async {
        let (_, metrics) = answer(client().get(format!("http://{admin}/metrics"))).await;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        let told = metrics.contains("millrace_schedules_drifting 1\n");
        if told { Ok(metrics) } else { Err(metrics) }
    })
    .await;
    let worst = metrics
        .lines()
        .find_map(|line| line.strip_prefix("millrace_schedule_drift_max_seconds "))
        .unwrap();
    assert!(worst.parse::<f64>().unwrap() > 2.0, "{worst}");
    assert!(!metrics.contains("trg_"), "{metrics}");
    asked.add_permits(100);
}
