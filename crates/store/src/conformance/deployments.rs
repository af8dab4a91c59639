//! Reading deployments, and pausing, resuming and archiving them.

use millrace_types::{DeploymentId, DeploymentStatus, WorkflowId};

use super::Fixture;
use super::support::{Shared, bundle, cron, deploy, live, page, sealed, webhook, with_triggers};
use crate::{DeploymentFilter, DeploymentRecord, PageRequest};

async fn list(store: &Shared, filter: DeploymentFilter) -> Vec<String> {
    let page = store.list_deployments(&filter, &page(100)).await.unwrap();
    assert_eq!(page.next, None);
    page.items.into_iter().map(|d| d.name).collect()
}

async fn set(
    store: &Shared,
    id: DeploymentId,
    status: DeploymentStatus,
) -> Option<DeploymentRecord> {
    store.set_deployment_status(id, status).await.unwrap()
}

pub async fn unknown_deployment_is_none(store: Shared, _: &dyn Fixture) {
    assert_eq!(store.deployment(DeploymentId::new()).await.unwrap(), None);
    assert_eq!(store.version(WorkflowId::new(), 1).await.unwrap(), None);
    assert_eq!(
        set(&store, DeploymentId::new(), DeploymentStatus::Paused).await,
        None
    );
}

pub async fn list_is_newest_first_in_pages_without_gap_or_repeat(store: Shared, _: &dyn Fixture) {
    let mut made = Vec::new();
    for n in 0..7 {
        made.push(live(&store, &format!("w{n}")).await);
    }
    made.sort_by_key(|d| std::cmp::Reverse(d.id));
    let mut seen = Vec::new();
    let mut request = page(3);
    let mut sizes = Vec::new();
    loop {
        let got = store
            .list_deployments(&DeploymentFilter::default(), &request)
            .await
            .unwrap();
        sizes.push(got.items.len());
        seen.extend(got.items);
        if sizes.len() == 1 {
            // What is made while someone reads does not shift the pages.
            live(&store, "later").await;
        }
        match got.next {
            Some(next) => {
                request = PageRequest {
                    cursor: Some(next),
                    limit: 3,
                }
            }
            None => break,
        }
    }
    assert_eq!(sizes, vec![3, 3, 1]);
    assert_eq!(seen, made);
}

pub async fn list_filters_by_status_namespace_name_and_label(store: Shared, _: &dyn Fixture) {
    let mut a = bundle("a", 1);
    a.labels.insert("team".into(), "shop".into());
    a.labels.insert("tier\"'.$[0]".into(), "ä%_".into());
    deploy(&store, &sealed(a)).await.unwrap();
    let mut b = bundle("b", 1);
    b.namespace = "other".into();
    b.labels.insert("team".into(), "ops".into());
    let b = deploy(&store, &sealed(b)).await.unwrap().deployment;
    set(&store, b.id, DeploymentStatus::Paused).await.unwrap();
    live(&store, "c").await;

    let by = DeploymentFilter::default;
    assert_eq!(list(&store, by()).await, ["c", "b", "a"]);
    let status = |status| DeploymentFilter {
        status: Some(status),
        ..by()
    };
    assert_eq!(list(&store, status(DeploymentStatus::Paused)).await, ["b"]);
    assert_eq!(
        list(&store, status(DeploymentStatus::Deployed)).await,
        ["c", "a"]
    );
    let namespace = DeploymentFilter {
        namespace: Some("other".into()),
        ..by()
    };
    assert_eq!(list(&store, namespace.clone()).await, ["b"]);
    let name = DeploymentFilter {
        name: Some("a".into()),
        ..by()
    };
    assert_eq!(list(&store, name.clone()).await, ["a"]);
    let label = |key: &str, value: &str| DeploymentFilter {
        label: Some((key.into(), value.into())),
        ..by()
    };
    assert_eq!(list(&store, label("team", "shop")).await, ["a"]);
    assert_eq!(list(&store, label("tier\"'.$[0]", "ä%_")).await, ["a"]);
    assert_eq!(
        list(&store, label("team", "nobody")).await,
        Vec::<String>::new()
    );
    let both = DeploymentFilter {
        name: Some("a".into()),
        ..namespace
    };
    assert_eq!(list(&store, both).await, Vec::<String>::new());
}

