//! The task of one workload.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_shim::log::Keep;
use millrace_shim::record::Stage;
use millrace_store::workload::KEPT_INSTANCES;
use millrace_store::{InstanceRecord, Saved, WorkloadRecord, WorkloadSave};
use millrace_types::{DesiredState, Timestamp, WorkloadStage};
use tokio::sync::{mpsc, oneshot, watch};

use super::instance::{Event, Live};
use super::launch::{Halted, keep_of};
use super::restart::{End, Next, Restarts};
use super::{Call, View, Wish};
use crate::health::HealthEvent;
use crate::logs;
use crate::orchestrator::Shared;
use crate::prepare::StageError;
use crate::process::Told;
use crate::spec::{LogLimits, RestartRules, ServiceSpec};

/// How long a shim may take beyond the grace to kill what is left.
const KILL_TIME: Duration = Duration::from_secs(10);

/// Something else is wanted by now.
#[derive(Debug)]
pub(super) struct Interrupted;

/// All that is known of a workload, and the task that owns it.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(super) shared: Arc<Shared>,
    pub(super) project_key: String,
    calls: mpsc::Receiver<Call>,
    view: watch::Sender<View>,
    pub(super) record: WorkloadRecord,
    instances: Vec<InstanceRecord>,
    pub(super) live: Option<Live>,
    pub(super) keep: Keep,
    /// A restart that is wanted; whether without a gap.
    restart: Option<bool>,
    restarts: Restarts,
    retry_at: Option<Instant>,
    /// How many wishes there were.
    wishes: u64,
    /// It is to end, since the workload is deleted or this process stops.
    leaving: Option<Wish>,
    /// The row is gone.
    gone: bool,
}

