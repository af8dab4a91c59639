//! The task of one workload.

mod adopt;
mod calls;
mod ends;
mod store;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_shim::log::Keep;
use millrace_shim::record::Stage;
use millrace_store::{InstanceRecord, WorkloadRecord};
use millrace_types::{DesiredState, WorkloadStage};
use tokio::sync::{mpsc, watch};

pub(super) use self::ends::describe;
use self::store::UnderWay;
use super::instance::{Event, Live};
use super::launch::Halted;
use super::restart::Restarts;
use super::{Call, View, Wish};
use crate::health::HealthEvent;
use crate::orchestrator::Shared;
use crate::prepare::StageError;
use crate::spec::RestartRules;

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
    /// As the service says; all, as long as nobody has seen what that is.
    pub(super) keep: Keep,
    /// A restart that is wanted; whether without a gap.
    restart: Option<bool>,
    restarts: Restarts,
    /// As far as known, those of the service as it was last.
    pub(super) rules: RestartRules,
    /// Somebody waits to hear what comes of the next launch.
    pub(super) asked: bool,
    retry_at: Option<Instant>,
    /// How many wishes there were.
    wishes: u64,
    /// It is to end, since the workload is deleted or this process stops.
    leaving: Option<Wish>,
    /// The row is gone.
    gone: bool,
    /// Transitions that are being stored, oldest first.
    under_way: VecDeque<UnderWay>,
    /// Ends of instances that were refused with such a one.
    ends: Vec<InstanceRecord>,
}

impl Actor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        calls: mpsc::Receiver<Call>,
        view: watch::Sender<View>,
    ) -> Self {
        let seen = view.borrow().clone();
        Self {
            shared,
            project_key: seen.project_key,
            calls,
            view,
            record: seen.record,
            instances: seen.instances,
            live: None,
            keep: Keep::ALL,
            restart: None,
            restarts: Restarts::default(),
            rules: RestartRules::default(),
            asked: false,
            retry_at: None,
            wishes: 0,
            leaving: None,
            gone: false,
            under_way: VecDeque::new(),
            ends: Vec::new(),
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
            (true, Some(live)) if !self.serves(&live) => self.go_on(live).await,
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

    /// Whether requests go to it.
    fn serves(&self, live: &Live) -> bool {
        let state = &self.record.state;
        state.stage == WorkloadStage::Running && state.pid == live.record.pid
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
            Event::Ended(exit) => {
                if let Some(live) = self.live.take() {
                    self.ended(live, exit).await;
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
            self.pass(WorkloadStage::Pending).await;
        }
        let started = match self.plan(false).await {
            Ok(plan) => self.start_instance(&plan, false).await,
            Err(halted) => Err(halted),
        };
        self.launched(started).await;
    }

    async fn go_on(&mut self, live: Live) {
        let started = match self.await_ready(live, false).await {
            Ok(Ok(live)) => Ok(live),
            // Somebody else has its port: begin anew.
            Ok(Err(_)) => return,
            Err(halted) => Err(halted),
        };
        self.launched(started).await;
    }

    async fn launched(&mut self, started: Result<Live, Halted>) {
        if matches!(started, Err(Halted::Interrupted)) {
            return;
        }
        let asked = std::mem::take(&mut self.asked);
        match started {
            Ok(live) => self.serve_from(live).await,
            Err(Halted::Interrupted) => {}
            Err(Halted::Failed(error)) => self.not_started(error, asked).await,
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
        live.observe(&self.shared, true);
        self.asked = false;
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

    async fn leave(&mut self, wish: Wish) {
        // What is left of instances goes once their end is stored.
        self.all_passed().await;
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
}

fn is_new(stage: WorkloadStage) -> bool {
    stage == WorkloadStage::Pending
}
