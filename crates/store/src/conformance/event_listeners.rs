//! Who listens to events.

use millrace_types::{DeploymentId, DeploymentStatus};

use super::Fixture;
use super::support::{Shared, bundle, deploy, event, with_triggers};
use crate::{DeploymentRecord, NewTrigger};

async fn deployed(store: &Shared, name: &str, triggers: Vec<NewTrigger>) -> DeploymentRecord {
    let new = with_triggers(bundle(name, 1), triggers);
    deploy(store, &new).await.unwrap().deployment
}

async fn listening(store: &Shared, event_type: &str) -> Vec<DeploymentId> {
    let found = store.event_listeners(event_type, None, 1000).await.unwrap();
    found.into_iter().map(|found| found.deployment_id).collect()
}

pub async fn listeners_are_found_by_the_type_of_the_event(store: Shared, _: &dyn Fixture) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    let all = deployed(&store, "all", vec![event(Some("all"), "")]).await;
    deployed(&store, "paid", vec![event(None, "paid")]).await;
    assert_eq!(listening(&store, "made").await, [made.id, all.id]);
    assert_eq!(listening(&store, "other").await, [all.id]);
    let mut after = None;
    for one in [&made, &all] {
        let found = store.event_listeners("made", after, 1).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].trigger, one.triggers[0]);
        after = Some(found[0].trigger.id);
    }
    let found = store.event_listeners("made", after, 1).await.unwrap();
    assert_eq!(found, vec![]);
}

pub async fn only_what_takes_triggers_listens(store: Shared, _: &dyn Fixture) {
    let mut disabled = event(None, "made");
    disabled.enabled = false;
    deployed(&store, "disabled", vec![disabled]).await;
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    for (status, expected) in [
        (DeploymentStatus::Paused, &[][..]),
        (DeploymentStatus::Deployed, &[made.id]),
        (DeploymentStatus::Archived, &[]),
    ] {
        store.set_deployment_status(made.id, status).await.unwrap();
        assert_eq!(listening(&store, "made").await, expected, "{status}");
    }
}

pub async fn listeners_follow_the_bundle(store: Shared, _: &dyn Fixture) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    deployed(
        &store,
        "made",
        vec![event(None, "paid"), event(None, "sent")],
    )
    .await;
    assert!(listening(&store, "made").await.is_empty());
    assert_eq!(listening(&store, "paid").await, [made.id]);
    assert_eq!(listening(&store, "sent").await, [made.id]);
    deployed(&store, "made", vec![]).await;
    assert!(listening(&store, "paid").await.is_empty());
}
