//! How fast the store is. Not a test that can fail: run it by hand, with
//! `cargo test --release -p millrace-store-sqlite --test throughput -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_store::{
    Admission, Checkpoint, Dedupe, DeploymentStore, Ending, EventRecord, FrameRecord, GroupCommit,
    GroupCommitConfig, IncarnationStore, NewDeployment, Outcome, TriggerRef, Write,
};
use millrace_store_sqlite::{SqliteConfig, SqliteStore};
use millrace_types::{DeploymentId, ExecutionId, IncarnationId, Timestamp, TriggerKind};
use tokio::task::JoinSet;

const TOTAL: usize = 20_000;
const CALLERS: usize = 64;

/// `CALLERS` tasks that each wait for an answer before they write again.
async fn measure(what: &str, group: &GroupCommit, writes: Vec<Write>) {
    let started = Instant::now();
    let count = writes.len();
    let mut tasks = JoinSet::new();
    let mut shares: Vec<Vec<Write>> = (0..CALLERS).map(|_| Vec::new()).collect();
    for (n, write) in writes.into_iter().enumerate() {
        shares[n % CALLERS].push(write);
    }
    for share in shares {
        let group = group.clone();
        tasks.spawn(async move {
            let mut took = Vec::with_capacity(share.len());
            for write in share {
                let asked = Instant::now();
                group.submit(write).await.unwrap();
                took.push(asked.elapsed());
            }
            took
        });
    }
    let mut took: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    took.sort_unstable();
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = count as f64 / seconds;
    println!(
        "{what}: {rate:.0}/s, p50 {:?}, p99 {:?}",
        took[count / 2],
        took[count * 99 / 100]
    );
}

fn event(seq: u64) -> EventRecord {
    EventRecord {
        seq,
        at: Timestamp::now(),
        kind: "task.completed".into(),
        task: "/do/0/set".into(),
        attempt: 1,
        detail: "{}".into(),
    }
}

fn admission(deployment_id: DeploymentId, owner: IncarnationId) -> Admission {
    let id = ExecutionId::new();
    Admission {
        id,
        deployment_id,
        trigger: TriggerRef {
            kind: TriggerKind::Webhook,
            id: None,
        },
        input: Bytes::from(format!(r#"{{"order":"{id}","pad":"{}"}}"#, "x".repeat(200))),
        dedupe: Some(Dedupe {
            key: id.to_string(),
            keep: Duration::from_hours(24),
        }),
        owner: Some(owner),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        rerun_of: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn grouped_writes_per_second() {
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("millrace.db");
    let store = SqliteStore::open(&path, &SqliteConfig::default())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let bundle = NewDeployment {
        namespace: "default".into(),
        name: "orders".into(),
        workflow_version: "1.0.0".into(),
        digest: "0".repeat(64),
        definition_json: "{}".into(),
        source: "{}".into(),
        config_json: "{}".into(),
        labels: BTreeMap::new(),
        settings: millrace_store::DeploymentSettings::default(),
        triggers: Vec::new(),
    };
    let deployment = store.deploy(&bundle).await.unwrap().deployment.id;
    let owner = IncarnationId::new();
    store
        .register(owner, Duration::from_hours(1))
        .await
        .unwrap();
    let (group, committing) = GroupCommit::new(
        Arc::new(store.clone()),
        GroupCommitConfig {
            committers: 1,
            ..GroupCommitConfig::default()
        },
    );
    let mut committer = JoinSet::new();
    committer.spawn(committing);

    let admissions: Vec<_> = (0..TOTAL).map(|_| admission(deployment, owner)).collect();
    let ids: Vec<_> = admissions.iter().map(|a| a.id).collect();
    let writes = admissions.into_iter().map(Write::Admit).collect();
    measure("admit", &group, writes).await;
    let checkpoint = |id: &ExecutionId| {
        Write::Checkpoint(Checkpoint {
            id: *id,
            owner,
            epoch: 1,
            seq: 1,
            upsert_frames: vec![FrameRecord {
                id: 0,
                data: Bytes::from("x".repeat(300)),
            }],
            delete_frames: Vec::new(),
            set_timers: Vec::new(),
            clear_timers: Vec::new(),
            events: vec![event(1), event(2)],
            park: false,
            set_listeners: Vec::new(),
            clear_listeners: Vec::new(),
            narrow_listeners: Vec::new(),
            consumed: Vec::new(),
            emits: Vec::new(),
        })
    };
    measure("checkpoint", &group, ids.iter().map(checkpoint).collect()).await;
    let end = |id: &ExecutionId| {
        Write::End(Ending {
            id: *id,
            owner,
            epoch: 1,
            outcome: Outcome::Succeeded(Bytes::from_static(br#"{"ok":true}"#)),
            events: vec![event(3)],
            retention_days: 30,
            keep_frames: Vec::new(),
            emits: Vec::new(),
            read_back: false,
        })
    };
    measure("end", &group, ids.iter().map(end).collect()).await;
    drop(group);
    committer.join_all().await;
    store.close().await;
    println!(
        "file: {} KiB",
        std::fs::metadata(&path).unwrap().len() / 1024
    );
}
