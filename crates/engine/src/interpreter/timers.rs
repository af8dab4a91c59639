//! What happens when a timer fires.

use millrace_types::Timestamp;

use super::event::{Detail, EventKind};
use super::fault::{Fault, Standard};
use super::frame::{ROOT, Timer, TimerPurpose, TryPhase};
use super::machine::Machine;
use crate::language::model::TaskKind;

/// A timer with its owner.
#[derive(Debug, Clone, Copy)]
struct Owned {
    timer: Timer,
    frame: u64,
    purpose: TimerPurpose,
}

impl Machine {
    /// When the earliest timer is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.owned_timers().map(|owned| owned.timer.due).min()
    }

    fn owned_timers(&self) -> impl Iterator<Item = Owned> {
        self.tree.iter().flat_map(|(frame, data)| {
            data.timers()
                .into_iter()
                .map(move |(timer, purpose)| Owned {
                    timer,
                    frame,
                    purpose,
                })
        })
    }

    /// Fires what is due at `now`.
    pub(super) fn fire_due(&mut self, now: Timestamp) {
        let due: Vec<Owned> = self
            .owned_timers()
            .filter(|owned| owned.timer.due <= now)
            .collect();
        self.fire_all(due, now);
    }

    /// Fires these timers, whatever the time: whoever keeps them has judged.
    pub(super) fn fire_these(&mut self, ids: &[u64], now: Timestamp) {
        let due: Vec<Owned> = self
            .owned_timers()
            .filter(|owned| ids.contains(&owned.timer.id))
            .collect();
        self.fire_all(due, now);
    }

    /// In the order in which they were due, since the first may make the
    /// later ones void.
    fn fire_all(&mut self, mut due: Vec<Owned>, now: Timestamp) {
        due.sort_by_key(|owned| (owned.timer.due, owned.timer.id));
        for owned in due {
            if self.outcome.is_some() {
                return;
            }
            let alive = self.tree.get(owned.frame).is_some_and(|frame| {
                frame
                    .timers()
                    .iter()
                    .any(|(timer, _)| *timer == owned.timer)
            });
            if alive {
                self.fire(owned, now);
            }
        }
    }

    fn fire(&mut self, owned: Owned, now: Timestamp) {
        let id = owned.frame;
        if id == ROOT {
            let fault = Fault::new(
                Standard::Timeout,
                "/timeout",
                "the workflow took longer than its `timeout` allows",
            );
            return self.fail_execution(fault, now);
        }
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let list = task.list.clone();
        let named = &list.tasks[task.at];
        let input = task.input.clone();
        match owned.purpose {
            TimerPurpose::Wait => {
                let detail = Detail {
                    due_at: Some(owned.timer.due),
                    ..Detail::default()
                };
                self.record(id, EventKind::TimerFired, detail, now);
                let then = named.task.common.then;
                self.finish(id, input, then, Detail::default(), now);
            }
            TimerPurpose::Retry => {
                self.clear_timer(owned.timer);
                if let TaskKind::Try(attempt) = &named.task.kind {
                    self.next_attempt(id, attempt, now);
                }
            }
            TimerPurpose::Attempt => {
                self.set_phase(id, TryPhase::Attempt(None));
                self.clear_timer(owned.timer);
                self.cancel_below(id, "timeout", now);
                let fault = Fault::new(
                    Standard::Timeout,
                    &*named.pointer,
                    "the attempt took longer than `limit.attempt.duration` allows",
                );
                self.fail_attempt(id, fault, now);
            }
            TimerPurpose::Timeout => {
                self.cancel_below(id, "timeout", now);
                let fault = Fault::new(
                    Standard::Timeout,
                    &*named.pointer,
                    "the task took longer than its `timeout` allows",
                );
                self.fail(id, fault, now);
            }
        }
    }
}
