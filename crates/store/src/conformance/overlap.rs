//! Occurrences that come while a run of their schedule goes on.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentStatus, ExecutionId, IncarnationId, Timestamp, TriggerId};

use super::Fixture;
use super::support::{
    Held, Shared, alive, bundle, claim_one, cron, deploy, end, page, with_triggers,
};
use crate::{
    CancelRequest, Decision, FireFilter, FireOutcome, FireRecord, Occurrence, Overlap,
    ScheduleRecord, Verdict,
};

const MINUTE: Duration = Duration::from_mins(1);

/// A deployment with one schedule, and an instance that runs what it starts.
struct Scene {
    store: Shared,
    trigger: TriggerId,
    owner: IncarnationId,
}

impl Scene {
    async fn new(store: Shared) -> Self {
        Self::named(store, "nightly").await
    }

    async fn named(store: Shared, name: &str) -> Self {
        let bundle = with_triggers(bundle(name, 1), vec![cron(None, "0 2 * * *")]);
        let deployment = deploy(&store, &bundle).await.unwrap().deployment;
        let owner = alive(&store).await;
        Self {
            trigger: deployment.triggers[0].id,
            store,
            owner,
        }
    }

    /// The occurrence of this minute comes, of a schedule that has one in this
    /// time.
    async fn comes_every(&self, minute: u32, gap: Duration, overlap: Overlap) -> Vec<FireRecord> {
        let now = self.store.schedule(self.trigger).await.unwrap().unwrap();
        let at = now.anchor_at.saturating_add(MINUTE * minute);
        let (now_at, gap) = (Timestamp::now(), i64::try_from(gap.as_micros()).unwrap());
        let occurrence = Occurrence {
            nominal_at: at,
            until_at: at,
            count: 1,
            effective_at: now_at,
            after: Some(Timestamp::from_micros(now_at.as_micros() - gap)),
            verdict: Verdict::Start {
                id: ExecutionId::new(),
                input: Bytes::from(format!("{minute}")),
            },
            reason: String::new(),
        };
        self.is_last(&now, occurrence, overlap).await
    }

    /// The occurrence of this minute comes during a pause.
    async fn is_paused(&self, minute: u32) {
        let now = self.schedule().await;
        let at = now.anchor_at.saturating_add(MINUTE * minute);
        let occurrence = Occurrence {
            nominal_at: at,
            until_at: at,
            count: 1,
            effective_at: at,
            after: None,
            verdict: Verdict::Paused,
            reason: "paused".into(),
        };
        self.is_last(&now, occurrence, Overlap::Skip).await;
    }

