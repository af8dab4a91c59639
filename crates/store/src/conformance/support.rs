//! What the cases share: bundles, admissions, short ways to write and wait.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_types::{DeploymentId, ExecutionId, IncarnationId, Timestamp, TriggerKind};
use sha2::{Digest, Sha256};

use crate::{
    Admission, Admitted, Checkpoint, Claimed, Dedupe, DeploymentRecord, DeploymentSettings, Ending,
    EventRecord, FrameRecord, NewDeployment, NewTrigger, Outcome, PageRequest, Store, StoreError,
    TimerRecord, TriggerRef, WebhookRoute, Write, WriteDone, WriteRefused,
};

pub type Shared = Arc<dyn Store>;

/// Long enough for any machine; a case that waits ends as soon as it can.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that does not run out during a case.
pub const LONG: Duration = Duration::from_mins(10);
pub const HOUR: Duration = Duration::from_hours(1);

/// A bundle of the workflow `default/NAME` without triggers; `edition` makes
/// it different from others of that name.
pub fn bundle(name: &str, edition: u32) -> NewDeployment {
    sealed(NewDeployment {
        namespace: "default".into(),
        name: name.into(),
        workflow_version: format!("{edition}.0.0"),
        digest: String::new(),
        definition_json: format!(r#"{{"document":{{"name":"{name}","edition":{edition}}}}}"#),
        source: format!("document:\n  name: {name} # {edition}\n"),
        config_json: "{}".into(),
        labels: BTreeMap::new(),
        settings: DeploymentSettings::default(),
        triggers: Vec::new(),
    })
}

pub fn with_triggers(mut bundle: NewDeployment, triggers: Vec<NewTrigger>) -> NewDeployment {
    bundle.triggers = triggers;
    sealed(bundle)
}

/// Gives the bundle the digest of its present content.
pub fn sealed(mut bundle: NewDeployment) -> NewDeployment {
    bundle.digest.clear();
    let mut hex = String::new();
    for byte in Sha256::digest(format!("{bundle:?}")) {
        let _ = write!(hex, "{byte:02x}");
    }
    bundle.digest = hex;
    bundle
}

pub fn webhook(name: Option<&str>, path: &str, methods: &[&str]) -> NewTrigger {
    let shape = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/");
    NewTrigger {
        kind: TriggerKind::Webhook,
        name: name.map(Into::into),
        enabled: true,
        spec_json: format!(r#"{{"type":"webhook","path":"{path}"}}"#),
        route: Some(WebhookRoute {
            shape,
            path: path.into(),
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        }),
        secrets: None,
        event_type: None,
    }
}

pub fn cron(name: Option<&str>, expression: &str) -> NewTrigger {
    NewTrigger {
        kind: TriggerKind::Cron,
        name: name.map(Into::into),
        enabled: true,
        spec_json: format!(r#"{{"type":"cron","cron":"{expression}"}}"#),
        route: None,
        secrets: None,
        event_type: None,
    }
}

/// A trigger that listens to events of a type; to all for an empty one.
pub fn event(name: Option<&str>, event_type: &str) -> NewTrigger {
    NewTrigger {
        kind: TriggerKind::Event,
        name: name.map(Into::into),
        enabled: true,
        spec_json: format!(r#"{{"type":"event","filter":{{"type":"{event_type}"}}}}"#),
        route: None,
        secrets: None,
        event_type: Some(event_type.into()),
    }
}

/// Deploys, and tries again when the database asks for it.
pub async fn deploy(
    store: &Shared,
    bundle: &NewDeployment,
) -> Result<crate::Deployed, crate::DeployRefused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.deploy(bundle).await {
            Err(crate::DeployRefused::Store(error))
                if error.is_transient() && Instant::now() < deadline =>
            {
                tokio::task::yield_now().await;
            }
            done => return done,
        }
    }
}

/// A deployment that takes triggers.
pub async fn live(store: &Shared, name: &str) -> DeploymentRecord {
    deploy(store, &bundle(name, 1)).await.unwrap().deployment
}

/// An incarnation whose lease outlives the case.
pub async fn alive(store: &Shared) -> IncarnationId {
    let id = IncarnationId::new();
    store.register(id, LONG).await.unwrap();
    id
}

/// An incarnation whose lease is over.
pub async fn dead(store: &Shared) -> IncarnationId {
    let id = alive(store).await;
    store.retire(id).await.unwrap();
    id
}

pub fn admission(deployment: DeploymentId) -> Admission {
    Admission {
        id: ExecutionId::new(),
        deployment_id: deployment,
        trigger: TriggerRef {
            kind: TriggerKind::Manual,
            id: None,
        },
        input: Bytes::from_static(b"{}"),
        dedupe: None,
        owner: None,
        traceparent: None,
        rerun_of: None,
    }
}

pub fn keyed(deployment: DeploymentId, key: &str) -> Admission {
    Admission {
        dedupe: Some(Dedupe {
            key: key.into(),
            keep: HOUR,
        }),
        ..admission(deployment)
    }
}

/// Commits as group commit does: tries again when that may help.
pub async fn commit(
    store: &Shared,
    writes: &[Write],
) -> Result<Vec<Result<WriteDone, WriteRefused>>, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.commit(writes).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            done => return done,
        }
    }
}

/// Commits one write alone. A database that refuses the whole batch for it
/// says the same as one that refuses the row.
pub async fn commit_one(store: &Shared, write: Write) -> Result<WriteDone, WriteRefused> {
    match commit(store, &[write]).await {
        Ok(mut outcomes) => {
            assert_eq!(outcomes.len(), 1, "one outcome for one write");
            outcomes.remove(0)
        }
        Err(StoreError::Rejected(reason)) => Err(WriteRefused::Rejected(reason)),
        Err(error) => panic!("the commit failed: {error}"),
    }
}

