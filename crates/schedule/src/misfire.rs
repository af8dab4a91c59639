//! What is made up for when occurrences were not started in time.

use std::time::Duration;

use millrace_types::Timestamp;

use crate::schedule::{just_after, just_before};
use crate::{Jitter, Schedule};

/// More misses in a row than this become one range.
pub const MAX_SINGLE_MISSES: u64 = 100;
/// The largest `max` of [`MisfirePolicy::All`].
pub const MAX_CATCH_UP: u32 = 10_000;
/// The `max` of [`MisfirePolicy::All`] where none is given.
pub const DEFAULT_CATCH_UP_MAX: u32 = 1000;
/// One plan starts no more than this; what is left is for the next plan.
pub const MAX_FIRES_PER_PLAN: usize = 10_000;

/// What happens to occurrences that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MisfirePolicy {
    /// None of them runs.
    None,
    /// The last one runs, unless a later one is still in time.
    #[default]
    Last,
    /// All of them run, oldest first; of more than `max`, the newest.
    All { max: u32 },
}

/// Occurrences in a row that do not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MissedRange {
    /// The first of them.
    pub nominal_at: Timestamp,
    /// The last of them; the same as the first for a single one.
    pub until_at: Timestamp,
    pub count: u64,
}

/// What to do about the occurrences up to now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatchUp {
    /// To be started, in this order; nominal times.
    pub fire: Vec<Timestamp>,
    /// To be entered as missed. All of them are before what fires.
    pub missed: Vec<MissedRange>,
    /// The last occurrence that this plan decides: the `last_nominal` of the
    /// next plan. `None` when it decides nothing.
    pub decided_to: Option<Timestamp>,
}

/// Decides about every occurrence after `last_nominal` whose effective time
/// has come by `now`. It is missed when more than `start_deadline` has passed
/// since then.
///
/// The plan depends on its arguments alone: instances that plan the same do
/// the same.
pub fn plan_catch_up(
    schedule: &Schedule,
    jitter: &Jitter,
    last_nominal: Timestamp,
    now: Timestamp,
    start_deadline: Duration,
    policy: MisfirePolicy,
) -> CatchUp {
    let deadline = i64::try_from(start_deadline.as_micros()).unwrap_or(i64::MAX);
    // What became effective before this is missed.
    let in_time_from = Timestamp::from_micros(now.as_micros().saturating_sub(deadline));
    let newest_missed = effective_by(schedule, jitter, just_before(in_time_from))
        .filter(|newest| *newest > last_nominal);

    let mut plan = CatchUp::default();
    let in_time_after = newest_missed.unwrap_or(last_nominal);
    let newest_due = effective_by(schedule, jitter, now).filter(|newest| *newest > in_time_after);

    if let Some(newest_missed) = newest_missed {
        let runs = match policy {
            MisfirePolicy::None => 0,
            MisfirePolicy::Last => u32::from(newest_due.is_none()),
            MisfirePolicy::All { max } => max.min(MAX_CATCH_UP),
        };
        plan.fire = newest(schedule, last_nominal, newest_missed, runs);
        let upto = match plan.fire.first() {
            Some(first) => schedule.previous_at_or_before(just_before(*first)),
            None => Some(newest_missed),
        };
        if let Some(upto) = upto.filter(|upto| *upto > last_nominal) {
            plan.missed = ranges(schedule, last_nominal, upto);
        }
        plan.decided_to = Some(newest_missed);
    }
    if let Some(newest_due) = newest_due {
        let room = MAX_FIRES_PER_PLAN.saturating_sub(plan.fire.len());
        let due = schedule
            .occurrences_after(in_time_after)
            .take_while(|nominal| *nominal <= newest_due)
            .take(room);
        plan.fire.extend(due);
        plan.decided_to = plan.fire.last().copied().or(plan.decided_to);
    }
    plan
}

/// The last occurrence whose effective time is at or before `at`. Only the
/// newest nominal time up to then can still be moved past it.
fn effective_by(schedule: &Schedule, jitter: &Jitter, at: Timestamp) -> Option<Timestamp> {
    let nominal = schedule.previous_at_or_before(at)?;
    if jitter.effective(schedule, nominal) <= at {
        Some(nominal)
    } else {
        schedule.previous_at_or_before(just_before(nominal))
    }
}

/// The newest occurrences after `after` and up to `last`, `max` at most,
/// oldest first.
fn newest(schedule: &Schedule, after: Timestamp, last: Timestamp, max: u32) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut at = Some(last);
    for _ in 0..max {
        let Some(nominal) = at.filter(|nominal| *nominal > after) else {
            break;
        };
        found.push(nominal);
        at = schedule.previous_at_or_before(just_before(nominal));
    }
    found.reverse();
    found
}

fn ranges(schedule: &Schedule, after: Timestamp, upto: Timestamp) -> Vec<MissedRange> {
    let count = schedule.count_between(just_after(after), just_after(upto), u64::MAX);
    let mut occurrences = schedule.occurrences_after(after);
    if count > MAX_SINGLE_MISSES {
        let range = |nominal_at| MissedRange {
            nominal_at,
            until_at: upto,
            count,
        };
        return occurrences.next().map(range).into_iter().collect();
    }
    occurrences
        .take_while(|nominal| *nominal <= upto)
        .map(|nominal_at| MissedRange {
            nominal_at,
            until_at: nominal_at,
            count: 1,
        })
        .collect()
}
