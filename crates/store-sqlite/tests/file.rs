//! The file itself: opening, migrating, surviving.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_store::{
    Admission, DeploymentStore, EventStore, ExecutionFilter, ExecutionStore, Gathered, Gathering,
    IncarnationStore, NewDeployment, NewTrigger, PageRequest, StoreError, TriggerRef, Write,
};
use millrace_store_sqlite::{SqliteConfig, SqliteStore};
use millrace_types::{DeploymentId, ExecutionId, TriggerKind};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, &SqliteConfig::default())
        .await
        .unwrap()
}

/// A second look at the file, as another program would have.
async fn look(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap()
}

fn bundle() -> NewDeployment {
    NewDeployment {
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
    }
}

async fn deploy(store: &SqliteStore) -> DeploymentId {
    store.deploy(&bundle()).await.unwrap().deployment.id
}

fn admission(deployment_id: DeploymentId, input: Bytes) -> Admission {
    Admission {
        id: ExecutionId::new(),
        deployment_id,
        trigger: TriggerRef {
            kind: TriggerKind::Manual,
            id: None,
        },
        input,
        dedupe: None,
        owner: None,
        traceparent: None,
        rerun_of: None,
    }
}

#[tokio::test]
async fn migration_is_reported_and_done_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    assert!(!store.schema_is_current().await.unwrap());
    let known = store.migrations().await.unwrap();
    assert!(!known.is_empty() && known.iter().all(|step| !step.applied));
    let applied = store.migrate().await.unwrap();
    assert_eq!(applied.len(), known.len());
    assert!(applied.iter().all(|step| step.applied));
    assert!(store.schema_is_current().await.unwrap());
    assert_eq!(store.migrate().await.unwrap(), vec![]);
    assert_eq!(store.migrations().await.unwrap(), applied);
}

#[tokio::test]
async fn file_without_the_schema_is_told_from_a_failure() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("millrace.db")).await;
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Schema(_)), "{error}");
}

#[tokio::test]
async fn newer_schema_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    open(&path).await.migrate().await.unwrap();
    let mut other = look(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, x'00', 0)",
    )
    .execute(&mut other)
    .await
    .unwrap();
    other.close().await.unwrap();
    let store = open(&path).await;
    assert!(store.schema_is_current().await.unwrap());
    assert_eq!(store.migrate().await.unwrap(), vec![]);
}

#[tokio::test]
async fn folder_that_is_missing_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("missing").join("millrace.db");
    let error = SqliteStore::open(&path, &SqliteConfig::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn file_keeps_its_settings() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    open(&path).await.migrate().await.unwrap();
    let mut other = look(&path).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut other)
        .await
        .unwrap();
    let vacuum: i64 = sqlx::query_scalar("PRAGMA auto_vacuum")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert_eq!((mode.as_str(), vacuum), ("wal", 2), "incremental");
    let status = sqlx::query(
        "INSERT INTO workflows (workflow_id, deployment_id, namespace, name, deployment_status,
             deployment_config, current_version, created_at, updated_at)
         VALUES ('w', 'd', 'n', 'n', 'LIVE', x'', 1, 0, 0)",
    )
    .execute(&mut other)
    .await
    .unwrap_err();
    assert!(
        status
            .to_string()
            .contains("workflows_deployment_status_check"),
        "{status}"
    );
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let new = admission(deploy(&store).await, Bytes::from_static(b"[1]"));
    store.commit(&[Write::Admit(new.clone())]).await.unwrap();
    // What a killed process would have left, file and WAL, is read here.
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(
        folder.path().join("millrace.db-wal"),
        folder.path().join("copy.db-wal"),
    )
    .unwrap();
    let again = open(&copy).await;
    assert_eq!(again.execution(new.id).await.unwrap().unwrap().input, "[1]");
    store.close().await;
    assert!(
        !folder.path().join("millrace.db-wal").exists(),
        "the WAL is folded in"
    );
    let again = open(&path).await;
    assert_eq!(again.execution(new.id).await.unwrap().unwrap().input, "[1]");
}

#[tokio::test]
async fn closed_store_is_unavailable() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("millrace.db")).await;
    store.migrate().await.unwrap();
    store.close().await;
    let error = store.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

/// A caller may be dropped at any point: the writer is not left within its
/// transaction, and a batch is there as a whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_commit_leaves_all_or_nothing() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder.path().join("millrace.db")).await;
    store.migrate().await.unwrap();
    let deployment = deploy(&store).await;
    let (mut whole, mut none) = (0, 0);
    for round in 0..60_u64 {
        let writes: Vec<_> = (0..20)
            .map(|_| Write::Admit(admission(deployment, Bytes::from_static(b"{}"))))
            .collect();
        let patience = Duration::from_micros(round * 100);
        let _ = tokio::time::timeout(patience, store.commit(&writes)).await;
        // The next call waits for the writer, and so for the rollback.
        store.take_over_expired(1).await.unwrap();
        let mut there = 0;
        for write in &writes {
            let Write::Admit(admission) = write else {
                unreachable!("only admissions are written here")
            };
            there += usize::from(store.execution(admission.id).await.unwrap().is_some());
        }
        match there {
            0 => none += 1,
            20 => whole += 1,
            other => panic!("{other} of 20 were written"),
        }
    }
    assert!(none > 0, "a caller without patience wrote {whole} batches");
}

