use std::time::Duration;

use millrace_schedule::{
    DEFAULT_JITTER_WINDOW, DstPolicy, Interval, Jitter, MAX_FIRES_PER_PLAN, MisfirePolicy,
    MissedRange, Schedule, Timing, plan_catch_up,
};
use millrace_types::Timestamp;
use proptest::prelude::*;

use crate::{at, cron, second};

const DEADLINE: Duration = Duration::from_secs(30);
const ALL: MisfirePolicy = MisfirePolicy::All { max: 60 };

#[test]
fn an_hours_outage_of_a_minutely_schedule_gives_none_one_or_sixty_runs() {
    let schedule = cron("* * * * *", "UTC", DstPolicy::Once);
    let (last, now) = (at("2026-12-01T08:00:00Z"), at("2026-12-01T09:00:45Z"));
    for (policy, fired, missed) in [
        (MisfirePolicy::None, 0, 60),
        (MisfirePolicy::Last, 1, 59),
        (ALL, 60, 0),
        (MisfirePolicy::All { max: 10 }, 10, 50),
    ] {
        let plan = plan_catch_up(&schedule, &Jitter::none(), last, now, DEADLINE, policy);
        assert_eq!(
            (plan.fire.len(), plan.missed.len()),
            (fired, missed),
            "{policy:?}"
        );
        assert_eq!(plan.decided_to, Some(at("2026-12-01T09:00:00Z")));
        if let Some(newest) = plan.fire.last() {
            assert_eq!(*newest, at("2026-12-01T09:00:00Z"));
        }
    }
}

#[test]
fn what_is_still_in_time_runs_under_every_policy() {
    let schedule = cron("* * * * *", "UTC", DstPolicy::Once);
    let (last, now) = (at("2026-12-01T08:00:00Z"), at("2026-12-01T09:00:30Z"));
    for (policy, fired) in [
        (MisfirePolicy::None, 1),
        (MisfirePolicy::Last, 1),
        (ALL, 60),
    ] {
        let plan = plan_catch_up(&schedule, &Jitter::none(), last, now, DEADLINE, policy);
        assert_eq!(plan.fire.len(), fired, "{policy:?}");
        assert_eq!(plan.fire.last(), Some(&at("2026-12-01T09:00:00Z")));
    }
}

#[test]
fn jitter_defers_the_deadline_with_the_effective_time() {
    let schedule = cron("0 2 * * *", "UTC", DstPolicy::Once);
    // Its offset is 254 seconds.
    let jitter = Jitter::new("orders/nightly-report", DEFAULT_JITTER_WINDOW);
    let last = at("2026-12-01T02:00:00Z");
    let plan = |now: &str| {
        plan_catch_up(
            &schedule,
            &jitter,
            last,
            at(now),
            DEADLINE,
            MisfirePolicy::None,
        )
    };
    assert_eq!(plan("2026-12-02T02:04:13Z").decided_to, None);
    assert_eq!(
        plan("2026-12-02T02:04:14Z").fire,
        [at("2026-12-02T02:00:00Z")]
    );
    assert_eq!(
        plan("2026-12-02T02:04:44Z").fire,
        [at("2026-12-02T02:00:00Z")]
    );
    let late = plan("2026-12-02T02:04:45Z");
    assert!(late.fire.is_empty());
    assert_eq!(late.missed[0].nominal_at, at("2026-12-02T02:00:00Z"));
}

#[test]
fn a_years_outage_of_a_secondly_schedule_is_one_row() {
    let schedule = cron("* * * * * *", "Europe/Berlin", DstPolicy::Once);
    let (last, now) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let plan = plan_catch_up(
        &schedule,
        &Jitter::none(),
        last,
        now,
        DEADLINE,
        MisfirePolicy::None,
    );
    let range = MissedRange {
        nominal_at: at("2026-01-01T00:00:01Z"),
        until_at: at("2026-12-31T23:59:29Z"),
        count: 365 * 86_400 - 31,
    };
    assert_eq!(plan.missed, [range]);
    // From 23:59:30 on they are in time.
    assert_eq!(plan.fire.len(), 31);
    let capped = schedule.count_between(last, now, 1000);
    assert_eq!(capped, 1000);
}

