//! Making bundles live.

use millrace_types::{DeploymentStatus, TriggerId};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{Shared, bundle, cron, deploy, live, sealed, webhook, with_triggers};
use crate::{DeploymentRecord, SealedSecrets, TriggerRecord};

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

pub async fn first_deploy_makes_version_one_live(store: Shared, _: &dyn Fixture) {
    let mut new = with_triggers(
        bundle("orders", 1),
        vec![
            cron(Some("nightly"), "0 2 * * *"),
            webhook(None, "orders/{region}", &["POST"]),
        ],
    );
    new.labels.insert("team".into(), "shop".into());
    new.config_json = r#"{"b":1,"a":12345678901234567890}"#.into();
    let new = sealed(new);
    let deployed = deploy(&store, &new).await.unwrap();
    assert!(deployed.changed);
    let record = deployed.deployment;
    assert_eq!(
        (record.version, record.workflow_version.as_str()),
        (1, "1.0.0")
    );
    assert_eq!(
        (record.namespace.as_str(), record.name.as_str()),
        ("default", "orders")
    );
    assert_eq!(record.status, DeploymentStatus::Deployed);
    assert!(record.deployed_at.is_some());
    assert_eq!(record.config_json, new.config_json);
    assert_eq!(record.labels, new.labels);
    assert_eq!(record.triggers.len(), 2);
    for (stored, given) in record.triggers.iter().zip(&new.triggers) {
        assert_eq!(stored.kind, given.kind);
        assert_eq!(stored.name, given.name);
        assert_eq!(stored.spec_json, given.spec_json);
        assert_eq!((stored.enabled, stored.revision), (true, 1));
    }
    assert_eq!(stored(&store, &record).await, record);
}

pub async fn same_bundle_again_changes_nothing(store: Shared, _: &dyn Fixture) {
    let new = with_triggers(
        bundle("orders", 1),
        vec![webhook(None, "orders", &["POST"])],
    );
    let first = deploy(&store, &new).await.unwrap();
    let again = deploy(&store, &new).await.unwrap();
    assert!(first.changed);
    assert!(!again.changed);
    assert_eq!(again.deployment, first.deployment);
}

pub async fn other_bundle_makes_the_next_version(store: Shared, _: &dyn Fixture) {
    let first = deploy(&store, &bundle("orders", 1))
        .await
        .unwrap()
        .deployment;
    let second = deploy(&store, &bundle("orders", 2)).await.unwrap();
    assert!(second.changed);
    let second = second.deployment;
    assert_eq!(second.version, 2);
    assert_eq!(second.workflow_version, "2.0.0");
    assert_eq!(
        (second.id, second.workflow_id),
        (first.id, first.workflow_id)
    );
    assert_eq!(second.created_at, first.created_at);
    assert!(second.deployed_at >= first.deployed_at);
}

pub async fn earlier_bundle_brings_its_version_back(store: Shared, _: &dyn Fixture) {
    deploy(&store, &bundle("orders", 1)).await.unwrap();
    deploy(&store, &bundle("orders", 2)).await.unwrap();
    let back = deploy(&store, &bundle("orders", 1)).await.unwrap();
    assert!(back.changed);
    assert_eq!(back.deployment.version, 1);
    let third = deploy(&store, &bundle("orders", 3)).await.unwrap();
    assert_eq!(third.deployment.version, 3);
}

pub async fn versions_are_read_back_as_posted(store: Shared, _: &dyn Fixture) {
    let mut new = bundle("orders", 1);
    new.definition_json = r#"{"z":1,"a":"\u0000","n":1e400,"i":9007199254740993}"#.into();
    new.source = "# häh? 𝄞\nz: 1\n".into();
    let new = sealed(new);
    let record = deploy(&store, &new).await.unwrap().deployment;
    deploy(&store, &bundle("orders", 2)).await.unwrap();
    let version = store.version(record.workflow_id, 1).await.unwrap().unwrap();
    assert_eq!(version.workflow_id, record.workflow_id);
    assert_eq!(version.version, 1);
    assert_eq!(version.workflow_version, new.workflow_version);
    assert_eq!(version.digest, new.digest);
    assert_eq!(version.definition_json, new.definition_json);
    assert_eq!(version.source, new.source);
    assert_eq!(store.version(record.workflow_id, 3).await.unwrap(), None);
}

pub async fn triggers_that_stay_keep_id_and_revision(store: Shared, _: &dyn Fixture) {
    let triggers = vec![
        cron(Some("a"), "0 1 * * *"),
        webhook(Some("b"), "b", &["POST"]),
    ];
    let first = deploy(
        &store,
        &with_triggers(bundle("orders", 1), triggers.clone()),
    )
    .await
    .unwrap()
    .deployment;
    // Another position, with one more in front, is no change.
    let mut more = triggers;
    more.reverse();
    more.insert(0, cron(Some("c"), "0 3 * * *"));
    let second = deploy(&store, &with_triggers(bundle("orders", 2), more))
        .await
        .unwrap()
        .deployment;
    assert_eq!(second.triggers.len(), 3);
    assert_eq!(named(&second, "a"), named(&first, "a"));
    assert_eq!(named(&second, "b"), named(&first, "b"));
    assert_eq!(stored(&store, &second).await, second);
}

