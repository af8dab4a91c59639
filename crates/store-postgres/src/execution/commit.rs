//! A batch of writes in one transaction.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use millrace_store::{
    Admission, Checkpoint, Delivery, Ending, Publication, SlotRules, StoreError, Write, WriteDone,
};
use millrace_types::ExecutionId;
use sqlx::PgConnection;
use tracing::{info, warn};

use super::lock::Held;
use super::{Outcome, admit, checkpoint, end, limited, listen, lock, plain, slots};
use crate::PostgresStore;
use crate::error::Failure;

/// The writes by kind, each with its place in the batch.
struct Sorted<'a> {
    admissions: Vec<(usize, &'a Admission)>,
    checkpoints: Vec<(usize, &'a Checkpoint)>,
    endings: Vec<(usize, &'a Ending)>,
    deliveries: Vec<(usize, &'a Delivery)>,
    publications: Vec<(usize, &'a Publication)>,
}

impl<'a> Sorted<'a> {
    fn new(writes: &'a [Write]) -> Self {
        let mut sorted = Self {
            admissions: Vec::new(),
            checkpoints: Vec::new(),
            endings: Vec::new(),
            deliveries: Vec::new(),
            publications: Vec::new(),
        };
        for (at, write) in writes.iter().enumerate() {
            match write {
                Write::Admit(admission) => sorted.admissions.push((at, admission)),
                Write::Checkpoint(checkpoint) => sorted.checkpoints.push((at, checkpoint)),
                Write::End(ending) => sorted.endings.push((at, ending)),
                Write::Deliver(delivery) => sorted.deliveries.push((at, delivery)),
                Write::Publish(publication) => sorted.publications.push((at, publication)),
            }
        }
        sorted
    }
}

/// The outcomes of a batch, filled in piece by piece.
pub(super) struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    pub(super) fn set(&mut self, at: usize, outcome: Outcome) {
        self.0[at] = Some(outcome);
    }

    pub(super) fn get(&self, at: usize) -> Option<&Outcome> {
        self.0[at].as_ref()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Outcome> {
        self.0[at].as_mut()
    }

    fn finish(self) -> Result<Vec<Outcome>, Failure> {
        self.0
            .into_iter()
            .map(|outcome| {
                outcome.ok_or_else(|| {
                    StoreError::Rejected("a write of the batch was left without outcome".into())
                        .into()
                })
            })
            .collect()
    }
}

/// Commits the batch; when a partition is missing (a retention class that is
/// new, or maintenance that has not run for a week), makes it and tries again.
pub(super) async fn commit(
    store: &PostgresStore,
    writes: &[Write],
) -> Result<Vec<Outcome>, StoreError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let sorted = Sorted::new(writes);
    if let Some(outcomes) = plain::commit(store, writes).await? {
        return Ok(outcomes);
    }
    match transaction(store, &sorted, writes.len()).await {
        Err(Failure::NoPartition) => {
            let classes: BTreeSet<u16> = sorted
                .endings
                .iter()
                .map(|(_, e)| e.retention_days)
                .collect();
            let mut made = store.make_partitions(None).await?;
            for class in classes {
                made += store.make_partitions(Some(class)).await?;
            }
            info!(
                partitions = made,
                "partitions were missing and have been made"
            );
            Ok(transaction(store, &sorted, writes.len()).await?)
        }
        done => Ok(done?),
    }
}

/// Admits one execution within a transaction that does more than that.
pub(crate) async fn admit_one(
    connection: &mut PgConnection,
    rules: &SlotRules,
    admission: &Admission,
) -> Result<Outcome, StoreError> {
    let mut outcomes = Outcomes(vec![None]);
    let limited = admit::admit(connection, &[(0, admission)], &mut outcomes).await?;
    if !limited.is_empty() {
        limited::admit(connection, rules, &limited, &mut outcomes).await?;
    }
    outcomes
        .finish()?
        .pop()
        .ok_or_else(|| StoreError::Rejected("an admission was left without outcome".into()))
}

async fn transaction(
    store: &PostgresStore,
    sorted: &Sorted<'_>,
    writes: usize,
) -> Result<Vec<Outcome>, Failure> {
    let mut transaction = store.kept.begin().await?;
    let mut outcomes = Outcomes(vec![None; writes]);
    let left = all(&mut transaction, sorted, &mut outcomes).await?;
    transaction.commit().await?;
    // Nothing from here on may fail the batch, which is committed.
    if !left.limited.is_empty() {
        admit_limited(store, &left.limited, &mut outcomes).await;
    }
    hand_out(store, left.freed).await;
    outcomes.finish()
}

/// Lets the next ones have slots that a committed end has freed.
pub(super) async fn hand_out(store: &PostgresStore, freed: BTreeSet<(String, String)>) {
    if freed.is_empty() {
        return;
    }
    let places = Vec::from_iter(freed);
    if let Err(error) = slots::fill(store, &places).await {
        warn!(%error, "slots that are free now are handed out later");
    }
}

/// Attempts before admissions to limited deployments are given up.
const ATTEMPTS: u32 = 5;

async fn admit_limited(
    store: &PostgresStore,
    admissions: &[(usize, &Admission)],
    outcomes: &mut Outcomes,
) {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match limited::commit(store, admissions, outcomes).await {
            Ok(()) => return,
            Err(Failure::Store(error)) if error.is_transient() && left > 0 => {
                tokio::time::sleep(Duration::from_millis(5 << (ATTEMPTS - left))).await;
            }
            Err(failure) => return limited::failed(failure, admissions, outcomes),
        }
    }
}

/// What a batch leaves for after its commit.
struct Left<'a> {
    limited: Vec<(usize, &'a Admission)>,
    freed: BTreeSet<(String, String)>,
}

async fn all<'a>(
    connection: &mut PgConnection,
    sorted: &Sorted<'a>,
    outcomes: &mut Outcomes,
) -> Result<Left<'a>, Failure> {
    let mut left = Left {
        limited: Vec::new(),
        freed: BTreeSet::new(),
    };
    if !sorted.admissions.is_empty() {
        left.limited = admit::admit(connection, &sorted.admissions, outcomes).await?;
    }
    let published = sorted.publications.iter().flat_map(|(_, p)| &p.deliveries);
    let deliveries = published.chain(sorted.deliveries.iter().map(|(_, d)| *d));
    let ids: Vec<_> = (sorted.checkpoints.iter().map(|(_, c)| c.id))
        .chain(sorted.endings.iter().map(|(_, e)| e.id))
        .chain(deliveries.map(|d| d.execution_id))
        .collect();
    if ids.is_empty() && sorted.publications.is_empty() {
        return Ok(left);
    }
    let held = lock::lock(connection, &ids).await?;
    checkpoint::checkpoint(connection, &sorted.checkpoints, &held, outcomes).await?;
    left.freed = end::end(connection, &sorted.endings, &held, outcomes).await?;
    deliver(connection, sorted, &held, outcomes).await?;
    Ok(left)
}

