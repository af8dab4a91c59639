//! Schedules: made by deploys, claimed, decided, and their ledger.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentStatus, ExecutionId, Timestamp, TriggerId, TriggerKind};

use super::Fixture;
use super::support::{
    HOUR, Held, LONG, Shared, alive, bundle, claim_one, cron, deploy, end, eventually, page,
    webhook, with_triggers,
};
use crate::{
    Decision, DeploymentRecord, FireFilter, FireOutcome, FireRecord, Occurrence, Overlap,
    PageRequest, ScheduleRecord, Verdict,
};

const MINUTE: Duration = Duration::from_mins(1);

async fn scheduled(store: &Shared) -> (DeploymentRecord, TriggerId) {
    let bundle = with_triggers(bundle("nightly", 1), vec![cron(None, "0 2 * * *")]);
    let deployment = deploy(store, &bundle).await.unwrap().deployment;
    let id = deployment.triggers[0].id;
    (deployment, id)
}

async fn schedule(store: &Shared, id: TriggerId) -> ScheduleRecord {
    store.schedule(id).await.unwrap().expect("it has one")
}

fn at(schedule: &ScheduleRecord, minute: u32) -> Timestamp {
    schedule.anchor_at.saturating_add(MINUTE * minute)
}

fn start(schedule: &ScheduleRecord, minute: u32) -> Occurrence {
    Occurrence {
        verdict: Verdict::Start {
            id: ExecutionId::new(),
            input: Bytes::from_static(br#"{"n":1}"#),
        },
        ..missed(schedule, minute, minute)
    }
}

fn missed(schedule: &ScheduleRecord, from: u32, until: u32) -> Occurrence {
    Occurrence {
        nominal_at: at(schedule, from),
        until_at: at(schedule, until),
        count: u64::from(until - from) + 1,
        effective_at: at(schedule, from),
        after: None,
        verdict: Verdict::Missed,
        reason: String::new(),
    }
}

/// Decides these, and is due again in an hour.
fn decision(schedule: &ScheduleRecord, occurrences: Vec<Occurrence>) -> Decision {
    Decision {
        trigger_id: schedule.trigger_id,
        step: schedule.step,
        decided_to: occurrences
            .last()
            .map_or(schedule.decided_to, |last| last.until_at),
        occurrences,
        next_nominal: Some(at(schedule, 90)),
        next_effective: Some(at(schedule, 91)),
        due_at: Some(schedule.anchor_at.saturating_add(HOUR)),
        overlap: Overlap::Allow,
        catch_up_to: None,
        pause: Duration::ZERO,
    }
}

async fn ledger(store: &Shared, id: TriggerId) -> Vec<FireRecord> {
    let all = FireFilter::default();
    store.fires(id, &all, &page(100)).await.unwrap().items
}

pub async fn deploy_makes_a_schedule_that_is_due_at_once(store: Shared, _: &dyn Fixture) {
    let triggers = vec![cron(None, "0 2 * * *"), webhook(None, "x", &["POST"])];
    let bundle = with_triggers(bundle("nightly", 1), triggers);
    let deployment = deploy(&store, &bundle).await.unwrap().deployment;
    assert_eq!(
        store.next_schedule_due().await.unwrap(),
        Some(Duration::ZERO)
    );
    let due = store.claim_schedules(10, LONG).await.unwrap();
    assert_eq!(due.schedules.len(), 1, "{due:?}");
    let schedule = &due.schedules[0];
    assert_eq!(schedule.trigger_id, deployment.triggers[0].id);
    assert_eq!(schedule.kind, TriggerKind::Cron);
    assert_eq!(schedule.deployment_id, deployment.id);
    assert_eq!(schedule.workflow_id, deployment.workflow_id);
    assert_eq!(schedule.deployment_status, DeploymentStatus::Deployed);
    assert_eq!(schedule.spec_json, deployment.triggers[0].spec_json);
    assert_eq!(schedule.anchor_at, schedule.decided_to);
    assert!(due.now >= schedule.anchor_at);
    let webhook = deployment.triggers[1].id;
    assert_eq!(store.schedule(webhook).await.unwrap(), None);
}

pub async fn claimed_schedule_comes_up_again_when_its_claimer_dies(store: Shared, _: &dyn Fixture) {
    scheduled(&store).await;
    let hold = Duration::from_millis(300);
    let first = store.claim_schedules(10, hold).await.unwrap();
    assert_eq!(first.schedules.len(), 1);
    let again = store.claim_schedules(10, hold).await.unwrap();
    assert!(
        again.schedules.is_empty() || again.now >= first.now.saturating_add(hold),
        "{again:?}"
    );
    eventually("the end of the hold", async || {
        let due = store.claim_schedules(10, LONG).await.unwrap();
        (due.schedules.len() == 1).then_some(())
    })
    .await;
}

pub async fn concurrent_claims_of_schedules_are_disjoint(store: Shared, _: &dyn Fixture) {
    let triggers = (0..20)
        .map(|n| cron(Some(&format!("t{n}")), "0 2 * * *"))
        .collect();
    let bundle = with_triggers(bundle("many", 1), triggers);
    deploy(&store, &bundle).await.unwrap();
    let (a, b) = tokio::join!(
        store.claim_schedules(10, LONG),
        store.claim_schedules(10, LONG)
    );
    let mut ids: Vec<_> = [a.unwrap(), b.unwrap()]
        .iter()
        .flat_map(|due| due.schedules.iter().map(|s| s.trigger_id))
        .collect();
    ids.extend(
        (store.claim_schedules(20, LONG).await.unwrap().schedules)
            .iter()
            .map(|s| s.trigger_id),
    );
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((count, ids.len()), (20, 20));
}

pub async fn decision_advances_admits_and_enters_at_once(store: Shared, _: &dyn Fixture) {
    let (deployment, id) = scheduled(&store).await;
    let before = schedule(&store, id).await;
    let fires = store
        .decide(&decision(
            &before,
            vec![missed(&before, 1, 1), start(&before, 2)],
        ))
        .await
        .unwrap()
        .expect("nobody else decides");
    assert_eq!(fires.len(), 2);
    assert_eq!(fires[0].outcome, FireOutcome::Missed);
    assert_eq!(fires[1].outcome, FireOutcome::Fired);
    let execution = fires[1].execution_id.expect("it fired");
    let shown = store.execution(execution).await.unwrap().unwrap();
    assert_eq!(shown.trigger_kind, TriggerKind::Cron);
    assert_eq!(shown.trigger_id, Some(id));
    assert_eq!(shown.deployment_id, deployment.id);
    assert_eq!(&shown.input[..], br#"{"n":1}"#);
    let after = schedule(&store, id).await;
    assert_eq!(after.decided_to, at(&before, 2));
    assert_eq!(after.next_nominal, Some(at(&before, 90)));
    assert_eq!(after.next_effective, Some(at(&before, 91)));
    assert_eq!(after.last_execution, Some(execution));
    assert!(after.step > before.step);
    let mut newest_first = fires;
    newest_first.reverse();
    assert_eq!(ledger(&store, id).await, newest_first);
}

pub async fn decision_at_another_step_changes_nothing(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let before = schedule(&store, id).await;
    let first = decision(&before, vec![start(&before, 1)]);
    let second = decision(&before, vec![start(&before, 1)]);
    let (a, b) = tokio::join!(store.decide(&first), store.decide(&second));
    let decided = [a.unwrap(), b.unwrap()];
    assert_eq!(decided.iter().filter(|d| d.is_some()).count(), 1);
    assert_eq!(ledger(&store, id).await.len(), 1);
    let owner = alive(&store).await;
    claim_one(&store, owner).await;
}

pub async fn occurrence_in_the_ledger_is_never_started_again(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let before = schedule(&store, id).await;
    store
        .decide(&decision(&before, vec![start(&before, 1)]))
        .await
        .unwrap();
    let again = ScheduleRecord {
        step: schedule(&store, id).await.step,
        ..before
    };
    let fires = store
        .decide(&decision(&again, vec![start(&again, 1)]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fires, []);
    let owner = alive(&store).await;
    claim_one(&store, owner).await;
}

pub async fn overlap_is_skipped_until_the_run_before_has_ended(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let owner = alive(&store).await;
    let mut outcomes = Vec::new();
    let mut held = None;
    for minute in 1..=3 {
        let now = schedule(&store, id).await;
        let decision = Decision {
            overlap: Overlap::Skip,
            ..decision(&now, vec![start(&now, minute)])
        };
        let fires = store.decide(&decision).await.unwrap().unwrap();
        outcomes.push(fires[0].outcome);
        if minute == 1 {
            held = Some(Held::of(&claim_one(&store, owner).await, owner));
        } else if minute == 2 {
            assert!(
                fires[0].reason.contains(&held.unwrap().id.to_string()),
                "{fires:?}"
            );
            end(&store, held.unwrap().success()).await.unwrap();
        }
    }
    let expected = [FireOutcome::Fired, FireOutcome::Skipped, FireOutcome::Fired];
    assert_eq!(outcomes, expected);
}

pub async fn pausing_and_resuming_make_schedules_due(store: Shared, _: &dyn Fixture) {
    let (deployment, id) = scheduled(&store).await;
    let before = schedule(&store, id).await;
    store.decide(&decision(&before, vec![])).await.unwrap();
    let planned = schedule(&store, id).await;
    assert!(store.next_schedule_due().await.unwrap() > Some(Duration::ZERO));
    for status in [DeploymentStatus::Paused, DeploymentStatus::Deployed] {
        store
            .set_deployment_status(deployment.id, status)
            .await
            .unwrap();
        let due = store.claim_schedules(10, LONG).await.unwrap();
        assert_eq!(due.schedules.len(), 1, "{status}");
        assert_eq!(due.schedules[0].deployment_status, status);
        assert_eq!(due.schedules[0].decided_to, planned.decided_to);
    }
    // What was planned before the pause is void.
    let stale = decision(&planned, vec![start(&planned, 1)]);
    assert_eq!(store.decide(&stale).await.unwrap(), None);
    assert!(schedule(&store, id).await.resumed_at.is_some());
    store
        .set_deployment_status(deployment.id, DeploymentStatus::Archived)
        .await
        .unwrap();
    assert_eq!(store.schedule(id).await.unwrap(), None);
}

pub async fn paused_deployment_starts_nothing(store: Shared, _: &dyn Fixture) {
    let (deployment, id) = scheduled(&store).await;
    store
        .set_deployment_status(deployment.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    let now = schedule(&store, id).await;
    let fires = store
        .decide(&decision(&now, vec![start(&now, 1)]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fires[0].outcome, FireOutcome::Paused);
    assert_eq!(fires[0].execution_id, None);
    assert!(!fires[0].reason.is_empty());
}

pub async fn unchanged_trigger_keeps_its_schedule(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let before = schedule(&store, id).await;
    store
        .decide(&decision(&before, vec![start(&before, 1)]))
        .await
        .unwrap();
    let kept = schedule(&store, id).await;
    let next = with_triggers(bundle("nightly", 2), vec![cron(None, "0 2 * * *")]);
    deploy(&store, &next).await.unwrap();
    assert_eq!(schedule(&store, id).await, kept);

    let changed = with_triggers(bundle("nightly", 3), vec![cron(None, "0 3 * * *")]);
    deploy(&store, &changed).await.unwrap();
    let anew = schedule(&store, id).await;
    assert!(anew.anchor_at > kept.anchor_at && anew.step > kept.step);
    assert_eq!((anew.decided_to, anew.next_nominal), (anew.anchor_at, None));

    let mut disabled = cron(None, "0 3 * * *");
    disabled.enabled = false;
    let off = with_triggers(bundle("nightly", 4), vec![disabled]);
    deploy(&store, &off).await.unwrap();
    assert_eq!(store.schedule(id).await.unwrap(), None);
    assert_eq!(ledger(&store, id).await.len(), 1, "the ledger outlives it");
}

pub async fn ledger_is_paged_and_filtered_newest_first(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let now = schedule(&store, id).await;
    let mut occurrences: Vec<_> = (1..=5).map(|n| missed(&now, n, n)).collect();
    occurrences.push(Occurrence {
        reason: "nobody was there".into(),
        ..missed(&now, 10, 209)
    });
    store.decide(&decision(&now, occurrences)).await.unwrap();
    let mut seen = Vec::new();
    let mut request = page(2);
    loop {
        let part = store
            .fires(id, &FireFilter::default(), &request)
            .await
            .unwrap();
        seen.extend(part.items);
        let Some(next) = part.next else { break };
        request = PageRequest {
            cursor: Some(next),
            ..request
        };
    }
    assert_eq!(seen, ledger(&store, id).await);
    let nominal: Vec<_> = seen.iter().map(|fire| fire.nominal_at).collect();
    let expected: Vec<_> = [10, 5, 4, 3, 2, 1].map(|n| at(&now, n)).into();
    assert_eq!(nominal, expected);
    assert_eq!((seen[0].count, seen[0].until_at), (200, at(&now, 209)));

    let filter = FireFilter {
        from: Some(at(&now, 2)),
        to: Some(at(&now, 4)),
    };
    let some = store.fires(id, &filter, &page(10)).await.unwrap();
    assert_eq!(some.items.len(), 2, "{some:?}");
    // A moment within a row of several finds it.
    let within = FireFilter {
        from: Some(at(&now, 100)),
        to: Some(at(&now, 101)),
    };
    let row = store.fires(id, &within, &page(10)).await.unwrap();
    assert_eq!(row.items.len(), 1, "{row:?}");
}

/// What did not run in these minutes, a decision for each of them.
async fn stays_away(store: &Shared, id: TriggerId, minutes: &[(u32, u32)], verdict: &Verdict) {
    for (from, until) in minutes {
        let now = schedule(store, id).await;
        let occurrences = (*from..=*until)
            .map(|minute| Occurrence {
                verdict: verdict.clone(),
                reason: format!("nobody was there: minute {minute}"),
                ..missed(&now, minute, minute)
            })
            .collect();
        let fires = store.decide(&decision(&now, occurrences)).await.unwrap();
        assert_eq!(fires.unwrap().len(), (until - from + 1) as usize);
    }
}

/// Minutes, count and outcome of each row, oldest first.
async fn rows(store: &Shared, id: TriggerId) -> Vec<(u64, u64, u64, FireOutcome)> {
    let anchor = schedule(store, id).await.anchor_at;
    let minute = |at: Timestamp| at.saturating_since(anchor).as_secs() / 60;
    let mut rows: Vec<_> = (ledger(store, id).await.iter())
        .map(|row| {
            let (from, until) = (minute(row.nominal_at), minute(row.until_at));
            (from, until, row.count, row.outcome)
        })
        .collect();
    rows.reverse();
    rows
}

pub async fn many_in_a_row_are_one_row_whatever_decided_them(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    stays_away(&store, id, &[(1, 1), (2, 50), (51, 100)], &Verdict::Paused).await;
    assert_eq!(rows(&store, id).await.len(), 100);
    stays_away(&store, id, &[(101, 101)], &Verdict::Paused).await;
    let row = (1, 101, 101, FireOutcome::Paused);
    assert_eq!(rows(&store, id).await, [row]);
    // Particulars of one are not said of all.
    assert_eq!(ledger(&store, id).await[0].reason, "nobody was there");
    stays_away(&store, id, &[(102, 102), (103, 120)], &Verdict::Paused).await;
    let row = (1, 120, 120, FireOutcome::Paused);
    assert_eq!(rows(&store, id).await, [row]);

    // Another outcome has rows of its own.
    stays_away(&store, id, &[(121, 122)], &Verdict::Missed).await;
    let now = schedule(&store, id).await;
    let range = Occurrence {
        reason: "nobody was there: for long".into(),
        ..missed(&now, 123, 2999)
    };
    store.decide(&decision(&now, vec![range])).await.unwrap();
    let now = schedule(&store, id).await;
    let run = decision(&now, vec![start(&now, 3000)]);
    store.decide(&run).await.unwrap();
    stays_away(&store, id, &[(3001, 3001)], &Verdict::Missed).await;
    let expected = [
        row,
        (121, 2999, 2879, FireOutcome::Missed),
        (3000, 3000, 1, FireOutcome::Fired),
        (3001, 3001, 1, FireOutcome::Missed),
    ];
    assert_eq!(rows(&store, id).await, expected);

    // What is within a row has been entered.
    let again = decision(&schedule(&store, id).await, vec![start(&now, 60)]);
    assert_eq!(store.decide(&again).await.unwrap().unwrap(), []);
    assert_eq!(rows(&store, id).await, expected);
}

pub async fn many_skipped_for_runs_are_one_row(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let owner = alive(&store).await;
    for (overlap, first) in [
        (Overlap::Skip, 1),
        (Overlap::Queue, 201),
        (Overlap::Cancel, 401),
    ] {
        let mut fires = Vec::new();
        // One decision each where one waits in the place of another.
        for minutes in [
            first..=first,
            first + 1..=first + 60,
            first + 61..=first + 150,
        ] {
            let now = schedule(&store, id).await;
            let occurrences = minutes.map(|minute| start(&now, minute)).collect();
            let decision = Decision {
                overlap,
                ..decision(&now, occurrences)
            };
            fires.extend(store.decide(&decision).await.unwrap().unwrap());
        }
        assert!(fires.len() > 150, "{overlap:?}: {}", fires.len());
        let run = Held::of(&claim_one(&store, owner).await, owner);
        let at = u64::from(first);
        let mut of_it = rows(&store, id).await;
        of_it.retain(|(from, ..)| *from >= at);
        let skipped = |from, until| (from, until, until - from + 1, FireOutcome::Skipped);
        let single = |at, outcome| (at, at, 1, outcome);
        let expected = match overlap {
            Overlap::Queue => vec![
                single(at, FireOutcome::Fired),
                single(at + 1, FireOutcome::Queued),
                skipped(at + 2, at + 150),
            ],
            Overlap::Cancel => vec![
                single(at, FireOutcome::Fired),
                skipped(at + 1, at + 149),
                single(at + 150, FireOutcome::Queued),
            ],
            _ => vec![single(at, FireOutcome::Fired), skipped(at + 1, at + 150)],
        };
        assert_eq!(of_it, expected, "{overlap:?}");
        end(&store, run.success()).await.unwrap();
        if overlap != Overlap::Skip {
            // The one that waited.
            let now = schedule(&store, id).await;
            store.decide(&decision(&now, vec![])).await.unwrap();
            let run = Held::of(&claim_one(&store, owner).await, owner);
            end(&store, run.success()).await.unwrap();
        }
    }
}

pub async fn ledger_beyond_its_retention_is_gone(store: Shared, _: &dyn Fixture) {
    let (_, id) = scheduled(&store).await;
    let now = schedule(&store, id).await;
    let long_ago = super::support::ago(HOUR * 24 * 40);
    let old = Occurrence {
        nominal_at: long_ago,
        until_at: long_ago,
        effective_at: long_ago,
        ..missed(&now, 1, 1)
    };
    let mut new = missed(&now, 1, 1);
    new.nominal_at = long_ago.saturating_add(MINUTE);
    store.decide(&decision(&now, vec![old, new])).await.unwrap();
    assert_eq!(ledger(&store, id).await.len(), 2);
    eventually("the end of maintenance", async || {
        while store.maintain().await.unwrap() {}
        (ledger(&store, id).await.len() == 1).then_some(())
    })
    .await;
}
