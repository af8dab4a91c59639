//! The history of one execution.

use millrace_types::{ExecutionId, Timestamp};

use super::Fixture;
use super::support::{Held, Shared, checkpoint, end, events, one_running, page};
use crate::{Checkpoint, Ending, EventRecord, PageRequest};

async fn paged(store: &Shared, held: Held, limit: u32) -> (Vec<EventRecord>, Vec<usize>) {
    let mut request = page(limit);
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let got = store
            .execution_events(held.id, &request)
            .await
            .unwrap()
            .unwrap();
        sizes.push(got.items.len());
        seen.extend(got.items);
        let Some(next) = got.next else {
            return (seen, sizes);
        };
        assert_eq!(next, seen.last().unwrap().seq.to_string());
        request = PageRequest {
            cursor: Some(next),
            limit,
        };
    }
}

async fn write(store: &Shared, held: Held, seq: u64, first: u64, last: u64) {
    let with_events = Checkpoint {
        events: events(first, last),
        ..held.checkpoint(seq)
    };
    checkpoint(store, with_events).await.unwrap();
}

pub async fn events_are_paged_in_order(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    for n in 1..=6 {
        write(&store, held, n, n, n).await;
    }
    assert_eq!(paged(&store, held, 100).await, (events(1, 6), vec![6]));
    assert_eq!(paged(&store, held, 4).await, (events(1, 6), vec![4, 2]));
    assert_eq!(paged(&store, held, 3).await, (events(1, 6), vec![3, 3]));
}

pub async fn pages_cut_through_the_events_of_one_commit(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    write(&store, held, 1, 1, 5).await;
    write(&store, held, 2, 6, 6).await;
    write(&store, held, 3, 7, 12).await;
    for limit in [1, 2, 3, 5, 6, 7, 12, 1000] {
        let (seen, sizes) = paged(&store, held, limit).await;
        assert_eq!(seen, events(1, 12), "in pages of {limit}");
        let full = sizes.len() - 1;
        assert!(
            sizes[..full].iter().all(|n| *n == limit as usize),
            "{sizes:?}"
        );
    }
}

pub async fn events_outlive_the_end(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    write(&store, held, 1, 1, 2).await;
    let ending = Ending {
        events: events(3, 4),
        ..held.success()
    };
    end(&store, ending).await.unwrap();
    assert_eq!(paged(&store, held, 3).await, (events(1, 4), vec![3, 1]));
}

pub async fn events_of_an_unknown_execution_are_none(store: Shared, _: &dyn Fixture) {
    let got = store.execution_events(ExecutionId::new(), &page(10)).await;
    assert_eq!(got.unwrap(), None);
}

pub async fn execution_without_events_has_an_empty_page(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    assert_eq!(paged(&store, held, 10).await, (vec![], vec![0]));
    end(&store, held.success()).await.unwrap();
    assert_eq!(paged(&store, held, 10).await, (vec![], vec![0]));
}

pub async fn event_texts_survive_byte_for_byte(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let details = [
        "",
        r#"{"z":1,"a":123456789012345678901234567890,"f":1e400}"#,
        r#"{"nul":"\u0000","quote":"\"","slash":"\\"}"#,
        "{ \"spaced\" : \"häßlich 𝄞\" }",
    ];
    let odd: Vec<_> = (1..)
        .zip(details)
        .map(|(seq, detail)| EventRecord {
            seq,
            at: Timestamp::from_micros(-1 + seq.cast_signed()),
            kind: "task.failed".into(),
            task: "/do/0/a~1b/\"ü\"".into(),
            attempt: u32::MAX,
            detail: detail.into(),
        })
        .collect();
    let with_events = Checkpoint {
        events: odd.clone(),
        ..held.checkpoint(1)
    };
    checkpoint(&store, with_events).await.unwrap();
    assert_eq!(paged(&store, held, 10).await.0, odd);
}
