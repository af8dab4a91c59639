//! How scheduling fares: what is due, and what became of what was.

use std::cmp::Reverse;
use std::time::Duration;

use millrace_store::{FireFigures, FireOutcome, Sample, StoreError};
use millrace_types::Timestamp;
use serde::Serialize;

use super::shapes::{Count, Summary, Window, before, between, millis};
use super::{CAP, MonitoringService};
use crate::schedule::{DRIFTING, word};

/// Rows of the ledger that are read.
pub(super) const FIRES: u32 = 20_000;
pub(super) const DAY: Duration = Duration::from_hours(24);
/// Schedules that stray which are shown, of those that are looked at.
const SHOWN: usize = 100;
const HOUR: Duration = Duration::from_hours(1);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SchedulingMetrics {
    timestamp: Timestamp,
    scheduler: Switch,
    schedules: Schedules,
    due: Due,
    drift: Straying,
    /// Schedules whose last interval strayed from its nominal one, those that
    /// stray most first; 100 at most.
    drifting: Vec<Drift>,
    last_hour: Period,
    last_day: Period,
}

/// Whether anything is fired by the clock, on any instance.
#[derive(Debug, Serialize)]
struct Switch {
    /// `running` or `stopped`.
    state: &'static str,
    /// When it was changed last, and why; nobody may have said.
    since: Timestamp,
    reason: String,
    generation: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Straying {
    schedules: Count,
    /// By how much the worst one does; negative when its interval was too
    /// short, 0 when none strays.
    worst_ms: f64,
}

#[derive(Debug, Serialize)]
struct Schedules {
    /// With an occurrence to come.
    active: Count,
    /// Of deployments that take no triggers.
    paused: Count,
    /// Without a further occurrence.
    finished: Count,
}

/// What waits for a decision right now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Due {
    backlog: Count,
    /// When the longest waiting one was due; `null` when none waits.
    since: Option<Timestamp>,
    lag_ms: f64,
}

/// A schedule that does not keep its interval.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Drift {
    trigger_id: String,
    deployment_id: String,
    /// When the last start was due, and when it was.
    effective_at: Timestamp,
    started_at: Timestamp,
    /// By how much the real interval was longer than the nominal one; negative
    /// when it was shorter.
    drift_ms: f64,
}

/// What the ledger says of a stretch of time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    window: Window,
    outcomes: Outcomes,
    /// From when an occurrence was to start, after jitter, to its admission.
    start_lag: Option<Summary>,
}

/// Occurrences, not rows: a range counts as many as it stands for.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Outcomes {
    fired: u64,
    /// Waiting for the end of an earlier run.
    queued: u64,
    skipped: u64,
    missed: u64,
    paused: u64,
    failed: u64,
}

impl MonitoringService {
    pub(crate) async fn scheduling(&self) -> Result<SchedulingMetrics, StoreError> {
        let figures = self.store.schedule_figures(CAP).await?;
        let now = figures.now;
        let scheduler = self.store.scheduler().await?;
        let mut drifting = self.store.drifting(DRIFTING + 1).await?;
        let straying = millrace_store::Count::capped(drifting.len() as u64, DRIFTING);
        drifting.sort_by_key(|drift| Reverse(drift.drift.unsigned_abs()));
        let fires = self.store.recent_fires(before(now, DAY), FIRES).await?;
        Ok(SchedulingMetrics {
            timestamp: now,
            scheduler: Switch {
                state: word(scheduler.running),
                since: scheduler.changed_at,
                reason: scheduler.reason,
                generation: scheduler.generation,
            },
            schedules: Schedules {
                active: figures.active.into(),
                paused: figures.paused.into(),
                finished: figures.finished.into(),
            },
            due: Due {
                backlog: figures.due.into(),
                since: figures.due_since,
                lag_ms: figures.due_since.map_or(0.0, |at| millis(between(at, now))),
            },
            drift: Straying {
                schedules: straying.into(),
                worst_ms: drifting
                    .first()
                    .map_or(0.0, |drift| either_way(drift.drift)),
            },
            drifting: drifting
                .into_iter()
                .take(SHOWN)
                .map(|drift| Drift {
                    trigger_id: drift.trigger_id.to_string(),
                    deployment_id: drift.deployment_id.to_string(),
                    effective_at: drift.effective_at,
                    started_at: drift.started_at,
                    drift_ms: either_way(drift.drift),
                })
                .collect(),
            last_hour: period(&fires, now, HOUR),
            last_day: period(&fires, now, DAY),
        })
    }
}

