use std::time::Duration;

use millrace_schedule::{
    Bounds, Cron, DEFAULT_JITTER_WINDOW, Interval, Jitter, JitterWindow, Schedule, Timing,
};
use proptest::prelude::*;

use crate::oracle::{Clock, Naive};
use crate::{POLICIES, at, between, cron, second};

/// A field as people write them: `*`, a step, a value, a range, a list.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (1..=(max - min)).prop_map(|step| format!("*/{step}")),
        2 => (min..=max).prop_map(|n| n.to_string()),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    (
        field(0, 59),
        field(0, 23),
        field(1, 31),
        field(1, 12),
        field(0, 6),
    )
        .prop_map(|(m, h, dom, mon, dow)| format!("{m} {h} {dom} {mon} {dow}"))
}

/// A zone and a moment around which its clocks change.
const CHANGES: [(&str, &str); 9] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_expression_near_any_change_is_due_when_the_oracle_says(
        expression in expression(),
        (zone, change) in prop::sample::select(CHANGES.to_vec()),
        policy in prop::sample::select(POLICIES.to_vec()),
    ) {
        // 30 February and the like are refused.
        prop_assume!(expression.parse::<Cron>().is_ok());
        let change = at(change).as_micros() / 60_000_000;
        let clock = Clock::read(zone, change - 5 * 1440, 10 * 1440, 60);
        let (from, to) = (change - 2 * 1440, change + 2 * 1440);
        let expected: Vec<i64> = clock
            .due(&Naive::new(&expression), policy)
            .range(from..to)
            .map(|minute| minute * 60)
            .collect();
        let schedule = cron(&expression, zone, policy);
        prop_assert_eq!(between(&schedule, from * 60, to * 60), expected);
    }

    #[test]
    fn next_previous_and_count_agree(
        expression in expression(),
        seconds in field(0, 59),
        (zone, change) in prop::sample::select(CHANGES.to_vec()),
        policy in prop::sample::select(POLICIES.to_vec()),
        shift in -200_000_000_000_i64..200_000_000_000,
    ) {
        let expression = format!("{seconds} {expression}");
        prop_assume!(expression.parse::<Cron>().is_ok());
        let schedule = cron(&expression, zone, policy);
        let from = millrace_types::Timestamp::from_micros(at(change).as_micros() + shift);
        let mut last = from;
        for (n, next) in schedule.occurrences_after(from).take(40).enumerate() {
            prop_assert!(next > last);
            prop_assert_eq!(schedule.previous_at_or_before(next), Some(next));
            if n > 0 {
                let before = millrace_types::Timestamp::from_micros(next.as_micros() - 1);
                prop_assert_eq!(schedule.previous_at_or_before(before), Some(last));
            }
            let after = |t: millrace_types::Timestamp| {
                millrace_types::Timestamp::from_micros(t.as_micros() + 1)
            };
            let count = schedule.count_between(after(from), after(next), u64::MAX);
            prop_assert_eq!(count, n as u64 + 1);
            last = next;
        }
    }

    #[test]
    fn bounds_cut_a_schedule_and_move_nothing(
        start in 1_770_000_000_i64..1_780_000_000,
        length in 1_i64..1_000_000,
        from in 1_769_000_000_i64..1_782_000_000,
    ) {
        let free = cron("*/30 1-4 * * *", "Europe/Berlin", POLICIES[0]);
        let bounds = Bounds { start: Some(second(start)), end: Some(second(start + length)) };
        let bound = Schedule { bounds, ..free.clone() };
        let expected = between(&free, from.max(start), start + length);
        prop_assert_eq!(between(&bound, from, i64::MAX / 1_000_000), expected.clone());
        let counted = bound.count_between(second(from), second(2_000_000_000), u64::MAX);
        prop_assert_eq!(counted, expected.len() as u64);
        let last = bound.previous_at_or_before(second(2_000_000_000));
        let whole = between(&free, start, start + length);
        prop_assert_eq!(last, whole.last().map(|n| second(*n)));
    }

    #[test]
    fn intervals_keep_their_distance_from_their_anchor_on(
        every in 1_u64..1_000_000,
        anchor in 1_000_000_000_i64..2_000_000_000,
        from in 1_000_000_000_i64..2_000_000_000,
    ) {
        let interval = Interval::new(Duration::from_secs(every), second(anchor)).unwrap();
        let schedule = Schedule::from(Timing::Interval(interval));
        let due: Vec<_> = schedule.occurrences_after(second(from)).take(5).collect();
        prop_assert!(due[0] >= second(anchor) && due[0] > second(from));
        prop_assert!(from < anchor || due[0].saturating_since(second(from)).as_secs() <= every);
        for pair in due.windows(2) {
            prop_assert_eq!(pair[1].saturating_since(pair[0]).as_secs(), every);
            prop_assert_eq!(schedule.count_between(pair[0], pair[1], 9), 1);
        }
        let steps = (due[0].as_micros() - second(anchor).as_micros()) % (i64::try_from(every).unwrap() * 1_000_000);
        prop_assert_eq!(steps, 0);
    }

    /// An offset depends on nothing but the workflow, the window and the gap.
    #[test]
    fn other_schedules_move_no_effective_time(
        mine in "[a-z0-9_]{1,30}",
        others in prop::collection::vec("[a-z0-9_]{1,30}", 0..20),
        window in 0_u64..4000,
    ) {
        let schedule = cron("0 * * * *", "UTC", POLICIES[0]);
        let window = JitterWindow::Fixed(Duration::from_secs(window));
        let effective = |id: &str| Jitter::new(id, window).effective(&schedule, second(3600));
        let alone = effective(&mine);
        let among: Vec<_> = others.iter().map(|id| effective(id)).collect();
        prop_assert_eq!(effective(&mine), alone);
        for time in among {
            prop_assert!(time < second(7200));
        }
    }

    #[test]
    fn jitter_never_reaches_the_next_occurrence(
        id in "[a-z]{1,12}",
        expression in expression(),
        from in 1_770_000_000_i64..1_800_000_000,
    ) {
        prop_assume!(expression.parse::<Cron>().is_ok());
        let schedule = cron(&expression, "Europe/Berlin", POLICIES[0]);
        let jitter = Jitter::new(&id, DEFAULT_JITTER_WINDOW);
        let due: Vec<_> = schedule.occurrences_after(second(from)).take(10).collect();
        for pair in due.windows(2) {
            let effective = jitter.effective(&schedule, pair[0]);
            prop_assert!(effective >= pair[0] && effective < pair[1]);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-0-9*/,?LW#@A-Za-zé ]{0,40}") {
        if let Ok(cron) = text.parse::<Cron>() {
            prop_assert_eq!(cron.as_str().parse::<Cron>().unwrap(), cron);
        }
    }
}

proptest! {
    // The oracle takes its time over so many seconds.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn seconds_are_due_when_the_oracle_says(
        (seconds, minutes, hours) in (field(0, 59), field(0, 59), field(0, 4)),
        (zone, change) in prop::sample::select(CHANGES.to_vec()),
        policy in prop::sample::select(POLICIES.to_vec()),
    ) {
        let expression = format!("{seconds} {minutes} {hours} * * *");
        let change = at(change).as_micros() / 1_000_000;
        let clock = Clock::read(zone, change - 12_000, 24_000, 1);
        let (from, to) = (change - 10_000, change + 10_000);
        let expected: Vec<i64> = clock
            .due(&Naive::new(&expression), policy)
            .range(from..to)
            .copied()
            .collect();
        let schedule = cron(&expression, zone, policy);
        let counted = schedule.count_between(second(from), second(to), u64::MAX);
        prop_assert_eq!(counted, expected.len() as u64);
        prop_assert_eq!(between(&schedule, from, to), expected);
    }
}
