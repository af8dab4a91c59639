//! The scheduler as a whole: one switch that every instance obeys.

use async_trait::async_trait;
use millrace_types::Timestamp;

use crate::StoreError;

/// Whether anything is fired by the clock, on any instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerState {
    pub running: bool,
    /// Raised by every change, and by a restart.
    pub generation: u64,
    /// Why it was changed last; may be empty.
    pub reason: String,
    pub changed_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchedulerCommand {
    Stop,
    Start,
    /// Starts it, and makes every instance begin anew.
    Restart,
}

impl SchedulerCommand {
    /// Whether it runs afterwards.
    pub const fn runs(self) -> bool {
        !matches!(self, Self::Stop)
    }
}

#[async_trait]
pub trait SchedulerStore: Send + Sync + 'static {
    async fn scheduler(&self) -> Result<SchedulerState, StoreError>;

    /// Answers the state from now on. Stopping what is stopped, and starting
    /// what runs, changes nothing. While it is stopped, no schedule and no
    /// backfill is claimed, and no decision takes effect that began after the
    /// stop.
    async fn command_scheduler(
        &self,
        command: SchedulerCommand,
        reason: &str,
    ) -> Result<SchedulerState, StoreError>;
}