#[test]
fn a_plan_is_bounded_and_the_next_goes_on_where_it_ended() {
    let schedule = cron("* * * * * *", "UTC", DstPolicy::Once);
    let (last, now) = (second(1_000_000), second(1_020_500));
    let deadline = Duration::from_hours(24);
    let plan = |last| {
        plan_catch_up(
            &schedule,
            &Jitter::none(),
            last,
            now,
            deadline,
            MisfirePolicy::Last,
        )
    };
    let mut fired = Vec::new();
    let mut last = last;
    while let Some(decided) = plan(last).decided_to {
        let fire = plan(last).fire;
        assert!(fire.len() <= MAX_FIRES_PER_PLAN);
        fired.extend(fire);
        last = decided;
    }
    assert_eq!(
        fired,
        (1_000_001..=1_020_500).map(second).collect::<Vec<_>>()
    );
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let crons = prop::sample::select(vec![
        "*/7 * * * *",
        "30 2 * * *",
        "*/10 * 1-3 * * *",
        "0 0 L * *",
        "15 */3 * * 1-5",
    ]);
    let zones = prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"]);
    let policies = prop::sample::select(crate::POLICIES.to_vec());
    prop_oneof![
        (crons, zones, policies).prop_map(|(text, zone, dst)| cron(text, zone, dst)),
        (60_u64..100_000, 0_i64..2_000_000_000).prop_map(|(every, anchor)| {
            let interval = Interval::new(Duration::from_secs(every), second(anchor));
            Schedule::from(Timing::Interval(interval.unwrap()))
        }),
        (0_i64..2_000_000_000).prop_map(|at| Schedule::from(Timing::Once(second(at)))),
    ]
}

fn any_policy() -> impl Strategy<Value = MisfirePolicy> {
    prop_oneof![
        Just(MisfirePolicy::None),
        Just(MisfirePolicy::Last),
        (1_u32..200).prop_map(|max| MisfirePolicy::All { max }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing is lost, nothing is decided twice, and what is decided is due.
    #[test]
    fn each_occurrence_is_decided_exactly_once(
        schedule in any_schedule(),
        policy in any_policy(),
        id in "[a-z]{1,8}",
        from in 1_770_000_000_i64..1_800_000_000,
        outage in 0_i64..400_000,
        deadline in 1_u64..5_000,
    ) {
        let jitter = Jitter::new(&id, DEFAULT_JITTER_WINDOW);
        let (last, now) = (second(from), second(from + outage));
        let deadline = Duration::from_secs(deadline);
        let plan = plan_catch_up(&schedule, &jitter, last, now, deadline, policy);
        let due: Vec<Timestamp> = schedule
            .occurrences_after(last)
            .take_while(|nominal| jitter.effective(&schedule, *nominal) <= now)
            .collect();
        prop_assert_eq!(plan.decided_to, due.last().copied());

        let mut decided = Vec::new();
        for range in &plan.missed {
            let members: Vec<Timestamp> = due
                .iter()
                .copied()
                .filter(|n| (range.nominal_at..=range.until_at).contains(n))
                .collect();
            prop_assert_eq!(u64::try_from(members.len()).unwrap(), range.count);
            decided.extend(members);
        }
        decided.extend(&plan.fire);
        prop_assert_eq!(&decided, &due);

        let late = |nominal: &Timestamp| {
            jitter.effective(&schedule, *nominal).saturating_add(deadline) < now
        };
        let made_up = plan.fire.iter().filter(|nominal| late(nominal)).count();
        let missed = due.iter().filter(|nominal| late(nominal)).count();
        let expected = match policy {
            MisfirePolicy::None => 0,
            MisfirePolicy::Last => usize::from(missed > 0 && missed == due.len()),
            MisfirePolicy::All { max } => missed.min(max as usize),
        };
        prop_assert_eq!(made_up, expected);
    }
}
