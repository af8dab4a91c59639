//! A schedule of any kind within its bounds.

use std::time::Duration;

use millrace_types::Timestamp;

use crate::{CronSchedule, Interval};

/// When occurrences are due, bounds apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timing {
    Cron(CronSchedule),
    Interval(Interval),
    Once(Timestamp),
}

/// From when on, and until when, a schedule has occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The first moment at which an occurrence can be.
    pub start: Option<Timestamp>,
    /// The first moment at which none can be any more.
    pub end: Option<Timestamp>,
}

/// A timing within its bounds: a set of nominal times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub timing: Timing,
    pub bounds: Bounds,
}

impl From<Timing> for Schedule {
    fn from(timing: Timing) -> Self {
        Self {
            timing,
            bounds: Bounds::default(),
        }
    }
}

impl Timing {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Interval(interval) => interval.next_after(after),
            Self::Once(at) => (*at > after).then_some(*at),
        }
    }

    fn previous_at_or_before(&self, before: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.previous_at_or_before(before),
            Self::Interval(interval) => interval.previous_at_or_before(before),
            Self::Once(at) => (*at <= before).then_some(*at),
        }
    }

    fn count_between(&self, from: Timestamp, to: Timestamp, cap: u64) -> u64 {
        match self {
            Self::Cron(cron) => cron.count_between(from, to, cap),
            Self::Interval(interval) => interval.count_between(from, to, cap),
            Self::Once(at) => u64::from(from <= *at && *at < to).min(cap),
        }
    }
}

pub(crate) fn just_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(1))
}

pub(crate) fn just_after(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(1))
}

impl Schedule {
    /// The first nominal time after `after`. `None`: there is none any more,
    /// or none within [`crate::HORIZON_YEARS`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = match self.bounds.start {
            Some(start) => after.max(just_before(start)),
            None => after,
        };
        let next = self.timing.next_after(after)?;
        self.bounds.end.is_none_or(|end| next < end).then_some(next)
    }

    /// The last nominal time at or before `at`.
    pub fn previous_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let at = match self.bounds.end {
            Some(end) => at.min(just_before(end)),
            None => at,
        };
        let previous = self.timing.previous_at_or_before(at)?;
        self.bounds
            .start
            .is_none_or(|start| previous >= start)
            .then_some(previous)
    }

    /// How many nominal times lie in `from..to`, `cap` at most. It costs a
    /// step for each month between them, however dense the schedule.
    pub fn count_between(&self, from: Timestamp, to: Timestamp, cap: u64) -> u64 {
        let from = self.bounds.start.map_or(from, |start| from.max(start));
        let to = self.bounds.end.map_or(to, |end| to.min(end));
        if from >= to {
            return 0;
        }
        self.timing.count_between(from, to, cap)
    }

    /// The nominal times after `after`, in order; it may have no end.
    pub fn occurrences_after(&self, after: Timestamp) -> Occurrences<'_> {
        Occurrences {
            schedule: self,
            after: Some(after),
        }
    }

    /// The time from a nominal time to the next one. The bounds do not count:
    /// the last occurrence has the same gap as if there were more.
    pub fn gap_after(&self, nominal: Timestamp) -> Option<Duration> {
        let next = self.timing.next_after(nominal)?;
        Some(next.saturating_since(nominal))
    }
}

/// See [`Schedule::occurrences_after`].
#[derive(Debug, Clone)]
pub struct Occurrences<'a> {
    schedule: &'a Schedule,
    after: Option<Timestamp>,
}

impl Iterator for Occurrences<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.after = self.schedule.next_after(self.after?);
        self.after
    }
}

impl std::iter::FusedIterator for Occurrences<'_> {}