/// Microseconds as milliseconds, with their sign.
#[expect(clippy::cast_precision_loss, reason = "to be looked at")]
fn either_way(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

fn period(fires: &Sample<FireFigures>, now: Timestamp, length: Duration) -> Period {
    let window = window(fires, now, length);
    let decided = fires
        .items
        .iter()
        .filter(|fire| fire.decided_at >= window.from);
    let mut outcomes = Outcomes::default();
    let mut lags = Vec::new();
    for fire in decided {
        *match fire.outcome {
            FireOutcome::Fired => &mut outcomes.fired,
            FireOutcome::Queued => &mut outcomes.queued,
            FireOutcome::Skipped => &mut outcomes.skipped,
            FireOutcome::Missed => &mut outcomes.missed,
            FireOutcome::Paused => &mut outcomes.paused,
            FireOutcome::Failed => &mut outcomes.failed,
        } += within(fire, window.from);
        if fire.outcome == FireOutcome::Fired {
            lags.push(between(fire.effective_at, fire.decided_at));
        }
    }
    Period {
        window,
        outcomes,
        start_lag: Summary::of(lags),
    }
}

/// How many of the occurrences of a row came since then. A row of several may
/// have begun long before; they are about evenly spread.
fn within(fire: &FireFigures, from: Timestamp) -> u64 {
    if fire.count == 1 || fire.nominal_at >= from {
        return fire.count;
    }
    let whole = u128::try_from(between(fire.nominal_at, fire.until_at)).unwrap_or(0);
    let part = u128::try_from(between(from, fire.until_at)).unwrap_or(0);
    let share = (u128::from(fire.count) * part).checked_div(whole);
    share.map_or(0, |share| u64::try_from(share).unwrap_or(u64::MAX))
}

/// What of the last `length` the rows cover: they are the newest.
pub(super) fn window(fires: &Sample<FireFigures>, now: Timestamp, length: Duration) -> Window {
    let from = before(now, length);
    let reach = fires
        .estimate
        .and(fires.items.last())
        .map(|oldest| oldest.decided_at)
        .filter(|oldest| *oldest > from);
    Window {
        from: reach.unwrap_or(from),
        to: now,
        complete: reach.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::TriggerId;

    fn fire(minutes_ago: u64, outcome: FireOutcome, count: u64, now: Timestamp) -> FireFigures {
        let at = before(now, Duration::from_mins(minutes_ago));
        FireFigures {
            trigger_id: TriggerId::new(),
            count,
            nominal_at: at,
            until_at: at,
            effective_at: before(at, Duration::from_millis(250)),
            decided_at: at,
            outcome,
        }
    }

    #[test]
    fn of_a_long_row_only_what_came_in_the_period_counts() {
        let now = Timestamp::now();
        let mut row = fire(0, FireOutcome::Paused, 14_400, now);
        row.nominal_at = before(now, HOUR * 4);
        let fires = Sample {
            items: vec![row],
            estimate: None,
        };
        assert_eq!(period(&fires, now, HOUR).outcomes.paused, 3600);
        assert_eq!(period(&fires, now, DAY).outcomes.paused, 14_400);
    }

    #[test]
    fn an_hour_is_complete_while_the_day_is_cut() {
        let now = Timestamp::now();
        let fires = Sample {
            items: vec![
                fire(1, FireOutcome::Fired, 1, now),
                fire(30, FireOutcome::Missed, 500, now),
                fire(90, FireOutcome::Fired, 1, now),
            ],
            estimate: Some(4),
        };
        let (hour, day) = (period(&fires, now, HOUR), period(&fires, now, DAY));
        assert!(hour.window.complete && !day.window.complete);
        assert_eq!(hour.outcomes.missed, 500);
        assert_eq!((hour.outcomes.fired, day.outcomes.fired), (1, 2));
        assert_eq!(day.window.from, fires.items[2].decided_at);
        assert!((hour.start_lag.unwrap().p99_ms - 250.0).abs() < 0.5);
    }
}
