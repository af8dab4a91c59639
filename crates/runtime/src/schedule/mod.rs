//! Schedules: which occurrence becomes an execution, and when.
//!
//! ```text
//!  store.claim_schedules ──▶ plan (pure) ──▶ store.decide ──▶ PENDING executions
//!        ▲                                        │
//!        └── next due time, or the poll ◀─────────┘ ledger, next nominal time
//! ```
//!
//! Any instance claims what is due and plans it; the plan depends on the row
//! and on the database's time alone. [`ScheduleStore::decide`] compares and
//! sets the row's step: of two instances that plan the same occurrence one
//! advances the schedule, admits the execution and enters it in the ledger,
//! all in one transaction, and the other changes nothing. A schedule that goes
//! by the end of its runs is planned in `chain`.
//!
//! [`ScheduleStore::decide`]: millrace_store::ScheduleStore::decide

mod backfill;
mod catch_up;
mod chain;
mod control;
#[cfg(test)]
mod crowd;
mod fires;
#[cfg(test)]
mod outage;
mod plan;
pub(crate) mod preview;
mod run;
#[cfg(test)]
mod staged;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::execution::ExecutionCoordinator;

pub(crate) use control::{DRIFTING, word};
pub use control::{InstanceStatus, SchedulerControl, SchedulerControlError, SchedulerStatus};
pub(crate) use preview::starts_between;
pub(crate) use run::{read, schedule_loop};

/// Fires the schedules that are due, together with all other instances.
pub struct CronScheduler {
    pub(crate) coordinator: Arc<ExecutionCoordinator>,
    /// How often to look for schedules that became due by a deploy or a pause
    /// elsewhere; known due times are met without it.
    pub(crate) poll: Duration,
    /// Cuts the wait for the next look short.
    wake: Notify,
    instance: Mutex<InstanceStatus>,
}

impl CronScheduler {
    pub(crate) fn new(coordinator: Arc<ExecutionCoordinator>) -> Self {
        let instance = InstanceStatus {
            state: "starting",
            ..InstanceStatus::default()
        };
        Self {
            poll: coordinator.config.poll,
            coordinator,
            wake: Notify::new(),
            instance: Mutex::new(instance),
        }
    }
}

impl std::fmt::Debug for CronScheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CronScheduler")
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}
