//! Many schedules of the same minute, through the planner and a real store.

use std::collections::{BTreeMap, HashSet};

use millrace_store::{FireOutcome, MonitoringStore as _, ScheduleStore as _};
use serde_json::json;

use super::staged::Stage;
use super::tests::time;

const WINDOW: u64 = 300;

/// Schedules of which the busiest second is judged; `make soak-schedules` takes
/// as many. That the formula spreads them is a test of `crates/schedule`.
const MANY: u32 = 10_000;

fn schedules() -> u32 {
    let wanted = std::env::var("MILLRACE_SOAK_SCHEDULES").ok();
    wanted.map_or(500, |text| text.parse().expect("a number of schedules"))
}

#[tokio::test]
async fn hourly_schedules_are_spread_and_none_is_lost_or_doubled() {
    let schedules = schedules();
    let stage = Stage::new(time("2026-03-01T08:59:00Z")).await;
    let spec = json!({"type": "cron", "cron": "0 * * * *", "jitterWindow": "PT300S"});
    let mut triggers = HashSet::new();
    for n in 0..schedules {
        triggers.insert(stage.deploy(&format!("hourly-{n}"), &spec).await);
    }
    assert_eq!(stage.tick().await, [], "nothing is due yet");
    let (nominal, end) = (time("2026-03-01T09:00:00Z"), time("2026-03-01T09:10:00Z"));
    let mut executions = HashSet::new();
    let mut seconds: BTreeMap<u64, u32> = BTreeMap::new();
    loop {
        let due = stage.store.next_schedule_due().await.unwrap().unwrap();
        let next = stage.now().saturating_add(due);
        if next > end {
            break;
        }
        stage.skip_to(next);
        for fire in stage.tick().await {
            assert_eq!(
                (fire.outcome, fire.nominal_at),
                (FireOutcome::Fired, nominal)
            );
            assert_eq!(fire.decided_at, fire.effective_at, "on time");
            assert!(triggers.remove(&fire.trigger_id), "fired twice: {fire:?}");
            assert!(executions.insert(fire.execution_id.unwrap()));
            let offset = fire.decided_at.saturating_since(nominal).as_secs();
            *seconds.entry(offset).or_default() += 1;
        }
    }
    assert_eq!(triggers.len(), 0, "lost");
    let admitted = stage.store.load_figures(schedules + 1).await.unwrap();
    assert_eq!(admitted.unowned.value, u64::from(schedules));
    assert!(seconds.keys().all(|second| *second < WINDOW));
    let busiest = seconds.values().copied().max().unwrap();
    let mean = f64::from(schedules) / 300.0;
    println!("busiest second {busiest}, mean {mean:.1}");
    if schedules >= MANY {
        assert!(f64::from(busiest) <= 2.0 * mean, "{busiest} in one second");
    }
}