    /// Decides on this one, after which the schedule has no other.
    async fn is_last(
        &self,
        now: &ScheduleRecord,
        occurrence: Occurrence,
        overlap: Overlap,
    ) -> Vec<FireRecord> {
        let decision = Decision {
            trigger_id: self.trigger,
            step: now.step,
            decided_to: occurrence.nominal_at,
            occurrences: vec![occurrence],
            next_nominal: None,
            next_effective: None,
            due_at: None,
            overlap,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        self.store.decide(&decision).await.unwrap().unwrap()
    }

    /// These two were missed, and are made up for.
    async fn makes_up(&self, minutes: [u32; 2], overlap: Overlap) -> Vec<FireRecord> {
        let now = self.store.schedule(self.trigger).await.unwrap().unwrap();
        let at = |minute| now.anchor_at.saturating_add(MINUTE * minute);
        let occurrence = |minute| Occurrence {
            nominal_at: at(minute),
            until_at: at(minute),
            count: 1,
            effective_at: at(minute),
            after: None,
            verdict: Verdict::MakeUp {
                id: ExecutionId::new(),
                input: Bytes::from(format!("{minute}")),
            },
            reason: "missed".into(),
        };
        let decision = Decision {
            trigger_id: self.trigger,
            step: now.step,
            occurrences: minutes.map(occurrence).into(),
            decided_to: at(minutes[1]),
            next_nominal: Some(at(90)),
            next_effective: Some(at(90)),
            due_at: Some(now.anchor_at),
            overlap,
            catch_up_to: Some(at(minutes[1])),
            pause: MINUTE * 30,
        };
        self.store.decide(&decision).await.unwrap().unwrap()
    }

    async fn comes(&self, minute: u32, overlap: Overlap) -> Vec<FireRecord> {
        self.comes_every(minute, Duration::ZERO, overlap).await
    }

    /// Looks again without any new occurrence.
    async fn looks_again(&self) -> Vec<FireRecord> {
        let now = self.store.schedule(self.trigger).await.unwrap().unwrap();
        let decision = Decision {
            trigger_id: self.trigger,
            step: now.step,
            occurrences: vec![],
            decided_to: now.decided_to,
            next_nominal: None,
            next_effective: None,
            due_at: None,
            overlap: Overlap::Queue,
            catch_up_to: None,
            pause: Duration::ZERO,
        };
        self.store.decide(&decision).await.unwrap().unwrap()
    }

    async fn schedule(&self) -> ScheduleRecord {
        self.store.schedule(self.trigger).await.unwrap().unwrap()
    }

    async fn claimed(&self) -> Held {
        Held::of(&claim_one(&self.store, self.owner).await, self.owner)
    }

    /// Newest first.
    async fn ledger(&self) -> Vec<FireRecord> {
        let all = FireFilter::default();
        let found = self.store.fires(self.trigger, &all, &page(100)).await;
        found.unwrap().items
    }
}

fn before_next(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}

fn outcomes(fires: &[FireRecord]) -> Vec<FireOutcome> {
    fires.iter().map(|fire| fire.outcome).collect()
}

pub async fn skip_looks_at_every_live_run(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Allow).await;
    let first = scene.claimed().await;
    scene.comes(2, Overlap::Allow).await;
    let second = scene.claimed().await;
    end(&scene.store, second.success()).await.unwrap();
    // The one that fired last has ended; the one before it has not.
    let fires = scene.comes(3, Overlap::Skip).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Skipped]);
    assert!(fires[0].reason.contains(&first.id.to_string()), "{fires:?}");
    end(&scene.store, first.success()).await.unwrap();
    let fires = scene.comes(4, Overlap::Skip).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Fired]);
}

pub async fn queued_occurrence_starts_when_no_run_is_left(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Queue).await;
    let first = scene.claimed().await;
    let fires = scene.comes(2, Overlap::Queue).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Queued]);
    assert!(fires[0].reason.contains(&first.id.to_string()), "{fires:?}");
    // It is due to look again, though its trigger has no further occurrence.
    assert!(scene.store.next_schedule_due().await.unwrap().is_some());
    assert_eq!(scene.looks_again().await, []);
    assert_eq!(scene.ledger().await[0].outcome, FireOutcome::Queued);

    end(&scene.store, first.success()).await.unwrap();
    let fires = scene.looks_again().await;
    assert_eq!(outcomes(&fires), [FireOutcome::Fired]);
    let ledger = scene.ledger().await;
    assert_eq!(ledger[0], fires[0]);
    assert_eq!(outcomes(&ledger), [FireOutcome::Fired, FireOutcome::Fired]);
    let started = claim_one(&scene.store, scene.owner).await;
    assert_eq!(Some(started.id), fires[0].execution_id);
    assert_eq!(&started.input[..], b"2");
    assert_eq!(scene.looks_again().await, []);
    assert_eq!(scene.store.next_schedule_due().await.unwrap(), None);
}

pub async fn one_occurrence_waits_and_the_next_is_skipped(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Queue).await;
    let first = scene.claimed().await;
    scene.comes(2, Overlap::Queue).await;
    let third = scene.comes(3, Overlap::Queue).await;
    assert_eq!(outcomes(&third), [FireOutcome::Skipped]);
    end(&scene.store, first.success()).await.unwrap();
    // The one that waited goes first; the one that comes then waits for it.
    let fires = scene.comes(4, Overlap::Queue).await;
    assert_eq!(
        outcomes(&fires),
        [FireOutcome::Fired, FireOutcome::Queued],
        "{fires:?}"
    );
    assert!(fires[0].nominal_at < fires[1].nominal_at);
}

