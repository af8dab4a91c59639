//! Retention.

use std::time::Duration;

use millrace_types::ExecutionStatus;

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, admission, admit, ahead, alive, checkpoint, end, events, eventually, keyed,
    live, one_running, page, running,
};
use crate::{Admission, Dedupe, Ending, ExecutionFilter};

/// Maintains until nothing is left to do.
async fn maintained(store: &Shared) {
    eventually("the end of maintenance", async || {
        (!store.maintain().await.unwrap()).then_some(())
    })
    .await;
}

pub async fn expired_dedupe_rows_do_not_stop_maintenance(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let short = Admission {
        dedupe: Some(Dedupe {
            key: "short".into(),
            keep: Duration::from_millis(1),
        }),
        ..admission(deployment.id)
    };
    admit(&store, &short).await;
    let long = admit(&store, &keyed(deployment.id, "long")).await;
    maintained(&store).await;
    eventually("the key's expiry", async || {
        maintained(&store).await;
        let again = Admission {
            id: millrace_types::ExecutionId::new(),
            ..short.clone()
        };
        admit(&store, &again).await.fresh.then_some(())
    })
    .await;
    let again = admit(&store, &keyed(deployment.id, "long")).await;
    assert_eq!((again.fresh, again.id), (false, long.id));
}

async fn ended(store: &Shared, held: Held, retention_days: u16) {
    let ending = Ending {
        events: events(1, 2),
        retention_days,
        ..held.success()
    };
    end(store, ending).await.unwrap();
}

pub async fn execution_is_kept_within_its_retention(store: Shared, fixture: &dyn Fixture) {
    let held = one_running(&store).await;
    maintained(&store).await;
    ended(&store, held, 7).await;
    fixture.age_ended(6).await;
    maintained(&store).await;
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Succeeded);
}

pub async fn execution_past_its_retention_is_gone(store: Shared, fixture: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    maintained(&store).await;
    let short = running(&store, deployment.id, owner).await;
    let long = running(&store, deployment.id, owner).await;
    ended(&store, short, 3).await;
    ended(&store, long, 30).await;
    fixture.age_ended(5).await;
    maintained(&store).await;
    assert_eq!(store.execution(short.id).await.unwrap(), None);
    assert_eq!(
        store.execution_events(short.id, &page(10)).await.unwrap(),
        None
    );
    let listed = store
        .list_executions(&ExecutionFilter::default(), &page(10))
        .await
        .unwrap();
    assert_eq!(
        listed.items.iter().map(|e| e.id).collect::<Vec<_>>(),
        vec![long.id]
    );
}

pub async fn live_execution_is_never_removed(store: Shared, fixture: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let pending = admit(&store, &admission(deployment.id)).await;
    let parked = running(&store, deployment.id, owner).await;
    checkpoint(&store, parked.park(1, ahead(HOUR * 24 * 60)))
        .await
        .unwrap();
    fixture.age_ended(400).await;
    maintained(&store).await;
    for id in [pending.id, parked.id] {
        assert!(store.execution(id).await.unwrap().is_some());
    }
}