pub async fn try_admit(store: &Shared, admission: &Admission) -> Result<Admitted, WriteRefused> {
    commit_one(store, Write::Admit(admission.clone()))
        .await
        .map(admitted)
}

pub async fn admit(store: &Shared, admission: &Admission) -> Admitted {
    try_admit(store, admission).await.unwrap()
}

pub fn admitted(done: WriteDone) -> Admitted {
    match done {
        WriteDone::Admitted(admitted) => admitted,
        other => panic!("an admission was answered with {other:?}"),
    }
}

/// An owned execution, as its owner knows it.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub id: ExecutionId,
    pub owner: IncarnationId,
    pub epoch: u64,
}

impl Held {
    /// An empty checkpoint.
    pub fn checkpoint(self, seq: u64) -> Checkpoint {
        Checkpoint {
            id: self.id,
            owner: self.owner,
            epoch: self.epoch,
            seq,
            upsert_frames: Vec::new(),
            delete_frames: Vec::new(),
            set_timers: Vec::new(),
            clear_timers: Vec::new(),
            events: Vec::new(),
            park: false,
            set_listeners: Vec::new(),
            clear_listeners: Vec::new(),
            narrow_listeners: Vec::new(),
            consumed: Vec::new(),
            emits: Vec::new(),
        }
    }

    /// A checkpoint that sets timer 1 and parks.
    pub fn park(self, seq: u64, due_at: Timestamp) -> Checkpoint {
        Checkpoint {
            set_timers: vec![TimerRecord { id: 1, due_at }],
            park: true,
            ..self.checkpoint(seq)
        }
    }

    pub fn ending(self, outcome: Outcome) -> Ending {
        Ending {
            id: self.id,
            owner: self.owner,
            epoch: self.epoch,
            outcome,
            events: Vec::new(),
            retention_days: 30,
            keep_frames: Vec::new(),
            emits: Vec::new(),
            read_back: false,
        }
    }

    pub fn success(self) -> Ending {
        self.ending(Outcome::Succeeded(Bytes::from_static(b"null")))
    }

    pub fn of(claimed: &Claimed, owner: IncarnationId) -> Self {
        Self {
            id: claimed.id,
            owner,
            epoch: claimed.epoch,
        }
    }
}

/// An execution that `owner` runs.
pub async fn running(store: &Shared, deployment: DeploymentId, owner: IncarnationId) -> Held {
    let admitted = admit(
        store,
        &Admission {
            owner: Some(owner),
            ..admission(deployment)
        },
    )
    .await;
    Held {
        id: admitted.id,
        owner,
        epoch: admitted.owned.expect("its owner is alive"),
    }
}

/// A deployment, a living incarnation and an execution that it runs.
pub async fn one_running(store: &Shared) -> Held {
    let deployment = live(store, "work").await;
    let owner = alive(store).await;
    running(store, deployment.id, owner).await
}

pub async fn checkpoint(store: &Shared, checkpoint: Checkpoint) -> Result<(), WriteRefused> {
    commit_one(store, Write::Checkpoint(checkpoint))
        .await
        .map(|done| assert_eq!(done, WriteDone::Checkpointed))
}

pub async fn end(store: &Shared, ending: Ending) -> Result<(), WriteRefused> {
    commit_one(store, Write::End(ending))
        .await
        .map(|done| assert_eq!(done, WriteDone::Ended(None)))
}

/// Gives the execution back and claims it again: shows what is stored.
pub async fn reclaim(store: &Shared, held: Held) -> (Held, Claimed) {
    assert!(
        store
            .release(held.id, held.owner, held.epoch)
            .await
            .unwrap()
    );
    let claimed = claim_one(store, held.owner).await;
    assert_eq!(claimed.id, held.id);
    (Held::of(&claimed, held.owner), claimed)
}

/// Claims the one execution that is due.
pub async fn claim_one(store: &Shared, owner: IncarnationId) -> Claimed {
    let mut claimed = store.claim(owner, 10).await.unwrap();
    assert_eq!(claimed.len(), 1, "one execution is due: {claimed:?}");
    let mut one = claimed.remove(0);
    one.frames.sort_by_key(|frame| frame.id);
    one.due_timers.sort_unstable();
    one
}

pub fn frame(id: u64, data: &str) -> FrameRecord {
    FrameRecord {
        id,
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

pub fn timer(id: u64, due_at: Timestamp) -> TimerRecord {
    TimerRecord { id, due_at }
}

/// Events numbered from `first` to `last`.
pub fn events(first: u64, last: u64) -> Vec<EventRecord> {
    (first..=last)
        .map(|seq| EventRecord {
            seq,
            at: Timestamp::from_micros(1_700_000_000_000_000 + seq.cast_signed()),
            kind: "task.completed".into(),
            task: format!("/do/{seq}"),
            attempt: 1,
            detail: format!(r#"{{"n":{seq}}}"#),
        })
        .collect()
}

pub fn ago(by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).expect("a short time");
    Timestamp::from_micros(Timestamp::now().as_micros() - micros)
}

pub fn ahead(by: Duration) -> Timestamp {
    Timestamp::now().saturating_add(by)
}

pub fn page(limit: u32) -> PageRequest {
    PageRequest {
        cursor: None,
        limit,
    }
}

/// Asks until there is an answer, for as long as patience lasts.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