pub async fn cancel_asks_every_run_to_end_and_waits_for_it(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Allow).await;
    let running = scene.claimed().await;
    // This one stays PENDING, owned by nobody.
    scene.comes(2, Overlap::Allow).await;
    let fires = scene.comes(3, Overlap::Cancel).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Queued]);
    let requests = scene.store.cancel_requests(scene.owner).await.unwrap();
    let [CancelRequest { id, epoch, reason }] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!((*id, *epoch), (running.id, running.epoch));
    assert!(reason.contains("its schedule"), "{reason}");
    let pending = claim_one(&scene.store, scene.owner).await;
    assert_eq!(pending.cancel.as_ref(), Some(reason));
    end(&scene.store, running.success()).await.unwrap();
    assert_eq!(scene.looks_again().await, []);
    let pending = Held::of(&pending, scene.owner);
    end(&scene.store, pending.success()).await.unwrap();
    let fires = scene.looks_again().await;
    assert_eq!(outcomes(&fires), [FireOutcome::Fired]);
    let started = claim_one(&scene.store, scene.owner).await;
    assert_eq!((started.cancel, &started.input[..]), (None, &b"3"[..]));
}

pub async fn cancel_replaces_the_occurrence_that_waits(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    for minute in 1..=3 {
        scene.comes(minute, Overlap::Cancel).await;
    }
    let ledger = scene.ledger().await;
    assert_eq!(
        outcomes(&ledger),
        [
            FireOutcome::Queued,
            FireOutcome::Skipped,
            FireOutcome::Fired
        ]
    );
    assert!(!ledger[1].reason.is_empty());
    let first = scene.claimed().await;
    end(&scene.store, first.success()).await.unwrap();
    scene.looks_again().await;
    let started = claim_one(&scene.store, scene.owner).await;
    assert_eq!(&started.input[..], b"3");
}

pub async fn what_waited_is_settled_when_its_schedule_goes(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Queue).await;
    scene.comes(2, Overlap::Queue).await;
    let changed = with_triggers(bundle("nightly", 2), vec![cron(None, "0 3 * * *")]);
    deploy(&scene.store, &changed).await.unwrap();
    // The trigger is another one, and what waited waits on.
    assert_eq!(scene.ledger().await[0].outcome, FireOutcome::Queued);
    deploy(&scene.store, &bundle("nightly", 3)).await.unwrap();
    let ledger = scene.ledger().await;
    assert_eq!(
        outcomes(&ledger),
        [FireOutcome::Skipped, FireOutcome::Fired]
    );
    assert!(ledger[0].reason.contains("removed"), "{ledger:?}");
}

pub async fn what_waited_is_paused_with_its_deployment(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Queue).await;
    let first = scene.claimed().await;
    scene.comes(2, Overlap::Queue).await;
    let shown = scene.store.execution(first.id).await.unwrap().unwrap();
    scene
        .store
        .set_deployment_status(shown.deployment_id, DeploymentStatus::Paused)
        .await
        .unwrap();
    end(&scene.store, first.success()).await.unwrap();
    let fires = scene.looks_again().await;
    assert_eq!(outcomes(&fires), [FireOutcome::Paused]);
    assert_eq!(scene.ledger().await[0], fires[0]);
}

