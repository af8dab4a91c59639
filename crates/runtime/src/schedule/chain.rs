//! Schedules that go by the end of their runs: the next one begins a while
//! after the one before has ended.
//!
//! There is one run at a time. What a decision starts is known to the next one
//! by the schedule's own row, and the row has one decision at each step: so a
//! kill, or another instance, neither breaks the chain nor begins a second one.

use std::time::Duration;

use millrace_schedule::{Schedule, Timing};
use millrace_store::{Decision, Occurrence, Overlap, ScheduleRecord, StoreError, Verdict};
use millrace_types::{DeploymentStatus, ExecutionId, Timestamp};

use super::CronScheduler;
use super::plan::{PAUSED_EVERY, Planner};

/// How often a run that goes on is looked at: a part of the time between two
/// runs, by which the next one comes too late at most.
const PART: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN_AT_LAST: Duration = Duration::from_secs(30);

/// What has become of the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastRun {
    /// There was none, or nothing is kept of it.
    Unknown,
    GoesOn,
    Ended(Timestamp),
}

impl CronScheduler {
    pub(super) async fn last_run(&self, record: &ScheduleRecord) -> Result<LastRun, StoreError> {
        let Some(id) = record.last_execution else {
            return Ok(LastRun::Unknown);
        };
        let run = self.coordinator.store.execution(id).await?;
        Ok(match run {
            None => LastRun::Unknown,
            Some(run) if !run.status.is_ended() => LastRun::GoesOn,
            Some(run) => run.ended_at.map_or(LastRun::Unknown, LastRun::Ended),
        })
    }
}

/// What is known of the occurrences to come: the next one, if none goes on.
pub(super) fn ahead(record: &ScheduleRecord, after: Duration) -> Schedule {
    let next = match (record.next_nominal, record.last_execution) {
        (Some(next), _) => next,
        (None, None) => record.decided_to.saturating_add(after),
        // It depends on the run that goes on; this one is decided.
        (None, Some(_)) => record.decided_to,
    };
    Schedule::from(Timing::Once(next))
}

impl Planner<'_> {
    /// Starts the next run if its time has come, `after` the end of the one
    /// before. The first one comes that long after the deployment. One whose
    /// time came while the deployment was paused does not start; the next
    /// one then comes that long after the deployment was resumed.
    pub(super) fn decide_chain(&self, after: Duration, last: LastRun, now: Timestamp) -> Decision {
        let record = self.record;
        let look = (after / PART).clamp(LOOK_AGAIN, LOOK_AGAIN_AT_LAST);
        let mut decision = Decision {
            trigger_id: record.trigger_id,
            step: record.step,
            occurrences: Vec::new(),
            decided_to: record.decided_to,
            next_nominal: None,
            next_effective: None,
            due_at: Some(now.saturating_add(look)),
            overlap: Overlap::Skip,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        let ended = match last {
            LastRun::GoesOn => return decision,
            LastRun::Ended(at) => at.max(record.decided_to),
            LastRun::Unknown => record.decided_to,
        };
        let mut next = ended.saturating_add(after);
        if record.deployment_status == DeploymentStatus::Deployed {
            if let Some(resumed) = record.resumed_at.filter(|at| next <= *at) {
                decision.occurrences.push(Occurrence {
                    verdict: Verdict::Paused,
                    reason: "the deployment was paused".into(),
                    ..occurrence(next)
                });
                decision.decided_to = resumed.min(now).max(next);
                next = decision.decided_to.saturating_add(after);
            }
            if next <= now {
                let input = self.input(next, next, false);
                let id = ExecutionId::new();
                decision.occurrences.push(Occurrence {
                    verdict: Verdict::Start { id, input },
                    ..occurrence(next)
                });
                decision.decided_to = next;
                return decision;
            }
            decision.due_at = Some(next);
        } else {
            decision.due_at = Some(now.saturating_add(PAUSED_EVERY));
        }
        decision.next_nominal = Some(next);
        decision.next_effective = Some(next);
        decision
    }
}

