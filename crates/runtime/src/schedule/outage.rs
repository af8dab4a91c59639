//! What is made up for after an outage, over a real store.

use std::time::Duration;

use millrace_store::{
    DeploymentStore as _, ExecutionStore as _, FireOutcome, FireRecord, ScheduleStore as _,
};
use millrace_types::{DeploymentStatus, Timestamp, TriggerId};
use serde_json::json;

use super::staged::Stage;
use super::tests::{minutely, time};

const DEPLOYED: &str = "2026-03-01T09:00:30Z";
/// The last minute of an outage of an hour.
const LAST: &str = "2026-03-01T10:00:00Z";
/// Too late for the last minute.
const BACK: &str = "2026-03-01T10:00:50Z";

/// A minutely schedule whose instances all went away right after the deploy.
async fn outage(
    misfire: &str,
    overlap: &str,
    rate: u32,
    runs_take: Duration,
) -> (Stage, TriggerId) {
    let mut stage = Stage::new(time(DEPLOYED)).await;
    stage.runs_take = runs_take;
    let mut spec = minutely(misfire);
    spec["overlap"] = overlap.into();
    spec["catchUpRate"] = rate.into();
    let id = stage.deploy("minutely", &spec).await;
    stage.tick().await;
    stage.skip_to(time(BACK));
    (stage, id)
}

fn of_the_outage(ledger: &[FireRecord]) -> impl Iterator<Item = &FireRecord> {
    ledger.iter().filter(|fire| fire.nominal_at <= time(LAST))
}

fn counted<'a>(fires: impl Iterator<Item = &'a FireRecord>, outcome: FireOutcome) -> u64 {
    fires
        .filter(|fire| fire.outcome == outcome)
        .map(|fire| fire.count)
        .sum()
}

/// Each occurrence once, none left out.
async fn assert_gapless(stage: &Stage, id: TriggerId) -> Vec<FireRecord> {
    let ledger = stage.ledger(id).await;
    let schedule = stage.schedule(id).await;
    let mut last = stage.record(id).await.anchor_at;
    for fire in &ledger {
        assert_eq!(schedule.next_after(last), Some(fire.nominal_at));
        last = fire.until_at;
    }
    assert!(schedule.next_after(last) > Some(stage.now()), "{last}");
    ledger
}

fn assert_rate(starts: &[Timestamp], rate: usize) {
    for from in starts {
        let within = from.saturating_add(Duration::from_micros(999_999));
        let burst = starts.iter().filter(|at| *at >= from && **at <= within);
        assert!(burst.count() <= rate, "more than {rate} in a second");
    }
}

#[tokio::test]
async fn an_outage_of_an_hour_makes_up_for_none_one_or_all_whatever_overlaps() {
    let (short, long) = (Duration::from_millis(30), Duration::from_secs(3));
    for (misfire, overlap, rate, runs_take, runs) in [
        ("none", "skip", 10, long, 0),
        ("last", "skip", 10, long, 1),
        ("all", "allow", 10, long, 60),
        ("all", "skip", 10, long, 60),
        ("all", "queue", 10, long, 60),
        ("all", "cancel", 10, long, 60),
        ("all", "skip", 1, short, 60),
        ("all", "queue", 1, short, 60),
        ("all", "cancel", 50, short, 60),
        ("all", "allow", 50, short, 60),
    ] {
        let what = format!("{misfire}, {overlap}, {rate} a second, {runs_take:?}");
        let (mut stage, id) = outage(misfire, overlap, rate, runs_take).await;
        stage.play(time("2026-03-01T10:08:30Z")).await;
        let ledger = assert_gapless(&stage, id).await;
        let of_it = || of_the_outage(&ledger);
        assert_eq!(counted(of_it(), FireOutcome::Fired), runs, "{what}");
        assert_eq!(counted(of_it(), FireOutcome::Missed), 60 - runs, "{what}");
        let starts: Vec<_> = of_it()
            .filter(|fire| fire.outcome == FireOutcome::Fired)
            .map(|fire| fire.decided_at)
            .collect();
        assert!(starts.is_sorted(), "{what}: oldest first");
        assert_rate(&starts, rate as usize);
        // On time again.
        let last = ledger.last().unwrap();
        assert_eq!(last.outcome, FireOutcome::Fired, "{what}");
        assert_eq!(last.decided_at, last.nominal_at, "{what}");
    }
}

