//! Five years of zones with every kind of change, under every policy.

use std::collections::BTreeSet;

use millrace_schedule::DstPolicy;

use crate::oracle::{Clock, Naive};
use crate::{POLICIES, at, between, cron, second};

const FIXED: [&str; 7] = [
    "0 0 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "45 23 * * 0,6",
    "15 2 1,15 * 0",
    "*/20 0-3 * * *",
    "10 */5 */2 3,4,9,10,11 *",
];
const INTERVAL_LIKE: [&str; 2] = ["0 * * * *", "*/15 * * * *"];
const MARGIN: i64 = 3 * 1440;

fn minute(year: i32) -> i64 {
    at(&format!("{year}-01-01T00:00:00Z")).as_micros() / 60_000_000
}

/// Compares five years from `year` on; `changes` is how often the clocks of
/// the zone are changed in them, so that a table cannot pass for want of any.
fn check(zone: &str, year: i32, changes: usize) {
    let (start, end) = (minute(year), minute(year + 5));
    let clock = Clock::read(zone, start - MARGIN, end - start + 2 * MARGIN, 60);
    let changed: Vec<i64> = clock
        .changes()
        .into_iter()
        .filter(|at| (start..end).contains(at))
        .collect();
    assert_eq!(changed.len(), changes, "changes of {zone}: {changed:?}");
    for policy in POLICIES {
        for expression in FIXED.into_iter().chain(INTERVAL_LIKE) {
            let row = Row {
                zone,
                expression,
                policy,
                due: clock.due(&Naive::new(expression), policy),
            };
            if FIXED.contains(&expression) {
                row.compare(start, end);
                continue;
            }
            if policy == DstPolicy::Once {
                row.compare(start, start + 366 * 1440);
            }
            // Near every change of the five years, under each policy.
            for at in &changed {
                row.compare(at - 1440, at + 1440);
            }
        }
    }
}

/// What the oracle says of one expression; times in minutes.
struct Row<'a> {
    zone: &'a str,
    expression: &'a str,
    policy: DstPolicy,
    due: BTreeSet<i64>,
}

impl Row<'_> {
    fn compare(&self, from: i64, to: i64) {
        let name = format!(
            "`{}` in {} under {}",
            self.expression, self.zone, self.policy
        );
        let expected: Vec<i64> = self.due.range(from..to).map(|minute| minute * 60).collect();
        let schedule = cron(self.expression, self.zone, self.policy);
        let found = between(&schedule, from * 60, to * 60);
        if let Some((found, expected)) = found.iter().zip(&expected).find(|(a, b)| a != b) {
            panic!(
                "{name}: {} instead of {}",
                second(*found),
                second(*expected)
            );
        }
        assert_eq!(found.len(), expected.len(), "{name}");

        let counted = schedule.count_between(second(from * 60), second(to * 60), u64::MAX);
        assert_eq!(counted, expected.len() as u64, "count of {name}");

        // Backwards it is the same row.
        let mut at = second(to * 60 - 1);
        for expected in expected.iter().rev().take(5000) {
            let previous = schedule.previous_at_or_before(at).unwrap();
            assert_eq!(previous, second(*expected), "{name}");
            at = second(expected - 1);
        }
    }
}

macro_rules! tables {
    ($($name:ident: $zone:literal from $year:literal, $changes:literal changes;)*) => {
        $(#[test] fn $name() { check($zone, $year, $changes); })*
    };
}

tables! {
    berlin: "Europe/Berlin" from 2024, 10 changes;
    new_york: "America/New_York" from 2024, 10 changes;
    lord_howe_by_half_an_hour: "Australia/Lord_Howe" from 2024, 10 changes;
    sao_paulo_without_summer_time: "America/Sao_Paulo" from 2024, 0 changes;
    sao_paulo_when_it_changed_at_midnight: "America/Sao_Paulo" from 2014, 10 changes;
    kathmandu: "Asia/Kathmandu" from 2024, 0 changes;
    // The last change of 2026 is for good, says the tz database from 2026 on.
    casablanca_around_ramadan: "Africa/Casablanca" from 2024, 7 changes;
    casablanca_in_former_years: "Africa/Casablanca" from 2019, 10 changes;
    london: "Europe/London" from 2024, 10 changes;
    auckland: "Pacific/Auckland" from 2024, 10 changes;
    tehran_before_and_after_it_gave_up: "Asia/Tehran" from 2019, 8 changes;
    st_johns: "America/St_Johns" from 2024, 10 changes;
    st_johns_when_it_changed_at_one_past_midnight: "America/St_Johns" from 2007, 10 changes;
    apia_over_the_date_line: "Pacific/Apia" from 2009, 8 changes;
    utc: "UTC" from 2024, 0 changes;
}

#[test]
fn a_daily_schedule_is_due_once_on_each_day_of_five_years() {
    for zone in [
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Auckland",
    ] {
        for expression in [
            "30 1 * * *",
            "0 2 * * *",
            "15 2 * * *",
            "30 2 * * *",
            "0 3 * * *",
        ] {
            for policy in [DstPolicy::Once, DstPolicy::NextValid] {
                let schedule = cron(expression, zone, policy);
                // From noon to noon, in UTC days that hold five local years.
                let (from, to) = (minute(2024) * 60, minute(2029) * 60);
                let count = between(&schedule, from, to).len();
                assert_eq!(
                    count,
                    366 + 4 * 365 + 1,
                    "`{expression}` in {zone} under {policy}"
                );
            }
        }
    }
}

#[test]
fn a_quarter_hourly_schedule_never_pauses_nor_hurries() {
    for zone in [
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Asia/Kathmandu",
    ] {
        for policy in POLICIES {
            let schedule = cron("*/15 * * * *", zone, policy);
            let due = between(&schedule, minute(2026) * 60, minute(2027) * 60);
            assert!(
                due.windows(2).all(|pair| pair[1] - pair[0] == 900),
                "{zone} {policy}"
            );
            assert_eq!(due.len(), 365 * 96);
        }
    }
}
