//! Decisions over a clock of the test's own.

use std::time::Duration;

use millrace_store::{Decision, ScheduleRecord, Verdict};
use millrace_types::{
    DeploymentId, DeploymentStatus, Timestamp, TriggerId, TriggerKind, WorkflowId,
};
use serde_json::{Value, json};

use super::plan::Planner;
use super::{preview, run};

const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn record(spec: &Value, deployed: &str) -> ScheduleRecord {
    ScheduleRecord {
        trigger_id: TriggerId::new(),
        kind: TriggerKind::Cron,
        deployment_id: DeploymentId::new(),
        workflow_id: WorkflowId::new(),
        deployment_status: DeploymentStatus::Deployed,
        spec_json: spec.to_string(),
        anchor_at: time(deployed),
        decided_to: time(deployed),
        resumed_at: None,
        next_nominal: None,
        next_effective: None,
        last_execution: None,
        step: 1,
        catch_up_to: None,
    }
}

pub(crate) fn minutely(misfire: &str) -> Value {
    json!({"type": "cron", "cron": "* * * * *", "jitterWindow": "PT0S", "misfire": misfire})
}

/// Decides at `now`, and does to the record what the store would do.
fn step(record: &mut ScheduleRecord, now: Timestamp) -> Decision {
    let trigger = run::read(record).unwrap();
    let decision = Planner::new(record, &trigger).decide(now);
    record.decided_to = decision.decided_to;
    record.next_nominal = decision.next_nominal;
    record.next_effective = decision.next_effective;
    record.catch_up_to = decision.catch_up_to;
    record.step += 1;
    decision
}

/// Decides whenever it is due, from `now` until `until`; answers the moments
/// of starts, and how many occurrences were missed.
fn simulate(
    record: &mut ScheduleRecord,
    mut now: Timestamp,
    until: Timestamp,
) -> (Vec<Timestamp>, u64) {
    let (mut starts, mut missed) = (Vec::new(), 0);
    while now < until {
        let decision = step(record, now);
        for occurrence in &decision.occurrences {
            match occurrence.verdict {
                Verdict::Start { .. } | Verdict::MakeUp { .. } => starts.push(now),
                Verdict::Missed => missed += occurrence.count,
                // What comes while others are made up for.
                Verdict::Skipped => {}
                Verdict::Paused => panic!("nothing is paused"),
            }
        }
        now = decision.due_at.expect("it goes on").max(now);
    }
    (starts, missed)
}

#[test]
fn an_outage_of_an_hour_makes_up_for_none_one_or_all() {
    for (misfire, runs) in [("none", 0), ("last", 1), ("all", 60)] {
        let mut record = record(&minutely(misfire), "2026-03-01T08:00:30Z");
        // Everything up to 09:00 has run; back at 10:00:50, too late for 10:00.
        record.decided_to = time("2026-03-01T09:00:00Z");
        let back = time("2026-03-01T10:00:50Z");
        let (starts, missed) = simulate(&mut record, back, time("2026-03-01T10:01:00Z"));
        assert_eq!(starts.len(), runs, "{misfire}");
        assert_eq!(missed, 60 - runs as u64, "{misfire}");
        assert_eq!(record.decided_to, time("2026-03-01T10:00:00Z"));
        assert_eq!(record.next_nominal, Some(time("2026-03-01T10:01:00Z")));
    }
}

#[test]
fn what_is_made_up_for_never_exceeds_the_rate() {
    for (rate, seconds) in [(1, 60), (10, 6), (50, 2)] {
        let mut spec = minutely("all");
        spec["catchUpRate"] = rate.into();
        let mut record = record(&spec, "2026-03-01T08:00:30Z");
        record.decided_to = time("2026-03-01T09:00:00Z");
        let back = time("2026-03-01T10:00:40Z");
        let (starts, _) = simulate(&mut record, back, back.saturating_add(HOUR / 20));
        let made_up: Vec<_> = starts.into_iter().take(60).collect();
        for from in &made_up {
            let within = from.saturating_add(Duration::from_micros(999_999));
            let burst = made_up.iter().filter(|at| *at >= from && **at <= within);
            assert!(burst.count() <= rate, "more than {rate} in a second");
        }
        let lasted = made_up[59].saturating_since(made_up[0]);
        assert!(lasted <= Duration::from_secs(seconds), "{lasted:?}");
    }
}

