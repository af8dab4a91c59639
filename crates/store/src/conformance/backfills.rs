//! Occurrences that are asked for afterwards, and the scheduler's switch.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentStatus, ExecutionId, IncarnationId, Timestamp, TriggerId};

use super::Fixture;
use super::support::{
    HOUR, Held, LONG, Shared, ago, alive, bundle, claim_one, cron, deploy, end, eventually, page,
    with_triggers,
};
use crate::{
    BackfillAsked, BackfillPart, BackfillRecord, BackfillStart, Decision, FireFilter, FireOutcome,
    FireRecord, Occurrence, Overlap, SchedulerCommand, Verdict,
};

const MINUTE: Duration = Duration::from_mins(1);

/// A schedule, a range of its past, and an instance that runs what starts.
struct Scene {
    store: Shared,
    trigger: TriggerId,
    owner: IncarnationId,
    from: Timestamp,
}

impl Scene {
    async fn new(store: Shared) -> Self {
        let bundle = with_triggers(bundle("nightly", 1), vec![cron(None, "0 2 * * *")]);
        let deployment = deploy(&store, &bundle).await.unwrap().deployment;
        Self {
            trigger: deployment.triggers[0].id,
            owner: alive(&store).await,
            from: ago(HOUR * 5),
            store,
        }
    }

    fn at(&self, minute: u32) -> Timestamp {
        self.from.saturating_add(MINUTE * minute)
    }

    async fn ask(&self) -> BackfillAsked {
        let to = self.at(240);
        let asked = self.store.ask_backfill(self.trigger, self.from, to);
        asked.await.unwrap()
    }

    async fn claimed(&self) -> BackfillRecord {
        let mut due = self.store.claim_backfills(10, LONG).await.unwrap();
        assert_eq!(due.backfills.len(), 1, "{due:?}");
        due.backfills.remove(0)
    }

    fn start(&self, minute: u32) -> BackfillStart {
        BackfillStart {
            nominal_at: self.at(minute),
            effective_at: self.at(minute),
            id: ExecutionId::new(),
            input: Bytes::from(format!("{minute}")),
            reason: "asked for".into(),
            instead_of: None,
            remains: Vec::new(),
        }
    }

    /// Starts these, and is done with it.
    fn part(&self, record: &BackfillRecord, starts: Vec<BackfillStart>) -> BackfillPart {
        BackfillPart {
            trigger_id: self.trigger,
            step: record.step,
            position: starts.last().unwrap().nominal_at,
            starts,
            due_at: None,
            overlap: Overlap::Allow,
        }
    }

    /// Enters occurrences in a row that were missed.
    async fn missed(&self, from: u32, until: u32) {
        self.enter(vec![Occurrence {
            until_at: self.at(until),
            count: u64::from(until - from) + 1,
            ..self.did_not_run(from, Verdict::Missed)
        }])
        .await;
    }

    fn did_not_run(&self, minute: u32, verdict: Verdict) -> Occurrence {
        Occurrence {
            nominal_at: self.at(minute),
            until_at: self.at(minute),
            count: 1,
            effective_at: self.at(minute),
            after: None,
            verdict,
            reason: "nobody was there".into(),
        }
    }