pub async fn interval_that_strays_is_listed_until_it_does_not(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    scene.comes(1, Overlap::Allow).await;
    assert_eq!(scene.store.drifting(10).await.unwrap(), []);
    // It came right after the other, and not ten minutes later.
    let gap = Duration::from_mins(10);
    let strays = async || {
        let drifting = scene.store.drifting(10).await.unwrap();
        assert_eq!(drifting.len(), 1, "{drifting:?}");
        assert_eq!(drifting[0].trigger_id, scene.trigger);
        let off = Duration::from_micros(drifting[0].drift.unsigned_abs());
        assert!(drifting[0].drift < 0 && off + MINUTE >= gap, "{off:?}");
    };
    scene.comes_every(2, gap, Overlap::Allow).await;
    strays().await;
    scene.comes(3, Overlap::Allow).await;
    assert_eq!(scene.store.drifting(10).await.unwrap(), []);

    // One that waits is held to the same.
    for run in scene.store.claim(scene.owner, 10).await.unwrap() {
        let run = Held::of(&run, scene.owner);
        end(&scene.store, run.success()).await.unwrap();
    }
    scene.comes(4, Overlap::Queue).await;
    let run = scene.claimed().await;
    let fires = scene.comes_every(5, gap, Overlap::Queue).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Queued]);
    assert_eq!(scene.store.drifting(10).await.unwrap(), []);
    end(&scene.store, run.success()).await.unwrap();
    scene.looks_again().await;
    strays().await;

    // A pause is no interval.
    scene.is_paused(6).await;
    assert_eq!(scene.store.drifting(10).await.unwrap(), []);
    scene.comes_every(7, gap, Overlap::Allow).await;
    assert_eq!(scene.store.drifting(10).await.unwrap(), []);
}

pub async fn what_is_made_up_for_waits_for_every_run(store: Shared, _: &dyn Fixture) {
    for (name, overlap) in [
        ("skip", Overlap::Skip),
        ("queue", Overlap::Queue),
        ("cancel", Overlap::Cancel),
    ] {
        let scene = Scene::named(store.clone(), name).await;
        let before = scene.schedule().await;
        scene.comes(1, Overlap::Allow).await;
        let first = scene.claimed().await;
        // The first of them waits, as the ledger says, and the others after it.
        let fires = scene.makes_up([2, 3], overlap).await;
        assert_eq!(outcomes(&fires), [FireOutcome::Queued], "{overlap:?}");
        assert!(fires[0].reason.contains(&first.id.to_string()));
        let waits = scene.schedule().await;
        let at = |minute| before.anchor_at.saturating_add(MINUTE * minute);
        assert_eq!(waits.decided_to, before_next(at(3)));
        assert_eq!(waits.catch_up_to, Some(at(3)));
        assert!(waits.step > before.step);
        let due = scene.store.next_schedule_due().await.unwrap().unwrap();
        assert!(due < MINUTE, "{due:?}");
        let asked = async || {
            let asked = scene.store.cancel_requests(scene.owner).await.unwrap();
            asked.into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        let in_the_way = if overlap == Overlap::Cancel {
            vec![first.id]
        } else {
            vec![]
        };
        assert_eq!(asked().await, in_the_way, "{overlap:?}");

        end(&scene.store, first.success()).await.unwrap();
        let fires = scene.makes_up([3, 4], overlap).await;
        assert_eq!(outcomes(&fires), [FireOutcome::Fired], "{overlap:?}");
        assert_eq!(fires[0].nominal_at, at(2));
        assert_eq!(scene.schedule().await.decided_to, before_next(at(3)));
        let due = scene.store.next_schedule_due().await.unwrap().unwrap();
        assert!(due > MINUTE * 29, "the pause after it: {due:?}");
        let second = scene.claimed().await;
        assert_eq!(scene.makes_up([3, 4], overlap).await, [], "{overlap:?}");
        assert_eq!(
            asked().await,
            [],
            "no run is in the way of what comes after it"
        );
        end(&scene.store, second.success()).await.unwrap();
        let fires = scene.makes_up([3, 4], overlap).await;
        assert_eq!(outcomes(&fires), [FireOutcome::Fired], "{overlap:?}");
        let third = scene.claimed().await;
        end(&scene.store, third.success()).await.unwrap();
        let fired = [FireOutcome::Fired; 3];
        assert_eq!(outcomes(&scene.ledger().await), fired, "{overlap:?}");
    }
}

pub async fn pause_after_what_is_made_up_for_is_kept(store: Shared, _: &dyn Fixture) {
    let scene = Scene::new(store).await;
    let fires = scene.makes_up([1, 2], Overlap::Allow).await;
    assert_eq!(outcomes(&fires), [FireOutcome::Fired, FireOutcome::Fired]);
    let due = scene.store.next_schedule_due().await.unwrap().unwrap();
    assert!(due > MINUTE * 29, "{due:?}");
}
