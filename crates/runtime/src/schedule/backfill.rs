//! Starting occurrences of the past.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_proto::Failure;
use millrace_schedule::{OverlapPolicy, TriggerSchedule, TriggerTiming};
use millrace_store::{
    BackfillAsked, BackfillPart, BackfillRecord, BackfillStart, FireFilter, FireOutcome,
    FireRecord, LEDGER_DAYS, PageRequest, StoreError,
};
use millrace_types::{ErrorKind, ExecutionId, Timestamp, TriggerId};
use tracing::{info, warn};

use super::CronScheduler;
use super::plan::{Planner, overlap};
use super::run::{log, read};

/// Occurrences that one request may ask for.
const MAX_OCCURRENCES: u64 = 100_000;

/// Occurrences that one part looks at.
const LOOKED_AT: usize = 500;

/// Longest range, in days: the ledger is whole for that long.
const MAX_DAYS: i64 = LEDGER_DAYS - 1;

const DAY: i64 = 86_400_000_000;

/// How long a backfill waits for a decision about the newest occurrences.
const UNTIL_DECIDED: Duration = Duration::from_secs(1);

/// Why a range is not backfilled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackfillError {
    #[error("there is no enabled schedule {0}")]
    Unknown(TriggerId),
    #[error("the schedule {0} cannot be read: {1}")]
    Unreadable(TriggerId, String),
    #[error(
        "the schedule {0} goes by the end of its runs: it has no occurrences that could be made up \
         for"
    )]
    Chain(TriggerId),
    #[error("has to be after `from`")]
    Empty,
    #[error("lies in the future")]
    Future,
    #[error(
        "lies more than {MAX_DAYS} days back: the ledger is kept for {LEDGER_DAYS} days, and nobody \
         can tell what ran before"
    )]
    TooOld,
    #[error("the range has more than {MAX_OCCURRENCES} occurrences; ask for it in parts")]
    TooMany,
    #[error("a backfill of this schedule is under way, from {0} to {1}")]
    Busy(Timestamp, Timestamp),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BackfillError> for Failure {
    fn from(error: BackfillError) -> Self {
        use crate::grpc::convert;
        match error {
            BackfillError::Unknown(_) => Self::new(ErrorKind::NotFound, error.to_string()),
            BackfillError::Unreadable(..) => Self::new(ErrorKind::Internal, error.to_string()),
            BackfillError::Chain(_) => Self::new(ErrorKind::Invalid, error.to_string()),
            BackfillError::TooOld => convert::invalid("from", error),
            BackfillError::Empty | BackfillError::Future | BackfillError::TooMany => {
                convert::invalid("to", error)
            }
            BackfillError::Busy(..) => {
                Self::new(ErrorKind::Conflict, error.to_string()).with_reason("backfill-under-way")
            }
            BackfillError::Store(error) => convert::store_failure(&error),
        }
    }
}

