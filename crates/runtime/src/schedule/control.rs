//! Stopping and starting the scheduler, on all instances at once.
//!
//! The switch is stored: every instance looks at it when it looks for due
//! work, the database claims and decides nothing while it is off, and it
//! outlives every process. What came due meanwhile is decided at the start, as
//! after any outage.

use std::sync::{Arc, PoisonError, Weak};

use millrace_proto::Failure;
use millrace_store::{SchedulerCommand, SchedulerState, StoreError};
use millrace_types::{ErrorKind, Timestamp};
use serde::Serialize;
use tracing::info;

use super::CronScheduler;
use crate::metrics;

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;

/// Schedules that stray which are looked at.
pub(crate) const DRIFTING: u32 = 1000;

/// How the scheduler is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulerStatus {
    /// `running` or `stopped`, for all instances.
    pub state: &'static str,
    /// When it was changed last.
    pub since: Timestamp,
    /// Why; empty when nobody said.
    pub reason: String,
    /// Raised by every change, and by a restart.
    pub generation: u64,
    /// Schedules whose last interval strayed from its nominal one, whoever
    /// started them; [`DRIFTING`] at most.
    pub drifting: u32,
    /// By how much the worst of them did, in milliseconds; negative when its
    /// interval was too short.
    pub worst_drift_ms: i64,
    pub instance: InstanceStatus,
}

/// How it is in this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// `starting`, `running` or `stopped`: what it has obeyed so far.
    pub state: &'static str,
    /// The generation that it has seen.
    pub generation: u64,
    /// When it last looked for due schedules; `None` before the first time.
    pub last_pass_at: Option<Timestamp>,
    /// Why the last look failed; empty when it did not.
    pub last_error: String,
    /// How often it has looked.
    pub passes: u64,
}

/// Why the scheduler was not asked.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerControlError {
    #[error("a reason has at most {MAX_REASON} bytes and no control characters")]
    Reason,
    #[error("this process is ending")]
    Ending,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SchedulerControlError> for Failure {
    fn from(error: SchedulerControlError) -> Self {
        match error {
            SchedulerControlError::Reason => crate::grpc::convert::invalid("reason", error),
            SchedulerControlError::Ending => Self::new(ErrorKind::Unavailable, error.to_string()),
            SchedulerControlError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

/// The switch, for whoever operates the process. It keeps nothing alive.
#[derive(Debug, Clone)]
pub struct SchedulerControl {
    scheduler: Weak<CronScheduler>,
}

impl SchedulerControl {
    pub(crate) fn new(scheduler: &Arc<CronScheduler>) -> Self {
        Self {
            scheduler: Arc::downgrade(scheduler),
        }
    }

    fn scheduler(&self) -> Result<Arc<CronScheduler>, SchedulerControlError> {
        let scheduler = self.scheduler.upgrade();
        scheduler.ok_or(SchedulerControlError::Ending)
    }

    pub async fn status(&self) -> Result<SchedulerStatus, SchedulerControlError> {
        let scheduler = self.scheduler()?;
        let state = scheduler.coordinator.store.scheduler().await?;
        Ok(scheduler.status(state).await?)
    }

    /// Does as told, and answers how it is from now on. Every instance obeys
    /// by its next look, within the poll interval; what it was deciding may
    /// still take effect.
    pub async fn command(
        &self,
        command: SchedulerCommand,
        reason: &str,
    ) -> Result<SchedulerStatus, SchedulerControlError> {
        if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
            return Err(SchedulerControlError::Reason);
        }
        let scheduler = self.scheduler()?;
        let store = &scheduler.coordinator.store;
        let state = store.command_scheduler(command, reason).await?;
        scheduler.wake.notify_one();
        Ok(scheduler.status(state).await?)
    }
}

impl CronScheduler {
    async fn status(&self, state: SchedulerState) -> Result<SchedulerStatus, StoreError> {
        let drifting = self.coordinator.store.drifting(DRIFTING).await?;
        let worst = drifting.iter().map(|one| one.drift);
        let worst = worst.max_by_key(|drift| drift.unsigned_abs());
        Ok(SchedulerStatus {
            state: word(state.running),
            since: state.changed_at,
            reason: state.reason,
            generation: state.generation,
            drifting: u32::try_from(drifting.len()).unwrap_or(DRIFTING),
            worst_drift_ms: worst.unwrap_or(0) / 1000,
            instance: self.instance(),
        })
    }

    fn instance(&self) -> InstanceStatus {
        self.instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes note of the switch, and says so when it has changed.
    pub(super) fn obey(&self, state: &SchedulerState) {
        metrics::scheduler(state.running, state.changed_at);
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        if instance.generation == state.generation {
            return;
        }
        let first = instance.generation == 0;
        let restarted = state.running && instance.state == word(true);
        instance.generation = state.generation;
        instance.state = word(state.running);
        let (generation, reason) = (state.generation, &state.reason);
        match (state.running, first) {
            (true, true) => {}
            (true, false) if restarted => {
                info!(generation, reason, "the scheduler begins anew");
            }
            (true, false) => info!(generation, reason, "the scheduler is started"),
            (false, _) => info!(
                generation,
                reason, "the scheduler is stopped: nothing is fired"
            ),
        }
    }

    /// Takes note of a look for due work.
    pub(super) fn passed(&self, error: Option<&StoreError>) {
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        instance.passes += 1;
        instance.last_pass_at = Some(Timestamp::now());
        instance.last_error = error.map(ToString::to_string).unwrap_or_default();
    }
}

pub(crate) const fn word(running: bool) -> &'static str {
    if running { "running" } else { "stopped" }
}
