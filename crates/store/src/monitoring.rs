//! Figures for whoever watches. Every one of them is bounded: what could be
//! counted for ever is counted up to a cap, and says so; what could be read
//! for ever is a sample, and says that too.

use async_trait::async_trait;
use millrace_types::{DeploymentId, ExecutionStatus, IncarnationId, Timestamp, TriggerId};

use crate::{FireOutcome, ScheduleRecord, StoreError};

/// How many there are, or at least are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub value: u64,
    /// Counting stopped at the cap: there may be more.
    pub at_least: bool,
}

/// An execution that has ended, as far as statistics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedFigures {
    pub status: ExecutionStatus,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
}

/// An occurrence to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextFire {
    pub trigger_id: TriggerId,
    pub nominal_at: Timestamp,
    pub effective_at: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentFigures {
    pub pending: Count,
    pub running: Count,
    pub waiting: Count,
    /// Those created since the time asked for that have ended, newest first,
    /// and no more than asked for.
    pub ended: Vec<EndedFigures>,
    /// There are more than asked for.
    pub cut: bool,
    /// Soonest first, 10 at most.
    pub next_fires: Vec<NextFire>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleFigures {
    /// By the database's clock.
    pub now: Timestamp,
    /// Schedules of live deployments with an occurrence to come.
    pub active: Count,
    /// Those of deployments that take no triggers.
    pub paused: Count,
    /// Those without a further occurrence.
    pub finished: Count,
    /// Those whose decision is due.
    pub due: Count,
    /// Since when the longest due one is.
    pub due_since: Option<Timestamp>,
}

/// A row of the ledger, as far as statistics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FireFigures {
    pub trigger_id: TriggerId,
    pub count: u64,
    pub nominal_at: Timestamp,
    /// Of the last of `count` in a row.
    pub until_at: Timestamp,
    pub effective_at: Timestamp,
    pub decided_at: Timestamp,
    pub outcome: FireOutcome,
}

/// All of something, or some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample<T> {
    pub items: Vec<T>,
    /// How many there are, roughly, when these are not all.
    pub estimate: Option<u64>,
}

/// A runtime process that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceFigures {
    pub id: IncarnationId,
    pub since: Timestamp,
    /// Executions that it owns.
    pub running: Count,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadFigures {
    /// 100 at most, oldest first.
    pub instances: Vec<InstanceFigures>,
    /// Executions that nobody owns and that are due.
    pub due: Count,
    /// Executions that nobody owns, due or not.
    pub unowned: Count,
    /// Of those that nobody owns, the ones that could not be started or gone
    /// on with, and are tried again.
    pub backing_off: Count,
    /// Since when the longest due one is.
    pub due_since: Option<Timestamp>,
}

#[async_trait]
pub trait MonitoringStore: Send + Sync + 'static {
    /// Of an unknown deployment there is nothing. Counts end at `cap`.
    async fn deployment_figures(
        &self,
        id: DeploymentId,
        since: Timestamp,
        limit: u32,
        cap: u32,
    ) -> Result<DeploymentFigures, StoreError>;

    /// Counts end at `cap`.
    async fn schedule_figures(&self, cap: u32) -> Result<ScheduleFigures, StoreError>;

    /// What was decided since, newest first, `limit` rows at most. The
    /// estimate only says that there is more: it is the length of the list.
    async fn recent_fires(
        &self,
        since: Timestamp,
        limit: u32,
    ) -> Result<Sample<FireFigures>, StoreError>;

    /// Schedules with a decision due before `before` (any, without); a random
    /// sample of `limit` at most when there are more than that. The first
    /// ones due are drawn while the database has no figures of its own.
    async fn sample_schedules(
        &self,
        before: Option<Timestamp>,
        limit: u32,
    ) -> Result<Sample<ScheduleRecord>, StoreError>;

    /// Counts end at `cap`.
    async fn load_figures(&self, cap: u32) -> Result<LoadFigures, StoreError>;
}

impl Count {
    /// What a query has counted that looked at `cap` + 1 rows at most.
    pub fn capped(counted: u64, cap: u32) -> Self {
        Self {
            value: counted.min(u64::from(cap)),
            at_least: counted > u64::from(cap),
        }
    }

    /// Part of a whole that was counted up to `cap`: when the whole was cut,
    /// so may be the part.
    pub fn part(counted: u64, whole: u64, cap: u32) -> Self {
        Self {
            value: counted,
            at_least: whole > u64::from(cap),
        }
    }
}
