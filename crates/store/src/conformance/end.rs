//! The end of executions.

use bytes::Bytes;
use millrace_types::{ExecutionId, ExecutionStatus};

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, ago, alive, checkpoint, dead, end, events, frame, live, one_running, page,
    reclaim, running, timer,
};
use crate::{Checkpoint, Ending, Outcome, Write, WriteDone, WriteRefused};

pub async fn ended_execution_keeps_its_facts(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let before = store.execution(held.id).await.unwrap().unwrap();
    checkpoint(
        &store,
        Checkpoint {
            upsert_frames: vec![frame(1, "1")],
            set_timers: vec![timer(1, ago(HOUR))],
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    let output = r#"{"z":"\u0000","a":12345678901234567890123}"#;
    end(
        &store,
        held.ending(Outcome::Succeeded(Bytes::from_static(output.as_bytes()))),
    )
    .await
    .unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Succeeded);
    assert_eq!(shown.output.as_deref(), Some(output.as_bytes()));
    assert!(shown.ended_at.unwrap() >= shown.started_at.unwrap());
    assert_eq!(
        crate::ExecutionRecord {
            status: before.status,
            output: None,
            ended_at: None,
            ..shown
        },
        before,
        "the rest is as it was"
    );
}

pub async fn every_outcome_is_kept(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let text = Bytes::from_static(br#"{"type":"x","status":500,"detail":"\u0000"}"#);
    for outcome in [
        Outcome::Failed(text.clone()),
        Outcome::Cancelled(text.clone()),
        Outcome::TimedOut(text.clone()),
    ] {
        let held = running(&store, deployment.id, owner).await;
        let status = outcome.status();
        end(&store, held.ending(outcome)).await.unwrap();
        let shown = store.execution(held.id).await.unwrap().unwrap();
        assert_eq!(shown.status, status);
        assert_eq!(shown.error.as_ref(), Some(&text));
        assert_eq!(shown.output, None);
    }
}

pub async fn ended_execution_is_never_claimed_nor_taken_over(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(
        &store,
        Checkpoint {
            set_timers: vec![timer(1, ago(HOUR))],
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    end(&store, held.success()).await.unwrap();
    dead(&store).await;
    assert_eq!(store.retire(held.owner).await.unwrap(), 0);
    assert_eq!(store.take_over_expired(10).await.unwrap(), 0);
    assert_eq!(store.next_due().await.unwrap(), None);
    assert_eq!(store.claim(alive(&store).await, 10).await.unwrap(), vec![]);
    assert!(
        !store
            .release(held.id, held.owner, held.epoch)
            .await
            .unwrap()
    );
}

pub async fn end_is_answered_with_what_is_stored(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "work").await;
    let owner = alive(&store).await;
    let text = Bytes::from_static(br#"{"a":1.50}"#);
    for outcome in [
        Outcome::Succeeded(text.clone()),
        Outcome::Failed(text.clone()),
        Outcome::Cancelled(Bytes::new()),
        Outcome::TimedOut(text.clone()),
    ] {
        let silent = running(&store, deployment.id, owner).await;
        let asking = running(&store, deployment.id, owner).await;
        let ending = Ending {
            events: events(1, 1),
            read_back: true,
            ..asking.ending(outcome.clone())
        };
        let writes = [
            Write::End(silent.ending(outcome)),
            Write::End(ending.clone()),
        ];
        let mut done = store.commit(&writes).await.unwrap();
        let shown = store.execution(asking.id).await.unwrap().unwrap();
        assert_eq!(
            done.pop(),
            Some(Ok(WriteDone::Ended(Some(Box::new(shown)))))
        );
        assert_eq!(done.pop(), Some(Ok(WriteDone::Ended(None))));
        end(&store, ending).await.unwrap();
    }
}

pub async fn repeat_of_an_end_is_success(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let ending = Ending {
        events: events(1, 1),
        ..held.success()
    };
    end(&store, ending.clone()).await.unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    end(&store, ending).await.unwrap();
    assert_eq!(store.execution(held.id).await.unwrap().unwrap(), shown);
    let history = store
        .execution_events(held.id, &page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(history.items, events(1, 1));
}

pub async fn end_is_fenced(store: Shared, _: &dyn Fixture) {
    let old = one_running(&store).await;
    let (held, _) = reclaim(&store, old).await;
    let strangers = [
        old,
        Held {
            owner: alive(&store).await,
            ..held
        },
        Held {
            id: ExecutionId::new(),
            ..held
        },
    ];
    for stranger in strangers {
        assert_eq!(
            end(&store, stranger.success()).await,
            Err(WriteRefused::Fenced(stranger.id))
        );
    }
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Running);
    end(&store, held.success()).await.unwrap();
}

pub async fn end_after_an_end_with_another_epoch_is_fenced(store: Shared, _: &dyn Fixture) {
    let old = one_running(&store).await;
    let (held, _) = reclaim(&store, old).await;
    end(&store, held.success()).await.unwrap();
    let late = old.ending(Outcome::Failed(Bytes::from_static(b"{}")));
    assert_eq!(end(&store, late).await, Err(WriteRefused::Fenced(held.id)));
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Succeeded);
}

pub async fn events_with_a_gap_are_refused(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let gap = Ending {
        events: events(2, 2),
        ..held.success()
    };
    let refused = end(&store, gap).await;
    assert!(
        matches!(refused, Err(WriteRefused::Rejected(_))),
        "{refused:?}"
    );
    let good = Ending {
        events: events(1, 2),
        ..held.success()
    };
    end(&store, good).await.unwrap();
}
