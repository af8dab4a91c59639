use millrace_schedule::{Cron, DstPolicy};
use millrace_types::Timestamp;

use crate::{at, cron};

/// The first occurrences after the start of 2026, in UTC, to the minute.
fn first(expression: &str, count: usize) -> Vec<String> {
    cron(expression, "UTC", DstPolicy::Once)
        .occurrences_after(at("2025-12-31T23:59:59Z"))
        .take(count)
        .map(|nominal| nominal.to_string()[..16].to_owned())
        .collect()
}

#[test]
fn each_form_selects_the_days_of_the_calendar() {
    for (expression, expected) in [
        (
            "0 9 L * *",
            ["2026-01-31T09:00", "2026-02-28T09:00", "2026-03-31T09:00"],
        ),
        (
            "0 9 L-2 * *",
            ["2026-01-29T09:00", "2026-02-26T09:00", "2026-03-29T09:00"],
        ),
        // 15 February and March are Sundays.
        (
            "0 9 15W * *",
            ["2026-01-15T09:00", "2026-02-16T09:00", "2026-03-16T09:00"],
        ),
        // 1 February and March are Sundays, and 1 August is a Saturday.
        (
            "0 9 1W 2,3,8 *",
            ["2026-02-02T09:00", "2026-03-02T09:00", "2026-08-03T09:00"],
        ),
        // 31 January is a Saturday, 28 February too.
        (
            "0 9 LW * ?",
            ["2026-01-30T09:00", "2026-02-27T09:00", "2026-03-31T09:00"],
        ),
        (
            "0 9 ? * 5L",
            ["2026-01-30T09:00", "2026-02-27T09:00", "2026-03-27T09:00"],
        ),
        (
            "0 9 * * FRIL",
            ["2026-01-30T09:00", "2026-02-27T09:00", "2026-03-27T09:00"],
        ),
        (
            "0 9 * * TUE#2",
            ["2026-01-13T09:00", "2026-02-10T09:00", "2026-03-10T09:00"],
        ),
        (
            "0 9 * * 7#5",
            ["2026-03-29T09:00", "2026-05-31T09:00", "2026-08-30T09:00"],
        ),
        (
            "0 9 * JAN-MAR/2 sun",
            ["2026-01-04T09:00", "2026-01-11T09:00", "2026-01-18T09:00"],
        ),
        (
            "0 9 * * FRI-SUN",
            ["2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00"],
        ),
        (
            "0 9 * * 1/2",
            ["2026-01-02T09:00", "2026-01-05T09:00", "2026-01-07T09:00"],
        ),
        (
            "0 0 29 2 *",
            ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"],
        ),
        // Either of the two fields for days …
        (
            "0 9 13 * FRI",
            ["2026-01-02T09:00", "2026-01-09T09:00", "2026-01-13T09:00"],
        ),
        // … but both when one of them begins with a star.
        (
            "0 9 */2 * FRI",
            ["2026-01-09T09:00", "2026-01-23T09:00", "2026-02-13T09:00"],
        ),
        (
            "@hourly",
            ["2026-01-01T00:00", "2026-01-01T01:00", "2026-01-01T02:00"],
        ),
        (
            "@midnight",
            ["2026-01-01T00:00", "2026-01-02T00:00", "2026-01-03T00:00"],
        ),
        (
            "@Weekly",
            ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"],
        ),
        (
            "@monthly",
            ["2026-01-01T00:00", "2026-02-01T00:00", "2026-03-01T00:00"],
        ),
        (
            "@yearly",
            ["2026-01-01T00:00", "2027-01-01T00:00", "2028-01-01T00:00"],
        ),
        (
            " 5/25  3 * *\t* ",
            ["2026-01-01T03:05", "2026-01-01T03:30", "2026-01-01T03:55"],
        ),
    ] {
        assert_eq!(first(expression, 3), expected, "{expression}");
    }
}

#[test]
fn six_fields_begin_with_the_seconds() {
    let schedule = cron("10,40 59 23 31 12 *", "UTC", DstPolicy::Once);
    let due: Vec<Timestamp> = schedule
        .occurrences_after(at("2026-06-01T00:00:00Z"))
        .take(3)
        .collect();
    assert_eq!(
        due,
        [
            at("2026-12-31T23:59:10Z"),
            at("2026-12-31T23:59:40Z"),
            at("2027-12-31T23:59:10Z")
        ]
    );
    assert_eq!(
        schedule.next_after(at("2026-12-31T23:59:10.000001Z")),
        Some(due[1])
    );
    assert_eq!(
        schedule.next_after(at("2026-12-31T23:59:09.999999Z")),
        Some(due[0])
    );
}

