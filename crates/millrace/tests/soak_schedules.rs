//! Schedules over three instances whose clocks disagree and which are killed
//! at random: the ledger has to be what the schedules say, occurrence by
//! occurrence, and each fire one execution.
//!
//! `make soak-schedules` runs it with 100,000 fires; without a word it is
//! 2,000. Clocks are skewed by libfaketime (the Debian package `faketime`),
//! which the long run insists on.

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use millrace_schedule::{Schedule, TriggerSchedule};
use millrace_testkit::sqlx::{self, Connection as _, PgConnection, Row as _};
use millrace_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use support::{Millrace, command};

const DOCUMENT: &str = "document: {dsl: 1.0.3, namespace: soak, name: NAME, version: 1.0.0}\n\
                        do:\n- keep:\n    set: {at: '${ .trigger.nominalAt }'}\n";

/// Triggers of one deployment.
const TRIGGERS: usize = 50;

/// Where Debian and others put the library.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// A small generator of numbers: what they are does not matter, only that a
/// run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Three runtimes on one database.
struct Cluster {
    url: String,
    library: Option<&'static str>,
    random: Random,
    ports: Vec<String>,
    runtimes: Vec<Millrace>,
    kills: usize,
}

impl Cluster {
    async fn start(url: &str, library: Option<&'static str>, seed: u64) -> Self {
        let mut cluster = Self {
            url: url.to_owned(),
            library,
            random: Random(seed),
            ports: (0..3)
                .map(|_| format!("127.0.0.1:{}", millrace_testkit::free_port()))
                .collect(),
            runtimes: Vec::new(),
            kills: 0,
        };
        for index in 0..3 {
            let runtime = cluster.runtime(index).await;
            cluster.runtimes.push(runtime);
        }
        cluster
    }

    /// A runtime whose clock is up to two seconds off.
    async fn runtime(&mut self, index: usize) -> Millrace {
        let off = ["+2s", "-2s", "+0s"][usize::try_from(self.random.below(3)).unwrap()];
        let mut settings = vec![
            ("DATABASE_URL", self.url.as_str()),
            ("MILLRACE_RUNTIME__LEASE_TTL", "2s"),
            ("MILLRACE_RUNTIME__DISPATCH", "false"),
            ("MILLRACE_LOG", "error"),
        ];
        if let Some(library) = self.library {
            settings.push(("LD_PRELOAD", library));
            settings.push(("FAKETIME", off));
            // Waits last as long as they should: only the wall clock is off.
            settings.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1"));
            settings.push(("DONT_FAKE_MONOTONIC", "1"));
        }
        let arguments = ["runtime", "--ready-json", "--listen", &self.ports[index]];
        Millrace::start(&arguments, &settings).await
    }

    /// Kills one, and starts it again with another clock.
    async fn disturb(&mut self) {
        let index = usize::try_from(self.random.below(3)).unwrap();
        self.runtimes.remove(index).kill().await;
        let runtime = self.runtime(index).await;
        self.runtimes.insert(index, runtime);
        self.kills += 1;
    }
}