pub async fn changed_trigger_keeps_its_id_and_raises_its_revision(store: Shared, _: &dyn Fixture) {
    let first = deploy(
        &store,
        &with_triggers(
            bundle("orders", 1),
            vec![cron(Some("a"), "0 1 * * *"), cron(Some("b"), "0 1 * * *")],
        ),
    )
    .await
    .unwrap()
    .deployment;
    let mut disabled = cron(Some("b"), "0 1 * * *");
    disabled.enabled = false;
    let second = deploy(
        &store,
        &with_triggers(
            bundle("orders", 1),
            vec![cron(Some("a"), "0 2 * * *"), disabled],
        ),
    )
    .await
    .unwrap()
    .deployment;
    for name in ["a", "b"] {
        assert_eq!(named(&second, name).id, named(&first, name).id);
        assert!(named(&second, name).revision > named(&first, name).revision);
    }
    assert!(!named(&second, "b").enabled);
    assert!(named(&second, "a").spec_json.contains("0 2"));
}

pub async fn changed_secret_raises_the_revision_and_is_found_by_path_alone(
    store: Shared,
    _: &dyn Fixture,
) {
    let secret = |sealed: &str, fingerprint: &str| {
        let mut trigger = webhook(Some("a"), "a", &["POST"]);
        trigger.secrets = Some(SealedSecrets {
            sealed: sealed.into(),
            fingerprint: fingerprint.into(),
        });
        with_triggers(bundle("orders", 1), vec![trigger])
    };
    let found = || async {
        let found = store.webhooks(&["a".into()]).await.unwrap();
        (found[0].sealed_secrets.clone(), found[0].trigger.revision)
    };
    let first = deploy(&store, &secret("one", "f1")).await.unwrap();
    assert_eq!(found().await, (Some("one".into()), 1));
    assert!(!first.deployment.triggers[0].spec_json.contains("one"));
    // Sealed anew, the same secret is no change of the trigger.
    deploy(&store, &secret("uno", "f1")).await.unwrap();
    assert_eq!(found().await.1, 1);
    let third = deploy(&store, &secret("two", "f2")).await.unwrap();
    assert_eq!(
        third.deployment.triggers[0].id,
        first.deployment.triggers[0].id
    );
    assert_eq!(found().await, (Some("two".into()), 2));
    let open = with_triggers(
        bundle("orders", 1),
        vec![webhook(Some("a"), "a", &["POST"])],
    );
    deploy(&store, &open).await.unwrap();
    assert_eq!(found().await, (None, 3));
}

pub async fn nameless_triggers_are_told_apart_by_kind_and_position(store: Shared, _: &dyn Fixture) {
    let first = deploy(
        &store,
        &with_triggers(
            bundle("orders", 1),
            vec![cron(None, "0 1 * * *"), cron(None, "0 2 * * *")],
        ),
    )
    .await
    .unwrap()
    .deployment;
    // A webhook in front leaves the crons where they are among their kind.
    let second = deploy(
        &store,
        &with_triggers(
            bundle("orders", 2),
            vec![
                webhook(None, "w", &["POST"]),
                cron(None, "0 1 * * *"),
                cron(None, "0 3 * * *"),
            ],
        ),
    )
    .await
    .unwrap()
    .deployment;
    assert_eq!(second.triggers[1], first.triggers[0]);
    assert_eq!(second.triggers[2].id, first.triggers[1].id);
    assert!(second.triggers[2].revision > first.triggers[1].revision);
    assert!(first.triggers.iter().all(|t| t.id != second.triggers[0].id));
}

