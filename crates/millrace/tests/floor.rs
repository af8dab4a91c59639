//! The least that the service has to do: 100 requests in a second, end to end.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_testkit::TestDatabase;
use serde_json::json;
use support::{Millrace, answer, client, post_json};
use tokio::task::JoinSet;

/// Executions that have to end within one window.
const FLOOR: usize = 200;
const WINDOW: Duration = Duration::from_secs(2);
/// A machine that does something else for a while gets another chance.
const WINDOWS: usize = 15;
const CLIENTS: usize = 32;

/// Counts what has ended, not how long it took: one good window is enough.
async fn reaches_the_floor(millrace: &Millrace) {
    let document = "document: {dsl: 1.0.3, namespace: test, name: floor, version: 1.0.0}\n\
                    do:\n- keep:\n    set: {n: '${ .n }'}\n";
    let deployment = millrace.deploy(document, "floor").await;
    let id = deployment["id"].as_str().unwrap();
    let url = millrace.url(&format!("/api/deployments/{id}/trigger?wait=60s"));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let (url, ended, client) = (url.clone(), Arc::clone(&ended), client());
        clients.spawn(async move {
            loop {
                let request = post_json(&client, &url, &json!({"n": n}));
                let (status, execution) = answer(request).await;
                assert_eq!(status, 200, "{execution:#}");
                assert_eq!(execution["output"], json!({"n": n}), "{execution:#}");
                ended.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut seen = Vec::new();
    for _ in 0..WINDOWS {
        let before = ended.load(Ordering::Relaxed);
        tokio::select! {
            failed = clients.join_next() => panic!("a client failed: {failed:?}"),
            () = tokio::time::sleep(WINDOW) => {}
        }
        seen.push(ended.load(Ordering::Relaxed) - before);
        if seen.last() >= Some(&FLOOR) {
            println!("ended in each {WINDOW:?}: {seen:?}");
            return;
        }
    }
    panic!("never {FLOOR} executions in {WINDOW:?}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_a_second_run_to_their_end_on_sqlite() {
    let data = tempfile::tempdir().unwrap();
    reaches_the_floor(&Millrace::dev(data.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_a_second_run_to_their_end_on_postgres() {
    let database = TestDatabase::create().await;
    let data = tempfile::tempdir().unwrap();
    let arguments = [
        "dev",
        "--ready-json",
        "--data-dir",
        data.path().to_str().unwrap(),
        "--database-url",
        &database.url,
        "--listen",
        "127.0.0.1:0",
        "--runtime-listen",
        "127.0.0.1:0",
        "--orchestrator-listen",
        "127.0.0.1:0",
    ];
    reaches_the_floor(&Millrace::start(&arguments, &[]).await).await;
}