    async fn enter(&self, occurrences: Vec<Occurrence>) {
        let now = self.store.schedule(self.trigger).await.unwrap().unwrap();
        let decision = Decision {
            trigger_id: self.trigger,
            step: now.step,
            occurrences,
            decided_to: now.decided_to,
            next_nominal: None,
            next_effective: None,
            due_at: None,
            overlap: Overlap::Allow,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        self.store.decide(&decision).await.unwrap().unwrap();
    }

    /// A part that starts one out of the ledger's only row.
    async fn part_of_a_row(&self, record: &BackfillRecord, minute: u32) -> BackfillPart {
        let row = self.ledger().await.remove(0);
        let since = |at: Timestamp| at.saturating_since(row.nominal_at).as_secs() / 60;
        let before = since(self.at(minute));
        let start = BackfillStart {
            instead_of: Some((row.nominal_at, row.until_at)),
            remains: vec![
                FireRecord {
                    until_at: self.at(minute - 1),
                    count: before,
                    ..row.clone()
                },
                FireRecord {
                    nominal_at: self.at(minute + 1),
                    count: row.count - before - 1,
                    ..row
                },
            ],
            ..self.start(minute)
        };
        self.part(record, vec![start])
    }

    /// Oldest first.
    async fn ledger(&self) -> Vec<FireRecord> {
        let all = FireFilter::default();
        let found = self.store.fires(self.trigger, &all, &page(100)).await;
        let mut items = found.unwrap().items;
        items.reverse();
        items
    }
}

pub async fn backfill_starts_and_is_entered_as_such(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    assert_eq!(scene.ask().await, BackfillAsked::Begun);
    let record = scene.claimed().await;
    assert_eq!((record.from_at, record.to_at), (scene.from, scene.at(240)));
    assert!(record.position < scene.from);
    let part = scene.part(&record, vec![scene.start(0), scene.start(1)]);
    let fires = scene.store.advance_backfill(&part).await.unwrap().unwrap();
    assert_eq!(scene.ledger().await, fires);
    assert_eq!(fires.len(), 2);
    for (fire, start) in fires.iter().zip(&part.starts) {
        assert!(fire.backfilled, "{fire:?}");
        assert_eq!(fire.outcome, FireOutcome::Fired);
        assert_eq!(fire.execution_id, Some(start.id));
        let shown = scene.store.execution(start.id).await.unwrap().unwrap();
        assert_eq!(shown.trigger_id, Some(scene.trigger));
        assert_eq!(shown.input, start.input);
    }
    // Done: another one may be asked for.
    assert_eq!(scene.ask().await, BackfillAsked::Begun);
}

pub async fn backfill_takes_the_place_of_what_did_not_run(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.missed(1, 1).await;
    scene.missed(10, 209).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let range = scene.ledger().await.remove(1);
    let single = BackfillStart {
        instead_of: Some((scene.at(1), scene.at(1))),
        ..scene.start(1)
    };
    let within = BackfillStart {
        instead_of: Some((scene.at(10), scene.at(209))),
        remains: vec![
            FireRecord {
                until_at: scene.at(99),
                count: 90,
                ..range.clone()
            },
            FireRecord {
                nominal_at: scene.at(101),
                count: 109,
                ..range
            },
        ],
        ..scene.start(100)
    };
    let part = scene.part(&record, vec![single, within]);
    scene.store.advance_backfill(&part).await.unwrap().unwrap();
    let ledger = scene.ledger().await;
    let rows: Vec<_> = ledger
        .iter()
        .map(|fire| (fire.nominal_at, fire.count, fire.outcome))
        .collect();
    assert_eq!(
        rows,
        [
            (scene.at(1), 1, FireOutcome::Fired),
            (scene.at(10), 90, FireOutcome::Missed),
            (scene.at(100), 1, FireOutcome::Fired),
            (scene.at(101), 109, FireOutcome::Missed),
        ]
    );
    assert_eq!(ledger[3].until_at, scene.at(209));
}

pub async fn backfill_leaves_a_row_alone_that_has_grown_meanwhile(store: Shared, _: &dyn Fixture) {
    // After the deploy, from when on decisions make one row of many.
    const FIRST: u32 = 301;
    // Over midnight: a row lies where its last day does.
    const DAY: u32 = 24 * 60;
    let scene = Scene::new(store).await;
    let paused = |minute| scene.did_not_run(minute, Verdict::Paused);
    scene
        .enter((FIRST..FIRST + 101).map(paused).collect())
        .await;
    let counted = async || {
        scene
            .ledger()
            .await
            .iter()
            .map(|row| row.count)
            .sum::<u64>()
    };
    assert_eq!(counted().await, 101);
    scene.ask().await;
    let record = scene.claimed().await;
    let part = scene.part_of_a_row(&record, FIRST + 50).await;
    // Another instance decides.
    scene.enter(vec![paused(FIRST + DAY)]).await;
    assert_eq!(scene.ledger().await.len(), 1);
    let fires = scene.store.advance_backfill(&part).await.unwrap().unwrap();
    assert_eq!(fires, []);
    assert_eq!((scene.ledger().await.len(), counted().await), (1, 102));
    // It is due at once, and goes on with what is there now.
    let record = scene.claimed().await;
    assert!(record.position < scene.at(FIRST + 50));
    let part = scene.part_of_a_row(&record, FIRST + 50).await;
    let fires = scene.store.advance_backfill(&part).await.unwrap().unwrap();
    assert_eq!(fires.len(), 1);
    assert_eq!((scene.ledger().await.len(), counted().await), (3, 102));
}

pub async fn schedule_has_one_backfill_at_a_time(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    assert_eq!(
        scene.ask().await,
        BackfillAsked::Busy(scene.from, scene.at(240))
    );
    let unknown = scene
        .store
        .ask_backfill(TriggerId::new(), scene.from, scene.at(1));
    assert_eq!(unknown.await.unwrap(), BackfillAsked::Unknown);
}

pub async fn claimed_backfill_comes_up_again_when_its_claimer_dies(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let hold = Duration::from_millis(200);
    let first = scene.store.claim_backfills(10, hold).await.unwrap();
    assert_eq!(first.backfills.len(), 1);
    eventually("the end of the hold", async || {
        let due = scene.store.claim_backfills(10, LONG).await.unwrap();
        (due.backfills == first.backfills).then_some(())
    })
    .await;
}

pub async fn part_at_another_step_changes_nothing(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let once = BackfillPart {
        due_at: Some(ago(MINUTE)),
        ..scene.part(&record, vec![scene.start(0)])
    };
    let twice = BackfillPart {
        starts: vec![scene.start(0)],
        ..once.clone()
    };
    let (a, b) = tokio::join!(
        scene.store.advance_backfill(&once),
        scene.store.advance_backfill(&twice)
    );
    let done = [a.unwrap(), b.unwrap()];
    assert_eq!(done.iter().filter(|part| part.is_some()).count(), 1);
    assert_eq!(scene.ledger().await.len(), 1);
    let next = scene.claimed().await;
    assert_eq!(next.position, scene.at(0));
    assert!(next.step > record.step);
}

pub async fn backfill_waits_for_a_run_of_its_schedule(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let part = BackfillPart {
        overlap: Overlap::Skip,
        ..scene.part(&record, vec![scene.start(0), scene.start(1)])
    };
    let fires = scene.store.advance_backfill(&part).await.unwrap().unwrap();
    assert_eq!(fires.len(), 1, "{fires:?}");
    let run = Held::of(&claim_one(&scene.store, scene.owner).await, scene.owner);
    let again = eventually("its next part", async || {
        let due = scene.store.claim_backfills(10, LONG).await.unwrap();
        due.backfills.into_iter().next()
    })
    .await;
    assert!(again.position >= scene.at(0) && again.position < scene.at(1));
    end(&scene.store, run.success()).await.unwrap();
    let rest = BackfillPart {
        overlap: Overlap::Skip,
        ..scene.part(&again, vec![scene.start(1)])
    };
    let fires = scene.store.advance_backfill(&rest).await.unwrap().unwrap();
    assert_eq!(fires.len(), 1, "{fires:?}");
}

pub async fn backfill_waits_while_its_deployment_is_paused(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let deployment = record.schedule.deployment_id;
    scene
        .store
        .set_deployment_status(deployment, DeploymentStatus::Paused)
        .await
        .unwrap();
    let part = scene.part(&record, vec![scene.start(0)]);
    let fires = scene.store.advance_backfill(&part).await.unwrap().unwrap();
    assert_eq!(fires, []);
    assert_eq!(scene.ledger().await, []);
    assert!(matches!(scene.ask().await, BackfillAsked::Busy(..)));
}

pub async fn backfill_goes_when_its_trigger_changes(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let same = with_triggers(bundle("nightly", 2), vec![cron(None, "0 2 * * *")]);
    deploy(&scene.store, &same).await.unwrap();
    assert!(matches!(scene.ask().await, BackfillAsked::Busy(..)));
    let changed = with_triggers(bundle("nightly", 3), vec![cron(None, "0 3 * * *")]);
    deploy(&scene.store, &changed).await.unwrap();
    let part = scene.part(&record, vec![scene.start(0)]);
    assert_eq!(scene.store.advance_backfill(&part).await.unwrap(), None);
    assert_eq!(scene.ask().await, BackfillAsked::Begun);
}

pub async fn stopped_scheduler_claims_and_decides_nothing(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.ask().await;
    let record = scene.claimed().await;
    let schedule = scene.store.schedule(scene.trigger).await.unwrap().unwrap();
    let before = scene.store.scheduler().await.unwrap();
    assert!(before.running);
    let command = |command, why: &'static str| scene.store.command_scheduler(command, why);
    let stopped = command(SchedulerCommand::Stop, "upkeep").await.unwrap();
    assert!(!stopped.running && stopped.generation > before.generation);
    assert_eq!(stopped.reason, "upkeep");
    // Stopping what is stopped changes nothing.
    let again = command(SchedulerCommand::Stop, "else").await.unwrap();
    assert_eq!(again, stopped);
    assert_eq!(scene.store.scheduler().await.unwrap(), stopped);

    assert_eq!(scene.store.next_schedule_due().await.unwrap(), None);
    let due = scene.store.claim_schedules(10, LONG).await.unwrap();
    assert!(due.schedules.is_empty(), "{due:?}");
    let decision = Decision {
        trigger_id: scene.trigger,
        step: schedule.step,
        occurrences: vec![],
        decided_to: schedule.decided_to,
        next_nominal: None,
        next_effective: None,
        due_at: None,
        overlap: Overlap::Allow,
        catch_up_to: None,
        pause: Duration::ZERO,
    };
    assert_eq!(scene.store.decide(&decision).await.unwrap(), None);
    let part = scene.part(&record, vec![scene.start(0)]);
    assert_eq!(scene.store.advance_backfill(&part).await.unwrap(), None);

    let started = command(SchedulerCommand::Start, "").await.unwrap();
    assert!(started.running && started.generation > stopped.generation);
    let restarted = command(SchedulerCommand::Restart, "").await.unwrap();
    assert!(restarted.running && restarted.generation > started.generation);
    let due = scene.store.claim_schedules(10, LONG).await.unwrap();
    assert_eq!(due.schedules.len(), 1);
    assert!(scene.store.advance_backfill(&part).await.unwrap().is_some());
}
