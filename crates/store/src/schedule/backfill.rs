//! Occurrences that are asked for afterwards.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_types::{ExecutionId, Timestamp, TriggerId};

use super::judge::Standing;
use super::{FireOutcome, FireRecord, Overlap, ScheduleRecord};
use crate::{Admission, StoreError, WriteDone, WriteRefused};

/// Days that the ledger is kept. What ran before, nobody can tell.
pub const LEDGER_DAYS: i64 = 30;

/// How long a backfill waits when something stands in its way.
const WAIT: Duration = Duration::from_millis(500);

/// A range of a schedule's past that is being started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillRecord {
    pub schedule: ScheduleRecord,
    pub from_at: Timestamp,
    /// Exclusive.
    pub to_at: Timestamp,
    /// Every occurrence up to here, by nominal time, is dealt with.
    pub position: Timestamp,
    pub step: u64,
}

/// Backfills that are due for their next part.
#[derive(Debug, Clone)]
pub struct DueBackfills {
    /// By the database's clock.
    pub now: Timestamp,
    pub backfills: Vec<BackfillRecord>,
}

/// What became of a request to backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillAsked {
    Begun,
    /// Another one of this schedule is under way, over this range.
    Busy(Timestamp, Timestamp),
    /// There is no such schedule.
    Unknown,
}

/// One occurrence to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillStart {
    pub nominal_at: Timestamp,
    pub effective_at: Timestamp,
    pub id: ExecutionId,
    /// JSON text.
    pub input: Bytes,
    pub reason: String,
    /// The row of the ledger that it stands in, by first and last nominal
    /// time, which goes; and what is left of that row.
    pub instead_of: Option<(Timestamp, Timestamp)>,
    pub remains: Vec<FireRecord>,
}

/// The next part of a backfill, as a compare-and-set of its `step`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillPart {
    pub trigger_id: TriggerId,
    pub step: u64,
    /// In the order of their nominal times.
    pub starts: Vec<BackfillStart>,
    /// Up to here, once all of `starts` are started.
    pub position: Timestamp,
    /// When the next part is due; `None`: there is none.
    pub due_at: Option<Timestamp>,
    /// But for [`Overlap::Allow`], one run follows the other.
    pub overlap: Overlap,
}

/// A schedule has at most one backfill. It goes with its schedule, and when
/// its trigger is changed.
#[async_trait]
pub trait BackfillStore: Send + Sync + 'static {
    async fn ask_backfill(
        &self,
        id: TriggerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<BackfillAsked, StoreError>;

    /// As [`super::ScheduleStore::claim_schedules`].
    async fn claim_backfills(&self, limit: u32, hold: Duration)
    -> Result<DueBackfills, StoreError>;

    /// Starts occurrences, enters them in the ledger in the place of what
    /// stood there, and moves on, in one transaction; answers the rows
    /// entered. Stops before an occurrence that has to wait, for a run of the
    /// schedule or its deployment, and before one that is not in the row that
    /// the part names: that is to be read again. `None`, and nothing has changed, when the
    /// backfill is gone or at another step.
    async fn advance_backfill(
        &self,
        part: &BackfillPart,
    ) -> Result<Option<Vec<FireRecord>>, StoreError>;
}

/// How far a part got, as the stores work through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub position: Timestamp,
    pub due_at: Option<Timestamp>,
}

impl Progress {
    /// Of a part that ends before `start`, with which the next one begins.
    pub(super) fn before(start: &BackfillStart, due_at: Timestamp) -> Self {
        Self {
            position: Timestamp::from_micros(start.nominal_at.as_micros() - 1),
            due_at: Some(due_at),
        }
    }
}

impl Standing {
    /// Whether a backfill has to wait with its next start.
    pub(super) fn holds_back(&self, overlap: Overlap) -> bool {
        overlap != Overlap::Allow && (self.run.is_some() || self.queued.is_some())
    }

    /// What to admit for an occurrence of a backfill.
    pub(super) fn backfill(&self, start: &BackfillStart) -> Admission {
        self.admission(start.id, start.input.clone())
    }

    /// The ledger's row of such an occurrence; `None` when its deployment
    /// takes no triggers at present, and it has to wait.
    pub(super) fn backfilled(
        &mut self,
        start: &BackfillStart,
        admitted: &Result<WriteDone, WriteRefused>,
    ) -> Option<FireRecord> {
        let fire = FireRecord {
            reason: start.reason.clone(),
            backfilled: true,
            ..self.fire(start.nominal_at, start.effective_at)
        };
        let fire = self.admitted(fire, start.id, admitted);
        (fire.outcome != FireOutcome::Paused).then_some(fire)
    }

    /// Where a part ends that cannot start `start` yet.
    pub(super) fn held_back(&self, start: &BackfillStart) -> Progress {
        Progress::before(start, self.now.saturating_add(WAIT))
    }
}
