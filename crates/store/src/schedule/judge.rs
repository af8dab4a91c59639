//! What becomes of an occurrence when its turn has come: the judgement that
//! all stores share. They read a [`Standing`], which [`super::ledger`] asks, and
//! write what it says.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{
    DeploymentId, ExecutionId, ExecutionStatus, Timestamp, TriggerId, TriggerKind,
};

use super::backfill::Progress;
use super::{Decision, FireOutcome, FireRecord, Occurrence, Overlap, Verdict};
use crate::{Admission, AdmissionRefused, TriggerRef, WriteDone, WriteRefused};

/// A schedule looks again whether its waiting occurrence can start: at first
/// this often, later after a tenth of the time that it has waited.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The longest time between two such looks.
const LOOK_AGAIN_AT_LAST: Duration = Duration::from_secs(30);

/// Why an occurrence was skipped whose execution found no slot.
const LIMITED: &str = "the deployment's limit of concurrent executions was reached";

/// Real intervals within this of their nominal ones never count as drifting.
const DRIFT_FLOOR: i64 = 2_000_000;

/// The one occurrence of a schedule that waits for the run before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    pub nominal_at: Timestamp,
    pub effective_at: Timestamp,
    /// As in [`Occurrence::after`]; `None`, too, for one that is made up for.
    pub after: Option<Timestamp>,
    pub queued_at: Timestamp,
    pub input: Bytes,
}

/// A start as it was to be, and as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub effective_at: Timestamp,
    pub started_at: Timestamp,
}

/// A schedule at the step that a decision names, under the transaction's lock.
#[derive(Debug, Clone)]
pub struct Standing {
    pub trigger_id: TriggerId,
    pub kind: TriggerKind,
    pub deployment_id: DeploymentId,
    pub revision: u64,
    /// When the trigger became what it is.
    pub anchor_at: Timestamp,
    /// By the database's clock.
    pub now: Timestamp,
    /// Whether what runs was started by what the schedule catches up with.
    pub catching_up: bool,
    /// A run of this schedule that has not ended. Looked up in the ledger,
    /// and only when it matters.
    pub run: Option<ExecutionId>,
    pub queued: Option<Queued>,
    /// The execution of the last occurrence that fired.
    pub last_execution: Option<ExecutionId>,
    pub last_start: Option<Started>,
    /// When the last one started, if it was made up for: then `last_start` is
    /// none, as no interval counts from it.
    pub made_up_at: Option<Timestamp>,
    /// See [`drift`].
    pub drift: Option<i64>,
}

/// The start of an occurrence that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) fire: FireRecord,
    pub(super) after: Option<Timestamp>,
    pub(super) admission: Admission,
}

/// What is done about an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    /// Enters it in the ledger as it is.
    Enter(FireRecord),
    /// Admits the execution, and enters what [`Standing::started`] answers.
    Start(FireRecord, Admission),
    /// Enters it as waiting.
    Wait(FireRecord),
    /// Asks every run of this schedule to end, with this reason; settles the
    /// occurrence that waited before, if any, in the ledger; and enters this
    /// one as waiting.
    Supersede {
        reason: String,
        replaced: Option<FireRecord>,
        fire: FireRecord,
    },
    /// Has to wait, and what comes after it with it.
    Hold,
}

impl Standing {
    /// When the last one started, whatever made it start.
    pub fn last_started(&self) -> Option<Timestamp> {
        let started = self.last_start.map(|start| start.started_at);
        started.or(self.made_up_at)
    }

    /// Whether judging this decision takes a look at the runs of the schedule.
    pub(super) fn asks_for_runs(&self, decision: &Decision) -> bool {
        let starts =
            |o: &Occurrence| matches!(o.verdict, Verdict::Start { .. } | Verdict::MakeUp { .. });
        self.queued.is_some()
            || (decision.overlap != Overlap::Allow && decision.occurrences.iter().any(starts))
    }

