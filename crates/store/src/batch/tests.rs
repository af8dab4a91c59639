//! Group commit over a store that does as it is told.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_types::{
    DeploymentId, ExecutionId, ExecutionStatus, IncarnationId, Timestamp, TriggerKind, WorkflowId,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::{
    Admission, AdmissionRefused, Admitted, AnswerKey, CancelRequest, CancelRequested, Checkpoint,
    Claimed, Ending, EventRecord, ExecutionFilter, ExecutionRecord, Overdue, Page, PageRequest,
    TriggerRef,
};

/// Remembers every batch, and fails as the case wants.
#[derive(Default)]
struct Told {
    /// Executions of each batch that was handed in.
    batches: Mutex<Vec<Vec<ExecutionId>>>,
    /// Errors for the batches to come; none left means success.
    failures: Mutex<VecDeque<StoreError>>,
    /// A batch with one of these is rejected as a whole.
    poison: Mutex<HashSet<ExecutionId>>,
    /// Writes that are refused by themselves.
    refused: Mutex<HashSet<ExecutionId>>,
    /// When set, each commit waits for a permit.
    gate: Option<Semaphore>,
}

fn id_of(write: &Write) -> ExecutionId {
    match write {
        Write::Admit(admission) => admission.id,
        Write::Checkpoint(checkpoint) => checkpoint.id,
        Write::End(ending) => ending.id,
        Write::Deliver(delivery) => delivery.execution_id,
        Write::Publish(_) => unreachable!("no case publishes"),
    }
}

impl Told {
    fn gated() -> Self {
        Self {
            gate: Some(Semaphore::new(0)),
            ..Self::default()
        }
    }

    fn open(&self, commits: usize) {
        self.gate.as_ref().unwrap().add_permits(commits);
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }

    fn outcome(&self, write: &Write) -> Outcome {
        if self.refused.lock().unwrap().contains(&id_of(write)) {
            return Err(AdmissionRefused::DeploymentUnknown(DeploymentId::new()).into());
        }
        Ok(match write {
            Write::Admit(admission) => WriteDone::Admitted(Admitted {
                id: admission.id,
                fresh: true,
                status: ExecutionStatus::Pending,
                workflow_id: WorkflowId::new(),
                version: 1,
                created_at: Timestamp::now(),
                owned: None,
                limits: crate::Limits::default(),
            }),
            Write::Checkpoint(_) => WriteDone::Checkpointed,
            Write::End(_) => WriteDone::Ended(None),
            Write::Deliver(_) => WriteDone::Delivered(true),
            Write::Publish(_) => WriteDone::Published(true),
        })
    }
}

#[async_trait]
impl ExecutionStore for Told {
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        let ids: Vec<_> = writes.iter().map(id_of).collect();
        self.batches.lock().unwrap().push(ids.clone());
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if let Some(failure) = self.failures.lock().unwrap().pop_front() {
            return Err(failure);
        }
        if ids
            .iter()
            .any(|id| self.poison.lock().unwrap().contains(id))
        {
            return Err(StoreError::Rejected("a poisoned row".into()));
        }
        Ok(writes.iter().map(|write| self.outcome(write)).collect())
    }

    async fn claim(&self, _: IncarnationId, _: u32) -> Result<Vec<Claimed>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn seize_overdue(&self, _: IncarnationId, _: u32) -> Result<Vec<Overdue>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn release(&self, _: ExecutionId, _: IncarnationId, _: u64) -> Result<bool, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn back_off(&self, _: ExecutionId, _: IncarnationId, _: u64) -> Result<bool, StoreError> {
        unreachable!("group commit only commits")
    }

    async fn fill_slots(
        &self,
        _: Option<&crate::QueuePlace>,
    ) -> Result<(u64, Option<crate::QueuePlace>), StoreError> {
        unreachable!("group commit only commits")
    }

    async fn owned(&self, _: IncarnationId) -> Result<Vec<(ExecutionId, u64)>, StoreError> {
        unreachable!("group commit only commits")
    }

    async fn request_cancel(
        &self,
        _: ExecutionId,
        _: IncarnationId,
        _: &str,
    ) -> Result<Option<CancelRequested>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn cancel_requests(&self, _: IncarnationId) -> Result<Vec<CancelRequest>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn keeps_frames(&self, _: ExecutionId) -> Result<bool, StoreError> {
        unreachable!("group commit only commits")
    }

    async fn first_answer(
        &self,
        _: &AnswerKey,
        _: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        unreachable!("group commit only commits")
    }

    async fn execution(&self, _: ExecutionId) -> Result<Option<ExecutionRecord>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn list_executions(
        &self,
        _: &ExecutionFilter,
        _: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn execution_events(
        &self,
        _: ExecutionId,
        _: &PageRequest,
    ) -> Result<Option<Page<EventRecord>>, StoreError> {
        unreachable!("group commit only commits")
    }
    async fn maintain(&self) -> Result<bool, StoreError> {
        unreachable!("group commit only commits")
    }
}

