//! [`ExecutionCoordinator`]: admits executions, and holds what the process
//! needs to run those that it owns.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_store::{
    Admission, Admitted, GroupCommit, Store, StoreError, Write, WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, IncarnationId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::definitions::Definitions;
use super::engine_client::EngineClient;
use super::job::{Draft, Job};
use super::lease::{Incarnation, Lease};
use super::run::run;
use super::waiters::Waiters;
use crate::event::filter::FilterCache;
use crate::event::subscription::ExpressionCache;
use crate::{RuntimeConfig, metrics};

/// Owns the executions of this process.
pub struct ExecutionCoordinator {
    pub(crate) config: RuntimeConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writes: GroupCommit,
    pub(crate) engine: Arc<EngineClient>,
    pub(crate) lease: Lease,
    pub(crate) definitions: Definitions,
    pub(crate) filters: FilterCache,
    pub(crate) expressions: Arc<ExpressionCache>,
    pub(crate) waiters: Waiters,
    /// Those who look on: woken by each step, not only by the end.
    pub(crate) watchers: Waiters,
    /// One permit for each execution that may run at once.
    pub(crate) slots: Arc<Semaphore>,
    /// Says that something may be due for a claim.
    pub(crate) due: Notify,
    running: TaskTracker,
    /// What runs here.
    at_work: Mutex<HashMap<ExecutionId, AtWork>>,
    draining: AtomicBool,
}

/// An execution that runs here.
#[derive(Debug)]
struct AtWork {
    epoch: u64,
    /// Tells the run to end as cancelled; closed once it listens no more.
    cancel: watch::Sender<Option<String>>,
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
            filters: FilterCache::default(),
            expressions: Arc::default(),
            waiters: Waiters::default(),
            watchers: Waiters::default(),
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
        // What begins with frames of another one comes with a claim.
        let claimed = admission.rerun_of.is_some_and(|of| of.from_failed);
        let slot = if claimed { None } else { self.free_slot() };
        let Some(slot) = slot else {
            let admitted = self.write_admission(admission).await?;
            if admitted.fresh {
                self.due.notify_one();
            }
            return Ok(admitted);
        };
        let incarnation = self.lease.current();
        admission.owner = Some(incarnation.id);
        let (answer, answered) = oneshot::channel();
        let coordinator = Arc::clone(self);
        // A task of its own, from the commit on: a caller that hangs up in
        // between must not leave an execution that is owned and never run.
        self.running.spawn(async move {
            let draft = Draft::of(&admission);
            let admitted = coordinator.write_admission(admission).await;
            let owned = admitted
                .as_ref()
                .ok()
                .and_then(|a| Some((a.clone(), a.owned?)));
            let _ = answer.send(admitted);
            match owned {
                Some((admitted, epoch)) if admitted.fresh => {
                    let job = draft.admitted(&admitted, epoch);
                    coordinator.work(job, incarnation, slot).await;
                }
                Some((admitted, epoch)) => {
                    coordinator
                        .settle_repeat(admitted.id, incarnation.id, epoch)
                        .await;
                }
                None => {}
            }
        });
        answered.await.unwrap_or_else(|_| {
            Err(WriteRefused::Unavailable(
                "the admission was cut off".into(),
            ))
        })
    }

    async fn write_admission(&self, admission: Admission) -> Result<Admitted, WriteRefused> {
        let kind = admission.trigger.kind;
        match self.writes.submit(Write::Admit(admission)).await {
            Ok(WriteDone::Admitted(admitted)) => {
                metrics::admitted(kind, admitted.fresh);
                Ok(admitted)
            }
            Err(refused) => {
                metrics::admission_refused(&refused);
                Err(refused)
            }
            Ok(_) => Err(WriteRefused::Rejected(
                "the store mixed up its answers".into(),
            )),
        }
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

    fn at_work(&self) -> MutexGuard<'_, HashMap<ExecutionId, AtWork>> {
        // Nothing that holds it can leave it half changed.
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something runs here that could be cancelled.
    pub(crate) fn is_idle(&self) -> bool {
        self.at_work().is_empty()
    }

    pub(crate) fn runs_here(&self, id: ExecutionId) -> bool {
        self.at_work().contains_key(&id)
    }

    /// Tells a run of this process to end as cancelled. `epoch` is that of
    /// the request, when it is known: another run is not meant.
    pub(crate) fn tell_to_cancel(&self, id: ExecutionId, epoch: Option<u64>, reason: &str) {
        if let Some(work) = self.at_work().get(&id)
            && epoch.is_none_or(|epoch| epoch == work.epoch)
        {
            work.cancel.send_if_modified(|told| {
                let first = told.is_none();
                if first {
                    *told = Some(reason.to_owned());
                }
                first
            });
        }
    }

    fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        // Without an engine it stays queued.
        if self.draining.load(Ordering::Relaxed) || !self.engine.is_ready() {
            return None;
        }
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Runs an owned execution in a task of its own.
    pub(crate) fn start(
        self: &Arc<Self>,
        job: Job,
        incarnation: Incarnation,
        slot: OwnedSemaphorePermit,
    ) {
        let coordinator = Arc::clone(self);
        self.running
            .spawn(async move { coordinator.work(job, incarnation, slot).await });
    }

    /// Runs an owned execution until it ends, waits, or is no longer ours.
    async fn work(&self, job: Job, incarnation: Incarnation, slot: OwnedSemaphorePermit) {
        let (id, epoch) = (job.id, job.epoch);
        let running = metrics::Running::begin();
        metrics::slots_free(self.slots.available_permits());
        let (cancel, cancelled) = watch::channel(job.cancel.clone());
        self.at_work().insert(id, AtWork { epoch, cancel });
        tokio::select! {
            () = run(self, job, incarnation.id, cancelled) => {}
            () = incarnation.over.cancelled() => {
                info!(execution.id = %id, "execution {id} is let go: its owner's lease is over");
            }
        }
        let mut at_work = self.at_work();
        // Parked and claimed again, it may be at work with a later epoch.
        if at_work.get(&id).is_some_and(|work| work.epoch == epoch) {
            at_work.remove(&id);
        }
        drop(at_work);
        drop(slot);
        drop(running);
        metrics::slots_free(self.slots.available_permits());
    }

    /// Gives back what this process owns and does not work on: a claim or an
    /// admission whose answer was lost. `suspects` are those that were found
    /// so the last time; only they are given back, since one that has just
    /// been committed may not be at work yet. Answers the suspects of now.
    pub(crate) async fn reconcile(
        &self,
        suspects: &HashSet<(ExecutionId, u64)>,
    ) -> Result<HashSet<(ExecutionId, u64)>, StoreError> {
        let owner = self.lease.current().id;
        let owned = self.store.owned(owner).await?;
        let idle: Vec<_> = {
            let at_work = self.at_work();
            owned
                .into_iter()
                .filter(|(id, epoch)| at_work.get(id).is_none_or(|work| work.epoch != *epoch))
                .collect()
        };
        let mut now = HashSet::new();
        for (id, epoch) in idle {
            if suspects.contains(&(id, epoch)) {
                warn!(execution.id = %id, "execution {id} is owned and nobody works on it; given back");
                if self.store.release(id, owner, epoch).await? {
                    self.due.notify_one();
                }
            } else {
                now.insert((id, epoch));
            }
        }
        Ok(now)
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
