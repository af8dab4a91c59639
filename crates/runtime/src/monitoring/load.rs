//! Who works on what now, and what the schedules will start in the next hours.

use std::time::Duration;

use millrace_schedule::workflow_hash;
use millrace_store::{ScheduleRecord, StoreError};
use millrace_types::{DeploymentStatus, Timestamp};
use serde::Serialize;

use super::shapes::Count;
use super::{CAP, MonitoringService};
use crate::schedule::starts_between;

/// Schedules that a forecast looks at.
const SCHEDULES: u32 = 5000;
/// Occurrences that a forecast computes.
const OCCURRENCES: usize = 100_000;
/// Hours that a forecast may reach.
pub(crate) const MAX_HOURS: u32 = 24;
const BUCKET: Duration = Duration::from_mins(1);
/// Schedules between two points where others get their turn.
const TURN: usize = 32;

#[derive(Debug, Serialize)]
pub(crate) struct LoadDistribution {
    now: Now,
    forecast: Forecast,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Now {
    instances: Vec<Instance>,
    /// Whether the instance that answers knows an engine that takes work.
    engine_ready: bool,
    /// Executions that nobody has taken and that are due.
    due: Count,
    due_since: Option<Timestamp>,
    /// Executions that nobody has taken, those that wait for a timer too.
    unowned: Count,
    /// Of these, the ones whose start failed, or whose engine or database went
    /// away, and that are tried again, later each time.
    backing_off: Count,
}

#[derive(Debug, Serialize)]
struct Instance {
    id: String,
    since: Timestamp,
    running: Count,
}

/// Starts by schedule, after jitter, minute by minute.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Forecast {
    from: Timestamp,
    to: Timestamp,
    bucket_seconds: u64,
    /// False: computed from `schedules` of about `estimate`, and scaled.
    complete: bool,
    schedules: u64,
    estimate: Option<u64>,
    total: u64,
    peak: Option<Bucket>,
    mean_per_bucket: f64,
    /// Those in which something starts.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Serialize)]
struct Bucket {
    at: Timestamp,
    fires: u64,
}

impl MonitoringService {
    /// `hours` is how far the forecast reaches, 1 to [`MAX_HOURS`].
    pub(crate) async fn load(&self, hours: u32) -> Result<LoadDistribution, StoreError> {
        let figures = self.store.load_figures(CAP).await?;
        let from = Timestamp::now();
        let to = from.saturating_add(Duration::from_hours(1) * hours);
        let sample = self.store.sample_schedules(Some(to), SCHEDULES).await?;
        let mut tally = Tally::new(from, to);
        let mut records = sample.items;
        // In an order that has nothing to do with when they are due, as the
        // computation may have to stop on the way.
        records.sort_by_cached_key(|record| workflow_hash(&record.trigger_id.to_string()));
        for (at, record) in records.iter().enumerate() {
            if at % TURN == 0 {
                tokio::task::yield_now().await;
            }
            if !tally.add(record) {
                break;
            }
        }
        Ok(LoadDistribution {
            now: Now {
                instances: figures
                    .instances
                    .into_iter()
                    .map(|instance| Instance {
                        id: instance.id.to_string(),
                        since: instance.since,
                        running: instance.running.into(),
                    })
                    .collect(),
                engine_ready: self.engine.is_ready(),
                due: figures.due.into(),
                due_since: figures.due_since,
                unowned: figures.unowned.into(),
                backing_off: figures.backing_off.into(),
            },
            forecast: tally.finish(records.len() as u64, sample.estimate),
        })
    }
}

struct Tally {
    from: Timestamp,
    to: Timestamp,
    buckets: Vec<u64>,
    left: usize,
    schedules: u64,
}

impl Tally {
    fn new(from: Timestamp, to: Timestamp) -> Self {
        let minutes = to
            .saturating_since(from)
            .as_secs()
            .div_ceil(BUCKET.as_secs());
        Self {
            from,
            to,
            buckets: vec![0; usize::try_from(minutes).unwrap_or(0)],
            left: OCCURRENCES,
            schedules: 0,
        }
    }

