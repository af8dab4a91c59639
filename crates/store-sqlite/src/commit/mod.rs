//! The grouped writes: one transaction, and an outcome for each.
//!
//! First everything that the batch touches is read, then each write is judged
//! in memory, in order, and last all that was accepted is written with a few
//! statements. Nothing can change in between: the transaction holds the only
//! write lock from its beginning. So no row that is refused is ever written,
//! and no savepoint is needed to take one back.

mod admit;
mod checkpoint;
mod end;
mod events;
mod facts;
mod judge;
mod limited;
mod listen;
mod owned;
#[cfg(test)]
mod plans;

use std::collections::HashSet;

use millrace_store::{
    Admission, Delivery, EmittedEvent, Publication, SlotRules, StoreError, Write, WriteDone,
    WriteRefused,
};
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::store_error;
use crate::slots;

pub type Outcome = Result<WriteDone, WriteRefused>;

impl SqliteStore {
    pub(crate) async fn commit_writes(&self, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::sort(writes)?;
        let (mut transaction, now) = self.write().await?;
        admit::admit(&mut transaction, &mut batch, &self.slots, now).await?;
        if !batch.checkpoints.is_empty() || !batch.endings.is_empty() {
            let owned = owned::read(&mut transaction, &batch).await?;
            let mut events = events::Chunks::new(now);
            checkpoint::checkpoint(&mut transaction, &mut batch, &owned, &mut events, now).await?;
            let freed = end::end(&mut transaction, &mut batch, &owned, &mut events, now).await?;
            events.insert(&mut transaction).await?;
            slots::fill(&mut transaction, &freed, now).await?;
        }
        listen::deliver(&mut transaction, &mut batch, now).await?;
        transaction.commit().await.map_err(store_error)?;
        batch.outcomes()
    }
}

/// Admits one execution within a transaction that does more than that.
pub async fn admit_one(
    connection: &mut SqliteConnection,
    admission: &Admission,
    rules: &SlotRules,
    now: i64,
) -> Result<Outcome, StoreError> {
    let mut batch = Batch {
        admissions: vec![(0, admission)],
        checkpoints: Vec::new(),
        endings: Vec::new(),
        deliveries: Vec::new(),
        publications: Vec::new(),
        emits: Vec::new(),
        outcomes: vec![None],
    };
    admit::admit(connection, &mut batch, rules, now).await?;
    batch
        .outcomes()?
        .pop()
        .ok_or_else(|| StoreError::Rejected("an admission was left without outcome".into()))
}

/// The writes by kind, each with its place in the batch.
struct Batch<'a> {
    admissions: Vec<(usize, &'a millrace_store::Admission)>,
    checkpoints: Vec<(usize, &'a millrace_store::Checkpoint)>,
    endings: Vec<(usize, &'a millrace_store::Ending)>,
    deliveries: Vec<(usize, &'a Delivery)>,
    publications: Vec<(usize, &'a Publication)>,
    /// Those of the checkpoints and ends that were applied.
    emits: Vec<&'a EmittedEvent>,
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Batch<'a> {
    fn sort(writes: &'a [Write]) -> Result<Self, StoreError> {
        let mut batch = Self {
            admissions: Vec::with_capacity(writes.len()),
            checkpoints: Vec::new(),
            endings: Vec::new(),
            deliveries: Vec::new(),
            publications: Vec::new(),
            emits: Vec::new(),
            outcomes: writes.iter().map(|_| None).collect(),
        };
        let mut owned = HashSet::new();
        for (at, write) in writes.iter().enumerate() {
            let id = match write {
                Write::Admit(admission) => {
                    batch.admissions.push((at, admission));
                    continue;
                }
                Write::Deliver(delivery) => {
                    batch.deliveries.push((at, delivery));
                    continue;
                }
                Write::Publish(publication) => {
                    batch.publications.push((at, publication));
                    continue;
                }
                Write::Checkpoint(checkpoint) => {
                    batch.checkpoints.push((at, checkpoint));
                    checkpoint.id
                }
                Write::End(ending) => {
                    batch.endings.push((at, ending));
                    ending.id
                }
            };
            if !owned.insert(id) {
                return Err(StoreError::Rejected(format!(
                    "the batch holds two writes for execution {id}"
                )));
            }
        }
        Ok(batch)
    }

    fn answer(&mut self, at: usize, outcome: Outcome) {
        self.outcomes[at] = Some(outcome);
    }

    fn outcomes(self) -> Result<Vec<Outcome>, StoreError> {
        self.outcomes
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| StoreError::Rejected("a write was left without an outcome".into()))
    }
}
