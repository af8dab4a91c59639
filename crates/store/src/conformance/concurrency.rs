//! Limits of concurrency: slots, and what becomes of those without one.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{DeploymentId, ExecutionId, ExecutionStatus, IncarnationId};
use tokio::task::JoinSet;

use super::Fixture;
use super::support::{
    HOUR, Held, Shared, admission, admit, ahead, alive, bundle, checkpoint, claim_one, commit,
    dead, deploy, end, eventually, keyed, page, sealed, try_admit,
};
use crate::settings::{Concurrency, ConcurrencyPolicy, SlotKeys, SlotRules};
use crate::{Admission, AdmissionRefused, Admitted, Write, WriteDone, WriteRefused};

/// Keys for the suite: an expression is the name of a member of the input.
#[derive(Debug)]
pub struct MemberKeys;

impl SlotKeys for MemberKeys {
    fn key(&self, expression: &str, input: &[u8]) -> Result<String, String> {
        let input: serde_json::Value =
            serde_json::from_slice(input).map_err(|error| error.to_string())?;
        let value = input
            .get(expression)
            .ok_or_else(|| format!("no {expression}"))?;
        Ok(value.to_string())
    }
}

/// The rules that a store under test is given.
pub fn rules() -> SlotRules {
    SlotRules {
        keys: std::sync::Arc::new(MemberKeys),
        retention_days: 30,
    }
}

async fn limited(
    store: &Shared,
    edition: u32,
    limit: u32,
    key: Option<&str>,
    policy: ConcurrencyPolicy,
) -> DeploymentId {
    let mut bundle = bundle("limited", edition);
    bundle.settings.concurrency = Some(Concurrency {
        limit,
        key: key.map(Into::into),
        policy,
    });
    deploy(store, &sealed(bundle)).await.unwrap().deployment.id
}

async fn start(store: &Shared, deployment: DeploymentId, owner: IncarnationId) -> Admitted {
    let admission = Admission {
        owner: Some(owner),
        ..admission(deployment)
    };
    admit(store, &admission).await
}

fn held(admitted: &Admitted, owner: IncarnationId) -> Held {
    Held {
        id: admitted.id,
        owner,
        epoch: admitted.owned.expect("it has a slot"),
    }
}

async fn status(store: &Shared, id: ExecutionId) -> ExecutionStatus {
    store.execution(id).await.unwrap().unwrap().status
}

pub async fn limit_holds_and_the_rest_queues(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 2, None, ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    let first = start(&store, deployment, owner).await;
    assert!(first.limits.slot);
    let second = start(&store, deployment, owner).await;
    let third = start(&store, deployment, owner).await;
    let fourth = start(&store, deployment, owner).await;
    assert_eq!(third.status, ExecutionStatus::Pending);
    assert_eq!(third.owned, None);
    assert_eq!(store.claim(owner, 10).await.unwrap(), vec![]);
    // First come, first served, once there is room.
    end(&store, held(&second, owner).success()).await.unwrap();
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.id, third.id);
    assert!(claimed.limits.slot);
    end(&store, held(&first, owner).success()).await.unwrap();
    end(&store, Held::of(&claimed, owner).success())
        .await
        .unwrap();
    assert_eq!(claim_one(&store, owner).await.id, fourth.id);
}

pub async fn slot_is_held_through_waits_and_takeovers(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    let first = held(&start(&store, deployment, owner).await, owner);
    let queued = start(&store, deployment, owner).await;
    checkpoint(&store, first.park(1, ahead(Duration::ZERO)))
        .await
        .unwrap();
    let again = claim_one(&store, owner).await;
    assert_eq!(again.id, first.id);
    store.retire(owner).await.unwrap();
    let other = alive(&store).await;
    let again = claim_one(&store, other).await;
    assert_eq!(again.id, first.id);
    end(&store, Held::of(&again, other).success())
        .await
        .unwrap();
    assert_eq!(claim_one(&store, other).await.id, queued.id);
}

