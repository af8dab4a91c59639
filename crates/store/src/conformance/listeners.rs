//! Executions that wait for events.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{ExecutionId, ExecutionStatus};

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, ahead, alive, checkpoint, claim_one, commit, commit_one, end, live,
    one_running, reclaim, running,
};
use crate::{
    Checkpoint, Claimed, Delivery, EmittedEvent, ListenerFilter, ListenerRecord, Publication,
    Subscription, Write, WriteDone, WriteRefused,
};

fn filter(event_type: &str) -> ListenerFilter {
    ListenerFilter {
        event_type: event_type.into(),
        filter: Bytes::from(format!(r#"{{"with":{{"type":"{event_type}"}}}}"#)),
    }
}

fn listener(id: u64, once: bool, types: &[&str]) -> ListenerRecord {
    ListenerRecord {
        id,
        once,
        filters: types.iter().map(|kind| filter(kind)).collect(),
    }
}

/// A checkpoint that waits for events alone.
fn waiting(held: Held, seq: u64, listeners: Vec<ListenerRecord>) -> Checkpoint {
    Checkpoint {
        set_listeners: listeners,
        park: true,
        ..held.checkpoint(seq)
    }
}

async fn subscriptions(store: &Shared, event_type: &str) -> Vec<Subscription> {
    store.subscriptions(event_type, None, 1000).await.unwrap()
}

fn delivery(to: &Subscription, key: &str) -> Delivery {
    Delivery {
        execution_id: to.place.execution_id,
        listener: to.place.listener,
        since: to.since,
        key: key.into(),
        event: Bytes::from(format!(r#"{{"id":"{key}"}}"#)),
    }
}

async fn deliver(store: &Shared, delivery: Delivery) -> bool {
    match commit_one(store, Write::Deliver(delivery)).await.unwrap() {
        WriteDone::Delivered(has) => has,
        other => panic!("a delivery was answered with {other:?}"),
    }
}

/// The texts of what came, and what consumes it.
fn received(claimed: &Claimed) -> (Vec<String>, Vec<u64>) {
    let texts = claimed.received.iter();
    let texts = texts.map(|one| String::from_utf8(one.event.to_vec()).unwrap());
    let numbers = claimed.received.iter().map(|one| one.number);
    (texts.collect(), numbers.collect())
}

async fn status(store: &Shared, id: ExecutionId) -> ExecutionStatus {
    store.execution(id).await.unwrap().unwrap().status
}

pub async fn an_event_wakes_what_listens_once(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let park = waiting(held, 1, vec![listener(5, true, &["paid", "refunded"])]);
    checkpoint(&store, park).await.unwrap();
    assert_eq!(status(&store, held.id).await, ExecutionStatus::Waiting);
    assert_eq!(store.claim(held.owner, 10).await.unwrap(), vec![]);
    assert_eq!(subscriptions(&store, "made").await, vec![]);
    let found = subscriptions(&store, "refunded").await;
    assert_eq!(found.len(), 1);
    let place = found[0].place;
    assert_eq!(
        (place.execution_id, place.listener, found[0].since),
        (held.id, 5, 1)
    );
    assert_eq!(found[0].filter, filter("refunded").filter);

    assert!(deliver(&store, delivery(&found[0], "a")).await);
    assert!(
        deliver(&store, delivery(&found[0], "a")).await,
        "it has it already"
    );
    assert!(
        !deliver(&store, delivery(&found[0], "b")).await,
        "one is enough"
    );
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.received[0].listener, 5);
    let (texts, numbers) = received(&claimed);
    assert_eq!(texts, [r#"{"id":"a"}"#]);
    assert!(claimed.due_timers.is_empty());

    let held = Held::of(&claimed, held.owner);
    let next = Checkpoint {
        clear_listeners: vec![5],
        consumed: numbers,
        ..held.park(2, ahead(HOUR))
    };
    checkpoint(&store, next).await.unwrap();
    assert_eq!(store.claim(held.owner, 10).await.unwrap(), vec![]);
    assert_eq!(subscriptions(&store, "paid").await, vec![]);
    assert!(!deliver(&store, delivery(&found[0], "c")).await);
}

pub async fn an_event_before_the_park_is_not_lost(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let registered = Checkpoint {
        set_listeners: vec![listener(5, false, &["t"])],
        ..held.checkpoint(1)
    };
    checkpoint(&store, registered).await.unwrap();
    let found = subscriptions(&store, "t").await;
    assert!(deliver(&store, delivery(&found[0], "a")).await);
    assert_eq!(status(&store, held.id).await, ExecutionStatus::Running);
    checkpoint(&store, waiting(held, 2, vec![])).await.unwrap();
    let claimed = claim_one(&store, held.owner).await;
    let (texts, numbers) = received(&claimed);
    assert_eq!(texts, [r#"{"id":"a"}"#]);

    // Another comes while it runs, with a timer that is far away.
    assert!(deliver(&store, delivery(&found[0], "b")).await);
    let held = Held::of(&claimed, held.owner);
    let next = Checkpoint {
        consumed: numbers,
        ..held.park(3, ahead(HOUR))
    };
    checkpoint(&store, next).await.unwrap();
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"b"}"#]);
    assert!(
        deliver(&store, delivery(&found[0], "a")).await,
        "what was consumed is known"
    );
    let (held, claimed) = reclaim(&store, Held::of(&claimed, held.owner)).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"b"}"#]);
    end(&store, held.success()).await.unwrap();
}

pub async fn a_takeover_brings_what_was_not_consumed(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let listeners = vec![listener(5, true, &["a"]), listener(6, true, &["b"])];
    checkpoint(&store, waiting(held, 1, listeners))
        .await
        .unwrap();
    let (a, b) = (
        subscriptions(&store, "a").await.remove(0),
        subscriptions(&store, "b").await.remove(0),
    );
    assert!(deliver(&store, delivery(&b, "1")).await);
    let claimed = claim_one(&store, held.owner).await;
    let (held, claimed) = reclaim(&store, Held::of(&claimed, held.owner)).await;
    let (texts, consumed) = received(&claimed);
    assert_eq!(texts, [r#"{"id":"1"}"#]);
    let next = Checkpoint {
        consumed,
        clear_listeners: vec![6],
        ..waiting(held, 2, vec![])
    };
    checkpoint(&store, next).await.unwrap();
    assert!(deliver(&store, delivery(&a, "2")).await);
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"2"}"#]);
}

pub async fn listeners_end_with_their_execution(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let park = waiting(held, 1, vec![listener(5, false, &["t", ""])]);
    checkpoint(&store, park).await.unwrap();
    let found = subscriptions(&store, "t").await.remove(0);
    assert!(deliver(&store, delivery(&found, "a")).await);
    let claimed = claim_one(&store, held.owner).await;
    end(&store, Held::of(&claimed, held.owner).success())
        .await
        .unwrap();
    assert_eq!(subscriptions(&store, "t").await, vec![]);
    assert_eq!(subscriptions(&store, "").await, vec![]);
    assert!(!deliver(&store, delivery(&found, "b")).await);
    assert!(!deliver(&store, delivery(&found, "a")).await);
}

pub async fn a_number_that_comes_again_is_another_listener(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let set = |seq, clear| Checkpoint {
        clear_listeners: clear,
        set_listeners: vec![listener(5, true, &["t"])],
        ..held.checkpoint(seq)
    };
    checkpoint(&store, set(1, vec![])).await.unwrap();
    let first = subscriptions(&store, "t").await.remove(0);
    assert!(deliver(&store, delivery(&first, "a")).await);
    checkpoint(&store, set(2, vec![5])).await.unwrap();
    let second = subscriptions(&store, "t").await.remove(0);
    assert_eq!(second.since, 2);
    assert!(!deliver(&store, delivery(&first, "b")).await);
    assert!(deliver(&store, delivery(&second, "a")).await);
    checkpoint(&store, waiting(held, 3, vec![])).await.unwrap();
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.received.len(), 1, "{claimed:?}");
}

pub async fn a_narrowed_listener_keeps_what_came(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let set = Checkpoint {
        set_listeners: vec![listener(5, false, &["t", "u"])],
        ..held.checkpoint(1)
    };
    checkpoint(&store, set).await.unwrap();
    let before = subscriptions(&store, "t").await.remove(0);
    assert!(deliver(&store, delivery(&before, "a")).await);
    let narrow = |seq, id| {
        let mut narrower = listener(id, true, &["t"]);
        narrower.filters[0].filter = Bytes::from_static(b"{}");
        Checkpoint {
            narrow_listeners: vec![narrower],
            ..held.checkpoint(seq)
        }
    };
    checkpoint(&store, narrow(2, 5)).await.unwrap();
    let after = subscriptions(&store, "t").await;
    assert_eq!(after.len(), 1);
    assert_eq!(
        (after[0].place, after[0].since),
        (before.place, before.since)
    );
    assert_eq!(&after[0].filter[..], b"{}");
    assert_eq!(subscriptions(&store, "u").await, vec![]);
    // Whoever found it before reaches it, and more than one event still does.
    assert!(deliver(&store, delivery(&before, "b")).await);
    assert!(deliver(&store, delivery(&before, "a")).await, "it has it");
    // One that is not there is not made.
    checkpoint(&store, narrow(3, 6)).await.unwrap();
    assert_eq!(subscriptions(&store, "t").await, after);
    checkpoint(&store, waiting(held, 4, vec![])).await.unwrap();
    let (texts, _) = received(&claim_one(&store, held.owner).await);
    assert_eq!(texts, [r#"{"id":"a"}"#, r#"{"id":"b"}"#]);
}

fn emitted(id: &str) -> EmittedEvent {
    EmittedEvent {
        id: id.into(),
        traceparent: Some(format!("trace of {id}")),
        event: Bytes::from(format!(r#"{{"id":"{id}"}}"#)),
    }
}

/// Looks without holding anything.
async fn unpublished(store: &Shared) -> Vec<EmittedEvent> {
    left(store, Duration::ZERO, 100).await
}

async fn left(store: &Shared, hold: Duration, limit: u32) -> Vec<EmittedEvent> {
    let left = store.unpublished(Duration::ZERO, hold, limit).await;
    left.unwrap()
}

async fn publish(store: &Shared, id: &str, deliveries: Vec<Delivery>) -> bool {
    let id = id.to_owned();
    let write = Write::Publish(Publication { id, deliveries });
    match commit_one(store, write).await.unwrap() {
        WriteDone::Published(fresh) => fresh,
        other => panic!("a publication was answered with {other:?}"),
    }
}

pub async fn what_a_step_emits_stays_until_it_is_published(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "work").await;
    let owner = alive(&store).await;
    let sender = running(&store, deployment.id, owner).await;
    let hearer = running(&store, deployment.id, owner).await;
    let park = waiting(hearer, 1, vec![listener(5, false, &["t"])]);
    checkpoint(&store, park).await.unwrap();
    let found = subscriptions(&store, "t").await.remove(0);
    let stale = Checkpoint {
        epoch: sender.epoch + 1,
        emits: vec![emitted("stale")],
        ..sender.checkpoint(1)
    };
    let refused = checkpoint(&store, stale).await.unwrap_err();
    assert_eq!(refused, WriteRefused::Fenced(sender.id));
    assert_eq!(unpublished(&store).await, vec![]);

    let step = Checkpoint {
        emits: vec![emitted("1-a"), emitted("1-b")],
        ..sender.checkpoint(1)
    };
    checkpoint(&store, step.clone()).await.unwrap();
    let stored = unpublished(&store).await;
    assert_eq!(stored, [emitted("1-a"), emitted("1-b")]);
    let old = store.unpublished(HOUR, HOUR, 100).await.unwrap();
    assert_eq!(old, vec![]);
    assert_eq!(left(&store, Duration::ZERO, 1).await.len(), 1);
    assert!(publish(&store, "1-a", vec![delivery(&found, "a")]).await);
    assert!(
        !publish(&store, "1-a", vec![delivery(&found, "never")]).await,
        "it was published"
    );
    let claimed = claim_one(&store, owner).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"a"}"#]);
    // A repeat of the step brings nothing back.
    checkpoint(&store, step).await.unwrap();
    assert_eq!(unpublished(&store).await, [emitted("1-b")]);

    let mut ending = sender.success();
    ending.emits = vec![emitted("2-c")];
    end(&store, ending.clone()).await.unwrap();
    assert!(publish(&store, "2-c", vec![delivery(&found, "c")]).await);
    end(&store, ending).await.unwrap();
    assert_eq!(unpublished(&store).await, [emitted("1-b")]);
    assert!(publish(&store, "1-b", vec![]).await);
    let (_, claimed) = reclaim(&store, Held::of(&claimed, owner)).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"a"}"#, r#"{"id":"c"}"#]);
}

pub async fn events_that_are_left_are_held_by_who_takes_them_up(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let step = Checkpoint {
        emits: ["a", "b", "c"].map(emitted).into(),
        ..held.checkpoint(1)
    };
    checkpoint(&store, step).await.unwrap();
    let (one, other) = tokio::join!(left(&store, HOUR, 2), left(&store, HOUR, 2));
    let mut taken: Vec<_> = one.into_iter().chain(other).collect();
    taken.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(taken, ["a", "b", "c"].map(emitted));
    assert_eq!(unpublished(&store).await, vec![]);
    // What is held is published all the same, and only once.
    assert!(publish(&store, "b", vec![]).await);
    assert!(!publish(&store, "b", vec![]).await);
}

pub async fn an_event_for_what_was_there_before_takes_nothing_from_the_next(
    store: Shared,
    _: &dyn Fixture,
) {
    let held = one_running(&store).await;
    let set = |seq, clear| Checkpoint {
        clear_listeners: clear,
        set_listeners: vec![listener(5, true, &["t"])],
        ..held.checkpoint(seq)
    };
    checkpoint(&store, set(1, vec![])).await.unwrap();
    let first = subscriptions(&store, "t").await.remove(0);
    checkpoint(&store, set(2, vec![5])).await.unwrap();
    let second = subscriptions(&store, "t").await.remove(0);
    let writes = [delivery(&first, "a"), delivery(&second, "b")].map(Write::Deliver);
    let outcomes = commit(&store, &writes).await.unwrap();
    assert_eq!(outcomes[0], Ok(WriteDone::Delivered(false)));
    assert_eq!(outcomes[1], Ok(WriteDone::Delivered(true)));
}

pub async fn a_park_and_its_event_may_share_a_batch(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "work").await;
    let owner = alive(&store).await;
    let sender = running(&store, deployment.id, owner).await;
    let hearer = running(&store, deployment.id, owner).await;
    let registered = Checkpoint {
        set_listeners: vec![listener(5, true, &["t"])],
        ..hearer.checkpoint(1)
    };
    checkpoint(&store, registered).await.unwrap();
    let found = subscriptions(&store, "t").await.remove(0);
    let step = Checkpoint {
        emits: vec![emitted("a")],
        ..sender.checkpoint(1)
    };
    let publication = Publication {
        id: "a".into(),
        deliveries: vec![delivery(&found, "a")],
    };
    let writes = [
        Write::Checkpoint(step),
        Write::Publish(publication),
        Write::Deliver(delivery(&found, "b")),
        Write::Checkpoint(waiting(hearer, 2, vec![])),
    ];
    let outcomes = commit(&store, &writes).await.unwrap();
    assert_eq!(outcomes[1], Ok(WriteDone::Published(true)));
    assert_eq!(outcomes[2], Ok(WriteDone::Delivered(false)));
    let claimed = claim_one(&store, owner).await;
    assert_eq!(received(&claimed).0, [r#"{"id":"a"}"#]);
}

pub async fn what_came_is_brought_in_parts(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let park = waiting(held, 1, vec![listener(5, false, &["t"])]);
    checkpoint(&store, park).await.unwrap();
    let found = subscriptions(&store, "t").await.remove(0);
    let writes: Vec<_> = (0..130)
        .map(|n| Write::Deliver(delivery(&found, &format!("{n:03}"))))
        .collect();
    for outcome in commit(&store, &writes).await.unwrap() {
        assert_eq!(outcome, Ok(WriteDone::Delivered(true)));
    }
    let claimed = claim_one(&store, held.owner).await;
    let (first, consumed) = received(&claimed);
    assert_eq!(first.len(), 100);
    let held = Held::of(&claimed, held.owner);
    let next = Checkpoint {
        consumed,
        ..waiting(held, 2, vec![])
    };
    checkpoint(&store, next).await.unwrap();
    let claimed = claim_one(&store, held.owner).await;
    let (rest, consumed) = received(&claimed);
    let all: Vec<_> = first.into_iter().chain(rest).collect();
    let expected: Vec<_> = (0..130).map(|n| format!(r#"{{"id":"{n:03}"}}"#)).collect();
    assert_eq!(all, expected);

    // One that is large comes alone, and yet comes.
    let held = Held::of(&claimed, held.owner);
    let large = |key: &str| Delivery {
        event: Bytes::from(format!("\"{}\"", "x".repeat(5 << 20))),
        ..delivery(&found, key)
    };
    for key in ["large", "larger"] {
        assert!(deliver(&store, large(key)).await);
    }
    let next = Checkpoint {
        consumed,
        ..waiting(held, 3, vec![])
    };
    checkpoint(&store, next).await.unwrap();
    assert_eq!(claim_one(&store, held.owner).await.received.len(), 1);
}

pub async fn subscriptions_come_page_by_page(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "work").await;
    let owner = alive(&store).await;
    for _ in 0..3 {
        let held = running(&store, deployment.id, owner).await;
        let park = waiting(held, 1, vec![listener(5, true, &["t", "t", "other"])]);
        checkpoint(&store, park).await.unwrap();
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store.subscriptions("t", after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.place);
        seen.extend(page);
    }
    assert_eq!(seen, subscriptions(&store, "t").await);
    assert_eq!(seen.len(), 6);
}

pub async fn a_cancelled_wait_for_events_ends(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let park = waiting(held, 1, vec![listener(5, true, &["t"])]);
    checkpoint(&store, park).await.unwrap();
    let next = store.next_due().await.unwrap();
    assert!(
        next.is_none_or(|due| due > Duration::from_hours(24)),
        "{next:?}"
    );
    let other = alive(&store).await;
    let asked = store
        .request_cancel(held.id, other, "enough")
        .await
        .unwrap();
    let Some(crate::CancelRequested::Seized { epoch, .. }) = asked else {
        panic!("nobody owned it: {asked:?}");
    };
    let held = Held {
        owner: other,
        epoch,
        ..held
    };
    end(&store, held.success()).await.unwrap();
    assert_eq!(subscriptions(&store, "t").await, vec![]);
}
