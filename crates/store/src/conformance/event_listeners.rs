//! Who listens to events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_types::{DeploymentId, DeploymentStatus, ExecutionId, TriggerKind};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{PATIENCE, Shared, bundle, deploy, event, eventually, page, with_triggers};
use crate::{
    Admission, AdmissionRefused, DeploymentRecord, ExecutionFilter, Gathered, Gathering,
    NewTrigger, TriggerRef,
};

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

/// An event for the first trigger of a deployment, which has two filters.
fn gathering(deployment: &DeploymentRecord, fits: u64, key: &str) -> Gathering {
    let trigger = &deployment.triggers[0];
    Gathering {
        trigger: trigger.id,
        revision: trigger.revision,
        wants: trigger.spec_json.clone(),
        filters: 2,
        fits,
        key: key.into(),
        event: Bytes::from(format!(r#"{{"id":"{key}"}}"#)),
        keep: Duration::from_hours(1),
        admission: Admission {
            id: ExecutionId::new(),
            deployment_id: deployment.id,
            trigger: TriggerRef {
                kind: TriggerKind::Event,
                id: Some((trigger.id, trigger.revision)),
            },
            input: Bytes::new(),
            dedupe: None,
            owner: None,
            traceparent: None,
            rerun_of: None,
        },
    }
}

pub async fn events_of_all_filters_start_something_together(store: Shared, _: &dyn Fixture) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    let gather = async |fits, key| store.gather(&gathering(&made, fits, key)).await.unwrap();
    assert_eq!(gather(0b10, "b1").await, Gathered::Waits);
    assert_eq!(gather(0b10, "b1").await, Gathered::Waits, "it is known");
    assert_eq!(gather(0b10, "b2").await, Gathered::Waits);
    let Gathered::Started(first) = gather(0b01, "a1").await else {
        panic!("all are there");
    };
    let shown = store.execution(first).await.unwrap().unwrap();
    assert_eq!(&shown.input[..], br#"[{"id":"b1"},{"id":"a1"}]"#);
    assert_eq!(shown.trigger_id, Some(made.triggers[0].id));
    for known in ["a1", "b1"] {
        assert_eq!(gather(0b01, known).await, Gathered::Started(first));
    }
    // The second one has waited since.
    let Gathered::Started(second) = gather(0b01, "a2").await else {
        panic!("all are there");
    };
    let shown = store.execution(second).await.unwrap().unwrap();
    assert_eq!(&shown.input[..], br#"[{"id":"b2"},{"id":"a2"}]"#);
    let Gathered::Started(third) = gather(0b11, "both").await else {
        panic!("it is one for each");
    };
    let shown = store.execution(third).await.unwrap().unwrap();
    assert_eq!(&shown.input[..], br#"[{"id":"both"}]"#);
}

pub async fn what_is_gathered_goes_with_what_the_trigger_was(store: Shared, _: &dyn Fixture) {
    let before = deployed(&store, "made", vec![event(None, "made")]).await;
    let gathered = store.gather(&gathering(&before, 0b10, "b1")).await;
    assert_eq!(gathered.unwrap(), Gathered::Waits);
    let mut changed = event(None, "made");
    changed.spec_json = r#"{"type":"event","all":[{}]}"#.into();
    let after = deployed(&store, "made", vec![changed]).await;
    let id = before.triggers[0].id;
    if after.triggers[0].id == id {
        let gathered = store.gather(&gathering(&before, 0b01, "a1")).await;
        let stale = AdmissionRefused::TriggerStale(id);
        assert_eq!(gathered.unwrap(), Gathered::Refused(stale));
    }
    let gathered = store.gather(&gathering(&after, 0b01, "a1")).await;
    assert_eq!(gathered.unwrap(), Gathered::Waits);
}

pub async fn what_is_gathered_outlives_a_pause(store: Shared, _: &dyn Fixture) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    let gathered = store.gather(&gathering(&made, 0b10, "b1")).await;
    assert_eq!(gathered.unwrap(), Gathered::Waits);
    let set = async |status| {
        store.set_deployment_status(made.id, status).await.unwrap();
        store.deployment(made.id).await.unwrap().unwrap()
    };
    let paused = set(DeploymentStatus::Paused).await;
    let refused = AdmissionRefused::DeploymentNotLive(made.id, DeploymentStatus::Paused);
    let gathered = store.gather(&gathering(&paused, 0b01, "a1")).await;
    assert_eq!(gathered.unwrap(), Gathered::Refused(refused));
    // What had come before waits still; what was refused has left no trace.
    let live = set(DeploymentStatus::Deployed).await;
    let last = gathering(&live, 0b01, "a1");
    let started = store.gather(&last).await.unwrap();
    assert_eq!(started, Gathered::Started(last.admission.id));
}

/// Gathers, and tries again when the database asks for it.
async fn gathered(store: &Shared, gathering: &Gathering) -> Gathered {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.gather(gathering).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            done => return done.unwrap(),
        }
    }
}

pub async fn events_that_come_at_once_find_each_other(store: Shared, _: &dyn Fixture) {
    const EACH: u32 = 20;
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    let mut gathers = JoinSet::new();
    for n in 0..EACH {
        for (fits, kind) in [(0b01, "a"), (0b10, "b")] {
            let one = gathering(&made, fits, &format!("{kind}{n}"));
            let store = Arc::clone(&store);
            gathers.spawn(async move { gathered(&store, &one).await });
        }
    }
    let outcomes = gathers.join_all().await;
    let started: BTreeSet<_> = outcomes.iter().filter_map(Gathered::execution).collect();
    assert_eq!(started.len(), EACH as usize, "{outcomes:?}");
    let all = ExecutionFilter::default();
    let listed = store.list_executions(&all, &page(100)).await.unwrap();
    assert_eq!(listed.items.len(), EACH as usize);
    // One of each kind in every execution, and none in two.
    let mut ids = BTreeSet::new();
    for id in started {
        let shown = store.execution(id).await.unwrap().unwrap();
        let input: Vec<serde_json::Value> = serde_json::from_slice(&shown.input).unwrap();
        let names: BTreeSet<String> = input
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        let kinds: Vec<_> = names.iter().map(|name| &name[..1]).collect();
        assert_eq!(kinds, ["a", "b"], "{names:?}");
        ids.extend(names);
    }
    assert_eq!(ids.len(), 2 * EACH as usize);
}

pub async fn what_waits_for_one_filter_keeps_out_nothing_for_another(
    store: Shared,
    _: &dyn Fixture,
) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    // As large as one may be: few of them use up what may wait.
    let large = format!("{{}}{}", " ".repeat((4 << 20) - 2));
    let mut full = 0;
    for n in 0..9 {
        let gathering = Gathering {
            event: Bytes::from(large.clone()),
            ..gathering(&made, 0b10, &format!("b{n}"))
        };
        match store.gather(&gathering).await.unwrap() {
            Gathered::Waits => assert_eq!(full, 0, "what is full stays full"),
            Gathered::Full => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(full > 0, "what waits is bounded");
    let first = gathering(&made, 0b01, "a1");
    let started = store.gather(&first).await.unwrap();
    assert_eq!(started, Gathered::Started(first.admission.id));
    // What has started leaves its place.
    let again = store.gather(&gathering(&made, 0b10, "b9")).await;
    assert_eq!(again.unwrap(), Gathered::Waits);
}

pub async fn what_has_started_something_is_known_for_as_long_as_it_is_kept(
    store: Shared,
    _: &dyn Fixture,
) {
    let made = deployed(&store, "made", vec![event(None, "made")]).await;
    let started = async |key, keep| {
        let gathering = Gathering {
            keep,
            ..gathering(&made, 0b11, key)
        };
        match store.gather(&gathering).await.unwrap() {
            Gathered::Started(id) => id,
            other => panic!("{other:?}"),
        }
    };
    let long = started("long", Duration::from_hours(1)).await;
    let short = started("short", Duration::from_millis(1)).await;
    eventually("its expiry", async || {
        (started("short", Duration::from_hours(1)).await != short).then_some(())
    })
    .await;
    started("short again", Duration::from_millis(1)).await;
    eventually("the end of maintenance", async || {
        (!store.maintain().await.unwrap()).then_some(())
    })
    .await;
    assert_eq!(started("long", Duration::from_hours(1)).await, long);
}
