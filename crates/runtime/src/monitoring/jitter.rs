//! Whether jitter spreads as it should: where in their windows the schedules
//! start, against the ideal of an even spread.

use std::collections::HashMap;
use std::time::Duration;

use millrace_schedule::{JitterWindow, TriggerSchedule};
use millrace_store::{FireFigures, FireOutcome, ScheduleRecord, StoreError};
use millrace_types::Timestamp;
use serde::Serialize;

use super::MonitoringService;
use super::scheduling::{DAY, FIRES, window};
use super::shapes::{Window, before, between};
use crate::schedule::read;

/// Schedules that are looked at.
const SCHEDULES: u32 = 5000;
/// Parts into which windows are cut.
const PARTS: usize = 20;
/// Upper bounds of the offsets that were, in seconds; more is in the last.
const BOUNDS: [i64; 12] = [0, 1, 5, 15, 30, 60, 120, 180, 240, 300, 900, 3600];

#[derive(Debug, Serialize)]
pub(crate) struct JitterDistribution {
    planned: Planned,
    actual: Actual,
}

/// The next occurrence of each schedule that has a window, by its place in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    /// Schedules looked at that have a window.
    schedules: u64,
    /// Schedules looked at that have none.
    without_window: u64,
    /// Whether these are all there are.
    complete: bool,
    /// How many schedules there are, roughly, when they are not all.
    estimate: Option<u64>,
    #[serde(flatten)]
    spread: Spread,
}

/// How places in windows are spread, against an even spread.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Spread {
    /// Equal parts of the window, in order.
    parts: Vec<u64>,
    /// How many would be in each part if they were spread evenly.
    expected: f64,
    /// Σ (found − expected)² / expected, with `degreesOfFreedom`: about as
    /// large as these for an even spread. `null` below five for each part.
    chi_square: Option<f64>,
    degrees_of_freedom: usize,
    /// The fullest part against the mean.
    max_to_mean: Option<f64>,
}

/// What the ledger says of the last day: when occurrences did start.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Actual {
    window: Window,
    fires: u64,
    offsets: Vec<Bucket>,
    /// Starts within the windows of the schedules that are planned.
    within_window: u64,
    /// Starts of such schedules that came after their windows.
    beyond_window: u64,
    #[serde(flatten)]
    spread: Spread,
}

/// Time of the start less nominal time: above the bound before, up to
/// `upToSeconds`; `null` in the last bucket, which has no bound.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bucket {
    up_to_seconds: Option<i64>,
    count: u64,
}

impl MonitoringService {
    pub(crate) async fn jitter(&self) -> Result<JitterDistribution, StoreError> {
        let sample = self.store.sample_schedules(None, SCHEDULES).await?;
        let now = Timestamp::now();
        let fires = self.store.recent_fires(before(now, DAY), FIRES).await?;
        let places: Vec<Option<f64>> = sample.items.iter().filter_map(place).collect();
        let (offsets, count) = offsets(&fires.items);
        let (started, beyond_window) = started(&sample.items, &fires.items);
        Ok(JitterDistribution {
            planned: planned(&places, sample.estimate),
            actual: Actual {
                window: window(&fires, now, DAY),
                fires: count,
                offsets,
                within_window: started.len() as u64,
                beyond_window,
                spread: spread(&started),
            },
        })
    }
}

/// Where in its window the next occurrence lies, 0 to 1; `Some(None)` when it
/// has no window, `None` when there is no occurrence.
#[expect(clippy::option_option, reason = "the two mean what is said above")]
fn place(record: &ScheduleRecord) -> Option<Option<f64>> {
    let (nominal, effective) = (record.next_nominal?, record.next_effective?);
    let trigger = read(record).ok()?;
    let seconds = window_seconds(&trigger, record, nominal);
    if seconds <= 1 {
        return Some(None);
    }
    let offset = between(nominal, effective) / 1_000_000;
    #[expect(clippy::cast_precision_loss, reason = "seconds within a window")]
    let place = offset.clamp(0, seconds - 1) as f64 / seconds as f64;
    Some(Some(place))
}

fn window_seconds(trigger: &TriggerSchedule, record: &ScheduleRecord, nominal: Timestamp) -> i64 {
    let gap = trigger.schedule(record.anchor_at).gap_after(nominal);
    let window = match (trigger.jitter_window, gap) {
        (JitterWindow::Fixed(window), Some(gap)) => window.min(gap),
        (JitterWindow::Fixed(window), None) => window,
        (JitterWindow::Percent(percent), Some(gap)) => gap * u32::from(percent) / 100,
        (JitterWindow::Percent(_), None) => Duration::ZERO,
    };
    i64::try_from(window.as_secs()).unwrap_or(i64::MAX)
}

/// Where in their windows these fires started, 0 to 1, and how many started
/// after them. Those of schedules that are not known here, or have no window,
/// are neither.
fn started(schedules: &[ScheduleRecord], fires: &[FireFigures]) -> (Vec<f64>, u64) {
    let schedules: HashMap<_, _> = schedules
        .iter()
        .filter_map(|record| Some((record.trigger_id, (record, read(record).ok()?))))
        .collect();
    let (mut places, mut beyond) = (Vec::new(), 0);
    for fire in fires.iter().filter(|f| f.outcome == FireOutcome::Fired) {
        let Some((record, trigger)) = schedules.get(&fire.trigger_id) else {
            continue;
        };
        let seconds = window_seconds(trigger, record, fire.nominal_at);
        if seconds <= 1 {
            continue;
        }
        let offset = between(fire.nominal_at, fire.decided_at).max(0);
        if offset >= seconds * 1_000_000 {
            beyond += 1;
        } else {
            #[expect(clippy::cast_precision_loss, reason = "within a window")]
            places.push(offset as f64 / (seconds * 1_000_000) as f64);
        }
    }
    (places, beyond)
}

