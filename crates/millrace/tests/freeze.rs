//! An owner that is frozen past its lease, and goes on when others have long
//! done its work.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use millrace_testkit::{TestDatabase, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, Service, command};
use tokio::sync::Semaphore;

const EXECUTIONS: usize = 1_000;

/// The call of a first owner is answered once it is let; that of a later one
/// at once. The answer is the fencing token that came with it.
struct Gate {
    service: Service,
    held: Arc<AtomicUsize>,
    let_go: Arc<Semaphore>,
}

impl Gate {
    async fn start() -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        let let_go = Arc::new(Semaphore::new(0));
        let (count, gate) = (held.clone(), let_go.clone());
        let app = Router::new().fallback(any(move |headers: HeaderMap| {
            let (count, gate) = (count.clone(), gate.clone());
            async move {
                let token: u64 = headers["millrace-fencing-token"]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                if token == 1 {
                    count.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.unwrap().forget();
                }
                axum::Json(json!({"token": token}))
            }
        }));
        Self {
            service: Service::start(app).await,
            held,
            let_go,
        }
    }
}

async fn gateway(runtime: &Millrace) -> Millrace {
    let at = format!("http://{}", runtime.address("runtime"));
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    Millrace::start(&arguments, &[("MILLRACE_GATEWAY__RUNTIME", &at)]).await
}

/// What is shown of every execution, once all have ended.
async fn ended(gateway: &Millrace, ids: &[String]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for id in ids {
        let execution = gateway
            .until(id, &["SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT"])
            .await;
        let history = gateway.history(id).await;
        all.insert(id.clone(), json!({"is": execution, "history": history}));
    }
    all
}

/// How many of its writes a runtime has seen refused, by its log.
fn refused(log: &Path) -> usize {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines()
        .filter_map(|line| {
            let (before, _) = line.split_once(" late writes were refused")?;
            before
                .rsplit(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_late_write_of_a_frozen_owner_is_refused() {
    let gate = Gate::start().await;
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("frozen.log");
    let settings = |ttl: &'static str| {
        [
            ("DATABASE_URL", database.url.as_str()),
            ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback"),
            ("MILLRACE_RUNTIME__LEASE_TTL", ttl),
            ("MILLRACE_LOG", "info"),
        ]
    };
    let migrated = command(&["migrate"], &settings("2s")).status().await;
    assert!(migrated.unwrap().success());
    // Its own clock tells it nothing of the end of its lease: what keeps it
    // from writing has to be the database.
    let arguments = ["runtime", "--ready-json", "--listen", "127.0.0.1:0"];
    let frozen = Millrace::start_logging(&arguments, &settings("600s"), &log).await;
    let asked = gateway(&frozen).await;
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: late, version: 1.0.0}}\n\
         do:\n- call:\n    call: http\n    with: {{method: post, endpoint: \"{}/x\"}}\n",
        gate.service.url
    );
    asked.deploy(&document, "late").await;
    let mut ids = Vec::with_capacity(EXECUTIONS);
    for _ in 0..EXECUTIONS {
        ids.push(asked.fire("late", &json!({})).await);
    }
    eventually(PATIENCE, || async {
        match gate.held.load(Ordering::SeqCst) {
            EXECUTIONS => Ok(()),
            now => Err(now),
        }
    })
    .await;

    frozen.signal(Signal::STOP);
    // Its lease runs out, by the database's clock.
    database
        .execute("UPDATE incarnations SET expires_at = now() - interval '1 second'")
        .await;
    let other = Millrace::start(&arguments, &settings("2s")).await;
    let shown = gateway(&other).await;
    let before = ended(&shown, &ids).await;
    for (id, execution) in &before {
        assert_eq!(
            execution["is"]["status"], "SUCCEEDED",
            "{id}: {execution:#}"
        );
        let token = execution["is"]["output"]["token"].as_u64().unwrap();
        assert!(token > 1, "{id} has the outcome of its first owner");
    }

    // The answers to its calls are there when it goes on: each leads to a
    // write, and each of these comes too late.
    gate.let_go.add_permits(EXECUTIONS);
    frozen.signal(Signal::CONT);
    eventually(PATIENCE, || async {
        match refused(&log) {
            EXECUTIONS => Ok(()),
            now => Err(format!("{now} writes were refused")),
        }
    })
    .await;
    let after = ended(&shown, &ids).await;
    assert_eq!(before.len(), EXECUTIONS);
    assert!(before == after, "a late write has landed");
    for (id, execution) in &after {
        let history = execution["history"].as_array().unwrap();
        let ends = history
            .iter()
            .filter(|item| item["kind"] == "executionSucceeded")
            .count();
        assert_eq!(ends, 1, "{id}: {history:#?}");
    }
    println!("{} of {EXECUTIONS} late writes were refused", refused(&log));
}
