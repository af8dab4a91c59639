//! Timeouts, retention, and back-off.

use std::time::Duration;

use millrace_types::{DeploymentId, ExecutionStatus, IncarnationId};

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, admission, admit, ahead, alive, bundle, checkpoint, claim_one, dead,
    deploy, end, eventually, live, running, sealed,
};
use crate::settings::{Concurrency, ConcurrencyPolicy};
use crate::{Admission, Deadline, DeploymentSettings, Outcome};

async fn with(store: &Shared, settings: DeploymentSettings) -> DeploymentId {
    let mut bundle = bundle("set", 1);
    bundle.settings = settings;
    deploy(store, &sealed(bundle)).await.unwrap().deployment.id
}

pub async fn timeouts_come_with_what_is_owned(store: Shared, _: &dyn Fixture) {
    let deployment = with(
        &store,
        DeploymentSettings {
            total_timeout: Some(HOUR),
            start_timeout: Some(HOUR / 2),
            idle_timeout: Some(HOUR / 4),
            ..DeploymentSettings::default()
        },
    )
    .await;
    let owner = alive(&store).await;
    let owned = Admission {
        owner: Some(owner),
        ..admission(deployment)
    };
    let limits = admit(&store, &owned).await.limits;
    assert_eq!((limits.total, limits.start), (Some(HOUR), None));
    assert_eq!(limits.idle, Some(HOUR / 4));
    admit(&store, &admission(deployment)).await;
    let claimed = claim_one(&store, owner).await;
    let start = claimed.limits.start.unwrap();
    assert!(start <= HOUR / 2 && start > HOUR / 3, "{start:?}");
    let total = claimed.limits.total.unwrap();
    assert!(total <= HOUR && total > HOUR / 2, "{total:?}");
    // It has started: only the deadline goes on.
    let held = Held::of(&claimed, owner);
    assert!(store.release(held.id, owner, held.epoch).await.unwrap());
    let again = claim_one(&store, owner).await.limits;
    assert_eq!(again.start, None);
    assert!(again.total.unwrap() <= total);
}

pub async fn execution_without_settings_has_no_limits(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "plain").await;
    let owner = alive(&store).await;
    admit(&store, &admission(deployment.id)).await;
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.limits, crate::Limits::default());
}

/// Parked for an hour, and out of time in a moment.
async fn parked_with_a_deadline(store: &Shared) -> (IncarnationId, Held) {
    let deployment = with(
        store,
        DeploymentSettings {
            total_timeout: Some(Duration::from_millis(200)),
            ..DeploymentSettings::default()
        },
    )
    .await;
    let owner = alive(store).await;
    let held = running(store, deployment, owner).await;
    checkpoint(store, held.park(1, ahead(HOUR))).await.unwrap();
    (owner, held)
}

