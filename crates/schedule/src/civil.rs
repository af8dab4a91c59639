//! Local calendar arithmetic on whole seconds: a *reading* is the number of
//! seconds from 1970-01-01T00:00:00 as a local clock would count them.

pub(crate) const DAY: i64 = 86_400;

/// A month, placed among the days since 1970-01-01.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Month {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// The day number of its first day.
    pub first_day: i64,
    pub len: u32,
}

impl Month {
    /// The month of a day that jiff's calendar covers.
    pub fn of_day(day: i64) -> Self {
        let date = jiff::Timestamp::from_second(day * DAY).map_or(jiff::civil::Date::MAX, |at| {
            jiff::tz::Offset::UTC.to_datetime(at).date()
        });
        let (year, month) = (i32::from(date.year()), date.month().unsigned_abs().into());
        Self {
            year,
            month,
            first_day: day - i64::from(date.day()) + 1,
            len: month_len(is_leap(year), month),
        }
    }

    pub fn following(self) -> Self {
        let (year, month) = match self.month {
            12 => (self.year + 1, 1),
            month => (self.year, month + 1),
        };
        Self {
            year,
            month,
            first_day: self.first_day + i64::from(self.len),
            len: month_len(is_leap(year), month),
        }
    }

    pub fn preceding(self) -> Self {
        let (year, month) = match self.month {
            1 => (self.year - 1, 12),
            month => (self.year, month - 1),
        };
        let len = month_len(is_leap(year), month);
        Self {
            year,
            month,
            first_day: self.first_day - i64::from(len),
            len,
        }
    }

    /// The weekday of its first day, Sunday being 0.
    pub fn first_weekday(self) -> u32 {
        // 1970-01-01 was a Thursday.
        u32::try_from((self.first_day + 4).rem_euclid(7)).unwrap_or(0)
    }
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn month_len(leap: bool, month: u32) -> u32 {
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day number and second of the day of a reading.
pub(crate) fn split(reading: i64) -> (i64, u32) {
    let second = u32::try_from(reading.rem_euclid(DAY)).unwrap_or(0);
    (reading.div_euclid(DAY), second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_as_the_calendar_says() {
        let mut month = Month::of_day(-25_567); // 1900-01-01
        assert_eq!(
            (month.year, month.month, month.first_weekday()),
            (1900, 1, 1)
        );
        for _ in 0..(12 * 300) {
            let date = jiff::civil::Date::new(
                month.year.try_into().unwrap(),
                month.month.try_into().unwrap(),
                1,
            )
            .unwrap();
            assert_eq!(u32::try_from(date.days_in_month()).unwrap(), month.len);
            let weekday = date.weekday().to_sunday_zero_offset();
            assert_eq!(u32::try_from(weekday).unwrap(), month.first_weekday());
            let next = month.following();
            assert_eq!(next.preceding().first_day, month.first_day);
            assert_eq!(Month::of_day(next.first_day - 1).first_day, month.first_day);
            month = next;
        }
    }
}
