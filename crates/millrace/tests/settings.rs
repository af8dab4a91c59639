//! What a deployment sets about its executions.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Path;
use axum::routing::any;
use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, Service};
use tokio::sync::Semaphore;

async fn deploy(millrace: &Millrace, name: &str, task: &str, config: &Value) -> Value {
    let document = format!(
        "document: {{dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0'}}\n\
         do:\n  - only: {task}\n"
    );
    let body = json!({
        "workflow": document,
        "triggers": [{"type": "webhook", "path": name}],
        "config": config,
    });
    let (status, deployment) = millrace.post("/api/deployments", &body).await;
    assert!(matches!(status, 200 | 201), "{status}: {deployment:#}");
    deployment
}

/// A service whose calls end when they are let; it knows who is there.
struct Gate {
    service: Service,
    open: Arc<Mutex<HashMap<String, usize>>>,
    most: Arc<Mutex<usize>>,
    let_go: Arc<Semaphore>,
}

struct Call(Arc<Mutex<HashMap<String, usize>>>, String);

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

impl Gate {
    async fn start() -> Self {
        let open = Arc::new(Mutex::new(HashMap::new()));
        let most = Arc::new(Mutex::new(0));
        let let_go = Arc::new(Semaphore::new(0));
        let (calls, highest, gate) = (open.clone(), most.clone(), let_go.clone());
        let app = Router::new().route(
            "/{who}",
            any(move |Path(who): Path<String>| {
                let (calls, highest, gate) = (calls.clone(), highest.clone(), gate.clone());
                async move {
                    {
                        let mut all = calls.lock().unwrap();
                        let now = all.entry(who.clone()).or_default();
                        *now += 1;
                        let mut highest = highest.lock().unwrap();
                        *highest = (*highest).max(*now);
                    }
                    let call = Call(calls, who);
                    gate.acquire().await.unwrap().forget();
                    drop(call);
                    axum::Json(json!({}))
                }
            }),
        );
        Self {
            service: Service::start(app).await,
            open,
            most,
            let_go,
        }
    }

    fn task(&self) -> String {
        format!(
            "{{call: http, with: {{method: get, endpoint: {{uri: '{}/{{shop}}'}}}}}}",
            self.service.url
        )
    }

