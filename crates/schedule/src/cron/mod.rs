//! Cron expressions: five fields (minute, hour, day of month, month, day of
//! week) or six (seconds first), or a name such as `@daily`.
//!
//! | field | values | also |
//! |---|---|---|
//! | second, minute | 0–59 | |
//! | hour | 0–23 | |
//! | day of month | 1–31 | `L` last day, `L-3` third before it, `15W` weekday nearest the 15th, `LW` last weekday |
//! | month | 1–12, `JAN`–`DEC` | |
//! | day of week | 0–7 (0 and 7 are Sunday), `SUN`–`SAT` | `5L` last Friday, `TUE#2` second Tuesday |
//!
//! Each field is a list of `*`, values and ranges, each with an optional step
//! (`*/15`, `9-17/2`, `5/10` = from 5 on). `?` means `*` in the two fields for
//! days. When both fields for days are restricted, a day that either selects
//! is selected; a field that begins with `*` does not count as restricted, as
//! in Vixie cron, so that `*/2` in one of them narrows the other.
//!
//! Names: `@yearly` (`@annually`), `@monthly`, `@weekly`, `@daily`
//! (`@midnight`), `@hourly`.

mod days;
mod error;
mod field;
mod parse;
mod time;

use std::fmt;
use std::str::FromStr;

use crate::civil::{self, DAY, Month};

pub use error::{CronError, CronField};

use days::Days;
use time::TimeOfDay;

/// A cron expression that can be due at some time: a set of local readings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cron {
    text: String,
    time: TimeOfDay,
    /// Bits 1 to 12.
    months: u64,
    days: Days,
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        parse::parse(text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Cron {
    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it selects every hour of the day: such an expression follows
    /// the clock through its changes, whatever the DST policy.
    pub fn is_interval_like(&self) -> bool {
        self.time.hours == (1 << 24) - 1
    }

    /// The days of a month, bits 1 to 31.
    fn days_of(&self, month: Month) -> u64 {
        if crate::bits::has(self.months, month.month) {
            self.days.of(month.first_weekday(), month.len)
        } else {
            0
        }
    }

    /// Whether no month of any year has a day for it.
    fn is_impossible(&self) -> bool {
        [false, true].into_iter().all(|leap| {
            (1..=12)
                .filter(|month| crate::bits::has(self.months, *month))
                .all(|month| {
                    let len = civil::month_len(leap, month);
                    (0..7).all(|first| self.days.of(first, len) == 0)
                })
        })
    }

    /// The first reading that is selected in `from..end`.
    pub(crate) fn next_reading(&self, from: i64, end: i64) -> Option<i64> {
        if from >= end {
            return None;
        }
        let (day, second) = civil::split(from);
        let mut month = Month::of_day(day);
        let mut days = self.days_of(month);
        let today = day_of_month(month, day);
        if crate::bits::has(days, today)
            && let Some(second) = self.time.next(second)
        {
            return below(reading(month, today, second), end);
        }
        let mut after = today + 1;
        loop {
            if let Some(day) = crate::bits::next(days, after) {
                return below(reading(month, day, self.time.first()), end);
            }
            month = month.following();
            if month.first_day * DAY >= end {
                return None;
            }
            days = self.days_of(month);
            after = 1;
        }
    }

    /// The last reading that is selected in `start..end`.
    pub(crate) fn prev_reading(&self, start: i64, end: i64) -> Option<i64> {
        if start >= end {
            return None;
        }
        let (day, second) = civil::split(end - 1);
        let mut month = Month::of_day(day);
        let mut days = self.days_of(month);
        let today = day_of_month(month, day);
        let at_least = |found: i64| (found >= start).then_some(found);
        if crate::bits::has(days, today)
            && let Some(second) = self.time.prev(second)
        {
            return at_least(reading(month, today, second));
        }
        let mut upto = today - 1;
        loop {
            if let Some(day) = crate::bits::prev(days, upto) {
                return at_least(reading(month, day, self.time.last()));
            }
            if month.first_day * DAY <= start {
                return None;
            }
            month = month.preceding();
            days = self.days_of(month);
            upto = 31;
        }
    }

    /// How many readings are selected in `start..end`: a step for each month.
    pub(crate) fn count_readings(&self, start: i64, end: i64) -> u64 {
        if start >= end {
            return 0;
        }
        self.count_to(end, Month::of_day(start.div_euclid(DAY)))
            .saturating_sub(self.count_to(start, Month::of_day(start.div_euclid(DAY))))
    }

    /// How many are selected from the start of month `from` up to `end`.
    fn count_to(&self, end: i64, from: Month) -> u64 {
        let (last_day, second) = civil::split(end);
        let mut month = from;
        let mut count = 0;
        while month.first_day + i64::from(month.len) <= last_day {
            count += u64::from(self.days_of(month).count_ones()) * self.time.per_day();
            month = month.following();
        }
        let days = self.days_of(month);
        let today = day_of_month(month, last_day);
        count += crate::bits::count_below(days, today) * self.time.per_day();
        if crate::bits::has(days, today) {
            count += self.time.count_below(second);
        }
        count
    }
}

fn below(reading: i64, end: i64) -> Option<i64> {
    (reading < end).then_some(reading)
}

fn day_of_month(month: Month, day: i64) -> u32 {
    u32::try_from(day - month.first_day + 1).unwrap_or(0)
}

fn reading(month: Month, day: u32, second: u32) -> i64 {
    (month.first_day + i64::from(day) - 1) * DAY + i64::from(second)
}
