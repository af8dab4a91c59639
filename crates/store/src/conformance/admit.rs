//! Admitting executions.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use millrace_types::{
    DeploymentId, DeploymentStatus, ExecutionId, ExecutionStatus, IncarnationId, TriggerKind,
};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{
    Shared, admission, admit, admitted, alive, bundle, commit, cron, dead, deploy, end, eventually,
    keyed, live, one_running, running, try_admit, with_triggers,
};
use crate::{Admission, AdmissionRefused, Dedupe, TriggerRef, Write, WriteRefused};

fn refusal(reason: AdmissionRefused) -> WriteRefused {
    WriteRefused::Admission(reason)
}

pub async fn fresh_admission_is_pending_and_shown(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let new = admission(deployment.id);
    let answer = admit(&store, &new).await;
    assert_eq!(answer.id, new.id);
    assert!(answer.fresh);
    assert_eq!(answer.status, ExecutionStatus::Pending);
    assert_eq!(
        (answer.workflow_id, answer.version),
        (deployment.workflow_id, 1)
    );
    assert_eq!(answer.owned, None);
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.id, new.id);
    assert_eq!(shown.deployment_id, deployment.id);
    assert_eq!(
        (shown.workflow_id, shown.version),
        (deployment.workflow_id, 1)
    );
    assert_eq!(shown.status, ExecutionStatus::Pending);
    assert_eq!(
        (shown.trigger_kind, shown.trigger_id),
        (TriggerKind::Manual, None)
    );
    assert_eq!(shown.input, new.input);
    assert_eq!((shown.output, shown.error), (None, None));
    assert_eq!(shown.created_at, answer.created_at);
    assert_eq!(
        (shown.started_at, shown.ended_at, shown.rerun_of),
        (None, None, None)
    );
}

pub async fn living_owner_runs_it_from_the_admission_on(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let new = Admission {
        owner: Some(owner),
        ..admission(deployment.id)
    };
    let answer = admit(&store, &new).await;
    assert_eq!(answer.status, ExecutionStatus::Running);
    assert_eq!(answer.owned, Some(1));
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Running);
    assert!(shown.started_at.is_some());
}

pub async fn dead_owner_leaves_it_pending(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    for owner in [dead(&store).await, IncarnationId::new()] {
        let new = Admission {
            owner: Some(owner),
            ..admission(deployment.id)
        };
        let answer = admit(&store, &new).await;
        assert!(answer.fresh);
        assert_eq!(answer.status, ExecutionStatus::Pending);
        assert_eq!(answer.owned, None);
    }
    let claimed = store.claim(alive(&store).await, 10).await.unwrap();
    assert_eq!(claimed.len(), 2);
}

pub async fn repeated_id_gets_the_first_answer(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let new = admission(deployment.id);
    let first = admit(&store, &new).await;
    let other = Admission {
        input: Bytes::from_static(b"\"other\""),
        owner: Some(alive(&store).await),
        ..new.clone()
    };
    let again = admit(&store, &other).await;
    assert!(!again.fresh);
    assert_eq!(again.id, first.id);
    assert_eq!(again.created_at, first.created_at);
    assert_eq!(
        (again.workflow_id, again.version),
        (first.workflow_id, first.version)
    );
    assert_eq!(again.owned, None, "a repeat does not take it");
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.input, new.input);
    assert_eq!(shown.status, ExecutionStatus::Pending);
}

pub async fn repeated_id_after_the_end_gets_the_first_answer(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    end(&store, held.success()).await.unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    let again = admit(
        &store,
        &Admission {
            id: held.id,
            owner: Some(held.owner),
            ..admission(shown.deployment_id)
        },
    )
    .await;
    assert!(!again.fresh);
    assert_eq!(again.id, held.id);
    assert_eq!(again.status, ExecutionStatus::Succeeded);
    assert_eq!(again.created_at, shown.created_at);
    assert_eq!(again.owned, None);
    assert_eq!(store.execution(held.id).await.unwrap().unwrap(), shown);
}

/// Its first answer may have been lost: nobody else would ever run it.
pub async fn owner_that_repeats_is_told_that_it_owns(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let new = Admission {
        owner: Some(alive(&store).await),
        ..keyed(deployment.id, "k")
    };
    let first = admit(&store, &new).await;
    let again = admit(&store, &new).await;
    assert_eq!((first.fresh, again.fresh), (true, false));
    assert_eq!(again.status, ExecutionStatus::Running);
    assert_eq!(again.owned, first.owned);
    let other = Admission {
        owner: Some(alive(&store).await),
        ..new
    };
    assert_eq!(admit(&store, &other).await.owned, None);
}

