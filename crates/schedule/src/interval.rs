use std::time::Duration;

use millrace_types::Timestamp;

/// Occurrences a fixed time apart: at `anchor`, `anchor + every`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    anchor: i64,
    every: i64,
}

/// Why an interval is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    #[error("an interval is at least one second, `PT1S`")]
    TooShort,
    #[error("an interval is at most ten thousand days")]
    TooLong,
}

impl Interval {
    /// `every` is from one second to ten thousand days; what it has below a
    /// microsecond is cut off.
    pub fn new(every: Duration, anchor: Timestamp) -> Result<Self, IntervalError> {
        if every < Duration::from_secs(1) {
            return Err(IntervalError::TooShort);
        }
        if every > Duration::from_hours(240_000) {
            return Err(IntervalError::TooLong);
        }
        let every = i64::try_from(every.as_micros()).map_err(|_| IntervalError::TooLong)?;
        Ok(Self {
            anchor: anchor.as_micros(),
            every,
        })
    }

    pub fn every(&self) -> Duration {
        Duration::from_micros(self.every.unsigned_abs())
    }

    pub fn anchor(&self) -> Timestamp {
        Timestamp::from_micros(self.anchor)
    }

    fn nth(&self, n: i64) -> Option<Timestamp> {
        let at = self.anchor.checked_add(n.checked_mul(self.every)?)?;
        Some(Timestamp::from_micros(at))
    }

    /// Steps from the anchor to the last occurrence at or before `at`;
    /// negative when that lies before the anchor.
    fn steps(&self, at: Timestamp) -> i64 {
        at.as_micros()
            .saturating_sub(self.anchor)
            .div_euclid(self.every)
    }

    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.nth(self.steps(after).saturating_add(1).max(0))
    }

    pub fn previous_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let steps = self.steps(at);
        if steps < 0 { None } else { self.nth(steps) }
    }

    /// How many lie in `from..to`, `cap` at most.
    pub fn count_between(&self, from: Timestamp, to: Timestamp, cap: u64) -> u64 {
        // How many lie before a moment.
        let before = |at: Timestamp| {
            let just_before = Timestamp::from_micros(at.as_micros().saturating_sub(1));
            self.steps(just_before).saturating_add(1).max(0)
        };
        u64::try_from(before(to).saturating_sub(before(from)))
            .unwrap_or(0)
            .min(cap)
    }
}
