//! Engines as processes of their own, over gRPC: two of them, killed and
//! stopped under work.

mod support;

use std::collections::HashMap;

use axum::http::HeaderMap;
use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, Service, command};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

type Call = (HeaderMap, oneshot::Sender<()>);

/// A service whose calls are answered when the test says so.
struct Asked {
    calls: mpsc::UnboundedReceiver<Call>,
    service: Service,
}

impl Asked {
    async fn start() -> Self {
        let (sender, calls) = mpsc::unbounded_channel();
        let app = axum::Router::new().fallback(move |headers: HeaderMap| {
            let sender = sender.clone();
            async move {
                let (answer, told) = oneshot::channel::<()>();
                sender.send((headers, answer)).unwrap();
                let _ = told.await;
                axum::Json(json!({"done": true}))
            }
        });
        Self {
            calls,
            service: Service::start(app).await,
        }
    }

    async fn next(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.calls.recv())
            .await
            .expect("a call in time")
            .expect("the service runs")
    }
}

/// A runtime and a gateway in front of engines at addresses of their own.
struct Cluster {
    gateway: Millrace,
    _runtime: Millrace,
    /// The runtime's admin listener.
    admin: String,
    asked: Asked,
    engines: Vec<Option<Millrace>>,
    addresses: Vec<String>,
    _data: TempDir,
}

const EGRESS: (&str, &str) = ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback");
/// Shorter than the calls of these tests are held.
const DRAIN: (&str, &str) = ("MILLRACE_ENGINE__DRAIN", "500ms");

impl Cluster {
    async fn start(engines: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}/m.db", data.path().display());
        let settings = [("DATABASE_URL", database.as_str())];
        let migrated = command(&["migrate"], &settings).output().await.unwrap();
        let said = String::from_utf8_lossy(&migrated.stderr);
        assert!(migrated.status.success(), "{said}");

        // They are started again at the same addresses.
        let addresses: Vec<String> = (0..engines)
            .map(|_| format!("127.0.0.1:{}", millrace_testkit::free_port()))
            .collect();
        let with_engines = addresses.join(",");
        let admin = format!("127.0.0.1:{}", millrace_testkit::free_port());
        let settings = [
            settings[0],
            ("MILLRACE_RUNTIME__ENGINE", &with_engines),
            ("MILLRACE_RUNTIME__ADMIN_LISTEN", &admin),
        ];
        let listen = ["--ready-json", "--listen", "127.0.0.1:0"];
        let runtime = Millrace::start(&[&["runtime"], &listen[..]].concat(), &settings).await;
        let runtimes = format!("http://{}", runtime.address("runtime"));
        let settings = [
            ("MILLRACE_GATEWAY__RUNTIME", runtimes.as_str()),
            ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
        ];
        let gateway = Millrace::start(&[&["gateway"], &listen[..]].concat(), &settings).await;
        let mut cluster = Self {
            gateway,
            _runtime: runtime,
            admin,
            asked: Asked::start().await,
            engines: (0..engines).map(|_| None).collect(),
            addresses,
            _data: data,
        };
        for index in 0..engines {
            cluster.start_engine(index).await;
        }
        cluster
    }

    async fn start_engine(&mut self, index: usize) {
        let address = &self.addresses[index];
        let arguments = ["engine", "--ready-json", "--listen", address];
        self.engines[index] = Some(Millrace::start(&arguments, &[EGRESS, DRAIN]).await);
    }

    fn take_engine(&mut self, index: usize) -> Millrace {
        self.engines[index].take().expect("it runs")
    }

    /// A workflow that calls the service; the call's answer is its output.
    async fn deploy(&self) {
        let document = format!(
            "document: {{dsl: 1.0.3, namespace: test, name: asks, version: 1.0.0}}\n\
             do:\n- call:\n    call: http\n    with: {{method: post, endpoint: \"{}/x\", body: {{}}}}\n",
            self.asked.service.url
        );
        self.gateway.deploy(&document, "asks").await;
    }

    async fn fire(&self) -> String {
        let url = self.gateway.url("/webhooks/asks");
        let request = support::post_json(&support::client(), &url, &json!({}))
            .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
        let (status, accepted) = support::answer(request).await;
        assert_eq!(status, 202, "{accepted:#}");
        accepted["executionId"].as_str().unwrap().to_owned()
    }

    async fn until_engine_is(&self, status: &str) -> Value {
        eventually(PATIENCE, || async {
            let (_, health) = self.gateway.get("/health").await;
            let engine = health["dependencies"]["workflow_engine"].clone();
            if engine["status"] == status {
                Ok(health)
            } else {
                Err(health)
            }
        })
        .await
    }

    async fn until_succeeded(&self, id: &str) {
        let execution = self.gateway.until(id, &["SUCCEEDED", "FAILED"]).await;
        assert_eq!(execution["output"], json!({"done": true}), "{execution:#}");
    }
}