impl Actor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        calls: mpsc::Receiver<Call>,
        view: watch::Sender<View>,
    ) -> Self {
        let seen = view.borrow().clone();
        let logs = LogLimits::default();
        Self {
            shared,
            project_key: seen.project_key,
            calls,
            view,
            record: seen.record,
            instances: seen.instances,
            live: None,
            keep: Keep {
                max_bytes: logs.max_bytes,
                max_age: logs.max_age,
                instances: logs.keep_instances,
            },
            restart: None,
            restarts: Restarts::default(),
            retry_at: None,
            wishes: 0,
            leaving: None,
            gone: false,
        }
    }

    /// Takes up what runs, then makes what is wanted come true, until the
    /// workload is gone. Can be dropped at any time: what has begun is stored,
    /// and taken up by the next one.
    pub(crate) async fn run(mut self) {
        self.adopt().await;
        while !self.gone {
            if let Some(wish) = self.leaving {
                self.leave(wish).await;
                return;
            }
            Box::pin(self.step()).await;
        }
    }

    async fn step(&mut self) {
        let stage = self.record.state.stage;
        let wanted = self.record.state.desired == DesiredState::Running;
        match (wanted, self.live.take()) {
            (false, Some(live)) => self.end(live, "stopped").await,
            (false, None) => {
                // One that was made and never started stays pending.
                if stage != WorkloadStage::Stopped && (self.wishes > 0 || !is_new(stage)) {
                    self.enter(WorkloadStage::Stopped).await;
                }
                self.rest().await;
            }
            // Adopted on its way.
            (true, Some(live)) if stage != WorkloadStage::Running => self.go_on(live).await,
            (true, Some(live)) => match self.restart.take() {
                Some(true) => Box::pin(self.replace(live)).await,
                Some(false) => {
                    self.end(live, "stopped").await;
                    self.launch().await;
                }
                None => {
                    self.live = Some(live);
                    self.rest().await;
                }
            },
            (true, None) if self.is_due() => self.launch().await,
            (true, None) => self.rest().await,
        }
    }

    fn is_due(&self) -> bool {
        match (self.retry_at, self.record.state.stage) {
            _ if self.restart.is_some() => true,
            (Some(at), _) => Instant::now() >= at,
            (None, WorkloadStage::Failed) => false,
            (None, _) => true,
        }
    }

    /// Nothing is left to do until something happens.
    async fn rest(&mut self) {
        self.settle();
        let Self {
            live,
            calls,
            retry_at,
            ..
        } = self;
        let event = async {
            match live {
                Some(live) => live.event().await,
                None => std::future::pending().await,
            }
        };
        let retry = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until((*at).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => self.accept(call).await,
                None => std::future::pending().await,
            },
            event = event => self.happened(event).await,
            () = retry => {}
        }
    }

    async fn happened(&mut self, event: Event) {
        match event {
            Event::Ended(told) => {
                if let Some(live) = self.live.take() {
                    self.ended(live, &told).await;
                }
            }
            Event::Health(HealthEvent::Ready(ready)) => {
                self.record.state.ready = Some(ready);
                self.save(Vec::new()).await;
            }
            Event::Health(HealthEvent::Dead(reason)) => {
                let Some(live) = self.live.take() else {
                    return;
                };
                let message = format!("the liveness probe failed: {reason}");
                self.say(Stage::Running, message.clone()).await;
                let spec = live.spec.clone();
                let (record, end) = self.stop(live, "unhealthy").await;
                let error = StageError::new("unhealthy", message);
                self.after_end(record, end, error, &spec.restart).await;
            }
        }
    }

    async fn launch(&mut self) {
        self.restart = None;
        self.retry_at = None;
        self.record.state.next_retry_at = None;
        if self.record.state.stage != WorkloadStage::Pending {
            self.enter(WorkloadStage::Pending).await;
        }
        let started = match self.plan(false).await {
            Ok(plan) => self.start_instance(&plan, false).await,
            Err(halted) => Err(halted),
        };
        self.launched(started).await;
    }

    async fn go_on(&mut self, live: Live) {
        let started = match self.await_ready(live).await {
            Ok(Ok(live)) => Ok(live),
            // Somebody else has its port: begin anew.
            Ok(Err(_)) => return,
            Err(halted) => Err(halted),
        };
        self.launched(started).await;
    }

    async fn launched(&mut self, started: Result<Live, Halted>) {
        match started {
            Ok(live) => self.serve_from(live).await,
            Err(Halted::Interrupted) => {}
            Err(Halted::Failed(error)) => self.fail(error, Vec::new()).await,
            Err(Halted::Ended {
                record,
                end,
                error,
                spec,
            }) => self.after_end(*record, end, error, &spec.restart).await,
        }
    }

    /// The instance is what runs from now on.
    pub(super) async fn serve_from(&mut self, mut live: Live) {
        live.observe(&self.shared);
        let state = &mut self.record.state;
        state.port = live.record.port;
        state.pid = live.record.pid;
        state.ready = live.spec.health.readiness.as_ref().map(|_| true);
        state.error = None;
        state.next_retry_at = None;
        if state.stage != WorkloadStage::Running {
            self.set_stage(WorkloadStage::Running);
        }
        let record = live.record.clone();
        self.live = Some(live);
        self.save(vec![record]).await;
    }

    async fn ended(&mut self, live: Live, told: &Told) {
        let rules = live.spec.restart.clone();
        let (record, end) = live.close(told, "").await;
        let error = describe(&record);
        self.after_end(record, end, error, &rules).await;
    }

    /// An instance has ended that was not asked to: the policy decides.
    async fn after_end(
        &mut self,
        record: InstanceRecord,
        end: End,
        error: StageError,
        rules: &RestartRules,
    ) {
        let text = format!("instance {} has ended: {error}", record.id);
        self.say(Stage::Running, text).await;
        self.nothing_serves();
        if self.record.state.desired == DesiredState::Stopped {
            self.set_stage(WorkloadStage::Stopped);
            self.save(vec![record.clone()]).await;
            self.forget(&record);
            return;
        }
        let random = f64::from(rand_bits()) / f64::from(u32::MAX);
        match self.restarts.next(rules, end, Instant::now(), random) {
            Next::Restart { after } => {
                self.record.state.restarts = self.record.state.restarts.saturating_add(1);
                self.retry_at = Some(Instant::now() + after);
                let mut error = error;
                if self.restarts.is_loop() {
                    error = StageError::new("crash-loop", error.message);
                }
                if !after.is_zero() {
                    self.record.state.next_retry_at = Some(Timestamp::now().saturating_add(after));
                }
                self.fail(error, vec![record.clone()]).await;
            }
            Next::Done => {
                self.record.state.desired = DesiredState::Stopped;
                self.record.state.error = None;
                self.set_stage(WorkloadStage::Stopped);
                self.save(vec![record.clone()]).await;
            }
            Next::Fail => self.fail(error, vec![record.clone()]).await,
            Next::GiveUp => {
                let message = format!(
                    "it was restarted {} times within {} s; the last time: {error}",
                    rules.max_restarts.unwrap_or(0),
                    rules.window.as_secs()
                );
                let error = StageError::new("crash-loop", message);
                self.fail(error, vec![record.clone()]).await;
            }
        }
        self.forget(&record);
    }

    async fn fail(&mut self, error: StageError, instances: Vec<InstanceRecord>) {
        self.nothing_serves();
        if instances.is_empty() {
            let text = format!("{}: {error}", error.reason);
            self.say(Stage::Deploy, text).await;
        }
        self.record.state.error = Some((error.reason.to_owned(), error.message));
        if self.record.state.stage != WorkloadStage::Failed {
            self.set_stage(WorkloadStage::Failed);
        }
        self.save(instances).await;
    }

    fn nothing_serves(&mut self) {
        self.record.state.port = None;
        self.record.state.pid = None;
        self.record.state.ready = None;
    }

    /// Stops an instance and stores its end.
    pub(super) async fn end(&mut self, live: Live, reason: &str) {
        let serves = self.record.state.pid == live.record.pid;
        let (record, _) = self.stop(live, reason).await;
        if serves {
            self.nothing_serves();
        }
        if self.record.state.desired == DesiredState::Stopped || self.leaving.is_some() {
            self.record.state.error = None;
            if self.record.state.stage != WorkloadStage::Stopped {
                self.set_stage(WorkloadStage::Stopped);
            }
        }
        self.save(vec![record.clone()]).await;
        self.forget(&record);
    }

    /// Stops an instance. Calls are listened to meanwhile; it is stopped
    /// whatever they want.
    pub(super) async fn stop(&mut self, mut live: Live, reason: &str) -> (InstanceRecord, End) {
        live.ask_to_stop().await;
        let patience = live.spec.stop.grace + KILL_TIME;
        let told = {
            let ended = tokio::time::timeout(patience, live.link.ended());
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    biased;
                    told = &mut ended => break told,
                    Some(call) = self.calls.recv() => self.accept(call).await,
                }
            }
        };
        // A shim that does not answer any more.
        let told = told.unwrap_or(Told::Lost);
        live.close(&told, reason).await
    }

    /// After its end was stored.
    pub(super) fn forget(&self, record: &InstanceRecord) {
        if let Some(port) = record.port {
            self.shared.ports.give_back(port, record.id);
        }
        let _ = std::fs::remove_dir_all(self.shared.run_dir(record.id));
    }

    /// Does `work`, and listens to calls meanwhile.
    pub(super) async fn attend<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        tokio::pin!(work);
        loop {
            if self.is_moot() {
                return Err(Interrupted);
            }
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                Some(call) = self.calls.recv() => self.accept(call).await,
            }
        }
    }

    fn is_moot(&self) -> bool {
        self.gone
            || self.leaving.is_some()
            || self.restart.is_some()
            || self.record.state.desired == DesiredState::Stopped
    }

    /// Takes a call, and those that have come with it; answers once what they
    /// want is stored.
    async fn accept(&mut self, call: Call) {
        let before = self.record.state.clone();
        let mut answers: Vec<oneshot::Sender<u64>> = Vec::new();
        let mut next = Some(call);
        while let Some((wish, answer)) = next {
            self.wishes += 1;
            self.want(wish);
            answers.push(answer);
            next = self.calls.try_recv().ok();
        }
        if self.record.state != before {
            self.save(Vec::new()).await;
        }
        for answer in answers {
            let _ = answer.send(self.wishes);
        }
    }

    fn want(&mut self, wish: Wish) {
        match wish {
            Wish::Start | Wish::Restart { .. } => {
                self.record.state.desired = DesiredState::Running;
                let runs = self.record.state.stage == WorkloadStage::Running;
                if let Wish::Restart { blue_green } = wish {
                    self.restart = Some(blue_green);
                }
                if !runs || matches!(wish, Wish::Restart { .. }) {
                    self.restarts.reset();
                    self.record.state.restarts = 0;
                }
                if self.retry_at.is_some() || self.record.state.stage.is_settled() && !runs {
                    self.retry_at = None;
                    self.record.state.next_retry_at = None;
                    self.record.state.error = None;
                    self.set_stage(WorkloadStage::Pending);
                }
            }
            Wish::Stop => {
                self.record.state.desired = DesiredState::Stopped;
                self.record.state.next_retry_at = None;
                self.restart = None;
                self.retry_at = None;
            }
            Wish::Delete | Wish::Suspend => self.leaving = Some(wish),
        }
    }

    async fn leave(&mut self, wish: Wish) {
        if let Some(live) = self.live.take() {
            self.end(live, "stopped").await;
        }
        if wish == Wish::Delete {
            let store = self.shared.store.clone();
            while let Err(error) = store.delete_workload(self.record.id).await {
                tracing::warn!(%error, "a workload cannot be deleted yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let directory = self.shared.workload_dir(self.record.id);
            let _ = tokio::fs::remove_dir_all(directory).await;
            self.gone = true;
        }
        self.settle();
    }

    pub(super) fn set_stage(&mut self, stage: WorkloadStage) {
        let state = &mut self.record.state;
        if state.stage != stage && !state.stage.may_become(stage) {
            tracing::error!(workload = %self.record.id, "{} → {stage} is no transition", state.stage);
        }
        state.stage = stage;
    }

    pub(super) async fn enter(&mut self, stage: WorkloadStage) {
        self.set_stage(stage);
        self.save(Vec::new()).await;
    }

    /// Stores what has changed; only then can it be seen.
    pub(super) async fn save(&mut self, instances: Vec<InstanceRecord>) -> Saved {
        for _ in 0..3 {
            let save = WorkloadSave {
                id: self.record.id,
                revision: self.record.revision,
                state: self.record.state.clone(),
                instances: instances.clone(),
            };
            match self.shared.saver.save(save).await {
                // This process is at its end, and so is this task.
                None => std::future::pending().await,
                Some(saved @ Saved::Done { revision, at }) => {
                    self.record.revision = revision;
                    self.record.updated_at = at;
                    self.remember(instances);
                    self.publish();
                    return saved;
                }
                Some(Saved::PortTaken) => return Saved::PortTaken,
                Some(Saved::Stale) => match self.shared.store.workload(self.record.id).await {
                    Ok(Some(record)) => self.record.revision = record.revision,
                    Ok(None) => {
                        self.gone = true;
                        return Saved::Stale;
                    }
                    Err(error) => tracing::warn!(%error, "a workload cannot be read again"),
                },
            }
        }
        tracing::error!(workload = %self.record.id, "a transition could not be stored");
        Saved::Stale
    }

    fn remember(&mut self, instances: Vec<InstanceRecord>) {
        for instance in instances {
            match self
                .instances
                .iter_mut()
                .find(|known| known.id == instance.id)
            {
                Some(known) => *known = instance,
                None => self.instances.push(instance),
            }
        }
        let ended = self
            .instances
            .iter()
            .filter(|i| i.ended_at.is_some())
            .count();
        let mut surplus = ended.saturating_sub(KEPT_INSTANCES as usize);
        self.instances.retain(|instance| {
            let drop = surplus > 0 && instance.ended_at.is_some();
            surplus -= usize::from(drop);
            !drop
        });
    }

    fn publish(&self) {
        self.view.send_modify(|view| {
            view.record = self.record.clone();
            view.instances.clone_from(&self.instances);
            view.deleted = self.gone;
        });
        let view = Arc::new(self.view.borrow().clone());
        // Nobody has to watch.
        let _ = self.shared.changes.send(view);
    }

    /// All that was wanted has come to its end.
    pub(super) fn settle(&mut self) {
        let wishes = self.wishes;
        let gone = self.gone;
        let changed = self.view.send_if_modified(|view| {
            let changed = view.settled != wishes || view.deleted != gone;
            view.settled = wishes;
            view.deleted = gone;
            changed
        });
        if changed && gone {
            let view = Arc::new(self.view.borrow().clone());
            let _ = self.shared.changes.send(view);
        }
    }

    /// A line of Millrace's own in the workload's log.
    pub(super) async fn say(&self, stage: Stage, line: String) {
        let directory = self.shared.log_dir(self.record.id);
        logs::say(&directory, self.keep, stage, line).await;
    }

    /// Takes up what has run since before this process.
    async fn adopt(&mut self) {
        match self
            .shared
            .store
            .instances(self.record.id, KEPT_INSTANCES + 4)
            .await
        {
            Ok(instances) => self.instances = instances,
            Err(error) => tracing::error!(%error, "instances of a workload cannot be read"),
        }
        self.publish();
        if let Some(at) = self.record.state.next_retry_at {
            let left = at.saturating_since(Timestamp::now());
            self.retry_at = Some(Instant::now() + left);
        }
        let living: Vec<InstanceRecord> = self
            .instances
            .iter()
            .filter(|instance| instance.ended_at.is_none())
            .cloned()
            .collect();
        let mut lives = Vec::new();
        let mut over = Vec::new();
        for record in living {
            match self.shared.find_instance(&record).await {
                Ok((link, pid)) => {
                    let spec = self.spec_of(&record);
                    self.keep = keep_of(&spec);
                    let mut record = record;
                    record.pid = record.pid.or(pid);
                    lives.push(Live::adopted(&self.shared, record, link, spec));
                }
                Err(told) => over.push((record, told)),
            }
        }
        // Of two, the one that serves; the other was to replace it, or to be
        // replaced.
        let serving = lives
            .iter()
            .position(|live| live.record.pid == self.record.state.pid)
            .or(lives.len().checked_sub(1));
        let serving = serving.map(|index| lives.remove(index));
        for live in lives {
            self.end(live, "replaced").await;
        }
        if let Some(mut live) = serving {
            if self.record.state.stage == WorkloadStage::Running {
                live.observe(&self.shared);
            }
            self.live = Some(live);
        }
        for (record, told) in over {
            self.ended_meanwhile(record, &told).await;
        }
    }

    async fn ended_meanwhile(&mut self, record: InstanceRecord, told: &Told) {
        let spec = self.spec_of(&record);
        let (record, end) = super::instance::close_record(&self.shared, record, told).await;
        let error = describe(&record);
        if self.live.is_some() {
            self.save(vec![record.clone()]).await;
            self.forget(&record);
        } else {
            self.after_end(record, end, error, &spec.restart).await;
        }
    }

    /// As it was when the instance was started.
    fn spec_of(&self, record: &InstanceRecord) -> ServiceSpec {
        let path = self.shared.run_dir(record.id).join(crate::process::SPEC);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        crate::spec::read(&text, &self.record.service).unwrap_or_else(|_| {
            // What it was is unknown: the defaults hold.
            ServiceSpec::unknown(&self.record.service, record.port.is_some())
        })
    }
}

fn is_new(stage: WorkloadStage) -> bool {
    stage == WorkloadStage::Pending
}

/// The end of an instance in a word and a sentence.
pub(super) fn describe(record: &InstanceRecord) -> StageError {
    let (reason, message) = match (record.reason.as_str(), record.exit_code, record.signal) {
        ("out-of-memory", ..) => (
            "out-of-memory",
            "it was killed for using more memory than it may".to_owned(),
        ),
        ("lost", ..) => (
            "lost",
            "its shim is gone, and so is its exit code".to_owned(),
        ),
        (_, Some(code), _) => ("exited", format!("it exited with code {code}")),
        (_, _, Some(signal)) => ("killed", format!("it was ended by signal {signal}")),
        _ => ("exited", "it has ended".to_owned()),
    };
    StageError::new(reason, message)
}

/// For jitter, which needs no quality.
fn rand_bits() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(Instant::now());
    u32::try_from(bits >> 32).unwrap_or(0)
}
