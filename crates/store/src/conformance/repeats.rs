//! Repeated admissions, by id and by dedupe key.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentId, DeploymentStatus, ExecutionId, ExecutionStatus, TriggerKind};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{
    Held, Shared, admission, admit, admitted, alive, bundle, checkpoint, claim_one, commit, cron,
    deploy, end, eventually, keyed, live, one_running, reclaim, with_triggers,
};
use crate::{Admission, AdmissionRefused, AnswerKey, Dedupe, TriggerRef, Write};

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
    assert_eq!(again.status, ExecutionStatus::Running, "as it was admitted");
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
    let held = Held {
        id: first.id,
        owner,
        epoch: first.owned.unwrap(),
    };
    end(&store, held.success()).await.unwrap();
    let again = admit(&store, &keyed(deployment.id, "k")).await;
    assert!(!again.fresh);
    assert_eq!(again.id, first.id);
    assert_eq!(
        (first.status, again.status),
        (ExecutionStatus::Running, first.status)
    );
}

/// What the first was told, whatever has become of the execution since.
pub async fn repeated_key_gets_the_status_of_the_admission(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let first = admit(&store, &keyed(deployment.id, "k")).await;
    assert_eq!(first.status, ExecutionStatus::Pending);
    let repeats = async || {
        let again = admit(&store, &keyed(deployment.id, "k")).await;
        assert_eq!((again.fresh, again.id), (false, first.id));
        assert_eq!(again.status, ExecutionStatus::Pending);
    };
    repeats().await;
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.id, first.id);
    repeats().await;
    let held = Held::of(&claimed, owner);
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
    repeats().await;
    let (held, _) = reclaim(&store, held).await;
    end(&store, held.success()).await.unwrap();
    repeats().await;
}

pub async fn first_answer_is_kept_with_its_key(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let first = admit(&store, &keyed(deployment.id, "k")).await;
    let key = AnswerKey {
        deployment_id: deployment.id,
        key: "k".into(),
        execution_id: first.id,
    };
    assert_eq!(store.first_answer(&key, None).await.unwrap(), None);
    let one = Bytes::from_static(b"{\"one\":\"\\u0000\"}");
    let other = Bytes::from_static(b"other");
    for made in [Some(one.clone()), Some(other.clone()), None] {
        let kept = store.first_answer(&key, made).await.unwrap();
        assert_eq!(kept.as_ref(), Some(&one));
    }
    let elsewhere = AnswerKey {
        execution_id: ExecutionId::new(),
        ..key.clone()
    };
    let unknown = AnswerKey {
        key: "none".into(),
        ..key
    };
    for key in [elsewhere, unknown] {
        let kept = store.first_answer(&key, Some(other.clone())).await.unwrap();
        assert_eq!(kept, None, "{key:?}");
    }
}

pub async fn concurrent_first_answers_are_one(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let first = admit(&store, &keyed(deployment.id, "k")).await;
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let store = store.clone();
        let key = AnswerKey {
            deployment_id: deployment.id,
            key: "k".into(),
            execution_id: first.id,
        };
        tasks.spawn(async move {
            let made = Some(Bytes::from(n.to_string()));
            store.first_answer(&key, made).await.unwrap().unwrap()
        });
    }
    let kept = tasks.join_all().await;
    assert!(kept.iter().all(|answer| *answer == kept[0]), "{kept:?}");
}

/// An admission whose key is soon free again.
fn shortly_keyed(deployment: DeploymentId) -> Admission {
    Admission {
        dedupe: Some(Dedupe {
            key: "k".into(),
            keep: Duration::from_millis(80),
        }),
        ..admission(deployment)
    }
}

/// The key is another message's by then: it gets an answer of its own.
pub async fn answer_goes_with_the_key_that_has_run_out(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let short = || shortly_keyed(deployment.id);
    let key = |execution_id| AnswerKey {
        deployment_id: deployment.id,
        key: "k".into(),
        execution_id,
    };
    let first = admit(&store, &short()).await;
    let made = Bytes::from_static(b"first");
    store
        .first_answer(&key(first.id), Some(made))
        .await
        .unwrap();
    let second = eventually("the key's expiry", async || {
        let answer = admit(&store, &short()).await;
        answer.fresh.then_some(answer)
    })
    .await;
    assert_eq!(
        store.first_answer(&key(second.id), None).await.unwrap(),
        None
    );
    let made = Bytes::from_static(b"second");
    let kept = store
        .first_answer(&key(second.id), Some(made.clone()))
        .await;
    assert_eq!(kept.unwrap(), Some(made));
    assert_eq!(
        store.first_answer(&key(first.id), None).await.unwrap(),
        None
    );
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
    let short = || shortly_keyed(deployment.id);
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
        Err(AdmissionRefused::TriggerStale(trigger.id).into())
    );
    let answer = admitted(outcomes[1].clone().unwrap());
    assert_eq!((answer.fresh, answer.id), (true, good.id));
}
