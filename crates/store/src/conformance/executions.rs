//! Lists of executions, live and ended.

use std::collections::BTreeSet;

use bytes::Bytes;
use millrace_types::{ExecutionId, ExecutionStatus, Timestamp, TriggerKind};

use super::Fixture;
use super::support::{
    HOUR, Shared, admission, admit, ahead, alive, bundle, checkpoint, cron, deploy, end, live,
    page, running, with_triggers,
};
use crate::{Admission, ExecutionFilter, Outcome, PageRequest, TriggerRef};

async fn ids(store: &Shared, filter: &ExecutionFilter) -> Vec<ExecutionId> {
    let got = store.list_executions(filter, &page(1000)).await.unwrap();
    assert_eq!(got.next, None);
    let ids: Vec<_> = got.items.iter().map(|e| e.id).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "newest first");
    ids
}

fn newest_first(ids: &[ExecutionId]) -> Vec<ExecutionId> {
    let mut ids = ids.to_vec();
    ids.sort_by_key(|id| std::cmp::Reverse(*id));
    ids
}

pub async fn unknown_execution_is_none(store: Shared, _: &dyn Fixture) {
    assert_eq!(store.execution(ExecutionId::new()).await.unwrap(), None);
    assert_eq!(ids(&store, &ExecutionFilter::default()).await, vec![]);
}

pub async fn list_merges_live_and_ended_newest_first(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let mut all = Vec::new();
    for n in 0..10 {
        let held = running(&store, deployment.id, owner).await;
        all.push(held.id);
        match n % 3 {
            0 => end(&store, held.success()).await.unwrap(),
            1 => checkpoint(&store, held.park(1, ahead(HOUR))).await.unwrap(),
            _ => {}
        }
    }
    assert_eq!(
        ids(&store, &ExecutionFilter::default()).await,
        newest_first(&all)
    );
    // Each is listed as it is shown alone.
    let listed = store
        .list_executions(&ExecutionFilter::default(), &page(1000))
        .await
        .unwrap();
    for record in listed.items {
        let alone = store.execution(record.id).await.unwrap().unwrap();
        assert_eq!(record.status, alone.status);
        assert_eq!(record.created_at, alone.created_at);
        assert_eq!(record.started_at, alone.started_at);
        assert_eq!(record.ended_at, alone.ended_at);
        assert_eq!(record.deployment_id, alone.deployment_id);
        assert_eq!(record.workflow_id, alone.workflow_id);
    }
}

pub async fn list_leaves_payloads_out(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    running(&store, deployment.id, owner).await;
    let ended = running(&store, deployment.id, owner).await;
    end(&store, ended.success()).await.unwrap();
    let failed = running(&store, deployment.id, owner).await;
    let error = Bytes::from_static(br#"{"type":"x"}"#);
    end(&store, failed.ending(Outcome::Failed(error.clone())))
        .await
        .unwrap();
    let listed = store
        .list_executions(&ExecutionFilter::default(), &page(10))
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 3);
    for record in &listed.items {
        assert!(record.input.is_empty());
        assert!(record.output.as_ref().is_none_or(Bytes::is_empty));
    }
    assert_eq!(listed.items[0].error, Some(error), "errors are shown");
}

pub async fn list_filters(store: Shared, _: &dyn Fixture) {
    let one = live(&store, "one").await;
    let two = deploy(
        &store,
        &with_triggers(bundle("two", 1), vec![cron(None, "0 1 * * *")]),
    )
    .await
    .unwrap()
    .deployment;
    let owner = alive(&store).await;
    let ended = running(&store, one.id, owner).await;
    end(&store, ended.success()).await.unwrap();
    let failed = running(&store, two.id, owner).await;
    end(
        &store,
        failed.ending(Outcome::Failed(Bytes::from_static(b"{}"))),
    )
    .await
    .unwrap();
    let pending = admit(&store, &admission(one.id)).await;
    let by_cron = Admission {
        trigger: TriggerRef {
            kind: TriggerKind::Cron,
            id: Some((two.triggers[0].id, two.triggers[0].revision)),
        },
        ..admission(two.id)
    };
    admit(&store, &by_cron).await;
    let at_work = running(&store, one.id, owner).await;

    let all = ExecutionFilter::default;
    let deployment = |id| ExecutionFilter {
        deployment_id: Some(id),
        ..all()
    };
    assert_eq!(
        ids(&store, &deployment(one.id)).await,
        newest_first(&[ended.id, pending.id, at_work.id])
    );
    assert_eq!(
        ids(&store, &deployment(two.id)).await,
        newest_first(&[failed.id, by_cron.id])
    );
    for (status, expected) in [
        (ExecutionStatus::Succeeded, vec![ended.id]),
        (ExecutionStatus::Failed, vec![failed.id]),
        (
            ExecutionStatus::Pending,
            newest_first(&[pending.id, by_cron.id]),
        ),
        (ExecutionStatus::Running, vec![at_work.id]),
        (ExecutionStatus::Waiting, vec![]),
        (ExecutionStatus::Cancelled, vec![]),
    ] {
        let filter = ExecutionFilter {
            status: Some(status),
            ..all()
        };
        assert_eq!(ids(&store, &filter).await, expected, "{status}");
    }
    let trigger = ExecutionFilter {
        trigger: Some(TriggerKind::Cron),
        ..all()
    };
    assert_eq!(ids(&store, &trigger).await, vec![by_cron.id]);
    let both = ExecutionFilter {
        status: Some(ExecutionStatus::Pending),
        ..deployment(one.id)
    };
    assert_eq!(ids(&store, &both).await, vec![pending.id]);

    // Inclusive below, exclusive above, by the time of creation.
    let created = |id| {
        let store = store.clone();
        async move { store.execution(id).await.unwrap().unwrap().created_at }
    };
    let (first, last) = (created(failed.id).await, created(by_cron.id).await);
    let times = ExecutionFilter {
        from: Some(first),
        to: Some(last),
        ..all()
    };
    let within = ids(&store, &times).await;
    assert!(within.contains(&failed.id) && within.contains(&pending.id));
    assert!(!within.contains(&by_cron.id) && !within.contains(&at_work.id));
    let past = ExecutionFilter {
        to: Some(Timestamp::from_micros(created(ended.id).await.as_micros())),
        ..all()
    };
    assert_eq!(ids(&store, &past).await, vec![]);
}

pub async fn pages_have_no_gap_or_repeat_while_executions_end(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let mut helds = Vec::new();
    for _ in 0..40 {
        helds.push(running(&store, deployment.id, owner).await);
    }
    let all: BTreeSet<_> = helds.iter().map(|h| h.id).collect();
    let mut ending = helds.into_iter();
    let mut seen = Vec::new();
    let mut request = page(3);
    let filter = ExecutionFilter::default();
    loop {
        // Some that were read already, some that come next, move meanwhile.
        let (writer, reader) = (
            async {
                for held in ending.by_ref().rev().take(2) {
                    end(&store, held.success()).await.unwrap();
                }
                if let Some(held) = ending.next() {
                    end(&store, held.success()).await.unwrap();
                }
            },
            store.list_executions(&filter, &request),
        );
        let ((), got) = tokio::join!(writer, reader);
        let got = got.unwrap();
        seen.extend(got.items.into_iter().map(|e| e.id));
        let Some(next) = got.next else { break };
        request = PageRequest {
            cursor: Some(next),
            limit: 3,
        };
    }
    assert_eq!(seen, all.into_iter().rev().collect::<Vec<_>>());
}