#[tokio::test]
#[ignore = "half a minute of computing; `make soak-schedules` runs it"]
async fn a_schedule_with_long_runs_is_on_time_again_after_it_has_made_up_for_all() {
    for overlap in ["skip", "queue", "cancel"] {
        let (mut stage, id) = outage("all", overlap, 10, Duration::from_secs(90)).await;
        // 60 runs of 90 seconds, one after the other.
        stage.play(time("2026-03-01T11:50:30Z")).await;
        let ledger = assert_gapless(&stage, id).await;
        let of_it = || of_the_outage(&ledger);
        assert_eq!(counted(of_it(), FireOutcome::Fired), 60, "{overlap}");
        let meanwhile = ledger.iter().filter(|fire| fire.nominal_at > time(LAST));
        assert!(counted(meanwhile, FireOutcome::Skipped) > 60, "{overlap}");
        assert_eq!(stage.record(id).await.catch_up_to, None, "{overlap}");
        let last = ledger.last().unwrap();
        let lag = last.decided_at.saturating_since(last.nominal_at);
        assert!(lag < Duration::from_mins(1), "{overlap}: {lag:?}");
    }
}

#[tokio::test]
async fn an_outage_while_catching_up_is_made_up_for_too() {
    let (mut stage, id) = outage("all", "skip", 10, Duration::from_secs(10)).await;
    // Ten runs, and nobody again until 10:35:50.
    stage.play(time("2026-03-01T10:02:30Z")).await;
    stage.skip_to(time("2026-03-01T10:35:50Z"));
    stage.play(time("2026-03-01T11:00:30Z")).await;
    let ledger = assert_gapless(&stage, id).await;
    assert_eq!(counted(of_the_outage(&ledger), FireOutcome::Fired), 60);
    let again = ledger.iter().filter(|fire| {
        fire.nominal_at > time("2026-03-01T10:06:00Z")
            && fire.nominal_at <= time("2026-03-01T10:35:00Z")
    });
    assert_eq!(counted(again, FireOutcome::Fired), 29);
}

