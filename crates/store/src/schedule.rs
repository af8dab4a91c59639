//! Schedules: when each trigger is due next, and the ledger of what became of
//! every occurrence.

pub mod backfill;
pub mod control;
pub mod judge;
pub mod ledger;
mod stretch;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_types::{
    DeploymentId, DeploymentStatus, ExecutionId, Timestamp, TriggerId, TriggerKind, WorkflowId,
};

use crate::{Page, PageRequest, StoreError};

/// What became of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FireOutcome {
    /// It started an execution.
    Fired,
    /// It waits for the end of an earlier run of the same schedule.
    Queued,
    /// An earlier run of the same schedule was still going on.
    Skipped,
    /// It was not started in time, and its policy makes nothing up for it.
    Missed,
    /// Its deployment took no triggers.
    Paused,
    /// The start was refused.
    Failed,
}

impl FireOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Queued => "queued",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }

    /// How it is stored: what versions before waiting occurrences know, and
    /// whether it waits.
    pub const fn stored(self) -> (&'static str, bool) {
        match self {
            Self::Queued => (Self::Skipped.as_str(), true),
            other => (other.as_str(), false),
        }
    }

    /// Reads what [`FireOutcome::stored`] gave.
    #[must_use]
    pub const fn or_waiting(self, waiting: bool) -> Self {
        if waiting { Self::Queued } else { self }
    }
}

impl fmt::Display for FireOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of fired, queued, skipped, missed, paused, failed")]
pub struct UnknownOutcome(String);

impl FromStr for FireOutcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        [
            Self::Fired,
            Self::Queued,
            Self::Skipped,
            Self::Missed,
            Self::Paused,
            Self::Failed,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}

/// One enabled trigger that is due by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRecord {
    pub trigger_id: TriggerId,
    pub kind: TriggerKind,
    pub deployment_id: DeploymentId,
    pub workflow_id: WorkflowId,
    pub deployment_status: DeploymentStatus,
    /// The trigger as JSON text.
    pub spec_json: String,
    /// When the trigger became what it is; an interval counts from here.
    pub anchor_at: Timestamp,
    /// Every occurrence up to here, by nominal time, is decided.
    pub decided_to: Timestamp,
    /// When the deployment was last resumed: what was due until then is
    /// paused.
    pub resumed_at: Option<Timestamp>,
    /// The next occurrence that no decision has seen; `None` before the first
    /// decision, and after the last occurrence.
    pub next_nominal: Option<Timestamp>,
    pub next_effective: Option<Timestamp>,
    /// What the last occurrence that fired has started.
    pub last_execution: Option<ExecutionId>,
    /// Raised by each change: what a [`Decision`] has to name.
    pub step: u64,
    /// As in [`Decision::catch_up_to`].
    pub catch_up_to: Option<Timestamp>,
}

/// Schedules that are due for a decision.
#[derive(Debug, Clone)]
pub struct DueSchedules {
    /// By the database's clock.
    pub now: Timestamp,
    pub schedules: Vec<ScheduleRecord>,
}

/// What is to become of an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Starts this execution, with JSON text as its input.
    Start {
        id: ExecutionId,
        input: Bytes,
    },
    /// As `Start`, for one that was missed. Unless overlap is allowed, it
    /// comes after all that runs or waits: the decision ends before it while
    /// there is such a run, and is taken up again. The first one of a catch-up
    /// waits for a run of before as an occurrence that comes in time would,
    /// and with [`Overlap::Cancel`] that run is asked to end.
    MakeUp {
        id: ExecutionId,
        input: Bytes,
    },
    Missed,
    Paused,
    /// It came while runs of its schedule stood in its way.
    Skipped,
}

/// An occurrence, or several in a row that do not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub nominal_at: Timestamp,
    /// The last of them; equal to `nominal_at` for one.
    pub until_at: Timestamp,
    pub count: u64,
    /// Of the first of them.
    pub effective_at: Timestamp,
    /// When the occurrence before it was to start; `None` for the first one of
    /// the trigger.
    pub after: Option<Timestamp>,
    pub verdict: Verdict,
    /// A sentence for whoever asks why; empty when there is nothing to say.
    pub reason: String,
}

