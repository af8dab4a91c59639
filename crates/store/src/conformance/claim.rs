//! Claiming, waiting for what is due, and giving back.

use std::collections::HashSet;
use std::time::Duration;

use millrace_types::{ExecutionId, ExecutionStatus, IncarnationId};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{
    HOUR, Held, PATIENCE, Shared, admission, admit, ago, ahead, alive, checkpoint, claim_one, dead,
    events, eventually, frame, live, one_running, reclaim, running, timer,
};
use crate::{Checkpoint, WriteRefused};

pub async fn pending_execution_is_claimed_with_a_raised_epoch(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let new = admission(deployment.id);
    admit(&store, &new).await;
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.id, new.id);
    assert_eq!(claimed.deployment_id, deployment.id);
    assert_eq!(
        (claimed.workflow_id, claimed.version),
        (deployment.workflow_id, 1)
    );
    assert_eq!(claimed.input, new.input);
    assert!(claimed.epoch >= 1);
    assert_eq!((claimed.checkpoint_seq, claimed.next_event_seq), (0, 1));
    assert!(claimed.frames.is_empty() && claimed.due_timers.is_empty());
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Running);
    assert_eq!(shown.started_at, Some(claimed.started_at));
    checkpoint(&store, Held::of(&claimed, owner).checkpoint(1))
        .await
        .unwrap();
}

pub async fn owned_execution_is_not_claimed(store: Shared, _: &dyn Fixture) {
    one_running(&store).await;
    let other = alive(&store).await;
    assert_eq!(store.claim(other, 10).await.unwrap(), vec![]);
}

pub async fn waiting_execution_is_claimed_only_when_due(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let late = running(&store, deployment.id, owner).await;
    let soon = running(&store, deployment.id, owner).await;
    checkpoint(&store, late.park(1, ahead(HOUR))).await.unwrap();
    let due_at = ahead(Duration::from_millis(150));
    checkpoint(&store, soon.park(1, due_at)).await.unwrap();
    let claimed = eventually("the timer", async || {
        store.claim(owner, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!(claimed.id, soon.id);
    assert_eq!(claimed.due_timers, vec![1]);
    let shown = store.execution(late.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Waiting);
}

pub async fn claim_brings_frames_due_timers_and_sequences(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let held = running(&store, deployment.id, owner).await;
    // Another execution's frames and timers stay its own.
    let other = running(&store, deployment.id, owner).await;
    let of_other = Checkpoint {
        upsert_frames: vec![frame(1, "\"other\"")],
        set_timers: vec![timer(1, ago(HOUR))],
        ..other.checkpoint(1)
    };
    checkpoint(&store, of_other).await.unwrap();
    checkpoint(
        &store,
        Checkpoint {
            upsert_frames: vec![frame(1, "1"), frame(u64::from(u32::MAX) + 7, "2")],
            events: events(1, 3),
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    checkpoint(
        &store,
        Checkpoint {
            set_timers: vec![
                timer(1, ago(HOUR)),
                timer(2, ago(HOUR * 2)),
                timer(3, ahead(HOUR)),
            ],
            events: events(4, 5),
            park: true,
            ..held.checkpoint(2)
        },
    )
    .await
    .unwrap();
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.id, held.id);
    assert_eq!(
        claimed.frames,
        vec![frame(1, "1"), frame(u64::from(u32::MAX) + 7, "2")]
    );
    assert_eq!(claimed.due_timers, vec![1, 2]);
    assert_eq!((claimed.checkpoint_seq, claimed.next_event_seq), (2, 6));
}

pub async fn due_timers_stay_until_cleared(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(&store, held.park(1, ago(HOUR))).await.unwrap();
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.due_timers, vec![1]);
    let (held, claimed) = reclaim(&store, Held::of(&claimed, held.owner)).await;
    assert_eq!(claimed.due_timers, vec![1]);
    let clear = Checkpoint {
        clear_timers: vec![1],
        ..held.checkpoint(2)
    };
    checkpoint(&store, clear).await.unwrap();
    let (_, claimed) = reclaim(&store, held).await;
    assert_eq!(claimed.due_timers, Vec::<u64>::new());
}

pub async fn oldest_due_comes_first(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let pending = admit(&store, &admission(deployment.id)).await.id;
    let one = running(&store, deployment.id, owner).await;
    let two = running(&store, deployment.id, owner).await;
    checkpoint(&store, one.park(1, ago(HOUR))).await.unwrap();
    checkpoint(&store, two.park(1, ago(HOUR * 2)))
        .await
        .unwrap();
    let claimed = store.claim(owner, 10).await.unwrap();
    let order: Vec<ExecutionId> = claimed.iter().map(|c| c.id).collect();
    assert_eq!(order, vec![two.id, one.id, pending]);
}

pub async fn limit_bounds_a_claim(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    for _ in 0..5 {
        admit(&store, &admission(deployment.id)).await;
    }
    assert_eq!(store.claim(owner, 2).await.unwrap().len(), 2);
    assert_eq!(store.claim(owner, 2).await.unwrap().len(), 2);
    assert_eq!(store.claim(owner, 2).await.unwrap().len(), 1);
    assert_eq!(store.claim(owner, 2).await.unwrap().len(), 0);
}

pub async fn concurrent_claims_are_disjoint_and_complete(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let mut admitted = HashSet::new();
    for _ in 0..60 {
        admitted.insert(admit(&store, &admission(deployment.id)).await.id);
    }
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let store = store.clone();
        let owner = alive(&store).await;
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let got = store.claim(owner, 7).await.unwrap();
                if got.is_empty() {
                    return mine;
                }
                mine.extend(got.into_iter().map(|c| c.id));
            }
        });
    }
    let claimed: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 60);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), admitted);
}