pub async fn list_shows_archived_only_when_asked(store: Shared, _: &dyn Fixture) {
    let gone = live(&store, "gone").await;
    live(&store, "here").await;
    set(&store, gone.id, DeploymentStatus::Archived)
        .await
        .unwrap();
    assert_eq!(list(&store, DeploymentFilter::default()).await, ["here"]);
    let archived = DeploymentFilter {
        status: Some(DeploymentStatus::Archived),
        ..DeploymentFilter::default()
    };
    assert_eq!(list(&store, archived).await, ["gone"]);
}

pub async fn pause_and_resume_raise_every_revision(store: Shared, _: &dyn Fixture) {
    let triggers = vec![cron(None, "0 1 * * *"), webhook(None, "a", &["POST"])];
    let live = deploy(&store, &with_triggers(bundle("orders", 1), triggers))
        .await
        .unwrap()
        .deployment;
    let paused = set(&store, live.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    assert_eq!(paused.status, DeploymentStatus::Paused);
    let resumed = set(&store, live.id, DeploymentStatus::Deployed)
        .await
        .unwrap();
    assert_eq!(resumed.status, DeploymentStatus::Deployed);
    for (n, trigger) in live.triggers.iter().enumerate() {
        assert_eq!(paused.triggers[n].id, trigger.id);
        assert!(paused.triggers[n].revision > trigger.revision);
        assert!(resumed.triggers[n].revision > paused.triggers[n].revision);
    }
    assert_eq!(store.deployment(live.id).await.unwrap().unwrap(), resumed);
}

pub async fn same_status_again_changes_nothing(store: Shared, _: &dyn Fixture) {
    let triggers = vec![cron(None, "0 1 * * *")];
    let live = deploy(&store, &with_triggers(bundle("orders", 1), triggers))
        .await
        .unwrap()
        .deployment;
    assert_eq!(
        set(&store, live.id, DeploymentStatus::Deployed).await,
        Some(live.clone())
    );
    let paused = set(&store, live.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    assert_eq!(
        set(&store, live.id, DeploymentStatus::Paused).await,
        Some(paused)
    );
}

pub async fn archived_deployment_takes_no_status(store: Shared, _: &dyn Fixture) {
    let live = live(&store, "orders").await;
    let archived = set(&store, live.id, DeploymentStatus::Archived)
        .await
        .unwrap();
    for status in [DeploymentStatus::Deployed, DeploymentStatus::Paused] {
        assert_eq!(set(&store, live.id, status).await, None);
    }
    assert_eq!(store.deployment(live.id).await.unwrap(), Some(archived));
}

pub async fn webhooks_are_found_by_shape(store: Shared, _: &dyn Fixture) {
    let new = with_triggers(
        bundle("orders", 1),
        vec![
            webhook(Some("one"), "orders/{region}", &["POST"]),
            webhook(Some("two"), "orders/eu", &["POST", "PUT"]),
            webhook(Some("three"), "other", &["POST"]),
        ],
    );
    let live = deploy(&store, &new).await.unwrap().deployment;
    let shapes = ["orders/{}".into(), "orders/eu".into(), "{}/{}".into()];
    let mut found = store.webhooks(&shapes).await.unwrap();
    found.sort_by(|a, b| (&a.shape, &a.method).cmp(&(&b.shape, &b.method)));
    let seen: Vec<_> = found
        .iter()
        .map(|m| (m.shape.as_str(), m.method.as_str(), m.path.as_str()))
        .collect();
    assert_eq!(
        seen,
        vec![
            ("orders/eu", "POST", "orders/eu"),
            ("orders/eu", "PUT", "orders/eu"),
            ("orders/{}", "POST", "orders/{region}"),
        ]
    );
    for one in &found {
        assert_eq!(one.deployment_id, live.id);
        assert_eq!(one.workflow_id, live.workflow_id);
        assert_eq!(one.deployment_status, DeploymentStatus::Deployed);
        assert!(live.triggers.contains(&one.trigger));
    }
    assert_eq!(store.webhooks(&[]).await.unwrap(), vec![]);
    assert_eq!(store.webhooks(&["nothing".into()]).await.unwrap(), vec![]);
}

pub async fn webhooks_of_paused_and_disabled_say_so(store: Shared, _: &dyn Fixture) {
    let mut off = webhook(None, "a", &["POST"]);
    off.enabled = false;
    let live = deploy(&store, &with_triggers(bundle("orders", 1), vec![off]))
        .await
        .unwrap()
        .deployment;
    let paused = set(&store, live.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    let found = store.webhooks(&["a".into()]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].deployment_status, DeploymentStatus::Paused);
    assert_eq!(found[0].trigger, paused.triggers[0]);
    assert!(!found[0].trigger.enabled);
}
