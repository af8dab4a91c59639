//! Admissions that are refused.

use millrace_types::{DeploymentId, DeploymentStatus, TriggerKind};

use super::Fixture;
use super::support::{
    Shared, admission, admit, admitted, bundle, commit, cron, deploy, keyed, live, try_admit,
    with_triggers,
};
use crate::{Admission, AdmissionRefused, TriggerRef, Write, WriteRefused};

fn refusal(reason: AdmissionRefused) -> WriteRefused {
    WriteRefused::Admission(reason)
}

pub async fn unknown_deployment_is_refused(store: Shared, _: &dyn Fixture) {
    let unknown = DeploymentId::new();
    let new = admission(unknown);
    assert_eq!(
        try_admit(&store, &new).await.unwrap_err(),
        refusal(AdmissionRefused::DeploymentUnknown(unknown))
    );
    assert_eq!(store.execution(new.id).await.unwrap(), None);
}

pub async fn paused_and_archived_deployments_are_refused(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    for status in [DeploymentStatus::Paused, DeploymentStatus::Archived] {
        store
            .set_deployment_status(deployment.id, status)
            .await
            .unwrap()
            .unwrap();
        let new = keyed(deployment.id, "k");
        assert_eq!(
            try_admit(&store, &new).await.unwrap_err(),
            refusal(AdmissionRefused::DeploymentNotLive(deployment.id, status))
        );
        assert_eq!(store.execution(new.id).await.unwrap(), None);
    }
}

pub async fn stale_revision_is_refused(store: Shared, _: &dyn Fixture) {
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
    let by = |n: usize| Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((first.triggers[n].id, first.triggers[n].revision)),
        },
        ..admission(first.id)
    };
    assert!(admit(&store, &by(0)).await.fresh);
    assert!(admit(&store, &by(1)).await.fresh);
    // One changes, the other leaves.
    deploy(
        &store,
        &with_triggers(bundle("orders", 1), vec![cron(Some("a"), "0 2 * * *")]),
    )
    .await
    .unwrap();
    for n in 0..2 {
        assert_eq!(
            try_admit(&store, &by(n)).await.unwrap_err(),
            refusal(AdmissionRefused::TriggerStale(first.triggers[n].id))
        );
    }
}

pub async fn trigger_of_another_deployment_is_refused(store: Shared, _: &dyn Fixture) {
    let one = deploy(
        &store,
        &with_triggers(bundle("one", 1), vec![cron(None, "0 1 * * *")]),
    )
    .await
    .unwrap()
    .deployment;
    let two = live(&store, "two").await;
    let new = Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((one.triggers[0].id, one.triggers[0].revision)),
        },
        ..admission(two.id)
    };
    assert_eq!(
        try_admit(&store, &new).await.unwrap_err(),
        refusal(AdmissionRefused::TriggerStale(one.triggers[0].id))
    );
}

pub async fn disabled_trigger_is_refused(store: Shared, _: &dyn Fixture) {
    let mut off = cron(None, "0 1 * * *");
    off.enabled = false;
    let deployment = deploy(&store, &with_triggers(bundle("orders", 1), vec![off]))
        .await
        .unwrap()
        .deployment;
    let trigger = &deployment.triggers[0];
    let new = Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((trigger.id, trigger.revision)),
        },
        ..admission(deployment.id)
    };
    assert_eq!(
        try_admit(&store, &new).await.unwrap_err(),
        refusal(AdmissionRefused::TriggerDisabled(trigger.id))
    );
}

pub async fn refusals_leave_neighbours_alone(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let paused = live(&store, "paused").await;
    store
        .set_deployment_status(paused.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    let unknown = DeploymentId::new();
    let good = [
        admission(deployment.id),
        keyed(deployment.id, "k"),
        admission(deployment.id),
    ];
    let writes = vec![
        Write::Admit(admission(unknown)),
        Write::Admit(good[0].clone()),
        Write::Admit(admission(paused.id)),
        Write::Admit(good[1].clone()),
        Write::Admit(good[2].clone()),
    ];
    let outcomes = commit(&store, &writes).await.unwrap();
    assert_eq!(
        outcomes[0],
        Err(refusal(AdmissionRefused::DeploymentUnknown(unknown)))
    );
    assert_eq!(
        outcomes[2],
        Err(refusal(AdmissionRefused::DeploymentNotLive(
            paused.id,
            DeploymentStatus::Paused
        )))
    );
    for (at, expected) in [1, 3, 4].into_iter().zip(&good) {
        let answer = admitted(outcomes[at].clone().unwrap());
        assert!(answer.fresh);
        assert_eq!(answer.id, expected.id);
        assert!(store.execution(expected.id).await.unwrap().is_some());
    }
}