fn key(call: &Call) -> String {
    call.0["idempotency-key"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_killed_engine_ran_goes_on_at_the_other_and_keeps_its_trace() {
    let mut cluster = Cluster::start(2).await;
    cluster.deploy().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(cluster.fire().await);
    }
    let mut calls: HashMap<String, Vec<Call>> = HashMap::new();
    for _ in 0..4 {
        let call = cluster.asked.next().await;
        calls.entry(key(&call)).or_default().push(call);
    }
    assert_eq!(calls.len(), 4, "each execution calls with a key of its own");

    // Nobody starts it again: what it ran can only go on at the other one.
    cluster.take_engine(0).kill().await;
    let (gateway, asked) = (&cluster.gateway, &mut cluster.asked);
    let all_ended = async {
        for id in &ids {
            let execution = gateway.until(id, &["SUCCEEDED", "FAILED"]).await;
            assert_eq!(execution["output"], json!({"done": true}), "{execution:#}");
        }
    };
    tokio::pin!(all_ended);
    // The first calls too: those of the engine that lives wait for an answer.
    for (_, answer) in calls.values_mut().flat_map(|calls| calls.drain(..)) {
        let _ = answer.send(());
    }
    loop {
        tokio::select! {
            () = &mut all_ended => break,
            (headers, answer) = asked.next() => {
                let key = headers["idempotency-key"].to_str().unwrap();
                assert!(calls.contains_key(key), "{key} is a call of no execution");
                let traceparent = headers["traceparent"].to_str().unwrap();
                assert!(traceparent.contains(TRACE), "{traceparent}");
                let _ = answer.send(());
            }
        }
    }
}

#[tokio::test]
async fn without_any_engine_work_stays_queued_and_health_says_so() {
    let mut cluster = Cluster::start(2).await;
    cluster.deploy().await;
    let running = cluster.fire().await;
    let (first, _unanswered) = cluster.asked.next().await;
    for index in 0..2 {
        cluster.take_engine(index).kill().await;
    }
    let health = cluster.until_engine_is("unhealthy").await;
    assert_eq!(health["status"], "degraded", "{health:#}");
    let message = &health["dependencies"]["workflow_engine"]["message"];
    let message = message.as_str().unwrap();
    assert!(message.contains("none of 2 workflow engines"), "{message}");

    let queued = cluster.fire().await;
    for id in [&running, &queued] {
        cluster.gateway.until(id, &["PENDING"]).await;
    }
    cluster.start_engine(1).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (headers, answer) = cluster.asked.next().await;
        keys.push(headers["idempotency-key"].clone());
        answer.send(()).unwrap();
    }
    assert!(keys.contains(&first["idempotency-key"]), "{keys:?}");
    for id in [&running, &queued] {
        cluster.until_succeeded(id).await;
    }
    cluster.until_engine_is("healthy").await;
}

#[tokio::test]
async fn what_backs_off_is_counted_until_an_engine_takes_it_up() {
    let mut cluster = Cluster::start(1).await;
    cluster.deploy().await;
    let id = cluster.fire().await;
    let (_, _unanswered) = cluster.asked.next().await;
    let watch = async |cluster: &Cluster, backing_off: u64, engine_ready: bool| {
        eventually(PATIENCE, || async {
            let (status, load) = cluster.gateway.get("/api/monitoring/load?hours=1").await;
            let now = &load["now"];
            let counted = now["backingOff"] == json!({"value": backing_off, "atLeast": false});
            if status == 200 && counted && now["engineReady"] == engine_ready {
                Ok(())
            } else {
                Err(load)
            }
        })
        .await;
        let url = format!("http://{}/metrics", cluster.admin);
        let lines = [
            format!("millrace_executions_backing_off {backing_off}\n"),
            format!("millrace_engine_ready {}\n", u8::from(engine_ready)),
        ];
        eventually(PATIENCE, || async {
            let (_, metrics) = support::answer(support::client().get(&url)).await;
            let metrics = metrics.as_str().unwrap_or_default().to_owned();
            if lines.iter().all(|line| metrics.contains(line)) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await;
    };
    cluster.take_engine(0).kill().await;
    watch(&cluster, 1, false).await;
    cluster.gateway.until(&id, &["PENDING"]).await;
    cluster.start_engine(0).await;
    let (_, answer) = cluster.asked.next().await;
    answer.send(()).unwrap();
    cluster.until_succeeded(&id).await;
    watch(&cluster, 0, true).await;
}

#[tokio::test]
async fn an_engine_that_stops_hands_back_what_does_not_end_in_time() {
    let mut cluster = Cluster::start(1).await;
    cluster.deploy().await;
    let id = cluster.fire().await;
    let (first, _unanswered) = cluster.asked.next().await;
    let ended = cluster.take_engine(0).terminate().await;
    assert!(ended.success(), "{ended}");
    cluster.gateway.until(&id, &["PENDING"]).await;
    cluster.start_engine(0).await;
    let (second, answer) = cluster.asked.next().await;
    assert_eq!(first["idempotency-key"], second["idempotency-key"]);
    answer.send(()).unwrap();
    cluster.until_succeeded(&id).await;
}
