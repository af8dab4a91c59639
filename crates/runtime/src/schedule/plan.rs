//! What is decided about a schedule at a moment: a pure function.

use std::time::Duration;

use bytes::Bytes;
use millrace_schedule::{
    Jitter, MAX_SINGLE_MISSES, MisfirePolicy, OverlapPolicy, Schedule, TriggerSchedule,
    TriggerTiming, format_duration, plan_catch_up,
};
use millrace_store::{Decision, Occurrence, Overlap, ScheduleRecord, Verdict};
use millrace_types::{DeploymentStatus, ExecutionId, Timestamp};
use serde_json::json;

use super::chain;

/// Occurrences that one decision starts at most: its transaction stays short,
/// and the rest is due at once.
const STARTS: usize = 50;

/// How often occurrences of a paused schedule are entered in the ledger. A
/// dense schedule then has a row for each stretch instead of one for each
/// occurrence.
pub(super) const PAUSED_EVERY: Duration = Duration::from_mins(5);

/// A schedule with everything that its trigger says.
pub(super) struct Planner<'a> {
    pub(super) record: &'a ScheduleRecord,
    trigger: &'a TriggerSchedule,
    pub(super) schedule: Schedule,
    pub(super) jitter: Jitter,
}

impl<'a> Planner<'a> {
    pub(super) fn new(record: &'a ScheduleRecord, trigger: &'a TriggerSchedule) -> Self {
        Self {
            record,
            trigger,
            schedule: match trigger.timing {
                TriggerTiming::After { after } => chain::ahead(record, after),
                _ => trigger.schedule(record.anchor_at),
            },
            jitter: trigger.jitter(&record.workflow_id.to_string()),
        }
    }

    /// Decides about every occurrence that has come by `now`, or about as many
    /// as one transaction and the catch-up rate allow.
    pub(super) fn decide(&self, now: Timestamp) -> Decision {
        let live = self.record.deployment_status == DeploymentStatus::Deployed;
        let mut occurrences = Vec::new();
        let mut decided_to = self.record.decided_to;
        let paused_until = if live {
            self.record.resumed_at.map(|at| at.min(now))
        } else {
            Some(now)
        };
        if let Some(newest) = paused_until.and_then(|until| self.effective_by(until))
            && newest > decided_to
        {
            self.paused(decided_to, newest, &mut occurrences);
            decided_to = newest;
        }
        let mut not_before = now;
        if live {
            decided_to = self.due(decided_to, now, &mut occurrences, &mut not_before);
        } else {
            not_before = now.saturating_add(PAUSED_EVERY);
        }
        let next_nominal = self.schedule.next_after(decided_to);
        let next_effective = next_nominal.map(|at| self.jitter.effective(&self.schedule, at));
        Decision {
            trigger_id: self.record.trigger_id,
            step: self.record.step,
            occurrences,
            decided_to,
            next_nominal,
            next_effective,
            due_at: next_effective.map(|at| at.max(not_before)),
            overlap: overlap(self.trigger.overlap),
        }
    }

    /// What is due or was missed; answers up to where it is decided.
    fn due(
        &self,
        after: Timestamp,
        now: Timestamp,
        occurrences: &mut Vec<Occurrence>,
        not_before: &mut Timestamp,
    ) -> Timestamp {
        let deadline = self.trigger.start_deadline;
        let plan = plan_catch_up(
            &self.schedule,
            &self.jitter,
            after,
            now,
            deadline,
            self.trigger.misfire,
        );
        let mut decided_to = after;
        for range in plan.missed {
            let reason = format!(
                "not started within {} of its time, and misfire policy `{}` does not make up for it",
                format_duration(deadline),
                policy(self.trigger.misfire),
            );
            decided_to = range.until_at;
            let effective_at = self.jitter.effective(&self.schedule, range.nominal_at);
            occurrences.push(Occurrence {
                nominal_at: range.nominal_at,
                until_at: range.until_at,
                count: range.count,
                effective_at,
                verdict: Verdict::Missed,
                reason,
            });
        }
        // A tenth of a second's share at once, then a pause of that length.
        let rate = self.trigger.catch_up_rate.max(1);
        let share = (rate / 10).max(1);
        let mut made_up = 0;
        for nominal in plan.fire.into_iter().take(STARTS) {
            let effective_at = self.jitter.effective(&self.schedule, nominal);
            let late = effective_at.saturating_add(deadline) < now;
            if late && made_up == share {
                break;
            }
            made_up += u32::from(late);
            decided_to = nominal;
            let reason = if late {
                format!(
                    "made up for: due at {effective_at}, which was missed by more than {}",
                    format_duration(deadline)
                )
            } else {
                String::new()
            };
            occurrences.push(Occurrence {
                nominal_at: nominal,
                until_at: nominal,
                count: 1,
                effective_at,
                verdict: Verdict::Start {
                    id: ExecutionId::new(),
                    input: self.input(nominal, effective_at, false),
                },
                reason,
            });
        }
        if made_up > 0 {
            *not_before = now.saturating_add(Duration::from_secs(1) * share / rate);
        }
        decided_to
    }

    fn paused(&self, after: Timestamp, upto: Timestamp, occurrences: &mut Vec<Occurrence>) {
        let just_after = |at: Timestamp| at.saturating_add(Duration::from_micros(1));
        let count = self
            .schedule
            .count_between(just_after(after), just_after(upto), u64::MAX);
        let paused = |nominal_at, until_at, count| Occurrence {
            nominal_at,
            until_at,
            count,
            effective_at: self.jitter.effective(&self.schedule, nominal_at),
            verdict: Verdict::Paused,
            reason: "the deployment was paused".into(),
        };
        let mut all = self.schedule.occurrences_after(after);
        if count > MAX_SINGLE_MISSES {
            occurrences.extend(all.next().map(|first| paused(first, upto, count)));
        } else {
            occurrences.extend(all.take_while(|at| *at <= upto).map(|at| paused(at, at, 1)));
        }
    }

    /// The last occurrence whose effective time is at or before `at`.
    fn effective_by(&self, at: Timestamp) -> Option<Timestamp> {
        let nominal = self.schedule.previous_at_or_before(at)?;
        if self.jitter.effective(&self.schedule, nominal) <= at {
            return Some(nominal);
        }
        let before = Timestamp::from_micros(nominal.as_micros().saturating_sub(1));
        self.schedule.previous_at_or_before(before)
    }

    /// What the execution gets as its input.
    pub(super) fn input(
        &self,
        nominal: Timestamp,
        effective: Timestamp,
        backfilled: bool,
    ) -> Bytes {
        let mut input = json!({"trigger": {
            "id": self.record.trigger_id.to_string(),
            "type": self.record.kind.as_str(),
            "nominalAt": nominal.to_string(),
            "effectiveAt": effective.to_string(),
        }});
        if backfilled {
            input["trigger"]["backfilled"] = true.into();
        }
        Bytes::from(input.to_string())
    }
}

pub(super) fn overlap(policy: OverlapPolicy) -> Overlap {
    match policy {
        OverlapPolicy::Allow => Overlap::Allow,
        OverlapPolicy::Skip => Overlap::Skip,
        OverlapPolicy::Queue => Overlap::Queue,
        OverlapPolicy::Cancel => Overlap::Cancel,
    }
}

fn policy(misfire: MisfirePolicy) -> &'static str {
    match misfire {
        MisfirePolicy::None => "none",
        MisfirePolicy::Last => "last",
        MisfirePolicy::All { .. } => "all",
    }
}