/// What was emitted by the checkpoints and ends of this batch that were applied
/// now, what is published of that and of what was before, and what comes from
/// outside.
async fn deliver(
    connection: &mut PgConnection,
    sorted: &Sorted<'_>,
    held: &HashMap<ExecutionId, Held>,
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let is_applied = |at: usize, id: ExecutionId, seq: Option<u64>| {
        let before = held.get(&id);
        matches!(outcomes.get(at), Some(Ok(_)))
            && before.is_some_and(|held| seq.is_none_or(|seq| held.checkpoint_seq + 1 == seq))
    };
    let mut emits = Vec::new();
    for (at, checkpoint) in &sorted.checkpoints {
        if !checkpoint.emits.is_empty() && is_applied(*at, checkpoint.id, Some(checkpoint.seq)) {
            emits.extend(&checkpoint.emits);
        }
    }
    for (at, ending) in &sorted.endings {
        if !ending.emits.is_empty() && is_applied(*at, ending.id, None) {
            emits.extend(&ending.emits);
        }
    }
    listen::emit(connection, &emits).await?;
    let publications: Vec<_> = sorted.publications.iter().map(|(_, p)| *p).collect();
    let mut fresh = listen::take(connection, &publications).await?;
    let mut deliveries = Vec::new();
    for (at, publication) in &sorted.publications {
        // Once, should it stand twice in the batch.
        let is_fresh = fresh.remove(&publication.id);
        if is_fresh {
            deliveries.extend(&publication.deliveries);
        }
        outcomes.set(*at, Ok(WriteDone::Published(is_fresh)));
    }
    let published = deliveries.len();
    deliveries.extend(sorted.deliveries.iter().map(|(_, delivery)| *delivery));
    let delivered = listen::deliver(connection, &deliveries).await?;
    for ((at, _), has) in sorted.deliveries.iter().zip(&delivered[published..]) {
        outcomes.set(*at, Ok(WriteDone::Delivered(*has)));
    }
    Ok(())
}