pub async fn repeated_id_in_one_batch_is_admitted_once(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let new = admission(deployment.id);
    let writes = vec![Write::Admit(new.clone()); 3];
    let answers: Vec<_> = commit(&store, &writes)
        .await
        .unwrap()
        .into_iter()
        .map(|done| admitted(done.unwrap()))
        .collect();
    assert_eq!(
        answers.iter().map(|a| a.fresh).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert!(
        answers
            .iter()
            .all(|a| a.id == new.id && a.created_at == answers[0].created_at)
    );
}

pub async fn repeated_key_gets_the_first_answer(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let first = keyed(deployment.id, "order-1");
    let second = keyed(deployment.id, "order-1");
    let first_answer = admit(&store, &first).await;
    let again = admit(&store, &second).await;
    assert!(first_answer.fresh && !again.fresh);
    assert_eq!(again.id, first.id);
    assert_eq!(again.created_at, first_answer.created_at);
    assert_eq!(
        (again.workflow_id, again.version),
        (first_answer.workflow_id, 1)
    );
    assert_eq!(again.owned, None);
    assert_eq!(store.execution(second.id).await.unwrap(), None);
    let other = admit(&store, &keyed(deployment.id, "order-2")).await;
    assert!(other.fresh);
}

pub async fn repeated_key_in_one_batch_is_admitted_once(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let writes: Vec<_> = ["a", "b", "a", "a"]
        .map(|key| Write::Admit(keyed(deployment.id, key)))
        .into();
    let answers: Vec<_> = commit(&store, &writes)
        .await
        .unwrap()
        .into_iter()
        .map(|done| admitted(done.unwrap()))
        .collect();
    assert_eq!(
        answers.iter().map(|a| a.fresh).collect::<Vec<_>>(),
        [true, true, false, false]
    );
    assert_eq!(answers[2].id, answers[0].id);
    assert_eq!(answers[3].id, answers[0].id);
    assert_ne!(answers[1].id, answers[0].id);
}

pub async fn repeated_key_after_the_end_gets_the_first_answer(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let new = Admission {
        owner: Some(owner),
        ..keyed(deployment.id, "k")
    };
    let first = admit(&store, &new).await;
    let held = super::support::Held {
        id: first.id,
        owner,
        epoch: first.owned.unwrap(),
    };
    end(&store, held.success()).await.unwrap();
    let again = admit(&store, &keyed(deployment.id, "k")).await;
    assert!(!again.fresh);
    assert_eq!(again.id, first.id);
    assert_eq!(again.status, ExecutionStatus::Succeeded);
}

pub async fn concurrent_repeats_of_a_key_make_one_execution(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let store = store.clone();
        let id = deployment.id;
        tasks.spawn(async move {
            // Two keys in either order, among others: writers meet crosswise.
            let mut keys = vec!["x".to_owned(), format!("own-{n}"), "y".to_owned()];
            if n % 2 == 1 {
                keys.reverse();
            }
            let writes: Vec<_> = keys.iter().map(|k| Write::Admit(keyed(id, k))).collect();
            let outcomes = commit(&store, &writes).await.unwrap();
            keys.into_iter()
                .zip(outcomes.into_iter().map(|done| admitted(done.unwrap())))
                .collect::<Vec<_>>()
        });
    }
    let all: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    for key in ["x", "y"] {
        let of_key: Vec<_> = all
            .iter()
            .filter(|(k, _)| k == key)
            .map(|(_, a)| a)
            .collect();
        assert_eq!(of_key.iter().filter(|a| a.fresh).count(), 1, "key {key}");
        assert_eq!(
            of_key.iter().map(|a| a.id).collect::<HashSet<_>>().len(),
            1,
            "key {key}"
        );
    }
    assert_eq!(all.iter().filter(|(_, a)| a.fresh).count(), 14);
    let claimed = store.claim(alive(&store).await, 100).await.unwrap();
    assert_eq!(claimed.len(), 14);
}

pub async fn same_key_on_another_deployment_is_another_execution(store: Shared, _: &dyn Fixture) {
    let one = live(&store, "one").await;
    let two = live(&store, "two").await;
    assert!(admit(&store, &keyed(one.id, "k")).await.fresh);
    assert!(admit(&store, &keyed(two.id, "k")).await.fresh);
}

pub async fn expired_key_is_free_again(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let short = || Admission {
        dedupe: Some(Dedupe {
            key: "k".into(),
            keep: Duration::from_millis(80),
        }),
        ..admission(deployment.id)
    };
    let first = admit(&store, &short()).await;
    let second = eventually("the key's expiry", async || {
        let answer = admit(&store, &short()).await;
        answer.fresh.then_some(answer)
    })
    .await;
    assert_ne!(second.id, first.id);
    // The key now stands for the second one.
    assert!(store.execution(first.id).await.unwrap().is_some());
    assert!(store.execution(second.id).await.unwrap().is_some());
}