impl CronScheduler {
    /// Asks for the occurrences from `from` until before `to` that did not
    /// run; answers how many lie there, those that ran included.
    pub(crate) async fn ask_backfill(
        &self,
        id: TriggerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64, BackfillError> {
        let store = &self.coordinator.store;
        let record = store.schedule(id).await?;
        let record = record.ok_or(BackfillError::Unknown(id))?;
        let trigger = read(&record).map_err(|why| BackfillError::Unreadable(id, why))?;
        if let TriggerTiming::After { .. } = trigger.timing {
            return Err(BackfillError::Chain(id));
        }
        let now = Timestamp::now();
        if from >= to {
            return Err(BackfillError::Empty);
        }
        if to > now {
            return Err(BackfillError::Future);
        }
        if from.as_micros() < now.as_micros() - MAX_DAYS * DAY {
            return Err(BackfillError::TooOld);
        }
        let schedule = trigger.schedule(record.anchor_at);
        let count = schedule.count_between(from, to, MAX_OCCURRENCES + 1);
        if count > MAX_OCCURRENCES {
            return Err(BackfillError::TooMany);
        }
        match store.ask_backfill(id, from, to).await? {
            BackfillAsked::Begun => {
                info!(trigger.id = %id, "schedule {id} is backfilled from {from} to {to}");
                self.wake.notify_one();
                Ok(count)
            }
            BackfillAsked::Busy(from, to) => Err(BackfillError::Busy(from, to)),
            BackfillAsked::Unknown => Err(BackfillError::Unknown(id)),
        }
    }

    /// Carries one backfill on. What fails here comes up again.
    pub(super) async fn backfill(&self, record: &BackfillRecord, now: Timestamp) {
        let id = record.schedule.trigger_id;
        let advanced = match read(&record.schedule) {
            Ok(trigger) => self.advance(record, &trigger, now).await,
            Err(why) => {
                warn!(trigger.id = %id, "schedule {id} cannot be read: {why}");
                return;
            }
        };
        match advanced {
            Ok(fires) => {
                if !fires.is_empty() {
                    self.coordinator.due.notify_one();
                }
                fires.iter().for_each(log);
            }
            Err(error) => warn!(trigger.id = %id, %error, "schedule {id} could not be backfilled"),
        }
    }

    async fn advance(
        &self,
        record: &BackfillRecord,
        trigger: &TriggerSchedule,
        now: Timestamp,
    ) -> Result<Vec<FireRecord>, StoreError> {
        let planner = Planner::new(&record.schedule, trigger);
        let nominal = next(record, &planner);
        let mut rows = Vec::new();
        if let (Some(first), Some(last)) = (nominal.first(), nominal.last()) {
            let filter = FireFilter {
                from: Some(*first),
                to: Some(last.saturating_add(Duration::from_micros(1))),
            };
            // A row for each occurrence at most.
            let page = PageRequest {
                cursor: None,
                limit: 1000,
            };
            let store = &self.coordinator.store;
            rows = store
                .fires(record.schedule.trigger_id, &filter, &page)
                .await?
                .items;
        }
        let part = part(record, trigger, &planner, &nominal, rows, now);
        let advanced = self.coordinator.store.advance_backfill(&part).await?;
        Ok(advanced.unwrap_or_default())
    }
}

/// The occurrences to be looked at next. What is not decided yet is not asked
/// for yet either.
fn next(record: &BackfillRecord, planner: &Planner<'_>) -> Vec<Timestamp> {
    planner
        .schedule
        .occurrences_after(record.position)
        .take_while(|at| *at < record.to_at && *at <= record.schedule.decided_to)
        .take(LOOKED_AT)
        .collect()
}

/// What to start of these occurrences, given the rows of the ledger that they
/// stand in.
fn part(
    record: &BackfillRecord,
    trigger: &TriggerSchedule,
    planner: &Planner<'_>,
    nominal: &[Timestamp],
    rows: Vec<FireRecord>,
    now: Timestamp,
) -> BackfillPart {
    // A tenth of a second's share at once, then a pause of that length.
    let rate = trigger.catch_up_rate.max(1);
    let share = (rate / 10).max(1);
    let mut rows: BTreeMap<Timestamp, FireRecord> =
        rows.into_iter().map(|row| (row.nominal_at, row)).collect();
    let mut starts: Vec<BackfillStart> = Vec::new();
    let mut position = record.position;
    for &at in nominal {
        if starts.len() == share as usize {
            break;
        }
        position = at;
        let stands_in = rows.range(..=at).next_back();
        let row = stands_in
            .map(|(_, row)| row.clone())
            .filter(|row| row.until_at >= at);
        if let Some(row) = &row
            && matches!(row.outcome, FireOutcome::Fired | FireOutcome::Queued)
        {
            continue;
        }
        let remains = row.as_ref().map_or_else(Vec::new, |row| {
            rows.remove(&row.nominal_at);
            let remains = split(row, at, planner);
            rows.extend(remains.iter().map(|rest| (rest.nominal_at, rest.clone())));
            remains
        });
        let effective_at = planner.jitter.effective(&planner.schedule, at);
        starts.push(BackfillStart {
            nominal_at: at,
            effective_at,
            id: ExecutionId::new(),
            input: planner.input(at, effective_at, true),
            reason: match &row {
                Some(row) if row.reason.is_empty() => format!("backfilled; {} before", row.outcome),
                Some(row) => format!("backfilled; {} before: {}", row.outcome, row.reason),
                None => "backfilled".to_owned(),
            },
            instead_of: row.map(|row| (row.nominal_at, row.until_at)),
            remains,
        });
    }
    let left = planner.schedule.next_after(position);
    let due_at = left.filter(|at| *at < record.to_at).map(|at| {
        if !starts.is_empty() {
            now.saturating_add(Duration::from_secs(1) * share / rate)
        } else if at > record.schedule.decided_to {
            now.saturating_add(UNTIL_DECIDED)
        } else {
            now
        }
    });
    BackfillPart {
        trigger_id: record.schedule.trigger_id,
        step: record.step,
        starts,
        position,
        due_at,
        overlap: match trigger.overlap {
            OverlapPolicy::Allow => overlap(OverlapPolicy::Allow),
            _ => overlap(OverlapPolicy::Skip),
        },
    }
}

/// What is left of a row without the occurrence at `at`.
fn split(row: &FireRecord, at: Timestamp, planner: &Planner<'_>) -> Vec<FireRecord> {
    let schedule = &planner.schedule;
    let before = schedule.count_between(row.nominal_at, at, row.count.saturating_sub(1));
    let after = row.count.saturating_sub(before + 1);
    let mut remains = Vec::new();
    let just_before = Timestamp::from_micros(at.as_micros() - 1);
    if before > 0
        && let Some(last) = schedule.previous_at_or_before(just_before)
    {
        remains.push(FireRecord {
            until_at: last,
            count: before,
            ..row.clone()
        });
    }
    if after > 0
        && let Some(first) = schedule.next_after(at)
    {
        remains.push(FireRecord {
            nominal_at: first,
            effective_at: planner.jitter.effective(schedule, first),
            count: after,
            ..row.clone()
        });
    }
    remains
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::{minutely, record as scheduled, time};

    /// A minutely schedule of the past hours, all missed but 08:30.
    fn scene() -> (BackfillRecord, Vec<FireRecord>) {
        let mut schedule = scheduled(&minutely("none"), "2026-03-01T07:00:30Z");
        schedule.decided_to = time("2026-03-01T10:00:00Z");
        let row = |from: &str, until: &str, count, outcome| FireRecord {
            trigger_id: schedule.trigger_id,
            nominal_at: time(from),
            until_at: time(until),
            count,
            effective_at: time(from),
            decided_at: time(until),
            outcome,
            reason: "outage".into(),
            execution_id: None,
            backfilled: false,
        };
        let rows = vec![
            row(
                "2026-03-01T08:00:00Z",
                "2026-03-01T08:29:00Z",
                30,
                FireOutcome::Missed,
            ),
            row(
                "2026-03-01T08:30:00Z",
                "2026-03-01T08:30:00Z",
                1,
                FireOutcome::Fired,
            ),
            row(
                "2026-03-01T08:31:00Z",
                "2026-03-01T08:31:00Z",
                1,
                FireOutcome::Missed,
            ),
        ];
        let record = BackfillRecord {
            schedule,
            from_at: time("2026-03-01T08:10:00Z"),
            to_at: time("2026-03-01T08:32:00Z"),
            position: time("2026-03-01T08:09:59Z"),
            step: 1,
        };
        (record, rows)
    }

    /// Does to the rows what the store would do.
    fn apply(rows: &mut Vec<FireRecord>, part: &BackfillPart) {
        for start in &part.starts {
            if let Some((first, _)) = start.instead_of {
                rows.retain(|row| row.nominal_at != first);
            }
            rows.extend(start.remains.iter().cloned());
            let nominal_at = start.nominal_at;
            rows.push(FireRecord {
                nominal_at,
                until_at: nominal_at,
                count: 1,
                outcome: FireOutcome::Fired,
                backfilled: true,
                ..rows[0].clone()
            });
        }
    }

    #[test]
    fn what_ran_is_passed_over_and_ranges_are_taken_apart() {
        let (mut record, mut rows) = scene();
        let trigger = read(&record.schedule).unwrap();
        let mut now = time("2026-03-01T10:00:30Z");
        let mut started = Vec::new();
        loop {
            let schedule = record.schedule.clone();
            let planner = Planner::new(&schedule, &trigger);
            let nominal = next(&record, &planner);
            let part = part(&record, &trigger, &planner, &nominal, rows.clone(), now);
            assert!(part.starts.len() <= 1, "ten in a second, one at a time");
            apply(&mut rows, &part);
            started.extend(part.starts.iter().map(|start| start.nominal_at));
            record.position = part.position;
            let Some(due) = part.due_at else { break };
            assert!(due >= now);
            now = due;
        }
        // 08:10 to 08:29 and 08:31; 08:30 had run.
        assert_eq!(started.len(), 21);
        assert!(!started.contains(&time("2026-03-01T08:30:00Z")));
        let took = now.saturating_since(time("2026-03-01T10:00:30Z"));
        assert!(took >= Duration::from_secs(2), "{took:?}");
        let counted: u64 = rows.iter().map(|row| row.count).sum();
        assert_eq!(counted, 32);
        let missed: Vec<_> = rows
            .iter()
            .filter(|row| row.outcome == FireOutcome::Missed)
            .collect();
        assert_eq!(missed.len(), 1, "{missed:#?}");
        assert_eq!(missed[0].count, 10);
        assert_eq!(missed[0].until_at, time("2026-03-01T08:09:00Z"));
    }

    #[test]
    fn what_is_not_decided_yet_is_waited_for() {
        let (mut record, _) = scene();
        record.schedule.decided_to = time("2026-03-01T08:09:00Z");
        let trigger = read(&record.schedule).unwrap();
        let planner = Planner::new(&record.schedule, &trigger);
        let now = time("2026-03-01T08:32:00Z");
        let nominal = next(&record, &planner);
        let part = part(&record, &trigger, &planner, &nominal, vec![], now);
        assert!(part.starts.is_empty());
        assert_eq!(part.due_at, Some(now.saturating_add(UNTIL_DECIDED)));
        assert_eq!(part.position, record.position);
    }
}