    /// The occurrence that waited, when nothing stands in its way any more:
    /// to be admitted as `id`, and settled in the ledger as
    /// [`Standing::started`] answers. It waits no longer, whatever comes of it.
    pub(super) fn turn(&mut self, id: ExecutionId) -> Option<Turn> {
        if self.run.is_some() {
            return None;
        }
        let queued = self.queued.take()?;
        let waited = self.now.saturating_since(queued.queued_at);
        let fire = FireRecord {
            reason: format!("waited {:.1} s for the run before it", waited.as_secs_f64()),
            ..self.fire(queued.nominal_at, queued.effective_at)
        };
        Some(Turn {
            fire,
            after: queued.after,
            admission: self.admission(id, queued.input),
        })
    }

    /// Judges an occurrence that the ledger does not have.
    pub(super) fn judge(&mut self, overlap: Overlap, occurrence: &Occurrence) -> Judged {
        let fire = FireRecord {
            until_at: occurrence.until_at,
            count: occurrence.count,
            reason: occurrence.reason.clone(),
            ..self.fire(occurrence.nominal_at, occurrence.effective_at)
        };
        let as_outcome = |outcome| {
            Judged::Enter(FireRecord {
                outcome,
                ..fire.clone()
            })
        };
        let (id, input) = match &occurrence.verdict {
            Verdict::Missed => return as_outcome(FireOutcome::Missed),
            Verdict::Paused => {
                // Nobody wonders that it did not keep its interval.
                (self.last_start, self.made_up_at, self.drift) = (None, None, None);
                return as_outcome(FireOutcome::Paused);
            }
            Verdict::Skipped => return as_outcome(FireOutcome::Skipped),
            Verdict::MakeUp { input, .. } if self.holds_back(overlap) => {
                return self.hold(overlap, &fire, input);
            }
            Verdict::Start { id, input } | Verdict::MakeUp { id, input } => (*id, input.clone()),
        };
        let Some(run) = self.run.filter(|_| overlap != Overlap::Allow) else {
            let admission = self.admission(id, input);
            return Judged::Start(fire, admission);
        };
        let waiting = FireRecord {
            outcome: FireOutcome::Queued,
            reason: format!("waits for the end of execution {run}"),
            ..fire.clone()
        };
        let skipped = |reason: String| FireRecord {
            outcome: FireOutcome::Skipped,
            reason,
            ..fire.clone()
        };
        let next = Queued {
            nominal_at: fire.nominal_at,
            effective_at: fire.effective_at,
            after: occurrence.after,
            queued_at: self.now,
            input,
        };
        match (overlap, &self.queued) {
            (Overlap::Queue, Some(queued)) => Judged::Enter(skipped(format!(
                "a run of this schedule was still going on, and another occurrence waited already: \
                 execution {run}, and {}",
                queued.nominal_at
            ))),
            (Overlap::Queue, None) => {
                self.queued = Some(next);
                Judged::Wait(waiting)
            }
            (Overlap::Cancel, _) => {
                let replaced = self.queued.replace(next).map(|old| FireRecord {
                    outcome: FireOutcome::Skipped,
                    reason: format!("a later occurrence took its place: {}", fire.nominal_at),
                    ..self.fire(old.nominal_at, old.effective_at)
                });
                Judged::Supersede {
                    reason: format!("the occurrence of {} of its schedule came", fire.nominal_at),
                    replaced,
                    fire: waiting,
                }
            }
            (Overlap::Skip | Overlap::Allow, _) => Judged::Enter(skipped(format!(
                "a run of this schedule was still going on: execution {run}"
            ))),
        }
    }

