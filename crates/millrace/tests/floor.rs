//! The least that the service has to do: 100 requests in a second, end to end.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_testkit::TestDatabase;
use serde_json::json;
use support::{Millrace, answer, client, post_json};
use tokio::task::JoinSet;

/// Executions that have to end within one window.
const FLOOR: u64 = 200;
const WINDOW: Duration = Duration::from_secs(2);
/// A machine that does something else for a while gets another chance.
const WINDOWS: usize = 10;
const CLIENTS: usize = 32;

/// Time of processors in the kernel's ticks: what all of this machine had,
/// what of it was idle, and what the processes `own` used.
#[derive(Clone, Copy)]
struct Ticks {
    all: u64,
    idle: u64,
    own: u64,
}

impl Ticks {
    /// `None` where there is no /proc.
    fn now(own: &[i32]) -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let all: Vec<u64> = stat
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            // What guests use is counted among the first already.
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let used = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name, in parentheses, may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        Some(Self {
            all: all.iter().sum(),
            idle: all.get(3)? + all.get(4)?,
            own: own.iter().filter_map(used).sum(),
        })
    }

    /// The floor on the part of the machine that others left since `before`.
    fn floor_since(self, before: Self) -> u64 {
        let left = (self.idle - before.idle) + (self.own - before.own);
        let all = (self.all - before.all).max(1);
        FLOOR * left.min(all) / all
    }
}

/// Counts what has ended, not how long it took: one good window is enough. On
/// a machine that others use at the same time, the floor is as much lower.
async fn reaches_the_floor(millrace: &Millrace) {
    let document = "document: {dsl: 1.0.3, namespace: test, name: floor, version: 1.0.0}\n\
                    do:\n- keep:\n    set: {n: '${ .n }'}\n";
    let deployment = millrace.deploy(document, "floor").await;
    let id = deployment["id"].as_str().unwrap();
    let url = millrace.url(&format!("/api/deployments/{id}/trigger?wait=60s"));
    let ended = Arc::new(AtomicU64::new(0));
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
    let own = [
        millrace.pid().as_raw_pid(),
        std::process::id().cast_signed(),
    ];
    let mut seen = Vec::new();
    for _ in 0..WINDOWS {
        let before = (ended.load(Ordering::Relaxed), Ticks::now(&own));
        tokio::select! {
            failed = clients.join_next() => panic!("a client failed: {failed:?}"),
            () = tokio::time::sleep(WINDOW) => {}
        }
        let floor = match (before.1, Ticks::now(&own)) {
            (Some(before), Some(now)) => now.floor_since(before),
            _ => FLOOR,
        };
        let count = ended.load(Ordering::Relaxed) - before.0;
        seen.push((count, floor));
        if count >= floor.max(1) {
            println!("ended in each {WINDOW:?}, and the floor: {seen:?}");
            return;
        }
    }
    panic!("never enough executions in {WINDOW:?}; with the floor: {seen:?}");
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