    /// `false`, and it does not count, when it would take too long.
    fn add(&mut self, record: &ScheduleRecord) -> bool {
        let live = record.deployment_status == DeploymentStatus::Deployed;
        let fires = if live {
            // What cannot be read is never fired either.
            starts_between(record, self.from, self.to, self.left + 1).unwrap_or_default()
        } else {
            Vec::new()
        };
        if fires.len() > self.left {
            return false;
        }
        self.left -= fires.len();
        self.schedules += 1;
        for at in fires {
            let minute = at.saturating_since(self.from).as_secs() / BUCKET.as_secs();
            let bucket = usize::try_from(minute)
                .ok()
                .and_then(|n| self.buckets.get_mut(n));
            if let Some(bucket) = bucket {
                *bucket += 1;
            }
        }
        true
    }

    /// `found` schedules were there to be looked at, of `estimate`.
    fn finish(self, found: u64, estimate: Option<u64>) -> Forecast {
        let all = estimate.unwrap_or(found);
        let complete = estimate.is_none() && self.schedules == found;
        let scale = |count: u64| {
            let scaled = u128::from(count) * u128::from(all) / u128::from(self.schedules.max(1));
            if complete {
                count
            } else {
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
        };
        let buckets: Vec<Bucket> = (0_u32..)
            .zip(&self.buckets)
            .filter(|(_, count)| **count > 0)
            .map(|(minute, count)| Bucket {
                at: self.from.saturating_add(BUCKET * minute),
                fires: scale(*count),
            })
            .collect();
        let total: u64 = buckets.iter().map(|bucket| bucket.fires).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean, to be looked at")]
        let mean_per_bucket = total as f64 / self.buckets.len().max(1) as f64;
        Forecast {
            from: self.from,
            to: self.to,
            bucket_seconds: BUCKET.as_secs(),
            complete,
            schedules: self.schedules,
            estimate: (!complete).then_some(all),
            total,
            peak: buckets.iter().max_by_key(|bucket| bucket.fires).cloned(),
            mean_per_bucket,
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::{DeploymentId, TriggerId, TriggerKind, WorkflowId};

    fn every_minute(now: Timestamp, status: DeploymentStatus) -> ScheduleRecord {
        ScheduleRecord {
            trigger_id: TriggerId::new(),
            kind: TriggerKind::Cron,
            deployment_id: DeploymentId::new(),
            workflow_id: WorkflowId::new(),
            deployment_status: status,
            spec_json: r#"{"type":"cron","cron":"* * * * *"}"#.into(),
            anchor_at: now,
            decided_to: now,
            resumed_at: None,
            next_nominal: None,
            next_effective: None,
            last_execution: None,
            catch_up_to: None,
            step: 1,
        }
    }

    #[test]
    fn each_minute_holds_what_starts_in_it() {
        let from = Timestamp::now();
        let mut tally = Tally::new(from, from.saturating_add(Duration::from_hours(1)));
        for _ in 0..10 {
            assert!(tally.add(&every_minute(from, DeploymentStatus::Deployed)));
        }
        assert!(tally.add(&every_minute(from, DeploymentStatus::Paused)));
        let forecast = tally.finish(11, None);
        assert!(forecast.complete && forecast.estimate.is_none());
        // Jitter may move one over either edge.
        assert!((590..=600).contains(&forecast.total), "{}", forecast.total);
        assert!(forecast.buckets.len() <= 60);
    }

    #[test]
    fn what_was_not_computed_is_scaled_and_said() {
        let from = Timestamp::now();
        let mut tally = Tally::new(from, from.saturating_add(Duration::from_hours(1)));
        tally.left = 100;
        assert!(tally.add(&every_minute(from, DeploymentStatus::Deployed)));
        assert!(!tally.add(&every_minute(from, DeploymentStatus::Deployed)));
        let forecast = tally.finish(20, None);
        assert!(!forecast.complete);
        assert_eq!((forecast.schedules, forecast.estimate), (1, Some(20)));
        assert!(forecast.total >= 59 * 20, "{}", forecast.total);
    }
}
