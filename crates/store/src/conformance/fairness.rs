//! Claims when more is due than they may take.

use std::collections::HashSet;

use millrace_types::{DeploymentId, ExecutionId};

use super::Fixture;
use super::support::{Shared, admission, alive, bundle, commit, deploy, live, sealed};
use crate::Write;

async fn pending(store: &Shared, deployment: DeploymentId, count: usize) -> HashSet<ExecutionId> {
    let writes: Vec<Write> = (0..count)
        .map(|_| Write::Admit(admission(deployment)))
        .collect();
    for batch in writes.chunks(256) {
        for outcome in commit(store, batch).await.unwrap() {
            outcome.unwrap();
        }
    }
    writes
        .iter()
        .map(|write| match write {
            Write::Admit(admission) => admission.id,
            _ => unreachable!("only admissions"),
        })
        .collect()
}

async fn claimed(
    store: &Shared,
    owner: millrace_types::IncarnationId,
    limit: u32,
) -> Vec<ExecutionId> {
    let claimed = store.claim(owner, limit).await.unwrap();
    claimed.iter().map(|claimed| claimed.id).collect()
}

pub async fn flood_leaves_room_for_others(store: Shared, _: &dyn Fixture) {
    let flood = live(&store, "flood").await;
    pending(&store, flood.id, 1_000).await;
    let mut others = HashSet::new();
    for n in 0..3 {
        let other = live(&store, &format!("other-{n}")).await;
        others.extend(pending(&store, other.id, 1).await);
    }
    let owner = alive(&store).await;
    let first = claimed(&store, owner, 16).await;
    assert_eq!(first.len(), 16);
    assert!(others.iter().all(|id| first.contains(id)), "{first:?}");
}

pub async fn small_claims_go_round(store: Shared, _: &dyn Fixture) {
    let flood = live(&store, "flood").await;
    pending(&store, flood.id, 100).await;
    let mut others = HashSet::new();
    for n in 0..3 {
        let other = live(&store, &format!("other-{n}")).await;
        others.extend(pending(&store, other.id, 1).await);
    }
    let owner = alive(&store).await;
    // Every second claim of one goes round.
    for _ in 0..10 {
        for id in claimed(&store, owner, 1).await {
            others.remove(&id);
        }
    }
    assert!(others.is_empty(), "{others:?} are left behind");
}

pub async fn higher_priority_is_claimed_first(store: Shared, _: &dyn Fixture) {
    let low = live(&store, "low").await;
    let first = pending(&store, low.id, 40).await;
    let mut urgent = bundle("urgent", 1);
    urgent.settings.priority = 50;
    let urgent = deploy(&store, &sealed(urgent)).await.unwrap().deployment;
    let second = pending(&store, urgent.id, 40).await;
    let owner = alive(&store).await;
    let taken = claimed(&store, owner, 20).await;
    let of_low = taken.iter().filter(|id| first.contains(id)).count();
    let of_urgent = taken.iter().filter(|id| second.contains(id)).count();
    assert_eq!((of_low, of_urgent), (1, 19));
    // Priority decides who comes first, not whether one comes at all.
    let mut left = 60;
    while left > 0 {
        let taken = claimed(&store, owner, 20).await.len();
        assert!(taken > 0, "{left} are left behind");
        left -= taken;
    }
}
