//! [`ExecutionCoordinator`]: admits executions, and holds what the process
//! needs to run those that it owns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_store::{
    Admission, Admitted, GroupCommit, Store, StoreError, Write, WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, IncarnationId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::definitions::Definitions;
use super::engine_client::EngineClient;
use super::lease::Lease;
use super::run::{Job, run};
use super::waiters::Waiters;
use crate::RuntimeConfig;

/// Owns the executions of this process.
pub struct ExecutionCoordinator {
    pub(crate) config: RuntimeConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writes: GroupCommit,
    pub(crate) engine: Arc<EngineClient>,
    pub(crate) lease: Lease,
    pub(crate) definitions: Definitions,
    pub(crate) waiters: Waiters,
    /// One permit for each execution that may run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Says that something may be due for a claim.
    pub(crate) due: Notify,
    running: TaskTracker,
    /// What runs here, with its epoch.
    at_work: Mutex<HashMap<ExecutionId, u64>>,
    draining: AtomicBool,
}

impl std::fmt::Debug for ExecutionCoordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutionCoordinator")
            .field("running", &self.running.len())
            .field("free", &self.slots.available_permits())
            .finish_non_exhaustive()
    }
}

impl ExecutionCoordinator {
    /// Enters this process into the database; nothing is claimed yet.
    pub(crate) async fn begin(
        config: RuntimeConfig,
        store: Arc<dyn Store>,
        writes: GroupCommit,
        engine: Arc<EngineClient>,
    ) -> Result<Arc<Self>, StoreError> {
        let lease = Lease::begin(&*store, config.lease_ttl).await?;
        let slots = if config.dispatch {
            config.max_running
        } else {
            0
        };
        Ok(Arc::new(Self {
            config,
            store,
            writes,
            engine,
            lease,
            definitions: Definitions::default(),
            waiters: Waiters::default(),
            slots: Arc::new(Semaphore::new(slots)),
            due: Notify::new(),
            running: TaskTracker::new(),
            at_work: Mutex::default(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Admits one execution and, when there is room, starts it. Returns after
    /// the commit.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        mut admission: Admission,
    ) -> Result<Admitted, WriteRefused> {
        let slot = self.free_slot();
        let incarnation = self.lease.current();
        admission.owner = slot.as_ref().map(|_| incarnation.id);
        let (id, deployment_id) = (admission.id, admission.deployment_id);
        let trigger = admission.trigger;
        let input = admission.input.clone();
        let traceparent = admission.traceparent.clone();
        let WriteDone::Admitted(admitted) = self.writes.submit(Write::Admit(admission)).await?
        else {
            return Err(WriteRefused::Rejected(
                "the store mixed up its answers".into(),
            ));
        };
        match (admitted.owned, slot) {
            (Some(epoch), Some(slot)) if admitted.fresh => {
                let job = Job {
                    id,
                    deployment_id,
                    workflow_id: admitted.workflow_id,
                    version: admitted.version,
                    trigger_kind: trigger.kind,
                    trigger_id: trigger.id.map(|(id, _)| id),
                    epoch,
                    input,
                    started_at: admitted.created_at,
                    checkpoint_seq: 0,
                    next_event_seq: 1,
                    frames: Vec::new(),
                    due_timers: Vec::new(),
                    traceparent,
                };
                self.start(job, incarnation.id, incarnation.over, slot);
            }
            (Some(epoch), _) => self.settle_repeat(id, incarnation.id, epoch).await,
            _ if admitted.fresh => self.due.notify_one(),
            _ => {}
        }
        Ok(admitted)
    }

    /// A repeat of an admission that this process owns already. It is at work
    /// here, as a rule. When it is not, the first answer was lost on its way:
    /// it is given back, and claimed again with all that is stored of it.
    async fn settle_repeat(&self, id: ExecutionId, owner: IncarnationId, epoch: u64) {
        if self.at_work().contains_key(&id) {
            return;
        }
        match self.store.release(id, owner, epoch).await {
            Ok(true) => self.due.notify_one(),
            // It has moved on by itself meanwhile.
            Ok(false) => {}
            Err(error) => {
                warn!(execution.id = %id, %error, "execution {id} could not be given back");
            }
        }
    }

    fn at_work(&self) -> MutexGuard<'_, HashMap<ExecutionId, u64>> {
        // Nothing that holds it can leave it half changed.
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        if self.draining.load(Ordering::Relaxed) {
            return None;
        }
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Runs an owned execution until it ends, waits, or is no longer ours.
    pub(crate) fn start(
        self: &Arc<Self>,
        job: Job,
        owner: IncarnationId,
        over: CancellationToken,
        slot: OwnedSemaphorePermit,
    ) {
        let coordinator = Arc::clone(self);
        let (id, epoch) = (job.id, job.epoch);
        self.at_work().insert(id, epoch);
        self.running.spawn(async move {
            tokio::select! {
                () = run(&coordinator, job, owner) => {}
                () = over.cancelled() => {
                    info!(execution.id = %id, "execution {id} is let go: its owner's lease is over");
                }
            }
            let mut at_work = coordinator.at_work();
            // Parked and claimed again, it may be at work with a later epoch.
            if at_work.get(&id) == Some(&epoch) {
                at_work.remove(&id);
            }
            drop(at_work);
            drop(slot);
        });
    }

    /// Lets what runs end within the drain time, then hands the rest over.
    pub(crate) async fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.running.close();
        let left = self.running.len();
        if left > 0 {
            info!(
                executions = left,
                "waiting for executions to end, {:?} at most", self.config.drain
            );
        }
        let ended = tokio::time::timeout(self.config.drain, self.running.wait()).await;
        let incarnation = self.lease.current();
        incarnation.over.cancel();
        if ended.is_err() {
            self.running.wait().await;
        }
        match self.store.retire(incarnation.id).await {
            Ok(0) => info!(
                "incarnation {} retired, nothing left to hand over",
                incarnation.id
            ),
            Ok(count) => info!(executions = count, "handed {count} executions over"),
            Err(error) => warn!(%error, "could not retire; others take over when the lease ends"),
        }
    }
}