pub async fn nameless_trigger_that_leaves_takes_no_other_with_it(store: Shared, _: &dyn Fixture) {
    let [a, b, c] = ["a", "b", "c"].map(|path| webhook(None, path, &["POST"]));
    let first = with_triggers(bundle("orders", 1), vec![a.clone(), b.clone()]);
    let first = deploy(&store, &first).await.unwrap().deployment;
    let second = with_triggers(bundle("orders", 1), vec![b.clone(), c]);
    let second = deploy(&store, &second).await.unwrap().deployment;
    assert_eq!(second.triggers[0], first.triggers[1]);
    // What is new takes the place of what left.
    assert_eq!(second.triggers[1].id, first.triggers[0].id);
    assert!(second.triggers[1].revision > first.triggers[0].revision);
    let third = with_triggers(bundle("orders", 1), vec![b]);
    let third = deploy(&store, &third).await.unwrap().deployment;
    assert_eq!(third.triggers, first.triggers[1..]);
    let found = store.webhooks(&["b".into()]).await.unwrap();
    assert_eq!(found[0].trigger, first.triggers[1]);
    assert!(
        store
            .webhooks(&["a".into(), "c".into()])
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn trigger_is_found_by_its_id(store: Shared, _: &dyn Fixture) {
    let new = with_triggers(
        bundle("orders", 1),
        vec![webhook(None, "a", &["POST"]), cron(Some("n"), "0 1 * * *")],
    );
    let record = deploy(&store, &new).await.unwrap().deployment;
    for trigger in &record.triggers {
        let found = store.trigger(trigger.id).await.unwrap();
        assert_eq!(found, Some((record.id, trigger.clone())));
    }
    assert_eq!(store.trigger(TriggerId::new()).await.unwrap(), None);
}

pub async fn trigger_that_left_is_gone(store: Shared, _: &dyn Fixture) {
    let first = deploy(
        &store,
        &with_triggers(
            bundle("orders", 1),
            vec![
                webhook(Some("a"), "a", &["POST"]),
                webhook(Some("b"), "b", &["POST"]),
            ],
        ),
    )
    .await
    .unwrap()
    .deployment;
    let second = deploy(
        &store,
        &with_triggers(
            bundle("orders", 2),
            vec![webhook(Some("b"), "b", &["POST"])],
        ),
    )
    .await
    .unwrap()
    .deployment;
    assert_eq!(second.triggers, vec![named(&first, "b").clone()]);
    assert_eq!(store.webhooks(&["a".into()]).await.unwrap(), vec![]);
    assert_eq!(store.webhooks(&["b".into()]).await.unwrap().len(), 1);
}

pub async fn paused_deployment_stays_paused(store: Shared, _: &dyn Fixture) {
    let first = live(&store, "orders").await;
    store
        .set_deployment_status(first.id, DeploymentStatus::Paused)
        .await
        .unwrap()
        .unwrap();
    let second = deploy(&store, &bundle("orders", 2))
        .await
        .unwrap()
        .deployment;
    assert_eq!(second.status, DeploymentStatus::Paused);
    assert_eq!(second.version, 2);
    assert_eq!(stored(&store, &first).await, second);
}

pub async fn archived_deployment_is_revived_with_its_ids(store: Shared, _: &dyn Fixture) {
    let new = with_triggers(
        bundle("orders", 1),
        vec![webhook(Some("a"), "a", &["POST"])],
    );
    let first = deploy(&store, &new).await.unwrap().deployment;
    let archived = store
        .set_deployment_status(first.id, DeploymentStatus::Archived)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(archived.status, DeploymentStatus::Archived);
    let revived = deploy(&store, &new).await.unwrap();
    assert!(revived.changed, "it was not live");
    let revived = revived.deployment;
    assert_eq!(revived.status, DeploymentStatus::Deployed);
    assert_eq!(
        (revived.id, revived.workflow_id),
        (first.id, first.workflow_id)
    );
    assert_eq!(revived.version, 1);
    assert_eq!(revived.triggers.len(), 1);
    assert_eq!(revived.triggers[0].id, first.triggers[0].id);
    assert!(revived.triggers[0].revision > first.triggers[0].revision);
    assert_eq!(store.webhooks(&["a".into()]).await.unwrap().len(), 1);
}

pub async fn concurrent_deploys_of_one_workflow_take_effect_one_after_the_other(
    store: Shared,
    _: &dyn Fixture,
) {
    let mut tasks = JoinSet::new();
    for edition in 1..=8 {
        let store = store.clone();
        tasks.spawn(async move {
            let new = with_triggers(
                bundle("orders", edition),
                vec![webhook(None, "orders", &["POST"])],
            );
            (new.clone(), deploy(&store, &new).await.unwrap().deployment)
        });
    }
    let done = tasks.join_all().await;
    let mut versions: Vec<u32> = done.iter().map(|(_, d)| d.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    let id = done[0].1.id;
    let last = store.deployment(id).await.unwrap().unwrap();
    for (new, deployed) in &done {
        assert_eq!(deployed.id, id);
        assert_eq!(deployed.triggers[0].id, last.triggers[0].id);
        let version = store
            .version(deployed.workflow_id, deployed.version)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            version.digest, new.digest,
            "each got the version of its own bundle"
        );
    }
    assert!(done.iter().any(|(_, deployed)| *deployed == last));
}

pub async fn concurrent_deploys_of_one_bundle_change_once(store: Shared, _: &dyn Fixture) {
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { deploy(&store, &bundle("orders", 1)).await.unwrap() });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.iter().filter(|d| d.changed).count(), 1);
    assert!(done.iter().all(|d| d.deployment == done[0].deployment));
}
