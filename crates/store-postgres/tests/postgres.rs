//! What only PostgreSQL has: several writers at once, partitions, a network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use millrace_store::{
    Admission, Admitted, DeploymentRecord, DeploymentStore, Ending, EventRecord, EventStore,
    ExecutionStore, Gathered, Gathering, IncarnationStore, NewDeployment, NewTrigger, Outcome,
    StoreError, TriggerRef, Write, WriteDone,
};
use millrace_store_postgres::{PostgresConfig, PostgresStore};
use millrace_testkit::{TestDatabase, eventually};
use millrace_types::{
    DeploymentId, ExecutionId, ExecutionStatus, IncarnationId, Timestamp, TriggerKind,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_mins(10);

struct Bench {
    store: PostgresStore,
    deployment: DeploymentId,
    owner: IncarnationId,
    // Dropped last, with the database.
    database: TestDatabase,
}

fn bundle(name: &str, triggers: Vec<NewTrigger>) -> NewDeployment {
    NewDeployment {
        namespace: "default".into(),
        name: name.into(),
        workflow_version: "1.0.0".into(),
        digest: "0".into(),
        definition_json: "{}".into(),
        source: "{}".into(),
        config_json: "{}".into(),
        labels: BTreeMap::new(),
        settings: millrace_store::DeploymentSettings::default(),
        triggers,
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(|config| PostgresConfig {
            max_connections: 4,
            lock_timeout: Duration::from_millis(500),
            ..config
        })
        .await
    }

    async fn with(settings: impl FnOnce(PostgresConfig) -> PostgresConfig) -> Self {
        let database = TestDatabase::create().await;
        let config = settings(PostgresConfig::new(&database.url));
        let store = PostgresStore::connect(&config).await.unwrap();
        store.migrate().await.unwrap();
        let owner = IncarnationId::new();
        store.register(owner, LONG).await.unwrap();
        let orders = bundle("orders", Vec::new());
        let deployment = store.deploy(&orders).await.unwrap().deployment.id;
        Self {
            store,
            deployment,
            owner,
            database,
        }
    }

    async fn other_connection(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }

    fn admission(&self, id: ExecutionId) -> Write {
        Write::Admit(Admission {
            id,
            deployment_id: self.deployment,
            trigger: TriggerRef {
                kind: TriggerKind::Manual,
                id: None,
            },
            input: Bytes::from_static(b"{}"),
            dedupe: None,
            owner: Some(self.owner),
            traceparent: None,
            rerun_of: None,
        })
    }

    fn ending(&self, id: ExecutionId, retention_days: u16) -> Write {
        Write::End(Ending {
            id,
            owner: self.owner,
            epoch: 1,
            outcome: Outcome::Succeeded(Bytes::from_static(b"{}")),
            events: vec![EventRecord {
                seq: 1,
                at: Timestamp::now(),
                kind: "ended".into(),
                task: String::new(),
                attempt: 0,
                detail: String::new(),
            }],
            retention_days,
            keep_frames: Vec::new(),
            emits: Vec::new(),
            read_back: false,
        })
    }

    async fn admit(&self, id: ExecutionId) -> Admitted {
        match self
            .store
            .commit(&[self.admission(id)])
            .await
            .unwrap()
            .pop()
        {
            Some(Ok(WriteDone::Admitted(admitted))) => admitted,
            other => panic!("not admitted: {other:?}"),
        }
    }

    /// Tries again when someone was in the way for longer than the lock
    /// timeout, as a group commit does.
    async fn end(&self, id: ExecutionId, retention_days: u16) {
        let ending = [self.ending(id, retention_days)];
        let outcome = loop {
            match self.store.commit(&ending).await {
                Err(StoreError::Contended(_)) => {}
                outcome => break outcome,
            }
        };
        assert_eq!(outcome.unwrap(), vec![Ok(WriteDone::Ended(None))]);
    }

    async fn count(&self, what: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {what}")))
            .fetch_one(&mut self.other_connection().await)
            .await
            .unwrap()
    }
}

/// A deployment with one trigger for events.
async fn listening(bench: &Bench) -> DeploymentRecord {
    let trigger = NewTrigger {
        kind: TriggerKind::Event,
        name: None,
        enabled: true,
        spec_json: "{}".into(),
        route: None,
        secrets: None,
        event_type: Some("made".into()),
    };
    let listening = bundle("listening", vec![trigger]);
    bench.store.deploy(&listening).await.unwrap().deployment
}

/// An event for its trigger, which has two filters, that fits the first.
fn gathering(listening: &DeploymentRecord, key: &str) -> Gathering {
    let (trigger, revision) = (listening.triggers[0].id, listening.triggers[0].revision);
    Gathering {
        trigger,
        revision,
        wants: "a and b".into(),
        filters: 2,
        fits: 0b01,
        key: key.into(),
        event: Bytes::from_static(b"{}"),
        keep: LONG,
        admission: Admission {
            id: ExecutionId::new(),
            deployment_id: listening.id,
            trigger: TriggerRef {
                kind: TriggerKind::Event,
                id: Some((trigger, revision)),
            },
            input: Bytes::new(),
            dedupe: None,
            owner: None,
            traceparent: None,
            rerun_of: None,
        },
    }
}

/// The database's sessions that wait for a lock.
const WAITING: &str = "pg_stat_activity \
     WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_admission_of_what_is_just_ending_is_taken_back() {
    let bench = Bench::new().await;
    let id = ExecutionId::new();
    assert!(bench.admit(id).await.fresh);
    // An end that is under way: its row is gone, but not yet for others.
    let mut connection = bench.other_connection().await;
    let mut ending = connection.begin().await.unwrap();
    sqlx::query(
        "WITH gone AS (DELETE FROM executions WHERE id = $1 RETURNING *) \
         INSERT INTO executions_ended (id, retention_days, ended_day, deployment_id, workflow_id, \
             version, status, trigger_kind, epoch, created_at, ended_at, input) \
         SELECT id, 30, (now() AT TIME ZONE 'UTC')::date, deployment_id, workflow_id, version, \
             'SUCCEEDED', trigger_kind, epoch, created_at, now(), input FROM gone",
    )
    .bind(id.to_string())
    .execute(&mut *ending)
    .await
    .unwrap();
    let (late, ()) = tokio::join!(bench.admit(id), async {
        // Not before the late insert stands in line behind it.
        eventually(Duration::from_secs(10), || async {
            match bench.count(WAITING).await {
                0 => Err("nobody waits"),
                _ => Ok(()),
            }
        })
        .await;
        ending.commit().await.unwrap();
    });
    assert_eq!(
        (late.id, late.fresh, late.status, late.owned),
        (id, false, ExecutionStatus::Pending, None)
    );
    assert_eq!(bench.count("executions").await, 0);
    assert_eq!(bench.count("executions_ended").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_migrations_apply_each_step_once() {
    let database = TestDatabase::create().await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = PostgresStore::connect(&PostgresConfig::new(&database.url))
            .await
            .unwrap();
        tasks.spawn(async move { store.migrate().await.map(|_| store) });
    }
    for store in tasks.join_all().await {
        store.unwrap().schema_is_current().await.unwrap();
    }
}

#[tokio::test]
async fn empty_database_is_refused_with_what_to_do() {
    let database = TestDatabase::create().await;
    let store = PostgresStore::connect(&PostgresConfig::new(&database.url))
        .await
        .unwrap();
    let error = store.schema_is_current().await.unwrap_err();
    assert!(matches!(error, StoreError::Schema(_)), "{error}");
    assert!(error.to_string().contains("`millrace migrate`"), "{error}");
    let first = store.migrate().await.unwrap();
    assert_eq!(first[0].version, 1);
    store.schema_is_current().await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_partitions_are_made_on_demand_by_all_who_need_them() {
    let bench = Bench::new().await;
    bench
        .other_connection()
        .await
        .execute(sqlx::raw_sql(
            "DO $$ DECLARE child regclass; BEGIN \
                 FOR child IN SELECT inhrelid::regclass FROM pg_inherits \
                     WHERE inhparent IN ('execution_events'::regclass, \
                                         'executions_ended_r30'::regclass) \
                       AND inhrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r') \
                 LOOP EXECUTE 'DROP TABLE ' || child; END LOOP; \
             END $$",
        ))
        .await
        .unwrap();
    // The default class, and one that nobody has used before.
    let mut tasks = JoinSet::new();
    let bench = std::sync::Arc::new(bench);
    for class in [30, 30, 5, 5] {
        let bench = std::sync::Arc::clone(&bench);
        tasks.spawn(async move {
            let id = ExecutionId::new();
            bench.admit(id).await;
            bench.end(id, class).await;
        });
    }
    tasks.join_all().await;
    assert_eq!(bench.count("executions_ended").await, 4);
    assert_eq!(bench.count("execution_events").await, 4);
}

/// Ended executions and their steps, as if all had been so many days ago.
fn aged(days: u32) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT millrace_make_partitions(today - {days}, today - {days}, NULL) \
             FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t; \
         UPDATE execution_events SET day = day - {days}; \
         UPDATE executions_ended SET ended_day = ended_day - {days}"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_go_with_their_execution_whatever_others_of_the_day_keep() {
    // By the default, and by a class that is longer than it.
    for (short, long, age) in [(1, 30, 5), (30, 365, 40)] {
        let bench = Bench::new().await;
        let (gone, kept) = (ExecutionId::new(), ExecutionId::new());
        for (id, class) in [(gone, short), (kept, long)] {
            bench.admit(id).await;
            bench.end(id, class).await;
        }
        let mut connection = bench.other_connection().await;
        connection.execute(sqlx::raw_sql(aged(age))).await.unwrap();
        while bench.store.maintain().await.unwrap() {}
        assert_eq!(bench.store.execution(gone).await.unwrap(), None);
        assert!(bench.store.execution(kept).await.unwrap().is_some());
        let left: Vec<String> = sqlx::query_scalar("SELECT execution_id FROM execution_events")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(left, [kept.to_string()]);
        assert_eq!(bench.count("steps_let_go").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_of_steps_are_dropped_once_no_longer_class_needs_them() {
    let bench = Bench::new().await;
    let id = ExecutionId::new();
    bench.admit(id).await;
    bench.end(id, 90).await;
    let mut connection = bench.other_connection().await;
    connection.execute(sqlx::raw_sql(aged(40))).await.unwrap();
    while bench.store.maintain().await.unwrap() {}
    assert_eq!(bench.count("execution_events").await, 1);
    let gone = "DELETE FROM executions_ended";
    connection.execute(sqlx::raw_sql(gone)).await.unwrap();
    while bench.store.maintain().await.unwrap() {}
    assert_eq!(bench.count("execution_events").await, 0);
}

/// More than one step deletes, and a step of an execution that lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_steps_go_in_parts_and_those_of_the_living_stay() {
    let bench = Bench::new().await;
    let (gone, living) = (ExecutionId::new(), ExecutionId::new());
    bench.admit(gone).await;
    bench.end(gone, 1).await;
    bench.admit(living).await;
    let mut connection = bench.other_connection().await;
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(format!(
            "INSERT INTO executions_ended \
             SELECT (jsonb_populate_record(e, jsonb_build_object('id', 'old_' || n))).* \
             FROM executions_ended e, generate_series(1, 2500) n; \
             INSERT INTO execution_events \
             SELECT 'old_' || n, first_seq, last_seq, day, at, events \
             FROM execution_events, generate_series(1, 2500) n; \
             INSERT INTO execution_events \
             SELECT '{living}', first_seq, last_seq, day, at, events \
             FROM execution_events LIMIT 1"
        ))))
        .await
        .unwrap();
    connection.execute(sqlx::raw_sql(aged(5))).await.unwrap();
    assert_eq!(bench.count("execution_events").await, 2502);
    assert!(bench.store.maintain().await.unwrap());
    assert_eq!(bench.count("execution_events").await, 1502);
    assert_eq!(
        bench.count("executions_ended").await,
        2501,
        "not before their steps"
    );
    while bench.store.maintain().await.unwrap() {}
    assert_eq!(bench.count("execution_events").await, 1);
    assert_eq!(bench.count("executions_ended").await, 0);
}

/// One execution may have more steps than a statement deletes in its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_one_execution_go_in_parts_too() {
    let bench = Bench::new().await;
    let (many, few) = (ExecutionId::new(), ExecutionId::new());
    for id in [many, few] {
        bench.admit(id).await;
        bench.end(id, 1).await;
    }
    let mut connection = bench.other_connection().await;
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(format!(
            "INSERT INTO execution_events \
             SELECT execution_id, n, n, day, at, events \
             FROM execution_events, generate_series(2, 12000) n WHERE execution_id = '{many}'"
        ))))
        .await
        .unwrap();
    connection.execute(sqlx::raw_sql(aged(5))).await.unwrap();
    let mut left = bench.count("execution_events").await;
    assert_eq!(left, 12_001);
    while bench.store.maintain().await.unwrap() {
        let now = bench.count("execution_events").await;
        assert!(left - now <= 5_000, "{} at once", left - now);
        left = now;
        if left > 0 {
            assert_eq!(bench.count("executions_ended").await, 2);
        }
    }
    for table in ["execution_events", "executions_ended", "steps_let_go"] {
        assert_eq!(bench.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_maintained_does_not_stop_the_rest() {
    let bench = Bench::new().await;
    let id = ExecutionId::new();
    bench.admit(id).await;
    bench.end(id, 30).await;
    let mut connection = bench.other_connection().await;
    connection.execute(sqlx::raw_sql(aged(40))).await.unwrap();
    connection
        .execute(sqlx::raw_sql(
            "INSERT INTO dedupe (deployment_id, key, execution_id, workflow_id, version, \
                 admitted_at, expires_at) \
             SELECT 'd', n::text, 'e', 'w', 1, now(), now() FROM generate_series(1, 12000) n; \
             DROP FUNCTION millrace_let_some_steps_go",
        ))
        .await
        .unwrap();
    let error = loop {
        match bench.store.maintain().await {
            Ok(more) => assert!(more, "what failed is told"),
            Err(error) => break error,
        }
    };
    let missing = "millrace_let_some_steps_go";
    assert!(error.to_string().contains(missing), "{error}");
    for table in ["dedupe", "execution_events", "executions_ended"] {
        assert_eq!(bench.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_have_started_something_are_forgotten_in_parts() {
    let bench = Bench::new().await;
    let deployed = listening(&bench).await;
    let trigger = &deployed.triggers[0];
    let old = format!(
        "INSERT INTO gathered_events \
             (trigger_id, key, wants, fits, gathered_at, expires_at, execution_id) \
         SELECT '{}', 'old-' || n, '', 1, now() - interval '2 days', now() - interval '1 day', \
             'exe' FROM generate_series(1, 5001) n",
        trigger.id
    );
    let mut connection = bench.other_connection().await;
    connection.execute(AssertSqlSafe(old)).await.unwrap();
    let gathering = gathering(&deployed, "new");
    let gathered = bench.store.gather(&gathering).await.unwrap();
    assert_eq!(gathered, Gathered::Waits);
    let left = bench.count("gathered_events").await;
    assert_eq!(left, 5002, "an event has no time for others");
    assert!(bench.store.maintain().await.unwrap());
    while bench.store.maintain().await.unwrap() {}
    assert_eq!(bench.count("gathered_events").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_held_elsewhere_ends_in_contended_in_bounded_time() {
    let bench = Bench::new().await;
    let id = ExecutionId::new();
    bench.admit(id).await;
    let mut connection = bench.other_connection().await;
    let mut holder = connection.begin().await.unwrap();
    holder
        .execute("SELECT 1 FROM executions FOR UPDATE")
        .await
        .unwrap();
    let begun = Instant::now();
    let error = bench
        .store
        .commit(&[bench.ending(id, 30)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Contended(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    holder.rollback().await.unwrap();
    bench.end(id, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_is_not_there_is_unavailable_in_bounded_time() {
    // Bound, but never accepting: connections hang rather than being refused.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = PostgresConfig {
        acquire_timeout: Duration::from_millis(300),
        ..PostgresConfig::new(format!(
            "postgres://nobody@{}/nothing",
            silent.local_addr().unwrap()
        ))
    };
    let begun = Instant::now();
    let error = PostgresStore::connect(&config).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closed_are_replaced() {
    let bench = Bench::new().await;
    bench
        .other_connection()
        .await
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    eventually(Duration::from_secs(10), || async {
        let answer = bench.store.ping().await;
        if let Err(error) = &answer {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        }
        answer
    })
    .await;
    bench.admit(ExecutionId::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_a_hundred_thousand_does_not_keep_another_deployment_waiting() {
    let bench = Bench::new().await;
    let other = bundle("other", Vec::new());
    let other = bench.store.deploy(&other).await.unwrap().deployment.id;
    let single = ExecutionId::new();
    let first = bench.admit(ExecutionId::new()).await.id;
    assert!(bench.store.release(first, bench.owner, 1).await.unwrap());
    // As many as one day's outage leaves, each due before the single one.
    let flood = format!(
        "INSERT INTO executions (id, deployment_id, workflow_id, version, status, trigger_kind, \
             epoch, wake_at, created_at, input) \
         SELECT left(e.id, 20) || lpad(n::text, 10, '0'), e.deployment_id, e.workflow_id, \
                e.version, 'PENDING', 'manual', 0, now() - interval '1 hour', now(), e.input \
         FROM executions e, generate_series(1, 100000) n WHERE e.id = '{first}'; \
         ANALYZE executions"
    );
    let mut connection = bench.other_connection().await;
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(flood)))
        .await
        .unwrap();
    let Write::Admit(admission) = bench.admission(single) else {
        unreachable!("it is an admission");
    };
    let admission = Admission {
        deployment_id: other,
        owner: None,
        ..admission
    };
    bench
        .store
        .commit(&[Write::Admit(admission)])
        .await
        .unwrap();
    let claimed = bench.store.claim(bench.owner, 128).await.unwrap();
    assert_eq!(claimed.len(), 128);
    assert!(claimed.iter().any(|claimed| claimed.id == single));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_for_each_other_leave_connections_to_others() {
    // Of twelve connections four keep their plans.
    let bench = Bench::with(|config| PostgresConfig {
        max_connections: 12,
        acquire_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_mins(1),
        lock_timeout: Duration::from_mins(1),
        ..config
    })
    .await;
    let listening = listening(&bench).await;
    let trigger = listening.triggers[0].id;
    let events: Vec<_> = (0..10)
        .map(|n| gathering(&listening, &format!("a{n}")))
        .collect();
    let mut connection = bench.other_connection().await;
    let mut another_instance = connection.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('millrace gather ' || $1, 0))")
        .bind(trigger.to_string())
        .execute(&mut *another_instance)
        .await
        .unwrap();
    // Each has asked for its connection before the admission does.
    let mut gathers = std::pin::pin!(join_all(events.iter().map(|one| bench.store.gather(one))));
    let id = ExecutionId::new();
    tokio::select! {
        biased;
        early = &mut gathers => panic!("the trigger is held: {early:?}"),
        admitted = bench.admit(id) => assert!(admitted.fresh),
    }
    tokio::select! {
        early = &mut gathers => panic!("the trigger is held: {early:?}"),
        () = eventually(Duration::from_secs(10), || async {
            match bench.count(WAITING).await {
                0 => Err("nobody waits"),
                _ => Ok(()),
            }
        }) => {}
    }
    another_instance.rollback().await.unwrap();
    for gathered in gathers.await {
        assert_eq!(gathered.unwrap(), Gathered::Waits);
    }
}