/// What is decided about a schedule, as a compare-and-set of its `step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub trigger_id: TriggerId,
    pub step: u64,
    /// In the order of their nominal times.
    pub occurrences: Vec<Occurrence>,
    pub decided_to: Timestamp,
    pub next_nominal: Option<Timestamp>,
    pub next_effective: Option<Timestamp>,
    /// When to decide again; `None`: never, until the trigger changes.
    pub due_at: Option<Timestamp>,
    pub overlap: Overlap,
    /// Occurrences up to here, by nominal time, are being made up for one
    /// after the other. What comes meanwhile is judged after them, and
    /// `next_nominal` is after all that has come.
    pub catch_up_to: Option<Timestamp>,
    /// How long nothing more is decided after a [`Verdict::MakeUp`] has
    /// started.
    pub pause: Duration,
}

/// What becomes of an occurrence that is to start while a run of the same
/// schedule goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// It starts.
    Allow,
    /// It is skipped.
    Skip,
    /// It starts when no run is left; one at a time waits, and those that
    /// come meanwhile are skipped.
    Queue,
    /// Every run is asked to end, and it starts when none is left. It takes
    /// the place of one that waits.
    Cancel,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FireRecord {
    pub trigger_id: TriggerId,
    pub nominal_at: Timestamp,
    /// The last of `count` occurrences in a row.
    pub until_at: Timestamp,
    pub count: u64,
    pub effective_at: Timestamp,
    /// When it was entered, or last changed; of a start, when it started.
    pub decided_at: Timestamp,
    pub outcome: FireOutcome,
    pub reason: String,
    pub execution_id: Option<ExecutionId>,
    /// Whether someone asked for it afterwards.
    pub backfilled: bool,
}

/// A schedule whose last interval strayed from its nominal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftRecord {
    pub trigger_id: TriggerId,
    pub deployment_id: DeploymentId,
    /// When the last start was due, and when it was.
    pub effective_at: Timestamp,
    pub started_at: Timestamp,
    /// See [`judge::drift`]; in microseconds.
    pub drift: i64,
}

/// Which part of a trigger's ledger is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct FireFilter {
    /// Inclusive; a row of several counts when any of them is in the range.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

/// Enabled triggers of the types `cron`, `interval` and `once` have a
/// schedule: made by the deploy, due for its first decision at once, with
/// every occurrence before the deploy decided. A deploy that leaves the trigger
/// as it was leaves its schedule. Pausing and resuming make it due.
#[async_trait]
pub trait ScheduleStore: backfill::BackfillStore + control::SchedulerStore {
    /// Takes up to `limit` schedules that are due, longest due first, and
    /// holds them back from other callers for `hold`, so that they come up
    /// again should this one die. Two callers at once get different ones.
    async fn claim_schedules(&self, limit: u32, hold: Duration)
    -> Result<DueSchedules, StoreError>;

    /// How long until the next schedule or backfill is due, by the database's
    /// clock; `None` while the scheduler is stopped.
    async fn next_schedule_due(&self) -> Result<Option<Duration>, StoreError>;

    /// Advances a schedule, admits the executions of its occurrences and
    /// enters all of them in the ledger, in one transaction; answers what
    /// became of each. More than 100 in a row that did not run for the same
    /// kind of reason, and have no execution, become one row, together with
    /// those entered before. `None`, and nothing has changed, when the
    /// schedule is gone or at another step: someone else decided, or the trigger changed. An
    /// occurrence that the ledger has already is passed over. Overlap is
    /// judged against all live executions of the trigger ([`judge`]); an
    /// occurrence that waited and starts now is among the rows answered. One
    /// whose schedule goes while it waits is skipped.
    async fn decide(&self, decision: &Decision) -> Result<Option<Vec<FireRecord>>, StoreError>;

    async fn schedule(&self, id: TriggerId) -> Result<Option<ScheduleRecord>, StoreError>;

    /// Schedules whose last interval strayed, by id, up to `limit`.
    async fn drifting(&self, limit: u32) -> Result<Vec<DriftRecord>, StoreError>;

    /// Newest first by nominal time. The cursor is the nominal time of the
    /// last one seen, in microseconds.
    async fn fires(
        &self,
        id: TriggerId,
        filter: &FireFilter,
        page: &PageRequest,
    ) -> Result<Page<FireRecord>, StoreError>;
}

/// Reads a cursor of [`ScheduleStore::fires`].
pub fn fires_before(page: &PageRequest) -> Result<Option<Timestamp>, StoreError> {
    page.cursor
        .as_deref()
        .map(|text| {
            text.parse()
                .map(Timestamp::from_micros)
                .map_err(|_| StoreError::Rejected(format!("`{text}` is no cursor")))
        })
        .transpose()
}
