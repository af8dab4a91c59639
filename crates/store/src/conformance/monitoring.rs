//! Figures, and lists that have to check rows one by one.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentStatus, ExecutionId, ExecutionStatus, Timestamp, TriggerKind};

use super::Fixture;
use super::support::{
    HOUR, LONG, Shared, admission, admit, ago, ahead, alive, bundle, commit, cron, deploy, end,
    live, page, running, webhook, with_triggers,
};
use crate::{
    Admission, Count, Decision, ExecutionFilter, FireOutcome, Occurrence, Outcome, Overlap,
    PageRequest, SCAN_BUDGET, TriggerRef, Verdict, Write,
};

fn exactly(value: u64) -> Count {
    Count {
        value,
        at_least: false,
    }
}

pub async fn a_deployment_has_its_live_and_its_latest_ended(store: Shared, _: &dyn Fixture) {
    let bundle = with_triggers(bundle("orders", 1), vec![cron(None, "0 2 * * *")]);
    let deployment = deploy(&store, &bundle).await.unwrap().deployment;
    let other = live(&store, "others").await;
    let owner = alive(&store).await;
    for n in 0..4 {
        let held = running(&store, deployment.id, owner).await;
        let outcome = if n == 0 {
            Outcome::Failed(Bytes::from_static(b"{}"))
        } else {
            Outcome::Succeeded(Bytes::from_static(b"1"))
        };
        end(&store, held.ending(outcome)).await.unwrap();
    }
    running(&store, deployment.id, owner).await;
    admit(&store, &admission(deployment.id)).await;
    admit(&store, &admission(deployment.id)).await;
    running(&store, other.id, owner).await;

    let all = store
        .deployment_figures(deployment.id, ago(HOUR), 10, 100)
        .await
        .unwrap();
    assert_eq!(
        (all.pending, all.running, all.waiting),
        (exactly(2), exactly(1), exactly(0))
    );
    let statuses: Vec<_> = all.ended.iter().map(|e| e.status).collect();
    assert_eq!(statuses.len(), 4);
    assert_eq!(statuses[3], ExecutionStatus::Failed, "newest first");
    assert!(!all.cut);
    for one in &all.ended {
        assert!(one.created_at <= one.started_at.unwrap());
        assert!(one.started_at.unwrap() <= one.ended_at);
    }
    // Nothing was decided yet, so that nothing is known to come.
    assert_eq!(all.next_fires, vec![]);

    let some = store
        .deployment_figures(deployment.id, ago(HOUR), 3, 2)
        .await
        .unwrap();
    assert_eq!((some.ended.len(), some.cut), (3, true));
    assert!(some.pending.at_least && some.running.at_least);
    let none = store
        .deployment_figures(deployment.id, ahead(HOUR), 3, 2)
        .await
        .unwrap();
    assert_eq!((none.ended.len(), none.cut), (0, false));
}

