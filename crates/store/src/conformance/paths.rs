//! Webhook paths: one holder for each path and method.

use millrace_types::DeploymentStatus;
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{Shared, bundle, deploy, live, page, webhook, with_triggers};
use crate::{DeployRefused, DeploymentFilter, DeploymentRecord, TriggerRecord};

fn named<'a>(deployment: &'a DeploymentRecord, name: &str) -> &'a TriggerRecord {
    deployment
        .triggers
        .iter()
        .find(|t| t.name.as_deref() == Some(name))
        .expect("the trigger is there")
}

async fn stored(store: &Shared, deployment: &DeploymentRecord) -> DeploymentRecord {
    store.deployment(deployment.id).await.unwrap().unwrap()
}

pub async fn taken_path_is_refused_and_nothing_has_changed(store: Shared, _: &dyn Fixture) {
    let holder = deploy(
        &store,
        &with_triggers(
            bundle("holder", 1),
            vec![webhook(None, "orders/{region}", &["POST", "PUT"])],
        ),
    )
    .await
    .unwrap()
    .deployment;
    let other = live(&store, "other").await;
    // Of a deployment that exists, and of one that does not.
    for name in ["other", "fresh"] {
        let new = with_triggers(
            bundle(name, 2),
            vec![
                webhook(None, "free", &["POST"]),
                webhook(None, "orders/{land}", &["GET", "PUT"]),
            ],
        );
        match deploy(&store, &new).await.unwrap_err() {
            DeployRefused::PathTaken {
                trigger,
                path,
                method,
                holder: by,
            } => {
                assert_eq!(
                    (trigger, path.as_str(), method.as_str()),
                    (1, "orders/{land}", "PUT")
                );
                assert_eq!(by, holder.id);
            }
            refused => panic!("{refused}"),
        }
    }
    assert_eq!(stored(&store, &other).await, other);
    assert_eq!(store.version(other.workflow_id, 2).await.unwrap(), None);
    assert_eq!(store.webhooks(&["free".into()]).await.unwrap(), vec![]);
    let listed = store
        .list_deployments(&DeploymentFilter::default(), &page(10))
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 2, "the refused workflow was not made");
}

pub async fn path_is_free_once_its_holder_is_archived(store: Shared, _: &dyn Fixture) {
    let first = with_triggers(bundle("first", 1), vec![webhook(None, "orders", &["POST"])]);
    let second = with_triggers(
        bundle("second", 1),
        vec![webhook(None, "orders", &["POST"])],
    );
    let holder = deploy(&store, &first).await.unwrap().deployment;
    deploy(&store, &second).await.unwrap_err();
    store
        .set_deployment_status(holder.id, DeploymentStatus::Archived)
        .await
        .unwrap()
        .unwrap();
    let taker = deploy(&store, &second).await.unwrap().deployment;
    let found = store.webhooks(&["orders".into()]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].deployment_id, taker.id);
}

pub async fn path_is_free_once_its_holder_no_longer_has_it(store: Shared, _: &dyn Fixture) {
    let first = with_triggers(bundle("first", 1), vec![webhook(None, "orders", &["POST"])]);
    let second = with_triggers(
        bundle("second", 1),
        vec![webhook(None, "orders", &["POST"])],
    );
    deploy(&store, &first).await.unwrap();
    let moved = with_triggers(bundle("first", 2), vec![webhook(None, "moved", &["POST"])]);
    deploy(&store, &moved).await.unwrap();
    deploy(&store, &second).await.unwrap();
    deploy(&store, &first).await.unwrap_err();
}

pub async fn deployment_may_keep_and_move_its_own_paths(store: Shared, _: &dyn Fixture) {
    let new = with_triggers(
        bundle("orders", 1),
        vec![
            webhook(Some("a"), "x", &["POST"]),
            webhook(Some("b"), "y", &["POST"]),
        ],
    );
    let first = deploy(&store, &new).await.unwrap().deployment;
    // The two change places.
    let new = with_triggers(
        bundle("orders", 2),
        vec![
            webhook(Some("a"), "y", &["POST"]),
            webhook(Some("b"), "x", &["POST"]),
        ],
    );
    let second = deploy(&store, &new).await.unwrap().deployment;
    let found = store.webhooks(&["x".into()]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].trigger, *named(&second, "b"));
    assert_eq!(found[0].trigger.id, named(&first, "b").id);
}

pub async fn one_path_serves_two_deployments_by_method(store: Shared, _: &dyn Fixture) {
    let posts = with_triggers(
        bundle("posts", 1),
        vec![webhook(None, "orders/{id}", &["POST"])],
    );
    let puts = with_triggers(
        bundle("puts", 1),
        vec![webhook(None, "orders/{key}", &["PUT", "PATCH"])],
    );
    let posts = deploy(&store, &posts).await.unwrap().deployment;
    let puts = deploy(&store, &puts).await.unwrap().deployment;
    let mut found = store.webhooks(&["orders/{}".into()]).await.unwrap();
    found.sort_by(|a, b| a.method.cmp(&b.method));
    let seen: Vec<_> = found
        .iter()
        .map(|m| (m.method.as_str(), m.deployment_id, m.path.as_str()))
        .collect();
    assert_eq!(
        seen,
        vec![
            ("PATCH", puts.id, "orders/{key}"),
            ("POST", posts.id, "orders/{id}"),
            ("PUT", puts.id, "orders/{key}"),
        ]
    );
}

pub async fn revival_is_refused_when_its_path_was_taken_meanwhile(store: Shared, _: &dyn Fixture) {
    let first = with_triggers(bundle("first", 1), vec![webhook(None, "orders", &["POST"])]);
    let second = with_triggers(
        bundle("second", 1),
        vec![webhook(None, "orders", &["POST"])],
    );
    let archived = deploy(&store, &first).await.unwrap().deployment;
    let archived = store
        .set_deployment_status(archived.id, DeploymentStatus::Archived)
        .await
        .unwrap()
        .unwrap();
    let holder = deploy(&store, &second).await.unwrap().deployment;
    match deploy(&store, &first).await.unwrap_err() {
        DeployRefused::PathTaken { holder: by, .. } => assert_eq!(by, holder.id),
        refused => panic!("{refused}"),
    }
    assert_eq!(stored(&store, &archived).await, archived);
}

pub async fn concurrent_deploys_on_one_path_leave_one_holder(store: Shared, _: &dyn Fixture) {
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let new = with_triggers(
                bundle(&format!("w{n}"), 1),
                vec![webhook(None, "orders", &["POST"])],
            );
            deploy(&store, &new).await
        });
    }
    let (done, refused): (Vec<_>, Vec<_>) =
        tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    let winner = done.into_iter().next().unwrap().unwrap().deployment;
    for refusal in refused {
        match refusal.unwrap_err() {
            DeployRefused::PathTaken { holder, .. } => assert_eq!(holder, winner.id),
            refused => panic!("{refused}"),
        }
    }
    let listed = store
        .list_deployments(&DeploymentFilter::default(), &page(10))
        .await
        .unwrap();
    assert_eq!(listed.items, vec![winner]);
}
