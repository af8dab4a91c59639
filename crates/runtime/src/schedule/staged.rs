//! A stage for tests: the planner and a real store over a clock of the test's
//! own, and executions that take as long as the test says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millrace_schedule::{Schedule, TriggerSchedule};
use millrace_store::{
    DeploymentSettings, DeploymentStore as _, Ending, ExecutionStore as _, FireFilter, FireRecord,
    IncarnationStore as _, NewDeployment, NewTrigger, Outcome, PageRequest, ScheduleRecord,
    ScheduleStore as _, Write,
};
use millrace_store_sqlite::{SqliteConfig, SqliteStore};
use millrace_types::{ExecutionId, IncarnationId, Timestamp, TriggerId, TriggerKind};
use serde_json::Value;
use tempfile::TempDir;

use super::plan::Planner;
use super::run::read;

/// Longer than any play.
const YEAR: Duration = Duration::from_hours(24 * 365);

pub(super) struct Stage {
    pub(super) store: SqliteStore,
    clock: Arc<AtomicI64>,
    pub(super) owner: IncarnationId,
    /// How long executions take.
    pub(super) runs_take: Duration,
    /// When which of them ends, and its epoch.
    running: Vec<(Timestamp, ExecutionId, u64)>,
    _folder: TempDir,
}

impl Stage {
    pub(super) async fn new(now: Timestamp) -> Self {
        // Where there is memory to write to, no disk is waited for.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            TempDir::new_in(memory).unwrap()
        } else {
            TempDir::new().unwrap()
        };
        let clock = Arc::new(AtomicI64::new(now.as_micros()));
        let read = Arc::clone(&clock);
        let path = folder.path().join("millrace.db");
        let store = SqliteStore::open(&path, &SqliteConfig::default())
            .await
            .unwrap()
            .with_clock(move || Timestamp::from_micros(read.load(Ordering::Relaxed)));
        store.migrate().await.unwrap();
        let owner = IncarnationId::new();
        store.register(owner, YEAR).await.unwrap();
        Self {
            store,
            clock,
            owner,
            runs_take: Duration::ZERO,
            running: Vec::new(),
            _folder: folder,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::Relaxed))
    }

    /// Nobody does anything until then.
    pub(super) fn skip_to(&self, at: Timestamp) {
        assert!(at >= self.now(), "clocks of plays do not go back");
        self.clock.store(at.as_micros(), Ordering::Relaxed);
    }

    /// Deploys a workflow of this name with one schedule.
    pub(super) async fn deploy(&self, name: &str, spec: &Value) -> TriggerId {
        let bundle = NewDeployment {
            namespace: "default".into(),
            name: name.into(),
            workflow_version: "1.0.0".into(),
            digest: name.into(),
            definition_json: "{}".into(),
            source: String::new(),
            config_json: "{}".into(),
            labels: BTreeMap::new(),
            settings: DeploymentSettings::default(),
            triggers: vec![NewTrigger {
                kind: TriggerKind::Cron,
                name: None,
                enabled: true,
                spec_json: spec.to_string(),
                route: None,
                secrets: None,
                event_type: None,
            }],
        };
        let deployed = self.store.deploy(&bundle).await.unwrap();
        deployed.deployment.triggers[0].id
    }

    pub(super) async fn record(&self, id: TriggerId) -> ScheduleRecord {
        self.store.schedule(id).await.unwrap().unwrap()
    }

    pub(super) async fn schedule(&self, id: TriggerId) -> Schedule {
        let record = self.record(id).await;
        let trigger: TriggerSchedule = read(&record).unwrap();
        trigger.schedule(record.anchor_at)
    }

    /// The whole ledger, oldest first.
    pub(super) async fn ledger(&self, id: TriggerId) -> Vec<FireRecord> {
        let mut rows = Vec::new();
        let mut page = PageRequest {
            cursor: None,
            limit: 1000,
        };
        loop {
            let all = FireFilter::default();
            let part = self.store.fires(id, &all, &page).await.unwrap();
            rows.extend(part.items);
            page.cursor = part.next;
            if page.cursor.is_none() {
                rows.reverse();
                return rows;
            }
        }
    }

    /// Does what is due whenever something is, until then.
    pub(super) async fn play(&mut self, until: Timestamp) {
        loop {
            self.end_runs().await;
            self.tick().await;
            for claimed in self.store.claim(self.owner, 1000).await.unwrap() {
                let end = self.now().saturating_add(self.runs_take);
                self.running.push((end, claimed.id, claimed.epoch));
            }
            let due = self.store.next_schedule_due().await.unwrap();
            let due = due.map(|due| self.now().saturating_add(due));
            let ends = self.running.iter().map(|(end, ..)| *end);
            let Some(next) = due.into_iter().chain(ends).min().filter(|at| *at <= until) else {
                self.skip_to(until);
                return;
            };
            self.skip_to(next.max(self.now()));
        }
    }

    /// What a scheduler does at each look; answers what it decided.
    pub(super) async fn tick(&self) -> Vec<FireRecord> {
        let mut decided = Vec::new();
        loop {
            let hold = Duration::from_secs(5);
            let due = self.store.claim_schedules(100, hold).await.unwrap();
            if due.schedules.is_empty() {
                return decided;
            }
            for record in &due.schedules {
                let trigger = read(record).unwrap();
                let decision = Planner::new(record, &trigger).decide(due.now);
                let fires = self.store.decide(&decision).await.unwrap();
                decided.extend(fires.expect("nobody else decides"));
            }
        }
    }

    async fn end_runs(&mut self) {
        let now = self.now();
        let (ended, running) = self.running.drain(..).partition(|(end, ..)| *end <= now);
        self.running = running;
        let writes: Vec<_> = Vec::into_iter(ended)
            .map(|(_, id, epoch)| {
                Write::End(Ending {
                    id,
                    owner: self.owner,
                    epoch,
                    outcome: Outcome::Succeeded(Bytes::from_static(b"null")),
                    events: Vec::new(),
                    retention_days: 30,
                    keep_frames: Vec::new(),
                    emits: Vec::new(),
                    read_back: false,
                })
            })
            .collect();
        for done in self.store.commit(&writes).await.unwrap() {
            done.unwrap();
        }
    }
}