    /// What is made up for has to wait. The first of it, for a run that it has
    /// not started itself, waits as any occurrence does for which a run is in
    /// the way: the ledger says so, and that run is asked to end where a later
    /// occurrence asks for that. The others come after it.
    fn hold(&mut self, overlap: Overlap, fire: &FireRecord, input: &Bytes) -> Judged {
        let begins = !std::mem::replace(&mut self.catching_up, true);
        let Some(run) = self.run.filter(|_| begins && self.queued.is_none()) else {
            return Judged::Hold;
        };
        self.queued = Some(Queued {
            nominal_at: fire.nominal_at,
            effective_at: fire.effective_at,
            after: None,
            queued_at: self.now,
            input: input.clone(),
        });
        let fire = FireRecord {
            outcome: FireOutcome::Queued,
            reason: format!("waits for the end of execution {run}, and is then made up for"),
            ..fire.clone()
        };
        if overlap != Overlap::Cancel {
            return Judged::Wait(fire);
        }
        Judged::Supersede {
            reason: "missed occurrences of its schedule are made up for".into(),
            replaced: None,
            fire,
        }
    }

    /// The ledger's row of a start, by what came of the admission. `after` is
    /// as in [`Occurrence::after`].
    pub(super) fn started(
        &mut self,
        fire: FireRecord,
        after: Option<Timestamp>,
        id: ExecutionId,
        admitted: &Result<WriteDone, WriteRefused>,
    ) -> FireRecord {
        let fire = self.admitted(fire, id, admitted);
        if fire.outcome == FireOutcome::Fired {
            self.last_execution = Some(id);
            let start = Started {
                effective_at: fire.effective_at,
                started_at: self.now,
            };
            let before = self.last_start.zip(after);
            self.drift = before.and_then(|(before, after)| drift(before, after, start));
            (self.last_start, self.made_up_at) = (Some(start), None);
        }
        fire
    }

    /// As [`Standing::started`], for one that is made up for. It is late, as
    /// everyone knows, and says nothing about the intervals around it.
    pub(super) fn made_up(
        &mut self,
        fire: FireRecord,
        id: ExecutionId,
        admitted: &Result<WriteDone, WriteRefused>,
    ) -> FireRecord {
        let fire = self.started(fire, None, id, admitted);
        if fire.outcome == FireOutcome::Fired {
            (self.last_start, self.made_up_at, self.drift) = (None, Some(self.now), None);
        }
        fire
    }

    /// What came of an admission, in the row of what was to start. One that
    /// fired is a run of the schedule from here on.
    pub(super) fn admitted(
        &mut self,
        mut fire: FireRecord,
        id: ExecutionId,
        admitted: &Result<WriteDone, WriteRefused>,
    ) -> FireRecord {
        match admitted {
            // Its deployment's limit was reached, and its policy is to skip.
            Ok(WriteDone::Admitted(admitted)) if admitted.status == ExecutionStatus::Cancelled => {
                fire.outcome = FireOutcome::Skipped;
                fire.reason = LIMITED.into();
                fire.execution_id = Some(id);
            }
            Ok(_) => {
                fire.outcome = FireOutcome::Fired;
                fire.execution_id = Some(id);
                self.run = Some(id);
            }
            Err(refused) => {
                fire.outcome = match refused {
                    WriteRefused::Admission(AdmissionRefused::DeploymentNotLive(..)) => {
                        FireOutcome::Paused
                    }
                    _ => FireOutcome::Failed,
                };
                fire.reason = refused.to_string();
            }
        }
        fire
    }

    /// When the schedule is due again, if `decided` is when its next
    /// occurrence is.
    pub(super) fn due_at(&self, decided: Option<Timestamp>) -> Option<Timestamp> {
        let Some(queued) = &self.queued else {
            return decided;
        };
        let look = self.look_again(queued.queued_at);
        Some(decided.map_or(look, |decided| decided.min(look)))
    }

