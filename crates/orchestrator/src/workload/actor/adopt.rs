//! Taking up what has run since before this process.

use std::time::{Duration, Instant};

use millrace_store::InstanceRecord;
use millrace_store::workload::KEPT_INSTANCES;
use millrace_types::{Timestamp, WorkloadStage};

use super::super::instance::{Live, closed};
use super::super::launch::keep_of;
use super::Actor;
use super::ends::describe;
use crate::backend::Ended;
use crate::orchestrator::Shared;
use crate::spec::{self, ServiceSpec};

/// Between two attempts at a database that does not answer.
const PAUSE: Duration = Duration::from_millis(500);

impl Actor {
    /// Takes up what has run since before this process.
    pub(super) async fn adopt(&mut self) {
        self.instances = self.stored_instances().await;
        self.publish(self.record.clone());
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
            match self.shared.backend.adopt(record.id).await {
                Ok(instance) => {
                    let spec = self.spec_of(&record);
                    let mut record = record;
                    record.pid = record.pid.or(instance.pid());
                    lives.push(Live::new(record, instance, spec));
                }
                Err(ended) => over.push((record, ended)),
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
            if self.serves(&live) {
                // As it was left: it may have recovered since, which is seen.
                live.observe(&self.shared, self.record.state.ready != Some(false));
                if live.spec.health.readiness.is_none() && self.record.state.ready.is_some() {
                    // How it is probed is not known any more: nobody would
                    // ever say otherwise.
                    self.record.state.ready = None;
                    self.save(Vec::new()).await;
                }
            } else if self.record.state.stage == WorkloadStage::Running {
                self.take_over().await;
            }
            self.live = Some(live);
        }
        for (record, ended) in over {
            self.ended_meanwhile(record, &ended).await;
        }
    }

    /// What served has died while its replacement was on its way, which goes
    /// on as a start: it was validated and built. Until it is ready nothing
    /// may lead to the port of the other one, which somebody else gets next.
    async fn take_over(&mut self) {
        self.nothing_serves();
        for stage in [
            WorkloadStage::Pending,
            WorkloadStage::Validate,
            WorkloadStage::Build,
            WorkloadStage::Deploy,
        ] {
            self.set_stage(stage);
        }
        self.save(Vec::new()).await;
    }

    /// Asks until there is an answer: who takes one that runs for none would
    /// start another one beside it.
    async fn stored_instances(&self) -> Vec<InstanceRecord> {
        let Shared { store, .. } = &*self.shared;
        loop {
            match store.instances(self.record.id, KEPT_INSTANCES + 4).await {
                Ok(instances) => return instances,
                Err(error) => {
                    tracing::warn!(%error, "a workload waits for the database: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn ended_meanwhile(&mut self, record: InstanceRecord, ended: &Ended) {
        // How long it was ready is not known; it was there that long.
        let exit = ended.exit;
        let ran = exit.map(|exit| exit.at.saturating_since(record.started_at));
        let (record, end) = closed(record, ended, "", ran);
        let error = describe(&record);
        if self.live.is_some() {
            self.save(vec![record.clone()]).await;
            self.forget(&record);
        } else {
            let spec = self.spec_of(&record);
            self.after_end(record, end, error, &spec.restart).await;
        }
    }

    /// As it was when the instance was started; its log is kept as that says.
    fn spec_of(&mut self, record: &InstanceRecord) -> ServiceSpec {
        let text = self.shared.backend.note(record.id).unwrap_or_default();
        match spec::read(&text, &self.record.service) {
            Ok(spec) => {
                self.keep = keep_of(&spec);
                spec
            }
            // What it was is unknown: the defaults hold, but for what would
            // delete something.
            Err(_) => ServiceSpec::unknown(&self.record.service, record.port.is_some()),
        }
    }
}