fn planned(places: &[Option<f64>], estimate: Option<u64>) -> Planned {
    let with_window: Vec<f64> = places.iter().flatten().copied().collect();
    Planned {
        schedules: with_window.len() as u64,
        without_window: (places.len() - with_window.len()) as u64,
        complete: estimate.is_none(),
        estimate,
        spread: spread(&with_window),
    }
}

fn spread(places: &[f64]) -> Spread {
    let mut parts = vec![0_u64; PARTS];
    for place in places {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0 to 1, times twenty"
        )]
        let part = ((place * PARTS as f64) as usize).min(PARTS - 1);
        parts[part] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
    let expected = places.len() as f64 / PARTS as f64;
    #[expect(clippy::cast_precision_loss, reason = "thousands at most")]
    let counts = || parts.iter().map(|count| *count as f64);
    Spread {
        expected,
        chi_square: (expected >= 5.0)
            .then(|| counts().map(|c| (c - expected).powi(2) / expected).sum()),
        degrees_of_freedom: PARTS - 1,
        max_to_mean: (!places.is_empty()).then(|| counts().fold(0.0, f64::max) / expected),
        parts,
    }
}

fn offsets(fires: &[FireFigures]) -> (Vec<Bucket>, u64) {
    let mut buckets: Vec<Bucket> = BOUNDS
        .iter()
        .map(|bound| Some(*bound))
        .chain([None])
        .map(|up_to_seconds| Bucket {
            up_to_seconds,
            count: 0,
        })
        .collect();
    let mut count = 0;
    for fire in fires.iter().filter(|f| f.outcome == FireOutcome::Fired) {
        let offset = between(fire.nominal_at, fire.decided_at);
        let at = BOUNDS.partition_point(|bound| *bound * 1_000_000 < offset);
        buckets[at].count += 1;
        count += 1;
    }
    (buckets, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::{minutely, record, time};
    use millrace_types::TriggerId;
    use serde_json::json;

    #[test]
    fn an_even_spread_is_told_from_a_heap() {
        let even: Vec<_> = (0..2000)
            .map(|n| Some(f64::from(n % 200) / 200.0))
            .collect();
        let even = planned(&even, None);
        assert_eq!(even.spread.chi_square, Some(0.0));
        assert_eq!(even.spread.max_to_mean, Some(1.0));
        let heap = planned(&vec![Some(0.5); 2000], Some(9000));
        assert!(heap.spread.chi_square.unwrap() > 1000.0 && !heap.complete);
        assert_eq!(heap.spread.max_to_mean, Some(20.0));
        let nothing = planned(&[None], None);
        assert_eq!(
            (nothing.without_window, nothing.spread.max_to_mean),
            (1, None)
        );
    }

    #[test]
    fn offsets_fall_under_the_bound_that_holds_them() {
        let now = Timestamp::now();
        let fire = |seconds| FireFigures {
            trigger_id: TriggerId::new(),
            count: 1,
            nominal_at: now,
            until_at: now,
            effective_at: now,
            decided_at: now.saturating_add(Duration::from_secs(seconds)),
            outcome: FireOutcome::Fired,
        };
        let (buckets, count) = offsets(&[fire(0), fire(1), fire(2), fire(300), fire(9000)]);
        let filled: Vec<_> = buckets
            .iter()
            .filter(|b| b.count > 0)
            .map(|b| b.up_to_seconds)
            .collect();
        assert_eq!(filled, [Some(0), Some(1), Some(5), Some(300), None]);
        assert_eq!(count, 5);
    }

    #[test]
    fn what_started_late_is_not_where_it_was_planned() {
        let spec = json!({"type": "cron", "cron": "0 * * * *", "jitterWindow": "PT5M"});
        let schedule = record(&spec, "2026-03-01T08:00:30Z");
        let without = record(&minutely("last"), "2026-03-01T08:00:30Z");
        let nominal = time("2026-03-01T09:00:00Z");
        let fire = |schedule: &ScheduleRecord, seconds| FireFigures {
            trigger_id: schedule.trigger_id,
            count: 1,
            nominal_at: nominal,
            until_at: nominal,
            effective_at: nominal.saturating_add(Duration::from_secs(30)),
            decided_at: nominal.saturating_add(Duration::from_secs(seconds)),
            outcome: FireOutcome::Fired,
        };
        let mut fires = vec![
            fire(&schedule, 30),
            fire(&schedule, 150),
            fire(&schedule, 300),
            fire(&without, 3),
        ];
        fires[2].outcome = FireOutcome::Missed;
        fires.push(fire(&schedule, 4000));
        let (places, beyond) = started(&[schedule, without], &fires);
        assert_eq!((places.as_slice(), beyond), (&[0.1, 0.5][..], 1));
        let spread = spread(&places);
        assert_eq!((spread.parts[2], spread.parts[10]), (1, 1));
        assert_eq!(spread.chi_square, None, "two say nothing");
    }
}
