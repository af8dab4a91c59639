//! Progress of owned executions.

use millrace_types::{ExecutionId, ExecutionStatus};

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, ago, ahead, alive, checkpoint, claim_one, commit, end, events, frame, live,
    one_running, page, reclaim, running, timer,
};
use crate::{Checkpoint, Write, WriteDone, WriteRefused};

pub async fn frames_are_upserted_and_deleted(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let odd = r#"{"b":"\u0000","a":123456789012345678901234567890}"#;
    checkpoint(
        &store,
        Checkpoint {
            upsert_frames: vec![frame(1, "{}"), frame(2, "[2]"), frame(3, "3")],
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    checkpoint(
        &store,
        Checkpoint {
            upsert_frames: vec![frame(2, odd), frame(4, "4")],
            delete_frames: vec![3, 77],
            ..held.checkpoint(2)
        },
    )
    .await
    .unwrap();
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!(
        stored.frames,
        vec![frame(1, "{}"), frame(2, odd), frame(4, "4")]
    );
    assert_eq!(stored.checkpoint_seq, 2);
}

pub async fn timers_are_set_moved_and_cleared(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(
        &store,
        Checkpoint {
            set_timers: vec![
                timer(1, ahead(HOUR)),
                timer(2, ago(HOUR)),
                timer(3, ago(HOUR)),
                timer(4, ahead(HOUR)),
            ],
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    checkpoint(
        &store,
        Checkpoint {
            set_timers: vec![timer(1, ago(HOUR))],
            clear_timers: vec![2, 99],
            ..held.checkpoint(2)
        },
    )
    .await
    .unwrap();
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!(stored.due_timers, vec![1, 3]);
}

pub async fn repeat_of_the_last_one_changes_nothing(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let first = Checkpoint {
        upsert_frames: vec![frame(1, "1")],
        events: events(1, 2),
        ..held.checkpoint(1)
    };
    checkpoint(&store, first.clone()).await.unwrap();
    checkpoint(&store, first).await.unwrap();
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!(stored.checkpoint_seq, 1);
    assert_eq!(stored.next_event_seq, 3);
    assert_eq!(stored.frames, vec![frame(1, "1")]);
    let history = store
        .execution_events(held.id, &page(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(history.items, events(1, 2));
}

pub async fn repeat_of_a_park_changes_nothing(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let park = held.park(1, ahead(HOUR));
    checkpoint(&store, park.clone()).await.unwrap();
    checkpoint(&store, park).await.unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Waiting);
}

pub async fn gap_in_the_sequence_is_refused(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
    let skipped = Checkpoint {
        upsert_frames: vec![frame(1, "1")],
        ..held.checkpoint(3)
    };
    checkpoint(&store, skipped).await.unwrap_err();
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!(stored.checkpoint_seq, 1);
    assert_eq!(stored.frames, vec![]);
}

pub async fn other_epoch_is_fenced(store: Shared, _: &dyn Fixture) {
    let old = one_running(&store).await;
    let (held, _) = reclaim(&store, old).await;
    for epoch in [old.epoch, held.epoch + 1] {
        let stale = Checkpoint {
            upsert_frames: vec![frame(1, "1")],
            events: events(1, 1),
            ..Held { epoch, ..held }.checkpoint(1)
        };
        assert_eq!(
            checkpoint(&store, stale).await,
            Err(WriteRefused::Fenced(held.id))
        );
    }
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!((stored.checkpoint_seq, stored.next_event_seq), (0, 1));
    assert_eq!(stored.frames, vec![]);
}

pub async fn other_owner_is_fenced(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let owner = alive(&store).await;
    assert_eq!(
        checkpoint(&store, Held { owner, ..held }.checkpoint(1)).await,
        Err(WriteRefused::Fenced(held.id))
    );
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
}

pub async fn unknown_or_ended_execution_is_fenced(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let unknown = Held {
        id: ExecutionId::new(),
        ..held
    };
    assert_eq!(
        checkpoint(&store, unknown.checkpoint(1)).await,
        Err(WriteRefused::Fenced(unknown.id))
    );
    end(&store, held.success()).await.unwrap();
    assert_eq!(
        checkpoint(&store, held.checkpoint(1)).await,
        Err(WriteRefused::Fenced(held.id))
    );
}

pub async fn park_lets_go_until_the_timer(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
    checkpoint(&store, held.park(2, ago(HOUR))).await.unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Waiting);
    assert_eq!(shown.ended_at, None);
    // Nobody owns it: not even the one that parked it may write.
    assert_eq!(
        checkpoint(&store, held.checkpoint(3)).await,
        Err(WriteRefused::Fenced(held.id))
    );
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.id, held.id);
    assert!(claimed.epoch > held.epoch);
    assert_eq!(claimed.checkpoint_seq, 2);
    assert_eq!(claimed.due_timers, vec![1]);
    assert_eq!(Some(claimed.started_at), shown.started_at);
}

pub async fn park_without_a_timer_is_refused(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(
        &store,
        Checkpoint {
            set_timers: vec![timer(1, ahead(HOUR))],
            ..held.checkpoint(1)
        },
    )
    .await
    .unwrap();
    let park = Checkpoint {
        clear_timers: vec![1],
        upsert_frames: vec![frame(1, "1")],
        park: true,
        ..held.checkpoint(2)
    };
    let refused = checkpoint(&store, park).await.unwrap_err();
    assert!(matches!(refused, WriteRefused::Rejected(_)), "{refused}");
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Running);
    // Nothing of it was kept: the timer stands, and wakes a proper park.
    let park = Checkpoint {
        park: true,
        ..held.checkpoint(2)
    };
    checkpoint(&store, park).await.unwrap();
    let due = store.next_due().await.unwrap().unwrap();
    assert!(due <= HOUR && due > HOUR / 2, "{due:?}");
}

pub async fn fenced_write_leaves_neighbours_alone(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let mut helds = Vec::new();
    for _ in 0..3 {
        helds.push(running(&store, deployment.id, owner).await);
    }
    let stale = Held {
        epoch: helds[1].epoch + 1,
        ..helds[1]
    };
    let writes = vec![
        Write::Checkpoint(Checkpoint {
            upsert_frames: vec![frame(1, "1")],
            ..helds[0].checkpoint(1)
        }),
        Write::Checkpoint(Checkpoint {
            upsert_frames: vec![frame(1, "1")],
            ..stale.checkpoint(1)
        }),
        Write::End(helds[2].success()),
        Write::Admit(super::support::admission(deployment.id)),
    ];
    let outcomes = commit(&store, &writes).await.unwrap();
    assert_eq!(outcomes[0], Ok(WriteDone::Checkpointed));
    assert_eq!(outcomes[1], Err(WriteRefused::Fenced(stale.id)));
    assert_eq!(outcomes[2], Ok(WriteDone::Ended(None)));
    assert!(matches!(&outcomes[3], Ok(WriteDone::Admitted(a)) if a.fresh));
    checkpoint(&store, helds[0].checkpoint(2)).await.unwrap();
    checkpoint(&store, helds[1].checkpoint(1)).await.unwrap();
}

pub async fn what_is_deleted_and_set_at_once_is_set(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let first = Checkpoint {
        upsert_frames: vec![frame(1, "1")],
        set_timers: vec![timer(1, ahead(HOUR))],
        ..held.checkpoint(1)
    };
    checkpoint(&store, first).await.unwrap();
    let both = Checkpoint {
        upsert_frames: vec![frame(1, "2"), frame(7, "7")],
        delete_frames: vec![1, 7],
        set_timers: vec![timer(1, ago(HOUR)), timer(7, ago(HOUR))],
        clear_timers: vec![1, 7],
        ..held.checkpoint(2)
    };
    checkpoint(&store, both).await.unwrap();
    let (_, stored) = reclaim(&store, held).await;
    assert_eq!(stored.frames, vec![frame(1, "2"), frame(7, "7")]);
    assert_eq!(stored.due_timers, vec![1, 7]);
}

pub async fn events_with_a_gap_or_a_repeat_are_refused_alone(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let neighbour = store.execution(held.id).await.unwrap().unwrap();
    let neighbour = running(&store, neighbour.deployment_id, held.owner).await;
    let first = Checkpoint {
        events: events(1, 2),
        ..held.checkpoint(1)
    };
    checkpoint(&store, first).await.unwrap();
    let mut doubled = events(3, 4);
    doubled[1].seq = 3;
    for (seq, wrong) in [(1, events(2, 3)), (2, events(4, 4)), (3, doubled)] {
        let wrong = Checkpoint {
            events: wrong,
            ..held.checkpoint(2)
        };
        let good = Checkpoint {
            events: events(seq, seq),
            ..neighbour.checkpoint(seq)
        };
        let writes = [Write::Checkpoint(wrong), Write::Checkpoint(good)];
        let outcomes = commit(&store, &writes).await.unwrap();
        assert!(
            matches!(outcomes[0], Err(WriteRefused::Rejected(_))),
            "{outcomes:?}"
        );
        assert_eq!(outcomes[1], Ok(WriteDone::Checkpointed));
    }
    let next = Checkpoint {
        events: events(3, 3),
        ..held.checkpoint(2)
    };
    checkpoint(&store, next).await.unwrap();
    let stored = store.execution_events(held.id, &page(10)).await.unwrap();
    let seqs: Vec<_> = stored.unwrap().items.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}
