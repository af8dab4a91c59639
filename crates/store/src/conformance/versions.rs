//! Versions: listed, found, and brought back with all that belonged to them.

use std::time::Instant;

use millrace_types::{DeploymentStatus, WorkflowId};

use super::Fixture;
use super::support::{
    PATIENCE, Shared, bundle, cron, deploy, page, sealed, webhook, with_triggers,
};
use crate::{DeployRefused, Deployed, NewDeployment, PageRequest};

/// Redeploys, and tries again when the database asks for it.
async fn redeploy(
    store: &Shared,
    bundle: &NewDeployment,
    live: u32,
) -> Result<Deployed, DeployRefused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.redeploy(bundle, live).await {
            Err(DeployRefused::Store(error))
                if error.is_transient() && Instant::now() < deadline =>
            {
                tokio::task::yield_now().await;
            }
            done => return done,
        }
    }
}

pub async fn versions_are_listed_newest_first_in_pages(store: Shared, _: &dyn Fixture) {
    let mut workflow = WorkflowId::new();
    for edition in 1..=5 {
        let deployed = deploy(&store, &bundle("orders", edition)).await.unwrap();
        workflow = deployed.deployment.workflow_id;
    }
    // Another workflow's versions are no part of it.
    deploy(&store, &bundle("others", 1)).await.unwrap();
    let mut seen = Vec::new();
    let mut request = page(2);
    loop {
        let got = store.list_versions(workflow, &request).await.unwrap();
        assert!(got.items.len() <= 2);
        seen.extend(got.items);
        match got.next {
            Some(next) => {
                request = PageRequest {
                    cursor: Some(next),
                    limit: 2,
                }
            }
            None => break,
        }
    }
    let numbers: Vec<_> = seen.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    for version in seen {
        let whole = store.version(workflow, version.version).await.unwrap();
        let whole = whole.unwrap();
        assert_eq!(version.digest, whole.digest);
        assert_eq!(version.workflow_version, whole.workflow_version);
        assert_eq!(version.created_at, whole.created_at);
    }
    let none = store.list_versions(WorkflowId::new(), &page(2)).await;
    assert!(none.unwrap().items.is_empty());
}

pub async fn version_is_found_by_its_digest(store: Shared, _: &dyn Fixture) {
    let (one, two) = (bundle("orders", 1), bundle("orders", 2));
    let workflow = deploy(&store, &one).await.unwrap().deployment.workflow_id;
    deploy(&store, &two).await.unwrap();
    let other = deploy(&store, &bundle("others", 1)).await.unwrap();
    let find =
        async |workflow, digest: &str| store.version_by_digest(workflow, digest).await.unwrap();
    assert_eq!(find(workflow, &one.digest).await, Some(1));
    assert_eq!(find(workflow, &two.digest).await, Some(2));
    assert_eq!(find(workflow, "none").await, None);
    assert_eq!(find(other.deployment.workflow_id, &one.digest).await, None);
}

fn rich() -> NewDeployment {
    let mut off = cron(Some("nightly"), "0 2 * * *");
    off.enabled = false;
    let mut rich = with_triggers(
        bundle("orders", 1),
        vec![off, webhook(None, "orders/{region}", &["POST", "PUT"])],
    );
    rich.config_json = r#"{"z":1,"a":12345678901234567890123}"#.into();
    rich.labels.insert("team\"'".into(), "ä".into());
    sealed(rich)
}

pub async fn bundle_is_given_back_as_it_was_deployed(store: Shared, _: &dyn Fixture) {
    let first = rich();
    let workflow = deploy(&store, &first).await.unwrap().deployment.workflow_id;
    let second = bundle("orders", 2);
    deploy(&store, &second).await.unwrap();
    assert_eq!(store.bundle(workflow, 1).await.unwrap(), Some(first));
    assert_eq!(store.bundle(workflow, 2).await.unwrap(), Some(second));
    assert_eq!(store.bundle(workflow, 3).await.unwrap(), None);
    assert_eq!(store.bundle(WorkflowId::new(), 1).await.unwrap(), None);
}

pub async fn bundle_deployed_again_brings_triggers_and_settings_back(
    store: Shared,
    _: &dyn Fixture,
) {
    let first = deploy(&store, &rich()).await.unwrap().deployment;
    deploy(&store, &bundle("orders", 2)).await.unwrap();
    let kept = store.bundle(first.workflow_id, 1).await.unwrap().unwrap();
    let back = redeploy(&store, &kept, 2).await.unwrap();
    assert!(back.changed);
    let back = back.deployment;
    assert_eq!((back.id, back.version), (first.id, 1));
    assert_eq!(back.config_json, first.config_json);
    assert_eq!(back.labels, first.labels);
    let specs = |record: &crate::DeploymentRecord| -> Vec<_> {
        let triggers = record.triggers.iter();
        triggers
            .map(|t| (t.kind, t.name.clone(), t.enabled, t.spec_json.clone()))
            .collect()
    };
    assert_eq!(specs(&back), specs(&first));
    let listening = store.webhooks(&["orders/{}".into()]).await.unwrap();
    assert_eq!(listening.len(), 2);
}

pub async fn redeploy_goes_by_what_is_live(store: Shared, _: &dyn Fixture) {
    let unknown = redeploy(&store, &bundle("orders", 1), 1).await;
    assert!(matches!(unknown, Err(DeployRefused::Moved)), "{unknown:?}");
    let id = deploy(&store, &bundle("orders", 1))
        .await
        .unwrap()
        .deployment
        .id;
    let stale = redeploy(&store, &bundle("orders", 2), 7).await;
    assert!(matches!(stale, Err(DeployRefused::Moved)), "{stale:?}");
    assert_eq!(store.deployment(id).await.unwrap().unwrap().version, 1);
    let second = redeploy(&store, &bundle("orders", 2), 1).await.unwrap();
    assert_eq!((second.deployment.version, second.changed), (2, true));
    let same = redeploy(&store, &bundle("orders", 2), 2).await.unwrap();
    assert_eq!((same.deployment.version, same.changed), (2, false));
}

pub async fn redeploy_revives_nothing(store: Shared, _: &dyn Fixture) {
    let id = deploy(&store, &bundle("orders", 1))
        .await
        .unwrap()
        .deployment
        .id;
    store
        .set_deployment_status(id, DeploymentStatus::Archived)
        .await
        .unwrap();
    for edition in [1, 2] {
        let refused = redeploy(&store, &bundle("orders", edition), 1).await;
        assert!(matches!(refused, Err(DeployRefused::Moved)), "{refused:?}");
    }
    let record = store.deployment(id).await.unwrap().unwrap();
    assert_eq!(record.status, DeploymentStatus::Archived);
}

pub async fn concurrent_redeploys_take_effect_once(store: Shared, _: &dyn Fixture) {
    deploy(&store, &bundle("orders", 1)).await.unwrap();
    let (two, three) = (bundle("orders", 2), bundle("orders", 3));
    let (a, b) = tokio::join!(redeploy(&store, &two, 1), redeploy(&store, &three, 1));
    let moved = [&a, &b]
        .into_iter()
        .filter(|answer| matches!(answer, Err(DeployRefused::Moved)))
        .count();
    assert_eq!(moved, 1, "{a:?} {b:?}");
    assert!(a.is_ok() || b.is_ok());
}