pub async fn repeat_is_answered_though_the_deployment_is_paused(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let new = keyed(deployment.id, "k");
    admit(&store, &new).await;
    store
        .set_deployment_status(deployment.id, DeploymentStatus::Paused)
        .await
        .unwrap();
    assert!(!admit(&store, &new).await.fresh);
    let by_key = admit(&store, &keyed(deployment.id, "k")).await;
    assert_eq!((by_key.fresh, by_key.id), (false, new.id));
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

pub async fn refused_first_use_of_a_key_leaves_it_free(store: Shared, _: &dyn Fixture) {
    let deployment = deploy(
        &store,
        &with_triggers(bundle("orders", 1), vec![cron(None, "0 1 * * *")]),
    )
    .await
    .unwrap()
    .deployment;
    let trigger = &deployment.triggers[0];
    let stale = Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((trigger.id, trigger.revision + 1)),
        },
        ..keyed(deployment.id, "k")
    };
    let good = keyed(deployment.id, "k");
    let outcomes = commit(&store, &[Write::Admit(stale), Write::Admit(good.clone())])
        .await
        .unwrap();
    assert_eq!(
        outcomes[0],
        Err(refusal(AdmissionRefused::TriggerStale(trigger.id)))
    );
    let answer = admitted(outcomes[1].clone().unwrap());
    assert_eq!((answer.fresh, answer.id), (true, good.id));
}

pub async fn input_is_kept_byte_for_byte(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let texts = [
        r#"{"z":1,"a":2,"m":{"y":[],"b":null}}"#,
        "{\"a\":\"x\\u0000y\",\"\\u0000\":\"\\ud83d\\ude00\"}",
        "[123456789012345678901234567890,1e400,-0.0,1.10,9007199254740993]",
        " { \"spaced\" :\t1 ,\r\n \"twice\":1, \"twice\":2 } ",
        "\"häßlich 𝄞 \u{2028}\"",
        "null",
    ];
    for text in texts {
        let new = Admission {
            input: Bytes::from_static(text.as_bytes()),
            ..admission(deployment.id)
        };
        admit(&store, &new).await;
        let shown = store.execution(new.id).await.unwrap().unwrap();
        assert_eq!(shown.input, text.as_bytes());
    }
    let claimed = store.claim(alive(&store).await, 100).await.unwrap();
    let inputs: HashSet<Bytes> = claimed.into_iter().map(|c| c.input).collect();
    assert_eq!(
        inputs,
        texts.map(|t| Bytes::from_static(t.as_bytes())).into()
    );
    let large = Bytes::from(format!("\"{}\"", "x".repeat(1 << 20)));
    let new = Admission {
        input: large.clone(),
        ..admission(deployment.id)
    };
    admit(&store, &new).await;
    assert_eq!(store.execution(new.id).await.unwrap().unwrap().input, large);
}

pub async fn rerun_and_trigger_are_kept(store: Shared, _: &dyn Fixture) {
    let deployment = deploy(
        &store,
        &with_triggers(bundle("orders", 1), vec![cron(None, "0 1 * * *")]),
    )
    .await
    .unwrap()
    .deployment;
    let trigger = &deployment.triggers[0];
    let original = ExecutionId::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let new = Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((trigger.id, trigger.revision)),
        },
        rerun_of: Some(original),
        traceparent: Some(traceparent.into()),
        ..admission(deployment.id)
    };
    admit(&store, &new).await;
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.rerun_of, Some(original));
    assert_eq!(shown.trigger_kind, TriggerKind::Cron);
    assert_eq!(shown.trigger_id, Some(trigger.id));
    let claimed = super::support::claim_one(&store, alive(&store).await).await;
    assert_eq!(claimed.trigger_kind, TriggerKind::Cron);
    assert_eq!(claimed.trigger_id, Some(trigger.id));
    assert_eq!(claimed.traceparent.as_deref(), Some(traceparent));
}

pub async fn admission_runs_the_version_that_is_live(store: Shared, _: &dyn Fixture) {
    let first = live(&store, "orders").await;
    let one = admit(&store, &admission(first.id)).await;
    deploy(&store, &bundle("orders", 2)).await.unwrap();
    let two = admit(&store, &admission(first.id)).await;
    assert_eq!((one.version, two.version), (1, 2));
    assert_eq!(store.execution(one.id).await.unwrap().unwrap().version, 1);
    assert_eq!(store.execution(two.id).await.unwrap().unwrap().version, 2);
}

pub async fn large_batch_is_admitted_in_order(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let news: Vec<_> = (0..500)
        .map(|n| Admission {
            input: Bytes::from(n.to_string()),
            owner: (n % 2 == 0).then_some(owner),
            ..if n % 3 == 0 {
                keyed(deployment.id, &format!("k{n}"))
            } else {
                admission(deployment.id)
            }
        })
        .collect();
    let writes: Vec<_> = news.iter().cloned().map(Write::Admit).collect();
    let outcomes = commit(&store, &writes).await.unwrap();
    assert_eq!(outcomes.len(), 500);
    for (new, outcome) in news.iter().zip(outcomes) {
        let answer = admitted(outcome.unwrap());
        assert_eq!((answer.id, answer.fresh), (new.id, true));
        assert_eq!(answer.owned, new.owner.map(|_| 1));
    }
    let last = store.execution(news[499].id).await.unwrap().unwrap();
    assert_eq!(last.input, "499");
    let held = running(&store, deployment.id, owner).await;
    end(&store, held.success()).await.unwrap();
}