    async fn has(&self, who: &str, calls: usize) {
        eventually(PATIENCE, || async {
            let now = self.open.lock().unwrap().get(who).copied().unwrap_or(0);
            if now == calls { Ok(()) } else { Err(now) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_limit_holds_for_each_value_of_its_key_and_the_rest_queues() {
    let gate = Gate::start().await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let config = json!({"concurrency": {"limit": 1, "key": ".shop", "policy": "queue"}});
    deploy(&millrace, "limited", &gate.task(), &config).await;
    let mut ids = Vec::new();
    for shop in ["a", "a", "b", "a"] {
        ids.push(millrace.fire("limited", &json!({"shop": shop})).await);
    }
    gate.has("a", 1).await;
    gate.has("b", 1).await;
    millrace.until(&ids[0], &["RUNNING"]).await;
    for id in [&ids[1], &ids[3]] {
        millrace.until(id, &["PENDING"]).await;
    }
    gate.let_go.add_permits(10);
    for id in &ids {
        let execution = millrace.until(id, &["SUCCEEDED", "FAILED"]).await;
        assert_eq!(execution["status"], "SUCCEEDED", "{execution:#}");
    }
    assert_eq!(*gate.most.lock().unwrap(), 1, "more than one at once");
    // An input without the key is the sender's mistake.
    for place in ["webhooks", "webhooks-test"] {
        let path = format!("/{place}/limited");
        let (status, problem) = millrace.post(&path, &json!([1])).await;
        assert_eq!(status, 400, "{place}: {problem:#}");
        assert_eq!(problem["reason"], "concurrency-key", "{place}: {problem:#}");
    }
    let (status, tried) = millrace
        .post("/webhooks-test/limited", &json!({"shop": "a"}))
        .await;
    assert_eq!(status, 200, "{tried:#}");
}

#[tokio::test]
async fn what_is_skipped_is_recorded_as_cancelled() {
    let gate = Gate::start().await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let config = json!({"concurrency": {"limit": 1, "policy": "skip"}});
    deploy(&millrace, "skips", &gate.task(), &config).await;
    let first = millrace.fire("skips", &json!({"shop": "a"})).await;
    gate.has("a", 1).await;
    let (status, skipped) = millrace
        .post("/webhooks/skips", &json!({"shop": "a"}))
        .await;
    assert_eq!((status, &skipped["status"]), (202, &json!("CANCELLED")));
    let id = skipped["executionId"].as_str().unwrap();
    let (_, shown) = millrace.get(&format!("/api/executions/{id}")).await;
    assert_eq!(shown["error"]["type"], "urn:millrace:error:skipped");
    let history = millrace.history(id).await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0]["kind"], "executionCancelled");
    gate.let_go.add_permits(1);
    millrace.until(&first, &["SUCCEEDED"]).await;
}

#[tokio::test]
async fn a_newer_execution_takes_the_place_of_the_oldest() {
    let gate = Gate::start().await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let config = json!({"concurrency": {"limit": 1, "policy": "cancelRunning"}});
    deploy(&millrace, "newest", &gate.task(), &config).await;
    let first = millrace.fire("newest", &json!({"shop": "a"})).await;
    gate.has("a", 1).await;
    let second = millrace.fire("newest", &json!({"shop": "b"})).await;
    millrace.until(&first, &["CANCELLED"]).await;
    gate.has("a", 0).await;
    gate.has("b", 1).await;
    gate.let_go.add_permits(1);
    millrace.until(&second, &["SUCCEEDED"]).await;
}

#[tokio::test]
async fn timeouts_end_what_waits_queues_and_stands_still() {
    let gate = Gate::start().await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let wait = "{wait: {hours: 1}}";
    deploy(&millrace, "total", wait, &json!({"timeout": "PT1S"})).await;
    let config = json!({"timeout": {"idle": "PT1S"}});
    deploy(&millrace, "idle", &gate.task(), &config).await;
    let config = json!({
        "timeout": {"start": "PT1S"}, "concurrency": {"limit": 1, "policy": "queue"}
    });
    deploy(&millrace, "start", wait, &config).await;
    let total = millrace.fire("total", &json!({})).await;
    let idle = millrace.fire("idle", &json!({"shop": "a"})).await;
    let first = millrace.fire("start", &json!({})).await;
    let queued = millrace.fire("start", &json!({})).await;
    for (id, says) in [(total, "timeout"), (idle, "idle"), (queued, "start")] {
        let execution = millrace.until(&id, &["TIMED_OUT", "FAILED"]).await;
        assert_eq!(execution["status"], "TIMED_OUT", "{execution:#}");
        let detail = execution["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        let last = millrace.history(&id).await.pop().unwrap();
        assert_eq!(last["kind"], "executionTimedOut");
    }
    gate.has("a", 0).await;
    millrace.until(&first, &["WAITING"]).await;
}

#[tokio::test]
async fn deadlines_count_while_nobody_has_room() {
    let gate = Gate::start().await;
    let data = tempfile::tempdir().unwrap();
    let one = [("MILLRACE_RUNTIME__MAX_RUNNING", "1")];
    let millrace = Millrace::dev_with(data.path(), &one).await;
    deploy(&millrace, "busy", &gate.task(), &json!({})).await;
    let busy = millrace.fire("busy", &json!({"shop": "a"})).await;
    gate.has("a", 1).await;
    let wait = "{wait: {hours: 1}}";
    let config = json!({"timeout": {"start": "PT1S"}});
    deploy(&millrace, "start", wait, &config).await;
    deploy(&millrace, "total", wait, &json!({"timeout": "PT1S"})).await;
    // It was due before the others, and has no deadline.
    let behind = millrace.fire("busy", &json!({"shop": "b"})).await;
    for (name, says) in [
        ("start", "start timeout"),
        ("total", "deployment's timeout"),
    ] {
        let id = millrace.fire(name, &json!({})).await;
        let execution = millrace.until(&id, &["TIMED_OUT", "FAILED"]).await;
        assert_eq!(execution["status"], "TIMED_OUT", "{execution:#}");
        assert_eq!(execution["startedAt"], Value::Null, "{execution:#}");
        let detail = execution["error"]["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
        let history = millrace.history(&id).await;
        assert_eq!(history.len(), 1, "{history:#?}");
        assert_eq!(history[0]["kind"], "executionTimedOut");
    }
    millrace.until(&busy, &["RUNNING"]).await;
    millrace.until(&behind, &["PENDING"]).await;
    let (_, metrics) = millrace.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    let counted = "millrace_executions_overdue_total 2";
    assert!(metrics.contains(counted), "{metrics}");
    gate.let_go.add_permits(2);
    for id in [busy, behind] {
        millrace.until(&id, &["SUCCEEDED"]).await;
    }
}

#[tokio::test]
async fn a_deadline_survives_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let config = json!({"timeout": "PT3S"});
    deploy(&millrace, "late", "{wait: {hours: 1}}", &config).await;
    let id = millrace.fire("late", &json!({})).await;
    millrace.until(&id, &["WAITING"]).await;
    millrace.kill().await;
    let millrace = Millrace::dev(data.path()).await;
    millrace.until(&id, &["TIMED_OUT"]).await;
}

#[tokio::test]
async fn settings_are_checked_whole_versioned_and_patched() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    let document = "document: {dsl: 1.0.3, namespace: test, name: set, version: 1.0.0}\n\
                    do:\n- keep:\n    set: {n: 1}\n";
    let bad = json!({"workflow": document, "config": {
        "concurrency": {"limit": 0, "policy": "never"}, "timeout": "1h", "priority": 101,
        "retention": {"lost": "P1D"}
    }});
    let (status, problem) = millrace.post("/api/deployments", &bad).await;
    let mut places: Vec<_> = (problem["errors"].as_array().unwrap().iter())
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    places.sort_unstable();
    assert_eq!(status, 400, "{problem:#}");
    assert_eq!(
        places,
        [
            "/config/concurrency/limit",
            "/config/concurrency/policy",
            "/config/priority",
            "/config/retention/lost",
            "/config/timeout",
        ]
    );
    let first = deploy(&millrace, "set", "{set: {n: 1}}", &json!({"priority": 3})).await;
    let path = format!("/api/deployments/{}", first["id"].as_str().unwrap());
    let patch = json!({"config": {"timeout": "PT1H", "retention": "P7D"}});
    let client = support::client();
    let (status, second) = support::answer(
        client
            .patch(millrace.url(&path))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string()),
    )
    .await;
    assert_eq!(status, 200, "{second:#}");
    assert_eq!(second["version"], 2);
    assert_eq!(
        second["config"],
        json!({"priority": 3, "timeout": "PT1H", "retention": "P7D"})
    );
}