fn admission() -> Write {
    Write::Admit(Admission {
        id: ExecutionId::new(),
        deployment_id: DeploymentId::new(),
        trigger: TriggerRef {
            kind: TriggerKind::Manual,
            id: None,
        },
        input: Bytes::from_static(b"{}"),
        dedupe: None,
        owner: None,
        traceparent: None,
        rerun_of: None,
    })
}

fn checkpoint(id: ExecutionId, seq: u64) -> Write {
    Write::Checkpoint(Checkpoint {
        id,
        owner: IncarnationId::new(),
        epoch: 1,
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
    })
}

fn ending() -> Write {
    Write::End(Ending {
        id: ExecutionId::new(),
        owner: IncarnationId::new(),
        epoch: 1,
        outcome: crate::Outcome::Succeeded(Bytes::from_static(b"{}")),
        events: Vec::new(),
        retention_days: 30,
        keep_frames: Vec::new(),
        emits: Vec::new(),
        read_back: false,
    })
}

/// One committer, so that a case knows what stands in which batch.
const ONE: GroupCommitConfig = GroupCommitConfig {
    max_batch: 256,
    lanes: false,
    committers: 1,
    queue: 1024,
    retries: 3,
};

/// Group commit at work; the set ends with the case.
struct Harness {
    store: Arc<Told>,
    group: GroupCommit,
    committing: JoinSet<()>,
}

impl Harness {
    fn new(store: Told, config: GroupCommitConfig) -> Self {
        let store = Arc::new(store);
        let (group, run) = GroupCommit::new(Arc::clone(&store) as _, config);
        let mut committing = JoinSet::new();
        committing.spawn(run);
        Self {
            store,
            group,
            committing,
        }
    }

    /// Hands in writes from callers of their own, one after the other.
    async fn submit_in_order(&self, writes: &[Write]) -> Vec<JoinHandle<Outcome>> {
        let mut callers = Vec::new();
        for write in writes {
            let free = self.group.queues[0].capacity();
            let group = self.group.clone();
            let write = write.clone();
            #[expect(clippy::disallowed_methods, reason = "a caller that a case can abort")]
            callers.push(tokio::spawn(async move { group.submit(write).await }));
            until(|| self.group.queues[0].capacity() < free).await;
        }
        callers
    }

    /// Makes the one committer busy with a write of its own.
    async fn occupied(&self) -> JoinHandle<Outcome> {
        let group = self.group.clone();
        #[expect(clippy::disallowed_methods, reason = "a caller that a case can abort")]
        let caller = tokio::spawn(async move { group.submit(admission()).await });
        until(|| self.store.sizes() == [1]).await;
        caller
    }