#[test]
fn the_first_occurrence_lies_after_the_deployment() {
    let mut cron = record(&minutely("last"), "2026-03-01T08:00:00Z");
    let first = step(&mut cron, time("2026-03-01T08:00:01Z"));
    assert_eq!(first.occurrences, []);
    assert_eq!(first.due_at, Some(time("2026-03-01T08:01:00Z")));
    let every = json!({"type": "interval", "every": "PT15M", "jitterWindow": "PT0S"});
    let mut interval = record(&every, "2026-03-01T08:00:10Z");
    let first = step(&mut interval, time("2026-03-01T08:00:11Z"));
    assert_eq!(first.due_at, Some(time("2026-03-01T08:15:10Z")));
    let past = json!({"type": "once", "at": "2026-03-01T07:00:00Z"});
    let mut once = record(&past, "2026-03-01T08:00:10Z");
    let first = step(&mut once, time("2026-03-01T08:00:11Z"));
    assert_eq!((first.occurrences.len(), first.due_at), (0, None));
}

#[test]
fn once_fires_once_with_its_times_as_input() {
    let spec = json!({"type": "once", "at": "2026-03-01T09:00:00Z"});
    let mut record = record(&spec, "2026-03-01T08:00:00Z");
    record.kind = TriggerKind::Once;
    let at = step(&mut record, time("2026-03-01T08:00:01Z")).due_at;
    assert_eq!(at, Some(time("2026-03-01T09:00:00Z")));
    let fired = step(&mut record, at.unwrap());
    let [occurrence] = fired.occurrences.as_slice() else {
        panic!("{fired:?}")
    };
    let Verdict::Start { input, .. } = &occurrence.verdict else {
        panic!("{fired:?}")
    };
    let input: Value = serde_json::from_slice(input).unwrap();
    assert_eq!(
        input,
        json!({"trigger": {
            "id": record.trigger_id.to_string(),
            "type": "once",
            "nominalAt": "2026-03-01T09:00:00.000000Z",
            "effectiveAt": "2026-03-01T09:00:00.000000Z",
        }})
    );
    assert_eq!(fired.due_at, None);
}

#[test]
fn a_pause_is_in_the_ledger_and_long_ones_are_one_row() {
    let mut record = record(&minutely("all"), "2026-03-01T08:00:30Z");
    record.deployment_status = DeploymentStatus::Paused;
    let paused = step(&mut record, time("2026-03-01T08:03:00Z"));
    assert_eq!(paused.occurrences.len(), 3);
    assert!(
        paused
            .occurrences
            .iter()
            .all(|o| o.verdict == Verdict::Paused && !o.reason.is_empty())
    );
    assert_eq!(paused.due_at, Some(time("2026-03-01T08:08:00Z")));
    // Resumed after hours of which nothing was entered.
    record.deployment_status = DeploymentStatus::Deployed;
    record.resumed_at = Some(time("2026-03-01T12:00:30Z"));
    let resumed = step(&mut record, time("2026-03-01T12:01:00Z"));
    let [range, fired] = resumed.occurrences.as_slice() else {
        panic!("{resumed:?}")
    };
    assert_eq!((range.count, &range.verdict), (237, &Verdict::Paused));
    assert_eq!(range.nominal_at, time("2026-03-01T08:04:00Z"));
    assert_eq!(range.until_at, time("2026-03-01T12:00:00Z"));
    assert!(matches!(fired.verdict, Verdict::Start { .. }));
    assert_eq!(fired.nominal_at, time("2026-03-01T12:01:00Z"));
}

#[test]
fn every_occurrence_is_decided_exactly_once_over_random_moments() {
    let spec = json!({"type": "cron", "cron": "*/7 * * * * *", "misfire": {"all": {"max": 3}},
                      "startDeadline": "PT20S", "jitterWindow": "50%"});
    let mut record = record(&spec, "2026-03-01T08:00:30Z");
    let mut now = record.anchor_at;
    let mut after = record.anchor_at;
    let trigger = run::read(&record).unwrap();
    let schedule = trigger.schedule(record.anchor_at);
    let mut pause: u64 = 1;
    for _ in 0..2000 {
        pause = (pause * 48_271) % 2_147_483_647;
        now = now.saturating_add(Duration::from_millis(pause % 60_000));
        for occurrence in step(&mut record, now).occurrences {
            assert_eq!(schedule.next_after(after), Some(occurrence.nominal_at));
            after = occurrence.until_at;
        }
        assert_eq!(record.decided_to.max(after), after);
    }
}

#[test]
fn a_preview_shows_what_lies_ahead() {
    let spec = json!({"type": "cron", "cron": "0 2 * * *", "timezone": "Europe/Berlin"});
    let record = record(&spec, "2026-03-01T08:00:30Z");
    let shown = preview::ahead(&record, time("2026-03-27T12:00:00Z"), 3).unwrap();
    let nominal: Vec<_> = shown
        .iter()
        .map(|(nominal, _)| nominal.to_string())
        .collect();
    assert_eq!(
        nominal,
        [
            "2026-03-28T01:00:00.000000Z",
            "2026-03-29T01:00:00.000000Z",
            "2026-03-30T00:00:00.000000Z"
        ]
    );
    for (nominal, effective) in shown {
        assert!(effective.saturating_since(nominal) < Duration::from_mins(5));
    }
}
