//! What is due, found the slow way: the local clock is read at every minute or
//! second of UTC, fields are compared as text says, and each policy is its definition.

use std::collections::BTreeSet;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use millrace_schedule::DstPolicy;

/// A local clock, read at each minute or second from `start` on. All in units
/// of `unit` seconds.
pub struct Clock {
    unit: i64,
    pub start: i64,
    readings: Vec<i64>,
    /// The latest reading so far.
    latest: Vec<i64>,
    /// The earliest reading from here on.
    earliest: Vec<i64>,
}

impl Clock {
    pub fn read(zone: &str, start: i64, count: i64, unit: i64) -> Self {
        let tz: TimeZone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let readings: Vec<i64> = (start..start + count)
            .map(|n| {
                let now = jiff::Timestamp::from_second(n * unit).unwrap();
                let offset = i64::from(tz.to_offset(now).seconds());
                assert_eq!(offset % unit, 0);
                n + offset / unit
            })
            .collect();
        let mut latest = readings.clone();
        for i in 1..latest.len() {
            latest[i] = latest[i].max(latest[i - 1]);
        }
        let mut earliest = readings.clone();
        for i in (0..earliest.len() - 1).rev() {
            earliest[i] = earliest[i].min(earliest[i + 1]);
        }
        Self {
            unit,
            start,
            readings,
            latest,
            earliest,
        }
    }

    /// When the clock was changed.
    pub fn changes(&self) -> Vec<i64> {
        (1..self.readings.len())
            .filter(|i| self.readings[*i] != self.readings[*i - 1] + 1)
            .map(|i| self.start + i64::try_from(i).unwrap())
            .collect()
    }

    fn utc(&self, index: usize) -> i64 {
        self.start + i64::try_from(index).unwrap()
    }

    /// When `expression` is due.
    pub fn due(&self, expression: &Naive, policy: DstPolicy) -> BTreeSet<i64> {
        let mut due = BTreeSet::new();
        let first_day = self.readings[0].div_euclid(86_400 / self.unit);
        let last_day = self.readings[self.readings.len() - 1].div_euclid(86_400 / self.unit);
        for day in first_day..=last_day {
            for reading in expression.readings_of(day, self.unit) {
                self.add(reading, expression.every_hour(), policy, &mut due);
            }
        }
        due
    }

    fn add(&self, reading: i64, every_hour: bool, policy: DstPolicy, due: &mut BTreeSet<i64>) {
        let shown_or_later = self.latest.partition_point(|latest| *latest < reading);
        let end = self
            .earliest
            .partition_point(|earliest| *earliest <= reading);
        let shown: Vec<usize> = (shown_or_later..end)
            .filter(|i| self.readings[*i] == reading)
            .collect();
        if every_hour {
            due.extend(shown.iter().map(|i| self.utc(*i)));
            return;
        }
        match policy {
            DstPolicy::Once => due.extend([self.utc(shown_or_later)]),
            // `end` is just after the last moment that shows it or an earlier one.
            DstPolicy::NextValid => due.extend([self.utc(shown.last().copied().unwrap_or(end))]),
            DstPolicy::Skip => due.extend(shown.first().map(|i| self.utc(*i))),
            DstPolicy::Twice if shown.is_empty() => due.extend([self.utc(shown_or_later)]),
            DstPolicy::Twice => due.extend(shown.iter().map(|i| self.utc(*i))),
        }
    }
}

/// Five or six fields of numbers, lists, ranges and `*/n`, taken literally.
pub struct Naive {
    seconds: Vec<i64>,
    fields: Vec<Vec<i64>>,
    any_day: bool,
    any_weekday: bool,
}

impl Naive {
    pub fn new(expression: &str) -> Self {
        let mut texts: Vec<&str> = expression.split(' ').collect();
        let seconds = if texts.len() == 6 {
            texts.remove(0)
        } else {
            "0"
        };
        let seconds = (0..60).filter(|n| seconds.split(',').any(|item| selects(item, *n, 0, 59)));
        let limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let fields = texts
            .iter()
            .zip(limits)
            .map(|(text, (min, max))| {
                (min..=max)
                    .filter(|n| text.split(',').any(|item| selects(item, *n, min, max)))
                    .collect()
            })
            .collect();
        Self {
            seconds: seconds.collect(),
            fields,
            any_day: texts[2].starts_with('*'),
            any_weekday: texts[4].starts_with('*'),
        }
    }

    fn every_hour(&self) -> bool {
        self.fields[1].len() == 24
    }

    fn readings_of(&self, day: i64, unit: i64) -> Vec<i64> {
        let noon = jiff::Timestamp::from_second(day * 86_400 + 43_200).unwrap();
        let date = Offset::UTC.to_datetime(noon).date();
        let by_day = self.fields[2].contains(&i64::from(date.day()));
        let weekday = i64::from(date.weekday().to_sunday_zero_offset());
        let by_weekday = self.fields[4].contains(&weekday);
        let selected = if self.any_day || self.any_weekday {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        };
        if !selected || !self.fields[3].contains(&i64::from(date.month())) {
            return Vec::new();
        }
        let mut readings = Vec::new();
        for hour in &self.fields[1] {
            for minute in &self.fields[0] {
                for second in &self.seconds {
                    readings.push((day * 86_400 + hour * 3600 + minute * 60 + second) / unit);
                }
            }
        }
        readings
    }
}

fn selects(item: &str, n: i64, min: i64, max: i64) -> bool {
    let (span, step) = item.split_once('/').unwrap_or((item, "1"));
    let (low, high) = match span.split_once('-') {
        _ if span == "*" => (min, max),
        Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
        None => (span.parse().unwrap(), span.parse().unwrap()),
    };
    n >= low && n <= high && (n - low) % step.parse::<i64>().unwrap() == 0
}

#[test]
fn the_oracle_knows_a_berlin_night_by_heart() {
    // 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC. 2026-10-25: 03:00 becomes
    // 02:00 at 01:00 UTC.
    let minute = |text: &str| crate::at(text).as_micros() / 60_000_000;
    let spring = Clock::read("Europe/Berlin", minute("2026-03-28T00:00:00Z"), 4320, 60);
    let autumn = Clock::read("Europe/Berlin", minute("2026-10-24T00:00:00Z"), 4320, 60);
    let expression = Naive::new("30 2 * * *");
    let due = |clock: &Clock, policy, day: &str| -> Vec<String> {
        clock
            .due(&expression, policy)
            .into_iter()
            .map(|minute| crate::second(minute * 60).to_string())
            .filter(|text| text.starts_with(day))
            .map(|text| text[11..16].to_owned())
            .collect()
    };
    for (policy, gap, fold) in [
        (DstPolicy::Once, vec!["01:00"], vec!["00:30"]),
        (DstPolicy::Skip, vec![], vec!["00:30"]),
        (DstPolicy::NextValid, vec!["01:00"], vec!["01:30"]),
        (DstPolicy::Twice, vec!["01:00"], vec!["00:30", "01:30"]),
    ] {
        assert_eq!(due(&spring, policy, "2026-03-29"), gap, "{policy}");
        assert_eq!(due(&autumn, policy, "2026-10-25"), fold, "{policy}");
    }
}