#[test]
fn faults_name_the_field_the_place_and_the_remedy() {
    for (expression, expected) in [
        (
            "60 * * * *",
            "minute `60` (character 1): 60 is outside 0 to 59",
        ),
        (
            "0 0,24 * * *",
            "hour `24` (character 5): 24 is outside 0 to 23",
        ),
        (
            "0 0 0 * *",
            "day of month `0` (character 5): 0 is outside 1 to 31",
        ),
        (
            "0 0 1 FOO *",
            "month `FOO` (character 7): `FOO` is not a number from 1 to 12 or a name from JAN to DEC",
        ),
        (
            "0 0 * * MON-",
            "day of week `MON-` (character 9): a value is missing",
        ),
        (
            "0 22-2 * * *",
            "hour `22-2` (character 3): runs backwards; write it as two: `22-23,0-2`",
        ),
        ("*/0 * * * *", "`0` is no step"),
        ("*/90 * * * *", "\"every\": \"PT90M\""),
        (
            "* * * * * 8",
            "day of week `8` (character 11): 8 is outside 0 to 7",
        ),
        (
            "0 0 30 2 *",
            "day of month `30` (character 5): no month that is selected ever has such a day",
        ),
        ("0 0 31 4,6,9,11 *", "never be due"),
        ("0 0 31W 2 *", "never be due"),
        ("0 0 * * L", "`5L` or `FRIL`"),
        ("0 0 * * 2#6", "`6` is not a number from 1 to 5"),
        ("H * * * *", "jitterWindow"),
        ("? * * * *", "write `*`"),
        ("0 2 * *", "4 fields; write 5"),
        ("0 0 2 * * * 2027", "startAt and endAt"),
        ("", "empty"),
        ("@every 15m", "interval"),
        ("@reboot", "no start-up"),
        ("@fortnightly", "known: @yearly"),
        ("+5 * * * *", "`+5` is not a number"),
        (
            "1,,2 * * * *",
            "minute `` (character 3): a value is missing",
        ),
    ] {
        let error = expression.parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains(expected), "{expression}: {error}");
    }
}

#[test]
fn a_day_that_is_rare_is_still_found() {
    // A 29 February on a Monday (the star makes both fields count).
    let schedule = cron("0 0 */28 2 MON", "UTC", DstPolicy::Once);
    assert_eq!(
        schedule
            .next_after(at("2072-03-01T00:00:00Z"))
            .map(|t| t.to_string()[..10].to_owned()),
        (2073..2110).find_map(|year| {
            [1, 29].into_iter().find_map(|day| {
                let date = jiff::civil::Date::new(year, 2, day).ok()?;
                (date.weekday() == jiff::civil::Weekday::Monday).then(|| date.to_string())
            })
        })
    );
}

#[test]
fn what_exists_only_in_a_gap_is_never_due_when_gaps_are_skipped() {
    // Clocks in Berlin go forward on the last Sunday of March at 02:00.
    let expression = "30 2 * 3 SUNL";
    let from = at("2026-01-01T00:00:00Z");
    assert_eq!(
        cron(expression, "Europe/Berlin", DstPolicy::Skip).next_after(from),
        None
    );
    let once = cron(expression, "Europe/Berlin", DstPolicy::Once);
    assert_eq!(once.next_after(from), Some(at("2026-03-29T01:00:00Z")));
}

#[test]
fn the_ends_of_time_are_answered_with_nothing() {
    let schedule = cron("* * * * * *", "Europe/Berlin", DstPolicy::Once);
    let (first, last) = (
        Timestamp::from_micros(i64::MIN),
        Timestamp::from_micros(i64::MAX),
    );
    assert!(schedule.next_after(first).is_some());
    assert_eq!(schedule.next_after(last), None);
    assert_eq!(schedule.previous_at_or_before(first), None);
    assert!(schedule.previous_at_or_before(last).is_some());
    assert_eq!(schedule.count_between(last, first, 5), 0);
    assert_eq!(schedule.count_between(first, last, 5), 5);
}