pub async fn dead_owner_claims_nothing(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    admit(&store, &admission(deployment.id)).await;
    assert_eq!(store.claim(dead(&store).await, 10).await.unwrap(), vec![]);
    assert_eq!(store.claim(IncarnationId::new(), 10).await.unwrap(), vec![]);
    claim_one(&store, alive(&store).await).await;
}

pub async fn next_due_tells_how_long_to_wait(store: Shared, _: &dyn Fixture) {
    assert_eq!(store.next_due().await.unwrap(), None);
    let held = one_running(&store).await;
    assert_eq!(
        store.next_due().await.unwrap(),
        None,
        "owned ones do not count"
    );
    checkpoint(&store, held.park(1, ahead(HOUR))).await.unwrap();
    let due = store.next_due().await.unwrap().unwrap();
    assert!(due <= HOUR && due + PATIENCE > HOUR, "{due:?}");
    let shown = store.execution(held.id).await.unwrap().unwrap();
    admit(&store, &admission(shown.deployment_id)).await;
    assert_eq!(store.next_due().await.unwrap(), Some(Duration::ZERO));
}

pub async fn owned_executions_are_listed_with_their_epochs(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let (owner, other) = (alive(&store).await, alive(&store).await);
    let first = running(&store, deployment.id, owner).await;
    let parked = running(&store, deployment.id, owner).await;
    running(&store, deployment.id, other).await;
    assert_eq!(store.owned(owner).await.unwrap().len(), 2);
    checkpoint(&store, parked.park(1, ahead(HOUR)))
        .await
        .unwrap();
    assert_eq!(
        store.owned(owner).await.unwrap(),
        vec![(first.id, first.epoch)]
    );
    assert_eq!(store.owned(IncarnationId::new()).await.unwrap(), vec![]);
}

pub async fn released_execution_is_due_at_once_with_a_raised_epoch(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    // A timer far ahead does not keep it back: it was at work.
    let set = Checkpoint {
        set_timers: vec![timer(1, ahead(HOUR))],
        ..held.checkpoint(1)
    };
    checkpoint(&store, set).await.unwrap();
    assert!(
        store
            .release(held.id, held.owner, held.epoch)
            .await
            .unwrap()
    );
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Pending);
    assert_eq!(store.next_due().await.unwrap(), Some(Duration::ZERO));
    assert_eq!(
        checkpoint(&store, held.checkpoint(2)).await,
        Err(WriteRefused::Fenced(held.id))
    );
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.id, held.id);
    assert!(
        claimed.epoch > held.epoch + 1,
        "raised by the release, and by the claim"
    );
    assert_eq!(
        Some(claimed.started_at),
        shown.started_at,
        "it started once"
    );
}

pub async fn release_is_fenced(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let other = alive(&store).await;
    assert!(!store.release(held.id, other, held.epoch).await.unwrap());
    assert!(
        !store
            .release(held.id, held.owner, held.epoch + 1)
            .await
            .unwrap()
    );
    assert!(
        !store
            .release(ExecutionId::new(), held.owner, held.epoch)
            .await
            .unwrap()
    );
    assert!(
        store
            .release(held.id, held.owner, held.epoch)
            .await
            .unwrap()
    );
    assert!(
        !store
            .release(held.id, held.owner, held.epoch)
            .await
            .unwrap()
    );
}
