//! Leases of processes, and what happens when one runs out.

use std::time::Duration;

use millrace_types::{ExecutionStatus, IncarnationId};

use super::Fixture;
use super::support::{
    HOUR, Held, LONG, Shared, ahead, alive, checkpoint, claim_one, end, eventually, frame, live,
    one_running, running,
};
use crate::{Checkpoint, WriteRefused};

/// A lease that is waited out.
const SHORT: Duration = Duration::from_millis(80);
/// Long enough to be prolonged in time on a busy machine.
const MEDIUM: Duration = Duration::from_secs(2);

/// An execution whose owner's lease soon runs out.
async fn soon_orphaned(store: &Shared) -> Held {
    let deployment = live(store, "orders").await;
    let owner = alive(store).await;
    let held = running(store, deployment.id, owner).await;
    assert!(store.heartbeat(owner, SHORT).await.unwrap());
    held
}

async fn taken_over(store: &Shared, limit: u32) -> u64 {
    eventually("the takeover", async || {
        let taken = store.take_over_expired(limit).await.unwrap();
        (taken > 0).then_some(taken)
    })
    .await
}

pub async fn expired_owner_loses_its_executions(store: Shared, _: &dyn Fixture) {
    let orphan = soon_orphaned(&store).await;
    assert_eq!(taken_over(&store, 10).await, 1);
    assert_eq!(store.take_over_expired(10).await.unwrap(), 0);
    let shown = store.execution(orphan.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Pending);
    assert_eq!(store.next_due().await.unwrap(), Some(Duration::ZERO));
    let claimed = claim_one(&store, alive(&store).await).await;
    assert_eq!(claimed.id, orphan.id);
    assert!(
        claimed.epoch > orphan.epoch + 1,
        "raised by the takeover, and by the claim"
    );
}

pub async fn writes_of_an_expired_owner_are_fenced_once_taken_over(store: Shared, _: &dyn Fixture) {
    let orphan = soon_orphaned(&store).await;
    taken_over(&store, 10).await;
    let fenced = Err(WriteRefused::Fenced(orphan.id));
    assert_eq!(checkpoint(&store, orphan.checkpoint(1)).await, fenced);
    assert_eq!(end(&store, orphan.success()).await, fenced);
    assert!(
        !store
            .release(orphan.id, orphan.owner, orphan.epoch)
            .await
            .unwrap()
    );
    // Not even with the epoch that is stored now.
    let owner = alive(&store).await;
    let held = Held::of(&claim_one(&store, owner).await, owner);
    let forged = Held {
        epoch: held.epoch,
        ..orphan
    };
    assert_eq!(end(&store, forged.success()).await, fenced);
    end(&store, held.success()).await.unwrap();
}

pub async fn living_owner_keeps_its_executions(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "others").await;
    let owner = alive(&store).await;
    let kept = running(&store, deployment.id, owner).await;
    let parked = running(&store, deployment.id, owner).await;
    checkpoint(&store, parked.park(1, ahead(HOUR)))
        .await
        .unwrap();
    let orphan = soon_orphaned(&store).await;
    assert_eq!(taken_over(&store, 10).await, 1);
    assert_ne!(orphan.id, kept.id);
    checkpoint(&store, kept.checkpoint(1)).await.unwrap();
    let shown = store.execution(parked.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Waiting);
}

pub async fn takeover_is_bounded(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    for _ in 0..3 {
        running(&store, deployment.id, owner).await;
    }
    store.void_all_leases().await.unwrap();
    assert_eq!(taken_over(&store, 2).await, 2);
    assert_eq!(store.take_over_expired(2).await.unwrap(), 1);
    assert_eq!(store.take_over_expired(2).await.unwrap(), 0);
}

pub async fn frames_survive_a_takeover(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let kept = Checkpoint {
        upsert_frames: vec![frame(1, "[1]")],
        ..held.checkpoint(1)
    };
    checkpoint(&store, kept).await.unwrap();
    store.void_all_leases().await.unwrap();
    taken_over(&store, 10).await;
    let claimed = claim_one(&store, alive(&store).await).await;
    assert_eq!(claimed.frames, vec![frame(1, "[1]")]);
    assert_eq!(claimed.checkpoint_seq, 1);
}

pub async fn heartbeat_prolongs_a_lease(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = IncarnationId::new();
    store.register(owner, MEDIUM).await.unwrap();
    assert!(store.heartbeat(owner, LONG).await.unwrap());
    let kept = running(&store, deployment.id, owner).await;
    // Another lease of the first one's length, run out, proves that the
    // time has passed.
    let other = alive(&store).await;
    let orphan = running(&store, deployment.id, other).await;
    assert!(store.heartbeat(other, MEDIUM).await.unwrap());
    assert_eq!(taken_over(&store, 10).await, 1);
    checkpoint(&store, kept.checkpoint(1)).await.unwrap();
    assert_eq!(
        checkpoint(&store, orphan.checkpoint(1)).await,
        Err(WriteRefused::Fenced(orphan.id))
    );
}

pub async fn heartbeat_cannot_revive_an_expired_lease(store: Shared, _: &dyn Fixture) {
    let orphan = soon_orphaned(&store).await;
    taken_over(&store, 10).await;
    assert!(!store.heartbeat(orphan.owner, LONG).await.unwrap());
    assert_eq!(store.claim(orphan.owner, 10).await.unwrap(), vec![]);
}

pub async fn heartbeat_of_an_unknown_incarnation_is_refused(store: Shared, _: &dyn Fixture) {
    assert!(!store.heartbeat(IncarnationId::new(), LONG).await.unwrap());
}

pub async fn retired_incarnation_hands_over_at_once(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let other = alive(&store).await;
    let held = running(&store, deployment.id, owner).await;
    running(&store, deployment.id, owner).await;
    let kept = running(&store, deployment.id, other).await;
    assert_eq!(store.retire(owner).await.unwrap(), 2);
    assert_eq!(store.retire(owner).await.unwrap(), 0);
    assert!(!store.heartbeat(owner, LONG).await.unwrap());
    assert_eq!(
        end(&store, held.success()).await,
        Err(WriteRefused::Fenced(held.id))
    );
    let claimed = store.claim(other, 10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(
        claimed
            .iter()
            .all(|c| c.id != kept.id && c.epoch > held.epoch + 1)
    );
    checkpoint(&store, kept.checkpoint(1)).await.unwrap();
}

pub async fn voiding_ends_every_lease(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let idle = alive(&store).await;
    store.void_all_leases().await.unwrap();
    for owner in [held.owner, idle] {
        assert!(!store.heartbeat(owner, LONG).await.unwrap());
        assert_eq!(store.claim(owner, 10).await.unwrap(), vec![]);
    }
    assert_eq!(store.take_over_expired(10).await.unwrap(), 1);
}

pub async fn ping_answers(store: Shared, _: &dyn Fixture) {
    store.ping().await.unwrap();
}