/// One that is missed, unless something else is said of it.
fn occurrence(at: Timestamp) -> Occurrence {
    Occurrence {
        nominal_at: at,
        until_at: at,
        count: 1,
        effective_at: at,
        // There is no time between them that could be kept.
        after: None,
        verdict: Verdict::Missed,
        reason: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::super::tests::{record, time};
    use super::*;
    use serde_json::json;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Decides, and does to the record what the store would do; answers when
    /// what it started was due.
    fn step(
        record: &mut ScheduleRecord,
        last: LastRun,
        now: &str,
    ) -> (Option<Timestamp>, Decision) {
        let trigger = run::read(record).unwrap();
        let decision = Planner::new(record, &trigger).decide_chain(MINUTE, last, time(now));
        let mut started = None;
        for occurrence in &decision.occurrences {
            if let Verdict::Start { id, .. } = occurrence.verdict {
                started = Some(occurrence.nominal_at);
                record.last_execution = Some(id);
            }
        }
        record.decided_to = decision.decided_to;
        record.next_nominal = decision.next_nominal;
        record.step += 1;
        (started, decision)
    }

    fn chain() -> ScheduleRecord {
        let spec = json!({"type": "interval", "after": "PT1M"});
        record(&spec, "2026-03-01T08:00:00Z")
    }

    fn ahead_of(record: &ScheduleRecord, now: &str) -> Vec<Timestamp> {
        let found = super::super::preview::ahead(record, time(now), 5).unwrap();
        found.into_iter().map(|(nominal, _)| nominal).collect()
    }

    #[test]
    fn one_run_follows_the_end_of_the_other() {
        let mut record = chain();
        let first = time("2026-03-01T08:01:00Z");
        assert_eq!(ahead_of(&record, "2026-03-01T08:00:00Z"), [first]);
        let (started, decision) = step(&mut record, LastRun::Unknown, "2026-03-01T08:00:00Z");
        assert_eq!((started, decision.due_at), (None, Some(first)));
        assert_eq!(ahead_of(&record, "2026-03-01T08:00:30Z"), [first]);
        let (started, _) = step(&mut record, LastRun::Unknown, "2026-03-01T08:01:00.1Z");
        assert_eq!(started, Some(first));
        assert_eq!(ahead_of(&record, "2026-03-01T08:01:30Z"), []);

        let (started, decision) = step(&mut record, LastRun::GoesOn, "2026-03-01T09:00:00Z");
        assert_eq!(started, None);
        let soon = Some(time("2026-03-01T09:00:15Z"));
        assert_eq!((decision.due_at, decision.next_nominal), (soon, None));
        let ended = LastRun::Ended(time("2026-03-01T09:00:07Z"));
        let next = time("2026-03-01T09:01:07Z");
        let (started, decision) = step(&mut record, ended, "2026-03-01T09:00:15Z");
        assert_eq!((started, decision.due_at), (None, Some(next)));
        assert_eq!(ahead_of(&record, "2026-03-01T09:00:15Z"), [next]);
        // However late: the chain goes on.
        let (started, decision) = step(&mut record, ended, "2026-03-01T12:00:00Z");
        assert_eq!((started, decision.next_nominal), (Some(next), None));
    }

    #[test]
    fn a_start_that_was_refused_is_tried_again_later() {
        let mut record = chain();
        let (started, _) = step(&mut record, LastRun::Unknown, "2026-03-01T08:01:00Z");
        assert_eq!(started, Some(time("2026-03-01T08:01:00Z")));
        record.last_execution = None;
        let (started, decision) = step(&mut record, LastRun::Unknown, "2026-03-01T08:01:30Z");
        let next = Some(time("2026-03-01T08:02:00Z"));
        assert_eq!((started, decision.due_at), (None, next));
    }

    #[test]
    fn a_pause_holds_the_chain() {
        let mut record = chain();
        record.deployment_status = DeploymentStatus::Paused;
        for now in ["2026-03-01T08:00:30Z", "2026-03-01T08:30:00Z"] {
            let (started, decision) = step(&mut record, LastRun::Unknown, now);
            assert_eq!((started, decision.occurrences), (None, vec![]));
            assert!(decision.due_at.is_some());
        }
        record.deployment_status = DeploymentStatus::Deployed;
        record.resumed_at = Some(time("2026-03-01T09:00:00Z"));
        let (started, decision) = step(&mut record, LastRun::Unknown, "2026-03-01T09:00:01Z");
        assert_eq!(started, None);
        assert_eq!(decision.occurrences.len(), 1);
        assert_eq!(decision.occurrences[0].verdict, Verdict::Paused);
        let due = time("2026-03-01T08:01:00Z");
        assert_eq!(decision.occurrences[0].nominal_at, due);
        let next = time("2026-03-01T09:01:00Z");
        assert_eq!(decision.due_at, Some(next));
        let (started, decision) = step(&mut record, LastRun::Unknown, "2026-03-01T09:01:00Z");
        assert_eq!((started, decision.occurrences.len()), (Some(next), 1));

        // A pause within the time between two runs changes nothing.
        let ended = LastRun::Ended(time("2026-03-01T10:00:00Z"));
        record.resumed_at = Some(time("2026-03-01T10:00:30Z"));
        let (_, decision) = step(&mut record, ended, "2026-03-01T10:00:30Z");
        assert_eq!(decision.due_at, Some(time("2026-03-01T10:01:00Z")));
        assert_eq!(decision.occurrences, []);
    }
}
