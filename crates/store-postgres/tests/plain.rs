//! The short way of plain batches, which answers as the long one does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use millrace_store::{
    Admission, Checkpoint, DeploymentSettings, DeploymentStore, Ending, EventRecord,
    ExecutionStore, FrameRecord, IncarnationStore, NewDeployment, Outcome, TriggerRef, Write,
    WriteDone,
};
use millrace_store_postgres::{PostgresConfig, PostgresStore};
use millrace_testkit::TestDatabase;
use millrace_types::{ExecutionId, IncarnationId, Timestamp, TriggerKind};

/// Counts the plain batches by what they came to.
#[derive(Default)]
struct Counts {
    applied: Arc<AtomicU64>,
    judged: Arc<AtomicU64>,
}

impl Counts {
    fn take(&self) -> (u64, u64) {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        (take(&self.applied), take(&self.judged))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != "millrace_postgres_plain_batches_total" {
            return Counter::noop();
        }
        let outcome = key.labels().find(|label| label.key() == "outcome");
        match outcome.map(metrics::Label::value) {
            Some("applied") => Counter::from_arc(Arc::clone(&self.applied)),
            Some("judged") => Counter::from_arc(Arc::clone(&self.judged)),
            other => panic!("{other:?} is not expected"),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn event(seq: u64) -> EventRecord {
    EventRecord {
        seq,
        at: Timestamp::now(),
        kind: "task-started".into(),
        task: "/do/0/a".into(),
        attempt: 1,
        detail: String::new(),
    }
}

// One thread: the recorder is that thread's.
#[tokio::test]
async fn plain_batches_are_one_statement() {
    let counts = Counts::default();
    let _counted = set_default_local_recorder(&counts);
    let database = TestDatabase::create().await;
    let config = PostgresConfig::new(&database.url);
    let store = PostgresStore::connect(&config).await.unwrap();
    store.migrate().await.unwrap();
    let owner = IncarnationId::new();
    store
        .register(owner, Duration::from_mins(10))
        .await
        .unwrap();
    let orders = NewDeployment {
        namespace: "default".into(),
        name: "orders".into(),
        workflow_version: "1.0.0".into(),
        digest: "0".into(),
        definition_json: "{}".into(),
        source: "{}".into(),
        config_json: "{}".into(),
        labels: BTreeMap::new(),
        settings: DeploymentSettings::default(),
        triggers: Vec::new(),
    };
    let deployment_id = store.deploy(&orders).await.unwrap().deployment.id;
    let ids = [ExecutionId::new(), ExecutionId::new()];
    let admissions = ids.map(|id| {
        Write::Admit(Admission {
            id,
            deployment_id,
            trigger: TriggerRef {
                kind: TriggerKind::Manual,
                id: None,
            },
            input: Bytes::from_static(b"{}"),
            dedupe: None,
            owner: Some(owner),
            traceparent: None,
            rerun_of: None,
        })
    });
    let commit = async |writes: &[Write]| -> Vec<WriteDone> {
        let outcomes = store.commit(writes).await.unwrap();
        outcomes.into_iter().map(Result::unwrap).collect()
    };
    commit(&admissions).await;
    assert_eq!(counts.take(), (0, 0), "no batch of admissions is plain");

    let checkpoints = ids.map(|id| {
        Write::Checkpoint(Checkpoint {
            id,
            owner,
            epoch: 1,
            seq: 1,
            upsert_frames: vec![FrameRecord {
                id: 1,
                data: Bytes::from_static(b"{}"),
            }],
            delete_frames: Vec::new(),
            set_timers: Vec::new(),
            clear_timers: Vec::new(),
            events: vec![event(1)],
            park: false,
            set_listeners: Vec::new(),
            clear_listeners: Vec::new(),
            narrow_listeners: Vec::new(),
            consumed: Vec::new(),
            emits: Vec::new(),
        })
    });
    assert_eq!(
        commit(&checkpoints).await,
        [const { WriteDone::Checkpointed }; 2]
    );
    assert_eq!(counts.take(), (1, 0), "checkpoints");
    commit(&checkpoints[..1]).await;
    assert_eq!(counts.take(), (0, 1), "a repeat has to be told from a gap");

    let endings = ids.map(|id| {
        Write::End(Ending {
            id,
            owner,
            epoch: 1,
            outcome: Outcome::Succeeded(Bytes::from_static(b"{}")),
            events: vec![event(2)],
            retention_days: 30,
            keep_frames: Vec::new(),
            emits: Vec::new(),
            read_back: false,
        })
    });
    assert_eq!(
        commit(&endings).await,
        [const { WriteDone::Ended(None) }; 2]
    );
    assert_eq!(counts.take(), (1, 0), "ends");
    commit(&endings).await;
    assert_eq!(counts.take(), (0, 1), "as do repeated ends");
}