    /// Where a decision ends that has to wait with what is missed since
    /// `nominal_at`. What comes meanwhile is seen when it comes.
    pub(super) fn waits(&self, nominal_at: Timestamp, decision: &Decision) -> Progress {
        let since = match &self.queued {
            Some(queued) => queued.queued_at,
            None => self.last_started().unwrap_or(self.now),
        };
        let look = self.look_again(since);
        // One that has come since the decision was made is due at once.
        let next = decision.next_effective;
        Progress {
            position: Timestamp::from_micros(nominal_at.as_micros() - 1),
            due_at: Some(next.map_or(look, |next| next.min(look))),
        }
    }

    /// When to look again for the end of what has lasted since then.
    fn look_again(&self, since: Timestamp) -> Timestamp {
        let pause = self.now.saturating_since(since) / 10;
        self.now
            .saturating_add(pause.clamp(LOOK_AGAIN, LOOK_AGAIN_AT_LAST))
    }

    pub(super) fn fire(&self, nominal_at: Timestamp, effective_at: Timestamp) -> FireRecord {
        FireRecord {
            trigger_id: self.trigger_id,
            nominal_at,
            until_at: nominal_at,
            count: 1,
            effective_at,
            decided_at: self.now,
            outcome: FireOutcome::Fired,
            reason: String::new(),
            execution_id: None,
            backfilled: false,
        }
    }

    pub(super) fn admission(&self, id: ExecutionId, input: Bytes) -> Admission {
        Admission {
            id,
            deployment_id: self.deployment_id,
            trigger: TriggerRef {
                kind: self.kind,
                id: Some((self.trigger_id, self.revision)),
            },
            input,
            dedupe: None,
            owner: None,
            traceparent: None,
            rerun_of: None,
        }
    }
}

