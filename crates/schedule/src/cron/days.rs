//! The two fields for days, and how they go together.

use crate::bits;

/// Day of month and day of week.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Days {
    pub month_days: MonthDays,
    pub week_days: WeekDays,
}

/// The field for the day of the month.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct MonthDays {
    /// Bits 1 to 31.
    pub days: u64,
    /// Bit n: n days before the last of the month.
    pub before_last: u64,
    /// Bits 1 to 31: the weekday nearest that day, within the month.
    pub nearest: u64,
    pub last_weekday: bool,
    /// Whether it is restricted, for the rule of the two fields.
    pub restricted: bool,
}

/// The field for the day of the week, Sunday being 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct WeekDays {
    /// Bits 0 to 6.
    pub days: u64,
    /// Bit 7·(n−1) + d: the nth weekday d of the month.
    pub nth: u64,
    /// Bits 0 to 6: the last such weekday of the month.
    pub last: u64,
    pub restricted: bool,
}

const SUNDAY: u32 = 0;
const SATURDAY: u32 = 6;

impl Days {
    /// The days, bits 1 to 31, of a month of `len` days whose first day is
    /// the weekday `first`.
    pub fn of(&self, first: u32, len: u32) -> u64 {
        let by_month = self.month_days.of(first, len);
        let by_week = self.week_days.of(first, len);
        if self.month_days.restricted && self.week_days.restricted {
            by_month | by_week
        } else {
            by_month & by_week
        }
    }
}

impl MonthDays {
    fn of(&self, first: u32, len: u32) -> u64 {
        let mut found = self.days & ((1 << (len + 1)) - 1) & !1;
        for before in (0..len).filter(|n| bits::has(self.before_last, *n)) {
            found |= 1 << (len - before);
        }
        for day in (1..=len).filter(|day| bits::has(self.nearest, *day)) {
            found |= 1 << nearest_weekday(day, first, len);
        }
        if self.last_weekday {
            found |= 1 << nearest_weekday(len, first, len);
        }
        found
    }
}

fn weekday(day: u32, first: u32) -> u32 {
    (first + day - 1) % 7
}

/// The Monday to Friday nearest to a day, without leaving the month.
fn nearest_weekday(day: u32, first: u32, len: u32) -> u32 {
    match weekday(day, first) {
        SATURDAY if day > 1 => day - 1,
        SATURDAY => day + 2,
        SUNDAY if day < len => day + 1,
        SUNDAY => day - 2,
        _ => day,
    }
}

impl WeekDays {
    fn of(&self, first: u32, len: u32) -> u64 {
        let mut found = 0;
        for day in 1..=len {
            let weekday = weekday(day, first);
            if bits::has(self.days, weekday)
                || bits::has(self.nth, (day - 1) / 7 * 7 + weekday)
                || (day + 7 > len && bits::has(self.last, weekday))
            {
                found |= 1 << day;
            }
        }
        found
    }
}
