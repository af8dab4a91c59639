//! Asking for the end of an execution.

use bytes::Bytes;
use millrace_types::{ExecutionId, ExecutionStatus, IncarnationId};

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, admission, admit, ahead, alive, checkpoint, claim_one, dead, end, events,
    live, one_running, running,
};
use crate::{CancelRequest, CancelRequested, Checkpoint, Ending, Outcome};

async fn ask(store: &Shared, id: ExecutionId, by: IncarnationId, why: &str) -> CancelRequested {
    let asked = store.request_cancel(id, by, why).await.unwrap();
    asked.expect("the execution is there")
}

/// Ends what was seized, and checks how it ended.
async fn cancel(store: &Shared, held: Held, first_event: u64) {
    let error = Bytes::from_static(br#"{"title":"cancelled"}"#);
    let ending = Ending {
        events: events(first_event, first_event),
        ..held.ending(Outcome::Cancelled(error.clone()))
    };
    end(store, ending).await.unwrap();
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Cancelled);
    assert_eq!(shown.error, Some(error));
    assert_eq!(store.claim(held.owner, 10).await.unwrap(), vec![]);
}

fn seized(id: ExecutionId, owner: IncarnationId, asked: &CancelRequested) -> (Held, u64) {
    match asked {
        CancelRequested::Seized {
            epoch,
            next_event_seq,
            reason,
        } => {
            assert_eq!(reason, "enough");
            let epoch = *epoch;
            (Held { id, owner, epoch }, *next_event_seq)
        }
        other => panic!("not seized but {other:?}"),
    }
}

pub async fn pending_execution_is_seized(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let new = admission(deployment.id);
    admit(&store, &new).await;
    let asked = ask(&store, new.id, owner, "enough").await;
    let (held, next) = seized(new.id, owner, &asked);
    assert_eq!(next, 1);
    // Whoever else asks finds it owned.
    let again = ask(&store, new.id, alive(&store).await, "again").await;
    assert_eq!(again, CancelRequested::Asked { owner: Some(owner) });
    cancel(&store, held, next).await;
}

pub async fn waiting_execution_is_seized(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let parked = Checkpoint {
        events: events(1, 3),
        ..held.park(1, ahead(HOUR))
    };
    checkpoint(&store, parked).await.unwrap();
    let by = alive(&store).await;
    let asked = ask(&store, held.id, by, "enough").await;
    let (seized, next) = seized(held.id, by, &asked);
    assert!(seized.epoch > held.epoch);
    assert_eq!(next, 4);
    assert!(end(&store, held.success()).await.is_err());
    cancel(&store, seized, next).await;
}

pub async fn owner_finds_the_request_and_the_first_reason_stays(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let deployment = store.execution(held.id).await.unwrap().unwrap();
    running(&store, deployment.deployment_id, held.owner).await;
    let by = alive(&store).await;
    assert_eq!(store.cancel_requests(held.owner).await.unwrap(), vec![]);
    for why in ["enough", "again"] {
        let asked = ask(&store, held.id, by, why).await;
        let owner = Some(held.owner);
        assert_eq!(asked, CancelRequested::Asked { owner });
    }
    let request = CancelRequest {
        id: held.id,
        epoch: held.epoch,
        reason: "enough".into(),
    };
    let found = store.cancel_requests(held.owner).await.unwrap();
    assert_eq!(found, vec![request]);
    assert_eq!(store.cancel_requests(by).await.unwrap(), vec![]);
    // What it does meanwhile is still its own.
    checkpoint(&store, held.checkpoint(1)).await.unwrap();
    cancel(&store, held, 1).await;
    assert_eq!(store.cancel_requests(held.owner).await.unwrap(), vec![]);
}

pub async fn request_survives_a_release_and_a_takeover(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let by = alive(&store).await;
    ask(&store, held.id, by, "enough").await;
    let released = store.release(held.id, held.owner, held.epoch).await;
    assert!(released.unwrap());
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.cancel.as_deref(), Some("enough"));
    store.retire(held.owner).await.unwrap();
    let claimed = claim_one(&store, by).await;
    assert_eq!(claimed.cancel.as_deref(), Some("enough"));
    cancel(&store, Held::of(&claimed, by), claimed.next_event_seq).await;
}

pub async fn execution_parked_after_the_request_is_due_at_once(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let by = alive(&store).await;
    ask(&store, held.id, by, "enough").await;
    checkpoint(&store, held.park(1, ahead(HOUR))).await.unwrap();
    let claimed = claim_one(&store, by).await;
    assert_eq!(claimed.id, held.id);
    assert_eq!(claimed.cancel.as_deref(), Some("enough"));
    cancel(&store, Held::of(&claimed, by), claimed.next_event_seq).await;
}

pub async fn dead_canceller_leaves_it_due(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    checkpoint(&store, held.park(1, ahead(HOUR))).await.unwrap();
    let by = dead(&store).await;
    let asked = ask(&store, held.id, by, "enough").await;
    assert_eq!(asked, CancelRequested::Asked { owner: None });
    let claimed = claim_one(&store, held.owner).await;
    assert_eq!(claimed.cancel.as_deref(), Some("enough"));
}

pub async fn request_for_an_ended_one_says_how_it_ended(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    end(&store, held.success()).await.unwrap();
    let asked = ask(&store, held.id, held.owner, "late").await;
    assert_eq!(asked, CancelRequested::Ended(ExecutionStatus::Succeeded));
    let shown = store.execution(held.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Succeeded);
}

pub async fn request_for_an_unknown_one_is_none(store: Shared, _: &dyn Fixture) {
    let by = alive(&store).await;
    let asked = store.request_cancel(ExecutionId::new(), by, "why").await;
    assert_eq!(asked.unwrap(), None);
}