fn wanted() -> (u64, bool) {
    match std::env::var("MILLRACE_SOAK_FIRES") {
        Ok(fires) => (
            fires.parse().expect("MILLRACE_SOAK_FIRES is a number"),
            true,
        ),
        Err(_) => (2_000, false),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_occurrence_is_in_the_ledger_once_whatever_is_killed() {
    let (fires, long) = wanted();
    let library = FAKETIME
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    assert!(
        library.is_some() || !long,
        "libfaketime is not there: install the package `faketime`"
    );
    let seed = u64::from(std::process::id());
    println!("seed {seed}, {fires} fires, skew {}", library.is_some());
    let database = TestDatabase::create().await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let mut cluster = Cluster::start(&database.url, library, seed).await;
    let addresses: Vec<_> = cluster
        .ports
        .iter()
        .map(|at| format!("http://{at}"))
        .collect();
    let addresses = addresses.join(",");
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let of_gateway = [
        ("MILLRACE_GATEWAY__RUNTIME", addresses.as_str()),
        ("MILLRACE_LOG", "error"),
    ];
    let gateway = Millrace::start(&arguments, &of_gateway).await;

    let deployments = if long { 4 } else { 2 };
    let mut ids = Vec::new();
    for n in 0..deployments {
        ids.push(deploy(&gateway, n).await);
    }
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let began = Instant::now();
    let mut told = 0;
    loop {
        let pause = 2_000 + cluster.random.below(4_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        cluster.disturb().await;
        let fired = count(&mut connection, "SELECT count(*) FROM executions").await;
        if fired >= told + 10_000 {
            told = fired;
            println!("{fired} fires after {:?}", began.elapsed());
        }
        if fired >= fires {
            break;
        }
    }
    for id in &ids {
        eventually(support::PATIENCE, || async {
            let path = format!("/api/deployments/{id}/pause");
            match gateway.post(&path, &json!({})).await {
                (200, _) => Ok(()),
                refused => Err(refused),
            }
        })
        .await;
    }
    let took = began.elapsed();
    verify(&mut connection, &cluster, took).await;
    drop((cluster, gateway));
}

/// Deploys schedules of each second, and answers the deployment's id.
async fn deploy(gateway: &Millrace, n: usize) -> String {
    let triggers: Vec<Value> = (0..TRIGGERS)
        .map(|trigger| {
            json!({"type": "cron", "cron": "* * * * * *", "name": format!("t{trigger}"),
                   "jitterWindow": "PT0S", "overlap": "allow", "catchUpRate": 1000,
                   "misfire": {"all": {"max": 10000}}})
        })
        .collect();
    let workflow = DOCUMENT.replace("NAME", &format!("soak-{n}"));
    let body = json!({"workflow": workflow, "triggers": triggers});
    let (status, deployment) = gateway.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    deployment["id"].as_str().unwrap().to_owned()
}

async fn count(connection: &mut PgConnection, query: &'static str) -> u64 {
    let count: i64 = sqlx::query_scalar(query)
        .fetch_one(connection)
        .await
        .unwrap();
    u64::try_from(count).unwrap()
}

/// What a ledger is recomputed from: the schedule, and from when on it counts.
type Counts = (Schedule, millrace_types::Timestamp);

async fn schedules(connection: &mut PgConnection) -> HashMap<String, Counts> {
    let rows = sqlx::query(
        "SELECT trigger_id, convert_from(spec, 'UTF8') AS spec, \
             (extract(epoch FROM anchor_at) * 1000000)::bigint AS anchor FROM schedules",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.iter()
        .map(|row| {
            let spec: Value = serde_json::from_str(row.get("spec")).unwrap();
            let anchor = millrace_types::Timestamp::from_micros(row.get("anchor"));
            let trigger = TriggerSchedule::parse(&spec, "").unwrap();
            (row.get("trigger_id"), (trigger.schedule(anchor), anchor))
        })
        .collect()
}

/// Recomputes every ledger, and compares the executions.
async fn verify(connection: &mut PgConnection, cluster: &Cluster, took: Duration) {
    let mut schedules = schedules(connection).await;
    let rows = sqlx::query(
        "SELECT trigger_id, (extract(epoch FROM nominal_at) * 1000000)::bigint AS nominal, \
             (extract(epoch FROM until_at) * 1000000)::bigint AS until, count, outcome, reason, \
             execution_id, \
             (extract(epoch FROM decided_at - effective_at) * 1000)::bigint AS late \
         FROM fires ORDER BY trigger_id, nominal_at",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut executions = HashSet::new();
    let mut late: Vec<i64> = Vec::new();
    let mut before: HashMap<String, millrace_types::Timestamp> = HashMap::new();
    for row in &rows {
        let trigger: String = row.get("trigger_id");
        let (schedule, anchor) = schedules.get_mut(&trigger).expect("its schedule is there");
        let time = |column| millrace_types::Timestamp::from_micros(row.get(column));
        let (nominal, until) = (time("nominal"), time("until"));
        let last = before.get(&trigger).copied().unwrap_or(*anchor);
        // The next occurrence, no gap and no repeat.
        assert_eq!(
            schedule.next_after(last),
            Some(nominal),
            "{trigger} after {last}"
        );
        let rows = u64::try_from(row.get::<i64, _>("count")).unwrap();
        let just_after = until.saturating_add(Duration::from_micros(1));
        assert_eq!(schedule.count_between(nominal, just_after, u64::MAX), rows);
        let outcome: String = row.get("outcome");
        match row.get::<Option<String>, _>("execution_id") {
            Some(execution) => {
                assert_eq!(outcome, "fired");
                assert!(
                    executions.insert(execution),
                    "one execution, two occurrences"
                );
                late.push(row.get("late"));
            }
            None => {
                let reason: String = row.get("reason");
                assert!(
                    !reason.is_empty(),
                    "{trigger} did not run for {nominal}: why?"
                );
            }
        }
        *outcomes.entry(outcome).or_default() += rows;
        before.insert(trigger, until);
    }
    assert_eq!(before.len(), schedules.len(), "every schedule has a ledger");
    let admitted = sqlx::query("SELECT id FROM executions")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(admitted.len(), executions.len());
    for row in &admitted {
        assert!(executions.contains(&row.get::<String, _>("id")));
    }
    // Each execution was started for another occurrence.
    let distinct = count(
        connection,
        "SELECT count(DISTINCT (trigger_id, input)) FROM executions",
    )
    .await;
    assert_eq!(distinct, admitted.len() as u64);
    late.sort_unstable();
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    println!(
        "{} rows of {} schedules in {took:?} with {} kills: {outcomes:?}; {} executions, none twice; \
         start lag p50 {} ms, p99 {} ms, most {} ms",
        rows.len(),
        schedules.len(),
        cluster.kills,
        executions.len(),
        at(50),
        at(99),
        at(100),
    );
}
