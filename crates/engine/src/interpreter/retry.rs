//! When a failed attempt is repeated. Nothing here reads a clock or draws a
//! random number: the jitter is a function of the visit and the attempt, so
//! that a schedule computed twice is the same schedule.

use std::time::Duration;

use millrace_types::Timestamp;

/// How the delay grows from one retry to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backoff {
    #[default]
    Constant,
    Linear,
    Exponential,
}

/// No delay is longer: a due time has to stay within what a database can
/// keep, however often an exponential has doubled.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// A retry policy whose durations have been evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    pub delay: Duration,
    pub backoff: Backoff,
    /// Smallest and largest addition to the delay.
    pub jitter: Option<(Duration, Duration)>,
    /// How many retries at most, besides the first attempt.
    pub retries: Option<u32>,
    /// How long after the start of the first attempt a retry may begin.
    pub within: Option<Duration>,
}

impl Schedule {
    /// When the attempt after the failed one is due; `None` when the policy
    /// allows no more. `failed` counts from 1, `seed` is the visit's hash.
    pub fn next(
        &self,
        failed: u32,
        seed: u64,
        first_started: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.retries.is_some_and(|retries| failed > retries) {
            return None;
        }
        let due = now.saturating_add(self.delay_after(failed, seed));
        match self.within {
            Some(within) if due > first_started.saturating_add(within) => None,
            _ => Some(due),
        }
    }

    fn delay_after(&self, failed: u32, seed: u64) -> Duration {
        let factor = match self.backoff {
            Backoff::Constant => 1,
            Backoff::Linear => failed.max(1),
            Backoff::Exponential => 1_u32.checked_shl(failed.max(1) - 1).unwrap_or(u32::MAX),
        };
        let base = self.delay.checked_mul(factor).unwrap_or(LONGEST);
        base.saturating_add(self.jitter_after(failed, seed))
            .min(LONGEST)
    }

    fn jitter_after(&self, failed: u32, seed: u64) -> Duration {
        let Some((from, to)) = self.jitter else {
            return Duration::ZERO;
        };
        let span = u64::try_from(to.saturating_sub(from).as_micros()).unwrap_or(u64::MAX);
        let drawn = match span.checked_add(1) {
            Some(sides) => mix(seed ^ u64::from(failed)) % sides,
            None => mix(seed ^ u64::from(failed)),
        };
        from.saturating_add(Duration::from_micros(drawn))
    }
}

/// Spreads neighbouring numbers over the whole range (the finaliser of
/// SplitMix64).
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn due(schedule: &Schedule, failed: u32) -> Option<u64> {
        let at = schedule.next(failed, 7, START, START)?;
        Some(u64::try_from(at.saturating_since(START).as_millis()).unwrap())
    }

    #[test]
    fn delays_grow_as_the_backoff_says() {
        let table = [
            (Backoff::Constant, [100, 100, 100, 100]),
            (Backoff::Linear, [100, 200, 300, 400]),
            (Backoff::Exponential, [100, 200, 400, 800]),
        ];
        for (backoff, expected) in table {
            let schedule = Schedule {
                delay: Duration::from_millis(100),
                backoff,
                ..Schedule::default()
            };
            let seen = [1, 2, 3, 4].map(|failed| due(&schedule, failed).unwrap());
            assert_eq!(seen, expected, "{backoff:?}");
        }
    }

    #[test]
    fn an_exponential_never_overflows() {
        let schedule = Schedule {
            delay: Duration::from_hours(1),
            backoff: Backoff::Exponential,
            ..Schedule::default()
        };
        for failed in [20, 33, 64, 1000, u32::MAX] {
            let millis = due(&schedule, failed).unwrap();
            assert_eq!(millis, u64::try_from(LONGEST.as_millis()).unwrap());
        }
    }

    #[test]
    fn a_limit_of_two_allows_two_retries() {
        let schedule = Schedule {
            retries: Some(2),
            ..Schedule::default()
        };
        assert!(due(&schedule, 1).is_some());
        assert!(due(&schedule, 2).is_some());
        assert!(due(&schedule, 3).is_none());
    }

    #[test]
    fn a_retry_that_would_begin_too_late_is_not_made() {
        let schedule = Schedule {
            delay: Duration::from_secs(10),
            within: Some(Duration::from_secs(25)),
            ..Schedule::default()
        };
        let at = |seconds| START.saturating_add(Duration::from_secs(seconds));
        assert!(schedule.next(1, 0, START, at(15)).is_some());
        assert!(schedule.next(1, 0, START, at(16)).is_none());
    }

    #[test]
    fn jitter_stays_in_its_range_and_is_the_same_each_time() {
        let schedule = Schedule {
            jitter: Some((Duration::from_millis(10), Duration::from_millis(30))),
            ..Schedule::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..1000 {
            let one = schedule.next(1, seed, START, START).unwrap();
            assert_eq!(schedule.next(1, seed, START, START), Some(one));
            let added = one.saturating_since(START);
            assert!(added >= Duration::from_millis(10) && added <= Duration::from_millis(30));
            seen.insert(added);
        }
        assert!(seen.len() > 500, "only {} different delays", seen.len());
    }
}
