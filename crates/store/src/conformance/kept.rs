//! What a failed execution keeps, for a rerun from where it failed.

use bytes::Bytes;
use millrace_types::{DeploymentId, ExecutionId};

use super::Fixture;
use super::support::{
    Held, Shared, admission, admit, alive, checkpoint, claim_one, end, eventually, frame, live,
    one_running, running, try_admit,
};
use crate::{Admission, Checkpoint, Ending, Outcome, RerunOf};

fn failing(held: Held) -> Ending {
    let outcome = Outcome::Failed(Bytes::from_static(b"{}"));
    Ending {
        keep_frames: vec![frame(1, r#"{"root":"\u0000ä"}"#), frame(7, "{}")],
        ..held.ending(outcome)
    }
}

fn rerun(deployment: DeploymentId, of: ExecutionId) -> Admission {
    Admission {
        rerun_of: Some(RerunOf {
            id: of,
            version: 1,
            from_failed: true,
        }),
        ..admission(deployment)
    }
}

pub async fn rerun_begins_with_the_frames_that_were_kept(store: Shared, _: &dyn Fixture) {
    let deployment = live(&store, "orders").await;
    let owner = alive(&store).await;
    let held = running(&store, deployment.id, owner).await;
    // Those of the last checkpoint are not what is kept.
    let stored = Checkpoint {
        upsert_frames: vec![frame(1, "1"), frame(2, "2")],
        ..held.checkpoint(1)
    };
    checkpoint(&store, stored).await.unwrap();
    assert!(!store.keeps_frames(held.id).await.unwrap());
    end(&store, failing(held)).await.unwrap();
    assert!(store.keeps_frames(held.id).await.unwrap());
    let new = rerun(deployment.id, held.id);
    admit(&store, &new).await;
    // A repeat does not copy them again.
    assert!(!admit(&store, &new).await.fresh);
    let claimed = claim_one(&store, owner).await;
    assert_eq!((claimed.id, claimed.checkpoint_seq), (new.id, 0));
    let kept = failing(held).keep_frames;
    assert_eq!(claimed.frames, kept);
    let next = Checkpoint {
        delete_frames: vec![7],
        ..Held::of(&claimed, owner).checkpoint(1)
    };
    checkpoint(&store, next).await.unwrap();
    assert!(store.keeps_frames(held.id).await.unwrap());
}

pub async fn rerun_without_kept_frames_is_refused(store: Shared, _: &dyn Fixture) {
    let held = one_running(&store).await;
    let deployment = store
        .execution(held.id)
        .await
        .unwrap()
        .unwrap()
        .deployment_id;
    end(&store, held.success()).await.unwrap();
    assert!(!store.keeps_frames(held.id).await.unwrap());
    let new = rerun(deployment, held.id);
    try_admit(&store, &new).await.unwrap_err();
    assert_eq!(store.execution(new.id).await.unwrap(), None);
}

pub async fn kept_frames_go_with_their_execution(store: Shared, fixture: &dyn Fixture) {
    let held = one_running(&store).await;
    end(&store, failing(held)).await.unwrap();
    fixture.age_ended(31).await;
    eventually("retention", async || {
        store.maintain().await.unwrap();
        let gone = !store.keeps_frames(held.id).await.unwrap();
        gone.then_some(())
    })
    .await;
}