#[tokio::test]
async fn a_run_of_before_the_outage_is_waited_for() {
    let mut stage = Stage::new(time(DEPLOYED)).await;
    stage.runs_take = Duration::from_hours(2);
    let spec = json!({"type": "cron", "cron": "* * * * *", "jitterWindow": "PT0S",
                      "misfire": {"all": {"max": 20}}});
    let id = stage.deploy("minutely", &spec).await;
    stage.play(time("2026-03-01T09:01:10Z")).await;
    stage.runs_take = Duration::from_secs(1);
    stage.skip_to(time(BACK));
    stage.play(time("2026-03-01T11:02:30Z")).await;
    let ledger = assert_gapless(&stage, id).await;
    // The first one, and the newest twenty.
    assert_eq!(counted(of_the_outage(&ledger), FireOutcome::Fired), 21);
    assert_eq!(counted(of_the_outage(&ledger), FireOutcome::Missed), 39);
    let first = &ledger[40];
    assert!(
        first.decided_at >= time("2026-03-01T11:01:00Z"),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_run_of_before_the_outage_that_does_not_end_is_named_or_cancelled() {
    for overlap in ["skip", "queue", "cancel"] {
        let mut stage = Stage::new(time(DEPLOYED)).await;
        stage.runs_take = Duration::from_hours(10);
        let mut spec = minutely("all");
        spec["overlap"] = overlap.into();
        let id = stage.deploy("minutely", &spec).await;
        stage.play(time("2026-03-01T09:01:10Z")).await;
        stage.skip_to(time(BACK));
        stage.play(time("2026-03-01T11:00:50Z")).await;
        let run = stage.record(id).await.last_execution.unwrap();
        let ledger = stage.ledger(id).await;
        let [fired, waits] = &ledger[..] else {
            panic!("{overlap}: {ledger:?}")
        };
        assert_eq!(fired.execution_id, Some(run));
        assert_eq!(waits.outcome, FireOutcome::Queued);
        assert!(waits.reason.contains(&run.to_string()), "{waits:?}");
        let asked = stage.store.cancel_requests(stage.owner).await.unwrap();
        let asked: Vec<_> = asked.iter().map(|one| one.id).collect();
        let expected = if overlap == "cancel" {
            vec![run]
        } else {
            vec![]
        };
        assert_eq!(asked, expected, "{overlap}");
        // It goes on when that run is over after all.
        stage.runs_take = Duration::from_secs(1);
        stage.play(time("2026-03-01T19:08:30Z")).await;
        let ledger = assert_gapless(&stage, id).await;
        assert_eq!(counted(of_the_outage(&ledger), FireOutcome::Fired), 60);
        assert_eq!(stage.store.drifting(10).await.unwrap(), [], "{overlap}");
    }
}

#[tokio::test]
async fn a_schedule_that_runs_every_other_time_drifts() {
    let mut stage = Stage::new(time(DEPLOYED)).await;
    let id = stage.deploy("minutely", &minutely("last")).await;
    stage.runs_take = Duration::from_secs(20);
    stage.play(time("2026-03-01T09:10:30Z")).await;
    assert_eq!(stage.store.drifting(10).await.unwrap(), []);
    // Each run is in the way of the next occurrence.
    stage.runs_take = Duration::from_secs(90);
    stage.play(time("2026-03-01T09:20:30Z")).await;
    let drifting = stage.store.drifting(10).await.unwrap();
    assert_eq!(drifting.len(), 1, "{drifting:?}");
    assert_eq!(drifting[0].trigger_id, id);
    let off = Duration::from_micros(drifting[0].drift.unsigned_abs());
    assert!(drifting[0].drift > 0 && off.as_secs() == 60, "{drifting:?}");
    stage.runs_take = Duration::from_secs(20);
    stage.play(time("2026-03-01T09:30:30Z")).await;
    assert_eq!(stage.store.drifting(10).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_made_up_for_is_no_drift() {
    let (mut stage, id) = outage("all", "skip", 10, Duration::from_secs(3)).await;
    for until in ["10:01:30", "10:02:30", "10:08:30"] {
        stage.play(time(&format!("2026-03-01T{until}Z"))).await;
        assert_eq!(stage.store.drifting(10).await.unwrap(), [], "{until}");
    }
    let last = stage.ledger(id).await.pop().unwrap();
    assert_eq!(last.outcome, FireOutcome::Fired);
    assert_eq!(last.decided_at, last.nominal_at, "on time again");
}

#[tokio::test]
async fn a_long_pause_and_a_long_run_are_a_row_each() {
    let mut stage = Stage::new(time(DEPLOYED)).await;
    let spec = json!({"type": "cron", "cron": "* * * * * *", "jitterWindow": "PT0S"});
    let id = stage.deploy("secondly", &spec).await;
    stage.runs_take = Duration::from_secs(1000);
    stage.play(time("2026-03-01T09:10:30Z")).await;
    let ledger = assert_gapless(&stage, id).await;
    let rows: Vec<_> = ledger.iter().map(|row| (row.outcome, row.count)).collect();
    let expected = [(FireOutcome::Fired, 1), (FireOutcome::Skipped, 599)];
    assert_eq!(rows, expected);
    assert!(ledger[1].reason.contains("still going on"), "{ledger:?}");

    let deployment = stage.record(id).await.deployment_id;
    let status = DeploymentStatus::Paused;
    let paused = stage.store.set_deployment_status(deployment, status).await;
    paused.unwrap();
    stage.play(time("2026-03-01T10:10:30Z")).await;
    let ledger = stage.ledger(id).await;
    let rows: Vec<_> = ledger.iter().map(|row| (row.outcome, row.count)).collect();
    let paused = (FireOutcome::Paused, 3600);
    assert_eq!(rows, [expected[0], expected[1], paused]);
}
