//! The three fields for the time of day.

use crate::bits;

/// Hours, minutes and seconds that are selected; none of the sets is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TimeOfDay {
    pub hours: u64,
    pub minutes: u64,
    pub seconds: u64,
}

fn parts(second: u32) -> (u32, u32, u32) {
    (second / 3600, second / 60 % 60, second % 60)
}

fn join(hour: u32, minute: u32, second: u32) -> u32 {
    hour * 3600 + minute * 60 + second
}

impl TimeOfDay {
    pub fn first(&self) -> u32 {
        join(
            bits::first(self.hours),
            bits::first(self.minutes),
            bits::first(self.seconds),
        )
    }

    pub fn last(&self) -> u32 {
        join(
            bits::last(self.hours),
            bits::last(self.minutes),
            bits::last(self.seconds),
        )
    }

    /// The first selected second of the day at or after `from`.
    pub fn next(&self, from: u32) -> Option<u32> {
        let (hour, minute, second) = parts(from);
        let (minute_0, second_0) = (bits::first(self.minutes), bits::first(self.seconds));
        if bits::has(self.hours, hour) {
            if bits::has(self.minutes, minute)
                && let Some(second) = bits::next(self.seconds, second)
            {
                return Some(join(hour, minute, second));
            }
            if let Some(minute) = bits::next(self.minutes, minute + 1) {
                return Some(join(hour, minute, second_0));
            }
        }
        bits::next(self.hours, hour + 1).map(|hour| join(hour, minute_0, second_0))
    }

    /// The last selected second of the day at or before `upto`.
    pub fn prev(&self, upto: u32) -> Option<u32> {
        let (hour, minute, second) = parts(upto);
        let (minute_z, second_z) = (bits::last(self.minutes), bits::last(self.seconds));
        if bits::has(self.hours, hour) {
            if bits::has(self.minutes, minute)
                && let Some(second) = bits::prev(self.seconds, second)
            {
                return Some(join(hour, minute, second));
            }
            if minute > 0
                && let Some(minute) = bits::prev(self.minutes, minute - 1)
            {
                return Some(join(hour, minute, second_z));
            }
        }
        bits::prev(self.hours, hour.checked_sub(1)?).map(|hour| join(hour, minute_z, second_z))
    }

    pub fn per_day(&self) -> u64 {
        u64::from(self.hours.count_ones())
            * u64::from(self.minutes.count_ones())
            * u64::from(self.seconds.count_ones())
    }

    /// How many selected seconds of the day lie before `end`.
    pub fn count_below(&self, end: u32) -> u64 {
        let (hour, minute, second) = parts(end);
        let per_minute = u64::from(self.seconds.count_ones());
        let per_hour = per_minute * u64::from(self.minutes.count_ones());
        let mut count = bits::count_below(self.hours, hour) * per_hour;
        if bits::has(self.hours, hour) {
            count += bits::count_below(self.minutes, minute) * per_minute;
            if bits::has(self.minutes, minute) {
                count += bits::count_below(self.seconds, second);
            }
        }
        count
    }
}
