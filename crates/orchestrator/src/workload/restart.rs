//! What comes after the end of an instance: a pure decision.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::spec::{RestartPolicy, RestartRules};

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub code: Option<i32>,
    /// It had become ready, and ran that long.
    pub ran: Option<Duration>,
    /// It was ended for its bad health.
    pub unhealthy: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Restart {
        after: Duration,
    },
    /// It has done what it was there for.
    Done,
    /// The policy, or an exit code, wants no restart.
    Fail,
    /// It was restarted too often within the window.
    GiveUp,
}

/// Restarts up to now.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    /// Since the last healthy spell.
    in_a_row: u32,
    /// Those within the window.
    times: VecDeque<Instant>,
}

impl Restarts {
    /// Somebody has asked for a start: all is forgiven.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether it is restarted again and again.
    pub(crate) const fn is_loop(&self) -> bool {
        self.in_a_row > 1
    }

    /// Decides, and counts. `random` is in 0..1.
    pub(crate) fn next(
        &mut self,
        rules: &RestartRules,
        end: End,
        now: Instant,
        random: f64,
    ) -> Next {
        let success = end.code.is_some_and(|code| {
            !end.unhealthy && (code == 0 || rules.success_codes.contains(&code))
        });
        if end
            .code
            .is_some_and(|code| rules.fatal_codes.contains(&code))
        {
            return Next::Fail;
        }
        match rules.policy {
            RestartPolicy::Always => {}
            RestartPolicy::OnFailure if !success => {}
            _ if success => return Next::Done,
            _ => return Next::Fail,
        }
        if end.ran.is_some_and(|ran| ran >= rules.backoff.reset_after) {
            self.in_a_row = 0;
        }
        while let Some(first) = self.times.front()
            && now.duration_since(*first) > rules.window
        {
            self.times.pop_front();
        }
        if let Some(most) = rules.max_restarts {
            if self.times.len() >= most as usize {
                return Next::GiveUp;
            }
            self.times.push_back(now);
        }
        let after = rules.backoff.delay(self.in_a_row, random);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Next::Restart { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: End = End {
        code: Some(1),
        ran: None,
        unhealthy: false,
    };

    fn rules(policy: RestartPolicy) -> RestartRules {
        RestartRules {
            policy,
            success_codes: vec![143],
            fatal_codes: vec![78],
            ..RestartRules::default()
        }
    }

    #[test]
    fn policies_say_what_is_restarted() {
        let end = |code| End { code, ..CRASH };
        let now = Instant::now();
        let decide = |policy, end| Restarts::default().next(&rules(policy), end, now, 0.0);
        let at_once = Next::Restart {
            after: Duration::ZERO,
        };
        for (policy, code, wanted) in [
            (RestartPolicy::Always, Some(0), at_once),
            (RestartPolicy::OnFailure, Some(0), Next::Done),
            (RestartPolicy::OnFailure, Some(143), Next::Done),
            (RestartPolicy::OnFailure, Some(1), at_once),
            (RestartPolicy::OnFailure, None, at_once),
            (RestartPolicy::Never, Some(0), Next::Done),
            (RestartPolicy::Never, Some(1), Next::Fail),
            (RestartPolicy::Always, Some(78), Next::Fail),
        ] {
            assert_eq!(decide(policy, end(code)), wanted, "{policy:?} {code:?}");
        }
        let unhealthy = End {
            unhealthy: true,
            ..end(Some(0))
        };
        assert_eq!(decide(RestartPolicy::OnFailure, unhealthy), at_once);
    }

    #[test]
    fn a_loop_is_slowed_down_until_a_healthy_spell() {
        let rules = rules(RestartPolicy::Always);
        let mut restarts = Restarts::default();
        let now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..4 {
            match restarts.next(&rules, CRASH, now, 0.0) {
                Next::Restart { after } => delays.push(after.as_millis()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(delays, [0, 500, 1000, 2000]);
        assert!(restarts.is_loop());
        let healthy = End {
            ran: Some(rules.backoff.reset_after),
            ..CRASH
        };
        let next = restarts.next(&rules, healthy, now, 0.0);
        assert_eq!(
            next,
            Next::Restart {
                after: Duration::ZERO
            }
        );
    }

    #[test]
    fn too_many_restarts_within_the_window_are_given_up() {
        let rules = RestartRules {
            max_restarts: Some(2),
            window: Duration::from_mins(1),
            ..rules(RestartPolicy::Always)
        };
        let mut restarts = Restarts::default();
        let now = Instant::now();
        let mut next = |at| restarts.next(&rules, CRASH, at, 0.0);
        assert!(matches!(next(now), Next::Restart { .. }));
        assert!(matches!(
            next(now + Duration::from_secs(30)),
            Next::Restart { .. }
        ));
        assert_eq!(next(now + Duration::from_secs(59)), Next::GiveUp);
        let later = next(now + Duration::from_secs(61));
        assert!(
            matches!(later, Next::Restart { .. }),
            "the first has left the window"
        );
    }
}
