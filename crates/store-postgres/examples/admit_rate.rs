//! Durable admissions per second through group commit.
//!
//! ```text
//! DATABASE_URL=postgres://… cargo run --release -p millrace-store-postgres \
//!     --example admit_rate -- [callers] [seconds] [committers]
//! ```
//!
//! It works in a database of its own, which it drops. Set beside it what the
//! same server does with `pgbench -c 64 -j 2 -M prepared` and one insert of
//! the same size into an indexed table for each transaction.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_store::{
    Admission, DeploymentStore, ExecutionStore, GroupCommit, GroupCommitConfig, IncarnationStore,
    NewDeployment, TriggerRef, Write,
};
use millrace_store_postgres::{PostgresConfig, PostgresStore};
use millrace_testkit::TestDatabase;
use millrace_types::{ExecutionId, IncarnationId, TriggerKind};
use tokio::task::JoinSet;

fn argument(at: usize, default: usize) -> usize {
    std::env::args()
        .nth(at)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (callers, seconds) = (argument(1, 64), argument(2, 10) as u64);
    let committers = argument(3, 2);
    let database = TestDatabase::create().await;
    let store = Arc::new(PostgresStore::connect(&PostgresConfig::new(&database.url)).await?);
    store.migrate().await?;
    let owner = IncarnationId::new();
    store.register(owner, Duration::from_hours(1)).await?;
    let deployment = store.deploy(&bundle()).await?.deployment;

    let (group, committing) = GroupCommit::new(
        Arc::clone(&store) as Arc<dyn ExecutionStore>,
        GroupCommitConfig {
            committers,
            ..GroupCommitConfig::default()
        },
    );
    let mut committer = JoinSet::new();
    committer.spawn(committing);
    let input = Bytes::from(format!(r#"{{"order":"{}"}}"#, "x".repeat(240)));
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (group, input) = (group.clone(), input.clone());
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                let admission = Admission {
                    id: ExecutionId::new(),
                    deployment_id: deployment.id,
                    trigger: TriggerRef {
                        kind: TriggerKind::Manual,
                        id: None,
                    },
                    input: input.clone(),
                    dedupe: None,
                    owner: Some(owner),
                    traceparent: None,
                    rerun_of: None,
                };
                group.submit(Write::Admit(admission)).await?;
                waits.push(begun.elapsed());
            }
            Ok::<_, millrace_store::WriteRefused>(waits)
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let took = start.elapsed();
    waits.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
    let rate = waits.len() as f64 / took.as_secs_f64();
    println!(
        "{callers} callers, {committers} committers: {rate:.0} admits/s, p50 {:.1} ms, p99 {:.1} ms",
        waits[waits.len() / 2].as_secs_f64() * 1e3,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
    );
    drop(group);
    committer.join_all().await;
    store.close().await;
    Ok(())
}

fn bundle() -> NewDeployment {
    NewDeployment {
        namespace: "default".into(),
        name: "bench".into(),
        workflow_version: "1.0.0".into(),
        digest: "0".into(),
        definition_json: "{}".into(),
        source: "{}".into(),
        config_json: "{}".into(),
        labels: std::collections::BTreeMap::new(),
        settings: millrace_store::DeploymentSettings::default(),
        triggers: Vec::new(),
    }
}