/// How far the time between two starts was off the time that the schedule has
/// between this occurrence and the one before it, which was to start at `after`
/// and may not have run; in microseconds, positive when it was longer. `None`
/// within 10 % of that time, or two seconds where that is more.
pub fn drift(before: Started, after: Timestamp, now: Started) -> Option<i64> {
    let apart = |a: Timestamp, b: Timestamp| b.as_micros().saturating_sub(a.as_micros());
    let due = apart(after, now.effective_at);
    let off = apart(before.started_at, now.started_at).saturating_sub(due);
    (off.abs() > (due / 10).max(DRIFT_FLOOR)).then_some(off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn start(effective: i64, started: i64) -> Started {
        Started {
            effective_at: at(effective),
            started_at: at(started),
        }
    }

    fn standing() -> Standing {
        Standing {
            trigger_id: TriggerId::new(),
            kind: TriggerKind::Cron,
            deployment_id: DeploymentId::new(),
            revision: 1,
            anchor_at: at(0),
            now: at(1000),
            catching_up: false,
            run: Some(ExecutionId::new()),
            queued: None,
            last_execution: None,
            last_start: None,
            made_up_at: None,
            drift: None,
        }
    }

    fn occurrence(second: i64) -> Occurrence {
        Occurrence {
            nominal_at: at(second),
            until_at: at(second),
            count: 1,
            effective_at: at(second),
            after: None,
            verdict: Verdict::Start {
                id: ExecutionId::new(),
                input: Bytes::new(),
            },
            reason: String::new(),
        }
    }

    #[test]
    fn an_interval_that_strays_is_told_with_its_length() {
        // Every minute.
        let minutely = |before, now: Started| {
            let after = Timestamp::from_micros(now.effective_at.as_micros() - 60_000_000);
            drift(before, after, now)
        };
        // Late by as much each time: the intervals are as they should be.
        assert_eq!(minutely(start(0, 5), start(60, 65)), None);
        // One minute became 54 and 66 seconds: just within ten percent.
        assert_eq!(minutely(start(0, 6), start(60, 60)), None);
        assert_eq!(minutely(start(0, 0), start(60, 66)), None);
        assert_eq!(minutely(start(0, 0), start(60, 67)), Some(7_000_000));
        assert_eq!(minutely(start(0, 7), start(60, 60)), Some(-7_000_000));
        // The one between did not run, so that the interval was two minutes.
        assert_eq!(minutely(start(0, 0), start(120, 120)), Some(60_000_000));
        // Short intervals have two seconds.
        assert_eq!(drift(start(0, 0), at(0), start(1, 3)), None);
        assert_eq!(drift(start(0, 0), at(0), start(1, 4)), Some(3_000_000));
    }

    #[test]
    fn one_occurrence_waits_and_the_next_are_skipped() {
        let mut standing = standing();
        let first = standing.judge(Overlap::Queue, &occurrence(1));
        assert!(matches!(first, Judged::Wait(_)), "{first:?}");
        let second = standing.judge(Overlap::Queue, &occurrence(2));
        let Judged::Enter(fire) = second else {
            panic!("{second:?}")
        };
        assert_eq!(fire.outcome, FireOutcome::Skipped);
        assert!(fire.reason.contains("waited already"), "{fire:?}");
        assert_eq!(standing.queued.unwrap().nominal_at, at(1));
    }

    #[test]
    fn the_newest_occurrence_is_the_one_that_a_cancel_is_for() {
        let mut standing = standing();
        standing.judge(Overlap::Cancel, &occurrence(1));
        let second = standing.judge(Overlap::Cancel, &occurrence(2));
        let Judged::Supersede { replaced, fire, .. } = second else {
            panic!("{second:?}")
        };
        assert_eq!(replaced.unwrap().nominal_at, at(1));
        assert_eq!(fire.outcome, FireOutcome::Queued);
        assert_eq!(standing.queued.unwrap().nominal_at, at(2));
    }

    #[test]
    fn what_waits_is_looked_at_ever_more_rarely() {
        let mut standing = standing();
        standing.judge(Overlap::Queue, &occurrence(1));
        let due = |standing: &Standing, decided| standing.due_at(decided).unwrap();
        let soon = standing.now.saturating_add(LOOK_AGAIN);
        assert_eq!(due(&standing, None), soon);
        assert_eq!(due(&standing, Some(at(1000))), at(1000));
        standing.now = at(1100);
        assert_eq!(due(&standing, None), at(1110));
        standing.now = at(5000);
        assert_eq!(due(&standing, Some(at(9000))), at(5030));
        standing.run = None;
        assert!(standing.turn(ExecutionId::new()).is_some());
        assert_eq!(standing.due_at(None), None);
    }

    #[test]
    fn what_came_since_a_decision_that_waits_was_made_is_due_at_once() {
        let mut standing = standing();
        standing.last_start = Some(start(1, 1));
        let decision = |next| Decision {
            trigger_id: standing.trigger_id,
            step: 1,
            occurrences: vec![],
            decided_to: at(900),
            next_nominal: next,
            next_effective: next,
            due_at: None,
            overlap: Overlap::Skip,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        let due = |next| standing.waits(at(900), &decision(next)).due_at;
        assert_eq!(due(None), Some(at(1030)));
        assert_eq!(due(Some(at(1010))), Some(at(1010)));
        assert_eq!(due(Some(at(999))), Some(at(999)));
    }

    #[test]
    fn what_is_made_up_for_ends_the_count_of_intervals() {
        let mut standing = standing();
        (standing.last_start, standing.drift) = (Some(start(1, 1)), Some(9));
        let fire = standing.fire(at(2), at(2));
        let id = ExecutionId::new();
        standing.made_up(fire, id, &Ok(WriteDone::Ended(None)));
        assert_eq!((standing.last_start, standing.drift), (None, None));
        assert_eq!(standing.last_execution, Some(id));
        // It is looked at as rarely as any other that lasts.
        standing.now = at(1100);
        let since = standing.made_up_at.unwrap();
        assert_eq!(standing.look_again(since), at(1110));
        let fire = standing.fire(at(1100), at(1100));
        standing.started(fire, Some(at(1040)), id, &Ok(WriteDone::Ended(None)));
        assert_eq!((standing.made_up_at, standing.drift), (None, None));
        assert!(standing.last_start.is_some());
    }
}