pub async fn wait_ends_at_the_deadline(store: Shared, _: &dyn Fixture) {
    let (owner, _) = parked_with_a_deadline(&store).await;
    let claimed = eventually("the deadline", async || {
        store.claim(owner, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!(claimed.limits.total, Some(Duration::ZERO));
    assert_eq!(claimed.due_timers, Vec::<u64>::new());
}

pub async fn queue_ends_at_the_start_timeout(store: Shared, _: &dyn Fixture) {
    let deployment = with(
        &store,
        DeploymentSettings {
            start_timeout: Some(Duration::from_millis(200)),
            concurrency: Some(Concurrency {
                limit: 1,
                key: None,
                policy: ConcurrencyPolicy::Queue,
            }),
            ..DeploymentSettings::default()
        },
    )
    .await;
    let owner = alive(&store).await;
    running(&store, deployment, owner).await;
    let queued = admit(&store, &admission(deployment)).await;
    let claimed = eventually("the start timeout", async || {
        store.claim(owner, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!(claimed.id, queued.id);
    assert_eq!(claimed.limits.start, Some(Duration::ZERO));
    assert!(!claimed.limits.slot);
}

pub async fn overdue_executions_are_seized_before_all_that_is_due(store: Shared, _: &dyn Fixture) {
    const OTHERS: usize = 20;
    let plain = live(&store, "plain").await.id;
    for _ in 0..OTHERS {
        admit(&store, &admission(plain)).await;
    }
    let deployment = with(
        &store,
        DeploymentSettings {
            start_timeout: Some(Duration::from_millis(200)),
            ..DeploymentSettings::default()
        },
    )
    .await;
    let owner = alive(&store).await;
    let started = running(&store, deployment, owner).await;
    assert!(
        store
            .release(started.id, owner, started.epoch)
            .await
            .unwrap()
    );
    let late = [
        admit(&store, &admission(deployment)).await,
        admit(&store, &admission(deployment)).await,
    ];
    let over = dead(&store).await;
    let mut seized = eventually("the start timeout", async || {
        assert_eq!(store.seize_overdue(over, 10).await.unwrap(), vec![]);
        let first = store.seize_overdue(owner, 1).await.unwrap();
        (!first.is_empty()).then_some(first)
    })
    .await;
    // As many as were asked for, each once, and no other.
    assert_eq!(seized.len(), 1);
    let rest = eventually("the other", async || {
        let rest = store.seize_overdue(owner, 10).await.unwrap();
        (!rest.is_empty()).then_some(rest)
    })
    .await;
    seized.extend(rest);
    assert_eq!(store.seize_overdue(owner, 10).await.unwrap(), vec![]);
    let mut ids: Vec<_> = seized.iter().map(|overdue| overdue.id).collect();
    ids.sort_unstable();
    let mut expected = late.map(|admitted| admitted.id);
    expected.sort_unstable();
    assert_eq!(ids, expected);
    for overdue in seized {
        assert_eq!(overdue.deadline, Deadline::Start);
        assert_eq!((overdue.next_event_seq, overdue.cancel), (1, None));
        let held = Held {
            id: overdue.id,
            owner,
            epoch: overdue.epoch,
        };
        let outcome = Outcome::TimedOut(bytes::Bytes::from_static(b"{}"));
        end(&store, held.ending(outcome)).await.unwrap();
        let shown = store.execution(overdue.id).await.unwrap().unwrap();
        assert_eq!(shown.status, ExecutionStatus::TimedOut);
        assert_eq!(shown.started_at, None);
    }
    // What has started, and what has no deadline, is there to be claimed.
    assert_eq!(store.claim(owner, 100).await.unwrap().len(), OTHERS + 1);
}

pub async fn parked_execution_past_its_deadline_is_seized(store: Shared, _: &dyn Fixture) {
    let (owner, held) = parked_with_a_deadline(&store).await;
    let seized = eventually("the deadline", async || {
        store.seize_overdue(owner, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!((seized.id, seized.deadline), (held.id, Deadline::Total));
    assert_eq!(seized.epoch, held.epoch + 1);
    // The one that parked it is fenced by then.
    end(&store, held.success()).await.unwrap_err();
}

pub async fn retention_goes_by_the_settings_and_the_end(store: Shared, fixture: &dyn Fixture) {
    let deployment = with(
        &store,
        DeploymentSettings {
            keep_succeeded: Some(1),
            keep_failed: Some(90),
            ..DeploymentSettings::default()
        },
    )
    .await;
    let owner = alive(&store).await;
    let good = running(&store, deployment, owner).await;
    end(&store, good.success()).await.unwrap();
    let bad = running(&store, deployment, owner).await;
    let outcome = Outcome::Failed(bytes::Bytes::from_static(b"{}"));
    end(&store, bad.ending(outcome)).await.unwrap();
    fixture.age_ended(40).await;
    eventually("retention", async || {
        store.maintain().await.unwrap();
        store
            .execution(good.id)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let kept = store.execution(bad.id).await.unwrap().unwrap();
    assert_eq!(kept.status, ExecutionStatus::Failed);
}

pub async fn back_off_grows_until_there_is_progress(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let held = running(&store, deployment.id, owner).await;
    assert!(store.back_off(held.id, owner, held.epoch).await.unwrap());
    assert!(!store.back_off(held.id, owner, held.epoch).await.unwrap());
    assert_eq!(store.claim(owner, 10).await.unwrap(), vec![]);
    let first = store.next_due().await.unwrap().unwrap();
    assert!(first <= Duration::from_secs(1), "{first:?}");
    let claimed = eventually("the first pause", async || {
        store.claim(owner, 10).await.unwrap().pop()
    })
    .await;
    let held = Held::of(&claimed, owner);
    store.back_off(held.id, owner, held.epoch).await.unwrap();
    let second = store.next_due().await.unwrap().unwrap();
    assert!(second > Duration::from_secs(1), "{second:?}");
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Pending);
    let claimed = eventually("the second pause", async || {
        store.claim(owner, 10).await.unwrap().pop()
    })
    .await;
    let held = Held::of(&claimed, owner);
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
    store.back_off(held.id, owner, held.epoch).await.unwrap();
    let after = store.next_due().await.unwrap().unwrap();
    assert!(after <= Duration::from_secs(1), "{after:?}");
}
