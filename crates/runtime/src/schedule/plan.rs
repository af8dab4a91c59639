//! What is decided about a schedule at a moment: a pure function.

use std::time::Duration;

use bytes::Bytes;
use millrace_schedule::{
    Jitter, MAX_SINGLE_MISSES, MisfirePolicy, MissedRange, OverlapPolicy, Schedule,
    TriggerSchedule, TriggerTiming, format_duration, plan_catch_up,
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
    pub(super) trigger: &'a TriggerSchedule,
    pub(super) schedule: Schedule,
    pub(super) jitter: Jitter,
}

/// What a decision says so far.
pub(super) struct Draft {
    pub(super) occurrences: Vec<Occurrence>,
    pub(super) decided_to: Timestamp,
    /// What is not decided up to here waits for what is made up for.
    pub(super) seen_to: Timestamp,
    pub(super) catch_up_to: Option<Timestamp>,
    /// When the next decision may be.
    pub(super) not_before: Timestamp,
}

impl Draft {
    fn new(decided_to: Timestamp, now: Timestamp) -> Self {
        Self {
            occurrences: Vec::new(),
            decided_to,
            seen_to: decided_to,
            catch_up_to: None,
            not_before: now,
        }
    }

    /// Everything up to here is decided.
    fn seen(&mut self, upto: Timestamp) {
        self.decided_to = upto;
        self.seen_to = self.seen_to.max(upto);
    }
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
        let mut draft = Draft::new(self.record.decided_to, now);
        let paused_until = if live {
            self.record.resumed_at.map(|at| at.min(now))
        } else {
            Some(now)
        };
        if let Some(newest) = paused_until.and_then(|until| self.effective_by(until)) {
            let reason = "the deployment was paused";
            self.did_not_run(newest, &Verdict::Paused, reason, &mut draft);
        }
        if !live {
            draft.not_before = now.saturating_add(PAUSED_EVERY);
        } else if self.one_by_one() {
            self.catch_up(now, &mut draft);
        } else {
            self.due(now, &mut draft);
        }
        let next_nominal = self.schedule.next_after(draft.seen_to);
        let next_effective = next_nominal.map(|at| self.jitter.effective(&self.schedule, at));
        Decision {
            trigger_id: self.record.trigger_id,
            step: self.record.step,
            decided_to: draft.decided_to,
            next_nominal,
            next_effective,
            due_at: if draft.catch_up_to.is_some() {
                Some(draft.not_before)
            } else {
                next_effective.map(|at| at.max(draft.not_before))
            },
            overlap: overlap(self.trigger.overlap),
            catch_up_to: draft.catch_up_to,
            pause: draft.not_before.saturating_since(now),
            occurrences: draft.occurrences,
        }
    }

    /// What is due or was missed.
    pub(super) fn due(&self, now: Timestamp, draft: &mut Draft) {
        let deadline = self.trigger.start_deadline;
        let plan = plan_catch_up(
            &self.schedule,
            &self.jitter,
            draft.decided_to,
            now,
            deadline,
            self.trigger.misfire,
        );
        self.missed(&plan.missed, draft);
        // A tenth of a second's share at once, then a pause of that length.
        let share = (self.rate() / 10).max(1);
        let mut made_up = 0;
        for nominal in plan.fire.into_iter().take(STARTS) {
            let effective_at = self.jitter.effective(&self.schedule, nominal);
            let late = effective_at.saturating_add(deadline) < now;
            if late && made_up == share {
                break;
            }
            made_up += u32::from(late);
            self.start(nominal, late, draft);
        }
        if made_up > 0 {
            draft.not_before = now.saturating_add(Duration::from_secs(1) * share / self.rate());
        }
    }

    /// Runs made up for in a second.
    pub(super) fn rate(&self) -> u32 {
        self.trigger.catch_up_rate.max(1)
    }

    /// Enters what misfire policy does not make up for.
    pub(super) fn missed(&self, missed: &[MissedRange], draft: &mut Draft) {
        for range in missed {
            draft.seen(range.until_at);
            draft.occurrences.push(Occurrence {
                nominal_at: range.nominal_at,
                until_at: range.until_at,
                count: range.count,
                effective_at: self.jitter.effective(&self.schedule, range.nominal_at),
                after: self.effective_before(range.nominal_at),
                verdict: Verdict::Missed,
                reason: format!(
                    "not started within {} of its time, and misfire policy `{}` does not make up \
                     for it",
                    format_duration(self.trigger.start_deadline),
                    policy(self.trigger.misfire),
                ),
            });
        }
    }

    /// Starts an occurrence; one that is late is made up for.
    pub(super) fn start(&self, nominal: Timestamp, late: bool, draft: &mut Draft) {
        let effective_at = self.jitter.effective(&self.schedule, nominal);
        let reason = if late {
            format!(
                "made up for: due at {effective_at}, which was missed by more than {}",
                format_duration(self.trigger.start_deadline)
            )
        } else {
            String::new()
        };
        let (id, input) = (ExecutionId::new(), self.input(nominal, effective_at, false));
        // Of what the last one alone is made up for, it is as any other.
        let verdict = if late && matches!(self.trigger.misfire, MisfirePolicy::All { .. }) {
            Verdict::MakeUp { id, input }
        } else {
            Verdict::Start { id, input }
        };
        draft.seen(nominal);
        draft.occurrences.push(Occurrence {
            nominal_at: nominal,
            until_at: nominal,
            count: 1,
            effective_at,
            after: self.effective_before(nominal),
            verdict,
            reason,
        });
    }

    /// Enters what is not decided up to here as what did not run; many in a
    /// row as one.
    pub(super) fn did_not_run(
        &self,
        upto: Timestamp,
        verdict: &Verdict,
        reason: &str,
        draft: &mut Draft,
    ) {
        let after = draft.decided_to;
        let count = self
            .schedule
            .count_between(just_after(after), just_after(upto), u64::MAX);
        let entry = |nominal_at, until_at, count| Occurrence {
            nominal_at,
            until_at,
            count,
            effective_at: self.jitter.effective(&self.schedule, nominal_at),
            after: self.effective_before(nominal_at),
            verdict: verdict.clone(),
            reason: reason.to_owned(),
        };
        let mut all = self.schedule.occurrences_after(after);
        if count > MAX_SINGLE_MISSES {
            let entries = all.next().map(|first| entry(first, upto, count));
            draft.occurrences.extend(entries);
        } else {
            let entries = all.take_while(|at| *at <= upto).map(|at| entry(at, at, 1));
            draft.occurrences.extend(entries);
        }
        draft.seen(upto.max(after));
    }

    /// When the occurrence before this one was to start, since the trigger is
    /// what it is.
    fn effective_before(&self, nominal: Timestamp) -> Option<Timestamp> {
        let before = self.schedule.previous_at_or_before(just_before(nominal))?;
        (before > self.record.anchor_at).then(|| self.jitter.effective(&self.schedule, before))
    }

    /// The last occurrence whose effective time is at or before `at`.
    pub(super) fn effective_by(&self, at: Timestamp) -> Option<Timestamp> {
        let nominal = self.schedule.previous_at_or_before(at)?;
        if self.jitter.effective(&self.schedule, nominal) <= at {
            return Some(nominal);
        }
        self.schedule.previous_at_or_before(just_before(nominal))
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

pub(super) fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(1))
}

pub(super) fn just_after(at: Timestamp) -> Timestamp {
    at.saturating_add(Duration::from_micros(1))
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
