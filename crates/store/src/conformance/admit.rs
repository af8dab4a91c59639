//! Admitting executions.

use std::collections::HashSet;

use bytes::Bytes;
use millrace_types::{ExecutionId, ExecutionStatus, IncarnationId, TriggerKind};

use super::Fixture;
use super::support::{
    Shared, admission, admit, admitted, alive, bundle, claim_one, commit, cron, dead, deploy, end,
    keyed, live, running, with_triggers,
};
use crate::{Admission, RerunOf, TriggerRef, Write};

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
        rerun_of: Some(RerunOf {
            id: original,
            version: 1,
            from_failed: false,
        }),
        traceparent: Some(traceparent.into()),
        ..admission(deployment.id)
    };
    admit(&store, &new).await;
    let shown = store.execution(new.id).await.unwrap().unwrap();
    assert_eq!(shown.rerun_of, Some(original));
    assert_eq!(shown.trigger_kind, TriggerKind::Cron);
    assert_eq!(shown.trigger_id, Some(trigger.id));
    let claimed = claim_one(&store, alive(&store).await).await;
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

pub async fn rerun_runs_the_version_of_its_original(store: Shared, _: &dyn Fixture) {
    let first = live(&store, "orders").await;
    deploy(&store, &bundle("orders", 2)).await.unwrap();
    let original = ExecutionId::new();
    let rerun = Admission {
        rerun_of: Some(RerunOf {
            id: original,
            version: 1,
            from_failed: false,
        }),
        ..admission(first.id)
    };
    let fresh = admission(first.id);
    assert_eq!(admit(&store, &rerun).await.version, 1);
    assert_eq!(admit(&store, &fresh).await.version, 2);
    let shown = store.execution(rerun.id).await.unwrap().unwrap();
    assert_eq!((shown.version, shown.rerun_of), (1, Some(original)));
    let shown = store.execution(fresh.id).await.unwrap().unwrap();
    assert_eq!((shown.version, shown.rerun_of), (2, None));
}
