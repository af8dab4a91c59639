//! Making up for all that was missed, one run after the other.
//!
//! Unless runs of a schedule may overlap, each of those that are made up for
//! starts when the one before has ended, however long that takes; the store has
//! the first one wait for a run of before as overlap policy says. What comes
//! meanwhile comes while runs are in its way: overlap policy says what becomes
//! of it, not misfire policy. So the schedule is on time again afterwards, even
//! if its runs take longer than its intervals.
//!
//! The row of the schedule keeps up to where it catches up (`catch_up_to`), and
//! the first occurrence that nobody has seen come (`next_nominal`). When that
//! one is late, too, there was another outage, and it is made up for as well.

use std::time::Duration;

use millrace_schedule::{MisfirePolicy, OverlapPolicy, Schedule, plan_catch_up};
use millrace_store::Verdict;
use millrace_types::Timestamp;

use super::plan::{Draft, Planner, just_after, just_before};

impl Planner<'_> {
    /// Whether what is made up for must not overlap.
    pub(super) fn one_by_one(&self) -> bool {
        matches!(self.trigger.misfire, MisfirePolicy::All { .. })
            && self.trigger.overlap != OverlapPolicy::Allow
    }

    /// The next of what is to be made up for; when nothing is left of it, what
    /// came meanwhile, and what is due.
    pub(super) fn catch_up(&self, now: Timestamp, draft: &mut Draft) {
        let late = self.newest_late(now).filter(|at| *at > draft.decided_to);
        let under_way = self.record.catch_up_to;
        let Some(to) = under_way.filter(|to| *to >= draft.decided_to) else {
            if late.is_none_or(|to| !self.make_up(to, now, draft)) {
                self.due(now, draft);
            }
            return;
        };
        let unseen = |at: &Timestamp| self.record.next_nominal.is_some_and(|next| *at >= next);
        let to = late.filter(unseen).unwrap_or(to);
        if to > draft.decided_to && self.make_up(to, now, draft) {
            return;
        }
        if let Some(late) = late.filter(|at| *at > draft.decided_to) {
            let in_time = self.effective_by(now).is_some_and(|newest| newest > late);
            let upto = if in_time || self.trigger.overlap == OverlapPolicy::Skip {
                Some(late)
            } else {
                // The newest is the one that waits.
                self.schedule.previous_at_or_before(just_before(late))
            };
            if let Some(upto) = upto.filter(|upto| *upto > draft.decided_to) {
                let reason = "came while missed occurrences of this schedule were made up for";
                self.did_not_run(upto, &Verdict::Skipped, reason, draft);
            }
            if late > draft.decided_to && self.make_up(late, now, draft) {
                return;
            }
        }
        self.due(now, draft);
    }

    /// Makes up for the next occurrence up to `to`, all of which are late.
    /// `false` when there is none.
    fn make_up(&self, to: Timestamp, now: Timestamp, draft: &mut Draft) -> bool {
        let mut schedule: Schedule = self.schedule.clone();
        schedule.bounds.end = Some(just_after(to));
        let plan = plan_catch_up(
            &schedule,
            &self.jitter,
            draft.decided_to,
            now,
            self.trigger.start_deadline,
            self.trigger.misfire,
        );
        self.missed(&plan.missed, draft);
        let Some(next) = plan.fire.first() else {
            return false;
        };
        self.start(*next, true, draft);
        draft.catch_up_to = Some(to);
        let newest = self.effective_by(now).unwrap_or(to);
        draft.seen_to = draft.seen_to.max(newest);
        draft.not_before = now.saturating_add(Duration::from_secs(1) / self.rate());
        true
    }

    /// The newest occurrence that is past its deadline.
    fn newest_late(&self, now: Timestamp) -> Option<Timestamp> {
        let deadline = i64::try_from(self.trigger.start_deadline.as_micros()).unwrap_or(i64::MAX);
        let in_time_from = Timestamp::from_micros(now.as_micros().saturating_sub(deadline));
        self.effective_by(just_before(in_time_from))
    }
}