    async fn finished(self) -> Arc<Told> {
        drop(self.group);
        self.committing.join_all().await;
        self.store
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn outcomes(callers: Vec<JoinHandle<Outcome>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    outcomes
}

fn admitted(outcome: &Outcome) -> ExecutionId {
    match outcome {
        Ok(WriteDone::Admitted(admitted)) => admitted.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn lone_write_does_not_wait_for_others() {
    let harness = Harness::new(Told::default(), GroupCommitConfig::default());
    for _ in 0..3 {
        let write = admission();
        let outcome = harness.group.submit(write.clone()).await;
        assert_eq!(admitted(&outcome), id_of(&write));
    }
    assert_eq!(harness.finished().await.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn nothing_is_answered_before_its_commit() {
    let harness = Harness::new(Told::gated(), ONE);
    let first = harness.occupied().await;
    let second = harness.submit_in_order(&[admission()]).await.remove(0);
    assert!(!first.is_finished() && !second.is_finished());
    harness.store.open(1);
    first.await.unwrap().unwrap();
    until(|| harness.store.sizes() == [1, 1]).await;
    assert!(!second.is_finished(), "its own commit is still under way");
    harness.store.open(1);
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn writes_gather_in_order_while_a_commit_is_under_way() {
    let harness = Harness::new(Told::gated(), ONE);
    let first = harness.occupied().await;
    let writes: Vec<_> = (0..20).map(|_| admission()).collect();
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(2);
    first.await.unwrap().unwrap();
    let answered: Vec<_> = outcomes(callers).await.iter().map(admitted).collect();
    let given: Vec<_> = writes.iter().map(id_of).collect();
    assert_eq!(answered, given, "each got the answer to its own");
    let store = harness.finished().await;
    assert_eq!(store.sizes(), [1, 20]);
    assert_eq!(store.batches.lock().unwrap()[1], given);
}

#[tokio::test]
async fn batches_are_bounded() {
    let config = GroupCommitConfig {
        max_batch: 4,
        ..ONE
    };
    let harness = Harness::new(Told::gated(), config);
    harness.occupied().await;
    let writes: Vec<_> = (0..10).map(|_| admission()).collect();
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(4);
    assert!(outcomes(callers).await.iter().all(Result::is_ok));
    assert_eq!(harness.finished().await.sizes(), [1, 4, 4, 2]);
}

#[tokio::test]
async fn each_caller_gets_its_own_outcome() {
    let harness = Harness::new(Told::gated(), ONE);
    harness.occupied().await;
    let writes: Vec<_> = (0..9).map(|_| admission()).collect();
    let refused = [1, 4].map(|n: usize| id_of(&writes[n]));
    *harness.store.refused.lock().unwrap() = refused.into();
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(2);
    for (write, outcome) in writes.iter().zip(outcomes(callers).await) {
        if refused.contains(&id_of(write)) {
            assert!(matches!(outcome, Err(WriteRefused::Admission(_))));
        } else {
            assert_eq!(admitted(&outcome), id_of(write));
        }
    }
    assert_eq!(
        harness.finished().await.sizes(),
        [1, 9],
        "it took one commit"
    );
}

#[tokio::test]
async fn bad_row_is_found_and_its_neighbours_are_committed_once() {
    let harness = Harness::new(Told::gated(), ONE);
    harness.occupied().await;
    let writes: Vec<_> = (0..16).map(|_| admission()).collect();
    let bad = [id_of(&writes[5]), id_of(&writes[15])];
    *harness.store.poison.lock().unwrap() = bad.into();
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(1000);
    for (write, outcome) in writes.iter().zip(outcomes(callers).await) {
        if bad.contains(&id_of(write)) {
            assert!(matches!(outcome, Err(WriteRefused::Rejected(_))));
        } else {
            assert_eq!(admitted(&outcome), id_of(write));
        }
    }
    let store = harness.finished().await;
    let batches = store.batches.lock().unwrap();
    // What was committed is every batch without a bad one in it.
    let committed: Vec<_> = batches[1..]
        .iter()
        .filter(|batch| !batch.iter().any(|id| bad.contains(id)))
        .flatten()
        .copied()
        .collect();
    let expected: Vec<_> = writes
        .iter()
        .map(id_of)
        .filter(|id| !bad.contains(id))
        .collect();
    assert_eq!(committed, expected, "in order, and none twice");
}

#[tokio::test]
async fn transient_failure_is_tried_again_with_the_same_batch() {
    let told = Told::default();
    *told.failures.lock().unwrap() = VecDeque::from([
        StoreError::Contended("deadlock".into()),
        StoreError::Unavailable("restarting".into()),
    ]);
    let harness = Harness::new(told, ONE);
    let write = admission();
    let outcome = harness.group.submit(write.clone()).await;
    assert_eq!(admitted(&outcome), id_of(&write));
    let store = harness.finished().await;
    assert_eq!(*store.batches.lock().unwrap(), vec![vec![id_of(&write)]; 3]);
}

#[tokio::test]
async fn lasting_outage_is_told_to_everyone_without_splitting() {
    let told = Told::gated();
    let harness = Harness::new(told, ONE);
    let first = harness.occupied().await;
    let writes: Vec<_> = (0..8).map(|_| admission()).collect();
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(1);
    first.await.unwrap().unwrap();
    *harness.store.failures.lock().unwrap() = (0..100)
        .map(|_| StoreError::Unavailable("down".into()))
        .collect();
    harness.store.open(1000);
    for outcome in outcomes(callers).await {
        assert!(matches!(outcome, Err(WriteRefused::Unavailable(_))));
    }
    // Once, and as often again as it is configured to.
    assert_eq!(harness.finished().await.sizes(), [1, 8, 8, 8, 8]);
}

#[tokio::test]
async fn schema_that_does_not_fit_is_no_matter_of_one_row() {
    let told = Told::gated();
    let harness = Harness::new(told, ONE);
    let first = harness.occupied().await;
    let callers = harness
        .submit_in_order(&[admission(), admission(), admission()])
        .await;
    harness.store.open(1);
    first.await.unwrap().unwrap();
    harness
        .store
        .failures
        .lock()
        .unwrap()
        .push_back(StoreError::Schema("too old".into()));
    harness.store.open(1000);
    for outcome in outcomes(callers).await {
        assert!(matches!(outcome, Err(WriteRefused::Rejected(_))));
    }
    assert_eq!(harness.finished().await.sizes(), [1, 3]);
}

#[tokio::test]
async fn two_writes_of_one_execution_never_share_a_batch() {
    let harness = Harness::new(Told::gated(), ONE);
    harness.occupied().await;
    let (a, b) = (ExecutionId::new(), ExecutionId::new());
    let writes = [
        checkpoint(a, 1),
        checkpoint(b, 1),
        checkpoint(a, 2),
        admission(),
        checkpoint(a, 3),
    ];
    let callers = harness.submit_in_order(&writes).await;
    harness.store.open(1000);
    assert!(outcomes(callers).await.iter().all(Result::is_ok));
    let store = harness.finished().await;
    assert_eq!(store.sizes(), [1, 2, 2, 1]);
    assert_eq!(store.batches.lock().unwrap()[1], vec![a, b]);
}

#[tokio::test]
async fn caller_that_goes_away_disturbs_nobody() {
    let harness = Harness::new(Told::gated(), ONE);
    harness.occupied().await;
    let callers = harness.submit_in_order(&[admission(), admission()]).await;
    callers[0].abort();
    harness.store.open(2);
    until(|| callers.iter().all(JoinHandle::is_finished)).await;
    let mut callers = callers.into_iter();
    assert!(callers.next().unwrap().await.unwrap_err().is_cancelled());
    callers.next().unwrap().await.unwrap().unwrap();
    assert_eq!(harness.finished().await.sizes(), [1, 2]);
}

#[tokio::test]
async fn what_is_queued_is_committed_before_the_end() {
    let harness = Harness::new(Told::gated(), ONE);
    let first = harness.occupied().await;
    let callers = harness.submit_in_order(&[admission(), admission()]).await;
    harness.store.open(1000);
    let store = harness.finished().await;
    assert_eq!(store.sizes(), [1, 2]);
    first.await.unwrap().unwrap();
    assert!(outcomes(callers).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn write_after_the_committers_have_gone_is_unavailable() {
    let mut harness = Harness::new(Told::default(), ONE);
    harness.committing.shutdown().await;
    let outcome = harness.group.submit(admission()).await;
    assert!(matches!(outcome, Err(WriteRefused::Unavailable(_))));
    assert_eq!(harness.store.sizes(), Vec::<usize>::new());
}

#[tokio::test]
async fn several_committers_work_at_once() {
    let config = GroupCommitConfig {
        committers: 2,
        max_batch: 1,
        ..ONE
    };
    let harness = Harness::new(Told::gated(), config);
    let mut callers = Vec::new();
    for _ in 0..3 {
        let group = harness.group.clone();
        #[expect(clippy::disallowed_methods, reason = "a caller that a case can abort")]
        callers.push(tokio::spawn(async move { group.submit(admission()).await }));
    }
    // Two are under way; the third waits for a place.
    until(|| harness.store.sizes() == [1, 1] && harness.group.queues[0].capacity() == 1023).await;
    harness.store.open(3);
    assert!(outcomes(callers).await.iter().all(Result::is_ok));
    assert_eq!(harness.finished().await.sizes(), [1, 1, 1]);
}

#[tokio::test]
async fn in_lanes_no_kind_waits_for_another_or_mixes_with_it() {
    let config = GroupCommitConfig { lanes: true, ..ONE };
    let harness = Harness::new(Told::gated(), config);
    let writes = [admission(), checkpoint(ExecutionId::new(), 1), ending()];
    let mut callers = Vec::new();
    for round in 1..=2 {
        for write in &writes {
            let group = harness.group.clone();
            let write = write.clone();
            #[expect(clippy::disallowed_methods, reason = "a caller that a case can abort")]
            callers.push(tokio::spawn(async move { group.submit(write).await }));
        }
        // One of each is under way at once, and one waits.
        until(|| {
            let free = harness.group.queues.iter().map(mpsc::Sender::capacity);
            let waiting = free.map(|free| 1024 - free).sum::<usize>();
            harness.store.sizes() == [1, 1, 1] && waiting == (round - 1) * 3
        })
        .await;
    }
    harness.store.open(6);
    assert!(outcomes(callers).await.iter().all(Result::is_ok));
    assert_eq!(harness.finished().await.sizes(), [1; 6]);
}