pub async fn each_value_of_the_key_has_its_own_slots(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, Some("shop"), ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    let of = |input: &'static str| Admission {
        owner: Some(owner),
        input: Bytes::from_static(input.as_bytes()),
        ..admission(deployment)
    };
    let writes: Vec<Write> = [r#"{"shop":1}"#, r#"{"shop":2}"#, r#"{"shop":1}"#, "{}"]
        .map(|input| Write::Admit(of(input)))
        .into();
    let outcomes = commit(&store, &writes).await.unwrap();
    let owned: Vec<bool> = outcomes[..3]
        .iter()
        .map(|outcome| match outcome {
            Ok(WriteDone::Admitted(admitted)) => admitted.owned.is_some(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(owned, [true, true, false]);
    assert!(
        matches!(
            &outcomes[3],
            Err(WriteRefused::Admission(AdmissionRefused::KeyFailed(id, why)))
                if *id == deployment && why == "no shop"
        ),
        "{:?}",
        outcomes[3]
    );
}

pub async fn skipped_execution_has_ended_at_once(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Skip).await;
    let owner = alive(&store).await;
    let first = start(&store, deployment, owner).await;
    let keyed = keyed(deployment, "order-1");
    let skipped = admit(&store, &keyed).await;
    assert!(skipped.fresh);
    assert_eq!(skipped.status, ExecutionStatus::Cancelled);
    let shown = store.execution(skipped.id).await.unwrap().unwrap();
    assert_eq!(shown.status, ExecutionStatus::Cancelled);
    assert!(shown.ended_at.is_some() && shown.started_at.is_none());
    let error = String::from_utf8(shown.error.unwrap().to_vec()).unwrap();
    assert!(error.contains("urn:millrace:error:skipped"), "{error}");
    let history = store.execution_events(skipped.id, &page(10)).await.unwrap();
    assert_eq!(history.unwrap().items[0].kind, "executionCancelled");
    // A repeat gets the first answer, though a slot is free by now.
    end(&store, held(&first, owner).success()).await.unwrap();
    let repeat = Admission {
        id: ExecutionId::new(),
        ..keyed
    };
    let again = admit(&store, &repeat).await;
    assert_eq!((again.id, again.fresh), (skipped.id, false));
    let next = start(&store, deployment, owner).await;
    assert_eq!(next.status, ExecutionStatus::Running);
}

pub async fn oldest_is_asked_to_end_for_a_newer_one(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 2, None, ConcurrencyPolicy::CancelRunning).await;
    let owner = alive(&store).await;
    let first = start(&store, deployment, owner).await;
    let second = start(&store, deployment, owner).await;
    let third = start(&store, deployment, owner).await;
    assert_eq!(third.status, ExecutionStatus::Pending);
    let requests = store.cancel_requests(owner).await.unwrap();
    let asked: Vec<_> = requests.iter().map(|request| request.id).collect();
    assert_eq!(asked, [first.id]);
    end(&store, held(&first, owner).success()).await.unwrap();
    assert_eq!(claim_one(&store, owner).await.id, third.id);
    // Those that queue, or wait, are older than the newest too.
    let waiting = held(&second, owner);
    checkpoint(&store, waiting.park(1, ahead(HOUR)))
        .await
        .unwrap();
    let fourth = start(&store, deployment, owner).await;
    let claimed = claim_one(&store, owner).await;
    assert_eq!(claimed.id, second.id);
    assert!(claimed.cancel.is_some());
    end(&store, Held::of(&claimed, owner).success())
        .await
        .unwrap();
    assert_eq!(claim_one(&store, owner).await.id, fourth.id);
}

pub async fn raised_and_lifted_limits_let_the_queue_go(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    for _ in 0..5 {
        start(&store, deployment, owner).await;
    }
    assert_eq!(store.fill_slots(None).await.unwrap(), (0, None));
    limited(&store, 2, 3, None, ConcurrencyPolicy::Queue).await;
    assert_eq!(store.fill_slots(None).await.unwrap(), (2, None));
    assert_eq!(store.claim(owner, 10).await.unwrap().len(), 2);
    deploy(&store, &bundle("limited", 3)).await.unwrap();
    assert_eq!(store.fill_slots(None).await.unwrap(), (2, None));
    assert_eq!(store.claim(owner, 10).await.unwrap().len(), 2);
}

pub async fn queued_execution_can_be_cancelled(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    let first = start(&store, deployment, owner).await;
    let queued = start(&store, deployment, owner).await;
    let gone = dead(&store).await;
    store
        .request_cancel(queued.id, gone, "enough")
        .await
        .unwrap();
    let claimed = claim_one(&store, owner).await;
    assert_eq!(
        (claimed.id, claimed.cancel.as_deref()),
        (queued.id, Some("enough"))
    );
    end(&store, Held::of(&claimed, owner).success())
        .await
        .unwrap();
    assert_eq!(status(&store, first.id).await, ExecutionStatus::Running);
    end(&store, held(&first, owner).success()).await.unwrap();
    assert_eq!(store.fill_slots(None).await.unwrap(), (0, None));
}

pub async fn concurrent_admissions_never_pass_the_limit(store: Shared, _: &dyn Fixture) {
    const LIMIT: usize = 3;
    const ALL: usize = 24;
    let deployment = limited(&store, 1, 3, None, ConcurrencyPolicy::Queue).await;
    let owner = alive(&store).await;
    let mut tasks = JoinSet::new();
    for _ in 0..ALL {
        let store = store.clone();
        tasks.spawn(async move { start(&store, deployment, owner).await });
    }
    let all = tasks.join_all().await;
    let mut running: Vec<Held> = (all.iter())
        .filter(|admitted| admitted.owned.is_some())
        .map(|admitted| held(admitted, owner))
        .collect();
    assert_eq!(running.len(), LIMIT);
    let mut ended = 0;
    while ended < ALL {
        let mut ends = JoinSet::new();
        for one in running.drain(..) {
            ended += 1;
            let store = store.clone();
            ends.spawn(async move { end(&store, one.success()).await.unwrap() });
        }
        ends.join_all().await;
        if ended < ALL {
            let due = LIMIT.min(ALL - ended);
            eventually("slots are handed on", async || {
                let claimed = store.claim(owner, 10).await.unwrap();
                running.extend(claimed.iter().map(|claimed| Held::of(claimed, owner)));
                assert!(running.len() <= LIMIT, "{} run at once", running.len());
                (running.len() == due).then_some(())
            })
            .await;
        }
    }
}

pub async fn paused_deployment_refuses_before_it_limits(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Skip).await;
    store
        .set_deployment_status(deployment, millrace_types::DeploymentStatus::Paused)
        .await
        .unwrap();
    let refused = try_admit(&store, &admission(deployment)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            WriteRefused::Admission(AdmissionRefused::DeploymentNotLive(..))
        ),
        "{refused:?}"
    );
}

/// In the same batch as the first, and later.
pub async fn repeats_are_told_whether_the_first_found_a_slot(store: Shared, _: &dyn Fixture) {
    let deployment = limited(&store, 1, 1, None, ConcurrencyPolicy::Skip).await;
    let owner = alive(&store).await;
    for (key, expected) in [
        ("first", ExecutionStatus::Running),
        ("second", ExecutionStatus::Cancelled),
    ] {
        let asked = || Admission {
            owner: Some(owner),
            ..keyed(deployment, key)
        };
        let writes = [Write::Admit(asked()), Write::Admit(asked())];
        let mut answers: Vec<_> = commit(&store, &writes)
            .await
            .unwrap()
            .into_iter()
            .map(|done| super::support::admitted(done.unwrap()))
            .collect();
        answers.push(admit(&store, &asked()).await);
        for answer in answers {
            assert_eq!(answer.status, expected, "{key}: {answer:?}");
        }
    }
}