/// Decides everything that is due: one fire of each, and the next in an hour.
async fn decide_all(store: &Shared) -> Vec<Timestamp> {
    let due = store.claim_schedules(100, LONG).await.unwrap();
    let mut nominals = Vec::new();
    for schedule in due.schedules {
        let nominal = schedule.anchor_at.saturating_add(Duration::from_mins(1));
        let next = ahead(HOUR);
        let decision = Decision {
            trigger_id: schedule.trigger_id,
            step: schedule.step,
            occurrences: vec![
                Occurrence {
                    nominal_at: nominal,
                    until_at: nominal,
                    count: 1,
                    effective_at: nominal.saturating_add(Duration::from_secs(7)),
                    after: None,
                    verdict: Verdict::Start {
                        id: ExecutionId::new(),
                        input: Bytes::from_static(b"{}"),
                    },
                    reason: String::new(),
                },
                Occurrence {
                    nominal_at: nominal.saturating_add(Duration::from_mins(1)),
                    until_at: nominal.saturating_add(Duration::from_mins(200)),
                    count: 200,
                    effective_at: nominal.saturating_add(Duration::from_mins(1)),
                    after: None,
                    verdict: Verdict::Missed,
                    reason: "late".into(),
                },
            ],
            decided_to: nominal,
            next_nominal: Some(next),
            next_effective: Some(next.saturating_add(Duration::from_secs(5))),
            due_at: Some(next),
            overlap: Overlap::Allow,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        store.decide(&decision).await.unwrap().unwrap();
        nominals.push(nominal);
    }
    nominals
}

pub async fn schedules_and_their_fires_are_told(store: Shared, _: &dyn Fixture) {
    let triggers = vec![cron(Some("a"), "0 2 * * *"), cron(Some("b"), "0 3 * * *")];
    let bundle = with_triggers(bundle("nightly", 1), triggers);
    let deployment = deploy(&store, &bundle).await.unwrap().deployment;
    let before = store.schedule_figures(100).await.unwrap();
    assert_eq!(
        (before.active, before.paused, before.finished, before.due),
        (exactly(2), exactly(0), exactly(0), exactly(2))
    );
    assert!(before.due_since.unwrap() <= before.now);
    let cut = store.schedule_figures(1).await.unwrap();
    assert!(cut.active.at_least && cut.due.at_least);
    assert_eq!(cut.due.value, 1);

    let nominals = decide_all(&store).await;
    assert_eq!(nominals.len(), 2);
    let after = store.schedule_figures(100).await.unwrap();
    assert_eq!((after.due, after.due_since), (exactly(0), None));

    let fires = store.recent_fires(ago(HOUR), 100).await.unwrap();
    assert_eq!((fires.items.len(), fires.estimate), (4, None));
    assert!(
        fires
            .items
            .is_sorted_by(|a, b| a.decided_at >= b.decided_at)
    );
    let fired: Vec<_> = fires
        .items
        .iter()
        .filter(|f| f.outcome == FireOutcome::Fired)
        .collect();
    assert_eq!(fired.len(), 2);
    assert_eq!(
        fired[0]
            .effective_at
            .saturating_since(fired[0].nominal_at)
            .as_secs(),
        7
    );
    let missed: u64 = fires
        .items
        .iter()
        .filter(|f| f.outcome == FireOutcome::Missed)
        .map(|f| f.count)
        .sum();
    assert_eq!(missed, 400);
    let some = store.recent_fires(ago(HOUR), 3).await.unwrap();
    assert_eq!(some.items.len(), 3);
    assert!(some.estimate.is_some());
    assert_eq!(
        store.recent_fires(ahead(HOUR), 3).await.unwrap().items,
        vec![]
    );

    let figures = store
        .deployment_figures(deployment.id, ago(HOUR), 10, 100)
        .await
        .unwrap();
    assert_eq!(figures.next_fires.len(), 2);
    assert!(figures.next_fires[0].effective_at <= figures.next_fires[1].effective_at);

    store
        .set_deployment_status(deployment.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    let paused = store.schedule_figures(100).await.unwrap();
    assert_eq!(
        (paused.active, paused.paused, paused.finished),
        (exactly(0), exactly(2), exactly(0))
    );
}

pub async fn few_schedules_are_all_given_and_many_are_sampled(store: Shared, _: &dyn Fixture) {
    let triggers = (0..8)
        .map(|n| cron(Some(&format!("t{n}")), &format!("{n} * * * *")))
        .collect();
    let bundle = with_triggers(bundle("many", 1), triggers);
    deploy(&store, &bundle).await.unwrap();
    let all = store.sample_schedules(None, 8).await.unwrap();
    assert_eq!((all.items.len(), all.estimate), (8, None));
    let some = store.sample_schedules(None, 3).await.unwrap();
    assert!((1..=3).contains(&some.items.len()), "{}", some.items.len());
    assert!(some.estimate.unwrap() > 3);
    decide_all(&store).await;
    let soon = store.sample_schedules(Some(ahead(HOUR / 2)), 8).await;
    assert_eq!(soon.unwrap().items, vec![]);
    let later = store.sample_schedules(Some(ahead(HOUR * 2)), 8).await;
    assert_eq!(later.unwrap().items.len(), 8);
}

pub async fn load_is_told_by_instance(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let (busy, idle) = (alive(&store).await, alive(&store).await);
    for _ in 0..3 {
        running(&store, deployment.id, busy).await;
    }
    admit(&store, &admission(deployment.id)).await;
    let parked = running(&store, deployment.id, busy).await;
    super::support::checkpoint(&store, parked.park(1, ahead(HOUR)))
        .await
        .unwrap();
    let load = store.load_figures(100).await.unwrap();
    let running_of = |id| load.instances.iter().find(|i| i.id == id).unwrap().running;
    assert_eq!(running_of(busy), exactly(3));
    assert_eq!(running_of(idle), exactly(0));
    assert_eq!((load.due, load.unowned), (exactly(1), exactly(2)));
    assert_eq!(load.backing_off, exactly(0));
    assert!(load.due_since.is_some());
    let failing = running(&store, deployment.id, busy).await;
    let (id, epoch) = (failing.id, failing.epoch);
    assert!(store.back_off(id, busy, epoch).await.unwrap());
    let load = store.load_figures(100).await.unwrap();
    assert_eq!((load.backing_off, load.unowned), (exactly(1), exactly(3)));
    let cut = store.load_figures(1).await.unwrap();
    assert!(cut.unowned.at_least);
    store.retire(idle).await.unwrap();
    let load = store.load_figures(100).await.unwrap();
    assert!(load.instances.iter().all(|i| i.id != idle));
}

async fn by(
    store: &Shared,
    deployment: &crate::DeploymentRecord,
    trigger: usize,
    kind: TriggerKind,
) -> ExecutionId {
    let of = &deployment.triggers[trigger];
    let admission = Admission {
        trigger: TriggerRef {
            kind,
            id: Some((of.id, of.revision)),
        },
        ..admission(deployment.id)
    };
    admit(store, &admission).await.id
}

pub async fn executions_are_found_by_their_trigger(store: Shared, _: &dyn Fixture) {
    let triggers = vec![
        cron(Some("clock"), "0 2 * * *"),
        webhook(Some("hook"), "orders", &["POST"]),
    ];
    let bundle = with_triggers(bundle("orders", 1), triggers);
    let deployment = deploy(&store, &bundle).await.unwrap().deployment;
    let place = |kind| {
        let found = deployment.triggers.iter().position(|t| t.kind == kind);
        found.unwrap()
    };
    let (clock, hook) = (place(TriggerKind::Cron), place(TriggerKind::Webhook));
    let by_clock = by(&store, &deployment, clock, TriggerKind::Cron).await;
    let by_hook = by(&store, &deployment, hook, TriggerKind::Webhook).await;
    admit(&store, &admission(deployment.id)).await;
    let owner = alive(&store).await;
    for claimed in store.claim(owner, 10).await.unwrap() {
        let held = super::support::Held::of(&claimed, owner);
        end(&store, held.success()).await.unwrap();
    }
    let later = by(&store, &deployment, clock, TriggerKind::Cron).await;
    for (trigger, expected) in [(clock, vec![later, by_clock]), (hook, vec![by_hook])] {
        let filter = ExecutionFilter {
            trigger_id: Some(deployment.triggers[trigger].id),
            ..ExecutionFilter::default()
        };
        let found = store.list_executions(&filter, &page(10)).await.unwrap();
        let ids: Vec<_> = found.items.iter().map(|e| e.id).collect();
        assert_eq!(ids, expected);
        let ended = ExecutionFilter {
            status: Some(ExecutionStatus::Succeeded),
            ..filter
        };
        let found = store.list_executions(&ended, &page(10)).await.unwrap();
        assert_eq!(found.items.len(), 1);
    }
}

pub async fn only_the_unsuccessful_are_given_when_asked(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let mut wrong = Vec::new();
    let error = || Bytes::from_static(br#"{"detail":"boom"}"#);
    for outcome in [
        Outcome::Failed(error()),
        Outcome::Cancelled(error()),
        Outcome::TimedOut(error()),
    ] {
        let held = running(&store, deployment.id, owner).await;
        end(&store, held.ending(outcome)).await.unwrap();
        wrong.insert(0, held.id);
        let held = running(&store, deployment.id, owner).await;
        end(&store, held.success()).await.unwrap();
    }
    running(&store, deployment.id, owner).await;
    for deployment_id in [None, Some(deployment.id)] {
        let filter = ExecutionFilter {
            deployment_id,
            unsuccessful: true,
            ..ExecutionFilter::default()
        };
        let found = store.list_executions(&filter, &page(10)).await.unwrap();
        let ids: Vec<_> = found.items.iter().map(|e| e.id).collect();
        assert_eq!(ids, wrong);
        assert_eq!(found.items[0].error, Some(error()));
    }
}

/// The one that is looked for lies below more rows than a page looks at.
pub async fn a_page_that_checked_many_rows_ends_early_and_goes_on(store: Shared, _: &dyn Fixture) {
    let bundle = with_triggers(
        bundle("orders", 1),
        vec![webhook(Some("hook"), "orders", &["POST"])],
    );
    let deployment = deploy(&store, &bundle).await.unwrap().deployment;
    let sought = by(&store, &deployment, 0, TriggerKind::Webhook).await;
    let mut left = SCAN_BUDGET + 10;
    while left > 0 {
        let count = left.min(200);
        let writes: Vec<_> = (0..count)
            .map(|_| Write::Admit(admission(deployment.id)))
            .collect();
        for outcome in commit(&store, &writes).await.unwrap() {
            outcome.unwrap();
        }
        left -= count;
    }
    let filter = ExecutionFilter {
        trigger: Some(TriggerKind::Webhook),
        deployment_id: Some(deployment.id),
        ..ExecutionFilter::default()
    };
    let first = store.list_executions(&filter, &page(5)).await.unwrap();
    assert_eq!(first.items, vec![]);
    let next = first.next.expect("it goes on");
    let request = PageRequest {
        cursor: Some(next),
        limit: 5,
    };
    let second = store.list_executions(&filter, &request).await.unwrap();
    assert_eq!(second.items.len(), 1);
    assert_eq!((second.items[0].id, second.next), (sought, None));
}