#[tokio::test]
async fn reader_is_not_held_up_by_the_writer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let new = admission(deploy(&store).await, Bytes::from_static(b"{}"));
    store.commit(&[Write::Admit(new.clone())]).await.unwrap();
    let mut other = look(&path).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let page = PageRequest {
        cursor: None,
        limit: 10,
    };
    let all = ExecutionFilter::default();
    let listed = store.list_executions(&all, &page);
    assert_eq!(listed.await.unwrap().items.len(), 1);
    assert!(store.execution(new.id).await.unwrap().is_some());
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn writer_that_finds_the_file_held_asks_to_repeat() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let config = SqliteConfig {
        timeout: Duration::from_millis(300),
        ..SqliteConfig::default()
    };
    let store = SqliteStore::open(&path, &config).await.unwrap();
    store.migrate().await.unwrap();
    let mut other = look(&path).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store.take_over_expired(1).await.unwrap_err();
    assert!(matches!(error, StoreError::Contended(_)), "{error}");
    held.rollback().await.unwrap();
    store.take_over_expired(1).await.unwrap();
}

#[tokio::test]
async fn space_of_what_retention_removes_is_given_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let mut other = look(&path).await;
    // 24 MiB of executions that ended long ago, in more than one step's rows.
    sqlx::query(
        "INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id,
             version, status, trigger_kind, epoch, created_at, ended_at, input)
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 600)
         SELECT 'exe_' || n, 1, 100, 'd', 'w', 1, 'SUCCEEDED', 'manual', 1, 0, 0, zeroblob(40960)
         FROM n",
    )
    .execute(&mut other)
    .await
    .unwrap();
    other.close().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut steps = 1;
    while store.maintain().await.unwrap() {
        steps += 1;
        assert!(Instant::now() < deadline, "maintenance does not end");
    }
    assert!(steps > 3, "one step does not do it all");
    store.close().await;
    let left = std::fs::metadata(&path).unwrap().len();
    assert!(left < 8 << 20, "{left} bytes are left");
}

async fn count(connection: &mut SqliteConnection, table: &'static str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Executions that ended long ago.
const LONG_ENDED: &str = "
    INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id,
        version, status, trigger_kind, epoch, created_at, ended_at, input)
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
    SELECT 'exe_' || n, 1, 100, 'd', 'w', 1, 'SUCCEEDED', 'manual', 1, 0, 0, x'7b7d'
    FROM n";

#[tokio::test]
async fn events_of_one_execution_go_in_parts_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let mut other = look(&path).await;
    let ended = sqlx::query(LONG_ENDED).bind(2);
    ended.execute(&mut other).await.unwrap();
    sqlx::query(
        "INSERT INTO execution_events (execution_id, first_seq, last_seq, day, at, events)
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 7000)
         SELECT 'exe_1', n, n, 100, 0, x'5b5d' FROM n",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let mut left = 7000;
    let mut more = true;
    while more {
        more = store.maintain().await.unwrap();
        let now = count(&mut other, "execution_events").await;
        assert!(left - now <= 2000, "{} at once", left - now);
        left = now;
        let ended = count(&mut other, "executions_ended").await;
        assert!(ended <= 1, "the one without events goes at once");
        assert_eq!(ended == 0, left == 0, "after its last event");
    }
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_cannot_be_maintained_does_not_stop_the_rest() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let mut other = look(&path).await;
    let ended = sqlx::query(LONG_ENDED).bind(600);
    ended.execute(&mut other).await.unwrap();
    for statement in [
        "INSERT INTO dedupe (deployment_id, key, execution_id, workflow_id, version, admitted_at,
             expires_at) VALUES ('d', 'k', 'exe_1', 'w', 1, 0, 0)",
        "CREATE TRIGGER stays BEFORE DELETE ON dedupe BEGIN SELECT RAISE(ABORT, 'it stays'); END",
    ] {
        sqlx::query(statement).execute(&mut other).await.unwrap();
    }
    let error = loop {
        match store.maintain().await {
            Ok(more) => assert!(more, "what failed is told"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("it stays"), "{error}");
    assert_eq!(count(&mut other, "executions_ended").await, 0);
}

#[tokio::test]
async fn events_that_have_started_something_are_forgotten_in_parts() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = open(&path).await;
    store.migrate().await.unwrap();
    let bundle = NewDeployment {
        triggers: vec![NewTrigger {
            kind: TriggerKind::Event,
            name: None,
            enabled: true,
            spec_json: "{}".into(),
            route: None,
            secrets: None,
            event_type: Some(String::new()),
        }],
        ..bundle()
    };
    let deployed = store.deploy(&bundle).await.unwrap().deployment;
    let trigger = &deployed.triggers[0];
    let mut other = look(&path).await;
    // Half of them of before they had an expiry of their own.
    sqlx::query(
        "INSERT INTO gathered_events
             (trigger_id, key, wants, fits, gathered_at, expires_at, execution_id)
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1001)
         SELECT ?1, 'old-' || n, '', 1, 0, iif(n % 2, 1, NULL), 'exe' FROM n",
    )
    .bind(trigger.id.to_string())
    .execute(&mut other)
    .await
    .unwrap();
    let gathering = Gathering {
        trigger: trigger.id,
        revision: trigger.revision,
        wants: String::new(),
        filters: 2,
        fits: 1,
        key: "new".into(),
        event: Bytes::from_static(b"{}"),
        keep: Duration::from_hours(1),
        admission: admission(deployed.id, Bytes::new()),
    };
    assert_eq!(store.gather(&gathering).await.unwrap(), Gathered::Waits);
    assert_eq!(
        count(&mut other, "gathered_events").await,
        1002,
        "an event has no time for others"
    );
    assert!(store.maintain().await.unwrap());
    while store.maintain().await.unwrap() {}
    assert_eq!(count(&mut other, "gathered_events").await, 1);
}
