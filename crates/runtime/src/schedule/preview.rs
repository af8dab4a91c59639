//! When a schedule will fire next.

use millrace_proto::Failure;
use millrace_schedule::{Jitter, Schedule};
use millrace_store::{ScheduleRecord, StoreError};
use millrace_types::{ErrorKind, Timestamp, TriggerId};

use super::CronScheduler;
use super::plan::Planner;
use super::run::read;

/// An occurrence to come: nominal and effective time.
pub(crate) type Preview = (Timestamp, Timestamp);

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    #[error("there is no enabled schedule {0}")]
    Unknown(TriggerId),
    #[error("the schedule {0} cannot be read: {1}")]
    Unreadable(TriggerId, String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PreviewError> for Failure {
    fn from(error: PreviewError) -> Self {
        match error {
            PreviewError::Unknown(_) => Self::new(ErrorKind::NotFound, error.to_string()),
            PreviewError::Unreadable(..) => Self::new(ErrorKind::Internal, error.to_string()),
            PreviewError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl CronScheduler {
    /// The next `count` occurrences that are not decided yet and still lie
    /// ahead, as if nothing were paused.
    pub(crate) async fn preview(
        &self,
        id: TriggerId,
        count: u32,
    ) -> Result<Vec<Preview>, PreviewError> {
        let record = self.coordinator.store.schedule(id).await?;
        let record = record.ok_or(PreviewError::Unknown(id))?;
        ahead(&record, Timestamp::now(), count).map_err(|why| PreviewError::Unreadable(id, why))
    }
}

/// When a schedule starts something from `from` on and before `to`, `most`
/// times at most, as if nothing were paused. Not before what is decided.
pub(crate) fn starts_between(
    record: &ScheduleRecord,
    from: Timestamp,
    to: Timestamp,
    most: usize,
) -> Result<Vec<Timestamp>, String> {
    let trigger = read(record)?;
    let planner = Planner::new(record, &trigger);
    Ok(
        upcoming(&planner.schedule, &planner.jitter, record.decided_to, from)
            .take_while(|(nominal, _)| *nominal < to)
            .map(|(_, effective)| effective)
            .filter(|effective| *effective < to)
            .take(most)
            .collect(),
    )
}

pub(super) fn ahead(
    record: &ScheduleRecord,
    now: Timestamp,
    count: u32,
) -> Result<Vec<Preview>, String> {
    let trigger = read(record)?;
    let planner = Planner::new(record, &trigger);
    let decided_to = record.decided_to;
    Ok(
        upcoming(&planner.schedule, &planner.jitter, decided_to, now)
            .take(count as usize)
            .collect(),
    )
}

/// The occurrences after `after` that start after `now`.
pub(crate) fn upcoming<'a>(
    schedule: &'a Schedule,
    jitter: &'a Jitter,
    after: Timestamp,
    now: Timestamp,
) -> impl Iterator<Item = Preview> + use<'a> {
    // Jitter may still keep back the newest nominal time up to now.
    let newest = schedule.previous_at_or_before(now).unwrap_or(now);
    let after = Timestamp::from_micros(newest.as_micros() - 1).max(after);
    schedule
        .occurrences_after(after)
        .map(|nominal| (nominal, jitter.effective(schedule, nominal)))
        .filter(move |(_, effective)| *effective > now)
}
